//! One target or one key that fails, and all others, which are erased all the same.

use std::time::Duration;

use erase_user_files::ports::store::StoreError;
use serde_json::Value;
use tokio::time::sleep;

use crate::faulty::{
    BUCKETS, BYTES, Failing, Function, Hop, Operation, REQUEST, TARGETS, UPLOADS, counts,
};

/// Each of the three buckets fails in each of these ways, with invocations of each length.
///
/// One invocation erases the two other targets, fails with the target and the code, and gives the
/// message back. When the bucket is healthy again, the next delivery erases the rest. Names every
/// case that ends in another way.
async fn assert_isolated(ways: &[(Failing, &str)]) {
    let mut wrong = Vec::new();
    for seconds in [10, 20, 60, 300] {
        for (failing, code) in ways {
            for (index, bucket) in BUCKETS.into_iter().enumerate() {
                let function = Function::new([30; 3], &[]);
                function.store.fail(bucket, *failing);
                let hop = function.deliver(REQUEST, 1, seconds).await;
                let are_others_empty =
                    hop.left.iter().enumerate().all(|(other, left)| other == index || *left == 0);
                let names_target = TARGETS
                    .iter()
                    .enumerate()
                    .all(|(at, target)| hop.reason.contains(target) == (at == index));
                let is_given_back =
                    hop.outcome == "failed" && hop.is_redelivered && hop.sent.is_none();
                if !(are_others_empty && is_given_back && names_target && hop.reason.contains(code))
                {
                    wrong.push(format!("{failing:?} in {bucket}, {seconds} s: {hop:?}"));
                }
                function.store.heal();
                sleep(Duration::from_secs(5)).await;
                let hop = function.deliver(REQUEST, 2, seconds).await;
                if hop.outcome != "erased" || hop.is_redelivered || hop.left != [0; 3] {
                    wrong.push(format!("after {failing:?} in {bucket}, {seconds} s: {hop:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn failing_bucket_does_not_block_other_targets() {
    let ways = [
        (Failing::Requests(StoreError::Throttled, "SlowDown"), "SlowDown"),
        (Failing::Requests(StoreError::Unavailable, "InternalError"), "InternalError"),
        (Failing::Requests(StoreError::Permanent, "AccessDenied"), "AccessDenied"),
        (Failing::Requests(StoreError::Permanent, "NoSuchBucket"), "NoSuchBucket"),
        (Failing::Keys { code: "InternalError", end: "" }, "InternalError"),
        (Failing::Keys { code: "SlowDown", end: "" }, "SlowDown"),
    ];
    assert_isolated(&ways).await;
}

#[tokio::test(start_paused = true)]
async fn hanging_bucket_does_not_block_other_targets() {
    const ALL: &[Operation] =
        &[Operation::Versioning, Operation::Listing, Operation::Deleting, Operation::Aborting];
    let ways = [ALL, &[Operation::Listing], &[Operation::Deleting]];
    assert_isolated(&ways.map(|hangs| (Failing::Hangs(hangs), "NoAnswerInTime"))).await;
}

#[tokio::test(start_paused = true)]
async fn failing_key_does_not_block_other_keys() {
    let mut wrong = Vec::new();
    for seconds in [10, 60] {
        for code in ["InternalError", "SlowDown"] {
            let function = Function::new([1_100; 3], &[]);
            function.store.fail(BUCKETS[0], Failing::Keys { code, end: "/00000" });
            let hop = function.deliver(REQUEST, 1, seconds).await;
            let names_one =
                hop.reason.split(|c: char| !c.is_ascii_digit()).any(|number| number == "1");
            let is_named =
                hop.reason.contains(TARGETS[0]) && hop.reason.contains(code) && names_one;
            if !(hop.left == [1, 0, 0] && hop.outcome == "failed" && hop.is_redelivered && is_named)
            {
                wrong.push(format!("{code}, {seconds} s: {hop:?}"));
            }
            function.store.heal();
            sleep(Duration::from_secs(5)).await;
            let hop = function.deliver(REQUEST, 2, seconds).await;
            assert_eq!(
                (&*hop.outcome, hop.left),
                ("erased", [0; 3]),
                "{code}, {seconds} s: {hop:?}"
            );
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// At this rate, 10 s are enough for less than 1,000 objects.
const SLOWLY: [(&str, &str); 1] = [("MAX_DELETES_PER_SECOND", "100")];

const EVERY_REQUEST: Failing = Failing::Requests(StoreError::Unavailable, "InternalError");

/// The first target fails in the first hop, and the second one has too many objects for it; then
/// all hops are healthy. Returns the first hop and those after it, which end with the receipt.
async fn left_in_the_first_hop(
    function: &Function,
    failing: Failing,
    objects: [usize; 3],
) -> (Hop, Vec<Hop>) {
    function.store.fail(BUCKETS[0], failing);
    let first = function.deliver(REQUEST, 1, 10).await;
    assert_eq!((&*first.outcome, first.is_redelivered), ("continued", false), "{first:?}");
    assert!(first.left[0] >= objects[0] && first.left[1] > 0, "{first:?}");
    function.store.heal();
    let next = first.sent.as_ref().expect("a continuation").body.clone();
    let hops = function.follow(&next, 10).await;
    assert_eq!(
        hops.last().map(|hop| (&*hop.outcome, hop.left)),
        Some(("erased", [0; 3])),
        "{hops:#?}"
    );
    (first, hops)
}

#[tokio::test(start_paused = true)]
async fn failed_target_is_counted_by_later_hops() {
    for (failing, objects) in [
        (EVERY_REQUEST, [300, 1_000, 30]),
        (Failing::Keys { code: "InternalError", end: "" }, [300, 1_000, 30]),
        // Several later hops delete the first target.
        (EVERY_REQUEST, [3_600, 1_500, 30]),
    ] {
        let function = Function::new(objects, &SLOWLY);
        left_in_the_first_hop(&function, failing, objects).await;
        let receipt = function.receipt("erased");
        let counted: Vec<_> =
            receipt["targets"].as_array().expect("targets").iter().map(counts).collect();
        assert_eq!(counted, objects.map(|objects| [objects, UPLOADS, objects * BYTES]));
        let objects = objects.iter().sum::<usize>();
        assert_eq!(counts(&receipt), [objects, 3 * UPLOADS, objects * BYTES]);
    }
}

#[tokio::test(start_paused = true)]
async fn hops_with_progress_are_not_idle() {
    let objects = [3_600, 1_500, 30];
    let function = Function::new(objects, &SLOWLY);
    let (first, hops) = left_in_the_first_hop(&function, EVERY_REQUEST, objects).await;
    let (mut left, mut at_first_target) = (first.left, 0);
    for hop in &hops {
        assert!(!hop.reason.contains("deleted nothing"), "{hop:?}");
        at_first_target += usize::from(hop.left[0] < left[0]);
        if let Some(next) = &hop.sent
            && hop.left != left
        {
            let next: Value = serde_json::from_str(&next.body).expect("a continuation is JSON");
            assert_eq!(next["idleHops"], 0, "{hop:?}");
        }
        left = hop.left;
    }
    assert!(
        at_first_target > 3,
        "the first target was to take more hops than MAX_IDLE_HOPS: {hops:#?}"
    );
}
