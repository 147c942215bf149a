//! The requests: what the function needs, and what its role must not allow.

use std::fmt;

use local::Request;
use serde_json::{Value, json};

use super::world::{World, request_of};

/// One request, and the action that policies decide it by.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) action: &'static str,
    /// What is decided before that.
    before: Option<&'static str>,
    pub(super) request: Request,
}

impl Row {
    pub(super) fn is_decided_by(&self, action: &str) -> bool {
        action == self.action || self.before == Some(action)
    }
}

fn row(what: &str, action: &'static str, request: Request) -> Row {
    Row { what: what.to_owned(), action, before: None, request }
}

/// A request of S3 without a body: its line says what it is.
fn s3((action, line): (&'static str, &str)) -> Row {
    row(line, action, Request::new("s3", line))
}

fn s3_with(action: &'static str, line: &str, body: &str) -> Row {
    row(line, action, Request::new("s3", line).with_body(body))
}

/// An action of a service that takes JSON.
fn api(what: &str, action: &'static str, body: &Value) -> Row {
    row(what, action, request_of(action, body))
}

fn lambda(action: &'static str, line: &str, body: &str) -> Row {
    row(line, action, Request::new("lambda", line).with_body(body))
}

/// A DeleteObjects of keys and their versions. Ministack decides the first of them as if it had no
/// version.
fn batch(action: &'static str, bucket: &str, keys: &[(&str, &str)]) -> Row {
    let object = |(key, version): &(&str, &str)| {
        let version = if version.is_empty() {
            String::new()
        } else {
            format!("<VersionId>{version}</VersionId>")
        };
        format!("<Object><Key>{key}</Key>{version}</Object>")
    };
    let body = format!("<Delete>{}</Delete>", keys.iter().map(object).collect::<String>());
    let keys = keys.iter().map(|(key, _)| *key).collect::<Vec<_>>();
    let request = Request::new("s3", &format!("POST /{bucket}?delete")).with_body(body);
    let what = format!("DeleteObjects of {keys:?} in {bucket}");
    Row { before: Some("s3:DeleteObject"), ..row(&what, action, request) }
}

/// What a dry run needs, too.
pub(super) fn looking() -> Vec<Row> {
    [
        ("s3:ListBucket", "GET /photos?list-type=2&prefix=u1/"),
        ("s3:ListBucket", "GET /exports?list-type=2&prefix=users/u1/"),
        ("s3:ListBucket", "GET /exports?list-type=2&prefix=archive/u1/"),
        ("s3:ListBucket", "GET /attic?list-type=2&prefix=users/u1/"),
        ("s3:ListBucket", "GET /tenants?list-type=2&prefix=acme/user_u1/"),
        ("s3:ListBucket", "GET /tenants?list-type=2&prefix=raw/a%257C1-files/"),
        ("s3:ListBucket", "GET /avatars?list-type=2&prefix=photos/u1"),
        ("s3:ListBucket", "GET /avatars?list-type=2&prefix=icons/u1."),
        ("s3:ListBucketVersions", "GET /avatars?versions&prefix=icons/u1."),
        ("s3:ListBucketMultipartUploads", "GET /avatars?uploads&prefix=icons/u1."),
        ("s3:ListBucketVersions", "GET /photos?versions&prefix=u1/"),
        ("s3:ListBucketVersions", "GET /exports?versions&prefix=users/u1/"),
        ("s3:ListBucketMultipartUploads", "GET /photos?uploads&prefix=u1/"),
        ("s3:ListBucketMultipartUploads", "GET /exports?uploads&prefix=users/u1/"),
        ("s3:GetBucketVersioning", "GET /photos?versioning"),
        ("s3:GetBucketVersioning", "GET /tenants?versioning"),
        ("s3:GetBucketVersioning", "GET /avatars?versioning"),
        ("s3:GetBucketObjectLockConfiguration", "GET /exports?object-lock"),
    ]
    .map(s3)
    .into()
}

/// What takes something away, and what says why it could not.
pub(super) fn erasing(world: &World<'_>) -> Vec<Row> {
    let [one, two, three] =
        ["users/u1/one", "users/u1/two", "users/u1/three"].map(|key| (key, world.id(key)));
    let upload = format!("/photos/u1/upload?uploadId={}", world.id("upload"));
    let archived = format!("versionId={}", world.id("archive/u1/one"));
    let held = format!("versionId={}", world.id("users/u1/held"));
    vec![
        batch("s3:DeleteObject", "photos", &[("u1/one", ""), ("u1/two", "")]),
        s3(("s3:DeleteObject", "DELETE /photos/u1/three")),
        s3(("s3:DeleteObject", "DELETE /tenants/acme/user_u1/one")),
        s3(("s3:DeleteObject", "DELETE /tenants/raw/a%257C1-files/one")),
        s3(("s3:DeleteObject", "DELETE /avatars/photos/u1")),
        batch("s3:DeleteObject", "avatars", &[("icons/u1.png", ""), ("icons/u1.jpg", "")]),
        s3((
            "s3:DeleteObjectVersion",
            &format!("DELETE /exports/users/u1/one?versionId={}", one.1),
        )),
        batch("s3:DeleteObjectVersion", "exports", &[two, three]),
        s3(("s3:DeleteObjectVersion", &format!("DELETE /exports/archive/u1/one?{archived}"))),
        s3(("s3:ListMultipartUploadParts", &format!("GET {upload}"))),
        s3(("s3:AbortMultipartUpload", &format!("DELETE {upload}"))),
        s3(("s3:GetObjectRetention", &format!("GET /exports/users/u1/held?retention&{held}"))),
        s3(("s3:GetObjectLegalHold", &format!("GET /exports/users/u1/held?legal-hold&{held}"))),
    ]
}

pub(super) fn bypassing(world: &World<'_>) -> Vec<Row> {
    let line = format!("DELETE /exports/users/u1/locked?versionId={}", world.id("users/u1/locked"));
    let request =
        Request::new("s3", &line).with_header("x-amz-bypass-governance-retention", "true");
    let row = row(&line, "s3:BypassGovernanceRetention", request);
    vec![Row { before: Some("s3:DeleteObjectVersion"), ..row }]
}

pub(super) fn keeping_receipts(world: &World<'_>) -> Vec<Row> {
    let folder = format!("/{}/receipts", world.receipts);
    let mut put = s3_with("s3:PutObject", &format!("PUT {folder}/e-2/erased.json"), "{}");
    put.request = put.request.with_header("if-none-match", "*");
    vec![put, s3(("s3:GetObject", &format!("GET {folder}/e-1/erased.json")))]
}

/// What the function does not need, and its role may do nevertheless.
pub(super) fn beyond_need(world: &World<'_>) -> Vec<Row> {
    vec![
        // Whose folder it is, no policy can know.
        s3(("s3:ListBucket", "GET /exports?list-type=2&prefix=users/u2/")),
        s3(("s3:ListBucket", "GET /photos?list-type=2&prefix=any/other/folder/")),
        s3(("s3:ListBucketMultipartUploads", "GET /exports?uploads&prefix=shared/")),
        // A wildcard also matches a slash.
        s3(("s3:ListBucket", "GET /tenants?list-type=2&prefix=acme/team/user_u1/")),
        s3(("s3:ListBucket", "GET /avatars?list-type=2&prefix=photos/of/others/")),
        s3(("s3:DeleteObject", "DELETE /avatars/photos/u2")),
        s3_with("s3:PutObject", &format!("PUT /{}/receipts/e-1/erased.json", world.receipts), "{}"),
    ]
}

pub(super) fn using_the_queue(world: &World<'_>) -> Vec<Row> {
    let queue = &world.deployed.stack.queue_url;
    let (first, second) = (world.id("first message"), world.id("second message"));
    let change = json!({ "QueueUrl": queue, "ReceiptHandle": first, "VisibilityTimeout": 5 });
    [
        ("sqs:SendMessage", json!({ "QueueUrl": queue, "MessageBody": "{}" })),
        ("sqs:ReceiveMessage", json!({ "QueueUrl": queue })),
        ("sqs:GetQueueAttributes", json!({ "QueueUrl": queue, "AttributeNames": ["All"] })),
        ("sqs:ChangeMessageVisibility", change),
        ("sqs:DeleteMessage", json!({ "QueueUrl": queue, "ReceiptHandle": second })),
    ]
    .map(|(action, body)| api("on its own queue", action, &body))
    .into()
}

pub(super) fn reading_the_hash_key(world: &World<'_>) -> Vec<Row> {
    let body = json!({ "SecretId": world.id("secret") });
    vec![api("with the hash key", "secretsmanager:GetSecretValue", &body)]
}

pub(super) fn using_the_key(world: &World<'_>, which: &str) -> Vec<Row> {
    let (key, ciphertext) =
        if which == "key" { ("key", "ciphertext") } else { ("other key", "other ciphertext") };
    let generate = json!({ "KeyId": world.id(key), "KeySpec": "AES_256" });
    let decrypt = json!({ "KeyId": world.id(key), "CiphertextBlob": world.id(ciphertext) });
    let what = format!("with the {which}");
    vec![api(&what, "kms:GenerateDataKey", &generate), api(&what, "kms:Decrypt", &decrypt)]
}

/// What is denied to every stack's role.
pub(super) fn forbidden(world: &World<'_>) -> Vec<Row> {
    let mut rows = listing_elsewhere();
    rows.extend(touching_objects(world));
    rows.extend(deleting_elsewhere(world));
    rows.extend(touching_receipts(world));
    // Without S3, SQS or Secrets Manager in between, no key at all.
    rows.extend(using_the_key(world, "key"));
    rows.extend(using_the_key(world, "other key"));
    rows.extend(touching_queues(world));
    rows.extend(touching_others(world));
    rows.extend(configuring_buckets(world));
    rows.extend(destroying(world));
    rows
}

fn listing_elsewhere() -> Vec<Row> {
    [
        ("s3:ListBucket", "GET /photos"),
        ("s3:ListBucket", "GET /photos?list-type=2"),
        ("s3:ListBucket", "GET /photos?list-type=2&prefix="),
        ("s3:ListBucket", "GET /photos?list-type=2&prefix=/"),
        ("s3:ListBucket", "GET /photos?list-type=2&prefix=u1"),
        ("s3:ListBucket", "GET /exports?list-type=2"),
        ("s3:ListBucket", "GET /exports?list-type=2&prefix=users/"),
        ("s3:ListBucket", "GET /exports?list-type=2&prefix=users/u1"),
        ("s3:ListBucket", "GET /exports?list-type=2&prefix=users//"),
        ("s3:ListBucket", "GET /exports?list-type=2&prefix=shared/"),
        ("s3:ListBucket", "GET /exports?list-type=2&prefix=Users/u1/"),
        ("s3:ListBucket", "GET /tenants?list-type=2&prefix=acme/"),
        ("s3:ListBucket", "GET /tenants?list-type=2&prefix=acme/user_u1"),
        ("s3:ListBucket", "GET /tenants?list-type=2&prefix=acme/xuser_u1/"),
        ("s3:ListBucket", "GET /tenants?list-type=2&prefix=user_u1/"),
        ("s3:ListBucket", "GET /tenants?list-type=2&prefix=raw/u1/"),
        ("s3:ListBucket", "GET /avatars?list-type=2&prefix=photos/"),
        ("s3:ListBucket", "GET /avatars?list-type=2&prefix=icons/"),
        ("s3:ListBucket", "GET /avatars?list-type=2&prefix=icons/u1"),
        ("s3:ListBucketVersions", "GET /avatars?versions&prefix=icons/u1"),
        ("s3:ListBucket", "GET /other?list-type=2&prefix=users/u1/"),
        ("s3:ListBucketVersions", "GET /photos?versions"),
        ("s3:ListBucketVersions", "GET /exports?versions&prefix=users/"),
        ("s3:ListBucketVersions", "GET /exports?versions&prefix=shared/"),
        ("s3:ListBucketVersions", "GET /other?versions&prefix=users/u1/"),
        ("s3:ListBucketMultipartUploads", "GET /other?uploads&prefix=users/u1/"),
        ("s3:GetBucketVersioning", "GET /other?versioning"),
        ("s3:ListAllMyBuckets", "GET /"),
    ]
    .map(s3)
    .into()
}

/// Reading what users stored, and changing it.
fn touching_objects(world: &World<'_>) -> Vec<Row> {
    let version = world.id("users/u1/kept");
    let copy = |line: &str, action, source: &str| {
        row(
            &format!("{line} from {source}"),
            action,
            Request::new("s3", line).with_header("x-amz-copy-source", source),
        )
    };
    let attributes = Request::new("s3", "GET /photos/u1/kept?attributes")
        .with_header("x-amz-object-attributes", "ETag");
    let retention = "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2126-01-01T00:00:00Z</RetainUntilDate></Retention>";
    let hold = "<LegalHold><Status>ON</Status></LegalHold>";
    let tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    vec![
        s3(("s3:GetObject", "GET /photos/u1/kept")),
        s3(("s3:GetObject", "HEAD /photos/u1/kept")),
        s3(("s3:GetObject", "GET /other/users/u1/kept")),
        s3(("s3:GetObjectVersion", &format!("GET /exports/users/u1/kept?versionId={version}"))),
        s3(("s3:GetObjectAcl", "GET /photos/u1/kept?acl")),
        row("GET /photos/u1/kept?attributes", "s3:GetObjectAttributes", attributes),
        // The role may write receipts: that must not be a way to get at files.
        copy(
            &format!("PUT /{}/receipts/e-3/erased.json", world.receipts),
            "s3:GetObject",
            "/photos/u1/kept",
        ),
        copy("PUT /photos/u1/copy", "s3:PutObject", "/photos/u1/kept"),
        s3_with("s3:PutObject", "PUT /photos/u1/new", "new"),
        s3_with("s3:PutObject", "PUT /other/users/u1/new", "new"),
        s3(("s3:PutObject", "POST /photos/u1/new?uploads")),
        s3_with("s3:PutObjectTagging", "PUT /photos/u1/kept?tagging", tags),
        s3_with(
            "s3:PutObjectLegalHold",
            &format!("PUT /exports/users/u1/kept?legal-hold&versionId={version}"),
            hold,
        ),
        s3_with(
            "s3:PutObjectLegalHold",
            &format!("PUT /exports/users/u1/kept?legal-hold&versionId={version}"),
            &hold.replace("ON", "OFF"),
        ),
        s3_with(
            "s3:PutObjectRetention",
            &format!(
                "PUT /exports/users/u1/held?retention&versionId={}",
                world.id("users/u1/held")
            ),
            retention,
        ),
    ]
}

fn deleting_elsewhere(world: &World<'_>) -> Vec<Row> {
    let shared = format!("/exports/shared/upload?uploadId={}", world.id("shared upload"));
    let held = format!("versionId={}", world.id("shared/held"));
    vec![
        batch("s3:DeleteObject", "photos", &[("u1/kept", ""), ("loose", "")]),
        s3(("s3:DeleteObject", "DELETE /photos/loose")),
        s3(("s3:DeleteObject", "DELETE /exports/shared/kept")),
        s3(("s3:DeleteObject", "DELETE /exports/users/loose")),
        s3(("s3:DeleteObject", "DELETE /tenants/acme/xuser_u1/kept")),
        s3(("s3:DeleteObject", "DELETE /tenants/raw/a%257C1/kept")),
        s3(("s3:DeleteObject", "DELETE /avatars/icons/u1")),
        s3(("s3:DeleteObject", "DELETE /avatars/icons/kept")),
        batch(
            "s3:DeleteObjectVersion",
            "exports",
            &[
                ("users/u1/kept", world.id("users/u1/kept")),
                ("users/loose", world.id("users/loose")),
            ],
        ),
        s3((
            "s3:DeleteObjectVersion",
            &format!("DELETE /exports/shared/kept?versionId={}", world.id("shared/kept")),
        )),
        s3(("s3:DeleteObject", "DELETE /other/users/u1/kept")),
        s3(("s3:ListMultipartUploadParts", &format!("GET {shared}"))),
        s3(("s3:AbortMultipartUpload", &format!("DELETE {shared}"))),
        s3((
            "s3:AbortMultipartUpload",
            &format!("DELETE /other/users/u1/upload?uploadId={}", world.id("other upload")),
        )),
        s3(("s3:GetObjectRetention", &format!("GET /exports/shared/held?retention&{held}"))),
        s3(("s3:GetObjectLegalHold", &format!("GET /exports/shared/held?legal-hold&{held}"))),
    ]
}

fn touching_receipts(world: &World<'_>) -> Vec<Row> {
    let (bucket, version) = (&world.receipts, world.id("receipts/e-1/erased.json"));
    let receipt = format!("/{bucket}/receipts/e-1/erased.json");
    let no_tags = "<Tagging><TagSet></TagSet></Tagging>";
    vec![
        s3_with("s3:PutObject", &format!("PUT /{bucket}/new"), "{}"),
        s3_with("s3:PutObject", &format!("PUT /{bucket}/receipts-of-others/e-1/erased.json"), "{}"),
        s3(("s3:GetObject", &format!("GET /{bucket}/elsewhere"))),
        s3(("s3:ListBucket", &format!("GET /{bucket}?list-type=2&prefix=receipts/"))),
        s3(("s3:ListBucketVersions", &format!("GET /{bucket}?versions&prefix=receipts/"))),
        s3(("s3:ListBucketMultipartUploads", &format!("GET /{bucket}?uploads"))),
        s3(("s3:GetBucketVersioning", &format!("GET /{bucket}?versioning"))),
        s3(("s3:GetObjectVersion", &format!("GET {receipt}?versionId={version}"))),
        s3_with("s3:PutObjectTagging", &format!("PUT {receipt}?tagging"), no_tags),
        s3(("s3:DeleteObject", &format!("DELETE {receipt}"))),
        s3(("s3:DeleteObjectVersion", &format!("DELETE {receipt}?versionId={version}"))),
        batch("s3:DeleteObject", bucket, &[("receipts/e-1/erased.json", "")]),
    ]
}

fn touching_queues(world: &World<'_>) -> Vec<Row> {
    let stack = &world.deployed.stack;
    let (queue, dead, other) =
        (&stack.queue_url, &stack.dead_letter_queue_url, world.id("other queue"));
    let message = |url: &str| json!({ "QueueUrl": url, "MessageBody": "{}" });
    let hidden = json!({ "QueueUrl": other, "ReceiptHandle": world.id("other message"), "VisibilityTimeout": 0 });
    let policy = json!({ "QueueUrl": queue, "Label": "all", "AWSAccountIds": ["000000000000"], "Actions": ["SendMessage"] });
    let attributes = json!({ "QueueUrl": queue, "Attributes": { "VisibilityTimeout": "0" } });
    [
        ("its dead letters", "sqs:ReceiveMessage", json!({ "QueueUrl": dead })),
        ("its dead letters", "sqs:GetQueueAttributes", json!({ "QueueUrl": dead })),
        ("another queue", "sqs:SendMessage", message(other)),
        ("another queue", "sqs:ReceiveMessage", json!({ "QueueUrl": other })),
        ("another queue", "sqs:ChangeMessageVisibility", hidden),
        ("all queues", "sqs:ListQueues", json!({})),
        ("a new queue", "sqs:CreateQueue", json!({ "QueueName": "new" })),
        ("its own queue", "sqs:AddPermission", policy),
        ("its own queue", "sqs:SetQueueAttributes", attributes),
        ("its own queue", "sqs:PurgeQueue", json!({ "QueueUrl": queue })),
        ("its dead letters", "sqs:PurgeQueue", json!({ "QueueUrl": dead })),
        ("another queue", "sqs:PurgeQueue", json!({ "QueueUrl": other })),
    ]
    .map(|(what, action, body)| api(what, action, &body))
    .into()
}

/// Denied to every principal except Lambda, by the role's own trust policy.
pub(super) fn taking_the_role_on(world: &World<'_>) -> Row {
    let fields = [
        ("Action", "AssumeRole"),
        ("RoleArn", world.role.arn.as_str()),
        ("RoleSessionName", "again"),
    ];
    row("of this role", "sts:AssumeRole", Request::form("sts", "2011-06-15", &fields))
}

/// Other services, and above all those by which a role could get more than it has.
fn touching_others(world: &World<'_>) -> Vec<Row> {
    let name = world.role.name();
    let function = format!("/2015-03-31/functions/{}", world.deployed.stack.function_name);
    let everything =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let anybody = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}]}"#;
    let group = &world.deployed.stack.log_group;
    let event_source = json!({
        "FunctionName": world.deployed.stack.function_name,
        "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:other",
    });
    let iam = |action: &'static str, fields: &[(&str, &str)]| {
        let name = action.trim_start_matches("iam:");
        row("", action, Request::iam(&[&[("Action", name)], fields].concat()))
    };
    vec![
        taking_the_role_on(world),
        iam(
            "iam:PutRolePolicy",
            &[("RoleName", name), ("PolicyName", "more"), ("PolicyDocument", everything)],
        ),
        iam("iam:UpdateAssumeRolePolicy", &[("RoleName", name), ("PolicyDocument", anybody)]),
        iam("iam:GetRole", &[("RoleName", name)]),
        iam("iam:ListRoles", &[]),
        iam("iam:CreateUser", &[("UserName", "new")]),
        iam("iam:CreateAccessKey", &[("UserName", "new")]),
        lambda("lambda:GetFunctionConfiguration", &format!("GET {function}/configuration"), ""),
        lambda(
            "lambda:InvokeFunction",
            &format!("POST {function}/invocations"),
            "{\"Records\":[]}",
        ),
        lambda(
            "lambda:UpdateFunctionConfiguration",
            &format!("PUT {function}/configuration"),
            "{\"Timeout\":11}",
        ),
        lambda(
            "lambda:CreateEventSourceMapping",
            "POST /2015-03-31/event-source-mappings/",
            &event_source.to_string(),
        ),
        api("its own", "logs:FilterLogEvents", &json!({ "logGroupName": group })),
        api(
            "its own",
            "logs:PutRetentionPolicy",
            &json!({ "logGroupName": group, "retentionInDays": 1 }),
        ),
        api("its own", "logs:DeleteLogGroup", &json!({ "logGroupName": group })),
        api(
            "in another group",
            "logs:CreateLogStream",
            &json!({ "logGroupName": "other", "logStreamName": "new" }),
        ),
        api("", "logs:CreateLogGroup", &json!({ "logGroupName": "new" })),
        api("", "kms:ListKeys", &json!({})),
        api("", "kms:DescribeKey", &json!({ "KeyId": world.id("key") })),
        api("", "secretsmanager:ListSecrets", &json!({})),
        api(
            "another",
            "secretsmanager:GetSecretValue",
            &json!({ "SecretId": world.id("other secret") }),
        ),
        api(
            "its own",
            "secretsmanager:PutSecretValue",
            &json!({ "SecretId": world.id("secret"), "SecretString": "forged" }),
        ),
        api("", "dynamodb:ListTables", &json!({})),
    ]
}

