//! `bench`: long runs of the function's real binary against models of S3, SQS and Lambda.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this program is for"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bench::comparison::{self, Comparison};
use bench::{
    Error, InjectedFault, Latency, Limit, Report, Settings, command_line, huge_user, many_users,
};
use clap::{Args, Parser};

/// Long runs of the function's real binary against models of S3, SQS and Lambda.
#[derive(Debug, Parser)]
#[command(arg_required_else_help = true)]
enum Command {
    /// Erase one user with many objects, in one environment
    HugeUser {
        /// Objects of the user.
        #[arg(long, default_value_t = 200_000)]
        keys: u64,
        #[command(flatten)]
        function: Function,
        #[command(flatten)]
        models: Models,
    },
    /// Erase many users concurrently
    ManyUsers {
        /// Number of users.
        #[arg(long, default_value_t = 1_000)]
        users: usize,
        /// Objects of the first user; with 0, no user is huge.
        #[arg(long, value_name = "KEYS", default_value_t = 500_000)]
        huge_user: u64,
        #[command(flatten)]
        function: Function,
        #[command(flatten)]
        models: Models,
    },
    /// Compare the function with other tools in the same scenarios
    Compare {
        #[command(flatten)]
        comparison: Comparison,
        #[command(flatten)]
        models: Models,
    },
}

/// Settings of the function, and of its store.
#[derive(Debug, Args)]
struct Function {
    /// The function's timeout, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    timeout: u64,
    /// `MAX_DELETES_PER_SECOND`.
    #[arg(long, default_value_t = 3_500)]
    rate: u32,
    /// `MaximumConcurrency`: the number of environments for many users.
    #[arg(long, default_value_t = 2)]
    concurrency: usize,
    /// Keys per second that a partition of S3 accepts; 0 is no limit.
    #[arg(long, value_name = "KEYS", default_value_t = 0)]
    partition_limit: u32,
    /// A fault of S3 that the checks must find.
    #[arg(long, value_enum, default_value_t = InjectedFault::Nothing)]
    injected_fault: InjectedFault,
}

/// Settings of every run.
#[derive(Debug, Args)]
struct Models {
    #[command(flatten)]
    latency: Latency,
    /// Percent of a core for the function, as a small Lambda has; 0 is no limit (Linux, root).
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    core: f64,
    /// The function speaks TLS with S3.
    #[arg(long)]
    tls: bool,
    /// The seed of all random decisions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Command::parse())).await {
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

/// Returns whether all checks passed.
async fn run(command: Command) -> Result<bool, Error> {
    match command {
        Command::HugeUser { keys, function, models } => {
            let settings = function.settings(models.settings()?);
            let report = Box::pin(huge_user::run(&settings, keys)).await?;
            keep(&report, &settings, "huge-user")
        }
        Command::ManyUsers { users, huge_user, function, models } => {
            let settings = function.settings(models.settings()?);
            let report = Box::pin(many_users::run(&settings, users, huge_user)).await?;
            keep(&report, &settings, "many-users")
        }
        Command::Compare { comparison, models } => {
            let summary = Box::pin(comparison::run(&models.settings()?, &comparison)).await?;
            println!("{}\nThe report: {}", summary.targets, summary.path.display());
            Ok(summary.is_good)
        }
    }
}

fn keep(report: &Report, settings: &Settings, name: &str) -> Result<bool, Error> {
    let text = format!("{report}\n`{}`\n", command_line());
    println!("{text}");
    let path = settings.folder.join(format!("{name}-{}.md", std::process::id()));
    fs::write(&path, text).map_err(Error::file("write", &path))?;
    println!("Kept in {}", path.display());
    Ok(report.is_good())
}

impl Function {
    fn settings(self, models: Settings) -> Settings {
        Settings {
            timeout: Duration::from_secs(self.timeout),
            rate: Some(self.rate),
            concurrency: self.concurrency,
            limit: Some(self.partition_limit).filter(|limit| *limit > 0).map(Limit::of),
            injected_fault: self.injected_fault,
            ..models
        }
    }
}

impl Models {
    fn settings(self) -> Result<Settings, Error> {
        let program = std::env::current_exe().map_err(Error::file("find", "this program"))?;
        // target/PROFILE/examples/bench and target/PROFILE/erase-user-files
        let built = program.parent().and_then(Path::parent).map(PathBuf::from).unwrap_or_default();
        Ok(Settings {
            binary: built.join("erase-user-files"),
            folder: built.parent().unwrap_or(&built).join("bench"),
            timeout: Duration::from_secs(20),
            concurrency: 1,
            latency: self.latency,
            core_percent: Some(self.core).filter(|percent| *percent > 0.0),
            has_tls: self.tls,
            seed: self.seed,
            ..Settings::default()
        })
    }
}
