//! `local`: shows the function at work, without AWS.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this program is for"
)]

mod command;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use command::{ChaosSettings, Failure};

/// Shows the function at work, without AWS.
#[derive(Debug, Parser)]
#[command(arg_required_else_help = true)]
enum Command {
    /// Erase a user of 6,000 objects, versions, markers and uploads, end to end, and check everything
    Run,
    /// Start the local cloud with the deployed stack, until Ctrl-C
    Up,
    /// (While up) Request the erasure of a user
    Send {
        #[arg(allow_hyphen_values = true)]
        user_id: String,
    },
    /// (While up) List what is stored
    Left {
        #[arg(allow_hyphen_values = true, default_value = "")]
        prefix: String,
    },
    /// (While up) Print the function's log
    Logs,
    /// Print the receipts of a user, here or on AWS, and write an HTML page of each (see `make receipt`)
    Receipt {
        #[arg(allow_hyphen_values = true)]
        user_id: String,
    },
    /// Erase hundreds of users during network faults, kills and pauses, and check everything
    Chaos(ChaosSettings),
    /// Run the function under cargo lambda, without a queue
    Invoke {
        #[arg(default_value = "events/user-withdrawn.json")]
        event_file: String,
    },
    /// Only install cargo lambda and its linker, for `make build`
    Install {
        #[arg(value_parser = ["cargo-lambda"])]
        package: String,
    },
}

/// The exit code that a shell expects of a program that Ctrl-C stopped.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    // Each end drops the command, and with it every server that it started.
    tokio::select! {
        result = run(command) => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("\n{failure}");
                ExitCode::FAILURE
            }
        },
        result = interrupted() => {
            match result {
                Ok(()) => eprintln!("\nStopped; nothing is left running."),
                Err(error) => eprintln!("\nfailed to listen for signals: {error}"),
            }
            ExitCode::from(INTERRUPTED)
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run => Box::pin(command::run()).await,
        Command::Up => Box::pin(command::up()).await,
        Command::Send { user_id } => command::send(&user_id).await,
        Command::Left { prefix } => command::left(&prefix).await,
        Command::Logs => command::logs().await,
        Command::Receipt { user_id } => Box::pin(command::receipt(&user_id)).await,
        Command::Chaos(settings) => Box::pin(command::chaos(settings)).await,
        Command::Invoke { event_file } => Box::pin(command::invoke(&event_file)).await,
        Command::Install { .. } => command::install_cargo_lambda().await,
    }
}

async fn interrupted() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}