/// Last of all: the root user's turn leaves little of what the others ask for.
fn configuring_buckets(world: &World<'_>) -> Vec<Row> {
    let versioning =
        "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let lifecycle = "<LifecycleConfiguration><Rule><ID>all</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>\
         <Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::BUCKET/*"}]}"#;
    let lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    let mut rows = vec![
        s3_with("s3:PutBucketObjectLockConfiguration", "PUT /exports?object-lock", lock),
        s3(("s3:CreateBucket", "PUT /brand-new")),
        s3(("s3:DeleteBucket", "DELETE /attic")),
    ];
    for bucket in ["photos", &world.receipts] {
        rows.extend([
            s3_with("s3:PutBucketVersioning", &format!("PUT /{bucket}?versioning"), versioning),
            s3_with("s3:PutLifecycleConfiguration", &format!("PUT /{bucket}?lifecycle"), lifecycle),
            s3_with(
                "s3:PutBucketPolicy",
                &format!("PUT /{bucket}?policy"),
                &policy.replace("BUCKET", bucket),
            ),
            s3(("s3:DeleteBucketPolicy", &format!("DELETE /{bucket}?policy"))),
            s3_with(
                "s3:PutBucketNotification",
                &format!("PUT /{bucket}?notification"),
                "<NotificationConfiguration/>",
            ),
        ]);
    }
    rows
}

fn destroying(world: &World<'_>) -> Vec<Row> {
    let stack = &world.deployed.stack;
    let function = format!("DELETE /2015-03-31/functions/{}", stack.function_name);
    vec![
        api("its own", "sqs:DeleteQueue", &json!({ "QueueUrl": stack.queue_url })),
        api(
            "its own",
            "kms:ScheduleKeyDeletion",
            &json!({ "KeyId": world.id("key"), "PendingWindowInDays": 7 }),
        ),
        lambda("lambda:DeleteFunction", &function, ""),
    ]
}

/// What AWS does, a request of the role, and what ministack does: the action that it denies, or the
/// status.
pub(super) fn differences(world: &World<'_>) -> Vec<(&'static str, Request, &'static str)> {
    let group = &world.deployed.stack.log_group;
    let stream = request_of(
        "logs:CreateLogStream",
        &json!({ "logGroupName": group, "logStreamName": "tried" }),
    );
    let event_source =
        format!("PUT /2015-03-31/event-source-mappings/{}", world.id("event source"));
    let encrypted =
        Request::new("s3", &format!("PUT /{}/receipts/e-3/erased.json", world.receipts))
            .with_header("x-amz-server-side-encryption", "aws:kms")
            .with_header("x-amz-server-side-encryption-aws-kms-key-id", world.id("other key"));
    let subnets = Request::form("ec2", "2016-11-15", &[("Action", "DescribeSubnets")]);
    vec![
        (
            "a wildcard matches every character",
            Request::new("s3", "DELETE /photos/u1/a%0Ab"),
            "s3:DeleteObject",
        ),
        ("a key is decided as it is", Request::new("s3", "DELETE /exports//users/u1/x"), "204"),
        (
            "a key is decided as it is",
            Request::new("s3", "DELETE /exports/users/u1/"),
            "s3:DeleteObject",
        ),
        (
            "who may not list is not told that a key is missing",
            Request::new("s3", &format!("GET /{}/receipts/none", world.receipts)),
            "404",
        ),
        ("S3 asks the key for the role", encrypted, "200"),
        ("the log stream is decided", stream, "logs:CreateLogStream"),
        ("the code's own requests name the function", subnets, "200"),
        (
            "an action of its own",
            Request::new("lambda", &event_source).with_body("{\"BatchSize\":1}"),
            "200",
        ),
    ]
}

pub(super) fn one_version(world: &World<'_>) -> Row {
    batch("s3:DeleteObjectVersion", "exports", &[("users/u1/one", world.id("users/u1/one"))])
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.action, self.what)
    }
}
