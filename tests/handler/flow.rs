//! Budget, hand-off, fairness, and what one message may do to another.

use std::time::{Duration, UNIX_EPOCH};

use aws_lambda_events::event::sqs::SqsEvent;
use erase_user_files::deadline::AnnouncedDeadline;
use erase_user_files::lambda::event::EventError;
use erase_user_files::ports::queue::OutgoingMessage;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::fixture::{
    BUCKET, Event, FakeQueue, FakeReceipts, Fixture, Logs, STORING, Store, bookmarked,
    continuation, locked, record, token, withdrawal,
};
use crate::receipts::pseudonym;

/// From the first request to the last answer, as a share of the invocation.
async fn time_spent_deleting(timeout: Duration, rate: &str, objects: u32) -> f64 {
    let fixture = Fixture::new(Store::of(&[("u1", objects)]), &[("MAX_DELETES_PER_SECOND", rate)]);
    fixture.succeed(timeout, vec![withdrawal("u1")]).await;
    assert!(fixture.store.left("u1") > 0, "the test needs more objects");
    let log = locked(&fixture.store.log);
    let (first, _) =
        log.iter().find(|(_, event)| matches!(event, Event::Deleting(_))).expect("deletions");
    let (last, _) =
        log.iter().rfind(|(_, event)| matches!(event, Event::Deleted(_))).expect("deletions");
    last.duration_since(*first).as_secs_f64() / timeout.as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn hop_spends_most_of_its_time_deleting() {
    for (seconds, rate, share) in [(10, "3500", 0.88), (60, "1000", 0.97), (300, "300", 0.98)] {
        let deleting = time_spent_deleting(Duration::from_secs(seconds), rate, 100_000).await;
        println!("{:.1} % of {seconds} s, at {rate} keys a second", 100.0 * deleting);
        assert!(deleting >= share, "{deleting:.3} of {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn counts_are_exact_over_many_hops() {
    let store =
        Store { is_uneven: true, has_no_order: true, ..Store::of(&[("u1", 400_000), ("u2", 3)]) };
    let fixture = Fixture::new(store, &[("MAX_DELETES_PER_SECOND", "0")]);
    let mut messages = vec![withdrawal("u1")];
    let mut hops = 0;
    loop {
        // A small user in each batch, whose deletes are fast.
        messages.push(withdrawal("u2"));
        fixture.succeed(Duration::from_secs(3), messages).await;
        fixture.store.put(BUCKET, "u2", 0..3);
        hops += 1;
        let Some(next) = fixture.take_continuation() else {
            break;
        };
        messages = vec![record("m", &next.body)];
    }
    assert!(hops > 10, "{hops}");
    let receipts = locked(&fixture.receipt_store.documents);
    let receipt: Value = serde_json::from_str(&receipts["u1/erased.json"]).expect("JSON");
    assert_eq!((&receipt["objects"], &receipt["bytes"]), (&json!(400_000), &json!(400_000)));
}

#[tokio::test(start_paused = true)]
async fn listing_runs_at_most_a_few_pages_ahead_of_deletes() {
    let settings = [("MAX_IN_FLIGHT_BATCHES", "2"), ("MAX_DELETES_PER_SECOND", "0")];
    let store = Store { has_no_order: true, ..Store::of(&[("u1", 50_000)]) };
    let fixture = Fixture::new(store, &settings);
    fixture.invoke(Duration::from_secs(900), vec![withdrawal("u1")]).await.unwrap();
    assert_eq!(fixture.store.left("u1"), 0);
    let (mut ahead, mut most_ahead, mut in_flight, mut most_in_flight, mut overlaps) =
        (0_i32, 0, 0, 0, 0);
    for (_, event) in locked(&fixture.store.log).iter() {
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
async fn huge_user_does_not_starve_small_users() {
    let mut users = vec![("huge", 150_000)];
    let small = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
    users.extend(small.map(|user| (user, 1_500)));
    let fixture = Fixture::new(Store::of(&users), &[]);
    let records = users.iter().map(|(user, _)| withdrawal(user)).collect();
    fixture.succeed(Duration::from_secs(30), records).await;
    for user in small {
        assert_eq!(fixture.store.left(user), 0, "{user}");
    }
    let continuation = fixture.queue.continuation();
    assert_eq!(continuation["userId"], "huge");
    assert!(continuation["tally"]["objects"].as_u64() > Some(50_000), "{continuation}");
}

/// Key ranges that wait, because batches of other users are in flight, must not hold
/// what these batches need.
#[tokio::test(start_paused = true)]
async fn waiting_key_ranges_do_not_block_retention_requests() {
    let huge = ["a", "b", "c", "d", "e", "f"].map(|user| (user, 20_000));
    let users: Vec<(&str, u32)> = huge.into_iter().chain([("small", 3)]).collect();
    let store = Store { denies_deletes: true, ..Store::versioned(&users) };
    let fixture = Fixture::new(store, &[("MAX_DELETES_PER_SECOND", "0")]);
    let messages = users.iter().map(|(user, _)| withdrawal(user)).collect();
    let failed = fixture.invoke(Duration::from_secs(60), messages).await;
    assert_eq!(failed, Ok(users.iter().map(|(user, _)| (*user).to_owned()).collect()));
    for (user, versions) in users {
        let receipts = locked(&fixture.receipt_store.documents);
        let receipt =
            receipts.get(&format!("{user}/incomplete-1.json")).expect("a receipt of what is left");
        let receipt: Value = serde_json::from_str(receipt).expect("a receipt is JSON");
        let refused = json!([{"code": "AccessDenied", "count": versions}]);
        assert_eq!(receipt["targets"][0]["refused"], refused, "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn small_user_does_not_wait_for_key_ranges_of_huge_users() {
    let huge = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|user| (user, 50_000));
    let users: Vec<(&str, u32)> = huge.into_iter().chain([("small", 3)]).collect();
    let fixture = Fixture::new(Store::of(&users), &[("MAX_DELETES_PER_SECOND", "0")]);
    let messages = users.iter().map(|(user, _)| withdrawal(user)).collect();
    fixture.succeed(Duration::from_secs(60), messages).await;
    let receipts = locked(&fixture.receipt_store.documents);
    let receipt: Value =
        serde_json::from_str(&receipts["small/erased.json"]).expect("a receipt is JSON");
    let took = |name: &str| {
        OffsetDateTime::parse(receipt[name].as_str().expect("a time"), &Rfc3339).expect("a time")
    };
    let took = took("finishedAt") - took("startedAt");
    assert!(took < Duration::from_millis(800), "{took}, of which alone it needs 460 ms");
}

#[tokio::test(start_paused = true)]
async fn rate_limit_covers_all_messages() {
    let users = ["u1", "u2", "u3"];
    let store = Store::of(&users.map(|user| (user, 2_000)));
    let fixture = Fixture::new(store, &[("MAX_DELETES_PER_SECOND", "700")]);
    fixture.invoke(Duration::from_secs(60), users.map(withdrawal).into()).await.unwrap();
    let log = locked(&fixture.store.log);
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
async fn checkpoint_is_the_first_page_with_an_unfinished_batch() {
    let store = Store { hangs_from: Some(3_000), ..Store::of(&[("u1", 10_000)]) };
    let fixture = Fixture::new(store, &[]);
    fixture.succeed(Duration::from_secs(20), vec![withdrawal("u1")]).await;
    assert_eq!(
        fixture.store.left("u1"),
        1_000,
        "all others are deleted, around the page that hangs"
    );
    let continuation = fixture.queue.continuation();
    assert_eq!(continuation["bookmark"]["token"], token(3_000), "{continuation}");
    assert_eq!(continuation["bookmark"]["target"], "s3://photos/{user_id}/");
    assert_eq!((&continuation["hop"], &continuation["idleHops"]), (&json!(1), &json!(0)));
    assert_eq!(continuation["tally"]["objects"], 9_000);
}

#[tokio::test(start_paused = true)]
async fn hops_continue_until_erased() {
    let fixture = Fixture::new(Store::of(&[("u1", 30_000)]), &[]);
    let mut hop = 0;
    let hops = fixture
        .follow(Duration::from_secs(4), withdrawal("u1"), |next| {
            hop += 1;
            assert_eq!(next.group, pseudonym("u1"));
            let id = &next.deduplication_id;
            assert!(id.starts_with(&format!("u1:{hop}:")), "{id}");
        })
        .await;
    assert!((2..=10).contains(&hops), "{hops}: 30,000 objects at 3,500 a second and 3 s a hop");
    assert_eq!(fixture.store.left("u1"), 0);
}

#[tokio::test(start_paused = true)]
async fn half_throttled_erasure_ends_with_delays_between_hops() {
    let store = Store { throttles_half: true, ..Store::of(&[("u1", 20_000)]) };
    let fixture = Fixture::new(store, &[]);
    let mut delays = Vec::new();
    let each = |next: &OutgoingMessage| delays.push(next.delay.as_secs());
    let hops = fixture.follow(Duration::from_secs(60), withdrawal("u1"), each).await;
    assert!((2..=20).contains(&hops), "{hops}");
    assert!(delays.iter().all(|delay| (1..=16).contains(delay)), "{delays:?}");
    assert_eq!(fixture.store.left("u1"), 0);
}

/// Without a ceiling, only the number of concurrent requests limits the rate.
const NO_CEILING: [(&str, &str); 2] =
    [("MAX_DELETES_PER_SECOND", "0"), ("MAX_IN_FLIGHT_BATCHES", "64")];

#[tokio::test(start_paused = true)]
async fn long_listing_is_split_into_key_ranges() {
    let mut took = Vec::new();
    for has_no_order in [false, true] {
        let store = Store { has_no_order, ..Store::of(&[("u1", 200_000), ("u10", 5)]) };
        let fixture = Fixture::new(store, &NO_CEILING);
        let start = Instant::now();
        fixture.succeed(Duration::from_secs(60), vec![withdrawal("u1")]).await;
        assert_eq!((fixture.store.left("u1"), fixture.store.left("u10")), (0, 5));
        assert_eq!(fixture.receipt_store.receipt().1["objects"], 200_000);
        took.push(start.elapsed().as_secs_f64());
    }
    assert!(took[1] > 12.0, "200 pages of 60 ms, one after the other: {took:?}");
    assert!(took[0] < 4.0, "{took:?}");
    // A dry run does nothing but list.
    let fixture = Fixture::new(Store::of(&[("u1", 200_000)]), &[("DRY_RUN", "true")]);
    let start = Instant::now();
    fixture.succeed(Duration::from_secs(60), vec![withdrawal("u1")]).await;
    assert_eq!(fixture.receipt_store.receipt().1["objects"], 200_000);
    assert!(start.elapsed().as_secs_f64() < 4.0, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn key_ranges_resume_in_the_next_hop() {
    for dry_run in ["false", "true"] {
        let store = Store { is_uneven: true, ..Store::of(&[("u1", 250_000)]) };
        let settings: Vec<_> = NO_CEILING.into_iter().chain([("DRY_RUN", dry_run)]).collect();
        let fixture = Fixture::new(store, &settings);
        let mut parts = 0;
        let each = |next: &OutgoingMessage| {
            let fields: Value = serde_json::from_str(&next.body).expect("a continuation is JSON");
            parts = parts.max(fields["bookmark"]["lanes"].as_array().map_or(0, Vec::len));
        };
        let hops = fixture.follow(Duration::from_millis(2_200), withdrawal("u1"), each).await;
        assert!((2..30).contains(&hops) && parts > 4, "{hops} hops, {parts} lanes");
        assert_eq!(fixture.store.left("u1"), if dry_run == "true" { 250_000 } else { 0 });
        let receipt = fixture.receipt_store.receipt().1;
        let counted = receipt["objects"].as_u64().unwrap();
        assert!(counted == 250_000, "dry run {dry_run}, {hops} hops: {counted}");
    }
}

#[tokio::test(start_paused = true)]
async fn oversized_tokens_restart_the_target() {
    let store = || Store { zeros: 60_000, ..Store::of(&[("u1", 250_000)]) };
    let fixture = Fixture::new(store(), &NO_CEILING);
    fixture.succeed(Duration::from_millis(2_200), vec![withdrawal("u1")]).await;
    let next = fixture.take_continuation().expect("a continuation");
    assert!(next.body.len() < 20_000, "{} bytes", next.body.len());
    fixture.succeed(Duration::from_secs(60), vec![record("m", &next.body)]).await;
    assert_eq!(fixture.receipt_store.receipt().1["objects"], 250_000);
    // A dry run would count everything twice. Its message is redelivered, and a longer hop counts it.
    let fixture = Fixture::new(store(), &[("DRY_RUN", "true")]);
    assert_eq!(
        fixture.invoke(Duration::from_millis(2_200), vec![withdrawal("u1")]).await,
        Ok(vec!["u1".to_owned()])
    );
    fixture.succeed(Duration::from_secs(60), vec![withdrawal("u1")]).await;
    assert_eq!(fixture.receipt_store.receipt().1["objects"], 250_000);
}

#[tokio::test(start_paused = true)]
async fn long_tokens_are_carried_if_they_fit() {
    let store = Store { zeros: 4_000, ..Store::of(&[("u1", 250_000)]) };
    let fixture = Fixture::new(store, &NO_CEILING);
    fixture.succeed(Duration::from_millis(2_200), vec![withdrawal("u1")]).await;
    let next = fixture.queue.continuation();
    let lanes = next["bookmark"]["lanes"].as_array().map_or(0, Vec::len);
    assert!(
        lanes > 4 && next.to_string().len() > 20_000,
        "{lanes} lanes in {} bytes",
        next.to_string().len()
    );
}

#[tokio::test(start_paused = true)]
async fn resumes_up_to_max_ranges_and_restarts_beyond() {
    for (lanes, listings) in [(16, 16 + 1), (17, 2 + 1)] {
        let fixture = Fixture::new(Store::default(), &NO_CEILING);
        let lanes = vec![json!({"token": token(7)}); lanes];
        let checkpoint = json!({"round": 1, "target": "s3://photos/{user_id}/", "kind": "objects", "lanes": lanes});
        let message = continuation(&json!({"bookmark": checkpoint}));
        fixture.succeed(Duration::from_secs(30), vec![message]).await;
        assert_eq!(locked(&fixture.store.log).len(), listings);
    }
}

/// A store that does not list in the order of keys, as it should, must not be able to hide anything
/// from a proof.
#[tokio::test(start_paused = true)]
async fn proof_is_one_listing_even_of_many_kept_objects() {
    let fixture = Fixture::new(Store::of(&[("u1", 20_000)]), &NO_CEILING);
    let body =
        json!({"type": "user-withdrawn", "userId": "u1", "eraseBefore": "1970-01-01T00:00:00Z"});
    fixture.succeed(Duration::from_secs(60), vec![record("m", &body.to_string())]).await;
    let receipt = fixture.receipt_store.receipt().1;
    assert_eq!((&receipt["outcome"], &receipt["keptNewer"]), (&json!("erased"), &json!(20_000)));
    assert_eq!(receipt["requests"], 20 + 3, "20 pages, uploads, and versioning twice");
}

/// A change that adds a request or a round trip fails here.
#[tokio::test(start_paused = true)]
async fn erasure_takes_exact_requests_and_time() {
    // A proof: versioning and uploads, objects, versioning. The fake takes no time for versioning,
    // 60 ms for a listing, 250 ms for a deletion.
    const PROOF: (u64, u64) = (4, 120);
    // The first round lists objects, versioning and uploads concurrently, and once more if there are
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
        let fixture = Fixture::new(Store::of(&[("u1", objects)]), &settings);
        let start = Instant::now();
        fixture.succeed(Duration::from_secs(60), vec![withdrawal("u1")]).await;
        let took = start.elapsed() - STORING;
        assert_eq!(fixture.receipt_store.receipt().1["requests"], requests, "{objects}");
        assert_eq!(u64::try_from(took.as_millis()).unwrap(), milliseconds, "{objects}");
    }
    // What a dry run of eight pages would win by key ranges, it would lose by finding out where to cut.
    let fixture = Fixture::new(Store::of(&[("u1", 8_000)]), &[("DRY_RUN", "true")]);
    fixture.succeed(Duration::from_secs(60), vec![withdrawal("u1")]).await;
    assert_eq!(fixture.receipt_store.receipt().1["requests"], 8 + 3);
    // Nor is a store without order asked where to cut.
    let store = Store { has_no_order: true, ..Store::of(&[("u1", 20_000)]) };
    let fixture = Fixture::new(store, &[("DRY_RUN", "true")]);
    fixture.succeed(Duration::from_secs(60), vec![withdrawal("u1")]).await;
    assert_eq!(fixture.receipt_store.receipt().1["requests"], 20 + 3);
    // Ten concurrent erasures take hardly longer than one.
    let users: Vec<String> = (0..10).map(|number| format!("u{number}")).collect();
    let files: Vec<(&str, u32)> = users.iter().map(|user| (user.as_str(), 300)).collect();
    let fixture = Fixture::new(Store::of(&files), &[]);
    let start = Instant::now();
    let messages = users.iter().map(|user| withdrawal(user)).collect();
    fixture.succeed(Duration::from_secs(60), messages).await;
    let took = start.elapsed() - STORING;
    assert!(took.as_millis() < 1_200, "3,000 objects at 3,500 a second: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn redelivered_last_hop_starts_with_a_proof() {
    for (idle_hops, round, delivery, listings) in [
        (2, 3, "1", 2),
        (2, 3, "2", 1),
        (1, 3, "2", 2),
        // The rest of the last round is tried once more.
        (0, 20, "2", 2),
        (0, 20, "3", 1),
        (0, 19, "3", 2),
    ] {
        let fixture = Fixture::new(Store::default(), &[]);
        let mut message = bookmarked("s3://photos/{user_id}/", &token(7), round);
        message.body = message
            .body
            .map(|body| body.replacen('{', &format!("{{\"idleHops\": {idle_hops},"), 1));
        message.attributes.insert("ApproximateReceiveCount".to_owned(), delivery.to_owned());
        fixture.succeed(Duration::from_secs(60), vec![message]).await;
        let listed = locked(&fixture.store.log).len();
        assert_eq!(listed, listings, "{idle_hops} idle hops, round {round}, delivery {delivery}");
        assert_eq!(fixture.receipt_store.receipt().1["outcome"], "erased");
    }
}

#[tokio::test(start_paused = true)]
async fn duplicated_continuation_erases_twice() {
    let fixture = Fixture::new(Store::of(&[("u1", 20_000), ("u2", 10)]), &[]);
    fixture.invoke(Duration::from_secs(4), vec![withdrawal("u1")]).await.unwrap();
    let next = fixture.take_continuation().expect("a continuation");
    let twice = || vec![record("first", &next.body), record("second", &next.body)];
    fixture.succeed(Duration::from_secs(60), twice()).await;
    assert_eq!((fixture.store.left("u1"), fixture.store.left("u2")), (0, 10));
    // And once more, long after.
    fixture.succeed(Duration::from_secs(60), twice()).await;
    assert!(locked(&fixture.queue.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn unsent_continuation_redelivers_the_message() {
    for queue in [
        FakeQueue { fails: true, ..FakeQueue::default() },
        FakeQueue { hangs: true, ..FakeQueue::default() },
    ] {
        let fixture = Fixture::new(Store::of(&[("u1", 100_000)]), &[]).with_queue(queue);
        let failed = fixture.invoke(Duration::from_secs(5), vec![withdrawal("u1")]).await;
        assert_eq!(failed, Ok(vec!["u1".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_store_and_queue_answer_in_time() {
    let store = Store { hangs: true, ..Store::of(&[("u1", 1)]) };
    let queue = FakeQueue { hangs: true, ..FakeQueue::default() };
    let fixture = Fixture::new(store, &[]).with_queue(queue);
    for timeout_ms in [300, 1_000, 3_000, 10_000, 900_000] {
        let failed =
            fixture.invoke(Duration::from_millis(timeout_ms), vec![withdrawal("u1")]).await;
        assert_eq!(failed, Ok(vec!["u1".to_owned()]), "timeout {timeout_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn hop_without_progress_is_redelivered() {
    let fixture = Fixture::new(Store { hangs: true, ..Store::of(&[("u1", 1)]) }, &[]);
    let failed = fixture.invoke(Duration::from_secs(10), vec![withdrawal("u1")]).await;
    assert_eq!(failed, Ok(vec!["u1".to_owned()]));
    assert!(locked(&fixture.queue.sent).is_empty());
    assert_eq!(locked(&fixture.queue.visibilities)["u1"], 5);
}

#[tokio::test(start_paused = true)]
async fn rejected_token_or_removed_target_restarts_the_erasure() {
    for (target, token) in [("photos", "nonsense"), ("gone", &token(2_000))] {
        let fixture = Fixture::new(Store::of(&[("u1", 2_500)]), &[]);
        let message = bookmarked(&format!("s3://{target}/{{user_id}}/"), token, 1);
        fixture.succeed(Duration::from_secs(30), vec![message]).await;
        assert_eq!(fixture.store.left("u1"), 0, "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn interrupted_deliveries_are_logged() {
    let logs = Logs::default();
    let _listening = logs.listen();
    for (receive_count, is_told) in [("1", false), ("2", true), ("5", true)] {
        let fixture = Fixture::new(Store::of(&[("user-7", 1)]), &[]);
        let mut message = withdrawal("user-7");
        message.attributes.insert("ApproximateReceiveCount".to_owned(), receive_count.to_owned());
        // Its time is over before anything is done.
        let cut_short = fixture.invoke(Duration::from_secs(30), vec![message]);
        assert!(tokio::time::timeout(Duration::from_millis(1), cut_short).await.is_err());
        let log = logs.take();
        assert_eq!(log.contains("message redelivered"), is_told, "{log}");
        assert!(!log.contains("hop finished") && !log.contains("user-7"), "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_hop_logs_one_line_at_the_level_of_its_outcome() {
    let logs = Logs::default();
    let _listening = logs.listen();
    let user = |objects| Store::of(&[("user-7", objects)]);
    let receipt_store =
        |fails: u32| FakeReceipts { fails: fails.into(), ..FakeReceipts::default() };
    let sweeping = ("LATE_WRITE_SWEEP_SECONDS", "60");
    let sweep = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "user-7", "hop": 1,
        "sweepAt": "2027-01-15T08:01:00Z"});
    let denied = "s3://photos/{user_id}/: the bucket cannot be used: AccessDenied";
    let without = |objects| Store { denies_uploads: true, ..user(objects) };
    for (store, receipt_store, message, level, outcome, reason) in [
        (user(10), receipt_store(0), withdrawal("user-7"), "INFO", "erased", ""),
        (user(90_000), receipt_store(0), withdrawal("user-7"), "INFO", "continued", ""),
        (
            user(10),
            receipt_store(0),
            record("m", &sweep.to_string()),
            "INFO",
            "continued",
            "the sweep is due in 60 s",
        ),
        (user(10), receipt_store(100), withdrawal("user-7"), "WARN", "continued", "simulated"),
        (without(90_000), receipt_store(0), withdrawal("user-7"), "WARN", "continued", denied),
        (without(10), receipt_store(0), withdrawal("user-7"), "ERROR", "failed", denied),
        (
            Store { denies_deletes: true, ..user(10) },
            receipt_store(0),
            withdrawal("user-7"),
            "WARN",
            "incomplete",
            "AccessDenied",
        ),
        (
            Store { hangs: true, ..user(10) },
            receipt_store(0),
            withdrawal("user-7"),
            "ERROR",
            "failed",
            "no answer from S3: ListObjects: NoAnswerInTime",
        ),
    ] {
        let fixture = Fixture::new(store, &[sweeping]).with_receipt_store(receipt_store);
        fixture.invoke(Duration::from_secs(10), vec![message]).await.unwrap();
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
async fn denied_upload_listing_erases_objects_and_foreign_upload_stops() {
    let denied = |objects| Store { denies_uploads: true, ..Store::of(&[("u1", objects)]) };
    let strays = |objects| Store { lists_a_stray: true, ..Store::of(&[("u1", objects)]) };
    for (store, left) in [(denied(10), 0), (strays(10), 10)] {
        let fixture = Fixture::new(store, &[]);
        let failed = fixture.invoke(Duration::from_secs(10), vec![withdrawal("u1")]).await;
        assert_eq!((failed.unwrap(), fixture.store.left("u1")), (vec!["u1".to_owned()], left));
    }
}

#[tokio::test(start_paused = true)]
async fn last_round_is_not_continued() {
    for (round, is_handed_on) in [(20, true), (21, false)] {
        let fixture = Fixture::new(Store::of(&[("u1", 90_000)]), &[]);
        let message = continuation(&json!({"bookmark": {"round": round}}));
        let failed = fixture.invoke(Duration::from_secs(10), vec![message]).await;
        assert_eq!(failed.unwrap().is_empty(), is_handed_on, "round {round}");
        assert_eq!(!locked(&fixture.queue.sent).is_empty(), is_handed_on, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn redriven_message_of_last_round_reaches_its_proof() {
    let fixture = Fixture::new(Store::of(&[("u1", 2_500)]), &[]);
    let letter = || vec![bookmarked("s3://photos/{user_id}/", &token(2_000), 20)];
    // The rest of the round it stopped in, and the whole of the next one, find objects once more.
    assert_eq!(fixture.invoke(Duration::from_secs(30), letter()).await, Ok(vec!["m".to_owned()]));
    assert_eq!(fixture.store.left("u1"), 0);
    fixture.succeed(Duration::from_secs(30), letter()).await;
    assert!(locked(&fixture.queue.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn oversized_handoff_reserve_leaves_time_to_delete() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[("HANDOFF_RESERVE_MS", "900000")]);
    fixture.succeed(Duration::from_secs(10), vec![withdrawal("u1")]).await;
    assert_eq!(fixture.store.left("u1"), 0);
}

#[tokio::test(start_paused = true)]
async fn denied_keys_end_incomplete_after_one_round() {
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 2_500)]) };
    let fixture = Fixture::new(store, &[]);
    let failed = fixture.invoke(Duration::from_secs(900), vec![withdrawal("u1")]).await;
    assert_eq!(failed, Ok(vec!["u1".to_owned()]));
    assert_eq!(fixture.store.listings(), 3, "one round, no more");
    assert!(locked(&fixture.queue.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn idle_hops_end_after_max_idle_hops() {
    // No hop of 5 s reaches the last key.
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 100_000)]) };
    let fixture = Fixture::new(store, &[("MAX_IDLE_HOPS", "3")]);
    let mut message = withdrawal("u1");
    for idle_hops in [1, 2] {
        fixture.succeed(Duration::from_secs(5), vec![message]).await;
        let continuation = fixture.queue.continuation();
        assert_eq!(continuation["idleHops"], idle_hops);
        message = record("m", &continuation.to_string());
        locked(&fixture.queue.sent).clear();
    }
    assert_eq!(
        fixture.invoke(Duration::from_secs(5), vec![message]).await,
        Ok(vec!["m".to_owned()])
    );
    assert!(locked(&fixture.queue.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn hop_limit_ends_the_erasure() {
    let fixture = Fixture::new(Store::of(&[("u1", 100_000)]), &[]);
    let message = continuation(&json!({"hop": 10_000}));
    let failed = fixture.invoke(Duration::from_secs(3), vec![message]).await;
    assert_eq!(failed, Ok(vec!["m".to_owned()]));
    assert!(locked(&fixture.queue.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn panic_redelivers_only_its_own_message() {
    let fixture = Fixture::new(Store::of(&[("u1", 1_500), ("u2", 1_500)]), &[]);
    let records = ["u1", "panic", "u2"].map(withdrawal).into();
    assert_eq!(
        fixture.invoke(Duration::from_secs(30), records).await,
        Ok(vec!["panic".to_owned()])
    );
    assert_eq!((fixture.store.left("u1"), fixture.store.left("u2")), (0, 0));
    assert_eq!(locked(&fixture.queue.visibilities)["panic"], 5);
}

#[tokio::test(start_paused = true)]
async fn malformed_messages_are_rejected_without_delay() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]);
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
    let failed = fixture.invoke(Duration::from_secs(30), records).await.unwrap();
    assert_eq!(failed, ["foreign", "no JSON", "surrogate", "huge", "no body"]);
    assert_eq!(fixture.store.left("u1"), 0);
    assert!(locked(&fixture.queue.visibilities).values().all(|seconds| *seconds == 0));
    assert_eq!(locked(&fixture.queue.visibilities).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn failed_message_backs_off() {
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 1)]) };
    let fixture = Fixture::new(store, &[]);
    for (count, seconds) in
        [("1", 5), ("2", 10), ("3", 20), ("8", 640), ("9", 900), ("4000000000", 900), ("?", 5)]
    {
        let mut message = withdrawal("u1");
        message.attributes.insert("ApproximateReceiveCount".to_owned(), count.to_owned());
        fixture.invoke(Duration::from_secs(10), vec![message]).await.unwrap();
        assert_eq!(locked(&fixture.queue.visibilities)["u1"], seconds, "receive count {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn newer_continuation_version_is_redelivered() {
    for version in [3, 1_u64 << 32] {
        let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]);
        let body = json!({"type": "erasure-continuation", "version": version, "erasureId": "e", "userId": "u1", "hop": 1});
        let failed =
            fixture.invoke(Duration::from_secs(10), vec![record("later", &body.to_string())]).await;
        assert_eq!(failed, Ok(vec!["later".to_owned()]));
        assert_eq!(locked(&fixture.queue.visibilities)["later"], 5);
        assert_eq!(fixture.store.left("u1"), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn ignores_out_of_range_sent_timestamp() {
    for sent in ["-99999999999999", "99999999999999999", "yesterday"] {
        let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]);
        let mut message = withdrawal("u1");
        message.attributes.insert("SentTimestamp".to_owned(), sent.to_owned());
        fixture.succeed(Duration::from_secs(10), vec![message]).await;
        let receipt = fixture.receipt_store.receipt().1;
        assert_eq!(
            (&receipt["outcome"], &receipt["requestedAt"]),
            (&json!("erased"), &receipt["startedAt"]),
            "{sent}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn record_without_message_id_fails_the_whole_batch() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]);
    let mut unnamed = withdrawal("u1");
    unnamed.message_id = None;
    unnamed.receipt_handle = None;
    fixture.succeed(Duration::from_secs(10), vec![unnamed.clone()]).await;
    assert_eq!(fixture.store.left("u1"), 0);
    unnamed.body = Some("nonsense".to_owned());
    // Lambda does not treat the other messages as successful if one identifier is empty, so the
    // function fails the whole batch.
    assert_eq!(
        fixture.invoke(Duration::from_secs(10), vec![unnamed]).await,
        Err(EventError::UnnamedRecord)
    );
}

#[tokio::test(start_paused = true)]
async fn event_not_from_sqs_fails() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]);
    for event in [
        json!({}),
        json!([]),
        json!({"Records": [{"body": 7}]}),
        json!({"type": "user-withdrawn", "userId": "u1"}),
    ] {
        assert_eq!(
            fixture.handle(event.clone(), u64::MAX).await,
            Err(EventError::NotFromSqs),
            "{event}"
        );
    }
    assert_eq!(fixture.store.left("u1"), 10);
}

#[tokio::test(start_paused = true)]
async fn malformed_record_is_rejected_alone() {
    let odd = |field: &str, value: Value| {
        let mut record = json!({"messageId": "odd", "receiptHandle": "odd", "body": "{}"});
        record[field] = value;
        record
    };
    let body = json!({"type": "user-withdrawn", "userId": "u1"}).to_string();
    // The function does not read the attributes that a sender gives.
    let unread = json!({"tag": {"dataType": "Binary", "binaryValue": "not base64", "stringListValues": null}});
    let good = json!({"messageId": "good", "receiptHandle": "good", "body": body, "messageAttributes": unread});
    for odd in [
        odd("body", json!(7)),
        odd("body", json!({"type": "user-withdrawn", "userId": "u1"})),
        odd("body", Value::Null),
        odd("attributes", json!({"ApproximateReceiveCount": 1})),
        odd("attributes", json!("none")),
    ] {
        let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]);
        let event = json!({"Records": [odd, good]});
        let failed =
            fixture.handle(event.clone(), u64::MAX).await.expect("an answer").batch_item_failures;
        assert_eq!(
            failed.iter().map(|item| item.item_identifier.as_str()).collect::<Vec<_>>(),
            ["odd"],
            "{event}"
        );
        assert_eq!(locked(&fixture.queue.visibilities)["odd"], 0);
        assert_eq!(fixture.store.left("u1"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn empty_event_succeeds() {
    let fixture = Fixture::new(Store::default(), &[]);
    fixture.succeed(Duration::from_secs(10), Vec::new()).await;
}

#[tokio::test(start_paused = true)]
async fn ignores_passed_deadline() {
    // What cargo lambda watch 1.9.2 sends, and this very moment.
    for deadline_epoch_ms in [600_000, 1_800_000_000_000] {
        let settings = [("AWS_LAMBDA_FUNCTION_TIMEOUT", "20")];
        let fixture = Fixture::new(Store::of(&[("u1", 100_000)]), &settings);
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let announced =
            AnnouncedDeadline { deadline_epoch_ms, now, fallback: Duration::from_secs(20) };
        let mut event = SqsEvent::default();
        event.records = vec![withdrawal("u1")];
        let start = Instant::now();
        let response = fixture.handle_until(event, announced).await.unwrap();
        assert!(response.batch_item_failures.is_empty());
        let seconds = start.elapsed().as_secs();
        assert!((18..20).contains(&seconds), "{seconds}");
        assert_eq!(fixture.queue.continuation()["hop"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn objects_newer_than_erase_before_are_kept() {
    let fixture = Fixture::new(Store::of(&[("u1", 2_500)]), &[]);
    // The store's objects are written one a second from 1970 on.
    let body =
        json!({"type": "user-withdrawn", "userId": "u1", "eraseBefore": "1970-01-01T00:20:00Z"});
    fixture.succeed(Duration::from_secs(60), vec![record("m", &body.to_string())]).await;
    assert_eq!(fixture.store.left("u1"), 1_300);
    let model = fixture.store.model.store();
    let first = model.versions_under(BUCKET, "u1/").next().map(|(key, _)| key);
    assert_eq!(first, Some("u1/000001200"));
    assert!(locked(&fixture.queue.sent).is_empty());
}
