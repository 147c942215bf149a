//! The subcommands of `local`.

mod chaos;
mod invoke;
mod receipt;
mod run;
mod seed;
mod show;
mod up;

pub(crate) use chaos::{Settings as ChaosSettings, chaos};
pub(crate) use invoke::{install_cargo_lambda, invoke};
pub(crate) use receipt::receipt;
pub(crate) use run::run;
pub(crate) use up::{left, logs, running_cloud, send, up};

/// Where the users' files are: a bucket that never had versions, each user's folder at its root.
const PHOTOS: &str = "photos";
/// And one that keeps versions.
const DOCUMENTS: &str = "documents";
/// Before each user's folder in the bucket with versions.
const USERS: &str = "users/";
/// Where receipts go.
const RECEIPTS: &str = "receipts";
const RECEIPTS_URI: &str = "s3://receipts/receipts/";
/// No secret in a local cloud.
const HASH_KEY: &str = "no-secret-in-a-local-cloud";

/// The template's parameters for these.
const PLACES: [(&str, &str); 5] = [
    ("Target1Bucket", PHOTOS),
    ("Target2Bucket", DOCUMENTS),
    ("Target2Prefix", "users/{user_id}/"),
    ("ReceiptsBucket", RECEIPTS),
    ("ReceiptHashKey", HASH_KEY),
];

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The local cloud is at fault, or this machine.
    #[error("failed to {0}")]
    Local(#[from] local::Error),
    /// A check of the demo failed.
    #[error("FAILED: {0}")]
    Check(String),
    /// Nothing is broken, but what the command names does not exist, or cannot be used like this.
    #[error("{0}")]
    Nothing(String),
}

impl Failure {
    /// The same with a note behind it.
    fn and(self, note: &str) -> Self {
        match self {
            Self::Check(text) => Self::Check(format!("{text}\n{note}")),
            Self::Local(_) | Self::Nothing(_) => Self::Check(format!("{self}\n{note}")),
        }
    }
}
