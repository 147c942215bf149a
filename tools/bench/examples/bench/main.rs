//! `bench`: long runs of the function's real binary against models of S3, SQS and Lambda.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this program is for"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use bench::race::{Race, Sizes};
use bench::{Error, Latency, Limit, Plant, Report, Settings, crowd, race, whale};

const USAGE: &str = "\
Usage: bench whale|crowd|race [NAME=VALUE ...]

  whale    one user in one environment
    keys=200000        objects
  crowd    many users at once, in two environments
    users=1000
    whale=500000       objects of one of them; 0 is none
  both
    timeout=20         of the function, in seconds
    rate=3500          MAX_DELETES_PER_SECOND
    concurrency=2      MaximumConcurrency (crowd)
    partition_limit=0  keys per second that S3 takes; 0 is as many as come
    plant=nothing      a fault that the checks must find: keep, steal

  race     the function and other tools in the same scenarios
    scenarios=         comma-separated; a name stands for its family, too: user for user-0 and so on; empty is all:
                       SCENARIOS
    tools=             comma-separated; empty is all that are installed:
                       TOOLS
    runs=3             of each
    keys=100000        in most scenarios
    unknown_keys=40000
    growing_keys=1000000
    cpu_keys=1000000
    noise_keys=20000   where something fails at random
    noise=0.01         what part of it: of the keys, of the delete requests, or of all requests
    longest=600        seconds, after which a run is stopped
    peers=.local/peers where the other tools are

  listing_ms=60        S3's time for a page of 1,000 keys
  deletion_ms=250      S3's time for a DeleteObjects of 1,000 keys
  least_ms=20          S3's time for everything else
  core=0               percent of a core for the function, as a small Lambda has; 0 is all (Linux, root)
  tls=false            whether the function speaks TLS with S3
  spread=0             by how much of itself each of these times varies: 0 to 1
  seed=1";

/// What this program takes. The names are those that it knows.
fn usage() -> String {
    let list = |names: Vec<&str>| {
        let lines: Vec<String> = names.chunks(7).map(|line| line.join(", ")).collect();
        lines.join(&format!(",\n{}", " ".repeat(23)))
    };
    USAGE
        .replace("SCENARIOS", &list(race::scenario_names()))
        .replace("TOOLS", &list(race::tool_names()))
}

