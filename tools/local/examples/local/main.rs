//! `local`: shows the function at work, without AWS.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this program is for"
)]

mod command;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use command::Failure;

const USAGE: &str = "\
Usage: local COMMAND

  run                 erase a user of 6,000 objects, versions, markers and uploads, end to end, and check everything
  up                  start the local cloud with the deployed stack, until Ctrl-C
  send USER_ID        (while up) send a user-withdrawn message
  left [PREFIX]       (while up) list what is stored
  logs                (while up) print the function's log
  receipt USER_ID     print the receipts of a user's erasures, here or on AWS (see `make receipt`)
  chaos [users=N] [seed=N] [seconds=N]
                      erase hundreds of users in a storm of faults, kills and stand-stills, and check everything
  invoke [EVENT_FILE] run the function under cargo lambda, without a queue
  install cargo-lambda only install cargo lambda and its linker, for `make build`";

/// What a shell expects of a program that was stopped by Ctrl-C.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Whichever way this ends, the command is dropped, and with it every server that it started.
    tokio::select! {
        result = obey(&words) => match result {
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

async fn obey(words: &[&str]) -> Result<(), Failure> {
    match words {
        ["run"] => Box::pin(command::run()).await,
        ["up"] => Box::pin(command::up()).await,
        ["send", user] => command::send(user).await,
        ["left"] => command::left("").await,
        ["left", prefix] => command::left(prefix).await,
        ["logs"] => command::logs().await,
        ["receipt", user] => Box::pin(command::receipt(user)).await,
        ["chaos", settings @ ..] => Box::pin(command::chaos(settings)).await,
        ["invoke"] => Box::pin(command::invoke("events/user-withdrawn.json")).await,
        ["invoke", event] => Box::pin(command::invoke(event)).await,
        ["install", "cargo-lambda"] => command::install_cargo_lambda().await,
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(Failure::Usage(USAGE)),
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
