//! A stack, its role, and everything that the rows request: a missing resource could not be denied,
//! only not found.

use std::collections::BTreeMap;

use local::{
    Answer, Lock, Ministack, Request, Role, Stored, create_bucket_with_object_lock,
    enable_versioning, inventory, lock_version, put_object, start_upload,
};
use serde_json::{Value, json};

use crate::Failure;
use crate::deployed::Deployed;

/// Three buckets, one of them empty and one with two targets, one with files of every other pattern,
/// and where receipts go.
pub(super) const PARAMETERS: [(&str, &str); 20] = [
    ("Target1Bucket", "photos"),
    ("Target2Bucket", "exports"),
    ("Target2Prefix", "users/{user_id}/"),
    ("Target3Bucket", "attic"),
    ("Target3Prefix", "users/{user_id}/"),
    ("Target4Bucket", "exports"),
    ("Target4Prefix", "archive/{user_id}/"),
    ("Target5Bucket", "tenants"),
    ("Target5Prefix", "{tenant_id}/user_{user_id}/"),
    ("Target6Bucket", "tenants"),
    ("Target6Prefix", "{tenant_id}/{scope_id}/of/{user_id}/"),
    ("Target7Bucket", "attic"),
    ("Target7Prefix", "seven/{user_id}/"),
    ("Target8Bucket", "tenants"),
    ("Target8Prefix", "raw/{user_id:urlencode}-files/"),
    ("EraseKey1Bucket", "avatars"),
    ("EraseKey1Pattern", "photos/{user_id}"),
    ("EraseKey2Bucket", "avatars"),
    ("EraseKey2Pattern", "icons/{user_id}.*"),
    ("ReceiptsBucket", "receipts"),
];

/// A parameter with this value gets the ARN of a key.
pub(super) const THE_KEY: &str = "the key";

/// A deployed stack, and the names and ids that requests need.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) deployed: Deployed<'a>,
    pub(super) role: Role,
    /// The bucket of the receipts.
    pub(super) receipts: String,
    /// Every id that was given, by what it is of.
    ids: BTreeMap<&'static str, String>,
}

impl<'a> World<'a> {
    /// Creates everything, and deploys the template. The queue's messages then wait for a receiver.
    pub(super) async fn new(
        cloud: &'a Ministack,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let mut ids = BTreeMap::new();
        for bucket in ["photos", "attic", "tenants", "avatars", "other", "receipts"] {
            cloud.create_bucket(bucket).await?;
        }
        fill_buckets(cloud, &mut ids).await?;
        ask_for_json(
            cloud,
            &request_of("logs:CreateLogGroup", &json!({ "logGroupName": "other" })),
        )
        .await?;
        for name in ["key", "other key"] {
            let made = ask_for_json(cloud, &request_of("kms:CreateKey", &json!({}))).await?;
            let key = made["KeyMetadata"]["Arn"].as_str().unwrap_or_default().to_owned();
            ids.insert(name, key);
        }
        let mut all = PARAMETERS.to_vec();
        all.retain(|(name, _)| parameters.iter().all(|(given, _)| given != name));
        all.extend(parameters);
        for (_, value) in all.iter_mut().filter(|(_, value)| *value == THE_KEY) {
            *value = &ids["key"];
        }
        let deployed = Deployed::new(cloud, &all).await?;
        let role = cloud.function_role(&deployed.stack).await?;
        let mut world = Self { deployed, role, receipts: String::new(), ids };
        world.find_receipts().await?;
        world.find_secrets().await?;
        world.encrypt().await?;
        world.stop_polling().await?;
        world.fill_queues().await?;
        Ok(world)
    }

