//! One world: the state that all its services share, and what it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use erase_user_files::ports::store::Kind;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::fake::model::{S3, Version};
use crate::faults::{Faults, START, Setup};
use crate::invariants::{self, Checked};
use crate::queue_state::QueueState;
use crate::users::{BUCKETS, WITHDRAWN, folders, populate};
use crate::{final_checks, lambda};

/// No world takes longer; one that is wedged fails instead of running without end.
pub(crate) const LONGEST_WORLD: Duration = Duration::from_secs(48 * 3_600);

/// What is counted apart: uploads, objects and data versions, delete markers.
pub(crate) const PARTS: [Kind; 3] = [Kind::Uploads, Kind::Versions, Kind::DeleteMarkers];

/// So often a world doubles a chain: by a second delivery, or by a lost answer of SQS.
pub(crate) const MOST_DOUBLINGS: u32 = 20;

/// What a world leaves.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) broken_invariants: Vec<String>,
    pub(crate) reached: BTreeSet<&'static str>,
    pub(crate) events: Vec<String>,
}

/// The state that all simulated services share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) faults: Faults,
    /// How it was before anything was repaired.
    pub(crate) initial_faults: Faults,
    pub(crate) dice: fastrand::Rng,
    pub(crate) s3: Watched,
    /// How it was when the world began.
    pub(crate) s3_at_first: S3,
    /// What Object Lock held then: the bucket, the key, the version.
    pub(crate) locked_at_first: Vec<(&'static str, String, Version)>,
    pub(crate) refused_keys: BTreeSet<(String, String)>,
    /// Keys that make any request malformed.
    pub(crate) poison_keys: BTreeSet<(String, String)>,
    /// The receipts by name.
    pub(crate) receipts: BTreeMap<String, String>,
    pub(crate) queue_state: QueueState,
    /// Entries listed on a page at most.
    pub(crate) page_size: usize,
    pub(crate) writes: u64,
    pub(crate) has_switched: bool,
    /// It would not end, and is not played to its end.
    pub(crate) is_given_up: bool,
    /// An operator has repaired all faults, and redriven the dead-letter messages.
    pub(crate) is_repaired: bool,
    /// What was left of all requested users when their dead-letter messages were last redriven:
    /// objects, versions, markers, uploads.
    pub(crate) left_at_redrive: usize,
    pub(crate) tokens: u64,
    /// How many keys each bucket's partition takes now, and since when.
    pub(crate) partitions: BTreeMap<&'static str, (f64, Instant)>,
    /// Each second delivery and each lost answer doubles a chain: without an end to them, chains
    /// outgrow any queue.
    pub(crate) doublings_left: u32,
    /// Continuations that are or were in the queue: the erasure, its user, its hop, and whether it
    /// asks for a sweep.
    pub(crate) continued: BTreeSet<(String, String, u64, bool)>,
    /// When the invocation that each environment is at began.
    pub(crate) invocations: Vec<Option<Instant>>,
    /// When a part of a folder that is not empty now was empty last.
    last_empty: BTreeMap<(&'static str, String, Kind), Instant>,
    /// Users who were written to after the world began.
    pub(crate) rewritten: BTreeSet<&'static str>,
    /// How many requests each user's withdrawal came with.
    pub(crate) requests: BTreeMap<&'static str, u32>,
    /// Erasures that were asked for: the id and the user.
    pub(crate) asked: BTreeSet<(String, String)>,
    /// Those of them that were said to be done, or surveyed, and were.
    pub(crate) proven: BTreeSet<(String, String)>,
    pub(crate) checked: Checked,
    start: Instant,
    /// Whether anybody will read the events.
    is_traced: bool,
    report: Report,
}

/// A handle that every service holds.
pub(crate) type Shared = Arc<Mutex<World>>;

/// The world for the time of one event. When it is over, the invariants are checked.
pub(crate) struct Event<'a>(MutexGuard<'a, World>);

pub(crate) fn locked(world: &Shared) -> Event<'_> {
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let now = world.wall_clock();
    world.s3.s3.set_now(now.into());
    Event(world)
}

impl Deref for Event<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl DerefMut for Event<'_> {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.0
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        invariants::check(&mut self.0);
    }
}

/// A store that counts how often a client could change something in it.
#[derive(Debug)]
pub(crate) struct Watched {
    s3: S3,
    changes: u64,
}

impl Watched {
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }
}

impl Deref for Watched {
    type Target = S3;

