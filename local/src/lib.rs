//! The local cloud: real services without Docker and without AWS, for the demo and the tests.
//!
//! | module | one line |
//! |---|---|
//! | `install` | Python packages in folders of their own below `.local/`, pinned, installed once |
//! | `vessel` | a server process that cannot outlive this one, and its folder |
//! | `ministack` | S3, SQS, Lambda and `CloudFormation` in one process |
//! | `seaweed` | a second S3, for a second opinion |
//! | `stack` | deploys the project's own `template.yaml` |
//! | `logs` | what the deployed function said |
//! | `objects` | many objects at once: put, list, read |
//! | `client` | the AWS clients, and plain HTTP for what they do not cover |
//!
//! Everything listens on loopback only, on free ports, and ends with the value that stands for it.

mod client;
mod error;
mod install;
mod logs;
mod ministack;
mod objects;
mod project;
mod seaweed;
mod stack;
mod vessel;

pub use error::Error;
pub use install::{Package, install};
pub use logs::Hop;
pub use ministack::Ministack;
pub use objects::{list_keys, put_objects, read_object, read_objects};
pub use project::{function_binary, project_root};
pub use seaweed::Seaweed;
pub use stack::Stack;
pub use vessel::{Vessel, free_ports};
