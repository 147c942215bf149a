//! A deterministic simulation of the whole function over a world that misbehaves.
//!
//! Real code: the handler and all below it down to the two traits. Simulated: S3, SQS, Lambda's event source mapping,
//! time. A seed decides everything, so `make sim SEED=42` shows the same world again, event by event.

mod cloud;
mod store;
mod world;

use std::collections::BTreeMap;
use std::num::NonZero;

use world::{Report, Weather, run};

/// Seeds in every `make test`.
const SEEDS: u64 = 2_000;

/// Checks one world's invariants; the message is all that is needed to replay it.
fn check(seed: u64) -> Report {
    let report = run(seed, Weather::of_seed(seed));
    let faults = report.broken_invariants.join("\n  ");
    assert!(faults.is_empty(), "seed {seed} broke:\n  {faults}\nreplay it with: make sim SEED={seed}");
    report
}

#[test]
fn no_world_breaks_an_invariant_and_the_worlds_reach_every_outcome() {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = |first: usize| (0..SEEDS).skip(first).step_by(threads).flat_map(|seed| check(seed).reached).collect();
    let shares: Vec<Vec<&str>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a world broke, see above")).collect()
    });
    let mut reached: BTreeMap<&str, u32> = BTreeMap::new();
    for event in shares.into_iter().flatten() {
        *reached.entry(event).or_default() += 1;
    }
    for (event, worlds) in &reached {
        println!("{worlds:>6} of {SEEDS} worlds: {event}");
    }
    let missed: Vec<&str> = world::EVERYTHING.into_iter().filter(|event| !reached.contains_key(event)).collect();
    assert!(missed.is_empty(), "no world of {SEEDS} reached {missed:?}");
}

#[test]
fn a_calm_world_erases_everybody_without_a_kill_or_a_dead_letter() {
    for seed in 0..200 {
        let report = run(seed, Weather::calm());
        assert!(report.broken_invariants.is_empty(), "seed {seed}: {:?}", report.broken_invariants);
        for event in ["killed", "dead letter", "outcome failed", "outcome incomplete"] {
            assert!(!report.reached.contains(event), "seed {seed} reached {event:?} in a calm world");
        }
        assert!(report.reached.contains("outcome erased"), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in [1, 7, 42, 99] {
        let (first, second) = (check(seed).events, check(seed).events);
        assert!(first.len() > 10);
        assert_eq!(first, second, "seed {seed}");
    }
}

/// `make sim SEED=42`
#[test]
#[expect(clippy::disallowed_methods, reason = "the seed to replay comes from the command line")]
fn replay() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42);
    let report = run(seed, Weather::of_seed(seed));
    for event in &report.events {
        println!("{event}");
    }
    println!("reached: {:?}", report.reached);
    check(seed);
}
