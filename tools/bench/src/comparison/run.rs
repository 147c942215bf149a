//! One run of one tool in one scenario.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::comparison::scenario::Scenario;
use crate::comparison::tool::{Peers, Tool};
use crate::trace::Operation;
use crate::world::{KEY, PHOTOS, RIVAL_KEYS, Rival, World};
use crate::{Error, Settings};

const USER: &str = "u1";
/// Others whose names are tempting.
const NEIGHBOURS: [&str; 5] = ["u10", "u1.bak", "U1", "u", "u2"];
const NEIGHBOURS_FILES: u64 = 10;
const BYTES: u32 = 1_000;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'l> {
    pub(crate) scenario: &'l Scenario,
    pub(crate) tool: Tool,
    pub(crate) peers: &'l Peers,
    /// After so long, it is stopped.
    pub(crate) longest: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// User and system.
    pub(crate) cpu: f64,
    pub(crate) peak_kib: u64,
    /// Of our function: from the start of its process until it asked for an event, in seconds.
    pub(crate) cold_start: Option<f64>,
    /// Of our function.
    pub(crate) invocations: usize,
    /// Why it did not end well.
    pub(crate) fault: Option<String>,
    pub(crate) left: u64,
    pub(crate) requests: usize,
    /// Of these: listings, deletions.
    pub(crate) kinds: (usize, usize),
    pub(crate) refused: usize,
    /// Whether nothing is missing that was not the user's.
    pub(crate) is_clean: bool,
    /// When, in seconds, how many keys went.
    pub(crate) went: Vec<(f64, u64)>,
    /// The same of a second client, with what it had asked for in all.
    pub(crate) rival: Option<(u64, Vec<(f64, u64)>)>,
}

impl Run {
    /// Whether all keys of the users are deleted, and no others.
    pub(crate) fn is_whole(&self) -> bool {
        self.left == 0 && self.is_clean && self.fault.is_none()
    }
}

/// Has a tool erase the user in a world of its own.
pub(crate) async fn run(all: &Settings, start: Start<'_>) -> Result<Run, Error> {
    let settings = start.scenario.settings(all);
    let keys = start.tool.share_of(start.scenario.keys);
    let mut world = World::open(&settings).await?;
    let users: Vec<String> = users(start.scenario).collect();
    for user in &users {
        world.store.make_up(PHOTOS, start.scenario.names(user, keys / start.scenario.users), BYTES);
    }
    for neighbour in NEIGHBOURS {
        world.store.make_up(PHOTOS, start.scenario.names(neighbour, NEIGHBOURS_FILES), BYTES);
    }
    let rival = start.scenario.rival.map(|keys_per_second| world.add_rival(keys_per_second));
    let begin = Instant::now();
    let run = match start.tool {
        Tool::Ours => erase(&mut world, &users, &settings, start.longest).await?,
        Tool::S5cmd | Tool::S3rm | Tool::S3rmTold | Tool::Boto3 | Tool::ListAll | Tool::AwsCli => {
            call(start, &settings.folder, &world.s3_address).await?
        }
    };
    Ok(see(&world, &users, run, (begin, rival.as_ref())))
}

/// The users who request erasure: all tools erase the first of them.
fn users(scenario: &Scenario) -> impl Iterator<Item = String> {
    (1..=scenario.users).map(
        |number| {
            if number == 1 { USER.to_owned() } else { format!("{USER}-{number}") }
        },
    )
}

/// The request of one of them. Nothing of a user's id is in it: logs would hide it.
fn request(number: usize) -> String {
    format!("request-{number}")
}

