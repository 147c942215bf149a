//! A deterministic simulation of the whole function over a world that misbehaves.
//!
//! Real code: the handler and all below it down to the traits. Simulated: S3, SQS, the place for
//! receipts, Lambda's event source mapping, time. A seed decides everything, so `make sim SEED=42`
//! shows the same world again, event by event.

mod checks;
#[path = "../fake/mod.rs"]
mod fake;
mod faults;
mod final_checks;
mod invariants;
mod lambda;
mod late_writes;
mod model;
mod queue_state;
mod receipt_checks;
mod receipt_store;
mod releases;
mod requests;
mod sqs;
mod store;
mod users;
mod world;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use faults::Faults;
use world::{Report, run};

/// Seeds in every `make test`.
const SEEDS: u64 = 3_000;

/// A long run reports its progress after so many worlds.
const PROGRESS: u64 = 50_000;

/// What the seeds together must have shown.
const EVERYTHING: [&str; 98] = [
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
    "dead letters redriven",
    "done after a redrive",
    "done by an earlier delivery",
    "nothing found",
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
    "everything hidden in the middle",
    // What S3 does.
    "list failed",
    "list hung",
    "list throttled",
    "question for versioning hung",
    "slow answer",
    "short page",
    "empty page",
    "page cut behind a marker",
    "listing split into lanes",
    "token refused",
    "key outside the prefix listed",
    "delete failed",
    "delete hung",
    "delete's answer lost",
    "throttled",
    "key throttled",
    "partition refuses a request",
    "partition refuses keys",
    "key refused",
    "key not understood",
    "deletion only said",
    "retention not told",
    "outage of a bucket",
    "retention secret",
    "question for a lock hung",
    // What the receipt store does.
    "receipt failed",
    "receipt hung",
    "receipt's answer lost",
    "receipt stood before",
    "receipt given up",
    "receipt of another user",
    // What SQS and Lambda do.
    "killed",
    "killed at the timeout",
    "killed at an await",
    "message twice",
    "messages in another order",
    "several messages at once",
    "two at once",
    "three at once",
    "thawed after more than an hour",
    "clock ahead",
    "clock behind",
    "deadline not believed",
    "deployed in the middle",
    "continuation of the first release",
    "continuation of a later release",
    "format of a later release",
    "targets turned",
    "continuation delayed",
    "continuation of several lanes",
    "continuation lost",
    "continuation's answer damaged",
    "continuation deduplicated",
    "continuation's answer lost",
    "visibility lost",
    "visibility's answer lost",
];

/// The most memory that a world may take on top of what it begins with: its store, and what the
/// function holds of it.
const MOST_BYTES: u64 = 8 * 1_048_576;

/// One world, and which of its invariants are broken: all that is needed to replay it.
fn play(seed: u64, is_traced: bool) -> (Report, Option<String>) {
    let mut report = Report::default();
    let counted =
        allocation_counter::measure(|| report = run(seed, Faults::of_seed(seed), is_traced));
    if counted.bytes_max > MOST_BYTES && !is_traced {
        report
            .broken_invariants
            .push(format!("the world takes {} bytes of memory", counted.bytes_max));
    }
    let broken = &report.broken_invariants;
    let first = broken.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n    ");
    let text = format!("make sim SEED={seed} breaks {}:\n    {first}", broken.len());
    let text = (!broken.is_empty()).then_some(text);
    (report, text)
}

/// What many worlds have shown.
#[derive(Default)]
struct Summary {
    /// How many worlds reached what.
    reached: BTreeMap<&'static str, u64>,
    /// The first ten that broke an invariant, and how many did.
    broken: Vec<String>,
    broken_worlds: u64,
}

