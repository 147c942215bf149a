//! Budget, hand-off, fairness, and what one message may do to another.

use std::time::{Duration, UNIX_EPOCH};

use aws_lambda_events::event::sqs::SqsEvent;
use erase_user_files::deadline::AnnouncedDeadline;
use erase_user_files::lambda::handler::EventError;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::scene::{
    BUCKET, Event, Letters, Logs, NOBODY, STORING, Scene, Shelf, Store, bookmarked, locked, record,
    token, withdrawal,
};

/// From the first request to the last answer, as a share of the invocation.
async fn time_spent_deleting(timeout: Duration, rate: &str, objects: u32) -> f64 {
    let scene = Scene::new(
        Store::of(&[("u1", objects)]),
        Letters::default(),
        &[("MAX_DELETES_PER_SECOND", rate)],
    );
    assert_eq!(scene.invoke(timeout, vec![withdrawal("u1")]).await, Ok(NOBODY));
    assert!(scene.store.left("u1") > 0, "the test needs more objects");
    let log = locked(&scene.store.log);
    let (first, _) =
        log.iter().find(|(_, event)| matches!(event, Event::Deleting(_))).expect("deletions");
    let (last, _) =
        log.iter().rfind(|(_, event)| matches!(event, Event::Deleted(_))).expect("deletions");
    last.duration_since(*first).as_secs_f64() / timeout.as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn a_hop_deletes_for_most_of_its_time() {
    for (seconds, rate, share) in [(10, "3500", 0.88), (60, "1000", 0.97), (300, "300", 0.98)] {
        let deleting = time_spent_deleting(Duration::from_secs(seconds), rate, 100_000).await;
        println!("{:.1} % of {seconds} s, at {rate} keys a second", 100.0 * deleting);
        assert!(deleting >= share, "{deleting:.3} of {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_tally_is_exact_over_many_hops_though_no_two_deletes_take_as_long() {
    let store =
        Store { is_uneven: true, has_no_order: true, ..Store::of(&[("u1", 400_000), ("u2", 3)]) };
    let scene = Scene::new(store, Letters::default(), &[("MAX_DELETES_PER_SECOND", "0")]);
    let mut messages = vec![withdrawal("u1")];
    let mut hops = 0;
    loop {
        // A small user in each batch, whose deletes are fast.
        messages.push(withdrawal("u2"));
        assert_eq!(scene.invoke(Duration::from_secs(3), messages).await, Ok(NOBODY));
        scene.store.put(BUCKET, "u2", 0..3);
        hops += 1;
        let Some(next) = locked(&scene.letters.sent).pop() else {
            break;
        };
        messages = vec![record("m", &next.body)];
    }
    assert!(hops > 10, "{hops}");
    let receipts = locked(&scene.shelf.documents);
    let receipt: Value = serde_json::from_str(&receipts["u1/erased.json"]).expect("JSON");
    assert_eq!((&receipt["objects"], &receipt["bytes"]), (&json!(400_000), &json!(400_000)));
}

#[tokio::test(start_paused = true)]
async fn the_next_page_is_listed_while_this_one_is_deleted_but_not_many_pages_ahead() {
    let settings = [("MAX_IN_FLIGHT_BATCHES", "2"), ("MAX_DELETES_PER_SECOND", "0")];
    let store = Store { has_no_order: true, ..Store::of(&[("u1", 50_000)]) };
    let scene = Scene::new(store, Letters::default(), &settings);
    scene.invoke(Duration::from_secs(900), vec![withdrawal("u1")]).await.unwrap();
    assert_eq!(scene.store.left("u1"), 0);
    let (mut ahead, mut most_ahead, mut in_flight, mut most_in_flight, mut overlaps) =
        (0_i32, 0, 0, 0, 0);
    for (_, event) in locked(&scene.store.log).iter() {
        match event {
            Event::Listed(_) => {
                ahead += 1;
                overlaps += i32::from(in_flight > 0);
            }
            Event::Deleting(_) => in_flight += 1,
            Event::Deleted(_) => {
                in_flight -= 1;
                ahead -= 1;
            }
        }
        most_ahead = most_ahead.max(ahead);
        most_in_flight = most_in_flight.max(in_flight);
    }
    assert_eq!(most_in_flight, 2);
    assert!(overlaps > 40, "{overlaps} of 51 listings ran beside a delete");
    assert!(most_ahead <= 4, "{most_ahead} pages were in memory at once");
}

#[tokio::test(start_paused = true)]
async fn a_huge_user_does_not_starve_nine_small_ones() {
    let mut users = vec![("huge", 500_000)];
    let small = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
    users.extend(small.map(|user| (user, 1_500)));
    let scene = Scene::new(Store::of(&users), Letters::default(), &[]);
    let records = users.iter().map(|(user, _)| withdrawal(user)).collect();
    assert_eq!(scene.invoke(Duration::from_secs(30), records).await, Ok(NOBODY));
    for user in small {
        assert_eq!(scene.store.left(user), 0, "{user}");
    }
    let continuation = scene.letters.continuation();
    assert_eq!(continuation["userId"], "huge");
    assert!(continuation["tally"]["objects"].as_u64() > Some(50_000), "{continuation}");
}

/// Lanes that nobody goes on with, because batches of the others are on their way, must not hold
/// what these batches need.
#[tokio::test(start_paused = true)]
async fn lanes_that_stand_still_keep_nobody_from_asking_what_holds_a_version() {
    let huge = ["a", "b", "c", "d", "e", "f"].map(|user| (user, 20_000));
    let users: Vec<(&str, u32)> = huge.into_iter().chain([("small", 3)]).collect();
    let store = Store { denies_deletes: true, ..Store::versioned(&users) };
    let scene = Scene::new(store, Letters::default(), &[("MAX_DELETES_PER_SECOND", "0")]);
    let messages = users.iter().map(|(user, _)| withdrawal(user)).collect();
    let failed = scene.invoke(Duration::from_secs(60), messages).await;
    assert_eq!(failed, Ok(users.iter().map(|(user, _)| (*user).to_owned()).collect()));
    for (user, versions) in users {
        let receipts = locked(&scene.shelf.documents);
        let receipt =
            receipts.get(&format!("{user}/incomplete-1.json")).expect("a receipt of what is left");
        let receipt: Value = serde_json::from_str(receipt).expect("a receipt is JSON");
        let refused = json!([{"code": "AccessDenied", "count": versions}]);
        assert_eq!(receipt["targets"][0]["refused"], refused, "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_user_does_not_wait_for_the_lanes_of_nine_huge_ones() {
    let huge = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|user| (user, 100_000));
    let users: Vec<(&str, u32)> = huge.into_iter().chain([("small", 3)]).collect();
    let scene =
        Scene::new(Store::of(&users), Letters::default(), &[("MAX_DELETES_PER_SECOND", "0")]);
    let messages = users.iter().map(|(user, _)| withdrawal(user)).collect();
    assert_eq!(scene.invoke(Duration::from_secs(60), messages).await, Ok(NOBODY));
    let receipts = locked(&scene.shelf.documents);
    let receipt: Value =
        serde_json::from_str(&receipts["small/erased.json"]).expect("a receipt is JSON");
    let took = |name: &str| {
        OffsetDateTime::parse(receipt[name].as_str().expect("a time"), &Rfc3339).expect("a time")
    };
    let took = took("finishedAt") - took("startedAt");
    assert!(took < Duration::from_millis(800), "{took}, of which alone it needs 460 ms");
}

#[tokio::test(start_paused = true)]
async fn the_pace_counts_the_keys_of_all_messages_together() {
    let users = ["u1", "u2", "u3"];
    let store = Store::of(&users.map(|user| (user, 2_000)));
    let scene = Scene::new(store, Letters::default(), &[("MAX_DELETES_PER_SECOND", "700")]);
    scene.invoke(Duration::from_secs(60), users.map(withdrawal).into()).await.unwrap();
    let log = locked(&scene.store.log);
    let starts: Vec<(Instant, usize)> = log
        .iter()
        .filter_map(
            |(at, event)| {
                if let Event::Deleting(keys) = event { Some((*at, *keys)) } else { None }
            },
        )
        .collect();
    assert_eq!(starts.iter().map(|(_, keys)| keys).sum::<usize>(), 6_000);
    // Between any two batches, no more keys than the rate allows for the time between them, and for
    // the credit of 250 ms.
    for (first, (from, _)) in starts.iter().enumerate() {
        let mut keys = 0;
        for window in starts[first..].windows(2) {
            keys += window[0].1;
            let allowed = 700.0 * (window[1].0.duration_since(*from).as_secs_f64() + 0.251);
            assert!(
                f64::from(u32::try_from(keys).unwrap()) <= allowed,
                "{keys} keys where {allowed} are allowed"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_continuation_points_to_the_first_page_with_a_batch_without_outcome() {
    let store = Store { hangs_from: Some(3_000), ..Store::of(&[("u1", 10_000)]) };
    let scene = Scene::new(store, Letters::default(), &[]);
    assert_eq!(scene.invoke(Duration::from_secs(20), vec![withdrawal("u1")]).await, Ok(NOBODY));
    assert_eq!(scene.store.left("u1"), 1_000, "all others are deleted, around the page that hangs");
    let continuation = scene.letters.continuation();
    assert_eq!(continuation["bookmark"]["token"], token(3_000), "{continuation}");
    assert_eq!(continuation["bookmark"]["target"], "s3://photos/{user_id}/");
    assert_eq!((&continuation["hop"], &continuation["idleHops"]), (&json!(1), &json!(0)));
    assert_eq!(continuation["tally"]["objects"], 9_000);
}

#[tokio::test(start_paused = true)]
async fn hops_hand_on_until_the_user_is_erased() {
    let scene = Scene::new(Store::of(&[("u1", 30_000)]), Letters::default(), &[]);
    let mut message = withdrawal("u1");
    for hop in 1.. {
        assert_eq!(scene.invoke(Duration::from_secs(4), vec![message]).await, Ok(NOBODY));
        let Some(next) = locked(&scene.letters.sent).pop() else {
            break;
        };
        assert_eq!(next.group, "u1");
        assert!(
            next.deduplication_id.starts_with(&format!("u1:{hop}:")),
            "{}",
            next.deduplication_id
        );
        message = record("m", &next.body);
        assert!(hop < 10, "30,000 objects at 3,500 a second and 3 s a hop");
    }
    assert_eq!(scene.store.left("u1"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_erasure_of_which_every_second_request_is_throttled_ends_and_rests_between_its_hops() {
    let store = Store { throttles_half: true, ..Store::of(&[("u1", 20_000)]) };
    let scene = Scene::new(store, Letters::default(), &[]);
    let (mut message, mut rests) = (withdrawal("u1"), 0);
    for hop in 1.. {
        assert_eq!(
            scene.invoke(Duration::from_secs(60), vec![message]).await,
            Ok(NOBODY),
            "hop {hop}"
        );
        let Some(next) = locked(&scene.letters.sent).pop() else {
            break;
        };
        assert!((1..=16).contains(&next.delay.as_secs()), "hop {hop}: {:?}", next.delay);
        rests += 1;
        message = record("m", &next.body);
        assert!(hop < 20, "{} objects are left", scene.store.left("u1"));
    }
    assert_eq!(scene.store.left("u1"), 0);
    assert!(rests > 0);
}

/// Without a ceiling, only the number of requests at once holds it back.
const NO_CEILING: [(&str, &str); 2] =
    [("MAX_DELETES_PER_SECOND", "0"), ("MAX_IN_FLIGHT_BATCHES", "64")];

#[tokio::test(start_paused = true)]
async fn without_a_ceiling_a_long_listing_is_split_into_lanes() {
    let mut took = Vec::new();
    for has_no_order in [false, true] {
        let store = Store { has_no_order, ..Store::of(&[("u1", 200_000), ("u10", 5)]) };
        let scene = Scene::new(store, Letters::default(), &NO_CEILING);
        let start = Instant::now();
        assert_eq!(scene.invoke(Duration::from_secs(60), vec![withdrawal("u1")]).await, Ok(NOBODY));
        assert_eq!((scene.store.left("u1"), scene.store.left("u10")), (0, 5));
        assert_eq!(scene.shelf.receipt().1["objects"], 200_000);
        took.push(start.elapsed().as_secs_f64());
    }
    assert!(took[1] > 12.0, "200 pages of 60 ms, one after the other: {took:?}");
    assert!(took[0] < 4.0, "{took:?}");
    // A dry run does nothing but list.
    let scene =
        Scene::new(Store::of(&[("u1", 200_000)]), Letters::default(), &[("DRY_RUN", "true")]);
    let start = Instant::now();
    assert_eq!(scene.invoke(Duration::from_secs(60), vec![withdrawal("u1")]).await, Ok(NOBODY));
    assert_eq!(scene.shelf.receipt().1["objects"], 200_000);
    assert!(start.elapsed().as_secs_f64() < 4.0, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn lanes_go_on_in_the_next_hop_where_each_of_them_was() {
    for dry_run in ["false", "true"] {
        let store = Store { is_uneven: true, ..Store::of(&[("u1", 250_000)]) };
        let settings: Vec<_> = NO_CEILING.into_iter().chain([("DRY_RUN", dry_run)]).collect();
        let scene = Scene::new(store, Letters::default(), &settings);
        let (mut message, mut parts, mut hops) = (withdrawal("u1"), 0, 0);
        loop {
            assert_eq!(
                scene.invoke(Duration::from_millis(2_200), vec![message]).await,
                Ok(NOBODY),
                "hop {hops}"
            );
            let Some(next) = locked(&scene.letters.sent).pop() else {
                break;
            };
            let fields: Value = serde_json::from_str(&next.body).expect("a continuation is JSON");
            parts = parts.max(fields["bookmark"]["lanes"].as_array().map_or(0, Vec::len));
            message = record("m", &next.body);
            hops += 1;
            assert!(hops < 30, "{fields}");
        }
        assert!(hops > 0 && parts > 4, "{hops} hops, {parts} lanes");
        assert_eq!(scene.store.left("u1"), if dry_run == "true" { 250_000 } else { 0 });
        let receipt = scene.shelf.receipt().1;
        let counted = receipt["objects"].as_u64().unwrap();
        assert!(counted == 250_000, "dry run {dry_run}, {hops} hops: {counted}");
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_whose_tokens_no_continuation_could_carry_begin_again() {
    let store = || Store { zeros: 60_000, ..Store::of(&[("u1", 250_000)]) };
    let scene = Scene::new(store(), Letters::default(), &NO_CEILING);
    assert_eq!(
        scene.invoke(Duration::from_millis(2_200), vec![withdrawal("u1")]).await,
        Ok(NOBODY)
    );
    let next = locked(&scene.letters.sent).pop().expect("a continuation");
    assert!(next.body.len() < 20_000, "{} bytes", next.body.len());
    assert_eq!(
        scene.invoke(Duration::from_secs(60), vec![record("m", &next.body)]).await,
        Ok(NOBODY)
    );
    assert_eq!(scene.shelf.receipt().1["objects"], 250_000);
    // A dry run would count everything twice. It is given back, and a longer hop counts it.
    let scene = Scene::new(store(), Letters::default(), &[("DRY_RUN", "true")]);
    assert_eq!(
        scene.invoke(Duration::from_millis(2_200), vec![withdrawal("u1")]).await,
        Ok(vec!["u1".to_owned()])
    );
    assert_eq!(scene.invoke(Duration::from_secs(60), vec![withdrawal("u1")]).await, Ok(NOBODY));
    assert_eq!(scene.shelf.receipt().1["objects"], 250_000);
}

#[tokio::test(start_paused = true)]
async fn lanes_of_long_tokens_are_carried_as_long_as_they_fit_into_a_message() {
    let store = Store { zeros: 4_000, ..Store::of(&[("u1", 250_000)]) };
    let scene = Scene::new(store, Letters::default(), &NO_CEILING);
    assert_eq!(
        scene.invoke(Duration::from_millis(2_200), vec![withdrawal("u1")]).await,
        Ok(NOBODY)
    );
    let next = scene.letters.continuation();
    let lanes = next["bookmark"]["lanes"].as_array().map_or(0, Vec::len);
    assert!(
        lanes > 4 && next.to_string().len() > 20_000,
        "{lanes} lanes in {} bytes",
        next.to_string().len()
    );
}

#[tokio::test(start_paused = true)]
async fn as_many_lanes_as_there_can_be_are_gone_on_with_and_more_are_no_place() {
    for (lanes, listings) in [(16, 16 + 1), (17, 2 + 1)] {
        let scene = Scene::new(Store::default(), Letters::default(), &NO_CEILING);
        let lanes = vec![json!({"token": token(7)}); lanes];
        let bookmark = json!({"round": 1, "target": "s3://photos/{user_id}/", "kind": "objects", "lanes": lanes});
        let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1,
            "bookmark": bookmark});
        assert_eq!(
            scene.invoke(Duration::from_secs(30), vec![record("m", &body.to_string())]).await,
            Ok(NOBODY)
        );
        assert_eq!(locked(&scene.store.log).len(), listings);
    }
}

/// A store that does not list in the order of keys, as it should, must not be able to hide anything
/// from a proof.
#[tokio::test(start_paused = true)]
async fn a_proof_is_listed_as_a_whole_however_much_is_kept() {
    let scene = Scene::new(Store::of(&[("u1", 20_000)]), Letters::default(), &NO_CEILING);
    let body =
        json!({"type": "user-withdrawn", "userId": "u1", "eraseBefore": "1970-01-01T00:00:00Z"});
    assert_eq!(
        scene.invoke(Duration::from_secs(60), vec![record("m", &body.to_string())]).await,
        Ok(NOBODY)
    );
    let receipt = scene.shelf.receipt().1;
    assert_eq!((&receipt["outcome"], &receipt["keptNewer"]), (&json!("erased"), &json!(20_000)));
    assert_eq!(receipt["requests"], 20 + 3, "20 pages, uploads, and versioning twice");
}

/// So that nobody adds a round trip unseen.
#[tokio::test(start_paused = true)]
async fn an_erasure_takes_so_many_requests_and_round_trips_and_no_more() {
    // A proof: versioning and uploads, objects, versioning. The fake takes no time for versioning,
    // 60 ms for a listing, 250 ms for a deletion.
    const PROOF: (u64, u64) = (4, 120);
    // The first round asks for objects beside versioning and uploads, and once more if there are
    // none.
    const EARLY: u64 = 60;
    for (ceiling, in_flight, objects, requests, milliseconds) in [
        ("3500", "8", 0, 1 + PROOF.0, PROOF.1),
        ("3500", "8", 1, 4 + PROOF.0, EARLY + 250 + PROOF.1),
        ("3500", "8", 1_000, 4 + PROOF.0, EARLY + 250 + PROOF.1),
        ("3500", "8", 1_001, 6 + PROOF.0, EARLY + 60 + 250 + PROOF.1),
        // Four batches after the first, each of them 286 ms after the one before, less the credit.
        ("3500", "8", 5_000, 12 + PROOF.0, EARLY + 1_143 - 250 + 250 + PROOF.1),
        // Without a ceiling in four requests, or in eight.
        ("0", "31", 1_000, 7 + PROOF.0, EARLY + 250 + PROOF.1),
        ("0", "32", 1_000, 11 + PROOF.0, EARLY + 250 + PROOF.1),
    ] {
        let settings = [("MAX_DELETES_PER_SECOND", ceiling), ("MAX_IN_FLIGHT_BATCHES", in_flight)];
        let scene = Scene::new(Store::of(&[("u1", objects)]), Letters::default(), &settings);
        let start = Instant::now();
        assert_eq!(scene.invoke(Duration::from_secs(60), vec![withdrawal("u1")]).await, Ok(NOBODY));
        let took = start.elapsed() - STORING;
        assert_eq!(scene.shelf.receipt().1["requests"], requests, "{objects}");
        assert_eq!(u64::try_from(took.as_millis()).unwrap(), milliseconds, "{objects}");
    }
    // What a dry run of eight pages would win by lanes, it would lose by finding out where to cut.
    let scene = Scene::new(Store::of(&[("u1", 8_000)]), Letters::default(), &[("DRY_RUN", "true")]);
    assert_eq!(scene.invoke(Duration::from_secs(60), vec![withdrawal("u1")]).await, Ok(NOBODY));
    assert_eq!(scene.shelf.receipt().1["requests"], 8 + 3);
    // Nor is a store without order asked where to cut.
    let store = Store { has_no_order: true, ..Store::of(&[("u1", 20_000)]) };
    let scene = Scene::new(store, Letters::default(), &[("DRY_RUN", "true")]);
    assert_eq!(scene.invoke(Duration::from_secs(60), vec![withdrawal("u1")]).await, Ok(NOBODY));
    assert_eq!(scene.shelf.receipt().1["requests"], 20 + 3);
    // Ten users at once take hardly longer than one.
    let users: Vec<String> = (0..10).map(|number| format!("u{number}")).collect();
    let files: Vec<(&str, u32)> = users.iter().map(|user| (user.as_str(), 300)).collect();
    let scene = Scene::new(Store::of(&files), Letters::default(), &[]);
    let start = Instant::now();
    let messages = users.iter().map(|user| withdrawal(user)).collect();
    assert_eq!(scene.invoke(Duration::from_secs(60), messages).await, Ok(NOBODY));
    let took = start.elapsed() - STORING;
    assert!(took.as_millis() < 1_200, "3,000 objects at 3,500 a second: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_try_of_a_chain_goes_on_at_first_and_begins_with_a_proof_when_it_comes_again() {
    for (idle_hops, round, delivery, listings) in [
        (2, 3, "1", 2),
        (2, 3, "2", 1),
        (1, 3, "2", 2),
        // The rest of the last round is tried once more.
        (0, 20, "2", 2),
        (0, 20, "3", 1),
        (0, 19, "3", 2),
    ] {
        let scene = Scene::new(Store::default(), Letters::default(), &[]);
        let mut message = bookmarked("s3://photos/{user_id}/", &token(7), round);
        message.body = message
            .body
            .map(|body| body.replacen('{', &format!("{{\"idleHops\": {idle_hops},"), 1));
        message.attributes.insert("ApproximateReceiveCount".to_owned(), delivery.to_owned());
        assert_eq!(scene.invoke(Duration::from_secs(60), vec![message]).await, Ok(NOBODY));
        let listed = locked(&scene.store.log).len();
        assert_eq!(listed, listings, "{idle_hops} idle hops, round {round}, delivery {delivery}");
        assert_eq!(scene.shelf.receipt().1["outcome"], "erased");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_a_lost_answer_doubled_ends_erased_both_times() {
    let scene = Scene::new(Store::of(&[("u1", 20_000), ("u2", 10)]), Letters::default(), &[]);
    scene.invoke(Duration::from_secs(4), vec![withdrawal("u1")]).await.unwrap();
    let next = locked(&scene.letters.sent).pop().expect("a continuation");
    let twice = || vec![record("first", &next.body), record("second", &next.body)];
    assert_eq!(scene.invoke(Duration::from_secs(60), twice()).await, Ok(NOBODY));
    assert_eq!((scene.store.left("u1"), scene.store.left("u2")), (0, 10));
    // And once more, long after.
    assert_eq!(scene.invoke(Duration::from_secs(60), twice()).await, Ok(NOBODY));
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_continuation_cannot_be_sent_is_given_back() {
    for letters in [
        Letters { fails: true, ..Letters::default() },
        Letters { hangs: true, ..Letters::default() },
    ] {
        let scene = Scene::new(Store::of(&[("u1", 100_000)]), letters, &[]);
        let failed = scene.invoke(Duration::from_secs(5), vec![withdrawal("u1")]).await;
        assert_eq!(failed, Ok(vec!["u1".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_in_time_although_s3_hangs_and_the_message_comes_again() {
    let store = Store { hangs: true, ..Store::of(&[("u1", 1)]) };
    let scene = Scene::new(store, Letters { hangs: true, ..Letters::default() }, &[]);
    for timeout_ms in [300, 1_000, 3_000, 10_000, 900_000] {
        let failed = scene.invoke(Duration::from_millis(timeout_ms), vec![withdrawal("u1")]).await;
        assert_eq!(failed, Ok(vec!["u1".to_owned()]), "timeout {timeout_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_could_do_nothing_is_not_handed_on_but_given_back() {
    let scene =
        Scene::new(Store { hangs: true, ..Store::of(&[("u1", 1)]) }, Letters::default(), &[]);
    let failed = scene.invoke(Duration::from_secs(10), vec![withdrawal("u1")]).await;
    assert_eq!(failed, Ok(vec!["u1".to_owned()]));
    assert!(locked(&scene.letters.sent).is_empty());
    assert_eq!(locked(&scene.letters.visibilities)["u1"], 5);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_store_refuses_means_begin_again_at_the_prefix() {
    let scene = Scene::new(Store::of(&[("u1", 2_500)]), Letters::default(), &[]);
    assert_eq!(
        scene
            .invoke(
                Duration::from_secs(30),
                vec![bookmarked("s3://photos/{user_id}/", "nonsense", 1)]
            )
            .await,
        Ok(NOBODY)
    );
    assert_eq!(scene.store.left("u1"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_of_deliveries_that_were_cut_short() {
    let logs = Logs::default();
    let _listening = logs.listen();
    for (receive_count, is_told) in [("1", false), ("2", true), ("5", true)] {
        let scene = Scene::new(Store::of(&[("user-7", 1)]), Letters::default(), &[]);
        let mut message = withdrawal("user-7");
        message.attributes.insert("ApproximateReceiveCount".to_owned(), receive_count.to_owned());
        // Its time is over before anything is done.
        let cut_short = scene.invoke(Duration::from_secs(30), vec![message]);
        assert!(tokio::time::timeout(Duration::from_millis(1), cut_short).await.is_err());
        let log = logs.take();
        assert_eq!(log.contains("message came again"), is_told, "{log}");
        assert!(!log.contains("hop finished") && !log.contains("user-7"), "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_hop_has_one_line_at_the_level_that_its_outcome_deserves() {
    let logs = Logs::default();
    let _listening = logs.listen();
    let user = |objects| Store::of(&[("user-7", objects)]);
    let shelf = |fails: u32| Shelf { fails: fails.into(), ..Shelf::default() };
    let sweeping = ("LATE_WRITE_SWEEP_SECONDS", "60");
    let sweep = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "user-7", "hop": 1,
        "sweepAt": "2027-01-15T08:01:00Z"});
    let denied = "s3://photos/{user_id}/: the bucket cannot be used: AccessDenied";
    let without = |objects| Store { denies_uploads: true, ..user(objects) };
    for (store, shelf, message, level, outcome, reason) in [
        (user(10), shelf(0), withdrawal("user-7"), "INFO", "erased", ""),
        (user(90_000), shelf(0), withdrawal("user-7"), "INFO", "continued", ""),
        (
            user(10),
            shelf(0),
            record("m", &sweep.to_string()),
            "INFO",
            "continued",
            "the sweep is due in 60 s",
        ),
        (user(10), shelf(100), withdrawal("user-7"), "WARN", "continued", "simulated"),
        (without(90_000), shelf(0), withdrawal("user-7"), "WARN", "continued", denied),
        (without(10), shelf(0), withdrawal("user-7"), "ERROR", "failed", denied),
        (
            Store { denies_deletes: true, ..user(10) },
            shelf(0),
            withdrawal("user-7"),
            "WARN",
            "incomplete",
            "AccessDenied",
        ),
        (
            Store { hangs: true, ..user(10) },
            shelf(0),
            withdrawal("user-7"),
            "ERROR",
            "failed",
            "no answer from S3: ListObjects: NoAnswerInTime",
        ),
    ] {
        let scene = Scene::new(store, Letters::default(), &[sweeping]).with_shelf(shelf);
        scene.invoke(Duration::from_secs(10), vec![message]).await.unwrap();
        let log = logs.take();
        let lines: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let [line] =
            &lines.iter().filter(|line| line["message"] == "hop finished").collect::<Vec<_>>()[..]
        else {
            panic!("not one line: {log}")
        };
        assert_eq!((&line["level"], &line["outcome"]), (&json!(level), &json!(outcome)), "{log}");
        let told = line["reason"].as_str().unwrap_or_default();
        assert!(told.contains(reason) && told.is_empty() == reason.is_empty(), "{log}");
        assert!(!log.contains("user-7"), "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_that_may_not_be_listed_keep_no_object_but_uploads_of_somebody_else_stop_everything()
 {
    let denied = |objects| Store { denies_uploads: true, ..Store::of(&[("u1", objects)]) };
    let strays = |objects| Store { lists_a_stray: true, ..Store::of(&[("u1", objects)]) };
    for (store, left) in [(denied(10), 0), (strays(10), 10)] {
        let scene = Scene::new(store, Letters::default(), &[]);
        let failed = scene.invoke(Duration::from_secs(10), vec![withdrawal("u1")]).await;
        assert_eq!((failed.unwrap(), scene.store.left("u1")), (vec!["u1".to_owned()], left));
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_for_the_proof_is_carried_on_once_it_is_the_last_no_more() {
    for (round, is_handed_on) in [(20, true), (21, false)] {
        let scene = Scene::new(Store::of(&[("u1", 90_000)]), Letters::default(), &[]);
        let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1,
            "bookmark": {"round": round}});
        let failed =
            scene.invoke(Duration::from_secs(10), vec![record("m", &body.to_string())]).await;
        assert_eq!(failed.unwrap().is_empty(), is_handed_on, "round {round}");
        assert_eq!(!locked(&scene.letters.sent).is_empty(), is_handed_on, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redriven_dead_letter_of_too_many_rounds_comes_to_its_proof() {
    let scene = Scene::new(Store::of(&[("u1", 2_500)]), Letters::default(), &[]);
    let letter = || vec![bookmarked("s3://photos/{user_id}/", &token(2_000), 20)];
    // The rest of the round it stopped in, and the whole of the next one, find objects once more.
    assert_eq!(scene.invoke(Duration::from_secs(30), letter()).await, Ok(vec!["m".to_owned()]));
    assert_eq!(scene.store.left("u1"), 0);
    assert_eq!(scene.invoke(Duration::from_secs(30), letter()).await, Ok(NOBODY));
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_of_a_target_that_is_gone_begins_at_the_first() {
    let scene = Scene::new(Store::of(&[("u1", 2_500)]), Letters::default(), &[]);
    assert_eq!(
        scene
            .invoke(
                Duration::from_secs(30),
                vec![bookmarked("s3://gone/{user_id}/", &token(2_000), 1)]
            )
            .await,
        Ok(NOBODY)
    );
    assert_eq!(scene.store.left("u1"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reserve_as_long_as_the_invocation_still_leaves_time_to_work() {
    let scene = Scene::new(
        Store::of(&[("u1", 10)]),
        Letters::default(),
        &[("HANDOFF_RESERVE_MS", "900000")],
    );
    assert_eq!(scene.invoke(Duration::from_secs(10), vec![withdrawal("u1")]).await, Ok(NOBODY));
    assert_eq!(scene.store.left("u1"), 0);
}

#[tokio::test(start_paused = true)]
async fn refused_keys_end_incomplete_and_never_loop() {
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 2_500)]) };
    let scene = Scene::new(store, Letters::default(), &[]);
    let failed = scene.invoke(Duration::from_secs(900), vec![withdrawal("u1")]).await;
    assert_eq!(failed, Ok(vec!["u1".to_owned()]));
    assert_eq!(scene.store.listings(), 3, "one round, no more");
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn hops_that_delete_nothing_end_after_max_idle_hops() {
    // 2,000,000 refused keys: no hop of 5 s sees the end of them.
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 400_000)]) };
    let scene = Scene::new(store, Letters::default(), &[("MAX_IDLE_HOPS", "3")]);
    let mut message = withdrawal("u1");
    for idle_hops in [1, 2] {
        assert_eq!(scene.invoke(Duration::from_secs(5), vec![message]).await, Ok(NOBODY));
        let continuation = scene.letters.continuation();
        assert_eq!(continuation["idleHops"], idle_hops);
        message = record("m", &continuation.to_string());
        locked(&scene.letters.sent).clear();
    }
    assert_eq!(scene.invoke(Duration::from_secs(5), vec![message]).await, Ok(vec!["m".to_owned()]));
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_chain_ends_however_much_is_left() {
    let scene = Scene::new(Store::of(&[("u1", 100_000)]), Letters::default(), &[]);
    let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 10_000});
    let failed = scene.invoke(Duration::from_secs(3), vec![record("m", &body.to_string())]).await;
    assert_eq!(failed, Ok(vec!["m".to_owned()]));
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_back_its_own_message_and_no_other() {
    let scene = Scene::new(Store::of(&[("u1", 1_500), ("u2", 1_500)]), Letters::default(), &[]);
    let records = ["u1", "panic", "u2"].map(withdrawal).into();
    assert_eq!(scene.invoke(Duration::from_secs(30), records).await, Ok(vec!["panic".to_owned()]));
    assert_eq!((scene.store.left("u1"), scene.store.left("u2")), (0, 0));
    assert_eq!(locked(&scene.letters.visibilities)["panic"], 5);
}

#[tokio::test(start_paused = true)]
async fn bad_messages_go_to_the_dead_letter_queue_at_once_and_harm_no_other() {
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]);
    let mut no_body = record("no body", "");
    no_body.body = None;
    let records = vec![
        record("foreign", r#"{"Records":[{"eventSource":"aws:s3"}]}"#),
        record("no JSON", "u1"),
        record("surrogate", r#"{"type":"user-withdrawn","userId":"\ud800"}"#),
        record("huge", &"x".repeat(1024 * 1024)),
        no_body,
        withdrawal("u1"),
    ];
    let failed = scene.invoke(Duration::from_secs(30), records).await.unwrap();
    assert_eq!(failed, ["foreign", "no JSON", "surrogate", "huge", "no body"]);
    assert_eq!(scene.store.left("u1"), 0);
    assert!(locked(&scene.letters.visibilities).values().all(|seconds| *seconds == 0));
    assert_eq!(locked(&scene.letters.visibilities).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_failed_waits_longer_each_time() {
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 1)]) };
    let scene = Scene::new(store, Letters::default(), &[]);
    for (count, seconds) in
        [("1", 5), ("2", 10), ("3", 20), ("8", 640), ("9", 900), ("4000000000", 900), ("?", 5)]
    {
        let mut message = withdrawal("u1");
        message.attributes.insert("ApproximateReceiveCount".to_owned(), count.to_owned());
        scene.invoke(Duration::from_secs(10), vec![message]).await.unwrap();
        assert_eq!(locked(&scene.letters.visibilities)["u1"], seconds, "receive count {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_continuation_of_a_later_release_waits_for_it() {
    for version in [2, 1_u64 << 32] {
        let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]);
        let body = json!({"type": "erasure-continuation", "version": version, "erasureId": "e", "userId": "u1", "hop": 1});
        let failed =
            scene.invoke(Duration::from_secs(10), vec![record("later", &body.to_string())]).await;
        assert_eq!(failed, Ok(vec!["later".to_owned()]));
        assert_eq!(locked(&scene.letters.visibilities)["later"], 5);
        assert_eq!(scene.store.left("u1"), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_of_sending_that_cannot_be_is_not_believed() {
    for sent in ["-99999999999999", "99999999999999999", "yesterday"] {
        let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]);
        let mut message = withdrawal("u1");
        message.attributes.insert("SentTimestamp".to_owned(), sent.to_owned());
        assert_eq!(
            scene.invoke(Duration::from_secs(10), vec![message]).await,
            Ok(NOBODY),
            "{sent}"
        );
        let receipt = scene.shelf.receipt().1;
        assert_eq!(
            (&receipt["outcome"], &receipt["requestedAt"]),
            (&json!("erased"), &receipt["startedAt"]),
            "{sent}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_message_id_is_worked_on_and_comes_again_if_it_fails() {
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]);
    let mut unnamed = withdrawal("u1");
    unnamed.message_id = None;
    unnamed.receipt_handle = None;
    assert_eq!(scene.invoke(Duration::from_secs(10), vec![unnamed.clone()]).await, Ok(NOBODY));
    assert_eq!(scene.store.left("u1"), 0);
    unnamed.body = Some("nonsense".to_owned());
    // An empty identifier would be taken for success of all the others by nobody: the whole batch
    // is safer.
    assert_eq!(
        scene.invoke(Duration::from_secs(10), vec![unnamed]).await,
        Err(EventError::UnnamedRecord)
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_from_sqs_fails_as_a_whole() {
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]);
    for event in [
        json!({}),
        json!([]),
        json!({"Records": [{"body": 7}]}),
        json!({"type": "user-withdrawn", "userId": "u1"}),
    ] {
        assert_eq!(
            scene.handle(event.clone(), u64::MAX).await,
            Err(EventError::NotFromSqs),
            "{event}"
        );
    }
    assert_eq!(scene.store.left("u1"), 10);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_none_of_sqs_is_rejected_and_harms_no_other() {
    let odd = |field: &str, value: Value| {
        let mut record = json!({"messageId": "odd", "receiptHandle": "odd", "body": "{}"});
        record[field] = value;
        record
    };
    let body = json!({"type": "user-withdrawn", "userId": "u1"}).to_string();
    // Nobody reads the attributes that a sender gives.
    let unread = json!({"tag": {"dataType": "Binary", "binaryValue": "not base64", "stringListValues": null}});
    let good = json!({"messageId": "good", "receiptHandle": "good", "body": body, "messageAttributes": unread});
    for odd in [
        odd("body", json!(7)),
        odd("body", json!({"type": "user-withdrawn", "userId": "u1"})),
        odd("body", Value::Null),
        odd("attributes", json!({"ApproximateReceiveCount": 1})),
        odd("attributes", json!("none")),
    ] {
        let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]);
        let event = json!({"Records": [odd, good]});
        let failed =
            scene.handle(event.clone(), u64::MAX).await.expect("an answer").batch_item_failures;
        assert_eq!(
            failed.iter().map(|item| item.item_identifier.as_str()).collect::<Vec<_>>(),
            ["odd"],
            "{event}"
        );
        assert_eq!(locked(&scene.letters.visibilities)["odd"], 0);
        assert_eq!(scene.store.left("u1"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_event_is_answered_at_once() {
    let scene = Scene::new(Store::default(), Letters::default(), &[]);
    assert_eq!(scene.invoke(Duration::from_secs(10), Vec::new()).await, Ok(NOBODY));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_not_believed() {
    // What cargo lambda watch 1.9.2 sends, and this very moment.
    for deadline_epoch_ms in [600_000, 1_800_000_000_000] {
        let settings = [("AWS_LAMBDA_FUNCTION_TIMEOUT", "20")];
        let scene = Scene::new(Store::of(&[("u1", 500_000)]), Letters::default(), &settings);
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let announced =
            AnnouncedDeadline { deadline_epoch_ms, now, fallback: Duration::from_secs(20) };
        let mut event = SqsEvent::default();
        event.records = vec![withdrawal("u1")];
        let start = Instant::now();
        let response = scene.handle_until(event, announced).await.unwrap();
        assert!(response.batch_item_failures.is_empty());
        let seconds = start.elapsed().as_secs();
        assert!((18..20).contains(&seconds), "{seconds}");
        assert_eq!(scene.letters.continuation()["hop"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn objects_newer_than_the_limit_are_kept_and_do_not_stand_in_the_way() {
    let scene = Scene::new(Store::of(&[("u1", 2_500)]), Letters::default(), &[]);
    // The store's objects are written one a second from 1970 on.
    let body =
        json!({"type": "user-withdrawn", "userId": "u1", "eraseBefore": "1970-01-01T00:20:00Z"});
    assert_eq!(
        scene.invoke(Duration::from_secs(60), vec![record("m", &body.to_string())]).await,
        Ok(NOBODY)
    );
    assert_eq!(scene.store.left("u1"), 1_300);
    let model = scene.store.model.store();
    let first = model.versions_under(BUCKET, "u1/").next().map(|(key, _)| key);
    assert_eq!(first, Some("u1/000001200"));
    assert!(locked(&scene.letters.sent).is_empty());
}
