//! What no template linter sees: that `template.yaml` keeps the promises of the code, and says what
//! the code says.
//!
//! It is read as text: what is compared are a few lines of it. What it becomes with every
//! combination of its parameters, and whether a deployment takes that, `make validate` tells.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use erase_user_files::lambda::metrics::{DIMENSION, METRICS, NAMESPACE};
use erase_user_files::lambda::receipt::ReceiptKind;
use serde_json::Value;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The lines below a path of keys in a YAML file of two-space indentation, without that
/// indentation.
fn section(yaml: &str, path: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = yaml.lines().map(str::to_owned).collect();
    for key in path {
        let start = lines
            .iter()
            .position(|line| line.split(": ").next().map(|k| k.trim_end_matches(':')) == Some(key));
        let start = start.unwrap_or_else(|| panic!("template.yaml has no {key} of {path:?}"));
        let mut below =
            vec![lines[start].split_once(": ").map_or("", |(_, value)| value).to_owned()];
        let block =
            lines[start + 1..].iter().take_while(|line| line.is_empty() || line.starts_with(' '));
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
    let lines = template(path)
        .into_iter()
        .filter(|line| !line.starts_with([' ', '#', '-']) && !line.is_empty());
    lines
        .filter_map(|line| line.split_once(':').map(|(key, _)| key.trim_matches('\'').to_owned()))
        .collect()
}

/// Every resource and its type.
fn resources() -> BTreeMap<String, String> {
    let type_of = |name: String| (name.clone(), value(&["Resources", &name, "Type"]));
    keys(&["Resources"]).into_iter().map(type_of).collect()
}

fn resources_of(kind: &str) -> Vec<String> {
    resources().into_iter().filter(|(_, of)| of == kind).map(|(name, _)| name).collect()
}

/// A property of a resource, as one line.
fn property(resource: &str, path: &[&str]) -> String {
    let lines = template(&[&["Resources", resource, "Properties"][..], path].concat());
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn has_property(resource: &str, name: &str) -> bool {
    keys(&["Resources", resource, "Properties"]).contains(name)
}

/// The names that a text refers to, by `!Ref` or within `!Sub`.
fn references(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric();
    let of = |start: &str| -> Vec<String> {
        let names = text
            .split(start)
            .skip(1)
            .map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default());
        names.map(str::to_owned).collect()
    };
    [of("!Ref "), of("!Ref '"), of("${"), of("!GetAtt ")]
        .concat()
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn a_message_stays_hidden_for_six_times_the_functions_timeout() {
    assert_eq!(
        value(&["Resources", "Queue", "Properties", "VisibilityTimeout"]),
        "!FindInMap [VisibilityTimeouts, !Ref FunctionTimeout, Seconds]"
    );
    assert_eq!(value(&["Resources", "Function", "Properties", "Timeout"]), "!Ref FunctionTimeout");
    let allowed = value(&["Parameters", "FunctionTimeout", "AllowedValues"]);
    let allowed: BTreeSet<u32> = allowed
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|seconds| seconds.parse().expect("seconds"))
        .collect();
    let mut mapped = BTreeSet::new();
    for line in
        template(&["Mappings", "VisibilityTimeouts"]).iter().filter(|line| line.starts_with('\''))
    {
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
    let expected =
        ["BatchSize", "FunctionResponseTypes", "Queue", "ScalingConfig"].map(str::to_owned);
    assert_eq!(keys(&event), expected.into(), "a misspelt property passes every linter");
    let value_of = |key: &'static str| value(&[&event[..], &[key]].concat());
    assert_eq!(value_of("BatchSize"), "10");
    assert_eq!(value_of("FunctionResponseTypes"), "[ReportBatchItemFailures]");
    assert_eq!(
        value(&[&event[..], &["ScalingConfig", "MaximumConcurrency"]].concat()),
        "!Ref MaximumConcurrency"
    );
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
    let redrive = property("Queue", &["RedrivePolicy"]);
    assert!(redrive.contains("deadLetterTargetArn: !GetAtt DeadLetterQueue.Arn"), "{redrive}");
    assert!(redrive.contains("maxReceiveCount: 5"), "{redrive}");
    // Everybody hears once of an erasure: at the last try.
    assert!(property("GivenUpRule", &["EventPattern"]).contains("- Try: !If [MakesQueue, 5, '*']"));
    for queue in resources_of("AWS::SQS::Queue") {
        assert_eq!(
            property(&queue, &["SqsManagedSseEnabled"]),
            "!If [HasKmsKey, !Ref 'AWS::NoValue', true]"
        );
        assert_eq!(
            property(&queue, &["KmsMasterKeyId"]),
            "!If [HasKmsKey, !Ref KmsKeyArn, !Ref 'AWS::NoValue']"
        );
    }
    let seconds = |resource, name| -> u32 { property(resource, &[name]).parse().expect("seconds") };
    let (queue, dead) = (
        seconds("Queue", "MessageRetentionPeriod"),
        seconds("DeadLetterQueue", "MessageRetentionPeriod"),
    );
    // The most that SQS takes. A message's age counts from its first queue, in both.
    assert_eq!(dead, 1_209_600);
    assert!(queue < dead);
    // Somebody is told while there is time.
    assert!(seconds("DeadLetterAgeAlarm", "Threshold") + 86_400 <= dead - queue);
    let (stuck, hidden_at_most) = (seconds("NoProgressAlarm", "Threshold"), 5_400);
    assert!(hidden_at_most * 2 <= stuck && stuck < queue / 10);
    assert!(
        template(&["Mappings", "VisibilityTimeouts"])
            .contains(&format!("'900': {{Seconds: {hidden_at_most}}}"))
    );
}

#[test]
fn what_cannot_be_made_again_outlives_the_stack() {
    let kept = [
        resources_of("AWS::SQS::Queue"),
        resources_of("AWS::S3::Bucket"),
        resources_of("AWS::S3::BucketPolicy"),
    ];
    let kept = kept.concat();
    assert_eq!(kept.len(), 5, "{kept:?}");
    for resource in kept {
        assert_eq!(
            value(&["Resources", &resource, "DeletionPolicy"]),
            "RetainExceptOnCreate",
            "{resource}"
        );
        assert_eq!(value(&["Resources", &resource, "UpdateReplacePolicy"]), "Retain", "{resource}");
    }
}

#[test]
fn queues_topic_and_bucket_refuse_plain_text() {
    let kinds = ["AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::S3::Bucket"];
    let policies = ["AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::S3::BucketPolicy"];
    let mut guarded = BTreeSet::new();
    for policy in policies.into_iter().flat_map(resources_of) {
        let text = template(&["Resources", &policy, "Properties"]).join("\n");
        let first = text.split("- Sid: ").nth(1).unwrap_or_default();
        assert!(first.starts_with("RefusePlainText\n"), "{policy}: {text}");
        let words =
            ["Effect: Deny", "Principal: '*'", "Condition: {Bool: {aws:SecureTransport: 'false'}}"];
        assert!(words.iter().all(|word| first.contains(word)), "{policy}: {text}");
        guarded.insert(policy.trim_end_matches("Policy").to_owned());
    }
    assert_eq!(guarded, kinds.into_iter().flat_map(resources_of).collect());
}

#[test]
fn stages_live_side_by_side() {
    let text = read("template.yaml");
    let fixed = [
        "QueueName",
        "BucketName",
        "RoleName",
        "TopicName",
        "FunctionName",
        "AlarmName",
        "AliasName",
    ];
    for name in fixed {
        // As a key with a value of its own; a dimension of a metric is a value.
        assert!(
            !text.lines().any(|line| line.starts_with(&format!("      {name}:"))),
            "{name} is fixed"
        );
    }
    let of_the_stack = [
        ("FunctionLogGroup", "LogGroupName"),
        ("Dashboard", "DashboardName"),
        ("SlackChannel", "ConfigurationName"),
    ];
    for (resource, name) in of_the_stack {
        assert!(property(resource, &[name]).contains("${AWS::StackName}"), "{resource}");
    }
}

#[test]
fn every_setting_that_the_code_reads_can_be_set_from_the_template() {
    let config = read("src/config.rs");
    let read_by_code: BTreeSet<String> = config
        .split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            text.len() > 3
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte == b'3')
        })
        // Lambda's, cargo lambda's and the SDK's own.
        .filter(|name| !name.starts_with("AWS_") && !name.ends_with("_PROXY"))
        .map(str::to_owned)
        .collect();
    assert!(read_by_code.len() >= 8, "{read_by_code:?}");
    let variables = ["Resources", "Function", "Properties", "Environment", "Variables"];
    assert_eq!(keys(&variables), read_by_code);
    let parameters = keys(&["Parameters"]);
    for variable in read_by_code {
        let used = references(&template(&[&variables[..], &[&variable]].concat()).join("\n"));
        assert!(
            used.iter().any(|name| parameters.contains(name)),
            "no parameter sets {variable}: {used:?}"
        );
    }
    assert_eq!(property("Function", &["LoggingConfig", "ApplicationLogLevel"]), "!Ref LogLevel");
}

