//! What no compiler sees: who may import whom, and who may log.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// A source file without its unit tests.
fn code(file: &str) -> String {
    let text = read(file);
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn source_files() -> BTreeSet<String> {
    let in_folder = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).expect("a source folder");
        let names = entries.map(|entry| entry.expect("a readable folder").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name.ends_with(".rs")).map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    ["src", "src/bucket", "src/bucket/s3", "src/pace", "src/queue", "src/receipts", "src/tour"]
        .into_iter()
        .flat_map(in_folder)
        .collect()
}

/// Data flows one way: each file may import what stands behind it here, and nothing else of this crate.
const MAY_IMPORT: [(&str, &[&str]); 37] = [
    ("src/lib.rs", &[]),
    (
        "src/main.rs",
        &["bucket", "config", "deadline", "eraser", "handler", "metrics", "queue", "receipts", "survey", "work"],
    ),
    ("src/target.rs", &[]),
    ("src/json.rs", &[]),
    ("src/pace.rs", &[]),
    ("src/pace/congestion.rs", &["pace"]),
    ("src/deadline.rs", &[]),
    ("src/config.rs", &["target"]),
    ("src/bucket.rs", &["target"]),
    ("src/bucket/s3.rs", &["bucket", "deadline", "receipts", "target"]),
    ("src/bucket/s3/answers.rs", &["bucket"]),
    ("src/bucket/s3/codes.rs", &["bucket", "deadline", "s3"]),
    ("src/bucket/s3/deleting.rs", &["bucket", "deadline", "target"]),
    ("src/bucket/s3/document.rs", &["bucket"]),
    ("src/bucket/s3/listing.rs", &["bucket", "target"]),
    ("src/bucket/s3/locks.rs", &["bucket", "deadline", "target"]),
    ("src/bucket/s3/memory.rs", &[]),
    ("src/bucket/s3/sentence.rs", &[]),
    ("src/bookmark.rs", &["bucket"]),
    ("src/deleted.rs", &["bookmark", "bucket"]),
    ("src/tally.rs", &["bucket"]),
    ("src/message.rs", &["bookmark", "config", "json", "tally", "target"]),
    ("src/work.rs", &["bookmark", "bucket", "pace", "tally", "target"]),
    ("src/sieve.rs", &["bucket", "tally", "target"]),
    ("src/lanes.rs", &["target"]),
    ("src/tour.rs", &["bookmark", "bucket", "deadline", "deleted", "lanes", "pace", "tally", "target", "work"]),
    ("src/tour/listing.rs", &["bookmark", "bucket", "lanes", "pace", "sieve", "tally", "tour", "work"]),
    ("src/eraser.rs", &["bookmark", "bucket", "deadline", "deleted", "pace", "tally", "target", "tour", "work"]),
    ("src/survey.rs", &["bookmark", "bucket", "pace", "tally", "tour", "work"]),
    ("src/receipt.rs", &["message", "tally", "target", "work"]),
    ("src/receipts.rs", &[]),
    ("src/receipts/s3.rs", &["bucket", "config", "receipts", "target"]),
    ("src/queue.rs", &[]),
    ("src/queue/sqs.rs", &["deadline", "queue", "target"]),
    ("src/outcome.rs", &["message", "queue", "receipts", "work"]),
    ("src/metrics.rs", &["outcome", "tally"]),
    (
        "src/handler.rs",
        &[
            "bookmark", "config", "deadline", "message", "metrics", "outcome", "pace", "queue", "receipt", "receipts",
            "tally", "work",
        ],
    ),
];

#[test]
fn imports_follow_the_table() {
    let table: BTreeMap<String, &[&str]> = MAY_IMPORT.map(|(file, modules)| (file.to_owned(), modules)).into();
    assert_eq!(source_files(), table.keys().cloned().collect(), "the table names every file, and no other");
    for (file, allowed) in table {
        let text = code(&file);
        let mut imported = BTreeSet::new();
        for prefix in ["crate::", "erase_user_files::"] {
            let uses = text.split(prefix).skip(1);
            imported
                .extend(uses.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")));
        }
        if text.contains("super::") {
            let parent = file.rsplit('/').nth(1).unwrap_or_default();
            imported.insert(parent);
        }
        assert_eq!(imported, allowed.iter().copied().collect(), "{file}");
    }
}

#[test]
fn only_the_adapters_and_main_know_the_aws_sdk_and_only_the_handler_and_main_log() {
    for file in source_files() {
        let text = code(&file);
        let adapters = ["src/bucket/s3", "src/queue/sqs.rs", "src/receipts/s3.rs", "src/main.rs"];
        let is_adapter = adapters.iter().any(|adapter| file.starts_with(adapter));
        assert!(is_adapter || !text.contains("aws_sdk"), "{file} knows the AWS SDK");
        let is_logger = ["src/handler.rs", "src/main.rs"].contains(&file.as_str());
        assert!(is_logger || !text.contains("tracing"), "{file} logs");
    }
}
