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
    ["src", "src/bucket", "src/bucket/s3", "src/pace", "src/queue", "src/receipts", "src/tour"]
        .into_iter()
        .flat_map(in_folder)
        .collect()
}

/// Data flows one way: each file may import what stands behind it here, and nothing else of this crate.
const MAY_IMPORT: [(&str, &[&str]); 35] = [
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
    ("src/bucket/s3.rs", &["bucket", "receipts", "target"]),
    ("src/bucket/s3/answers.rs", &["bucket"]),
    ("src/bucket/s3/codes.rs", &["bucket", "deadline"]),
    ("src/bucket/s3/deleting.rs", &["bucket", "deadline", "target"]),
    ("src/bucket/s3/document.rs", &["bucket"]),
    ("src/bucket/s3/listing.rs", &["bucket", "target"]),
    ("src/bucket/s3/locks.rs", &["bucket", "deadline", "target"]),
    ("src/bucket/s3/memory.rs", &[]),
    ("src/bookmark.rs", &["bucket"]),
    ("src/tally.rs", &["bucket"]),
    ("src/message.rs", &["bookmark", "config", "json", "tally", "target"]),
    ("src/work.rs", &["bookmark", "bucket", "pace", "tally", "target"]),
    ("src/sieve.rs", &["bucket", "tally", "target"]),
    ("src/lanes.rs", &["target"]),
    ("src/tour.rs", &["bookmark", "bucket", "deadline", "lanes", "pace", "tally", "target", "work"]),
    ("src/tour/listing.rs", &["bookmark", "bucket", "lanes", "pace", "sieve", "tally", "tour", "work"]),
    ("src/eraser.rs", &["bookmark", "bucket", "deadline", "pace", "tally", "tour", "work"]),
    ("src/survey.rs", &["bookmark", "bucket", "pace", "tally", "tour", "work"]),
    ("src/receipt.rs", &["message", "tally", "target", "work"]),
    ("src/receipts.rs", &[]),
    ("src/receipts/s3.rs", &["bucket", "receipts", "target"]),
    ("src/queue.rs", &[]),
    ("src/queue/sqs.rs", &["deadline", "queue"]),
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

const NOTHING: &str = "- !Ref AWS::NoValue";

/// The role's statement with this `Sid`, without its indentation, and the condition on which the role has it, if any.
fn statement(sid: &str) -> (Vec<String>, Option<String>) {
    let text = read("template.yaml");
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| line.trim() == format!("- Sid: {sid}"));
    let start = start.unwrap_or_else(|| panic!("template.yaml has no statement {sid}"));
    let indentation = " ".repeat(lines[start].find('-').unwrap_or_default() + 2);
    let below: Vec<&str> = lines[start + 1..].iter().map_while(|line| line.strip_prefix(&indentation)).collect();
    let before = |distance: usize| lines[start - distance].trim();
    let condition = if before(2) == "- !If" {
        assert_eq!(lines[start + 1 + below.len()].trim(), NOTHING, "{sid}");
        Some(before(1).trim_start_matches("- ").to_owned())
    } else if before(3) == "- !If" {
        assert_eq!(before(1), NOTHING, "{sid}");
        Some(format!("not {}", before(2).trim_start_matches("- ")))
    } else {
        None
    };
    let below = below.into_iter().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect();
    (below, condition)
}

/// What a statement allows: one action or more, in the order of the template.
fn actions(statement: &[String]) -> Vec<String> {
    let lines = section(&statement.join("\n"), &["Action"]);
    let words = lines.iter().flat_map(|line| line.trim_matches(['[', ']']).split(", "));
    words.map(|word| word.trim_start_matches("- ").to_owned()).collect()
}

/// How often the role allows exactly this action.
fn times_allowed(action: &str) -> usize {
    let text = read("template.yaml");
    text.split(action).skip(1).filter(|rest| !rest.starts_with(char::is_alphabetic)).count()
}

