//! The team's notification of an erasure that could not be completed, from the receipt that the
//! function wrote to the queue of a subscriber: S3's event, the template's rule, its state machine,
//! its topic.
//!
//! Ministack 1.5.33 has no `s3:getObject` for state machines. So the test does this one step: the
//! machine waits for a worker instead, which reads the requested object with the machine's role.
//! Therefore the tests do not cover how AWS handles a response that is too large, or how it names
//! an error.

use std::time::Duration;

use local::{
    Lock, Ministack, Request, Role, create_bucket_with_object_lock, delete_plainly, lock_version,
    put_object, read_object, start_upload,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::deployed::Deployed;
use crate::privileges::{ask_for_json, denial, put_policy, request_of};
use crate::schema::assert_is_receipt;
use crate::slack_picture;
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(120);
const ERASURE_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

const READING: &str = "arn:aws:states:::aws-sdk:s3:getObject";
const PARAMETERS: [(&str, &str); 3] = [
    ("Target1Bucket", "vault"),
    ("AlertEmail", "team@example.org"),
    ("RunbookUrl", "https://wiki.example.org/runbook"),
];
/// What every notification contains, whatever the receipt says.
const NEXT_STEP: &str = "redrive, do not delete files manually: https://wiki.example.org/runbook#dead-letter-queue-is-not-empty";

/// Who of the listeners a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Anybody,
    /// Amazon Q Developer, by HTTPS.
    Slack,
}

/// A stack that notifies, and a queue that receives the notification.
#[derive(Debug)]
struct Told<'a> {
    cloud: &'a Ministack,
    /// No other principal may store a receipt.
    function_role: Role,
    /// As Step Functions describes it.
    machine: Value,
    machine_role: Role,
    rule_role: Role,
    worker: String,
    receipts: String,
    topic: String,
    queue: String,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Takes on a role that lets a service in, for this account alone: ministack's root passes for the
