//! A deterministic simulation of the whole function over a world that misbehaves.
//!
//! Real code: the handler and all below it down to the traits. Simulated: S3, SQS, the place for receipts, Lambda's
//! event source mapping, time. A seed decides everything, so `make sim SEED=42` shows the same world again, event by
//! event.

mod archive;
mod checks;
mod claims;
mod ending;
#[path = "../fake/mod.rs"]
mod fake;
mod lambda;
mod model;
mod people;
mod sqs;
mod store;
mod weather;
mod world;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

use weather::Weather;
use world::{Report, run};

/// Seeds in every `make test`.
const SEEDS: u64 = 2_000;

/// What the seeds together must have shown.
const EVERYTHING: [&str; 68] = [
    // What becomes of messages.
    "outcome erased",
    "outcome swept",
    "outcome dry-run",
    "outcome continued",
    "outcome incomplete",
    "outcome failed",
    "outcome rejected",
    "hop without a deletion continued",
    "too many idle hops",
    "too many rounds",
    "nothing more can be deleted",
    "fuse blown",
    "sweep arranged",
    "sweep passed on",
    "late write swept",
    "dry run met an erasure",
    "erasure met a dry run",
    "dead letter",
    // What becomes of files.
    "object deleted",
    "object only hidden",
    "version deleted",
    "version locked",
    "version retained",
    "marker deleted",
    "marker kept",
    "upload aborted",
    "upload outlived its abort",
    "newer kept",
    // What users do meanwhile.
    "late write",
    "late object",
    "late overwrite",
    "late delete",
    "late version",
    "late marker",
    "late upload",
    "upload completed in the middle",
    "versioning switched on",
    // What S3 does.
    "list failed",
    "list hung",
    "short page",
    "empty page",
    "page cut behind a marker",
    "token refused",
    "key outside the prefix listed",
    "delete failed",
    "delete's answer lost",
    "throttled",
    "key throttled",
    "key refused",
    "key not understood",
    "deletion only said",
    "retention not told",
    "retention secret",
    // What the place for receipts does.
    "receipt failed",
    "receipt hung",
    "receipt's answer lost",
    "receipt stood before",
    "receipt given up",
    "receipt of another user",
    // What SQS and Lambda do.
    "killed",
    "killed at the timeout",
    "message twice",
    "two at once",
    "continuation delayed",
    "continuation lost",
    "continuation's answer lost",
    "visibility lost",
    "visibility's answer lost",
];

/// One world, and which of its invariants are broken: all that is needed to replay it.
fn play(seed: u64) -> (Report, Option<String>) {
    let report = run(seed, Weather::of_seed(seed));
    let broken = &report.broken_invariants;
    let first = broken.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n    ");
    let text = format!("make sim SEED={seed} breaks {}:\n    {first}", broken.len());
    let text = (!broken.is_empty()).then_some(text);
    (report, text)
}

#[test]
fn no_world_breaks_an_invariant_and_the_worlds_reach_every_outcome() {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let play = |seed| {
        let (report, broken) = play(seed);
        (report.reached, broken)
    };
    let share = |first| (0..SEEDS).skip(first).step_by(threads).map(play).collect::<Vec<_>>();
    let worlds: Vec<(BTreeSet<&str>, Option<String>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a world panicked, see above")).collect()
    });
    let mut reached: BTreeMap<&str, u32> = BTreeMap::new();
    for event in worlds.iter().flat_map(|(reached, _)| reached) {
        *reached.entry(event).or_default() += 1;
    }
    for (event, worlds) in &reached {
        println!("{worlds:>6} of {SEEDS} worlds: {event}");
    }
    let broken: Vec<&str> = worlds.iter().filter_map(|(_, broken)| broken.as_deref()).collect();
    broken.iter().for_each(|world| println!("{world}"));
    assert!(broken.is_empty(), "{} worlds broke, such as\n{}", broken.len(), broken[..broken.len().min(10)].join("\n"));
    let missed: Vec<&str> = EVERYTHING.into_iter().filter(|event| !reached.contains_key(event)).collect();
    assert!(missed.is_empty(), "no world of {SEEDS} reached {missed:?}");
}

#[test]
fn a_calm_world_erases_everybody_whom_the_locks_let_go() {
    for seed in 0..200 {
        let report = run(seed, Weather::calm());
        assert!(report.broken_invariants.is_empty(), "seed {seed}: {:?}", report.broken_invariants);
        let has = |what: &str| report.reached.contains(what);
        assert!(!has("killed") && !has("outcome rejected"), "seed {seed}");
        let is_excused = has("outcome incomplete") || has("receipt of another user");
        assert!(!has("dead letter") || is_excused, "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in [1, 7, 42, 99] {
        let (first, second) = (play(seed).0.events, play(seed).0.events);
        assert!(first.len() > 10);
        assert_eq!(first, second, "seed {seed}");
    }
}

/// `make sim SEED=42`
#[test]
#[expect(clippy::disallowed_methods, reason = "the seed to replay comes from the command line")]
fn replay() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42);
    let (report, broken) = play(seed);
    for event in &report.events {
        println!("{event}");
    }
    println!("reached: {:?}", report.reached);
    assert!(broken.is_none(), "{}", broken.unwrap_or_default());
}