#[test]
fn every_parameter_is_explained_has_its_place_in_the_form_and_does_something() {
    let text = read("template.yaml");
    let form = template(&["Metadata", "AWS::CloudFormation::Interface", "ParameterGroups"]);
    let mut in_form: Vec<String> =
        form.iter().filter_map(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect();
    in_form.retain(|name| !name.starts_with("Label"));
    in_form.sort();
    assert_eq!(in_form, keys(&["Parameters"]).into_iter().collect::<Vec<_>>(), "each once");
    let below = ["Conditions", "Resources"].map(|part| template(&[part]).join("\n")).concat();
    let used = references(&below);
    for parameter in &in_form {
        assert!(
            !template(&["Parameters", parameter, "Description"]).is_empty(),
            "{parameter} has no description"
        );
        assert!(used.contains(parameter), "{parameter} does nothing");
    }
    assert!(
        text.len() < 1_000_000,
        "`sam deploy` uploads the template, and CloudFormation takes so much from S3"
    );
}

const NOTHING: &str = "- !Ref AWS::NoValue";

/// The role's statement with this `Sid`, without its indentation, and the condition on which the
/// role has it, if any.
fn statement(sid: &str) -> (Vec<String>, Option<String>) {
    let text = read("template.yaml");
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| line.trim() == format!("- Sid: {sid}"));
    let start = start.unwrap_or_else(|| panic!("template.yaml has no statement {sid}"));
    let indentation = " ".repeat(lines[start].find('-').unwrap_or_default() + 2);
    let below: Vec<&str> =
        lines[start + 1..].iter().map_while(|line| line.strip_prefix(&indentation)).collect();
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
    let below = below
        .into_iter()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(str::to_owned)
        .collect();
    (below, condition)
}