/// service, and not for the account.
async fn take_on(cloud: &Ministack, arn: &str) -> Result<Role, Failure> {
    let anybody =
        json!({ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole" });
    let trust = json!({ "Version": "2012-10-17", "Statement": [anybody] }).to_string();
    let name = arn.rsplit('/').next().unwrap_or_default();
    let fields =
        [("Action", "UpdateAssumeRolePolicy"), ("RoleName", name), ("PolicyDocument", &trust)];
    let answer = cloud.ask(None, &Request::iam(&fields)).await?;
    assert!(answer.is_success(), "{answer:?}");
    Ok(cloud.assume_role(arn).await?)
}

fn sns(fields: &[(&str, &str)]) -> Request {
    Request::form("sns", "2010-03-31", fields)
}

/// The stack's topic, and a queue that is subscribed to it.
pub(crate) async fn subscribe(cloud: &Ministack) -> Result<(String, String), Failure> {
    let topics = cloud.ask(None, &sns(&[("Action", "ListTopics")])).await?.body;
    let topic = topics
        .split("<TopicArn>")
        .nth(1)
        .and_then(|rest| rest.split('<').next())
        .unwrap_or_default();
    let statement = json!({ "Effect": "Allow", "Principal": { "Service": "sns.amazonaws.com" }, "Action": "sqs:*", "Resource": "*" });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let request = json!({ "QueueName": "listener", "Attributes": { "Policy": policy } });
    let queue = ask_for_json(cloud, &request_of("sqs:CreateQueue", &request)).await?;
    let arn = "arn:aws:sqs:us-east-1:000000000000:listener";
    let fields =
        [("Action", "Subscribe"), ("TopicArn", topic), ("Protocol", "sqs"), ("Endpoint", arn)];
    let answer = cloud.ask(None, &sns(&fields)).await?;
    assert!(answer.is_success(), "{answer:?}");
    Ok((topic.to_owned(), text(&queue["QueueUrl"]).to_owned()))
}

impl<'a> Told<'a> {
    /// With a stack that is deployed, to which nothing has happened.
    async fn new(deployed: &Deployed<'a>) -> Result<Self, Failure> {
        let cloud = deployed.cloud;
        let machines =
            ask_for_json(cloud, &request_of("states:ListStateMachines", &json!({}))).await?;
        let about = json!({ "stateMachineArn": machines["stateMachines"][0]["stateMachineArn"] });
        let machine =
            ask_for_json(cloud, &request_of("states:DescribeStateMachine", &about)).await?;
        let worker =
            ask_for_json(cloud, &request_of("states:CreateActivity", &json!({ "name": "reader" })))
                .await?;
        let rules = ask_for_json(cloud, &request_of("events:ListRules", &json!({}))).await?;
        let about = json!({ "Rule": rules["Rules"][0]["Name"] });
        let targets = ask_for_json(cloud, &request_of("events:ListTargetsByRule", &about)).await?;
        let buckets = cloud.s3().list_buckets().send().await?;
        let mut buckets = buckets.buckets().iter().filter_map(|bucket| bucket.name());
        let receipts = buckets.find(|name| name.contains("-receipts-"));
        let (topic, queue) = subscribe(cloud).await?;
        Ok(Self {
            cloud,
            function_role: cloud.function_role(&deployed.stack).await?,
            machine_role: take_on(cloud, text(&machine["roleArn"])).await?,
            rule_role: take_on(cloud, text(&targets["Targets"][0]["RoleArn"])).await?,
            machine,
            worker: text(&worker["activityArn"]).to_owned(),
            receipts: receipts
                .ok_or_else(|| Failure("no bucket for receipts".to_owned()))?
                .to_owned(),
            topic,
            queue,
        })
    }

    /// From now on, the worker reads, and the queue receives the messages for this kind of
    /// subscriber.
    async fn listen_as(&self, listener: Listener) -> Outcome {
        let mut definition = text(&self.machine["definition"]).to_owned();
        let mut replace = |old: &str, new: &str| {
            assert_eq!(definition.matches(old).count(), 1, "{old} in {definition}");
            definition = definition.replace(old, new);
        };
        replace(READING, &self.worker);
        if listener == Listener::Slack {
            replace("'https':", "'sqs':");
        }
        let update =
            json!({ "stateMachineArn": self.machine["stateMachineArn"], "definition": definition });
        ask_for_json(self.cloud, &request_of("states:UpdateStateMachine", &update)).await?;
        Ok(())
    }

    /// Reads what the machine asks for, with its role. Never ends well.
    async fn read_for_the_machine(&self) -> Outcome {
        loop {
            let request = json!({ "activityArn": self.worker });
            let task =
                ask_for_json(self.cloud, &request_of("states:GetActivityTask", &request)).await?;
            let Some(token) = task["taskToken"].as_str() else {
                continue;
            };
            let asked: Value = serde_json::from_str(text(&task["input"]))?;
            let line = format!("GET /{}/{}", text(&asked["Bucket"]), text(&asked["Key"]));
            let request = Request::new("s3", &line).with_header("range", text(&asked["Range"]));
            let answer = self.cloud.ask(Some(&self.machine_role), &request).await?;
            let (action, mut result) = if answer.is_success() {
                (
                    "states:SendTaskSuccess",
                    json!({ "output": json!({ "Body": answer.body }).to_string() }),
                )
            } else {
                (
                    "states:SendTaskFailure",
                    json!({ "error": "S3.S3Exception", "cause": answer.body }),
                )
            };
            result["taskToken"] = json!(token);
            ask_for_json(self.cloud, &request_of(action, &result)).await?;
        }
    }

    /// Waits until the queue has received this number of messages: each in its envelope.
    async fn hear(&self, count: usize) -> Result<Vec<Value>, Failure> {
        let mut heard = Vec::new();
        while heard.len() < count {
            let request =
                self.cloud.sqs().receive_message().queue_url(&self.queue).visibility_timeout(600);
            let answer = request.send().await?;
            for message in answer.messages() {
                heard.push(serde_json::from_str(message.body().unwrap_or_default())?);
            }
            sleep(POLL).await;
        }
        Ok(heard)
    }

    /// Runs a scene and reads for the machine meanwhile, from the start to the end, because the
    /// cloud would give a task to a worker that has ended.
    async fn while_reading(&self, scene: impl Future<Output = Outcome>) -> Outcome {
        tokio::select! {
            outcome = scene => outcome,
            outcome = self.read_for_the_machine() => outcome,
        }
    }

    /// Stores a receipt of the last try, and returns its key.
    async fn give_up(&self, erasure: &str, receipt: &str) -> Result<String, Failure> {
        let key = format!("receipts/{erasure}/incomplete-5.json");
        self.store(&key, receipt).await?;
        Ok(key)
    }

    async fn store(&self, key: &str, receipt: &str) -> Outcome {
        let line = format!("PUT /{}/{key}", self.receipts);
        let request = Request::new("s3", &line).with_body(receipt);
        let answer = self.cloud.ask(Some(&self.function_role), &request).await?;
        assert!(answer.is_success(), "{answer:?}");
        Ok(())
    }
}

/// What the function writes about a version that is locked, the marker above it, and an upload that
/// S3 does not abort.
async fn receipt_of_the_function(deployed: &Deployed<'_>, bucket: &str) -> Result<String, Failure> {
    let (cloud, s3) = (deployed.cloud, deployed.cloud.s3());
    let held = put_object(&s3, "vault", "u1/held", b"secret").await?;
    lock_version(&s3, "vault", "u1/held", &held.unwrap_or_default(), Lock::LegalHold).await?;
    delete_plainly(&s3, "vault", "u1/held").await?;
    start_upload(&s3, "vault", "u1/upload", b"part").await?;
    let role = cloud.function_role(&deployed.stack).await?;
    put_policy(cloud, &role, json!([denial("s3:AbortMultipartUpload")])).await?;
    deployed.request("r-1").await?;
    let is_told = |hops: &[local::Hop]| hops.iter().any(|hop| hop.outcome == "incomplete");
    deployed.hops_until("incomplete", ERASURE_LIMIT, is_told).await?;
    let receipt =
        String::from_utf8(read_object(&s3, bucket, "receipts/r-1/incomplete-1.json").await?)?;
    assert_is_receipt(&serde_json::from_str(&receipt)?);
    Ok(receipt)
}

#[tokio::test]
async fn team_is_notified_of_remaining_objects_and_reason() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        create_bucket_with_object_lock(&cloud.s3(), "vault").await?;
        let deployed = Deployed::new(&cloud, &PARAMETERS).await?;
        let told = Told::new(&deployed).await?;
        let receipt = receipt_of_the_function(&deployed, &told.receipts).await?;
        let fields: Value = serde_json::from_str(&receipt)?;
        let said = format!("Erasure r-1: {}\n\n{LEFT}\n\nThe request is in ", text(&fields["reason"]));

        Box::pin(told.while_reading(async {
            told.listen_as(Listener::Anybody).await?;
            let key = told.give_up("r-1", &receipt).await?;
            let command = format!("`aws s3 cp s3://{}/{key} -`", told.receipts);
            let heard = told.hear(1).await?;
            let plain = text(&heard[0]["Message"]);
            assert!([said.as_str(), NEXT_STEP, &command].iter().all(|words| plain.contains(words)), "{plain}");
            assert!(!plain.contains(text(&fields["user"])), "{plain}");
            let title = plain.lines().next().unwrap_or_default();
            assert!(title.ends_with(": some files of a user cannot be deleted"), "{plain}");
            assert_eq!(text(&heard[0]["Subject"]), title);

            let stack = title.split(':').next().unwrap_or_default().to_owned();
            told.listen_as(Listener::Slack).await?;
            told.give_up("r-1", &receipt).await?;
            let slack: Value = serde_json::from_str(text(&told.hear(1).await?[0]["Message"]))?;
            let (description, steps) = (text(&slack["content"]["description"]), &slack["content"]["nextSteps"]);
            assert!(description.starts_with(&said), "{slack:#}");
            assert!(text(&steps[0]).ends_with(NEXT_STEP) && text(&steps[2]).ends_with(&command), "{slack:#}");
            let content = json!({
                "textType": "client-markdown", "title": title, "description": description, "nextSteps": steps,
            });
            let metadata = json!({ "threadId": key });
            let form = json!({ "version": "1.0", "source": "custom", "content": content, "metadata": metadata });
            assert_eq!(slack, form);
            slack_picture::check(&slack, &[(&told.receipts, "receipts-bucket"), (&stack, "erase-user-files")])?;

            told.give_up("r-2", &receipt.replace("what is left cannot", &"x".repeat(10_000))).await?;
            let slack: Value = serde_json::from_str(text(&told.hear(1).await?[0]["Message"]))?;
            assert_eq!(text(&slack["content"]["description"]).chars().count(), 8_000, "{slack:#}");
            Ok(())
        }))
        .await
    })
    .await
}

