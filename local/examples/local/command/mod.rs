//! The subcommands of `local`.

mod invoke;
mod run;
mod seed;
mod show;
mod up;

pub(crate) use invoke::{install_cargo_lambda, invoke};
pub(crate) use run::run;
pub(crate) use up::{left, logs, send, up};

/// Where the users' files are.
const BUCKET: &str = "photos";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The local cloud is at fault, or this machine.
    #[error("failed to {0}")]
    Local(#[from] local::Error),
    /// What was to be shown is not so.
    #[error("FAILED: {0}")]
    Check(String),
    /// Unknown command.
    #[error("{0}")]
    Usage(&'static str),
}