/// What a statement allows: one action or more, in the order of the template.
fn actions(statement: &[String]) -> Vec<String> {
    let lines = section(&statement.join("\n"), &["Action"]);
    let words = lines.iter().flat_map(|line| line.trim_matches(['[', ']']).split(", "));
    words.map(|word| word.trim_start_matches("- ").to_owned()).collect()
}

/// How often exactly this action stands in a policy.
fn times_allowed(action: &str) -> usize {
    let text = template(&["Resources"]).join("\n");
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
    let expected = [
        "s3:GetBucketVersioning",
        "s3:GetBucketObjectLockConfiguration",
        "s3:ListBucketMultipartUploads",
    ];
    assert_eq!(actions(&others), expected);
    assert!(!others.iter().any(|line| line.starts_with("Condition")), "{others:?}");
    assert_eq!((condition, times_allowed("s3:ListBucketMultipartUploads")), (None, 1));
    let role = template(&["Resources", "FunctionRole"]).join("\n");
    assert!(!role.contains("s3:*") && !role.contains("sqs:*") && !role.contains("kms:*"));
    // Where Lambda needs it, which is not the function.
    assert_eq!(role.matches("Resource: '*'").count(), 2);
    let (join, condition) = statement("LetLambdaJoinVpc");
    assert!(
        join.contains(&"Resource: '*'".to_owned())
            && actions(&join).iter().all(|action| action.starts_with("ec2:"))
    );
    assert_eq!(condition.as_deref(), Some("HasVpc"));
    let (keep_out, condition) = statement("KeepCodeOutOfVpc");
    let expected = [
        "Effect: Deny",
        "Action: ec2:*",
        "Resource: '*'",
        "Condition:",
        "  'Null': {lambda:SourceFunctionArn: 'false'}",
    ];
    assert_eq!(
        (keep_out, condition.as_deref()),
        (expected.map(str::to_owned).into(), Some("HasVpc"))
    );
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
    assert_eq!(
        value(&["Conditions", "BypassesGovernance"]),
        "!Equals [!Ref BypassGovernanceRetention, 'true']"
    );
    // Every resource is below a prefix that takes at least one character for the user.
    let resources = erase.join("\n");
    assert_eq!(resources.matches(":s3:::").count(), 4);
    for number in ["1", "2", "3", "4"] {
        let object = format!(":s3:::${{Target{number}Bucket}}/${{Prefix}}*'");
        let prefix =
            format!("Prefix: !Join ['?*', !Split ['{{user_id}}', !Ref Target{number}Prefix]]");
        assert!(resources.contains(&object) && resources.contains(&prefix), "{resources}");
    }
    for action in expected.into_iter().chain(["s3:BypassGovernanceRetention"]) {
        assert_eq!(times_allowed(action), 1, "{action} stands in another statement, too");
    }
}

