//! Recipes of `examples/events` end to end: a topic whose messages have no type, and the verifier
//! of webhooks.

use std::fs;
use std::process::Command;
use std::time::Duration;

use local::{Ministack, Package, Request, install, project_root};
use serde_json::{Value, json};

use crate::deployed::Deployed;
use crate::objects::{assert_left, objects};
use crate::privileges::{ask_for_json, request_of};
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(90);
const ERASURE_LIMIT: Duration = Duration::from_secs(45);

const BUCKET: &str = "example-uploads";

fn text_of(file: &str) -> Result<String, Failure> {
    let path = project_root().join("examples/events").join(file);
    fs::read_to_string(path).map_err(|error| Failure(format!("{file}: {error}")))
}

fn json_of(file: &str) -> Result<Value, Failure> {
    Ok(serde_json::from_str(&text_of(file)?)?)
}

fn sns(fields: &[(&str, &str)]) -> Request {
    Request::form("sns", "2010-03-31", fields)
}

/// A topic whose messages go to the stack's queue, in SNS's envelope.
async fn subscribed_topic(deployed: &Deployed<'_>, name: &str) -> Result<String, Failure> {
    let made = deployed.cloud.ask(None, &sns(&[("Action", "CreateTopic"), ("Name", name)])).await?;
    let topic = format!("arn:aws:sns:us-east-1:000000000000:{name}");
    assert!(made.body.contains(&topic), "{made:?}");
    let queue = deployed.stack.queue_url.rsplit('/').next().unwrap_or_default();
    let queue = format!("arn:aws:sqs:us-east-1:000000000000:{queue}");
    let fields =
        [("Action", "Subscribe"), ("TopicArn", &*topic), ("Protocol", "sqs"), ("Endpoint", &queue)];
    let answer = deployed.cloud.ask(None, &sns(&fields)).await?;
    assert!(answer.is_success(), "{answer:?}");
    Ok(topic)
}

/// Adds the recipe's settings to those of the deployed function.
async fn set(deployed: &Deployed<'_>, settings: &str, replaced: (&str, &str)) -> Outcome {
    let path = format!("/2015-03-31/functions/{}/configuration", deployed.stack.function_name);
    let get = Request::new("lambda", &format!("GET {path}"));
    let configuration = ask_for_json(deployed.cloud, &get).await?;
    let mut variables = configuration["Environment"]["Variables"].clone();
    for line in settings.lines() {
        let (name, value) = line.split_once('=').unwrap_or_default();
        variables[name] = json!(value.replace(replaced.0, replaced.1));
    }
    let body = json!({ "Environment": { "Variables": variables } });
    let put = Request::new("lambda", &format!("PUT {path}")).with_body(body.to_string());
    ask_for_json(deployed.cloud, &put).await?;
    Ok(())
}

#[tokio::test]
async fn topic_without_type_requests_erasures_and_other_topics_do_not() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let event = json_of("topic-without-type/event.json")?;
        let message = event["Message"].as_str().unwrap_or_default();
        let user: Value = serde_json::from_str(message)?;
        let user = user["user_id"].as_str().unwrap_or_default();
        let kept = objects([format!("users/{user}x/keep.txt"), "users/u2/keep.txt".to_owned()]);
        cloud.create_bucket(BUCKET).await?;
        let own = objects([format!("users/{user}/a.jpg"), format!("users/{user}/b/c.jpg")]);
        cloud.put_objects(BUCKET, own.into_iter().chain(kept.clone()), || {}).await?;
        let parameters = [("Target1Bucket", BUCKET), ("Target1Prefix", "users/{user_id}/")];
        let deployed = Deployed::new(&cloud, &parameters).await?;

        let statement = json!({ "Effect": "Allow", "Principal": { "Service": "sns.amazonaws.com" }, "Action": "sqs:SendMessage", "Resource": "*" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let attributes = json!({ "QueueUrl": deployed.stack.queue_url, "Attributes": { "Policy": policy } });
        let answer = cloud.ask(None, &request_of("sqs:SetQueueAttributes", &attributes)).await?;
        assert!(answer.is_success(), "{answer:?}");
        let topic = subscribed_topic(&deployed, "deleted-accounts").await?;
        let other = subscribed_topic(&deployed, "other-accounts").await?;
        let of_recipe = event["TopicArn"].as_str().unwrap_or_default();
        set(&deployed, &text_of("topic-without-type/settings.env")?, (of_recipe, &topic)).await?;

        let of_neighbour = json!({ "user_id": "u2" }).to_string();
        for (topic, message) in [(&other, &*of_neighbour), (&topic, message)] {
            let fields = [("Action", "Publish"), ("TopicArn", topic.as_str()), ("Message", message)];
            let answer = cloud.ask(None, &sns(&fields)).await?;
            assert!(answer.is_success(), "{answer:?}");
        }
        let rejected = deployed.dead_letters(1, ERASURE_LIMIT).await?;
        assert!(rejected[0].contains("other-accounts"), "{rejected:?}");
        let is_erased = |hops: &[local::Hop]| hops.iter().any(|hop| hop.outcome == "erased");
        let hops = deployed.hops_until("an erasure", ERASURE_LIMIT, is_erased).await?;
        assert_eq!((hops.len(), hops[0].objects), (1, 2), "{hops:#?}");
        assert_left(&cloud.s3(), BUCKET, &kept).await
    })
    .await
}

