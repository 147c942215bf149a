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
            "{Queue: !If [MakesQueue, !GetAtt Queue.Arn, !Ref ExistingQueueArn], \
             Enabled: !If [IsPaused, false, true], BatchSize: 10, FunctionResponseTypes: [ReportBatchItemFailures], \
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
    ]);
    assert!(read("Cargo.toml").contains("panic = \"unwind\""), "cargo-lambda would set abort");
}

/// A parameter could have one value when SAM builds, and another when it deploys.
#[test]
fn architecture_is_a_literal_that_the_build_copies() {
    assert_equals(&[("Resources/Function/Properties/Architectures", "[arm64]")]);
    let template = read("template.yaml");
    // `make package` and the local cloud replace these lines.
    for line in ["Architectures: [arm64]", "CodeUri: ."] {
        let found = template.lines().filter(|found| found.trim() == line);
        assert_eq!(found.count(), 1, "{line}");
    }
}

#[test]
fn deployment_takes_what_was_built_and_asks_nothing() {
    let example = read("samconfig.example.toml");
    for line in [
        "template_file = \".aws-sam/build/template.yaml\"",
        "beta_features = true",
        "capabilities = \"CAPABILITY_IAM\"",
        "resolve_s3 = true",
        "confirm_changeset = false",
        "fail_on_empty_changeset = false",
    ] {
        assert!(example.lines().any(|found| found == line), "{line}");
    }
    assert!(read(".gitignore").lines().any(|line| line == "/samconfig.toml"));
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
    // The alarm leaves a day to redrive a dead-letter message.
    assert!(seconds("DeadLetterAgeAlarm", "Threshold") + 86_400 <= dead_letters - queue);
    let longest_visibility = number(at("Mappings/VisibilityTimeouts/900/Seconds"));
    let no_progress = seconds("NoProgressAlarm", "Threshold");
    assert!(longest_visibility * 2 <= no_progress && no_progress < queue / 10);
}

#[test]
fn queues_and_buckets_outlive_the_stack() {
    // Without its policy, anybody of the account could send into a queue that stays.
    let kinds = [
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
        "AWS::S3::Bucket",
        "AWS::S3::BucketPolicy",
        "AWS::SecretsManager::Secret",
    ];
    let retained: Vec<&str> = kinds.into_iter().flat_map(resources_of).collect();
    assert_eq!(retained.len(), 13, "{retained:?}");
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
        let expected = json!(["DenyPlainText", "Deny", "*"]);
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
        "Name",
    ];
    for (name, resource) in at("Resources").as_object().expect("a mapping") {
        for property in fixed {
            assert_eq!(resource["Properties"][property], Value::Null, "{name} has a {property}");
        }
    }
    for (resource, name) in [("FunctionLogGroup", "LogGroupName"), ("Dashboard", "DashboardName")] {
        let name = property(resource, name).to_string();
        assert!(name.contains("${AWS::StackName}"), "{resource}: {name}");
    }
}

