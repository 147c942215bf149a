//! What the tools are compared in.

use std::time::Duration;

use clap::{Args, ValueEnum};
use local::HumanCount;

use crate::comparison::tool::Tool;
use crate::limit::{Limit, Refusal};
use crate::model::share;
use crate::noise::{Noise, Noisy};
use crate::versions::{NEWEST_MARKER, versioned};
use crate::{Latency, Settings};

/// What S3 lets a partition delete at least.
const DOCUMENTED: u32 = 3_500;
/// A lower limit, which no tool knows.
const UNKNOWN: u32 = 1_200;
/// What a second client takes of a shared partition.
const RIVAL: u32 = DOCUMENTED / 2;
/// The clean run of the scenarios in which something fails at random.
pub(crate) const CLEAN: &str = "noise-clean";
/// The longest that Lambda lets a function run.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(900);

/// Our function, and the tools that delete many keys with one request.
const FAST: &[Tool] = &[Tool::Ours, Tool::S5cmd, Tool::S3rm];
const OURS: &[Tool] = &[Tool::Ours];
const FAST_OR_TOLD: &[Tool] = &[Tool::Ours, Tool::S5cmd, Tool::S3rm, Tool::S3rmTold];
const ALL: &[Tool] =
    &[Tool::Ours, Tool::S5cmd, Tool::S3rm, Tool::Boto3, Tool::ListAll, Tool::AwsCli];

/// The number of keys, and the share of them that fails.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Sizes {
    /// Keys in most scenarios.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Keys where the limit is low.
    #[arg(long = "unknown-keys", value_name = "KEYS", default_value_t = 40_000)]
    pub unknown: u64,
    /// Keys where the limit grows.
    #[arg(long = "growing-keys", value_name = "KEYS", default_value_t = 1_000_000)]
    pub growing: u64,
    /// Keys where CPU seconds are counted.
    #[arg(long = "cpu-keys", value_name = "KEYS", default_value_t = 1_000_000)]
    pub cpu: u64,
    /// Keys where something fails at random.
    #[arg(long = "noise-keys", value_name = "KEYS", default_value_t = 20_000)]
    pub noise: u64,
    /// The share that fails there, of the keys, of the delete requests or of all requests: 0 to 1.
    #[arg(long = "noise", value_name = "SHARE", default_value = "0.01", value_parser = share)]
    pub noise_share: f64,
}

/// One comparison.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// For the report, after the number of keys.
    pub(crate) what: String,
    /// Of all users; where there are versions, of these.
    pub(crate) keys: u64,
    /// That withdraw at the same time.
    pub(crate) users: u64,
    /// Whether every three keys are a delete marker and two versions.
    pub(crate) has_versions: bool,
    /// In so many folders; 0: all in one.
    pub(crate) folders: u64,
    pub(crate) has_latency: bool,
    pub(crate) limit: Option<Limit>,
    /// What fails at random.
    pub(crate) noise: Option<Noise>,
    /// Keys per second that a second client takes of the partition.
    pub(crate) rival: Option<u32>,
    /// Of our function.
    pub(crate) timeout: Duration,
    /// Which of the function's ceilings are lifted.
    pub(crate) ceilings: Ceilings,
    pub(crate) tools: &'static [Tool],
}

/// The function's settings for its ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ceilings {
    /// Nothing.
    Defaults,
    /// As many keys a second as S3 takes.
    NoRate,
    /// The same, and more concurrent requests.
    Lifted,
}

/// All of them, in the order of the report.
pub(crate) fn all(sizes: &Sizes) -> Vec<Scenario> {
    let limited = limited(sizes).into_iter().chain(per_key(sizes));
    let all = limited.chain(shared_or_growing(sizes)).chain(unlimited(sizes));
    let all = all.chain(versioned_keys(sizes)).chain(few_keys());
    let cpu = base("cpu", "no latency, no limit", sizes.cpu);
    let cpu = Scenario { has_latency: false, ceilings: Ceilings::Lifted, ..cpu };
    all.chain([cpu]).chain(noise(sizes)).collect()
}

fn base(name: &'static str, what: impl Into<String>, keys: u64) -> Scenario {
    Scenario {
        name,
        what: what.into(),
        keys,
        users: 1,
        has_versions: false,
        folders: 100,
        has_latency: true,
        limit: None,
        noise: None,
        rival: None,
        timeout: LONGEST_TIMEOUT,
        ceilings: Ceilings::Defaults,
        tools: ALL,
    }
}

fn per_second(keys: u32) -> String {
    format!("{} keys/s", HumanCount(keys.into()))
}

/// The limit that S3 documents.
fn limit(sizes: &Sizes) -> Scenario {
    let limit = Some(Limit::of(DOCUMENTED));
    let tools = Tool::value_variants();
    Scenario { limit, tools, ..base("limit", per_second(DOCUMENTED), sizes.keys) }
}

