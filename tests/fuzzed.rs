//! The inputs that fuzzing found worth keeping, and those that once broke something, through the
//! same properties. `make fuzz` looks for new ones.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../tools/fuzz/properties/mod.rs"]
mod properties;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz")
}

/// The inputs of one target: name and content.
fn inputs(folder: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join(folder).join(target);
    let Ok(entries) = fs::read_dir(&folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    paths
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a readable input")))
        .collect()
}

/// Every input of a target, with those that it once failed on.
fn replay(target: &str, check: fn(&[u8])) {
    let corpus = inputs("corpus", target);
    assert!(corpus.len() >= 10, "{target} has {} inputs", corpus.len());
    let all = corpus.into_iter().chain(inputs("findings", target));
    let broken =
        all.filter(|(_, input)| catch_unwind(|| check(input)).is_err()).map(|(name, _)| name);
    assert_eq!(broken.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn any_text_is_a_message_or_refused_without_being_repeated() {
    replay("message", properties::message::check);
}

#[test]
fn any_continuation_fits_into_the_queue_and_says_the_same_again() {
    replay("continuation", properties::continuation::check);
}

#[test]
fn no_setting_gives_one_user_the_folder_of_another() {
    replay("template", properties::template::check);
}

#[test]
fn no_id_reaches_the_folder_of_another() {
    replay("user_id", properties::user_id::check);
}

#[test]
fn any_key_comes_back_from_its_encoding_and_from_a_token() {
    replay("keys", properties::keys::check);
}

#[test]
fn no_broken_answer_is_taken_as_a_listing() {
    replay("listing", properties::listing::check);
}

#[test]
fn an_answer_is_whole_at_its_end_and_nowhere_before() {
    for answer in [
        "s<VersioningConfiguration/>",
        "s<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>\n",
        "o<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>u1/a</Key></Contents></ListBucketResult>",
        "v<?xml version=\"1.0\"?><ListVersionsResult a=\"/ListVersionsResult>\"><IsTruncated>false</IsTruncated>\
         <Version><Key>u1/a</Key><VersionId>v</VersionId></Version></ListVersionsResult>\n",
        "u<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>",
        "d<?xml version=\"1.0\"?><DeleteResult><Deleted><Key>u1/a</Key></Deleted><Error><Key>u1/b&amp;</Key>\
         <Code>NoSuchKey</Code></Error><Deleted><Key>u1/&#xe9;</Key></Deleted></DeleteResult>\n",
        "d<DeleteResult/>",
    ] {
        properties::listing::check_every_cut(answer.as_bytes());
    }
}
