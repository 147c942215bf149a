//! The properties of `make fuzz`, with the inputs that it has kept, with those that once broke
//! something, and with random ones.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

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
fn any_text_parses_or_is_rejected_without_echo() {
    replay("message", properties::message::check);
}

#[test]
fn any_continuation_fits_and_round_trips() {
    replay("continuation", properties::continuation::check);
}

#[test]
fn no_target_setting_shares_a_prefix() {
    replay("template", properties::template::check);
}

#[test]
fn no_two_users_own_one_key() {
    replay("patterns", properties::patterns::check);
}

#[test]
fn no_user_id_reaches_another_prefix() {
    replay("user_id", properties::user_id::check);
}

#[test]
fn any_key_round_trips_through_encoding_and_tokens() {
    replay("keys", properties::keys::check);
}

#[test]
fn damaged_response_is_never_a_listing() {
    replay("listing", properties::listing::check);
}

#[test]
fn response_is_complete_only_at_its_end() {
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

/// Lists of targets, whose short names and affixes easily equal a short id.
fn folders() -> impl Strategy<Value = String> {
    let fixed = "[ab]";
    let id = prop_oneof![
        4 => "([ab.-]|a-|b_){0,1}\\{user_id\\}([ab.-]|-a|_b){0,1}",
        1 => "a?\\{user_id:urlencode\\}",
    ];
    let target = (prop::collection::vec(fixed, 0..2), id, prop::collection::vec(fixed, 0..2));
    let target = target.prop_map(|(before, id, after)| {
        let segments: Vec<String> = before.into_iter().chain([id]).chain(after).collect();
        format!("s3://data/{}", segments.join("/"))
    });
    prop::collection::vec(target, 1..4).prop_map(|targets| {
        targets.iter().map(|target| format!("{target}/")).collect::<Vec<_>>().join(",")
    })
}

fn files() -> impl Strategy<Value = String> {
    let file = "s3://data/([ab]/){0,1}[ab-]{0,1}\\{user_id\\}(|a|[a-]{0,1}[._-]\\*|\\.a|/a)";
    prop::collection::vec(file, 0..3).prop_map(|files| files.join(","))
}

const ID: &str = r"[A-Za-z0-9_.:@+=-]{1,128}";
const SEGMENTS: &str = "([a-z]{1,5}/){0,3}";
const TEMPLATE: &str = r"(s3://)?[a-z.-]{0,8}(/|\{user_id\}|\{|\}|[a-z.]){0,12}";

proptest! {
    #[test]
    fn random_text_parses_or_is_rejected(text in any::<String>()) {
        properties::message::check(text.as_bytes());
    }

    #[test]
    fn random_user_ids_have_disjoint_prefixes(
        one in prop_oneof![ID, any::<String>()], other in ID, rest in any::<String>()
    ) {
        properties::user_id::check(format!("{one}\n{other}\n{rest}").as_bytes());
    }

    #[test]
    fn random_patterns_give_no_key_to_two_users(
        folders in prop_oneof![3 => folders(), 1 => Just(String::new())],
        files in files(),
        characters in prop::sample::select(vec!["", "ab", "ab-", "ab_."]),
        length in prop::sample::select(vec!["", "", "1", "2", "3"]),
        has_scope in any::<bool>(),
        users in prop::collection::vec("([ab]|a-|b-|[ab]\\.){1,3}(/[ab]{1,2})?", 4..24),
    ) {
        let scoped = |list: String| match has_scope {
            true => list.replace("s3://data/", "s3://data/{tenant_id}/"),
            false => list,
        };
        let scope = if has_scope { "tenant_id=/tenantId" } else { "" };
        let lines = [&scoped(folders), &scoped(files), characters, length, "", scope];
        let text = lines.into_iter().chain(users.iter().map(String::as_str)).collect::<Vec<_>>();
        properties::patterns::check(text.join("\n").as_bytes());
    }

    #[test]
    fn random_templates_have_one_folder_per_user(
        below in SEGMENTS, folder in SEGMENTS, text in TEMPLATE
    ) {
        let template = format!("s3://some-bucket/{folder}{{user_id}}/{below}");
        prop_assert!(erase_user_files::target::Targets::parse(&template).is_ok(), "{template}");
        properties::template::check(template.as_bytes());
        properties::template::check(text.as_bytes());
    }
}