    pub(super) fn cloud(&self) -> &'a Ministack {
        self.deployed.cloud
    }

    /// An id, which needs no encoding in URLs and XML.
    pub(super) fn id(&self, of: &str) -> &str {
        &self.ids[of]
    }

    /// What all buckets hold.
    pub(super) async fn contents(&self) -> Result<Vec<(String, Stored)>, Failure> {
        let mut all = Vec::new();
        for bucket in ["photos", "exports", "attic", "tenants", "avatars", "other", &self.receipts]
        {
            let stored = inventory(&self.cloud().s3(), bucket, "").await?;
            all.extend(stored.into_iter().map(|item| (bucket.to_owned(), item)));
        }
        Ok(all)
    }

    /// How many messages are in each queue.
    pub(super) async fn depths(&self) -> Result<[u64; 3], Failure> {
        let mut depths = [0; 3];
        let stack = &self.deployed.stack;
        let urls = [stack.queue_url.as_str(), &stack.dead_letter_queue_url, self.id("other queue")];
        for (depth, url) in depths.iter_mut().zip(urls) {
            *depth = self.cloud().queue_depth(url).await?;
        }
        Ok(depths)
    }

    /// The event source mapping would take the messages that are meant for others.
    async fn stop_polling(&mut self) -> Result<(), Failure> {
        let cloud = self.cloud();
        let name = &self.deployed.stack.function_name;
        let list = format!("GET /2015-03-31/event-source-mappings/?FunctionName={name}");
        let mappings = ask_for_json(cloud, &Request::new("lambda", &list)).await?;
        let id = mappings["EventSourceMappings"][0]["UUID"].as_str().unwrap_or_default().to_owned();
        let line = format!("PUT /2015-03-31/event-source-mappings/{id}");
        ask_for_json(
            cloud,
            &Request::new("lambda", &line).with_body(json!({ "Enabled": false }).to_string()),
        )
        .await?;
        self.ids.insert("event source", id);
        Ok(())
    }

    /// The bucket may be the stack's own.
    async fn find_receipts(&mut self) -> Result<(), Failure> {
        let cloud = self.cloud();
        let line = format!(
            "GET /2015-03-31/functions/{}/configuration",
            self.deployed.stack.function_name
        );
        let function = ask_for_json(cloud, &Request::new("lambda", &line)).await?;
        let uri = function["Environment"]["Variables"]["RECEIPTS_URI"].as_str().unwrap_or_default();
        let bucket = uri.strip_prefix("s3://").and_then(|rest| rest.strip_suffix("/receipts/"));
        self.receipts =
            bucket.ok_or_else(|| Failure(format!("receipts go to {uri:?}")))?.to_owned();
        for key in ["receipts/e-1/erased.json", "elsewhere"] {
            let version = put_object(&cloud.s3(), &self.receipts, key, b"{}").await?;
            self.ids.insert(key, version.unwrap_or_default());
        }
        Ok(())
    }

    /// A message of each queue is taken, so that there is a handle of it.
    async fn fill_queues(&mut self) -> Result<(), Failure> {
        let cloud = self.cloud();
        let made =
            ask_for_json(cloud, &request_of("sqs:CreateQueue", &json!({ "QueueName": "other" })))
                .await?;
        let other = made["QueueUrl"].as_str().unwrap_or_default().to_owned();
        let queue = self.deployed.stack.queue_url.clone();
        for url in [&queue, &queue, &queue, &other] {
            cloud.send_message(url, "{}").await?;
        }
        for (url, name) in
            [(&queue, "first message"), (&queue, "second message"), (&other, "other message")]
        {
            let request = json!({ "QueueUrl": url, "VisibilityTimeout": 600 });
            let received = ask_for_json(cloud, &request_of("sqs:ReceiveMessage", &request)).await?;
            let handle = received["Messages"][0]["ReceiptHandle"].as_str();
            let handle =
                handle.ok_or_else(|| Failure(format!("no message in {url}: {received}")))?;
            self.ids.insert(name, handle.to_owned());
        }
        self.ids.insert("other queue", other);
        Ok(())
    }

    /// The secret with the hash key, and another.
    async fn find_secrets(&mut self) -> Result<(), Failure> {
        let cloud = self.cloud();
        let line = format!(
            "GET /2015-03-31/functions/{}/configuration",
            self.deployed.stack.function_name
        );
        let function = ask_for_json(cloud, &Request::new("lambda", &line)).await?;
        let secret = &function["Environment"]["Variables"]["RECEIPT_HASH_KEY_SECRET"];
        self.ids.insert("secret", secret.as_str().unwrap_or_default().to_owned());
        let body = json!({ "Name": "other", "SecretString": "other" });
        let made = ask_for_json(cloud, &request_of("secretsmanager:CreateSecret", &body)).await?;
        self.ids.insert("other secret", made["ARN"].as_str().unwrap_or_default().to_owned());
        Ok(())
    }

    /// Ciphertexts for tests of `kms:Decrypt`.
    async fn encrypt(&mut self) -> Result<(), Failure> {
        for (name, key) in [("ciphertext", "key"), ("other ciphertext", "other key")] {
            let request = request_of(
                "kms:Encrypt",
                &json!({ "KeyId": self.id(key), "Plaintext": "c2VjcmV0" }),
            );
            let made = ask_for_json(self.cloud(), &request).await?;
            self.ids.insert(name, made["CiphertextBlob"].as_str().unwrap_or_default().to_owned());
        }
        Ok(())
    }
}