#[test]
fn the_role_touches_receipts_only_in_their_folder() {
    let (receipts, condition) = statement("KeepReceipts");
    assert_eq!(condition, None);
    assert_eq!(actions(&receipts), ["s3:PutObject", "s3:GetObject"]);
    assert_eq!(
        section(&receipts.join("\n"), &["Resource"]),
        [
            "!Sub",
            "- 'arn:${AWS::Partition}:s3:::${Bucket}/${ReceiptsPrefix}*'",
            "- Bucket: !If [MakesReceiptsBucket, !Ref Receipts, !Ref ReceiptsBucket]"
        ],
    );
    assert_eq!(value(&["Conditions", "MakesReceiptsBucket"]), "!Equals [!Ref ReceiptsBucket, '']");
    assert_eq!(value(&["Parameters", "ReceiptHashKey", "NoEcho"]), "true");
    // The other one reads what the team is told.
    assert_eq!((times_allowed("s3:PutObject"), times_allowed("s3:GetObject")), (1, 2));
}

#[test]
fn the_key_of_the_receipts_is_used_through_s3_alone() {
    for (sid, allowed) in [
        ("UseReceiptsKey", &["kms:Decrypt", "kms:GenerateDataKey"][..]),
        ("DecryptReceipts", &["kms:Decrypt"][..]),
    ] {
        let (key, condition) = statement(sid);
        assert_eq!(condition.as_deref(), Some("HasReceiptsKey"), "{sid}");
        assert_eq!(actions(&key), allowed, "{sid}");
        assert!(key.contains(&"Resource: !Ref ReceiptsKmsKeyId".to_owned()), "{sid}: {key:#?}");
        assert_eq!(
            section(&key.join("\n"), &["Condition", "StringEquals", "kms:ViaService"]),
            [
                "!Sub",
                "- s3.${Region}.${AWS::URLSuffix}",
                "- Region: !Select [3, !Split [':', !Ref ReceiptsKmsKeyId]]"
            ],
            "{sid}"
        );
    }
    let pattern = value(&["Parameters", "ReceiptsKmsKeyId", "AllowedPattern"]);
    assert_eq!(
        pattern,
        value(&["Parameters", "KmsKeyArn", "AllowedPattern"]),
        "a policy takes no alias, and no key's id"
    );
    assert_eq!(value(&["Parameters", "ReceiptsSse", "AllowedValues"]), "['', AES256, 'aws:kms']");
}