    fn deref(&self) -> &S3 {
        &self.s3
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut S3 {
        self.changes += 1;
        &mut self.s3
    }
}

impl World {
    fn new(seed: u64, faults: Faults, is_traced: bool) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let setup = Setup::of_seed(seed);
        // Where nothing is ever deleted, twenty rounds see everything.
        let sizes: &[u32] = if faults.is_liar { &[3, 10] } else { &[0, 1, 3, 8, 20, 50] };
        let most = *dice.choice(sizes).unwrap_or(&3);
        let s3 = populate(&setup, most, &mut dice);
        let [refused_keys, poison_keys] = difficult_keys(&s3, &faults, &mut dice);
        let locked_at_first = locked_versions(&s3);
        let environments = dice.usize(1..=4);
        Self {
            setup,
            initial_faults: faults.clone(),
            faults,
            page_size: dice.usize(1..=25),
            dice,
            s3_at_first: s3.clone(),
            s3: Watched { s3, changes: 0 },
            locked_at_first,
            refused_keys,
            poison_keys,
            receipts: BTreeMap::new(),
            queue_state: QueueState::default(),
            writes: 0,
            has_switched: false,
            is_given_up: false,
            is_repaired: false,
            left_at_redrive: 0,
            tokens: 0,
            partitions: BTreeMap::new(),
            doublings_left: MOST_DOUBLINGS,
            continued: BTreeSet::new(),
            invocations: vec![None; environments],
            last_empty: BTreeMap::new(),
            rewritten: BTreeSet::new(),
            requests: BTreeMap::new(),
            asked: BTreeSet::new(),
            proven: BTreeSet::new(),
            checked: Checked::default(),
            start: Instant::now(),
            is_traced,
            report: Report::default(),
        }
    }

    /// Rolls the dice for a fault, and notes it as reached if it happens.
    pub(crate) fn happens(&mut self, percent: u32, what: &'static str) -> bool {
        let happens = percent > 0 && self.dice.u32(0..100) < percent;
        if happens {
            self.reach(what);
        }
        happens
    }

    pub(crate) fn reach(&mut self, what: &'static str) {
        self.report.reached.insert(what);
        self.event(format_args!("{what}"));
    }

    /// As [`World::reach`], for events that are too frequent for the trace.
    pub(crate) fn reach_silently(&mut self, what: &'static str) {
        self.report.reached.insert(what);
    }

    /// Reports an event, if a test listens.
    pub(crate) fn event(&mut self, text: fmt::Arguments<'_>) {
        if self.is_traced {
            let at = self.start.elapsed().as_millis();
            self.report.events.push(format!("{at:>9} ms  {text}"));
        }
    }

    pub(crate) fn broken(&mut self, invariant: String) {
        self.event(format_args!("BROKEN: {invariant}"));
        self.report.broken_invariants.push(invariant);
    }