async fn fill_buckets(
    cloud: &Ministack,
    ids: &mut BTreeMap<&'static str, String>,
) -> Result<(), Failure> {
    let s3 = cloud.s3();
    for key in ["u1/one", "u1/two", "u1/three", "u1/kept", "loose"] {
        put_object(&s3, "photos", key, b"photo").await?;
    }
    ids.insert("upload", start_upload(&s3, "photos", "u1/upload", b"part").await?);
    for key in [
        "acme/user_u1/one",
        "acme/user_u1/kept",
        "acme/xuser_u1/kept",
        "raw/a%7C1-files/one",
        "raw/a%7C1/kept",
    ] {
        put_object(&s3, "tenants", key, b"file").await?;
    }
    for key in ["photos/u1", "photos/u2", "icons/u1.png", "icons/u1.jpg", "icons/u1", "icons/kept"]
    {
        put_object(&s3, "avatars", key, b"avatar").await?;
    }
    put_object(&s3, "other", "users/u1/kept", b"not a target").await?;
    ids.insert("other upload", start_upload(&s3, "other", "users/u1/upload", b"part").await?);
    create_bucket_with_object_lock(&s3, "exports").await?;
    let keys = [
        "users/u1/one",
        "users/u1/two",
        "users/u1/three",
        "users/u1/kept",
        "users/u1/locked",
        "users/u1/held",
        "users/loose",
        "archive/u1/one",
        "shared/kept",
        "shared/held",
    ];
    for key in keys {
        let version = put_object(&s3, "exports", key, b"export").await?;
        let version = version.ok_or_else(|| Failure(format!("{key} has no version")))?;
        if key.ends_with("/locked") || key.ends_with("/held") {
            lock_version(&s3, "exports", key, &version, Lock::Governance(3_600)).await?;
        }
        if key.ends_with("/held") {
            lock_version(&s3, "exports", key, &version, Lock::LegalHold).await?;
        }
        ids.insert(key, version);
    }
    ids.insert("shared upload", start_upload(&s3, "exports", "shared/upload", b"part").await?);
    enable_versioning(&s3, "receipts").await?;
    Ok(())
}

/// What the root user gets for a request of which the answer is JSON.
pub(crate) async fn ask_for_json(cloud: &Ministack, request: &Request) -> Result<Value, Failure> {
    let answer: Answer = cloud.ask(None, request).await?;
    if answer.is_success() {
        Ok(serde_json::from_str(&answer.body)?)
    } else {
        Err(Failure(format!("{request:?}: {}", answer.body)))
    }
}

/// An action of a service that takes JSON, named as in a policy.
pub(crate) fn request_of(action: &'static str, body: &Value) -> Request {
    let (service, name) = action.split_once(':').unwrap_or_default();
    let target = match service {
        "dynamodb" => "DynamoDB_20120810",
        "events" => "AWSEvents",
        "kms" => "TrentService",
        "logs" => "Logs_20140328",
        "sqs" => "AmazonSQS",
        "states" => "AWSStepFunctions",
        _ => service,
    };
    Request::json(service, &format!("{target}.{name}"), body)
}