#[test]
fn the_role_lists_only_below_a_users_prefix() {
    for number in ["1", "2", "3", "4"] {
        let (listing, condition) = statement(&format!("ListTarget{number}"));
        assert_eq!(actions(&listing), ["s3:ListBucket", "s3:ListBucketVersions"]);
        assert_eq!(
            section(&listing.join("\n"), &["Condition", "StringLike", "s3:prefix"]),
            [format!("!Join ['?*', !Split ['{{user_id}}', !Ref Target{number}Prefix]]")],
        );
        assert_eq!(condition, (number != "1").then(|| format!("HasTarget{number}")));
    }
    assert_eq!((times_allowed("s3:ListBucket"), times_allowed("s3:ListBucketVersions")), (4, 4));
    // Its listing knows no such condition: with it, nobody would be allowed anything.
    let (others, condition) = statement("LookIntoTargets");
    let expected = ["s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:ListBucketMultipartUploads"];
    assert_eq!(actions(&others), expected);
    assert!(!others.iter().any(|line| line.starts_with("Condition")), "{others:?}");
    assert_eq!((condition, times_allowed("s3:ListBucketMultipartUploads")), (None, 1));
    let text = read("template.yaml");
    assert!(!text.contains("Resource: '*'") && !text.contains("s3:*") && !text.contains("sqs:*"));
}

#[test]
fn the_role_of_a_dry_run_cannot_touch_an_object() {
    let (erase, condition) = statement("Erase");
    assert_eq!(condition.as_deref(), Some("not IsDryRun"));
    let expected = [
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
        "s3:GetObjectRetention",
        "s3:GetObjectLegalHold",
    ];
    let bypass = ["!If [BypassesGovernance", "s3:BypassGovernanceRetention", "!Ref 'AWS::NoValue"];
    let mut found = actions(&erase);
    found.iter_mut().for_each(|action| *action = action.trim_end_matches([']', '\'']).to_owned());
    assert_eq!(found, [&expected[..], &bypass[..]].concat());
    assert_eq!(value(&["Conditions", "IsDryRun"]), "!Equals [!Ref DryRun, 'true']");
    assert_eq!(value(&["Conditions", "BypassesGovernance"]), "!Equals [!Ref BypassGovernanceRetention, 'true']");
    // Every resource is below a prefix that takes at least one character for the user.
    let resources = erase.join("\n");
    assert_eq!(resources.matches(":s3:::").count(), 4);
    for number in ["1", "2", "3", "4"] {
        let object = format!(":s3:::${{Target{number}Bucket}}/${{Prefix}}*'");
        let prefix = format!("Prefix: !Join ['?*', !Split ['{{user_id}}', !Ref Target{number}Prefix]]");
        assert!(resources.contains(&object) && resources.contains(&prefix), "{resources}");
    }
    for action in expected.into_iter().chain(["s3:BypassGovernanceRetention"]) {
        assert_eq!(times_allowed(action), 1, "{action} stands in another statement, too");
    }
}

#[test]
fn the_role_touches_receipts_only_in_their_folder() {
    let (receipts, condition) = statement("KeepReceipts");
    assert_eq!(condition.as_deref(), Some("HasReceipts"));
    assert_eq!(actions(&receipts), ["s3:PutObject", "s3:GetObject"]);
    assert_eq!(
        section(&receipts.join("\n"), &["Resource"]),
        ["!Sub 'arn:${AWS::Partition}:s3:::${ReceiptsBucket}/${ReceiptsPrefix}*'"],
    );
    assert_eq!(value(&["Conditions", "HasReceipts"]), "!Not [!Equals [!Ref ReceiptsBucket, '']]");
    assert_eq!(value(&["Parameters", "ReceiptHashKey", "NoEcho"]), "true");
    assert_eq!((times_allowed("s3:PutObject"), times_allowed("s3:GetObject")), (1, 1));
}

#[test]
fn nothing_in_a_parameter_can_widen_the_policy() {
    let buckets = ["Target1", "Target2", "Target3", "Target4", "Receipts"];
    for name in buckets {
        let pattern = value(&["Parameters", &format!("{name}Bucket"), "AllowedPattern"]);
        assert!(pattern.contains(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]"), "{name}: {pattern}");
        let pattern = value(&["Parameters", &format!("{name}Prefix"), "AllowedPattern"]);
        // The signs of wildcards and of variables.
        assert!(pattern.contains("([^/{}*?$,]+/)*"), "{name}: {pattern}");
        assert!(name == "Receipts" || pattern.contains(r"\{user_id\}/"), "{name}: {pattern}");
        // With more, the policy would be longer than the 10,240 characters that IAM takes:
        // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
        assert_eq!(value(&["Parameters", &format!("{name}Prefix"), "MaxLength"]), "512");
    }
}