#[test]
fn every_setting_in_code_has_a_parameter() {
    let config = read("src/config.rs");
    let code = config.split("#[cfg(test)]").next().unwrap_or_default();
    let names = Regex::new(r#""([A-Z_3]{4,})""#).expect("a pattern");
    let mut read_by_code: BTreeSet<&str> = names
        .captures_iter(code)
        .filter_map(|found| found.get(1).map(|name| name.as_str()))
        // Variables of Lambda, cargo lambda and the SDK.
        .filter(|name| !name.starts_with("AWS_") && !name.ends_with("_PROXY"))
        .collect();
    assert!(read_by_code.len() >= 8, "{read_by_code:?}");
    let variables = "Resources/Function/Properties/Environment/Variables";
    // In a secret, only the function's role can read it.
    read_by_code.remove("RECEIPT_HASH_KEY");
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

/// A policy pattern: at least one character in the place of every placeholder. `make validate`
/// checks what it becomes.
fn with_wildcards(pattern: &str) -> String {
    let names = ["{user_id}", "{user_id:urlencode}", "{tenant_id}", "{scope_id}"];
    names
        .iter()
        .fold(pattern.to_owned(), |inner, name| format!("!Join ['?*', !Split ['{name}', {inner}]]"))
}

/// The patterns of what is erased: the name of the parameters, how long their pattern's parameter
/// is, and what the role may list and delete.
fn patterns() -> Vec<(String, String, String, String)> {
    let targets = (1..=8).map(|number| {
        let name = format!("Target{number}");
        let (prefix, below) = (format!("!Ref {name}Prefix"), format!("${{{name}Prefix}}*"));
        (name, "Prefix".to_owned(), prefix, below)
    });
    let keys = (1..=2).map(|number| {
        let name = format!("EraseKey{number}");
        let prefix = format!("!Select [0, !Split ['*', !Ref {name}Pattern]]");
        let exactly = format!("${{{name}Pattern}}");
        (name, "Pattern".to_owned(), prefix, exactly)
    });
    targets.chain(keys).collect()
}

#[test]
fn role_lists_only_below_a_user_prefix() {
    for (name, _, prefix, _) in patterns() {
        let expected = format!(
            "{{Effect: Allow, Action: ['s3:ListBucket', 's3:ListBucketVersions'], \
             Resource: !Sub 'arn:${{AWS::Partition}}:s3:::${{{name}Bucket}}', \
             Condition: {{StringLike: {{'s3:prefix': {}}}}}}}",
            with_wildcards(&prefix)
        );
        assert_statement(&format!("List{name}"), Some(&format!("Has{name}")), &expected);
    }
    for (action, times) in
        [("s3:ListBucket", 10), ("s3:ListBucketVersions", 10), ("s3:ListBucketMultipartUploads", 1)]
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
    let mut of_everything = Vec::new();
    visit("", role, &mut |_, value| {
        if value["Resource"] == "*" {
            of_everything.push(value["Sid"].as_str().unwrap_or_default());
        }
    });
    assert_eq!(of_everything, ["LetLambdaJoinVpc", "KeepCodeOutOfVpc"]);
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
fn role_of_a_dry_run_or_a_paused_stack_cannot_delete() {
    let (erase, condition) = statement("Erase");
    assert_eq!(condition.as_deref(), Some("MayErase"));
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
        (
            "Conditions/MayErase",
            "!And [!Equals [!Ref DryRun, 'false'], !Not [!Condition IsPaused]]",
        ),
        ("Conditions/IsPaused", "!Equals [!Ref Paused, 'true']"),
        ("Conditions/BypassesGovernance", "!Equals [!Ref BypassGovernanceRetention, 'true']"),
    ]);
    let resources = patterns().into_iter().map(|(name, _, _, keys)| {
        format!(
            "!If [Has{name}, !Sub 'arn:${{AWS::Partition}}:s3:::${{{name}Bucket}}/{keys}', \
             !Ref 'AWS::NoValue']"
        )
    });
    let resources = resources.collect::<Vec<_>>().join(", ");
    // One replacement covers all of them, with the first placeholder on the outside.
    let names = ["{scope_id}", "{tenant_id}", "{user_id:urlencode}", "{user_id}"];
    let joined = names.iter().fold(format!("!Join [',', [{resources}]]"), |inner, name| {
        format!("!Join ['?*', !Split ['{name}', {inner}]]")
    });
    assert_eq!(erase["Resource"], yaml(&format!("!Split [',', {joined}]")));
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
    assert_equals(&[("Conditions/MakesReceiptsBucket", "!Equals [!Ref ReceiptsBucket, '']")]);
    // The state machine that notifies the team has the other s3:GetObject.
    assert_eq!(count(at("Resources"), "s3:GetObject"), 2);
    assert_eq!(count(at("Resources/FunctionRole"), "s3:PutObject"), 1);
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
    // By the name: in Principal, SQS would store the id of a role that may be deleted and made again.
    assert_statement(
        "AllowSenders",
        Some("HasSenders"),
        "{Effect: Allow, Principal: '*', Action: 'sqs:SendMessage', Resource: !GetAtt Queue.Arn, \
         Condition: {ArnEquals: {'aws:PrincipalArn': !Split [',', !Ref SenderPrincipalArns]}}}",
    );
    // The function sends continuations to its own queue.
    assert_statement(
        "DenyOtherSenders",
        Some("DeniesOthers"),
        "{Effect: Deny, Principal: '*', Action: 'sqs:SendMessage', Resource: !GetAtt Queue.Arn, \
         Condition: {ArnNotEquals: {'aws:PrincipalArn': !If [HasSenders, \
         !Split [',', !Sub '${SenderPrincipalArns},${FunctionRole.Arn}'], \
         [!GetAtt FunctionRole.Arn]]}, \
         BoolIfExists: {'aws:PrincipalIsAWSService': 'false'}}}",
    );
    assert_equals(&[
        ("Conditions/DeniesOthers", "!Equals [!Ref AnySenderOfAccount, 'false']"),
        ("Parameters/AnySenderOfAccount/Default", "'false'"),
    ]);
}

/// Every statement that a queue's policy has in addition to the denial of plain text.
fn statements_of(policy: &str) -> Vec<Value> {
    let mut found = Vec::new();
    visit("", property(policy, "PolicyDocument/Statement"), &mut |_, value| {
        if value["Sid"].is_string() && value["Sid"] != "DenyPlainText" {
            found.push(value.clone());
        }
    });
    found
}

fn allowed(sid: &str, service: &str, queue: &str, source: &str) -> Value {
    yaml(&format!(
        "{{Sid: {sid}, Effect: Allow, Principal: {{Service: {service}.amazonaws.com}}, \
         Action: 'sqs:SendMessage', Resource: !GetAtt {queue}.Arn, \
         Condition: {{ArnEquals: {{'aws:SourceArn': {source}}}}}}}"
    ))
}

fn nobody_sends(queue: &str) -> Value {
    yaml(&format!(
        "{{Sid: DenySending, Effect: Deny, Principal: '*', Action: 'sqs:SendMessage', \
         Resource: !GetAtt {queue}.Arn, \
         Condition: {{BoolIfExists: {{'aws:PrincipalIsAWSService': 'false'}}}}}}"
    ))
}

#[test]
fn topic_and_rule_send_requests_or_leave_them_in_a_queue_of_their_own() {
    let (topic, rule) = ("!Ref WithdrawalTopicArn", "!GetAtt RequestRule.Arn");
    let services = |queue| {
        vec![
            allowed("AllowTopic", "sns", queue, topic),
            allowed("AllowRule", "events", queue, rule),
        ]
    };
    assert_eq!(statements_of("QueuePolicy")[2..], services("Queue")[..]);
    assert_eq!(
        statements_of("UndeliveredRequestsPolicy")[1..],
        services("UndeliveredRequests")[..]
    );
    assert_equals(&[
        (
            "Resources/WithdrawalSubscription/Properties/RedrivePolicy",
            "{deadLetterTargetArn: !GetAtt UndeliveredRequests.Arn}",
        ),
        (
            "Resources/RequestRule/Properties/Targets",
            "[{Id: queue, Arn: !GetAtt Queue.Arn, \
             DeadLetterConfig: {Arn: !GetAtt UndeliveredRequests.Arn}}]",
        ),
    ]);
    // For a topic of another region, there could be no dead-letter queue here.
    assert!(!keys("Resources/WithdrawalSubscription/Properties").contains("Region"));
}

#[test]
fn only_services_put_messages_into_dead_letter_queues() {
    for queue in ["DeadLetterQueue", "UndeliveredRequests", "UndeliveredEvents"] {
        let policy = format!("{queue}Policy");
        assert_eq!(statements_of(&policy)[0], nobody_sends(queue), "{policy}");
    }
    assert_eq!(statements_of("DeadLetterQueuePolicy").len(), 1);
    let events = "UndeliveredEvents";
    assert_eq!(
        statements_of("UndeliveredEventsPolicy")[1..],
        [
            allowed("AllowErasedRule", "events", events, "!GetAtt ErasedRule.Arn"),
            allowed("AllowGivenUpRule", "events", events, "!GetAtt GivenUpRule.Arn"),
        ]
    );
    for rule in ["ErasedRule", "GivenUpRule"] {
        let dead_letters = property(rule, "Targets/0/DeadLetterConfig");
        assert_eq!(*dead_letters, yaml("{Arn: !GetAtt UndeliveredEvents.Arn}"), "{rule}");
    }
}

#[test]
fn redrive_commands_name_their_destination() {
    for (output, source) in [
        ("RedriveCommand", "DeadLetterQueue"),
        ("UndeliveredRequestsRedriveCommand", "UndeliveredRequests"),
    ] {
        let expected = format!(
            "!Sub 'aws sqs start-message-move-task --region ${{AWS::Region}} \
             --source-arn ${{{source}.Arn}} --destination-arn ${{Queue.Arn}}'"
        );
        assert_eq!(*at(&format!("Outputs/{output}/Value")), yaml(&expected), "{output}");
    }
}

#[test]
fn nobody_forges_or_replaces_a_receipt_of_the_stacks_own_bucket() {
    for (sid, condition) in [
        ("DenyOtherWriters", "{ArnNotEquals: {'aws:PrincipalArn': !GetAtt FunctionRole.Arn}}"),
        ("DenyReplacing", "{'Null': {'s3:if-none-match': 'true'}}"),
    ] {
        let expected = format!(
            "{{Effect: Deny, Principal: '*', Action: 's3:PutObject', \
             Resource: !Sub '${{Receipts.Arn}}/${{ReceiptsPrefix}}*', Condition: {condition}}}"
        );
        assert_statement(sid, None, &expected);
    }
}

#[test]
fn hash_key_is_a_random_secret_that_only_the_role_reads() {
    assert_statement(
        "ReadHashKey",
        None,
        "{Effect: Allow, Action: 'secretsmanager:GetSecretValue', \
         Resource: !If [MakesHashKey, !GetAtt HashKey.Id, !Ref ReceiptHashKeySecretArn]}",
    );
    assert_equals(&[
        (
            "Resources/HashKey/Properties/GenerateSecretString",
            "{PasswordLength: 64, ExcludePunctuation: true}",
        ),
        (
            "Resources/Function/Properties/Environment/Variables/RECEIPT_HASH_KEY_SECRET",
            "!If [MakesHashKey, !GetAtt HashKey.Id, !Ref ReceiptHashKeySecretArn]",
        ),
    ]);
}

/// A role that may use a key for a queue need not be able to decrypt everything else under it.
#[test]
fn roles_use_keys_through_services_alone() {
    for role in ["FunctionRole", "TellerRole"] {
        let mut found = 0;
        visit("", at(&format!("Resources/{role}")), &mut |_, value| {
            let actions = value["Action"].to_string();
            if value["Effect"] == "Allow" && actions.contains("kms:") {
                found += 1;
                let is_bound = value["Condition"]["StringEquals"]["kms:ViaService"] != Value::Null
                    || value["Sid"] == "UseAlertKey";
                assert!(is_bound, "{role}: {value}");
            }
        });
        assert!(found >= 3, "{role}: {found}");
    }
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

/// In China and `GovCloud`, `CloudFormation` does not know the channel's type, and rejects a template
/// that has it, also under a condition that does not hold.
#[test]
fn slack_channel_is_a_stack_of_its_own_and_can_do_nothing() {
    let slack = yaml(&read("alerts-slack.yaml"));
    let role = slack["Resources"]["SlackRole"]["Properties"].as_object().expect("a mapping");
    assert!(!role.contains_key("Policies") && !role.contains_key("ManagedPolicyArns"), "{role:?}");
    let channel = &slack["Resources"]["SlackChannel"]["Properties"];
    let guardrail = "[!Sub 'arn:${AWS::Partition}:iam::aws:policy/AWSDenyAll']";
    assert_eq!(channel["GuardrailPolicies"], yaml(guardrail));
    assert_eq!(channel["SnsTopicArns"], yaml("[!Ref AlertTopicArn]"));
    assert!(!read("template.yaml").contains("AWS::Chatbot"));
    assert!(keys("Outputs").contains("AlertTopicArn"));
}

/// `make validate` tries what the patterns must reject.
#[test]
fn parameters_cannot_widen_a_policy() {
    let receipts = ("Receipts".to_owned(), "Prefix".to_owned(), String::new(), String::new());
    for (name, kind, ..) in patterns().into_iter().chain([receipts]) {
        let pattern_of = |kind: &str| {
            let pattern = at(&format!("Parameters/{name}{kind}/AllowedPattern"));
            pattern.as_str().expect("a pattern")
        };
        assert_eq!(pattern_of("Bucket"), r"([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])?", "{name}");
        // No characters of wildcards or variables.
        let fixed = if name == "Receipts" { r#"([^/{}*?$,"\\]+/)*"# } else { "([^/{}*?$,]+/|" };
        let pattern = pattern_of(&kind);
        assert!(pattern.starts_with(fixed), "{name}: {pattern}");
        // Longer ones could make the policy longer than the 10,240 characters that IAM accepts, or
        // the settings longer than the 4 KB that Lambda accepts:
        // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
        // https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        let longest = if name == "Receipts" { 64 } else { 96 };
        assert_eq!(*at(&format!("Parameters/{name}{kind}/MaxLength")), longest, "{name}");
    }
}

/// The metrics of AWS that alarms and the dashboard use.
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>
/// <https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html>
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html>
const OF_AWS: [(&str, &str, &[&str]); 3] = [
    ("AWS/States", "StateMachineArn", &["ExecutionsFailed"]),
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
    assert!(alarms.len() >= 13, "{alarms:?}");
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
            let queue = match alarm {
                "NoProgressAlarm" => "Queue",
                "ErasedQueueAgeAlarm" => "ErasedQueue",
                "UndeliveredRequestsAlarm" => "UndeliveredRequests",
                "UndeliveredEventsAlarm" => "UndeliveredEvents",
                _ => "DeadLetterQueue",
            };
            let watched = match dimension.as_str().unwrap_or_default() {
                "QueueName" => json!({"!GetAtt": format!("{queue}.QueueName")}),
                "StateMachineArn" => json!({"!Ref": "Teller"}),
                _ => json!({"!Ref": "Function"}),
            };
            let is_watched = dimensions[0]["Value"].to_string().contains(&watched.to_string());
            assert!(is_watched, "{alarm} watches {dimensions:?}");
        }
        // Where nothing happens, the function emits no metric.
        assert_eq!(properties["TreatMissingData"], "notBreaching", "{alarm}");
        let topic = yaml("[!If [HasAlarmTopic, !Ref AlarmTopicArn, !Ref AlertTopic]]");
        let topic = match at(&format!("Resources/{alarm}")).get("Condition") {
            Some(condition) if condition == "HasAlerts" => topic,
            _ => json!({"!If": ["HasAlerts", topic, {"!Ref": "AWS::NoValue"}]}),
        };
        assert_eq!(properties["AlarmActions"], topic, "{alarm}");
        // A further dead-letter message is an event: a minute later, the erasure is still not
        // complete.
        let at_the_end = if alarm == "MoreDeadLettersAlarm" { &Value::Null } else { &topic };
        assert_eq!(properties["OKActions"], *at_the_end, "{alarm}");
        let description = properties["AlarmDescription"]["!Sub"].as_str().unwrap_or_default();
        let link = description.rsplit(' ').next().unwrap_or_default();
        assert!(link.starts_with("${RunbookUrl}#"), "{alarm}: {description}");
        assert!(description.contains(" First "), "{alarm}: {description}");
    }
}

/// The first dead-letter message is `DeadLetterAlarm`'s. `make validate` checks the expression.
#[test]
fn each_further_dead_letter_is_reported() {
    let [further, letters] =
        &property("MoreDeadLettersAlarm", "Metrics").as_array().expect("a list")[..]
    else {
        panic!("expected two metrics")
    };
    assert_eq!(further["Expression"], "IF(letters - DIFF(letters) > 0, DIFF(letters), 0)");
    let watched = property("DeadLetterAlarm", "MetricName");
    assert_eq!(letters["MetricStat"]["Metric"]["MetricName"], *watched);
    let dimensions = &letters["MetricStat"]["Metric"]["Dimensions"];
    assert_eq!(dimensions, property("DeadLetterAlarm", "Dimensions"));
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
        "!Sub ['${{ReceiptsPrefix}}*/{incomplete}-${{Try}}.json', {{Try: !If [MakesQueue, '5', '*']}}]"
    );
    assert_eq!(*property("GivenUpRule", key), yaml(&given_up));
    assert_equals(&[(
        "Resources/Receipts/Properties/NotificationConfiguration/EventBridgeConfiguration",
        "{EventBridgeEnabled: true}",
    )]);
}
