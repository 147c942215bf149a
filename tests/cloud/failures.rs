//! Messages and erasures that do not end well: nothing is lost, nothing else is harmed, and the log
//! says why.

use std::time::Duration;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use local::{Hop, Ministack, project_root};
use serde_json::{Value, json};

use crate::deployed::{Deployed, QUEUE_VISIBILITY};
use crate::objects::{USER, assert_left, neighbours, put_user_and_neighbours};
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(90);
const HOP_LIMIT: Duration = Duration::from_secs(25);

/// The first delay of a message that was returned to the queue.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);

/// The bodies of the malformed messages: those of the event file, and some whose bytes are easily
/// changed on the way.
fn malformed() -> Result<Vec<String>, Failure> {
    let text = std::fs::read(project_root().join("events/malformed.json"))?;
    let event: Value = serde_json::from_slice(&text)?;
    let records = event["Records"].as_array().into_iter().flatten();
    let mut bodies: Vec<String> =
        records.filter_map(|record| record["body"].as_str().map(str::to_owned)).collect();
    assert!(bodies.len() >= 6, "the event file has lost its bodies");
    bodies.push(
        "  {\"type\":\"user-withdrawn\",\r\n\t\"userId\":\"\u{fc}\u{1f600}\",\"a\":\"&lt;<>&\\ud800\"}\n".to_owned(),
    );
    bodies.push(format!("[{}]", "\"x\",".repeat(20_000)));
    Ok(bodies)
}

#[tokio::test]
async fn malformed_messages_reach_the_dead_letter_queue_alone() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        cloud.create_bucket("photos").await?;
        put_user_and_neighbours(&cloud, "photos", 50).await?;
        let deployed = Deployed::new(&cloud, &[("Target1Bucket", "photos")]).await?;
        let mut expected = malformed()?;
        let mut bodies = expected.clone();
        bodies.insert(3, json!({ "type": "user-withdrawn", "userId": USER }).to_string());
        let entry = |(index, body): (usize, &String)| {
            // The delay ends for all at the same moment, so that one invocation gets them all.
            let entry =
                SendMessageBatchRequestEntry::builder().id(format!("m{index}")).delay_seconds(1);
            entry.message_body(body).build()
        };
        let entries = bodies.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let sent = cloud.sqs().send_message_batch().queue_url(&deployed.stack.queue_url);
        let sent = sent.set_entries(Some(entries)).send().await?;
        assert!(sent.failed().is_empty(), "{sent:?}");

        // Five deliveries without a wait between them: with the first backoff alone they would take
        // 75 s.
        let dead = deployed.dead_letters(expected.len(), HOP_LIMIT).await?;
        expected.sort();
        assert_eq!(dead, expected, "the dead-letter queue holds what was sent, byte for byte");

        let hops =
            deployed.hops_until("the good message", HOP_LIMIT, |hops| !hops.is_empty()).await?;
        assert_eq!(
            (hops.len(), hops[0].outcome.as_str(), hops[0].objects),
            (1, "erased", 50),
            "{hops:#?}"
        );
        assert_left(&cloud.s3(), "photos", &neighbours()).await?;
        deployed.depth_becomes(0).await?;

        let rejected = deployed.log("message not understood").await?;
        assert_eq!(
            rejected.len(),
            5 * expected.len(),
            "each is delivered five times: {rejected:#?}"
        );
        for line in &rejected {
            assert_eq!(
                (&line["outcome"], &line["level"]),
                (&json!("rejected"), &json!("ERROR")),
                "{line}"
            );
            assert!(
                line["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
                "no reason: {line}"
            );
        }
        let good = deployed.log("hop finished").await?;
        let companions = rejected
            .iter()
            .filter(|line| line["span"]["requestId"] == good[0]["span"]["requestId"]);
        assert!(
            companions.count() > 0,
            "the good message came with none of the malformed ones: {good:?}"
        );
        deployed.assert_log_is_discreet().await
    })
    .await
}

/// Waits for the first hop, which must have failed, and returns it with the queue checked: the
/// message is still there.
async fn failed_hop(deployed: &Deployed<'_>) -> Result<Hop, Failure> {
    let hops = deployed.hops_until("the first hop", HOP_LIMIT, |hops| !hops.is_empty()).await?;
    let hop = hops[0].clone();
    assert_eq!((hop.outcome.as_str(), hop.hop), ("failed", 0), "{hop:#?}");
    deployed.depth_becomes(1).await?;
    assert_eq!(deployed.hidden_messages().await?, "1", "the message waits for its next delivery");
    Ok(hop)
}

/// The time from one log line to another.
fn seconds_between(first: &Value, second: &Value) -> Result<f64, Failure> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let time_of = |line: &Value| {
        OffsetDateTime::parse(line["timestamp"].as_str().unwrap_or_default(), &Rfc3339)
    };
    Ok((time_of(second)? - time_of(first)?).as_seconds_f64())
}

#[tokio::test]
async fn missing_bucket_fails_by_name_and_backs_off_until_created() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        cloud.create_bucket("exports").await?;
        put_user_and_neighbours(&cloud, "exports", 30).await?;
        let deployed = Deployed::new(
            &cloud,
            &[("Target1Bucket", "missing-one"), ("Target2Bucket", "exports")],
        )
        .await?;

        deployed.withdraw(USER).await?;
        let hop = failed_hop(&deployed).await?;

        assert!(
            hop.reason.contains("s3://missing-one/{user_id}/"),
            "the target is not named: {}",
            hop.reason
        );
        assert!(hop.reason.contains("NoSuchBucket"), "the code is not named: {}", hop.reason);
        assert!(hop.reason.contains("does the bucket exist?"), "there is no hint: {}", hop.reason);
        assert_eq!(hop.objects, 30, "{hop:#?}");
        assert_left(&cloud.s3(), "exports", &neighbours()).await?;

        // The function makes the message visible before the queue's own timeout.
        deployed.hops_until("the second delivery", HOP_LIMIT, |hops| hops.len() >= 2).await?;
        let lines = deployed.log("hop finished").await?;
        let counts = [&lines[0], &lines[1]].map(|line| line["receive_count"].clone());
        assert_eq!(counts, [json!(1), json!(2)], "{lines:#?}");
        let waited = seconds_between(&lines[0], &lines[1])?;
        let least = FIRST_BACKOFF.as_secs_f64() - 0.5;
        let most = QUEUE_VISIBILITY.as_secs_f64() / 2.0;
        assert!(waited > least && waited < most, "redelivered after {waited} s: {lines:#?}");

        // With the bucket, the redelivered message erases the rest.
        cloud.create_bucket("missing-one").await?;
        deployed.erased(1, HOP_LIMIT).await?;
        deployed.assert_log_is_discreet().await
    })
    .await
}
