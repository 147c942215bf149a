//! Messages that are redelivered after their erasure has ended, and how the function recognizes them.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::fixture::{BUCKET, FakeReceipts, Fixture, Logs, NO_FAILURES, Store, locked, record};
use crate::schema::assert_is_receipt;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The reason of a delivery that finds the receipt of an earlier one.
const DONE: &str = "an earlier delivery stored the receipt, so this delivery deleted nothing";

/// A minute before the first invocation, in milliseconds since 1970.
const SENT: u64 = 1_799_999_940_000;

fn delivered(body: &str, sent: u64, delivery: u32) -> SqsMessage {
    let mut message = record("m", body);
    message.attributes.insert("SentTimestamp".to_owned(), sent.to_string());
    message.attributes.insert("ApproximateReceiveCount".to_owned(), delivery.to_string());
    message
}

fn request(sent: u64, delivery: u32) -> SqsMessage {
    delivered(r#"{"type":"user-withdrawn","userId":"u1","requestId":"r"}"#, sent, delivery)
}

/// Delivers a message, which SQS does not redeliver; returns the line of its hop.
async fn hop(fixture: &Fixture, message: SqsMessage) -> Value {
    let logs = Logs::default();
    let failed = {
        let _listening = logs.listen();
        fixture.invoke(TIMEOUT, vec![message]).await
    };
    assert_eq!(failed, Ok(NO_FAILURES));
    let log = logs.take();
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.find(|line| line["message"] == "hop finished").expect("a line for the hop")
}

fn write(fixture: &Fixture, numbers: &[u32]) {
    fixture.store.put(BUCKET, "u1", numbers.iter().copied());
    locked(&fixture.store.log).clear();
}

/// The store got no request since the last write, and keeps what was written.
fn assert_untouched(fixture: &Fixture, objects: usize) {
    assert_eq!((fixture.store.left("u1"), locked(&fixture.store.log).len()), (objects, 0));
}

#[tokio::test(start_paused = true)]
async fn redelivery_after_receipt_deletes_nothing() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]);
    let line = hop(&fixture, request(SENT, 1)).await;
    assert_eq!((&line["outcome"], &line["reason"]), (&json!("erased"), &Value::Null));
    write(&fixture, &[7, 8]);
    for delivery in [2, 5] {
        let line = hop(&fixture, request(SENT, delivery)).await;
        assert_eq!((&line["outcome"], &line["reason"]), (&json!("erased"), &json!(DONE)));
        assert_untouched(&fixture, 2);
    }
    // The same user and the same request id, sent at another time: the first receipt is not its
    // own.
    for delivery in [1, 2] {
        write(&fixture, &[7, 8]);
        let line = hop(&fixture, request(SENT + 1_000, delivery)).await;
        assert_eq!(
            (&line["outcome"], &line["reason"]),
            (&json!("erased"), &Value::Null),
            "delivery {delivery}"
        );
        assert_eq!(fixture.store.left("u1"), 0, "delivery {delivery}");
    }
    assert_eq!(fixture.receipt_store.receipt().1["objects"], 10, "the first receipt stays");
}

#[tokio::test(start_paused = true)]
async fn redelivery_sends_the_sweep_until_it_has_a_receipt() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[("LATE_WRITE_SWEEP_SECONDS", "60")]);
    let next = || fixture.take_continuation();
    hop(&fixture, request(SENT, 1)).await;
    let sweep = next().expect("a sweep");
    // It is not known whether the first delivery has sent it.
    let line = hop(&fixture, request(SENT, 2)).await;
    assert_eq!((&line["outcome"], &line["reason"]), (&json!("erased"), &json!(DONE)));
    let second: Value = serde_json::from_str(&next().expect("the sweep again").body)
        .expect("a continuation is JSON");
    assert!(second["sweepAt"].is_string(), "{second}");

    sleep(sweep.delay).await;
    write(&fixture, &[7]);
    assert_eq!(hop(&fixture, delivered(&sweep.body, SENT, 1)).await["outcome"], "swept");
    assert_eq!(fixture.store.left("u1"), 0);
    write(&fixture, &[7, 8]);
    let line = hop(&fixture, delivered(&sweep.body, SENT, 2)).await;
    assert_eq!((&line["outcome"], &line["reason"]), (&json!("swept"), &json!(DONE)));
    assert_untouched(&fixture, 2);
    let line = hop(&fixture, request(SENT, 3)).await;
    assert_eq!((&line["outcome"], &line["reason"]), (&json!("erased"), &json!(DONE)));
    assert_untouched(&fixture, 2);
    assert!(next().is_none(), "the sweep has its receipt");
}

#[tokio::test(start_paused = true)]
async fn only_first_delivery_reports_found_nothing() {
    let later = json!({"type": "erasure-continuation", "version": 1, "erasureId": "r", "userId": "u1", "hop": 1});
    let keeping =
        json!({"type": "user-withdrawn", "userId": "u1", "eraseBefore": "1970-01-01T00:00:00Z"});
    for (objects, message, finds_nothing) in [
        (0, request(SENT, 1), true),
        (0, request(SENT, 2), false),
        (1, request(SENT, 1), false),
        (0, delivered(&later.to_string(), SENT, 1), false),
        // It deletes nothing, and finds what it keeps.
        (1, delivered(&keeping.to_string(), SENT, 1), false),
    ] {
        let fixture = Fixture::new(Store::of(&[("u1", objects)]), &[]);
        let body = message.body.clone();
        let line = hop(&fixture, message).await;
        let expected = finds_nothing.then_some(json!(true));
        let receipt = fixture.receipt_store.receipt().1;
        assert_is_receipt(&receipt);
        assert_eq!(receipt["outcome"], "erased", "{objects} objects, {body:?}");
        assert_eq!(receipt.get("foundNothing"), expected.as_ref(), "{objects} objects, {body:?}");
        assert_eq!(line.get("foundNothing"), expected.as_ref(), "{objects} objects, {body:?}");
        // Once more: the receipt stays, and the delivery has looked at nothing.
        let again = delivered(&body.unwrap_or_default(), SENT, 3);
        assert_eq!(hop(&fixture, again).await.get("foundNothing"), None);
        assert_eq!(fixture.receipt_store.receipt().1, receipt);
    }
}

#[tokio::test(start_paused = true)]
async fn deduplication_id_identifies_the_hop() {
    // Each hop but the first finds nothing, cannot store its receipt, and sends what it got.
    let receipt_store = FakeReceipts { refuses: true, ..FakeReceipts::default() };
    let queue = (
        "CONTINUATION_QUEUE_URL",
        "https://sqs.eu-central-1.amazonaws.com/123456789012/erase.fifo",
    );
    let settings = [queue, ("MAX_IDLE_HOPS", "100")];
    let fixture =
        Fixture::new(Store::of(&[("u1", 10)]), &settings).with_receipt_store(receipt_store);
    let mut body = request(SENT, 1).body.expect("a body");
    let mut ids = BTreeSet::new();
    for number in 0..4 {
        let mut sent = Vec::new();
        for delivery in [1, 2, 3] {
            assert_eq!(
                hop(&fixture, delivered(&body, SENT, delivery)).await["outcome"],
                "continued"
            );
            sent.extend(fixture.take_continuation());
        }
        assert_eq!(sent.len(), 3, "hop {number}");
        assert!(
            sent.iter().all(|next| next.deduplication_id == sent[0].deduplication_id),
            "hop {number}: {sent:?}"
        );
        assert!(ids.insert(sent[0].deduplication_id.clone()), "hop {number}: {sent:?}");
        body.clone_from(&sent[0].body);
    }
}