/// The command line, as it can be given again.
fn call() -> String {
    std::env::args().collect::<Vec<_>>().join(" ")
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, values)) = words.split_first() else {
        println!("{}", usage());
        return ExitCode::FAILURE;
    };
    match Box::pin(obey(command, values)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("Not everything was as it should be: see NO above.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was promised is so.
async fn obey(command: &str, words: &[String]) -> Result<bool, Error> {
    let mut values = Values::read(words)?;
    match command {
        "whale" => {
            let settings = settings(&mut values)?;
            let keys = values.take("keys", 200_000)?;
            values.end()?;
            let report = Box::pin(whale::run(&settings, keys)).await?;
            keep(&report, &settings, command)
        }
        "crowd" => {
            let settings = settings(&mut values)?;
            let (users, objects) = (values.take("users", 1_000)?, values.take("whale", 500_000)?);
            values.end()?;
            let report = Box::pin(crowd::run(&settings, users, objects)).await?;
            keep(&report, &settings, command)
        }
        "race" => Box::pin(compare(&mut values)).await,
        other => {
            Err(Error::Setting(format!("{other:?}: expected whale, crowd or race\n\n{}", usage())))
        }
    }
}

fn keep(report: &Report, settings: &Settings, command: &str) -> Result<bool, Error> {
    let text = format!("{report}\n`{}`\n", call());
    println!("{text}");
    let path = settings.folder.join(format!("{command}-{}.md", std::process::id()));
    fs::write(&path, text).map_err(|source| Error::File {
        doing: "write",
        path: path.clone(),
        source,
    })?;
    println!("Kept in {}", path.display());
    Ok(report.is_good())
}

async fn compare(values: &mut Values) -> Result<bool, Error> {
    let settings = common(values)?;
    let race = Race {
        scenarios: values.take("scenarios", String::new())?,
        tools: values.take("tools", String::new())?,
        runs: values.take("runs", 3)?,
        sizes: Sizes {
            keys: values.take("keys", 100_000)?,
            unknown: values.take("unknown_keys", 40_000)?,
            growing: values.take("growing_keys", 1_000_000)?,
            cpu: values.take("cpu_keys", 1_000_000)?,
            noise: values.take("noise_keys", 20_000)?,
            noise_share: values.take("noise", 0.01)?,
        },
        peers: values.take("peers", PathBuf::from(".local/peers"))?,
        longest: Duration::from_secs(values.take("longest", 600)?),
        call: call(),
    };
    values.end()?;
    if !(0.0..=1.0).contains(&race.sizes.noise_share) {
        return Err(Error::Setting(format!(
            "noise is {}: expected 0 to 1",
            race.sizes.noise_share
        )));
    }
    let standing = Box::pin(race::run(&settings, &race)).await?;
    println!("{}\nThe report: {}", standing.summary, standing.path.display());
    Ok(standing.is_good)
}

/// What the run `whale` and `crowd` are told.
fn settings(values: &mut Values) -> Result<Settings, Error> {
    let partition_limit = values.take("partition_limit", 0)?;
    Ok(Settings {
        timeout: Duration::from_secs(values.take("timeout", 20)?),
        rate: Some(values.take("rate", 3_500)?),
        concurrency: values.take("concurrency", 2)?,
        limit: Some(partition_limit).filter(|limit| *limit > 0).map(Limit::of),
        plant: values.take("plant", Plant::Nothing)?,
        ..common(values)?
    })
}

/// What every run is told.
fn common(values: &mut Values) -> Result<Settings, Error> {
    let milliseconds =
        |values: &mut Values, name, default| values.take(name, default).map(Duration::from_millis);
    let latency = Latency {
        listing: milliseconds(values, "listing_ms", 60)?,
        deletion: milliseconds(values, "deletion_ms", 250)?,
        least: milliseconds(values, "least_ms", 20)?,
        spread: values.take("spread", 0.0)?,
    };
    let program = std::env::current_exe().map_err(|source| Error::File {
        doing: "find",
        path: PathBuf::from("this program"),
        source,
    })?;
    // target/PROFILE/examples/bench beside target/PROFILE/erase-user-files
    let built = program.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    Ok(Settings {
        binary: built.join("erase-user-files"),
        folder: built.parent().unwrap_or(built).join("bench"),
        timeout: Duration::from_secs(20),
        rate: None,
        in_flight: None,
        concurrency: 1,
        latency,
        limit: None,
        noise: None,
        has_versions: false,
        plant: Plant::Nothing,
        core_percent: Some(values.take("core", 0.0)?).filter(|percent| *percent > 0.0),
        has_tls: values.take("tls", false)?,
        seed: values.take("seed", 1)?,
    })
}

/// What the command line says: `NAME=VALUE`.
struct Values(BTreeMap<String, String>);

impl Values {
    fn read(words: &[String]) -> Result<Self, Error> {
        let pair = |word: &String| {
            let pair =
                word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            pair.ok_or_else(|| {
                Error::Setting(format!("{word:?}: expected NAME=VALUE\n\n{}", usage()))
            })
        };
        words.iter().map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn take<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, Error> {
        let Some(text) = self.0.remove(name).filter(|text| !text.is_empty()) else {
            return Ok(default);
        };
        text.parse()
            .map_err(|_unreadable| Error::Setting(format!("{name} is {text:?}\n\n{}", usage())))
    }

    fn end(&self) -> Result<(), Error> {
        match self.0.keys().next() {
            Some(name) => Err(Error::Setting(format!("{name:?} is unknown here\n\n{}", usage()))),
            None => Ok(()),
        }
    }
}