#[test]
fn the_bucket_of_the_receipts_has_an_owner_of_its_own() {
    let variable =
        |name| value(&["Resources", "Function", "Properties", "Environment", "Variables", name]);
    // The stack's own bucket is in the account of the stack, whichever account owns the targets.
    assert_eq!(
        variable("EXPECTED_RECEIPTS_OWNER"),
        "!If [MakesReceiptsBucket, !Ref 'AWS::AccountId', !Ref ExpectedReceiptsOwner]"
    );
    assert_eq!(variable("EXPECTED_BUCKET_OWNER"), "!Ref ExpectedBucketOwner");
}

#[test]
fn nobody_else_sends_where_senders_are_named() {
    let (send, condition) = statement("LetSendersSend");
    assert_eq!(
        (actions(&send), condition.as_deref()),
        (vec!["sqs:SendMessage".to_owned()], Some("HasSenders"))
    );
    let (refuse, condition) = statement("RefuseOtherSenders");
    assert_eq!(
        (actions(&refuse), condition.as_deref()),
        (vec!["sqs:SendMessage".to_owned()], Some("HasSenders"))
    );
    assert!(
        refuse.contains(&"Effect: Deny".to_owned())
            && refuse.contains(&"Principal: '*'".to_owned())
    );
    // Without itself, the function could not hand over to itself.
    let excepted =
        "    aws:PrincipalArn: !Split [',', !Sub '${SenderPrincipalArns},${FunctionRole.Arn}']"
            .to_owned();
    assert!(
        refuse.contains(&"  ArnNotEquals:".to_owned()) && refuse.contains(&excepted),
        "{refuse:#?}"
    );
    let (topic, condition) = statement("LetTopicSend");
    assert!(
        topic.contains(
            &"Condition: {ArnEquals: {aws:SourceArn: !Ref WithdrawalTopicArn}}".to_owned()
        )
    );
    assert_eq!(condition.as_deref(), Some("HasWithdrawalTopic"));
    // Neither a wildcard nor a whole account.
    let pattern = value(&["Parameters", "SenderPrincipalArns", "AllowedPattern"]);
    assert!(pattern.contains(":(role|user)/[^,*? ]+"), "{pattern}");
}

#[test]
fn whoever_tells_what_is_left_reads_only_that() {
    let (start, condition) = statement("StartTeller");
    assert_eq!((actions(&start), condition), (vec!["states:StartExecution".to_owned()], None));
    assert!(start.contains(&"Resource: !GetAtt Teller.Arn".to_owned()), "{start:#?}");
    let (reads, condition) = statement("ReadReceipts");
    assert_eq!((actions(&reads), condition), (vec!["s3:GetObject".to_owned()], None));
    let incomplete = ReceiptKind::Incomplete { delivery: 1, reason: String::new() };
    let object = format!(":s3:::${{Bucket}}/${{ReceiptsPrefix}}*/{}-*.json'", incomplete.name());
    assert!(reads.join("\n").contains(&object), "{reads:#?}");
    let (tells, condition) = statement("Tell");
    assert_eq!((actions(&tells), condition), (vec!["sns:Publish".to_owned()], None));
    // Of keys that it does not know, it uses only that of the topic.
    let (key, condition) = statement("UseKeyOfTopic");
    assert_eq!(condition.as_deref(), Some("HasAlarmTopic"));
    let bound = [
        "kms:ViaService: !Sub 'sns.",
        "kms:EncryptionContext:aws:sns:topicArn: !Ref AlarmTopicArn",
    ];
    assert!(bound.iter().all(|words| key.join("\n").contains(words)), "{key:#?}");
    for role in ["GivenUpRuleRole", "TellerRole"] {
        assert!(!template(&["Resources", role]).join("\n").contains("Resource: '*'"), "{role}");
    }
}