    /// The wall clock of this world.
    pub(crate) fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(START) + self.start.elapsed()
    }

    /// What the function takes for the wall clock.
    pub(crate) fn clock_of_the_function(&self) -> SystemTime {
        let (now, skew) = (self.wall_clock(), self.faults.skew());
        if self.faults.clock_skew_ms < 0 { now - skew } else { now + skew }
    }

    /// How long a request takes, in milliseconds; sometimes much longer.
    pub(crate) fn latency(&mut self, usual_ms: Range<u64>) -> Duration {
        let is_slow = self.happens(self.faults.slow, "slow answer");
        Duration::from_millis(self.dice.u64(if is_slow { 1_000..6_000 } else { usual_ms }))
    }

    /// Whether an erasure, or a dry run, of this user was done.
    pub(crate) fn is_done(&self, user: &str) -> bool {
        self.proven.iter().any(|(_, proven)| proven == user)
    }

    /// Whether only the function has changed anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.writes == 0 && !self.has_switched
    }

    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether the requests want to keep what has this time.
    pub(crate) fn is_newer(&self, last_modified: OffsetDateTime) -> bool {
        self.setup.erase_before.is_some_and(|limit| last_modified >= limit)
    }

    /// Whether nothing of this part is left that is to be erased.
    fn is_empty(&self, bucket: &str, prefix: &str, part: Kind) -> bool {
        if part == Kind::Uploads {
            return self
                .s3
                .uploads_under(bucket, prefix)
                .all(|(_, upload)| self.is_newer(upload.initiated));
        }
        let mut versions = self.s3.versions_under(bucket, prefix).map(|(_, version)| version);
        versions.all(|version| version.kind() != part || self.is_newer(version.last_modified))
    }

    /// Whether anything of this user is left that is to be erased.
    pub(crate) fn has_something(&self, user: &str) -> bool {
        !folders(user).iter().all(|(bucket, prefix)| {
            PARTS.into_iter().all(|part| self.is_empty(bucket, prefix, part))
        })
    }

    /// Whether this user had something to be erased when the world began.
    pub(crate) fn had_something_at_first(&self, user: &str) -> bool {
        let has_any = |stored_counts: &crate::receipt_checks::StoredCounts| {
            stored_counts.values().any(|count| *count > 0)
        };
        folders(user)
            .iter()
            .any(|(bucket, prefix)| has_any(&self.stored_counts(&self.s3_at_first, bucket, prefix)))
    }

    /// How much is left of all who asked, whether it is to be erased or not.
    pub(crate) fn left(&self) -> usize {
        let left = |(bucket, prefix): &(&'static str, String)| {
            self.s3.versions_under(bucket, prefix).count()
                + self.s3.uploads_under(bucket, prefix).count()
        };
        WITHDRAWN.iter().flat_map(|user| folders(user)).map(left).sum()
    }

    /// To be called before anything is written: from now on the folder may not be empty.
    pub(crate) fn note_if_empty(&mut self, bucket: &'static str, prefix: &str) {
        for part in PARTS {
            if self.is_empty(bucket, prefix, part) {
                self.last_empty.insert((bucket, prefix.to_owned(), part), Instant::now());
            }
        }
    }

    /// Whether each part of each of the user's folders was empty at some moment since then. A
    /// listing is no moment, and there are several: this is all that listings can prove.
    pub(crate) fn was_empty_since(&self, user: &str, since: Instant) -> bool {
        folders(user).iter().all(|(bucket, prefix)| {
            PARTS.into_iter().all(|part| {
                let was_empty = self
                    .last_empty
                    .get(&(*bucket, prefix.clone(), part))
                    .is_some_and(|at| *at >= since);
                was_empty || self.is_empty(bucket, prefix, part)
            })
        })
    }
}

/// Keys that are always denied, and keys that make any request malformed.
fn difficult_keys(
    s3: &S3,
    faults: &Faults,
    dice: &mut fastrand::Rng,
) -> [BTreeSet<(String, String)>; 2] {
    let [mut refused, mut poison] = [BTreeSet::new(), BTreeSet::new()];
    if faults.keys_refused == 0 && faults.poison_keys == 0 {
        return [refused, poison];
    }
    for bucket in BUCKETS {
        let things = s3.inventory(bucket, "");
        let versions = things.data.iter().chain(&things.markers).map(|(key, _)| key);
        let keys: BTreeSet<&String> =
            versions.chain(things.uploads.iter().map(|(key, _)| key)).collect();
        for key in keys {
            if dice.u32(0..100) < faults.keys_refused {
                refused.insert((bucket.to_owned(), key.clone()));
            } else if dice.u32(0..1_000) < faults.poison_keys {
                poison.insert((bucket.to_owned(), key.clone()));
            }
        }
    }
    [refused, poison]
}

fn locked_versions(s3: &S3) -> Vec<(&'static str, String, Version)> {
    let versions =
        |bucket| s3.versions_under(bucket, "").map(move |(key, version)| (bucket, key, version));
    let locked =
        BUCKETS.into_iter().flat_map(versions).filter(|(.., version)| version.lock.is_some());
    locked.map(|(bucket, key, version)| (bucket, key.to_owned(), version.clone())).collect()
}

/// Runs one world to its end. `is_traced`: its report has the events.
pub(crate) fn run(seed: u64, faults: Faults, is_traced: bool) -> Report {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .without_time()
        .with_writer(logs.clone());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    runtime.expect("a runtime can be built").block_on(async {
        let world = Arc::new(Mutex::new(World::new(seed, faults, is_traced)));
        {
            let mut world = locked(&world);
            let (setup, faults) = (world.setup.clone(), world.faults.clone());
            world.event(format_args!("{setup:?}"));
            world.event(format_args!("{faults:?}"));
        }
        lambda::live(&world, &logs).await;
        let mut world = locked(&world);
        final_checks::check_the_end(&mut world);
        std::mem::take(&mut world.report)
    })
}

/// What the function logged, until it is taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    pub(crate) fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8(bytes).expect("logs are UTF-8")
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