/// What is left by [`receipt_of_the_function`].
const LEFT: &str = "s3://vault/{user_id}/
- retained by Object Lock (legal-hold): 1
- not deleted by S3 (AccessDenied): 1
- delete markers kept above them: 1";

#[tokio::test]
async fn team_is_notified_of_an_unreadable_receipt() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        create_bucket_with_object_lock(&cloud.s3(), "vault").await?;
        let deployed = Deployed::new(&cloud, &PARAMETERS).await?;
        let told = Told::new(&deployed).await?;
        told.listen_as(Listener::Anybody).await?;
        let gone = told.give_up("gone", "{}").await?;
        delete_plainly(&cloud.s3(), &told.receipts, &gone).await?;
        let large =
            json!({ "outcome": "incomplete", "erasureId": "large", "reason": "x".repeat(40_000) })
                .to_string();
        let others =
            [("no-json", "<html>"), ("no-receipt", r#"{"outcome":"erased"}"#), ("large", &large)];
        Box::pin(told.while_reading(async {
            let mut keys = vec![gone];
            for (erasure, receipt) in others {
                keys.push(told.give_up(erasure, receipt).await?);
            }
            let heard = told.hear(keys.len()).await?;
            for key in keys {
                let command = format!("`aws s3 cp s3://{}/{key} -`", told.receipts);
                let one = heard
                    .iter()
                    .map(|message| text(&message["Message"]))
                    .find(|said| said.contains(&command));
                let one = one.ok_or_else(|| Failure(format!("nothing of {key} in {heard:#?}")))?;
                assert!(
                    one.contains("Its receipt could not be read (S") && one.contains(NEXT_STEP),
                    "{one}"
                );
            }
            Ok(())
        }))
        .await
    })
    .await
}

