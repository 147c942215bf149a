//! Dry runs, the fuse, the sweep.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::sleep;

use crate::scene::{
    BUCKET, Event, Letters, NOBODY, Scene, Shelf, Store, bookmarked, locked, record, token,
    withdrawal,
};
use crate::schema::assert_is_receipt;

const TIMEOUT: Duration = Duration::from_secs(30);

/// So many objects of u1, listed page by page: in lanes, a dry run would need no second hop.
fn in_one_lane(objects: u32) -> Store {
    Store { has_no_order: true, ..Store::of(&[("u1", objects)]) }
}

/// Goes on in hops of 3 s, about 30 pages of 60 ms each, until nothing follows; returns how many
/// that took.
async fn survey(scene: &Scene) -> u32 {
    survey_from(scene, withdrawal("u1")).await
}

async fn survey_from(scene: &Scene, mut message: SqsMessage) -> u32 {
    let mut hops = 0;
    loop {
        assert_eq!(
            scene.invoke(Duration::from_secs(3), vec![message]).await,
            Ok(NOBODY),
            "hop {hops}"
        );
        hops += 1;
        let Some(next) = locked(&scene.letters.sent).pop() else {
            return hops;
        };
        assert!(next.body.contains(r#""dryRun":true"#), "{}", next.body);
        message = record("m", &next.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_over_many_hops_and_deletes_nothing() {
    let scene = Scene::new(in_one_lane(100_500), Letters::default(), &[("DRY_RUN", "true")]);
    let hops = survey(&scene).await;
    assert!(hops > 2, "{hops}");
    let (name, receipt) = scene.shelf.receipt();
    assert_is_receipt(&receipt);
    assert_eq!((name.as_str(), &receipt["outcome"]), ("u1/dry-run.json", &json!("dry-run")));
    assert_eq!((&receipt["objects"], &receipt["bytes"]), (&json!(100_500), &json!(100_500)));
    assert_eq!(scene.store.left("u1"), 100_500);
    assert!(!locked(&scene.store.log).iter().any(|(_, event)| matches!(event, Event::Deleting(_))));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_that_finds_only_what_is_kept_on_its_way_gets_on() {
    let store = Store { has_no_order: true, ..Store::versioned(&[("u1", 200_500)]) };
    let scene =
        Scene::new(store, Letters::default(), &[("DRY_RUN", "true"), ("MAX_IDLE_HOPS", "1")]);
    let body =
        json!({"type": "user-withdrawn", "userId": "u1", "eraseBefore": "1970-01-01T00:00:00Z"});
    let hops = survey_from(&scene, record("u1", &body.to_string())).await;
    assert!(hops > 5, "{hops}: it was to take several hops to list");
    let receipt = scene.shelf.receipt().1;
    assert_eq!((&receipt["versions"], &receipt["keptNewer"]), (&json!(0), &json!(200_500)));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_whose_place_has_no_kind_counts_anew() {
    let scene = Scene::new(Store::of(&[("u1", 2_500)]), Letters::default(), &[("DRY_RUN", "true")]);
    let bookmark = json!({"round": 1, "target": "s3://photos/{user_id}/", "token": token(2_000)});
    let counted =
        json!({"objects": 2_000, "targets": {"s3://photos/{user_id}/": {"objects": 2_000}}});
    let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1,
        "dryRun": true, "bookmark": bookmark, "tally": counted});
    assert_eq!(scene.invoke(TIMEOUT, vec![record("m", &body.to_string())]).await, Ok(NOBODY));
    assert_eq!(scene.shelf.receipt().1["objects"], 2_500);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_that_may_not_list_something_is_not_carried_on_by_a_hop_that_knows_nothing_of_it()
{
    let store = Store { denies_uploads: true, ..in_one_lane(100_500) };
    let scene = Scene::new(store, Letters::default(), &[("DRY_RUN", "true")]);
    assert_eq!(
        scene.invoke(Duration::from_secs(3), vec![withdrawal("u1")]).await,
        Ok(vec!["u1".to_owned()])
    );
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_everything_once_although_its_targets_change_in_the_middle() {
    const TARGETS: [&str; 2] = ["s3://photos/{user_id}/", "s3://exports/{user_id}/"];
    let turned = [TARGETS[1], TARGETS[0]].join(",");
    for (middle, after, counted) in [
        (TARGETS[0], &*turned, 81_000),
        (TARGETS[1], &*turned, 81_000),
        (TARGETS[1], TARGETS[1], 40_500),
    ] {
        let settings = [("DRY_RUN", "true"), ("ERASE_TARGETS", &*TARGETS.join(","))];
        let mut scene = Scene::new(in_one_lane(40_500), Letters::default(), &settings);
        scene.store.put("exports", "u1", 0..40_500);
        let mut message = withdrawal("u1");
        let mut is_turned = false;
        loop {
            assert_eq!(scene.invoke(Duration::from_secs(3), vec![message]).await, Ok(NOBODY));
            let Some(next) = locked(&scene.letters.sent).pop() else {
                break;
            };
            let is_there = next.body.contains(&format!(r#""target":"{middle}""#));
            if is_there && !std::mem::replace(&mut is_turned, true) {
                scene.set("ERASE_TARGETS", after);
            }
            message = record("m", &next.body);
        }
        assert!(is_turned);
        assert_eq!(scene.shelf.receipt().1["objects"], counted, "{after} from {middle} on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_whose_receipt_cannot_be_stored_counts_anew() {
    let shelf = Shelf { fails: AtomicU32::new(3), ..Shelf::default() };
    let scene = Scene::new(Store::of(&[("u1", 1_500)]), Letters::default(), &[("DRY_RUN", "true")])
        .with_shelf(shelf);
    assert_eq!(scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await, Ok(NOBODY));
    let next = locked(&scene.letters.sent).pop().expect("a continuation");
    assert_eq!(scene.invoke(TIMEOUT, vec![record("m", &next.body)]).await, Ok(NOBODY));
    assert_eq!(scene.shelf.receipt().1["objects"], 1_500);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_whose_receipt_can_never_be_stored_ends_however_many_hops_it_counts() {
    let shelf = Shelf { refuses: true, ..Shelf::default() };
    let settings = [("DRY_RUN", "true"), ("MAX_IDLE_HOPS", "2")];
    let scene = Scene::new(in_one_lane(100_500), Letters::default(), &settings).with_shelf(shelf);
    let mut message = withdrawal("u1");
    let mut hops = 0;
    while scene.invoke(Duration::from_secs(3), vec![message.clone()]).await == Ok(NOBODY) {
        message = record("m", &locked(&scene.letters.sent).pop().expect("a continuation").body);
        hops += 1;
        assert!(hops < 20, "it counts everything for the third time");
    }
    assert!(hops > 4, "{hops}: it was to take several hops to count everything twice");
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn switching_dry_run_on_or_off_neither_erases_by_mistake_nor_loses_a_request() {
    let mut scene = Scene::new(in_one_lane(100_500), Letters::default(), &[("DRY_RUN", "true")]);
    scene.invoke(Duration::from_secs(3), vec![withdrawal("u1")]).await.unwrap();
    let dry = locked(&scene.letters.sent).pop().expect("a continuation").body;

    scene.set("DRY_RUN", "false");
    assert_eq!(scene.invoke(TIMEOUT, vec![record("dry", &dry)]).await, Ok(vec!["dry".to_owned()]));
    assert_eq!(scene.store.left("u1"), 100_500, "a dry run never becomes an erasure");
    assert_eq!(locked(&scene.letters.visibilities)["dry"], 0);
    scene.invoke(Duration::from_secs(3), vec![withdrawal("u1")]).await.unwrap();
    let real = locked(&scene.letters.sent).pop().expect("a continuation").body;
    let left = scene.store.left("u1");
    assert!(left < 100_500);

    scene.set("DRY_RUN", "true");
    assert_eq!(
        scene.invoke(TIMEOUT, vec![record("real", &real)]).await,
        Ok(vec!["real".to_owned()])
    );
    assert_eq!(scene.store.left("u1"), left, "DRY_RUN is a brake, too");
    assert_eq!(locked(&scene.letters.visibilities)["real"], 5, "the request waits");
}

#[tokio::test(start_paused = true)]
async fn the_fuse_counts_over_all_hops() {
    // S3 deletes what was sent, whether somebody waits for the answer or not.
    let store = |objects| Store { is_uneven: true, ..Store::of(&[("u1", objects)]) };
    for (objects, max, counted, is_erased) in [
        (2_500, "2500", 2_500, true),
        (2_500, "2499", 2_000, false),
        (2_500, "1000", 1_000, false),
        // One page shows that they are too many.
        (1_000, "999", 0, false),
        (0, "1", 0, true),
    ] {
        let scene = Scene::new(store(objects), Letters::default(), &[("MAX_OBJECTS", max)]);
        let mut message = withdrawal("u1");
        let mut failed = scene.invoke(TIMEOUT, vec![message.clone()]).await.unwrap();
        // What was deleted goes along, so that it is not deleted on top of it again.
        let sent = locked(&scene.letters.sent).pop();
        assert_eq!(
            sent.is_some(),
            counted > 0 && !is_erased,
            "{objects} objects, MAX_OBJECTS={max}"
        );
        if let Some(next) = sent {
            assert!(failed.is_empty());
            message = record("m", &next.body);
            failed = scene.invoke(TIMEOUT, vec![message.clone()]).await.unwrap();
        }
        assert_eq!(failed.is_empty(), is_erased, "{objects} objects, MAX_OBJECTS={max}");
        let (name, receipt) = scene.shelf.receipt();
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
        scene.invoke(TIMEOUT, vec![message]).await.unwrap();
        assert_eq!(scene.store.left("u1"), usize::try_from(objects - counted).unwrap());
    }
    let scene =
        Scene::new(Store::of(&[("u1", 20_000)]), Letters::default(), &[("MAX_OBJECTS", "19999")]);
    let mut message = withdrawal("u1");
    let mut hops = 0;
    let failed = loop {
        let failed = scene.invoke(Duration::from_secs(3), vec![message.clone()]).await.unwrap();
        hops += 1;
        let Some(next) = locked(&scene.letters.sent).pop() else {
            break failed;
        };
        message = record("m", &next.body);
    };
    assert!(hops > 1, "{hops}");
    assert_eq!(failed, ["m"]);
    let left = scene.store.left("u1");
    assert!(left > 0);
    // However often it is delivered.
    for _ in 0..3 {
        assert_eq!(scene.invoke(TIMEOUT, vec![message.clone()]).await, Ok(vec!["m".to_owned()]));
    }
    assert_eq!(scene.store.left("u1"), left);
}

#[tokio::test(start_paused = true)]
async fn a_blown_fuse_stops_the_listing() {
    let store = Store { is_uneven: true, ..Store::of(&[("u1", 50_000)]) };
    let scene = Scene::new(store, Letters::default(), &[("MAX_OBJECTS", "1000")]);
    scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    let pages = scene.store.listings();
    assert!(pages <= 3, "the second page was too much, and the third on its way: {pages}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_whose_receipt_can_never_be_stored_comes_to_its_end() {
    let shelf = Shelf { refuses: true, ..Shelf::default() };
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[("DRY_RUN", "true")])
        .with_shelf(shelf);
    let mut message = withdrawal("u1");
    for _ in 0..2 {
        assert_eq!(scene.invoke(TIMEOUT, vec![message]).await, Ok(NOBODY));
        message = record("m", &locked(&scene.letters.sent).pop().expect("a continuation").body);
    }
    assert_eq!(scene.invoke(TIMEOUT, vec![message]).await, Ok(vec!["m".to_owned()]));
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_sweep_comes_back_once_and_takes_what_came_late() {
    let scene = Scene::new(
        Store::of(&[("u1", 10)]),
        Letters::default(),
        &[("LATE_WRITE_SWEEP_SECONDS", "2000")],
    );
    scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    assert_eq!(scene.shelf.receipt().0, "u1/erased.json");
    scene.store.put(BUCKET, "u1", [7, 8, 9]);
    let mut waits = Vec::new();
    while let Some(next) = { locked(&scene.letters.sent).pop() } {
        waits.push(next.delay.as_secs());
        sleep(next.delay).await;
        assert_eq!(scene.invoke(TIMEOUT, vec![record("m", &next.body)]).await, Ok(NOBODY));
        let is_due = waits.iter().sum::<u64>() >= 2_000;
        assert_eq!(scene.store.left("u1"), if is_due { 0 } else { 3 }, "after {waits:?}");
    }
    assert_eq!(waits.len(), 3, "{waits:?}");
    assert_eq!(waits[..2], [900, 900]);
    assert!((199..=201).contains(&waits[2]), "{waits:?}");
    let swept = serde_json::from_str(&locked(&scene.shelf.documents)["u1/swept.json"]).unwrap();
    assert_is_receipt(&swept);
    assert_eq!((&swept["outcome"], &swept["objects"]), (&json!("swept"), &json!(3)));
    assert_eq!(swept["requestedAt"], "2027-01-15T08:00:00Z");
    assert!(swept["startedAt"].as_str() > Some("2027-01-15T08:33"), "{swept}");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_knows_nothing_of_the_hops_before_it_and_begins_when_it_is_due() {
    let scene = Scene::new(
        Store::of(&[("u1", 10)]),
        Letters::default(),
        &[("LATE_WRITE_SWEEP_SECONDS", "60")],
    );
    let mut message = bookmarked("s3://photos/{user_id}/", &token(7), 3);
    message.body = message.body.map(|body| body.replacen('{', "{\"idleHops\": 2,", 1));
    assert_eq!(scene.invoke(TIMEOUT, vec![message]).await, Ok(NOBODY));
    let sweep = scene.letters.continuation();
    locked(&scene.letters.sent).clear();
    assert_eq!(
        (&sweep["hop"], &sweep["idleHops"], &sweep["bookmark"]),
        (&json!(2), &json!(0), &json!({"round": 1}))
    );
    assert_eq!((&sweep["startedAt"], &sweep["tally"]["objects"]), (&Value::Null, &json!(0)));
    let due = OffsetDateTime::parse(sweep["sweepAt"].as_str().unwrap(), &Rfc3339).unwrap();
    sleep((due - OffsetDateTime::from(scene.now())).try_into().unwrap()).await;
    assert_eq!(scene.invoke(TIMEOUT, vec![record("m", &sweep.to_string())]).await, Ok(NOBODY));
    assert!(locked(&scene.letters.sent).is_empty(), "it need not wait any more");
    assert!(locked(&scene.shelf.documents).contains_key("e/swept.json"));
}

#[tokio::test(start_paused = true)]
async fn an_erasure_whose_sweep_cannot_be_arranged_is_given_back() {
    let letters = Letters { fails: true, ..Letters::default() };
    let scene =
        Scene::new(Store::of(&[("u1", 10)]), letters, &[("LATE_WRITE_SWEEP_SECONDS", "60")]);
    assert_eq!(scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await, Ok(vec!["u1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_narrower_pattern_refuses_and_never_allows() {
    let scene = Scene::new(
        Store::of(&[("u1", 1), ("u-1", 1)]),
        Letters::default(),
        &[("USER_ID_PATTERN", "u-?[0-9]|.*/.*")],
    );
    let records = ["u1", "u-1", "u10", "au1", "u1/", "u1/x"].map(withdrawal).into();
    assert_eq!(scene.invoke(TIMEOUT, records).await.unwrap(), ["u10", "au1", "u1/", "u1/x"]);
    assert_eq!((scene.store.left("u1"), scene.store.left("u-1")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn envelopes_and_pointers_lead_to_the_same_erasure() {
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
        let scene = Scene::new(
            Store::of(&[("u1", 3)]),
            Letters::default(),
            &[("USER_ID_POINTER", pointer)],
        );
        let failed = scene.invoke(TIMEOUT, vec![record("m", &body.to_string())]).await.unwrap();
        assert!(failed.is_empty(), "{body}");
        assert_eq!(
            (scene.store.left("u1"), scene.shelf.receipt().0.as_str()),
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
        let scene = Scene::new(
            Store::of(&[("u1", 3)]),
            Letters::default(),
            &[("USER_ID_POINTER", pointer)],
        );
        let failed = scene.invoke(TIMEOUT, vec![record("m", &body.to_string())]).await.unwrap();
        assert_eq!(failed, ["m"], "{body}");
        assert_eq!(
            (scene.store.left("u1"), locked(&scene.letters.visibilities)["m"]),
            (3, 0),
            "{body}"
        );
    }
    let twice = r#"{"type":"user-withdrawn","data":{"id":"u0","id":"u1"}}"#;
    let scene =
        Scene::new(Store::of(&[("u1", 3)]), Letters::default(), &[("USER_ID_POINTER", "/data/id")]);
    assert_eq!(scene.invoke(TIMEOUT, vec![record("m", twice)]).await.unwrap(), ["m"]);
    assert_eq!(scene.store.left("u1"), 3);
}