#[test]
fn nobody_acts_from_slack() {
    assert!(
        !has_property("SlackRole", "Policies") && !has_property("SlackRole", "ManagedPolicyArns")
    );
    let guardrails = property("SlackChannel", &["GuardrailPolicies"]);
    assert_eq!(guardrails, "[!Sub 'arn:${AWS::Partition}:iam::aws:policy/AWSDenyAll']");
}

#[test]
fn nothing_in_a_parameter_can_widen_the_policy() {
    let buckets = ["Target1", "Target2", "Target3", "Target4", "Receipts"];
    for name in buckets {
        let pattern = value(&["Parameters", &format!("{name}Bucket"), "AllowedPattern"]);
        assert!(pattern.contains(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]"), "{name}: {pattern}");
        let pattern = value(&["Parameters", &format!("{name}Prefix"), "AllowedPattern"]);
        // The signs of wildcards and of variables.
        let folders = if name == "Receipts" { r#"([^/{}*?$,"\\]+/)*"# } else { "([^/{}*?$,]+/)*" };
        assert!(pattern.contains(folders), "{name}: {pattern}");
        assert!(name == "Receipts" || pattern.contains(r"\{user_id\}/"), "{name}: {pattern}");
        // With more, the policy would be longer than the 10,240 characters that IAM takes, or the
        // settings longer than the 4 KB that Lambda takes:
        // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
        // https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        let longest = if name == "Receipts" { "256" } else { "512" };
        assert_eq!(value(&["Parameters", &format!("{name}Prefix"), "MaxLength"]), longest);
    }
}

/// The dashboard's widgets, with 1 for whatever is put in.
fn widgets() -> Vec<Value> {
    let body = template(&["Resources", "Dashboard", "Properties", "DashboardBody"]);
    let text: Vec<&str> =
        body.iter().map(|line| line.trim()).skip_while(|line| *line != "- |").skip(1).collect();
    let text = text.join(" ");
    let text = text.split("- QueueName: ").next().unwrap_or_default();
    let mut parts = text.split("${");
    let mut json = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        json.push('1');
        json.push_str(part.split_once('}').map_or("", |(_, rest)| rest));
    }
    let body: Value = serde_json::from_str(&json)
        .unwrap_or_else(|error| panic!("the dashboard is no JSON: {error}"));
    body["widgets"].as_array().expect("widgets").clone()
}

/// The metrics of AWS that alarms and the dashboard use.
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html>
const OF_AWS: [(&str, &str, &[&str]); 2] = [
    ("AWS/Lambda", "FunctionName", &["Duration", "Errors", "Invocations", "Throttles"]),
    (
        "AWS/SQS",
        "QueueName",
        &[
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
        ],
    ),
];

fn assert_is_emitted(place: &str, namespace: &str, metric: &str, dimension: &str) {
    let ours = METRICS.map(|(name, _)| name);
    let all = OF_AWS.into_iter().chain([(NAMESPACE, DIMENSION, &ours[..])]);
    let found = all.into_iter().find(|(name, ..)| *name == namespace);
    let (_, dimensions, metrics) =
        found.unwrap_or_else(|| panic!("{place}: nobody emits into {namespace}"));
    assert_eq!(dimension, dimensions, "{place}");
    assert!(metrics.contains(&metric), "{place}: nobody emits {namespace} {metric}");
}

/// The YAML of every metric that an alarm is about: that of the alarm itself, or of each `Metric`
/// in its `Metrics`.
fn metrics_of(alarm: &str) -> Vec<String> {
    let properties = template(&["Resources", alarm, "Properties"]).join("\n");
    if !has_property(alarm, "Metrics") {
        return vec![properties];
    }
    let queries = section(&properties, &["Metrics"]).join("\n");
    let queries = queries.split("- Id: ").filter(|query| query.contains("MetricStat:"));
    // What belongs to an item of a list is two columns further in.
    let unindented = queries.map(|query| query.replace("\n  ", "\n"));
    unindented.map(|query| section(&query, &["MetricStat", "Metric"]).join("\n")).collect()
}

#[test]
fn every_alarm_is_about_a_metric_that_is_emitted() {
    let alarms = resources_of("AWS::CloudWatch::Alarm");
    assert!(alarms.len() >= 8, "{alarms:?}");
    for alarm in alarms {
        for metric in metrics_of(&alarm) {
            let of = |name: &str| section(&metric, &[name]).join(" ");
            let dimensions = of("Dimensions");
            let name = dimensions.trim_start().strip_prefix("- Name: ");
            let dimension = name.and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            assert_is_emitted(&alarm, &of("Namespace"), &of("MetricName"), dimension);
            assert_eq!(dimensions.matches("Name: ").count(), 1, "{alarm}");
            let queue = if alarm.starts_with("DeadLetter") { "DeadLetterQueue" } else { "Queue" };
            let watched = if dimension == "QueueName" {
                format!("!GetAtt {queue}.QueueName")
            } else {
                "!Ref Function".to_owned()
            };
            assert!(dimensions.contains(&watched), "{alarm} watches {dimensions}");
        }
        let of = |name: &str| property(&alarm, &[name]);
        // A metric that nobody emits, because nothing happens, is no alarm; whoever listens hears
        // every alarm.
        assert_eq!(of("TreatMissingData"), "notBreaching", "{alarm}");
        let told = "!If [HasAlerts, [!If [HasAlarmTopic, !Ref AlarmTopicArn, !Ref AlertTopic]], !Ref 'AWS::NoValue']";
        assert_eq!(of("AlarmActions"), told, "{alarm}");
    }
}

/// What it computes with, `make validate` checks.
#[test]
fn most_of_a_days_erasures_finding_nothing_is_an_alarm() {
    let alarm = "FoundNothingAlarm";
    let metrics = property(alarm, &["Metrics"]);
    assert!(
        metrics.contains(
            "Expression: IF(completed >= 5, 100 * nothing / completed, 0) ReturnData: true"
        ),
        "{metrics}"
    );
    for (id, metric) in [("completed", "ErasuresCompleted"), ("nothing", "ErasuresFoundNothing")] {
        let query = metrics.split("- Id: ").find(|query| query.starts_with(id)).unwrap_or_default();
        let whole_days = query.contains("Stat: Sum Period: 86400");
        assert!(query.contains(&format!("MetricName: {metric} ")) && whole_days, "{id}: {query}");
    }
    assert_eq!(
        (property(alarm, &["Threshold"]), property(alarm, &["EvaluationPeriods"])),
        ("50".to_owned(), "1".to_owned())
    );
    assert_eq!(property(alarm, &["ComparisonOperator"]), "GreaterThanThreshold");
}

#[test]
fn the_dashboard_shows_every_alarm() {
    let dashboard = template(&["Resources", "Dashboard", "Properties"]).join("\n");
    for alarm in resources_of("AWS::CloudWatch::Alarm") {
        assert!(
            dashboard.contains(&format!("!GetAtt {alarm}.Arn")),
            "the dashboard does not show {alarm}"
        );
    }
}

#[test]
fn the_dashboard_shows_every_metric_that_the_code_emits_and_no_other() {
    let mut shown = BTreeSet::new();
    for widget in widgets() {
        let title = widget["properties"]["title"].as_str().unwrap_or_default().to_owned();
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            let words: Vec<&str> =
                metric.as_array().expect("a metric").iter().filter_map(Value::as_str).collect();
            match words[..] {
                [namespace, name, dimension, _] => {
                    assert_is_emitted(&title, namespace, name, dimension);
                    shown.insert(name.to_owned());
                }
                // An expression over others.
                [] => {}
                _ => panic!("{title}: {metric}"),
            }
        }
    }
    for (metric, _) in METRICS {
        assert!(shown.contains(metric), "the dashboard does not show {metric}");
    }
}