#[tokio::test]
async fn notification_role_allows_nothing_else() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        create_bucket_with_object_lock(&cloud.s3(), "vault").await?;
        let deployed = Deployed::new(&cloud, &PARAMETERS).await?;
        let told = Told::new(&deployed).await?;
        let read = told.give_up("r-1", "{}").await?;
        told.store("receipts/r-1/erased.json", "{}").await?;
        let made = cloud.ask(None, &sns(&[("Action", "CreateTopic"), ("Name", "other")])).await?;
        assert!(made.is_success(), "{made:?}");
        let other_topic = "arn:aws:sns:us-east-1:000000000000:other";
        let s3 = |method: &str, path: &str| Request::new("s3", &format!("{method} /{}{path}", told.receipts));
        let publish = |topic: &str| sns(&[("Action", "Publish"), ("TopicArn", topic), ("Message", "x")]);
        let of_machine = |action| {
            let about =
                json!({ "stateMachineArn": told.machine["stateMachineArn"], "definition": "{}", "input": "{}" });
            request_of(action, &about)
        };
        let (machine, rule) = (&told.machine_role, &told.rule_role);
        let allowed = [
            (machine, s3("GET", &format!("/{read}"))),
            (machine, publish(&told.topic)),
            (rule, of_machine("states:StartExecution")),
        ];
        for (role, request) in allowed {
            let answer = cloud.ask(Some(role), &request).await?;
            assert!(answer.is_success(), "{} {request:?} {answer:?}", role.name());
        }
        let refused = [
            (machine, "s3:GetObject", s3("GET", "/receipts/r-1/erased.json")),
            (machine, "s3:ListBucket", s3("GET", "?list-type=2")),
            (machine, "s3:PutObject", s3("PUT", &format!("/{read}"))),
            (machine, "s3:DeleteObject", s3("DELETE", &format!("/{read}"))),
            (machine, "sns:Publish", publish(other_topic)),
            (machine, "states:StartExecution", of_machine("states:StartExecution")),
            (rule, "states:UpdateStateMachine", of_machine("states:UpdateStateMachine")),
            (rule, "states:DescribeStateMachine", of_machine("states:DescribeStateMachine")),
            (rule, "sns:Publish", publish(&told.topic)),
            (rule, "s3:GetObject", s3("GET", &format!("/{read}"))),
        ];
        for (role, action, request) in refused {
            let answer = cloud.ask(Some(role), &request).await?;
            let words = format!("is not authorized to perform: {action} ");
            assert!(!answer.is_success() && answer.body.contains(&words), "{} {action} {answer:?}", role.name());
        }
        Ok(())
    })
    .await
}
