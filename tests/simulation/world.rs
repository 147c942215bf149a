//! One world: who is in it, what goes wrong, what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::cloud;

pub(crate) const BUCKETS: [&str; 2] = ["photos", "exports"];
pub(crate) const TARGETS: &str = "s3://photos/{user_id}/,s3://exports/users/{user_id}/";

/// Users that are withdrawn, and neighbours that are not: chosen to be mixed up.
pub(crate) const WITHDRAWN: [&str; 3] = ["u1-zebra", "u1-zebra.bak", "U1-zebra"];
pub(crate) const NEIGHBOURS: [&str; 4] = ["u1-zebra0", "u1", "u1-zebr", "u1-zebra-old"];

/// No world takes longer; one that is wedged fails instead of running for ever.
pub(crate) const LONGEST_WORLD: Duration = Duration::from_secs(6 * 3_600);

/// What the seeds together must have shown.
pub(crate) const EVERYTHING: [&str; 28] = [
    "outcome erased",
    "outcome continued",
    "outcome incomplete",
    "outcome failed",
    "outcome rejected",
    "hop without a deletion continued",
    "dead letter",
    "killed",
    "killed at the timeout",
    "message twice",
    "two at once",
    "late write",
    "list failed",
    "list hung",
    "short page",
    "empty page",
    "token refused",
    "key outside the prefix listed",
    "delete failed",
    "delete's answer lost",
    "throttled",
    "key throttled",
    "key refused",
    "key not understood",
    "deletion only said",
    "too many rounds",
    "continuation lost",
    "continuation's answer lost",
];

/// How often what goes wrong, in percent.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    pub(crate) list_fails: u32,
    pub(crate) list_hangs: u32,
    pub(crate) short_pages: u32,
    pub(crate) tokens_refused: u32,
    pub(crate) foreign_keys: u32,
    pub(crate) delete_fails: u32,
    pub(crate) delete_answer_lost: u32,
    pub(crate) throttled: u32,
    pub(crate) keys_throttled: u32,
    pub(crate) keys_refused: u32,
    /// In a thousand.
    pub(crate) poison_keys: u32,
    pub(crate) queue_fails: u32,
    pub(crate) queue_answer_lost: u32,
    pub(crate) kills: u32,
    pub(crate) duplicates: u32,
    pub(crate) late_writes: u32,
    pub(crate) garbage_messages: u32,
    /// The store says "deleted" and keeps.
    pub(crate) is_liar: bool,
}

impl Weather {
    pub(crate) fn calm() -> Self {
        Self {
            list_fails: 0,
            list_hangs: 0,
            short_pages: 0,
            tokens_refused: 0,
            foreign_keys: 0,
            delete_fails: 0,
            delete_answer_lost: 0,
            throttled: 0,
            keys_throttled: 0,
            keys_refused: 0,
            poison_keys: 0,
            queue_fails: 0,
            queue_answer_lost: 0,
            kills: 0,
            duplicates: 0,
            late_writes: 0,
            garbage_messages: 0,
            is_liar: false,
        }
    }

    /// Every fault is absent from most worlds, so that each is also seen alone.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x5eed);
        if seed.is_multiple_of(10) {
            return Self::calm();
        }
        // A store that says "deleted" and keeps is found out after 20 rounds: enough to wait for without other faults.
        if seed % 50 == 1 {
            return Self { is_liar: true, ..Self::calm() };
        }
        let mut sometimes = |most: u32| if dice.u32(0..100) < 35 { dice.u32(1..=most) } else { 0 };
        Self {
            list_fails: sometimes(40),
            list_hangs: sometimes(10),
            short_pages: sometimes(50),
            tokens_refused: sometimes(50),
            foreign_keys: sometimes(100) / 98,
            delete_fails: sometimes(40),
            delete_answer_lost: sometimes(40),
            throttled: sometimes(60),
            keys_throttled: sometimes(30),
            keys_refused: sometimes(20),
            poison_keys: sometimes(20),
            queue_fails: sometimes(60),
            queue_answer_lost: sometimes(60),
            kills: sometimes(50),
            duplicates: sometimes(50),
            late_writes: sometimes(20),
            garbage_messages: sometimes(100),
            is_liar: false,
        }
    }
}

/// What a world leaves.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) broken_invariants: Vec<String>,
    pub(crate) reached: BTreeSet<&'static str>,
    pub(crate) events: Vec<String>,
}

/// The state that all simulated services share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) weather: Weather,
    pub(crate) dice: fastrand::Rng,
    /// (bucket, key) and a number that changes with each write.
    pub(crate) objects: BTreeMap<(String, String), u64>,
    pub(crate) refused_keys: BTreeSet<(String, String)>,
    /// Keys that make any request malformed.
    pub(crate) poison_keys: BTreeSet<(String, String)>,
    foreign: BTreeMap<(String, String), u64>,
    pub(crate) queue: Vec<cloud::Message>,
    pub(crate) dead_letters: Vec<cloud::Message>,
    /// Keys listed on a page at most, and in total so far.
    pub(crate) page_keys: usize,
    pub(crate) writes: u64,
    pub(crate) tokens: u64,
    pub(crate) ids: u64,
    /// Each second delivery and each lost answer doubles a chain: without an end to them, chains outgrow any queue.
    pub(crate) doublings_left: u32,
    /// Continuations that are or were in the queue: the erasure and its hop.
    pub(crate) continued: BTreeSet<(String, u64)>,
    pub(crate) running: u32,
    /// When a folder that is not empty now was empty last.
    last_empty: BTreeMap<(String, String), Instant>,
    /// Users who were written to after the request.
    pub(crate) rewritten: BTreeSet<String>,
    pub(crate) erased: BTreeSet<String>,
    start: Instant,
    report: Report,
}

