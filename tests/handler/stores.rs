//! Stores that are slow, that list what they deleted, or that do not find what they listed.

use std::time::Duration;

use erase_user_files::ports::store::Kind;
use serde_json::Value;

use crate::faulty::{BUCKETS, BYTES, Failing, Function, REQUEST, TARGETS, UPLOADS, counts};

const OBJECTS: usize = 30;

/// What the receipt counts at each target.
fn of_targets(receipt: &Value) -> Vec<[usize; 3]> {
    receipt["targets"].as_array().expect("targets").iter().map(counts).collect()
}

#[tokio::test(start_paused = true)]
async fn slow_store_is_erased_within_max_deliveries() {
    // Only the last target needs this patience.
    for (bucket, objects) in [(BUCKETS[0], [3_000, 0, 0]), (BUCKETS[2], [0, 0, 3_000])] {
        for (milliseconds, seconds) in [(20, 60), (70, 60), (20, 300), (70, 300)] {
            let function = Function::new(objects, &[]);
            function.store.fail(bucket, Failing::Slow(Duration::from_millis(milliseconds)));
            let hops = function.follow(REQUEST, seconds).await;
            let last = hops.last().map(|hop| (&*hop.outcome, hop.left));
            assert_eq!(
                last,
                Some(("erased", [0; 3])),
                "{bucket}, {milliseconds} ms a key, {seconds} s: {hops:#?}"
            );
            let [objects, uploads, bytes] = counts(&function.receipt("erased"));
            assert!(
                objects <= 3_000 && uploads <= UPLOADS && bytes <= 3_000 * BYTES,
                "{objects}, {uploads}, {bytes}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permanently_listed_deleted_keys_end_incomplete() {
    for seconds in [20, 300] {
        for (kind, told) in [(Kind::Objects, "30 objects"), (Kind::Uploads, "2 uploads")] {
            let function = Function::new([OBJECTS; 3], &[]);
            function.store.fail(BUCKETS[0], Failing::Ghosts { kind, listings: usize::MAX });
            for delivery in [1, 2] {
                let hop = function.deliver(REQUEST, delivery, seconds).await;
                assert_eq!((&*hop.outcome, hop.is_redelivered), ("incomplete", true), "{hop:?}");
                assert!(hop.reason.contains(&format!("{} ({told})", TARGETS[0])), "{hop:?}");
                assert!(
                    !hop.reason.contains(TARGETS[1]) && !hop.reason.contains(TARGETS[2]),
                    "{hop:?}"
                );
                assert_eq!(hop.left[1..], [0, 0], "{hop:?}");
                let receipt = function.receipt(&format!("incomplete-{delivery}"));
                for [objects, uploads, bytes] in of_targets(&receipt) {
                    assert!(
                        objects <= OBJECTS && uploads <= UPLOADS && bytes <= OBJECTS * BYTES,
                        "{receipt:#}"
                    );
                }
                let [objects, uploads, bytes] = counts(&receipt);
                assert!(objects <= 3 * OBJECTS && uploads <= 3 * UPLOADS, "{receipt:#}");
                assert!(bytes <= 3 * OBJECTS * BYTES, "{receipt:#}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn briefly_listed_deleted_keys_are_counted_once() {
    for kind in [Kind::Objects, Kind::Uploads] {
        let function = Function::new([OBJECTS; 3], &[]);
        function.store.fail(BUCKETS[0], Failing::Ghosts { kind, listings: 3 });
        let hops = function.follow(REQUEST, 60).await;
        assert_eq!(
            hops.last().map(|hop| (&*hop.outcome, hop.left)),
            Some(("erased", [0; 3])),
            "{hops:#?}"
        );
        let receipt = function.receipt("erased");
        assert_eq!(of_targets(&receipt), [[OBJECTS, UPLOADS, OBJECTS * BYTES]; 3], "{kind:?}");
        assert_eq!(counts(&receipt), [3 * OBJECTS, 3 * UPLOADS, 3 * OBJECTS * BYTES], "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn listed_but_missing_keys_are_not_counted() {
    const EVERYTHING: &[Kind] = &[Kind::Objects, Kind::Uploads];
    for others in [0, OBJECTS] {
        for (kinds, end, objects, uploads) in [
            (&EVERYTHING[..1], "/00000", OBJECTS - 1, UPLOADS),
            (&EVERYTHING[..1], "", 0, UPLOADS),
            (&EVERYTHING[1..], "-0", OBJECTS, UPLOADS - 1),
            (&EVERYTHING[1..], "", OBJECTS, 0),
            (EVERYTHING, "", 0, 0),
        ] {
            let function = Function::new([OBJECTS, others, others], &[]);
            function.store.fail(BUCKETS[0], Failing::Missing { kinds, end });
            let hop = function.deliver(REQUEST, 1, 10).await;
            assert_eq!(
                (&*hop.outcome, hop.is_redelivered, hop.left),
                ("erased", false, [0; 3]),
                "{kinds:?}: {hop:?}"
            );
            let receipt = function.receipt("erased");
            let of_others = [others, if others > 0 { UPLOADS } else { 0 }, others * BYTES];
            assert_eq!(
                of_targets(&receipt),
                [[objects, uploads, objects * BYTES], of_others, of_others],
                "{kinds:?}"
            );
            assert!(receipt.get("foundNothing").is_none(), "{receipt:#}");
        }
    }
}
