//! Settings that make an erasure safer: dry runs, the object limit, the sweep, patterns of user ids.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use erase_user_files::ports::queue::OutgoingMessage;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::sleep;

use crate::fixture::{
    BUCKET, Event, FakeQueue, FakeReceipts, Fixture, NO_FAILURES, Store, bookmarked, locked,
    record, token, withdrawal,
};
use crate::schema::assert_is_receipt;

const TIMEOUT: Duration = Duration::from_secs(30);

/// So many objects of u1, listed page by page: in key ranges, a dry run would need no second hop.
fn in_one_lane(objects: u32) -> Store {
    Store { has_no_order: true, ..Store::of(&[("u1", objects)]) }
}

/// Goes on in hops of 3 s, about 30 pages of 60 ms each, until nothing follows; returns how many
/// that took.
async fn survey(fixture: &Fixture) -> u32 {
    survey_from(fixture, withdrawal("u1")).await
}

async fn survey_from(fixture: &Fixture, message: SqsMessage) -> u32 {
    let each = |next: &OutgoingMessage| {
        assert!(next.body.contains(r#""dryRun":true"#), "{}", next.body);
    };
    fixture.follow(Duration::from_secs(3), message, each).await
}

#[tokio::test(start_paused = true)]
async fn dry_run_counts_over_hops_and_deletes_nothing() {
    let fixture = Fixture::new(in_one_lane(100_500), &[("DRY_RUN", "true")]);
    let hops = survey(&fixture).await;
    assert!(hops > 2, "{hops}");
    let (name, receipt) = fixture.receipt_store.receipt();
    assert_is_receipt(&receipt);
    assert_eq!((name.as_str(), &receipt["outcome"]), ("u1/dry-run.json", &json!("dry-run")));
    assert_eq!((&receipt["objects"], &receipt["bytes"]), (&json!(100_500), &json!(100_500)));
    assert_eq!(fixture.store.left("u1"), 100_500);
    assert!(
        !locked(&fixture.store.log).iter().any(|(_, event)| matches!(event, Event::Deleting(_)))
    );
}

#[tokio::test(start_paused = true)]
async fn dry_run_progresses_over_newer_objects() {
    let store = Store { has_no_order: true, ..Store::versioned(&[("u1", 200_500)]) };
    let fixture = Fixture::new(store, &[("DRY_RUN", "true"), ("MAX_IDLE_HOPS", "1")]);
    let body =
        json!({"type": "user-withdrawn", "userId": "u1", "eraseBefore": "1970-01-01T00:00:00Z"});
    let hops = survey_from(&fixture, record("u1", &body.to_string())).await;
    assert!(hops > 5, "{hops}: it was to take several hops to list");
    let receipt = fixture.receipt_store.receipt().1;
    assert_eq!((&receipt["versions"], &receipt["keptNewer"]), (&json!(0), &json!(200_500)));
}

#[tokio::test(start_paused = true)]
async fn dry_run_checkpoint_without_kind_restarts_the_count() {
    let fixture = Fixture::new(Store::of(&[("u1", 2_500)]), &[("DRY_RUN", "true")]);
    let checkpoint = json!({"round": 1, "target": "s3://photos/{user_id}/", "token": token(2_000)});
    let counted =
        json!({"objects": 2_000, "targets": {"s3://photos/{user_id}/": {"objects": 2_000}}});
    let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1,
        "dryRun": true, "bookmark": checkpoint, "tally": counted});
    fixture.succeed(TIMEOUT, vec![record("m", &body.to_string())]).await;
    assert_eq!(fixture.receipt_store.receipt().1["objects"], 2_500);
}