/// A handle that every service holds.
pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn locked(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut objects = BTreeMap::new();
        let mut refused_keys = BTreeSet::new();
        let mut poison_keys = BTreeSet::new();
        let mut foreign = BTreeMap::new();
        let most = *dice.choice(&[0, 3, 40, 400]).unwrap_or(&40);
        for user in WITHDRAWN.into_iter().chain(NEIGHBOURS) {
            for prefix in prefixes(user) {
                for number in 0..dice.u32(0..=most) {
                    let key = (prefix.0.clone(), format!("{}secret-{number:04}", prefix.1));
                    if WITHDRAWN.contains(&user) {
                        if dice.u32(0..100) < weather.keys_refused {
                            refused_keys.insert(key.clone());
                        } else if dice.u32(0..1_000) < weather.poison_keys {
                            poison_keys.insert(key.clone());
                        }
                        objects.insert(key, 0);
                    } else {
                        foreign.insert(key, 0);
                    }
                }
            }
        }
        // Keys that are no folder but look like one.
        foreign.insert(("photos".to_owned(), "u1-zebra".to_owned()), 0);
        foreign.insert(("exports".to_owned(), "users/u1-zebra".to_owned()), 0);
        objects.extend(foreign.clone());
        let page_keys = dice.usize(1..=25);
        let report = Report { broken_invariants: Vec::new(), reached: BTreeSet::new(), events: Vec::new() };
        Self {
            weather,
            dice,
            objects,
            refused_keys,
            poison_keys,
            foreign,
            queue: Vec::new(),
            dead_letters: Vec::new(),
            page_keys,
            writes: 0,
            tokens: 0,
            ids: 0,
            doublings_left: 20,
            continued: BTreeSet::new(),
            running: 0,
            last_empty: BTreeMap::new(),
            rewritten: BTreeSet::new(),
            erased: BTreeSet::new(),
            start: Instant::now(),
            report,
        }
    }

    /// Rolls the dice for a fault, and notes it as reached if it happens.
    pub(crate) fn happens(&mut self, percent: u32, what: &'static str) -> bool {
        let happens = self.dice.u32(0..100) < percent;
        if happens {
            self.reach(what);
        }
        happens
    }

    pub(crate) fn reach(&mut self, what: &'static str) {
        self.report.reached.insert(what);
        self.event(what);
    }

    pub(crate) fn event(&mut self, text: &str) {
        let at = self.start.elapsed().as_millis();
        self.report.events.push(format!("{at:>9} ms  {text}"));
    }

    pub(crate) fn broken(&mut self, invariant: String) {
        self.event(&format!("BROKEN: {invariant}"));
        self.report.broken_invariants.push(invariant);
    }

    /// The wall clock of this world.
    pub(crate) fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.start.elapsed()
    }

    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_empty(&self, (bucket, prefix): &(String, String)) -> bool {
        let from = (bucket.clone(), prefix.clone());
        !self.objects.range(from..).next().is_some_and(|((b, key), _)| b == bucket && key.starts_with(prefix))
    }

    pub(crate) fn has_objects(&self, user: &str) -> bool {
        !prefixes(user).iter().all(|folder| self.is_empty(folder))
    }

    /// To be called before a write: from now on the folder is not empty.
    pub(crate) fn note_if_empty(&mut self, bucket: &str, prefix: &str) {
        let folder = (bucket.to_owned(), prefix.to_owned());
        if self.is_empty(&folder) {
            self.last_empty.insert(folder, Instant::now());
        }
    }

    /// Whether each of the user's folders was empty at some moment since then.
    pub(crate) fn was_empty_since(&self, user: &str, since: Instant) -> bool {
        let was_empty = |folder| self.last_empty.get(folder).is_some_and(|at| *at >= since);
        prefixes(user).iter().all(|folder| self.is_empty(folder) || was_empty(folder))
    }

    pub(crate) fn is_foreign(&self, bucket: &str, key: &str) -> bool {
        self.foreign.contains_key(&(bucket.to_owned(), key.to_owned()))
    }

    fn check_the_end(&mut self, asked: &BTreeSet<String>) {
        for (key, written) in &self.foreign.clone() {
            if self.objects.get(key) != Some(written) {
                self.broken(format!("a neighbour's object is gone or changed: {key:?}"));
            }
        }
        for user in asked {
            let tells = |message: &cloud::Message| message.is_about(user);
            let is_told_of = self.queue.iter().chain(&self.dead_letters).any(tells);
            let is_excused = is_told_of || (self.erased.contains(user) && self.rewritten.contains(user));
            if self.has_objects(user) && !is_excused {
                self.broken(format!("{user} has objects left, and no message tells of it"));
            }
            if !self.erased.contains(user) && !is_told_of {
                self.broken(format!("{user} was never erased, and no message tells of it"));
            }
        }
        if !self.queue.is_empty() {
            self.broken(format!("the world is wedged: messages are still on their way after {LONGEST_WORLD:?}"));
        }
    }
}

/// The user's folders under [`TARGETS`], written down a second time on purpose.
pub(crate) fn prefixes(user: &str) -> [(String, String); 2] {
    [("photos".to_owned(), format!("{user}/")), ("exports".to_owned(), format!("users/{user}/"))]
}

/// Runs one world to its end.
pub(crate) fn run(seed: u64, weather: Weather) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).without_time().with_writer(logs.clone());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    runtime.expect("a runtime can be built").block_on(async {
        let world = Arc::new(Mutex::new(World::new(seed, weather)));
        let asked = cloud::live(&world, &logs).await;
        let mut world = locked(&world);
        world.check_the_end(&asked);
        let empty = Report { broken_invariants: Vec::new(), reached: BTreeSet::new(), events: Vec::new() };
        std::mem::replace(&mut world.report, empty)
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
