//! What no template linter checks: that `template.yaml` agrees with the code.
//!
//! `make validate` checks what the template becomes with every combination of its parameters, and
//! whether a deployment takes that.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use erase_user_files::lambda::metrics::{DIMENSION, METRICS, NAMESPACE};
use erase_user_files::lambda::receipt::ReceiptKind;
use regex_lite::Regex;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Value, json};

static TEMPLATE: LazyLock<Value> = LazyLock::new(|| yaml(&read("template.yaml")));

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// A YAML document. A tag such as `!Ref Queue` becomes `{"!Ref": "Queue"}`.
fn yaml(text: &str) -> Value {
    let documents = Yaml::load_from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    json_of(documents.first().expect("a document"))
}

fn json_of(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Tagged(tag, inner) => json!({ format!("!{}", tag.suffix): json_of(inner) }),
        Yaml::Mapping(mapping) => mapping
            .iter()
            .map(|(key, value)| (key.as_str().expect("a key is text").to_owned(), json_of(value)))
            .collect(),
        Yaml::Sequence(items) => items.iter().map(json_of).collect(),
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.into_inner()),
        Yaml::Value(Scalar::String(text)) | Yaml::Representation(text, ..) => json!(text),
        Yaml::Alias(_) | Yaml::BadValue => panic!("not expected in a template: {node:?}"),
    }
}

/// The part of the template below a path such as `Resources/Queue`.
fn at(path: &str) -> &'static Value {
    let found = TEMPLATE.pointer(&format!("/{path}"));
    found.unwrap_or_else(|| panic!("template.yaml has no {path}"))
}

fn keys(path: &str) -> BTreeSet<&'static str> {
    at(path).as_object().expect("a mapping").keys().map(String::as_str).collect()
}