fn limited(sizes: &Sizes) -> [Scenario; 4] {
    let what = format!("{}, in hops of 10 s", per_second(DOCUMENTED));
    let timeout = Duration::from_secs(10);
    let hops = Scenario { name: "hops", what, timeout, tools: OURS, ..limit(sizes) };
    let costly = |name, rate, keys, tools| {
        let what = format!("{}, a throttled request costs a tenth of the keys", per_second(rate));
        let limit = Limit { refusal: Refusal::Request { cost: 0.1 }, ..Limit::of(rate) };
        Scenario { limit: Some(limit), tools, ..base(name, what, keys) }
    };
    let unknown = costly("unknown", UNKNOWN, sizes.unknown, FAST);
    [limit(sizes), hops, costly("costly", DOCUMENTED, sizes.keys, FAST_OR_TOLD), unknown]
}

fn per_key(sizes: &Sizes) -> [Scenario; 2] {
    const TOOLS: &[Tool] = &[Tool::Ours, Tool::S5cmd, Tool::S3rm, Tool::Boto3];
    [("perkey", UNKNOWN, sizes.unknown), ("perkey-documented", DOCUMENTED, sizes.keys)].map(
        |(name, rate, keys)| {
            let what = format!("{}, single keys throttled inside a 200", per_second(rate));
            let limit = Limit { refusal: Refusal::Keys, ..Limit::of(rate) };
            Scenario { limit: Some(limit), tools: TOOLS, ..base(name, what, keys) }
        },
    )
}

fn shared_or_growing(sizes: &Sizes) -> [Scenario; 2] {
    let (low, high) = (DOCUMENTED, 2 * DOCUMENTED);
    // The run takes as much time at the low limit as at the high one.
    let half = Duration::from_secs(1).mul_f64(sizes.growing as f64 / f64::from(low + high));
    let what =
        format!("{} for {:.0} s, then {}", per_second(low), half.as_secs_f64(), per_second(high));
    let steps = vec![(Duration::ZERO, low), (half, high)];
    let growing = Scenario {
        limit: Some(Limit { steps, ..Limit::of(low) }),
        ceilings: Ceilings::NoRate,
        tools: OURS,
        ..base("growing", what, sizes.growing)
    };
    let what = format!("{}, of which a second client takes half", per_second(DOCUMENTED));
    let shared = Scenario { name: "shared", what, rival: Some(RIVAL), tools: FAST, ..limit(sizes) };
    [growing, shared]
}

fn folders(name: &'static str, keys: u64) -> Scenario {
    Scenario { ceilings: Ceilings::Lifted, ..base(name, "no limit, 100 folders", keys) }
}

fn unlimited(sizes: &Sizes) -> [Scenario; 4] {
    let flat = |name, keys, tools| {
        let what = "no limit, one folder".to_owned();
        Scenario { what, folders: 0, tools, ..folders(name, keys) }
    };
    let (small, small_flat) = (folders("small", 5_000), flat("small-flat", 5_000, FAST));
    [folders("folders", sizes.keys), flat("flat", sizes.keys, ALL), small, small_flat]
}

fn versioned_keys(sizes: &Sizes) -> [Scenario; 2] {
    let scenarios =
        [Scenario { name: "versions", ..limit(sizes) }, folders("versions-unlimited", sizes.keys)];
    scenarios.map(|base| Scenario {
        what: format!("{}, two versions and a delete marker of each", base.what),
        has_versions: true,
        tools: FAST,
        ..base
    })
}

/// With the function's defaults. The pace lets so few keys pass immediately: ten users measure
/// everything else that they could wait for.
fn few_keys() -> [Scenario; 5] {
    let user = |name, keys| base(name, "no limit, defaults", keys);
    let ten = base("users-10", "no limit, defaults, ten users of 10 in one batch", 100);
    let one = [("user-0", 0), ("user-1", 1), ("user-10", 10), ("user-300", 300)];
    let [none, one, few, some] = one.map(|(name, keys)| user(name, keys));
    [none, one, few, some, Scenario { users: 10, ..ten }].map(|base| Scenario {
        folders: 0,
        tools: OURS,
        ..base
    })
}

/// One user, the function's ceiling, and a share of the requests that fails at any rate. The clean
/// run comes first.
fn noise(sizes: &Sizes) -> [Scenario; 5] {
    let percent = (1e4 * sizes.noise_share).round() / 1e2;
    let keys =
        |code| (Some(Noisy::Keys { code }), format!("{percent} % of the keys say {code} once"));
    let requests = format!("503 SlowDown for {percent} % of the delete requests");
    let errors = format!("500 InternalError for {percent} % of all requests");
    [
        (CLEAN, (None, "nothing fails".to_owned())),
        ("noise-keys", keys("InternalError")),
        ("noise-keys-slowdown", keys("SlowDown")),
        ("noise-requests", (Some(Noisy::Deletions), requests)),
        ("noise-errors", (Some(Noisy::Requests), errors)),
    ]
    .map(|(name, (what, said))| Scenario {
        noise: what.map(|what| Noise { what, share: sizes.noise_share }),
        tools: OURS,
        ..base(name, format!("no limit, defaults, {said}"), sizes.noise)
    })
}

