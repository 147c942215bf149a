//! What no compiler and no template linter sees: who may import whom, and the template's facts that hold promises.

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
    ["src", "src/bucket", "src/queue"].into_iter().flat_map(in_folder).collect()
}

/// Data flows one way: each file may import what stands behind it here, and nothing else of this crate.
const MAY_IMPORT: [(&str, &[&str]); 15] = [
    ("src/lib.rs", &[]),
    ("src/main.rs", &["bucket", "config", "deadline", "handler", "queue"]),
    ("src/target.rs", &[]),
    ("src/tally.rs", &[]),
    ("src/pace.rs", &[]),
    ("src/deadline.rs", &[]),
    ("src/config.rs", &["target"]),
    ("src/bookmark.rs", &[]),
    ("src/message.rs", &["bookmark", "tally", "target"]),
    ("src/bucket.rs", &["target"]),
    ("src/bucket/s3.rs", &["bucket", "deadline", "target"]),
    ("src/queue.rs", &[]),
    ("src/queue/sqs.rs", &["deadline", "queue"]),
    ("src/eraser.rs", &["bookmark", "bucket", "deadline", "pace", "tally", "target"]),
    ("src/handler.rs", &["bucket", "config", "deadline", "eraser", "message", "pace", "queue", "tally"]),
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
        let is_adapter = ["src/bucket/s3.rs", "src/queue/sqs.rs", "src/main.rs"].contains(&file.as_str());
        assert!(is_adapter || !text.contains("aws_sdk"), "{file} knows the AWS SDK");
        let is_logger = ["src/handler.rs", "src/main.rs"].contains(&file.as_str());
        assert!(is_logger || !text.contains("tracing"), "{file} logs");
    }
}

/// The lines below a path of keys in a YAML file of two-space indentation, without that indentation.
fn section(yaml: &str, path: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = yaml.lines().map(str::to_owned).collect();
    for key in path {
        let start = lines.iter().position(|line| line.split(": ").next().map(|k| k.trim_end_matches(':')) == Some(key));
        let start = start.unwrap_or_else(|| panic!("template.yaml has no {key} of {path:?}"));
        let mut below = vec![lines[start].split_once(": ").map_or("", |(_, value)| value).to_owned()];
        let block = lines[start + 1..].iter().take_while(|line| line.is_empty() || line.starts_with(' '));
        below.extend(block.filter_map(|line| line.strip_prefix("  ")).map(str::to_owned));
        lines = if below.len() > 1 && below[0].is_empty() { below.split_off(1) } else { below };
    }
    lines
}

fn template(path: &[&str]) -> Vec<String> {
    section(&read("template.yaml"), path)
}

fn value(path: &[&str]) -> String {
    let lines = template(path);
    assert_eq!(lines.len(), 1, "{path:?} has more than a value: {lines:?}");
    lines[0].clone()
}

/// The keys right below a path.
fn keys(path: &[&str]) -> BTreeSet<String> {
    let lines = template(path).into_iter().filter(|line| !line.starts_with([' ', '#', '-']) && !line.is_empty());
    lines.filter_map(|line| line.split_once(':').map(|(key, _)| key.trim_matches('\'').to_owned())).collect()
}

#[test]
fn a_message_stays_hidden_for_six_times_the_functions_timeout() {
    assert_eq!(
        value(&["Resources", "Queue", "Properties", "VisibilityTimeout"]),
        "!FindInMap [VisibilityTimeouts, !Ref FunctionTimeout, Seconds]"
    );
    assert_eq!(value(&["Resources", "Function", "Properties", "Timeout"]), "!Ref FunctionTimeout");
    let allowed = value(&["Parameters", "FunctionTimeout", "AllowedValues"]);
    let allowed: BTreeSet<u32> =
        allowed.trim_matches(['[', ']']).split(", ").map(|seconds| seconds.parse().expect("seconds")).collect();
    let mut mapped = BTreeSet::new();
    for line in template(&["Mappings", "VisibilityTimeouts"]).iter().filter(|line| line.starts_with('\'')) {
        let (timeout, visibility) = line.split_once(": {Seconds: ").expect("a mapping");
        let timeout: u32 = timeout.trim_matches('\'').parse().expect("seconds");
        let visibility: u32 = visibility.trim_end_matches('}').parse().expect("seconds");
        assert!(visibility >= 6 * timeout && visibility <= 43_200, "{line}");
        mapped.insert(timeout);
    }
    assert_eq!(allowed, mapped);
    assert!(allowed.iter().all(|timeout| (1..=900).contains(timeout)));
}