#[test]
fn the_dashboard_asks_for_fields_that_are_in_the_log() {
    let handler = read("src/lambda/log.rs");
    let queries: Vec<String> = widgets()
        .iter()
        .filter(|widget| widget["type"] == "log")
        .map(|widget| widget["properties"]["query"].as_str().expect("a query").to_owned())
        .collect();
    let [_, unhappy] = &queries[..] else { panic!("{queries:#?}") };
    let (_, fields) = unhappy.split_once("| display @timestamp, ").expect("fields");
    for field in fields.split(", ").chain(["outcome"]) {
        assert!(handler.contains(&format!(" {field} = ")), "no line has {field}");
    }
    let outcomes = read("src/lambda/outcome.rs");
    let (_, listed) = unhappy.split_once("outcome in [").expect("outcomes");
    for outcome in listed.split(']').next().unwrap_or_default().split(", ") {
        assert!(outcomes.contains(&outcome.replace('\'', "\"")), "there is no outcome {outcome}");
    }
}

/// As GitHub makes them: <https://docs.github.com/en/get-started/writing-on-github>
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn every_alarm_says_what_to_do_first_and_links_to_a_heading_of_the_runbook() {
    let runbook = read("docs/runbook.md");
    let headings: BTreeSet<String> = runbook
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    for alarm in resources_of("AWS::CloudWatch::Alarm") {
        let description = property(&alarm, &["AlarmDescription"]);
        let link = description.rsplit(' ').next().unwrap_or_default();
        assert!(
            link.starts_with("${RunbookUrl}#"),
            "{alarm} does not end with a link: {description}"
        );
        assert!(
            description.contains(" First "),
            "{alarm} does not say what to do first: {description}"
        );
    }
    // The state machine has a name of its own for it.
    let text = read("template.yaml").replace("${Runbook}#", "${RunbookUrl}#");
    let is_anchor = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let links: BTreeSet<&str> = text
        .split("${RunbookUrl}#")
        .skip(1)
        .map(|rest| rest.split(|c| !is_anchor(c)).next().unwrap_or_default())
        .collect();
    assert_eq!(links.len(), 6, "{links:?}");
    for link in links {
        assert!(headings.contains(link), "docs/runbook.md has no heading {link}: {headings:#?}");
    }
}