fn see(
    world: &World,
    users: &[String],
    run: Run,
    (begin, rival): (Instant, Option<&Rival>),
) -> Run {
    let requests = world.trace.requests();
    let after = |at: Instant| at.saturating_duration_since(begin).as_secs_f64();
    let of = |operation| requests.iter().filter(move |request| request.operation == operation);
    let kinds = (of(Operation::List).count(), of(Operation::Delete).count());
    let went = of(Operation::Delete)
        .filter(|request| request.keys > 0)
        .map(|request| (after(request.begin), request.keys));
    let left = users.iter().map(|user| world.store.count(PHOTOS, &format!("{user}/"))).sum();
    let others = world.store.count(PHOTOS, "") - left;
    let rival = rival.map(|rival| {
        let asked: Vec<(f64, u64)> =
            rival.asked().into_iter().map(|(at, keys)| (after(at), keys as u64)).collect();
        let meanwhile: Vec<(f64, u64)> =
            asked.into_iter().filter(|(at, _)| *at <= run.seconds).collect();
        (meanwhile.len() as u64 * RIVAL_KEYS as u64, meanwhile)
    });
    Run {
        left,
        requests: requests.len(),
        kinds,
        refused: requests.iter().filter(|request| request.is_refused).count(),
        is_clean: others == NEIGHBOURS.len() as u64 * NEIGHBOURS_FILES,
        went: went.collect(),
        rival,
        ..run
    }
}

/// Starts the function with all messages in the queue, and waits for the last answer.
async fn erase(
    world: &mut World,
    users: &[String],
    settings: &Settings,
    longest: Duration,
) -> Result<Run, Error> {
    for (number, user) in users.iter().enumerate() {
        world.withdraw(user, &request(number));
    }
    let begin = Instant::now();
    world.start_environments(settings).await?;
    let outcome = timeout(longest, world.run()).await;
    let usage = world.usage();
    let mut run = Run { cpu: usage.cpu.as_secs_f64(), peak_kib: usage.peak_kib, ..Run::default() };
    match outcome {
        Ok(Ok(outcome)) => {
            let ends = outcome.invocations.iter().map(|invocation| invocation.end);
            let last = ends.max().unwrap_or(outcome.end);
            run.seconds = (last - begin).as_secs_f64();
            run.invocations = outcome.invocations.len();
            run.cold_start = world.cold_start().map(|time| time.as_secs_f64());
            let is_proven =
                (0..users.len()).all(|number| world.receipt(&request(number)).is_some());
            run.fault = (!is_proven).then(|| "a receipt is missing".to_owned());
        }
        Ok(Err(error)) => {
            run.seconds = begin.elapsed().as_secs_f64();
            run.fault = Some(format!("failed to {error}"));
        }
        Err(_elapsed) => {
            run.seconds = longest.as_secs_f64();
            run.fault = Some(stopped(longest));
        }
    }
    Ok(run)
}

fn stopped(longest: Duration) -> String {
    format!("stopped after {} s", longest.as_secs())
}

/// What `measure.py` says.
#[derive(Debug, Deserialize)]
struct Measured {
    seconds: f64,
    cpu: f64,
    peak_kib: u64,
    code: i32,
    is_stopped: bool,
}

/// Calls another tool, in an environment that knows nothing of this machine's user.
async fn call(start: Start<'_>, folder: &Path, address: &str) -> Result<Run, Error> {
    let log = folder.join(format!("{}.log", start.tool.word()));
    let (endpoint, prefix) = (format!("http://{address}"), format!("{USER}/"));
    let command = start.tool.command(start.peers, &endpoint, &prefix, start.scenario.has_versions);
    let nowhere = "/dev/null";
    let output = Command::new(start.peers.python())
        .arg(start.peers.scripts.join("measure.py"))
        .arg(start.longest.as_secs_f64().to_string())
        .arg(&log)
        .args(command)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", folder)
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", KEY)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", nowhere)
        .env("AWS_SHARED_CREDENTIALS_FILE", nowhere)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::file("start", start.peers.python()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let measured: Measured = serde_json::from_str(&text).map_err(|error| {
        Error::service(format!("measure {}", start.tool.name()), format!("{text:?}: {error}"))
    })?;
    let Measured { seconds, cpu, peak_kib, code, is_stopped } = measured;
    let fault = match code {
        _ if is_stopped => Some(stopped(start.longest)),
        0 => None,
        code => Some(format!("exit code {code}")),
    };
    Ok(Run { seconds, cpu, peak_kib, fault, ..Run::default() })
}