/// Signs the body as Svix does, lets the verifier handle it, and prints the status; then the same
/// with another signature.
const SIGNED_REQUEST: &str = r#"
import base64, json, sys, time
import verifier
headers = {"svix-id": sys.argv[2], "svix-timestamp": str(int(time.time()))}
content = ".".join([headers["svix-id"], headers["svix-timestamp"], sys.argv[1]]).encode()
for key in [b"a webhook's key", b"another key"]:
    headers["Svix-Signature"] = "v1," + verifier.mac(key, content).decode()
    print(verifier.handler({"body": sys.argv[1], "headers": headers}, None)["statusCode"])
encoded = base64.b64encode(sys.argv[1].encode()).decode()
print(verifier.handler({"body": encoded, "isBase64Encoded": True, "headers": headers}, None)["statusCode"])
"#;

#[tokio::test]
async fn verifier_forwards_only_signed_webhooks() -> Outcome {
    let python = install(Package::Ministack).await?.join("python");
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let queue = ask_for_json(
            &cloud,
            &request_of("sqs:CreateQueue", &json!({ "QueueName": "requests" })),
        )
        .await?;
        let queue = queue["QueueUrl"].as_str().unwrap_or_default();
        let secret = json!({ "Name": "webhook", "SecretString": "whsec_YSB3ZWJob29rJ3Mga2V5" });
        let secret = Request::json("secretsmanager", "secretsmanager.CreateSecret", &secret);
        let secret = ask_for_json(&cloud, &secret).await?;

        let forwarded = json_of("clerk/event.json")?;
        let id = forwarded["id"].as_str().unwrap_or_default();
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&python);
            command.args(["-B"]).args(arguments);
            command.current_dir(project_root().join("examples/events/verifier"));
            command.env("AWS_CONFIG_FILE", "/dev/null").env_remove("AWS_PROFILE");
            command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
            command.envs([
                ("AWS_ENDPOINT_URL", cloud.endpoint()),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_DEFAULT_REGION", "us-east-1"),
                ("KIND", "svix"),
                ("QUEUE_URL", queue),
                ("WEBHOOK_SECRET_ARN", secret["ARN"].as_str().unwrap_or_default()),
            ]);
            command.output()
        };
        let tested = run(&["-m", "unittest", "test_verifier"])?;
        assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
        let output = run(&["-c", SIGNED_REQUEST, &forwarded["event"].to_string(), id])?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "202\n401\n401\n", "{complaint}");

        let received = cloud.sqs().receive_message().queue_url(queue);
        let received = received.max_number_of_messages(10).send().await?.messages;
        let bodies = received.into_iter().flatten().filter_map(|message| message.body);
        let bodies: Vec<Value> =
            bodies.map(|body| serde_json::from_str(&body)).collect::<Result<_, _>>()?;
        assert_eq!(bodies, [forwarded], "the event that the recipe's settings are tried with");
        Ok(())
    })
    .await
}