#[test]
fn days_are_seconds_and_the_alarm_comes_before_the_law() {
    assert_eq!(
        property("OldestErasureAlarm", &["Threshold"]),
        "!FindInMap [Days, !Ref OldestErasureDays, Seconds]"
    );
    let allowed = value(&["Parameters", "OldestErasureDays", "AllowedValues"]);
    let mapped: Vec<String> = template(&["Mappings", "Days"])
        .iter()
        .map(|line| {
            let (days, seconds) = line.split_once(": {Seconds: ").expect("a mapping");
            let days: u32 = days.trim_matches('\'').parse().expect("days");
            assert_eq!(seconds, format!("{}}}", days * 86_400), "{line}");
            assert!(days < 30, "{line}");
            days.to_string()
        })
        .collect();
    assert_eq!(allowed, format!("[{}]", mapped.join(", ")));
    assert_eq!(value(&["Parameters", "OldestErasureDays", "Default"]), "20");
}

#[test]
fn the_rules_wait_for_the_names_that_receipts_have() {
    let incomplete = ReceiptKind::Incomplete { delivery: 1, reason: String::new() };
    let key = format!(
        "wildcard: !Sub '${{ReceiptsPrefix}}*/{}.json'",
        ReceiptKind::Erased { found_nothing: false }.name()
    );
    assert!(property("ErasedRule", &["EventPattern"]).contains(&key));
    let key = format!("${{ReceiptsPrefix}}*/{}-${{Try}}.json", incomplete.name());
    assert!(property("GivenUpRule", &["EventPattern"]).contains(&key));
    assert!(
        property("Receipts", &["NotificationConfiguration"]).contains("{EventBridgeEnabled: true}")
    );
}
