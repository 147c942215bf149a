//! One world: the state that all its services share, and what it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use erase_user_files::bucket::Kind;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::fake::model::S3;
use crate::people::{BUCKETS, folders, populate};
use crate::sqs::Message;
use crate::weather::{START, Scene, Weather};
use crate::{ending, lambda};

/// No world takes longer; one that is wedged fails instead of running for ever.
pub(crate) const LONGEST_WORLD: Duration = Duration::from_secs(6 * 3_600);

/// What is counted apart: uploads, objects and data versions, delete markers.
pub(crate) const PARTS: [Kind; 3] = [Kind::Uploads, Kind::Versions, Kind::DeleteMarkers];

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
    pub(crate) scene: Scene,
    pub(crate) weather: Weather,
    pub(crate) dice: fastrand::Rng,
    pub(crate) s3: S3,
    /// How it was when the world began.
    pub(crate) s3_at_first: S3,
    pub(crate) refused_keys: BTreeSet<(String, String)>,
    /// Keys that make any request malformed.
    pub(crate) poison_keys: BTreeSet<(String, String)>,
    /// The receipts by name.
    pub(crate) receipts: BTreeMap<String, String>,
    pub(crate) queue: Vec<Message>,
    pub(crate) dead_letters: Vec<Message>,
    /// Entries listed on a page at most.
    pub(crate) page_size: usize,
    pub(crate) writes: u64,
    pub(crate) has_switched: bool,
    /// It would go on for ever, and is not played to its end.
    pub(crate) is_given_up: bool,
    pub(crate) tokens: u64,
    pub(crate) ids: u64,
    /// Each second delivery and each lost answer doubles a chain: without an end to them, chains outgrow any queue.
    pub(crate) doublings_left: u32,
    /// Continuations that are or were in the queue: the erasure, its user and its hop.
    pub(crate) continued: BTreeSet<(String, String, u64)>,
    /// When the invocation that each environment is at began.
    pub(crate) invocations: [Option<Instant>; 2],
    /// When a part of a folder that is not empty now was empty last.
    last_empty: BTreeMap<(&'static str, String, Kind), Instant>,
    /// Users who were written to after the world began.
    pub(crate) rewritten: BTreeSet<&'static str>,
    /// Users whose erasure, or dry run, was said to be done.
    pub(crate) done: BTreeSet<&'static str>,
    /// How many requests each user's withdrawal came with.
    pub(crate) requests: BTreeMap<&'static str, u32>,
    start: Instant,
    report: Report,
}

/// A handle that every service holds.
pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn locked(world: &Shared) -> MutexGuard<'_, World> {
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let now = world.wall_clock();
    world.s3.set_now(now.into());
    world
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let scene = Scene::of_seed(seed);
        // Where nothing is ever deleted, twenty rounds see everything.
        let sizes: &[u32] = if weather.is_liar { &[3, 10] } else { &[0, 3, 30, 120] };
        let most = *dice.choice(sizes).unwrap_or(&3);
        let s3 = populate(&scene, most, &mut dice);
        let (mut refused_keys, mut poison_keys) = (BTreeSet::new(), BTreeSet::new());
        for bucket in BUCKETS {
            let things = s3.inventory(bucket, "");
            let versions = things.data.iter().chain(&things.markers).map(|(key, _)| key);
            let keys: BTreeSet<&String> = versions.chain(things.uploads.iter().map(|(key, _)| key)).collect();
            for key in keys {
                if dice.u32(0..100) < weather.keys_refused {
                    refused_keys.insert((bucket.to_owned(), key.clone()));
                } else if dice.u32(0..1_000) < weather.poison_keys {
                    poison_keys.insert((bucket.to_owned(), key.clone()));
                }
            }
        }
        Self {
            scene,
            weather,
            page_size: dice.usize(1..=25),
            dice,
            s3_at_first: s3.clone(),
            s3,
            refused_keys,
            poison_keys,
            receipts: BTreeMap::new(),
            queue: Vec::new(),
            dead_letters: Vec::new(),
            writes: 0,
            has_switched: false,
            is_given_up: false,
            tokens: 0,
            ids: 0,
            doublings_left: 20,
            continued: BTreeSet::new(),
            invocations: [None; 2],
            last_empty: BTreeMap::new(),
            rewritten: BTreeSet::new(),
            done: BTreeSet::new(),
            requests: BTreeMap::new(),
            start: Instant::now(),
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
        self.event(what);
    }

    /// As [`World::reach`], for what happens too often to be told each time.
    pub(crate) fn reach_silently(&mut self, what: &'static str) {
        self.report.reached.insert(what);
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
        UNIX_EPOCH + Duration::from_secs(START) + self.start.elapsed()
    }

    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether the requests want to keep what has this time.
    pub(crate) fn is_newer(&self, last_modified: OffsetDateTime) -> bool {
        self.scene.erase_before.is_some_and(|limit| last_modified >= limit)
    }

    /// Whether nothing of this part is left that is to be erased.
    fn is_empty(&self, bucket: &str, prefix: &str, part: Kind) -> bool {
        if part == Kind::Uploads {
            return self.s3.uploads_under(bucket, prefix).all(|(_, upload)| self.is_newer(upload.initiated));
        }
        let mut versions = self.s3.versions_under(bucket, prefix).map(|(_, version)| version);
        versions.all(|version| version.kind() != part || self.is_newer(version.last_modified))
    }

    /// Whether anything of this user is left that is to be erased.
    pub(crate) fn has_something(&self, user: &str) -> bool {
        let folders = folders(user);
        !folders.iter().all(|(bucket, prefix)| PARTS.into_iter().all(|part| self.is_empty(bucket, prefix, part)))
    }

    /// To be called before anything is written: from now on the folder may not be empty.
    pub(crate) fn note_if_empty(&mut self, bucket: &'static str, prefix: &str) {
        for part in PARTS {
            if self.is_empty(bucket, prefix, part) {
                self.last_empty.insert((bucket, prefix.to_owned(), part), Instant::now());
            }
        }
    }

    /// Whether each part of each of the user's folders was empty at some moment since then. A listing is no moment,
    /// and there are several: this is all that listings can prove.
    pub(crate) fn was_empty_since(&self, user: &str, since: Instant) -> bool {
        folders(user).into_iter().all(|(bucket, prefix)| {
            PARTS.into_iter().all(|part| {
                let was_empty = self.last_empty.get(&(bucket, prefix.clone(), part)).is_some_and(|at| *at >= since);
                was_empty || self.is_empty(bucket, &prefix, part)
            })
        })
    }
}

/// Runs one world to its end.
pub(crate) fn run(seed: u64, weather: Weather) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).without_time().with_writer(logs.clone());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    runtime.expect("a runtime can be built").block_on(async {
        let world = Arc::new(Mutex::new(World::new(seed, weather)));
        {
            let mut world = locked(&world);
            let (scene, weather) = (format!("{:?}", world.scene), format!("{:?}", world.weather));
            world.event(&scene);
            world.event(&weather);
        }
        lambda::live(&world, &logs).await;
        let mut world = locked(&world);
        ending::check_the_end(&mut world);
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
