//! The local cloud: real services without Docker and without AWS, for the demo and the tests.
//!
//! | module | one line |
//! |---|---|
//! | `install` | Python packages in folders of their own below `.local/`, pinned, installed once |
//! | `server_process` | a server process that cannot outlive this one, and its folder |
//! | `ministack` | S3, SQS, Lambda and `CloudFormation` in one process |
//! | `seaweed`, `moto` | a second and a third S3, by other people; each is an `s3_server` |
//! | `rclone` | one more, which cannot list unfinished uploads as S3 does |
//! | `stack` | deploys the project's own `template.yaml` |
//! | `role` | what the deployed function's role may do: any request in its name |
//! | `logs` | reads the log of the deployed function |
//! | `objects` | puts, lists and reads many objects concurrently |
//! | `versions` | versions, delete markers, uploads and locks: make them, and list everything |
//! | `buckets` | removes a bucket with everything in it |
//! | `receipts`, `certificate` | reads the receipts of erasures; one of them as a page for people |
//! | `http` | HTTP servers on loopback, with and without TLS |
//! | `client` | the AWS clients, and plain HTTP for what they do not cover |
//! | `recording_server` | a server of a test that records its requests, over TLS as well |
//! | `fault_proxy` | a network that resets, delays, truncates and is busy |
//! | `processes` | the processes that a server has started, and signals to them |
//!
//! Everything listens on loopback only, on free ports, and ends when its value is dropped.

mod buckets;
mod certificate;
mod client;
mod error;
mod fault_proxy;
pub mod http;
mod install;
mod logs;
mod ministack;
mod moto;
mod objects;
mod processes;
mod project;
mod rclone;
mod receipts;
mod recording_server;
mod role;
mod s3_server;
mod seaweed;
mod server_process;
mod stack;
mod versions;

pub use buckets::remove_bucket;
pub use error::Error;
pub use fault_proxy::{Fault, FaultCounts, FaultProfile, FaultProxy, Operation};
pub use indicatif::{HumanCount, HumanFloatCount};
pub use install::{Package, install};
pub use logs::Hop;
pub use ministack::Ministack;
pub use moto::Moto;
pub use objects::{list_keys, put_objects, read_object, read_objects, read_version};
pub use processes::signal;
pub use project::{function_binary, project_root};
pub use rclone::Rclone;
pub use receipts::{Receipt, ReceiptsFolder, ReceiptsFound, user_hash};
pub use recording_server::RecordingServer;
pub use role::{Answer, Request, Role};
pub use rustix::process::Signal;
pub use s3_server::S3Server;
pub use seaweed::Seaweed;
pub use server_process::{ServerProcess, free_ports};
pub use stack::{Stack, adapted};
pub use versions::{
    Lock, Stored, StoredKind, complete_upload, count, create_bucket_with_object_lock,
    delete_plainly, delete_version, enable_versioning, inventory, lift_legal_hold, list_versions,
    lock_version, put_object, start_upload, suspend_versioning,
};