impl Summary {
    /// Plays these seeds, on all cores, and reports how many are played.
    fn of(seeds: &Range<u64>, tell: impl Fn(u64) + Sync) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let played = AtomicU64::new(0);
        let share = |first: usize| {
            let mut summary = Self::default();
            for seed in seeds.clone().skip(first).step_by(threads) {
                let (report, broken) = play(seed, false);
                report
                    .reached
                    .into_iter()
                    .for_each(|event| *summary.reached.entry(event).or_default() += 1);
                summary.broken_worlds += u64::from(broken.is_some());
                summary.broken.extend(broken);
                summary.broken.truncate(10);
                tell(played.fetch_add(1, Ordering::Relaxed) + 1);
            }
            summary
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..threads).map(|first| scope.spawn(move || share(first))).collect();
            let summaries = workers
                .into_iter()
                .map(|worker| worker.join().expect("a world panicked, see above"));
            summaries.fold(Self::default(), Self::with)
        })
    }

    fn with(mut self, other: Self) -> Self {
        for (event, worlds) in other.reached {
            *self.reached.entry(event).or_default() += worlds;
        }
        self.broken.extend(other.broken);
        self.broken_worlds += other.broken_worlds;
        self
    }

    /// The table of outcomes and faults, each reached by how many worlds.
    fn table(&self, worlds: u64) -> String {
        let lines = self
            .reached
            .iter()
            .map(|(event, reached)| format!("{reached:>8} of {worlds} worlds: {event}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn assert_whole(&self) {
        assert!(
            self.broken.is_empty(),
            "{} worlds broke, such as\n{}",
            self.broken_worlds,
            self.broken.join("\n")
        );
    }

    fn assert_reaches_everything(&self) {
        let missed: Vec<&str> =
            EVERYTHING.into_iter().filter(|event| !self.reached.contains_key(event)).collect();
        assert!(missed.is_empty(), "no world reached {missed:?}");
    }
}

#[test]
fn simulated_worlds_keep_invariants_and_reach_every_outcome() {
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let summary = Summary::of(&(0..seeds), |_| ());
    println!("{}", summary.table(seeds));
    summary.assert_whole();
    if seeds >= SEEDS {
        summary.assert_reaches_everything();
    }
}

/// Seeds that once showed a fault; see the file.
#[test]
fn recorded_seeds_keep_invariants() {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let seeds: Vec<u64> = lines
        .map(|line| {
            line.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a seed")
        })
        .collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        let broken = play(seed, false).1;
        assert!(broken.is_none(), "{}", broken.unwrap_or_default());
    }
}

#[expect(clippy::disallowed_methods, reason = "what to play comes from the command line")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `make sim SEEDS=1000000`, from `FROM` on, or from a fresh place that is printed.
#[test]
#[ignore = "as many worlds as somebody asks for"]
fn many_worlds() {
    let count = number("SEEDS").expect("SEEDS is a number");
    let from = number("FROM").unwrap_or_else(|| fastrand::u64(0..u64::MAX / 2));
    println!("playing {count} worlds from seed {from} on");
    let start = Instant::now();
    let summary = Summary::of(&(from..from + count), |played| {
        if played.is_multiple_of(PROGRESS) {
            println!("{played} worlds played");
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", summary.table(count));
    println!("{:.0} worlds a second, {seconds:.0} s in all", count as f64 / seconds);
    summary.assert_whole();
    if count >= SEEDS {
        summary.assert_reaches_everything();
    }
}

#[test]
fn world_without_faults_erases_every_unlocked_user() {
    for seed in 0..200 {
        let report = run(seed, Faults::calm(), false);
        assert!(report.broken_invariants.is_empty(), "seed {seed}: {:?}", report.broken_invariants);
        let has = |what: &str| report.reached.contains(what);
        assert!(!has("killed") && !has("outcome rejected"), "seed {seed}");
        let excuses =
            ["outcome incomplete", "receipt of another user", "format of a later release"];
        assert!(!has("dead letter") || excuses.iter().any(|it| has(it)), "seed {seed}");
    }
}

#[test]
fn same_seed_gives_same_events() {
    for seed in [1, 7, 42, 99] {
        let (first, second) = (play(seed, true).0.events, play(seed, true).0.events);
        assert!(first.len() > 10);
        assert_eq!(first, second, "seed {seed}");
    }
}

/// `make sim SEED=42`
#[test]
fn replay() {
    let (report, broken) = play(number("SEED").unwrap_or(42), true);
    for event in &report.events {
        println!("{event}");
    }
    println!("reached: {:?}", report.reached);
    assert!(broken.is_none(), "{}", broken.unwrap_or_default());
}