#[test]
fn the_event_source_has_exactly_the_properties_that_keep_messages() {
    let event = ["Resources", "Function", "Properties", "Events", "Messages", "Properties"];
    let expected = ["BatchSize", "FunctionResponseTypes", "Queue", "ScalingConfig"].map(str::to_owned);
    assert_eq!(keys(&event), expected.into(), "a misspelt property passes every linter");
    let value_of = |key: &'static str| value(&[&event[..], &[key]].concat());
    assert_eq!(value_of("BatchSize"), "10");
    assert_eq!(value_of("FunctionResponseTypes"), "[ReportBatchItemFailures]");
    assert_eq!(value(&[&event[..], &["ScalingConfig", "MaximumConcurrency"]].concat()), "!Ref MaximumConcurrency");
    assert_eq!(value(&["Parameters", "MaximumConcurrency", "Default"]), "2");
    assert_eq!(value(&["Parameters", "MaximumConcurrency", "MinValue"]), "2");
}

#[test]
fn the_function_may_feed_its_own_queue_and_catches_panics() {
    assert_eq!(value(&["Resources", "Function", "Properties", "RecursiveLoop"]), "Allow");
    assert_eq!(value(&["Resources", "Function", "Properties", "Runtime"]), "provided.al2023");
    assert_eq!(value(&["Resources", "Function", "Metadata", "BuildMethod"]), "rust-cargolambda");
    assert_eq!(value(&["Parameters", "Architecture", "Default"]), "arm64");
    assert!(read("Cargo.toml").contains("panic = \"unwind\""), "cargo-lambda would set abort");
}

#[test]
fn the_queues_keep_what_they_are_given() {
    let queue = template(&["Resources", "Queue", "Properties", "RedrivePolicy"]).join("\n");
    assert!(queue.contains("deadLetterTargetArn: !GetAtt DeadLetterQueue.Arn"), "{queue}");
    assert!(queue.contains("maxReceiveCount: 5"), "{queue}");
    for name in ["Queue", "DeadLetterQueue"] {
        assert_eq!(value(&["Resources", name, "Properties", "SqsManagedSseEnabled"]), "true");
    }
    let retention =
        |name| -> u32 { value(&["Resources", name, "Properties", "MessageRetentionPeriod"]).parse().expect("seconds") };
    assert_eq!(retention("DeadLetterQueue"), 1_209_600);
    // A message's age counts from its first queue.
    assert!(retention("Queue") < retention("DeadLetterQueue"));
}

#[test]
fn every_setting_that_the_code_reads_can_be_set_from_the_template() {
    let read_by_code: BTreeSet<String> = code("src/config.rs")
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            text.len() > 3 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte == b'3')
        })
        // Lambda's and cargo lambda's own.
        .filter(|name| !name.starts_with("AWS_"))
        .map(str::to_owned)
        .collect();
    assert!(read_by_code.len() >= 8, "{read_by_code:?}");
    let variables = ["Resources", "Function", "Properties", "Environment", "Variables"];
    assert_eq!(keys(&variables), read_by_code);
    let lines = template(&variables).join("\n");
    let parameters = keys(&["Parameters"]);
    for parameter in lines.split("!Ref ").skip(1).map(|rest| rest.split('\n').next().unwrap_or_default()) {
        let is_known = parameters.contains(parameter) || parameter == "Queue" || parameter.starts_with("'AWS::");
        assert!(is_known, "{parameter} is no parameter");
    }
    for parameter in &parameters {
        assert!(!value(&["Parameters", parameter, "Description"]).is_empty(), "{parameter} has no description");
    }
}

#[test]
fn the_policy_allows_listing_only_below_a_users_prefix_and_nothing_on_everything() {
    let text = read("template.yaml");
    let lists = text.matches("Action: s3:ListBucket\n").count();
    assert_eq!(lists, 4);
    assert_eq!(text.matches("s3:prefix: !Join ['?*', !Split ['{user_id}', !Ref Target").count(), lists);
    assert!(!text.contains("Resource: '*'") && !text.contains("s3:*") && !text.contains("sqs:*"));
}