#[tokio::test(start_paused = true)]
async fn dry_run_with_denied_listing_is_not_continued() {
    let store = Store { denies_uploads: true, ..in_one_lane(100_500) };
    let fixture = Fixture::new(store, &[("DRY_RUN", "true")]);
    assert_eq!(
        fixture.invoke(Duration::from_secs(3), vec![withdrawal("u1")]).await,
        Ok(vec!["u1".to_owned()])
    );
    assert!(locked(&fixture.queue.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn dry_run_counts_once_when_targets_change() {
    const TARGETS: [&str; 2] = ["s3://photos/{user_id}/", "s3://exports/{user_id}/"];
    let turned = [TARGETS[1], TARGETS[0]].join(",");
    for (middle, after, counted) in [
        (TARGETS[0], &*turned, 81_000),
        (TARGETS[1], &*turned, 81_000),
        (TARGETS[1], TARGETS[1], 40_500),
    ] {
        let settings = [("DRY_RUN", "true"), ("ERASE_TARGETS", &*TARGETS.join(","))];
        let mut fixture = Fixture::new(in_one_lane(40_500), &settings);
        fixture.store.put("exports", "u1", 0..40_500);
        let mut message = withdrawal("u1");
        let mut is_turned = false;
        loop {
            fixture.succeed(Duration::from_secs(3), vec![message]).await;
            let Some(next) = fixture.take_continuation() else {
                break;
            };
            let is_there = next.body.contains(&format!(r#""target":"{middle}""#));
            if is_there && !std::mem::replace(&mut is_turned, true) {
                fixture.set("ERASE_TARGETS", after);
            }
            message = record("m", &next.body);
        }
        assert!(is_turned);
        assert_eq!(
            fixture.receipt_store.receipt().1["objects"],
            counted,
            "{after} from {middle} on"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn failed_dry_run_receipt_restarts_the_count() {
    let receipt_store = FakeReceipts { fails: AtomicU32::new(3), ..FakeReceipts::default() };
    let fixture = Fixture::new(Store::of(&[("u1", 1_500)]), &[("DRY_RUN", "true")])
        .with_receipt_store(receipt_store);
    fixture.succeed(TIMEOUT, vec![withdrawal("u1")]).await;
    let next = fixture.take_continuation().expect("a continuation");
    fixture.succeed(TIMEOUT, vec![record("m", &next.body)]).await;
    assert_eq!(fixture.receipt_store.receipt().1["objects"], 1_500);
}

#[tokio::test(start_paused = true)]
async fn dry_run_without_receipt_ends() {
    // The long one takes several hops to count everything twice.
    for (objects, idle_hops, least, most) in [(10, "3", 2, 2), (100_500, "2", 5, 20)] {
        let store = FakeReceipts { refuses: true, ..FakeReceipts::default() };
        let settings = [("DRY_RUN", "true"), ("MAX_IDLE_HOPS", idle_hops)];
        let fixture = Fixture::new(in_one_lane(objects), &settings).with_receipt_store(store);
        let (mut message, mut hops) = (withdrawal("u1"), 0);
        while fixture.invoke(Duration::from_secs(3), vec![message.clone()]).await == Ok(NO_FAILURES)
        {
            message = record("m", &fixture.take_continuation().expect("a continuation").body);
            hops += 1;
            assert!(hops <= most, "{objects} objects: it does not end");
        }
        assert!(hops >= least, "{objects} objects: {hops} hops");
        assert!(locked(&fixture.queue.sent).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn changed_dry_run_setting_neither_erases_nor_loses_requests() {
    let mut fixture = Fixture::new(in_one_lane(100_500), &[("DRY_RUN", "true")]);
    fixture.invoke(Duration::from_secs(3), vec![withdrawal("u1")]).await.unwrap();
    let dry = fixture.take_continuation().expect("a continuation").body;

    fixture.set("DRY_RUN", "false");
    assert_eq!(
        fixture.invoke(TIMEOUT, vec![record("dry", &dry)]).await,
        Ok(vec!["dry".to_owned()])
    );
    assert_eq!(fixture.store.left("u1"), 100_500, "a dry run never becomes an erasure");
    assert_eq!(locked(&fixture.queue.visibilities)["dry"], 0);
    fixture.invoke(Duration::from_secs(3), vec![withdrawal("u1")]).await.unwrap();
    let real = fixture.take_continuation().expect("a continuation").body;
    let left = fixture.store.left("u1");
    assert!(left < 100_500);

    fixture.set("DRY_RUN", "true");
    assert_eq!(
        fixture.invoke(TIMEOUT, vec![record("real", &real)]).await,
        Ok(vec!["real".to_owned()])
    );
    assert_eq!(fixture.store.left("u1"), left, "DRY_RUN is a brake, too");
    assert_eq!(locked(&fixture.queue.visibilities)["real"], 5, "the request waits");
}

#[tokio::test(start_paused = true)]
async fn object_limit_counts_over_all_hops() {
    // S3 deletes what was sent, also if the client does not wait for the response.
    let store = |objects| Store { is_uneven: true, ..Store::of(&[("u1", objects)]) };
    for (objects, max, counted, is_erased) in [
        (2_500, "2500", 2_500, true),
        (2_500, "2499", 2_000, false),
        (2_500, "1000", 1_000, false),
        // One page shows that they are too many.
        (1_000, "999", 0, false),
        (0, "1", 0, true),
    ] {
        let fixture = Fixture::new(store(objects), &[("MAX_OBJECTS", max)]);
        let mut message = withdrawal("u1");
        let mut failed = fixture.invoke(TIMEOUT, vec![message.clone()]).await.unwrap();
        // What was deleted goes along, so that it is not deleted on top of it again.
        let sent = fixture.take_continuation();
        assert_eq!(
            sent.is_some(),
            counted > 0 && !is_erased,
            "{objects} objects, MAX_OBJECTS={max}"
        );
        if let Some(next) = sent {
            assert!(failed.is_empty());
            message = record("m", &next.body);
            failed = fixture.invoke(TIMEOUT, vec![message.clone()]).await.unwrap();
        }
        assert_eq!(failed.is_empty(), is_erased, "{objects} objects, MAX_OBJECTS={max}");
        let (name, receipt) = fixture.receipt_store.receipt();
        assert_is_receipt(&receipt);
        assert_eq!(receipt["objects"], counted, "{objects} objects, MAX_OBJECTS={max}");
        if is_erased {
            assert_eq!(name, "u1/erased.json");
            continue;
        }
        assert_eq!(name, "u1/incomplete-1.json");
        let reason = format!(
            "the object limit is reached: this user has more than MAX_OBJECTS ({max}) objects"
        );
        assert_eq!(receipt["reason"], reason);
        // However often it is delivered.
        fixture.invoke(TIMEOUT, vec![message]).await.unwrap();
        assert_eq!(fixture.store.left("u1"), usize::try_from(objects - counted).unwrap());
    }
    let fixture = Fixture::new(Store::of(&[("u1", 20_000)]), &[("MAX_OBJECTS", "19999")]);
    let mut message = withdrawal("u1");
    let mut hops = 0;
    let failed = loop {
        let failed = fixture.invoke(Duration::from_secs(3), vec![message.clone()]).await.unwrap();
        hops += 1;
        let Some(next) = fixture.take_continuation() else {
            break failed;
        };
        message = record("m", &next.body);
    };
    assert!(hops > 1, "{hops}");
    assert_eq!(failed, ["m"]);
    let left = fixture.store.left("u1");
    assert!(left > 0);
    // However often it is delivered.
    for _ in 0..3 {
        assert_eq!(fixture.invoke(TIMEOUT, vec![message.clone()]).await, Ok(vec!["m".to_owned()]));
    }
    assert_eq!(fixture.store.left("u1"), left);
}

#[tokio::test(start_paused = true)]
async fn object_limit_stops_the_listing() {
    let store = Store { is_uneven: true, ..Store::of(&[("u1", 50_000)]) };
    let fixture = Fixture::new(store, &[("MAX_OBJECTS", "1000")]);
    fixture.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    let pages = fixture.store.listings();
    assert!(pages <= 3, "the second page was too much, and the third on its way: {pages}");
}

#[tokio::test(start_paused = true)]
async fn sweep_runs_once_and_erases_late_writes() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[("LATE_WRITE_SWEEP_SECONDS", "2000")]);
    fixture.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    assert_eq!(fixture.receipt_store.receipt().0, "u1/erased.json");
    fixture.store.put(BUCKET, "u1", [7, 8, 9]);
    let mut waits = Vec::new();
    while let Some(next) = fixture.take_continuation() {
        waits.push(next.delay.as_secs());
        sleep(next.delay).await;
        fixture.succeed(TIMEOUT, vec![record("m", &next.body)]).await;
        let is_due = waits.iter().sum::<u64>() >= 2_000;
        assert_eq!(fixture.store.left("u1"), if is_due { 0 } else { 3 }, "after {waits:?}");
    }
    assert_eq!(waits.len(), 3, "{waits:?}");
    assert_eq!(waits[..2], [900, 900]);
    assert!((199..=201).contains(&waits[2]), "{waits:?}");
    let swept =
        serde_json::from_str(&locked(&fixture.receipt_store.documents)["u1/swept.json"]).unwrap();
    assert_is_receipt(&swept);
    assert_eq!((&swept["outcome"], &swept["objects"]), (&json!("swept"), &json!(3)));
    assert_eq!(swept["requestedAt"], "2027-01-15T08:00:00Z");
    assert!(swept["startedAt"].as_str() > Some("2027-01-15T08:33"), "{swept}");
}

#[tokio::test(start_paused = true)]
async fn sweep_starts_when_due_without_earlier_progress() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[("LATE_WRITE_SWEEP_SECONDS", "60")]);
    let mut message = bookmarked("s3://photos/{user_id}/", &token(7), 3);
    message.body = message.body.map(|body| body.replacen('{', "{\"idleHops\": 2,", 1));
    fixture.succeed(TIMEOUT, vec![message]).await;
    let sweep = fixture.queue.continuation();
    locked(&fixture.queue.sent).clear();
    assert_eq!(
        (&sweep["hop"], &sweep["idleHops"], &sweep["bookmark"]),
        (&json!(2), &json!(0), &json!({"round": 1}))
    );
    assert_eq!((&sweep["startedAt"], &sweep["tally"]["objects"]), (&Value::Null, &json!(0)));
    let due = OffsetDateTime::parse(sweep["sweepAt"].as_str().unwrap(), &Rfc3339).unwrap();
    sleep((due - OffsetDateTime::from(fixture.now())).try_into().unwrap()).await;
    fixture.succeed(TIMEOUT, vec![record("m", &sweep.to_string())]).await;
    assert!(locked(&fixture.queue.sent).is_empty(), "it need not wait any more");
    assert!(locked(&fixture.receipt_store.documents).contains_key("e/swept.json"));
}

#[tokio::test(start_paused = true)]
async fn unsent_sweep_redelivers_the_message() {
    let queue = FakeQueue { fails: true, ..FakeQueue::default() };
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[("LATE_WRITE_SWEEP_SECONDS", "60")])
        .with_queue(queue);
    assert_eq!(fixture.invoke(TIMEOUT, vec![withdrawal("u1")]).await, Ok(vec!["u1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn user_id_pattern_only_narrows() {
    let fixture =
        Fixture::new(Store::of(&[("u1", 1), ("u-1", 1)]), &[("USER_ID_PATTERN", "u-?[0-9]|.*/.*")]);
    let records = ["u1", "u-1", "u10", "au1", "u1/", "u1/x"].map(withdrawal).into();
    assert_eq!(fixture.invoke(TIMEOUT, records).await.unwrap(), ["u10", "au1", "u1/", "u1/x"]);
    assert_eq!((fixture.store.left("u1"), fixture.store.left("u-1")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn envelopes_and_pointers_request_the_same_erasure() {
    let plain = json!({"type": "user-withdrawn", "userId": "u1", "requestId": "r"});
    let sns = |inner: &Value| json!({"Type": "Notification", "MessageId": "n", "TopicArn": "t", "Message": inner.to_string()});
    let bridge = json!({"version": "0", "id": "e", "detail-type": "user-withdrawn", "source": "users", "detail": {"userId": "u1", "requestId": "r"}});
    let own =
        json!({"type": "user-withdrawn", "requestId": "r", "data": {"user/ids": ["u0", "u1"]}});
    let own_event = json!({"detail-type": "user-withdrawn", "detail": {"requestId": "r", "data": {"user/ids": ["u0", "u1"]}}});
    let pointer = "/data/user~1ids/1";
    let good = [
        ("", plain.clone()),
        ("", sns(&plain)),
        ("", bridge.clone()),
        ("", sns(&bridge)),
        (pointer, own.clone()),
        (pointer, sns(&own)),
        (pointer, own_event),
    ];
    for (pointer, body) in good {
        let fixture = Fixture::new(Store::of(&[("u1", 3)]), &[("USER_ID_POINTER", pointer)]);
        let failed = fixture.invoke(TIMEOUT, vec![record("m", &body.to_string())]).await.unwrap();
        assert!(failed.is_empty(), "{body}");
        assert_eq!(
            (fixture.store.left("u1"), fixture.receipt_store.receipt().0.as_str()),
            (0, "r/erased.json"),
            "{body}"
        );
    }
    let continuation = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1});
    let bad = [
        ("", own),
        (pointer, plain.clone()),
        ("", sns(&sns(&plain))),
        ("", sns(&continuation)),
        ("", json!({"Type": "Notification", "Message": plain.clone()})),
        ("", json!({"Type": "Notification", "Message": "no JSON"})),
        ("", json!({"Type": "Notification", "Message": "[\"user-withdrawn\"]"})),
        ("", json!({"Type": "SubscriptionConfirmation", "Message": plain.to_string()})),
        ("", json!({"detail-type": "user-created", "detail": {"userId": "u1"}})),
        ("", json!({"detail-type": "user-withdrawn", "detail": "u1"})),
        ("", json!({"detail-type": "user-withdrawn"})),
        (
            "",
            json!({"type": "user-created", "detail-type": "user-withdrawn", "detail": {"userId": "u1"}}),
        ),
    ];
    for (pointer, body) in bad {
        let fixture = Fixture::new(Store::of(&[("u1", 3)]), &[("USER_ID_POINTER", pointer)]);
        let failed = fixture.invoke(TIMEOUT, vec![record("m", &body.to_string())]).await.unwrap();
        assert_eq!(failed, ["m"], "{body}");
        assert_eq!(
            (fixture.store.left("u1"), locked(&fixture.queue.visibilities)["m"]),
            (3, 0),
            "{body}"
        );
    }
    let twice = r#"{"type":"user-withdrawn","data":{"id":"u0","id":"u1"}}"#;
    let fixture = Fixture::new(Store::of(&[("u1", 3)]), &[("USER_ID_POINTER", "/data/id")]);
    assert_eq!(fixture.invoke(TIMEOUT, vec![record("m", twice)]).await.unwrap(), ["m"]);
    assert_eq!(fixture.store.left("u1"), 3);
}