fn property(resource: &str, path: &str) -> &'static Value {
    at(&format!("Resources/{resource}/Properties/{path}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn resources_of(kind: &str) -> Vec<&'static str> {
    let resources = at("Resources").as_object().expect("a mapping").iter();
    resources.filter(|(_, of)| of["Type"] == kind).map(|(name, _)| name.as_str()).collect()
}

fn assert_equals(values: &[(&str, &str)]) {
    for (path, expected) in values {
        assert_eq!(*at(path), yaml(expected), "{path}");
    }
}

/// Calls a function with every value in a tree, each with the key before it.
fn visit<'a>(key: &'a str, value: &'a Value, each: &mut impl FnMut(&'a str, &'a Value)) {
    each(key, value);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| visit(key, value, each)),
        Value::Array(items) => items.iter().for_each(|item| visit(key, item, each)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The names that a part of the template refers to, by `!Ref`, `!GetAtt` or within `!Sub`.
fn references(part: &Value) -> BTreeSet<String> {
    let in_text = Regex::new(r"\$\{(\w+)").expect("a pattern");
    let mut names = BTreeSet::new();
    visit("", part, &mut |key, value| {
        let Some(text) = value.as_str() else { return };
        if key == "!Ref" || key == "!GetAtt" {
            names.insert(text.split('.').next().unwrap_or_default().to_owned());
        }
        names.extend(in_text.captures_iter(text).map(|found| found[1].to_owned()));
    });
    names
}

/// How often a text is a value in a part of the template.
fn count(part: &Value, text: &str) -> usize {
    let mut times = 0;
    visit("", part, &mut |_, value| times += usize::from(value == text));
    times
}

/// The policy statement with this `Sid`, and the condition of the `!If` around it, if there is one.
fn statement(sid: &str) -> (&'static Value, Option<String>) {
    let nothing = json!({"!Ref": "AWS::NoValue"});
    let (mut found, mut condition) = (None, None);
    visit("", at("Resources"), &mut |key, value| {
        if value["Sid"] == sid {
            found = Some(value);
        }
        if let ("!If", Some([name, yes, no])) = (key, value.as_array().map(Vec::as_slice)) {
            let name = name.as_str().expect("the name of a condition");
            let (is_yes, is_no) = (yes["Sid"] == sid, no["Sid"] == sid);
            if is_yes || is_no {
                assert_eq!(*if is_yes { no } else { yes }, nothing, "{sid}");
                condition = Some(format!("{}{name}", if is_yes { "" } else { "not " }));
            }
        }
    });
    (found.unwrap_or_else(|| panic!("template.yaml has no statement {sid}")), condition)
}

/// Asserts that the statement is this YAML, apart from its `Sid`.
fn assert_statement(sid: &str, condition: Option<&str>, expected: &str) {
    let (found, is_on_condition) = statement(sid);
    let mut found = found.clone();
    found.as_object_mut().expect("a mapping").remove("Sid");
    assert_eq!((found, is_on_condition.as_deref()), (yaml(expected), condition), "{sid}");
}

#[test]
fn visibility_timeout_is_six_times_the_function_timeout() {
    assert_equals(&[
        (
            "Resources/Queue/Properties/VisibilityTimeout",
            "!FindInMap [VisibilityTimeouts, !Ref FunctionTimeout, Seconds]",
        ),
        ("Resources/Function/Properties/Timeout", "!Ref FunctionTimeout"),
    ]);
    let mut mapped = BTreeSet::new();
    for timeout in keys("Mappings/VisibilityTimeouts") {
        let visibility = number(at(&format!("Mappings/VisibilityTimeouts/{timeout}/Seconds")));
        let timeout: u64 = timeout.parse().expect("seconds");
        assert!(visibility >= 6 * timeout && visibility <= 43_200, "{timeout}");
        assert!((1..=900).contains(&timeout), "{timeout}");
        mapped.insert(timeout);
    }
    let allowed = at("Parameters/FunctionTimeout/AllowedValues").as_array().expect("a list");
    assert_eq!(allowed.iter().map(number).collect::<BTreeSet<_>>(), mapped);
}

#[test]
fn event_source_mapping_has_exactly_these_properties() {
    assert_equals(&[
        // No linter reports a property with a wrong name.
        (
            "Resources/Function/Properties/Events/Messages/Properties",
            "{Queue: !If [MakesQueue, !GetAtt Queue.Arn, !Ref ExistingQueueArn], BatchSize: 10, \
             FunctionResponseTypes: [ReportBatchItemFailures], \
             ScalingConfig: {MaximumConcurrency: !Ref MaximumConcurrency}}",
        ),
        ("Parameters/MaximumConcurrency/Default", "2"),
        ("Parameters/MaximumConcurrency/MinValue", "2"),
    ]);
}

#[test]
fn function_allows_recursion_and_unwinds_panics() {
    assert_equals(&[
        ("Resources/Function/Properties/RecursiveLoop", "Allow"),
        ("Resources/Function/Properties/Runtime", "provided.al2023"),
        ("Resources/Function/Metadata/BuildMethod", "rust-cargolambda"),
        ("Parameters/Architecture/Default", "arm64"),
    ]);
    assert!(read("Cargo.toml").contains("panic = \"unwind\""), "cargo-lambda would set abort");
}

#[test]
fn queues_are_encrypted_and_keep_messages_until_the_team_is_notified() {
    assert_equals(&[(
        "Resources/Queue/Properties/RedrivePolicy",
        "{deadLetterTargetArn: !GetAtt DeadLetterQueue.Arn, maxReceiveCount: 5}",
    )]);
    for queue in resources_of("AWS::SQS::Queue") {
        assert_equals(&[
            (
                &format!("Resources/{queue}/Properties/SqsManagedSseEnabled"),
                "!If [HasKmsKey, !Ref 'AWS::NoValue', true]",
            ),
            (
                &format!("Resources/{queue}/Properties/KmsMasterKeyId"),
                "!If [HasKmsKey, !Ref KmsKeyArn, !Ref 'AWS::NoValue']",
            ),
        ]);
    }
    let seconds = |resource, name| number(property(resource, name));
    let queue = seconds("Queue", "MessageRetentionPeriod");
    let dead_letters = seconds("DeadLetterQueue", "MessageRetentionPeriod");
    // SQS keeps a message for at most 14 days, counted from its first queue.
    assert_eq!(dead_letters, 1_209_600);
    // The alarm leaves a day to redrive a dead letter.
    assert!(seconds("DeadLetterAgeAlarm", "Threshold") + 86_400 <= dead_letters - queue);
    let longest_visibility = number(at("Mappings/VisibilityTimeouts/900/Seconds"));
    let no_progress = seconds("NoProgressAlarm", "Threshold");
    assert!(longest_visibility * 2 <= no_progress && no_progress < queue / 10);
}

#[test]
fn queues_and_buckets_outlive_the_stack() {
    let kinds = ["AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::S3::BucketPolicy"];
    let retained: Vec<&str> = kinds.into_iter().flat_map(resources_of).collect();
    assert_eq!(retained.len(), 5, "{retained:?}");
    for resource in retained {
        let resource = at(&format!("Resources/{resource}"));
        assert_eq!(resource["DeletionPolicy"], "RetainExceptOnCreate", "{resource}");
        assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{resource}");
    }
}

#[test]
fn queues_topic_and_bucket_deny_plain_text() {
    let kinds = ["AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::S3::Bucket"];
    let mut guarded = BTreeSet::new();
    for policy in kinds.into_iter().flat_map(|kind| resources_of(&format!("{kind}Policy"))) {
        let first = property(policy, "PolicyDocument/Statement/0");
        let expected = json!(["RefusePlainText", "Deny", "*"]);
        assert_eq!(json!([first["Sid"], first["Effect"], first["Principal"]]), expected);
        assert_eq!(first["Condition"], json!({"Bool": {"aws:SecureTransport": "false"}}));
        guarded.insert(policy.trim_end_matches("Policy"));
    }
    assert_eq!(guarded, kinds.into_iter().flat_map(resources_of).collect());
}

#[test]
fn stacks_of_one_account_have_no_name_in_common() {
    let fixed = [
        "QueueName",
        "BucketName",
        "RoleName",
        "TopicName",
        "FunctionName",
        "AlarmName",
        "AliasName",
    ];
    for (name, resource) in at("Resources").as_object().expect("a mapping") {
        for property in fixed {
            assert_eq!(resource["Properties"][property], Value::Null, "{name} has a {property}");
        }
    }
    for (resource, name) in [
        ("FunctionLogGroup", "LogGroupName"),
        ("Dashboard", "DashboardName"),
        ("SlackChannel", "ConfigurationName"),
    ] {
        let name = property(resource, name).to_string();
        assert!(name.contains("${AWS::StackName}"), "{resource}: {name}");
    }
}

#[test]
fn every_setting_in_code_has_a_parameter() {
    let config = read("src/config.rs");
    let code = config.split("#[cfg(test)]").next().unwrap_or_default();
    let names = Regex::new(r#""([A-Z_3]{4,})""#).expect("a pattern");
    let read_by_code: BTreeSet<&str> = names
        .captures_iter(code)
        .filter_map(|found| found.get(1).map(|name| name.as_str()))
        // Variables of Lambda, cargo lambda and the SDK.
        .filter(|name| !name.starts_with("AWS_") && !name.ends_with("_PROXY"))
        .collect();
    assert!(read_by_code.len() >= 8, "{read_by_code:?}");
    let variables = "Resources/Function/Properties/Environment/Variables";
    assert_eq!(keys(variables), read_by_code);
    let parameters = keys("Parameters");
    for variable in read_by_code {
        let used = references(at(&format!("{variables}/{variable}")));
        let is_set = used.iter().any(|name| parameters.contains(name.as_str()));
        assert!(is_set, "no parameter sets {variable}: {used:?}");
    }
    assert_eq!(
        *property("Function", "LoggingConfig/ApplicationLogLevel"),
        json!({"!Ref": "LogLevel"})
    );
}

#[test]
fn every_parameter_is_described_listed_once_in_the_form_and_used() {
    let groups = at("Metadata/AWS::CloudFormation::Interface/ParameterGroups");
    let groups = groups.as_array().expect("a list").iter();
    let mut in_form: Vec<&str> = groups
        .flat_map(|group| group["Parameters"].as_array().expect("a list"))
        .filter_map(Value::as_str)
        .collect();
    in_form.sort_unstable();
    assert_eq!(in_form, keys("Parameters").into_iter().collect::<Vec<_>>());
    let mut used = references(at("Resources"));
    used.extend(references(at("Conditions")));
    for parameter in in_form {
        assert!(at(&format!("Parameters/{parameter}/Description")).is_string(), "{parameter}");
        assert!(used.contains(parameter), "nothing uses {parameter}");
    }
}

#[test]
fn role_lists_only_below_a_user_prefix() {
    for number in 1..=4 {
        let condition = (number != 1).then(|| format!("HasTarget{number}"));
        let expected = format!(
            "{{Effect: Allow, Action: ['s3:ListBucket', 's3:ListBucketVersions'], \
             Resource: !Sub 'arn:${{AWS::Partition}}:s3:::${{Target{number}Bucket}}', \
             Condition: {{StringLike: {{'s3:prefix': \
             !Join ['?*', !Split ['{{user_id}}', !Ref Target{number}Prefix]]}}}}}}"
        );
        assert_statement(&format!("ListTarget{number}"), condition.as_deref(), &expected);
    }
    for (action, times) in
        [("s3:ListBucket", 4), ("s3:ListBucketVersions", 4), ("s3:ListBucketMultipartUploads", 1)]
    {
        assert_eq!(count(at("Resources"), action), times, "{action}");
    }
    // These actions know no condition on the prefix: with one, they would be denied.
    let (others, condition) = statement("LookIntoTargets");
    let expected = [
        "s3:GetBucketVersioning",
        "s3:GetBucketObjectLockConfiguration",
        "s3:ListBucketMultipartUploads",
    ];
    assert_eq!(
        (&others["Action"], &others["Condition"], condition),
        (&json!(expected), &Value::Null, None)
    );
    let role = at("Resources/FunctionRole");
    for action in ["s3:*", "sqs:*", "kms:*"] {
        assert_eq!(count(role, action), 0, "{action}");
    }
    // Lambda needs all resources to join a VPC; the function's own code is denied the same actions.
    assert_eq!(count(role, "*"), 2);
    let (join, condition) = statement("LetLambdaJoinVpc");
    let actions = join["Action"].as_array().expect("a list").iter().filter_map(Value::as_str);
    assert!(actions.clone().all(|action| action.starts_with("ec2:")), "{join}");
    assert_eq!((&join["Resource"], condition.as_deref()), (&json!("*"), Some("HasVpc")));
    assert_statement(
        "KeepCodeOutOfVpc",
        Some("HasVpc"),
        "{Effect: Deny, Action: 'ec2:*', Resource: '*', \
         Condition: {'Null': {'lambda:SourceFunctionArn': 'false'}}}",
    );
}

#[test]
fn role_of_a_dry_run_cannot_delete() {
    let (erase, condition) = statement("Erase");
    assert_eq!(condition.as_deref(), Some("not IsDryRun"));
    let actions = [
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
        "s3:GetObjectRetention",
        "s3:GetObjectLegalHold",
    ];
    let bypass =
        yaml("!If [BypassesGovernance, 's3:BypassGovernanceRetention', !Ref 'AWS::NoValue']");
    let expected: Vec<Value> = actions.iter().map(|action| json!(action)).chain([bypass]).collect();
    assert_eq!(erase["Action"], json!(expected));
    assert_equals(&[
        ("Conditions/IsDryRun", "!Equals [!Ref DryRun, 'true']"),
        ("Conditions/BypassesGovernance", "!Equals [!Ref BypassGovernanceRetention, 'true']"),
    ]);
    // Every resource is below a prefix with at least one character for the user.
    let resources = (1..=4).map(|number| {
        let resource = yaml(&format!(
            "!Sub ['arn:${{AWS::Partition}}:s3:::${{Target{number}Bucket}}/${{Prefix}}*', \
             {{Prefix: !Join ['?*', !Split ['{{user_id}}', !Ref Target{number}Prefix]]}}]"
        ));
        if number == 1 {
            resource
        } else {
            json!({"!If": [format!("HasTarget{number}"), resource, {"!Ref": "AWS::NoValue"}]})
        }
    });
    assert_eq!(erase["Resource"], resources.collect::<Value>());
    for action in actions.into_iter().chain(["s3:BypassGovernanceRetention"]) {
        assert_eq!(count(at("Resources"), action), 1, "another statement has {action}");
    }
}

const RECEIPTS_BUCKET: &str =
    "Bucket: !If [MakesReceiptsBucket, !Ref Receipts, !Ref ReceiptsBucket]";

#[test]
fn role_reaches_receipts_only_in_their_folder() {
    assert_statement(
        "KeepReceipts",
        None,
        &format!(
            "{{Effect: Allow, Action: ['s3:PutObject', 's3:GetObject'], Resource: !Sub \
             ['arn:${{AWS::Partition}}:s3:::${{Bucket}}/${{ReceiptsPrefix}}*', \
             {{{RECEIPTS_BUCKET}}}]}}"
        ),
    );
    assert_equals(&[
        ("Conditions/MakesReceiptsBucket", "!Equals [!Ref ReceiptsBucket, '']"),
        ("Parameters/ReceiptHashKey/NoEcho", "true"),
    ]);
    // The state machine that notifies the team has the other s3:GetObject.
    let resources = at("Resources");
    assert_eq!((count(resources, "s3:PutObject"), count(resources, "s3:GetObject")), (1, 2));
}

#[test]
fn receipts_key_is_used_through_s3_alone() {
    for (sid, actions) in [
        ("UseReceiptsKey", "['kms:Decrypt', 'kms:GenerateDataKey']"),
        ("DecryptReceipts", "'kms:Decrypt'"),
    ] {
        let expected = format!(
            "{{Effect: Allow, Action: {actions}, Resource: !Ref ReceiptsKmsKeyId, \
             Condition: {{StringEquals: {{'kms:ViaService': !Sub ['s3.${{Region}}.${{AWS::URLSuffix}}', \
             {{Region: !Select [3, !Split [':', !Ref ReceiptsKmsKeyId]]}}]}}}}}}"
        );
        assert_statement(sid, Some("HasReceiptsKey"), &expected);
    }
    // A policy takes neither an alias nor the id of a key.
    assert_eq!(
        at("Parameters/ReceiptsKmsKeyId/AllowedPattern"),
        at("Parameters/KmsKeyArn/AllowedPattern")
    );
    assert_equals(&[("Parameters/ReceiptsSse/AllowedValues", "['', AES256, 'aws:kms']")]);
}

#[test]
fn receipts_bucket_has_an_expected_owner_of_its_own() {
    let variables = "Resources/Function/Properties/Environment/Variables";
    assert_equals(&[
        // The stack's own bucket is in the account of the stack, whichever account has the targets.
        (
            &format!("{variables}/EXPECTED_RECEIPTS_OWNER"),
            "!If [MakesReceiptsBucket, !Ref 'AWS::AccountId', !Ref ExpectedReceiptsOwner]",
        ),
        (&format!("{variables}/EXPECTED_BUCKET_OWNER"), "!Ref ExpectedBucketOwner"),
    ]);
}

#[test]
fn only_named_senders_may_send() {
    assert_statement(
        "LetSendersSend",
        Some("HasSenders"),
        "{Effect: Allow, Principal: {AWS: !Split [',', !Ref SenderPrincipalArns]}, \
         Action: 'sqs:SendMessage', Resource: !GetAtt Queue.Arn}",
    );
    // The function sends continuations to its own queue.
    assert_statement(
        "RefuseOtherSenders",
        Some("HasSenders"),
        "{Effect: Deny, Principal: '*', Action: 'sqs:SendMessage', Resource: !GetAtt Queue.Arn, \
         Condition: {ArnNotEquals: {'aws:PrincipalArn': \
         !Split [',', !Sub '${SenderPrincipalArns},${FunctionRole.Arn}']}, \
         BoolIfExists: {'aws:PrincipalIsAWSService': 'false'}}}",
    );
    assert_statement(
        "LetTopicSend",
        Some("HasWithdrawalTopic"),
        "{Effect: Allow, Principal: {Service: sns.amazonaws.com}, Action: 'sqs:SendMessage', \
         Resource: !GetAtt Queue.Arn, \
         Condition: {ArnEquals: {'aws:SourceArn': !Ref WithdrawalTopicArn}}}",
    );
    // Neither a wildcard nor a whole account.
    let pattern = at("Parameters/SenderPrincipalArns/AllowedPattern").to_string();
    assert!(pattern.contains(":(role|user)/[^,*? ]+"), "{pattern}");
}

#[test]
fn notifying_state_machine_reads_only_incomplete_receipts() {
    assert_statement(
        "StartTeller",
        None,
        "{Effect: Allow, Action: 'states:StartExecution', Resource: !GetAtt Teller.Arn}",
    );
    let incomplete = ReceiptKind::Incomplete { delivery: 1, reason: String::new() };
    assert_statement(
        "ReadReceipts",
        None,
        &format!(
            "{{Effect: Allow, Action: 's3:GetObject', Resource: !Sub \
             ['arn:${{AWS::Partition}}:s3:::${{Bucket}}/${{ReceiptsPrefix}}*/{}-*.json', \
             {{{RECEIPTS_BUCKET}}}]}}",
            incomplete.name()
        ),
    );
    assert_statement(
        "Tell",
        None,
        "{Effect: Allow, Action: 'sns:Publish', \
         Resource: !If [HasAlarmTopic, !Ref AlarmTopicArn, !Ref AlertTopic]}",
    );
    // The template does not know the key of an existing topic.
    let (key, condition) = statement("UseKeyOfTopic");
    assert_eq!(condition.as_deref(), Some("HasAlarmTopic"));
    let bound = "{StringEquals: \
                 {'kms:ViaService': !Sub 'sns.${AWS::Region}.${AWS::URLSuffix}', \
                 'kms:EncryptionContext:aws:sns:topicArn': !Ref AlarmTopicArn}}";
    assert_eq!(key["Condition"], yaml(bound));
    for role in ["GivenUpRuleRole", "TellerRole"] {
        assert_eq!(count(at(&format!("Resources/{role}")), "*"), 0, "{role}");
    }
}

#[test]
fn slack_channel_can_do_nothing() {
    let role = keys("Resources/SlackRole/Properties");
    assert!(!role.contains("Policies") && !role.contains("ManagedPolicyArns"), "{role:?}");
    assert_equals(&[(
        "Resources/SlackChannel/Properties/GuardrailPolicies",
        "[!Sub 'arn:${AWS::Partition}:iam::aws:policy/AWSDenyAll']",
    )]);
}

#[test]
fn parameters_cannot_widen_a_policy() {
    for name in ["Target1", "Target2", "Target3", "Target4", "Receipts"] {
        let pattern_of = |kind: &str| {
            let pattern = at(&format!("Parameters/{name}{kind}/AllowedPattern"));
            pattern.as_str().expect("a pattern")
        };
        let pattern = pattern_of("Bucket");
        assert!(pattern.contains(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]"), "{name}: {pattern}");
        let pattern = pattern_of("Prefix");
        // No characters of wildcards or variables.
        let folders = if name == "Receipts" { r#"([^/{}*?$,"\\]+/)*"# } else { "([^/{}*?$,]+/)*" };
        assert!(pattern.contains(folders), "{name}: {pattern}");
        assert!(name == "Receipts" || pattern.contains(r"\{user_id\}/"), "{name}: {pattern}");
        // Longer prefixes make the policy longer than the 10,240 characters that IAM takes, or the
        // settings longer than the 4 KB that Lambda takes:
        // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
        // https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        let longest = if name == "Receipts" { 256 } else { 512 };
        assert_eq!(*at(&format!("Parameters/{name}Prefix/MaxLength")), longest, "{name}");
    }
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

fn assert_is_emitted(place: &str, metric: [&Value; 3]) {
    let [namespace, name, dimension] = metric.map(|part| part.as_str().unwrap_or_default());
    let ours = METRICS.map(|(name, _)| name);
    let all = OF_AWS.into_iter().chain([(NAMESPACE, DIMENSION, &ours[..])]);
    let found = all.into_iter().find(|(known, ..)| *known == namespace);
    let (_, dimensions, names) =
        found.unwrap_or_else(|| panic!("{place}: nobody emits into {namespace}"));
    assert_eq!(dimension, dimensions, "{place}");
    assert!(names.contains(&name), "{place}: nobody emits {namespace} {name}");
}

#[test]
fn every_alarm_watches_an_emitted_metric_and_links_to_the_runbook() {
    let alarms = resources_of("AWS::CloudWatch::Alarm");
    assert!(alarms.len() >= 8, "{alarms:?}");
    for alarm in alarms {
        let properties = at(&format!("Resources/{alarm}/Properties"));
        let of_queries = properties["Metrics"].as_array().into_iter().flatten();
        let of_queries = of_queries.filter_map(|query| query.pointer("/MetricStat/Metric"));
        let is_direct = properties.get("MetricName").is_some();
        let metrics: Vec<&Value> = of_queries.chain(is_direct.then_some(properties)).collect();
        assert!(!metrics.is_empty(), "{alarm}");
        for metric in metrics {
            let dimension = &metric["Dimensions"][0]["Name"];
            assert_is_emitted(alarm, [&metric["Namespace"], &metric["MetricName"], dimension]);
            let dimensions = metric["Dimensions"].as_array().expect("a list");
            assert_eq!(dimensions.len(), 1, "{alarm}");
            let queue = if alarm.starts_with("DeadLetter") { "DeadLetterQueue" } else { "Queue" };
            let watched = if dimension == "QueueName" {
                json!({"!GetAtt": format!("{queue}.QueueName")})
            } else {
                json!({"!Ref": "Function"})
            };
            let is_watched = dimensions[0]["Value"].to_string().contains(&watched.to_string());
            assert!(is_watched, "{alarm} watches {dimensions:?}");
        }
        // Where nothing happens, nobody emits a metric.
        assert_eq!(properties["TreatMissingData"], "notBreaching", "{alarm}");
        let topic = "!If [HasAlerts, [!If [HasAlarmTopic, !Ref AlarmTopicArn, !Ref AlertTopic]], !Ref 'AWS::NoValue']";
        assert_eq!(properties["AlarmActions"], yaml(topic), "{alarm}");
        let description = properties["AlarmDescription"]["!Sub"].as_str().unwrap_or_default();
        let link = description.rsplit(' ').next().unwrap_or_default();
        assert!(link.starts_with("${RunbookUrl}#"), "{alarm}: {description}");
        assert!(description.contains(" First "), "{alarm}: {description}");
    }
}

/// `make validate` checks the expression.
#[test]
fn alarm_on_erasures_that_found_nothing_counts_whole_days() {
    let alarm = at("Resources/FoundNothingAlarm/Properties");
    let [expression, completed, nothing] = &alarm["Metrics"].as_array().expect("a list")[..] else {
        panic!("{alarm}")
    };
    assert_eq!(expression["Expression"], "IF(completed >= 5, 100 * nothing / completed, 0)");
    assert_eq!(expression["ReturnData"], true);
    for (query, id, metric) in [
        (completed, "completed", "ErasuresCompleted"),
        (nothing, "nothing", "ErasuresFoundNothing"),
    ] {
        let stat = &query["MetricStat"];
        assert_eq!((&query["Id"], &stat["Metric"]["MetricName"]), (&json!(id), &json!(metric)));
        assert_eq!((&stat["Stat"], &stat["Period"]), (&json!("Sum"), &json!(86_400)));
    }
    assert_eq!((&alarm["Threshold"], &alarm["EvaluationPeriods"]), (&json!(50), &json!(1)));
    assert_eq!(alarm["ComparisonOperator"], "GreaterThanThreshold");
}

#[test]
fn dashboard_shows_every_alarm_and_exactly_the_emitted_metrics() {
    let dashboard = references(property("Dashboard", "DashboardBody"));
    for alarm in resources_of("AWS::CloudWatch::Alarm") {
        assert!(dashboard.contains(alarm), "the dashboard does not show {alarm}");
    }
    let body = property("Dashboard", "DashboardBody/!Sub/0").as_str().expect("JSON");
    let variables = Regex::new(r"\$\{[^}]*\}").expect("a pattern");
    let body: Value = serde_json::from_str(&variables.replace_all(body, "1"))
        .unwrap_or_else(|error| panic!("the dashboard is no JSON: {error}"));
    let mut shown = BTreeSet::new();
    for widget in body["widgets"].as_array().expect("widgets") {
        let title = widget["properties"]["title"].as_str().unwrap_or_default();
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            match &metric.as_array().expect("a metric")[..] {
                [namespace, name, dimension, ..] => {
                    assert_is_emitted(title, [namespace, name, dimension]);
                    shown.extend(name.as_str());
                }
                // An expression on other metrics.
                [expression] if expression["expression"].is_string() => {}
                _ => panic!("{title}: {metric}"),
            }
        }
    }
    for (metric, _) in METRICS {
        assert!(shown.contains(metric), "the dashboard does not show {metric}");
    }
}

#[test]
fn oldest_erasure_alarm_converts_days_and_precedes_the_legal_limit() {
    assert_equals(&[
        (
            "Resources/OldestErasureAlarm/Properties/Threshold",
            "!FindInMap [Days, !Ref OldestErasureDays, Seconds]",
        ),
        ("Parameters/OldestErasureDays/Default", "20"),
    ]);
    let mut mapped = BTreeSet::new();
    for days in keys("Mappings/Days") {
        let seconds = number(at(&format!("Mappings/Days/{days}/Seconds")));
        let days: u64 = days.parse().expect("days");
        assert!(seconds == days * 86_400 && days < 30, "{days}");
        mapped.insert(days);
    }
    let allowed = at("Parameters/OldestErasureDays/AllowedValues").as_array().expect("a list");
    assert_eq!(allowed.iter().map(number).collect::<BTreeSet<_>>(), mapped);
}

#[test]
fn rules_match_the_names_of_receipts() {
    let incomplete = ReceiptKind::Incomplete { delivery: 1, reason: String::new() }.name();
    let erased = ReceiptKind::Erased { found_nothing: false }.name();
    let key = "EventPattern/detail/object/key/0/wildcard";
    assert_eq!(
        *property("ErasedRule", key),
        json!({"!Sub": format!("${{ReceiptsPrefix}}*/{erased}.json")})
    );
    // The template's own queue makes five deliveries: the team is notified at the last one.
    let given_up = format!(
        "!Sub ['${{ReceiptsPrefix}}*/{incomplete}-${{Try}}.json', {{Try: !If [MakesQueue, 5, '*']}}]"
    );
    assert_eq!(*property("GivenUpRule", key), yaml(&given_up));
    assert_equals(&[(
        "Resources/Receipts/Properties/NotificationConfiguration/EventBridgeConfiguration",
        "{EventBridgeEnabled: true}",
    )]);
}