impl Scenario {
    /// The names of the user's keys.
    pub(crate) fn names(&self, user: &str, keys: u64) -> impl Iterator<Item = String> {
        let (folders, has_versions) = (self.folders, self.has_versions);
        let name = move |number: u64| match number.checked_rem(folders) {
            Some(folder) => format!("{user}/{folder:02}/{number:07}.jpg"),
            None => format!("{user}/{number:07}.jpg"),
        };
        (0..keys).map(move |number| match (has_versions, number % 3) {
            (false, _) => name(number),
            (true, 0) => versioned(&name(number / 3), NEWEST_MARKER),
            (true, nth) => versioned(&name(number / 3), &format!("version-{nth}")),
        })
    }

    /// The settings of the models and of our function.
    pub(crate) fn settings(&self, all: &Settings) -> Settings {
        let (rate, in_flight) = match self.ceilings {
            Ceilings::Defaults => (None, None),
            Ceilings::NoRate => (Some(0), None),
            Ceilings::Lifted => (Some(0), Some(64)),
        };
        Settings {
            timeout: self.timeout,
            rate,
            in_flight,
            concurrency: 1,
            latency: if self.has_latency { all.latency } else { Latency::default() },
            limit: self.limit.clone(),
            noise: self.noise,
            has_versions: self.has_versions,
            ..all.clone()
        }
    }

    /// The keys per second that the partition has for the tool, so long after the start.
    pub(crate) fn room(&self, since: Duration) -> Option<f64> {
        let all = f64::from(self.limit.as_ref()?.at(since));
        Some(all - f64::from(self.rival.unwrap_or(0)))
    }

    /// The least time in which S3 lets so many keys go, in seconds: it has one second's worth in
    /// store.
    pub(crate) fn bound(&self, keys: u64) -> Option<f64> {
        let limit = self.limit.as_ref()?;
        let mut left = keys as f64 - f64::from(limit.at(Duration::ZERO));
        let mut seconds = 0.0;
        for (at, (from, _)) in limit.steps.iter().enumerate() {
            let room = self.room(*from)?;
            let span = limit
                .steps
                .get(at + 1)
                .map_or(f64::INFINITY, |(until, _)| (*until - *from).as_secs_f64());
            let needed = (left / room).clamp(0.0, span);
            left -= needed * room;
            seconds += needed;
        }
        Some(seconds).filter(|seconds| *seconds > 0.0)
    }

    /// How many keys the partition has for the tool in so much time, without what it had in store.
    pub(crate) fn area(&self, seconds: f64) -> Option<f64> {
        let limit = self.limit.as_ref()?;
        let mut keys = 0.0;
        for (at, (from, _)) in limit.steps.iter().enumerate() {
            let until =
                limit.steps.get(at + 1).map_or(f64::INFINITY, |(until, _)| until.as_secs_f64());
            keys += (until.min(seconds) - from.as_secs_f64()).max(0.0) * self.room(*from)?;
        }
        Some(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes {
        keys: 100_000,
        unknown: 40_000,
        growing: 1_050_000,
        cpu: 1_000_000,
        noise: 20_000,
        noise_share: 0.001,
    };

    fn near(left: Option<f64>, right: f64) -> bool {
        left.is_some_and(|left| (left - right).abs() < 0.01)
    }

    fn named(name: &str) -> Scenario {
        all(&SIZES).into_iter().find(|scenario| scenario.name == name).unwrap()
    }

    #[test]
    fn knows_the_least_time() {
        assert!(near(named("limit").bound(100_000), 27.57));
        assert!(near(named("unknown").bound(40_000), 32.33));
        assert!(near(named("shared").bound(100_000), 55.14));
        let growing = named("growing");
        assert!(near(growing.bound(1_050_000), 199.5), "100 s at 3,500, and the rest at 7,000");
        assert!(near(growing.area(200.0), 1_050_000.0));
        assert!(near(growing.area(50.0), 175_000.0));
        assert_eq!([named("folders").bound(100_000), named("limit").bound(3_000)], [None, None]);
    }

    #[test]
    fn names_keys_in_folders_and_without() {
        let last = |scenario| named(scenario).names("u1", 102).last();
        assert_eq!(last("folders").as_deref(), Some("u1/01/0000101.jpg"));
        assert_eq!(last("flat").as_deref(), Some("u1/0000101.jpg"));
        assert_eq!(last("versions"), Some(versioned("u1/33/0000033.jpg", "version-2")));
    }

    #[test]
    fn says_what_fails_at_random() {
        let [clean, keys, _, requests, _] = noise(&SIZES);
        assert_eq!((clean.noise, clean.ceilings, clean.keys), (None, Ceilings::Defaults, 20_000));
        assert_eq!(keys.what, "no limit, defaults, 0.1 % of the keys say InternalError once");
        assert_eq!(requests.noise, Some(Noise { what: Noisy::Deletions, share: 0.001 }));
    }

    #[test]
    fn has_no_name_twice() {
        let mut names: Vec<&str> = all(&SIZES).iter().map(|scenario| scenario.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
