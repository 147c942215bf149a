//! What is stored before the demo: one user with many files, and neighbours whose ids tempt.

use indicatif::{ProgressBar, ProgressStyle};
use local::Ministack;

use super::{BUCKET, Failure};

/// A key and what is stored there.
pub(crate) type Object = (String, Vec<u8>);

/// Many plain objects of a user.
pub(crate) fn plain_objects(user: &str, count: usize) -> Vec<Object> {
    (0..count).map(|n| object(format!("{user}/photos/{:02}/{n:05}.jpg", n % 50))).collect()
}

/// Objects whose keys have broken other people's deletion scripts.
///
/// None has a newline: ministack's policies would not let the function near it (S3's would).
pub(crate) fn odd_objects(user: &str) -> Vec<Object> {
    let names = [
        "",
        "a folder/",
        "with space",
        "plus+plus",
        "100%",
        "%2F",
        "a&b<c>'d'\"e\"",
        "double//slash",
        "./dot",
        "../dots",
        "carriage\rreturn",
        "control\u{1}character",
        "tab\tand\u{7f}",
        "na\u{ef}ve-\u{1f600}.png",
        "\u{fffd}\u{2028}",
    ];
    let mut objects: Vec<Object> = names.iter().map(|name| object(format!("{user}/{name}"))).collect();
    let longest = 1024 - user.len() - 1;
    objects.push(object(format!("{user}/{}", "x".repeat(longest))));
    objects
}

/// Objects of everybody but `u1`, each chosen because a careless prefix or decoding would take it too.
pub(crate) fn neighbours() -> Vec<Object> {
    let prefixes = ["u10/", "u11/", "u1.bak/", "u1-old/", "u/", "U1/", "other/u1/", "u1%2F", " u1/", "u1+/", "/u1/"];
    let mut objects: Vec<Object> =
        prefixes.iter().flat_map(|prefix| (0..3).map(move |n| object(format!("{prefix}keep-{n}.txt")))).collect();
    objects.push(object("u1".to_owned()));
    objects
}

fn object(key: String) -> Object {
    let body = format!("the content of {key}").into_bytes();
    (key, body)
}

/// Stores objects, with a progress bar on a terminal.
pub(crate) async fn store(cloud: &Ministack, what: &str, objects: Vec<Object>) -> Result<(), Failure> {
    let bar = ProgressBar::new(u64::try_from(objects.len()).unwrap_or(u64::MAX));
    bar.set_style(bar_style("storing"));
    if bar.is_hidden() {
        println!("storing {what}");
    }
    cloud.put_objects(BUCKET, objects, || bar.inc(1)).await?;
    bar.finish_and_clear();
    if !bar.is_hidden() {
        println!("stored {what}");
    }
    Ok(())
}

/// A bar with a verb before it.
pub(crate) fn bar_style(verb: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!("{{bar:40}} {{human_pos:>6}} of {{human_len}} objects {verb}"))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
