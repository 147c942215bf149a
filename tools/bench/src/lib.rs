//! Long runs of the function's real binary against models of S3, SQS and Lambda, and what they
//! measure.
//!
//! | module | one line |
//! |---|---|
//! | `store` | keys and bodies in memory, lean enough for millions |
//! | `partition`, `limit` | what S3 lets a partition take, and how it says no |
//! | `noise` | what fails at random, whatever the rate |
//! | `model` | a model of S3 over the store: latency, limits, injected faults |
//! | `trace` | every request that the model answered: when, how long, how many keys |
//! | `queue` | a model of SQS: a standard queue with visibility, deliveries and a dead-letter queue |
//! | `environment` | one warm execution environment: the real binary and the Runtime API that feeds it |
//! | `event_source_mapping` | the event source mapping between the two: batches of 10, so many concurrent invocations |
//! | `process`, `cgroup` | memory and CPU seconds of a process, and how many it may have |
//! | `world` | all of these together, for one run |
//! | `huge_user`, `many_users` | the runs, their checks and their reports |
//! | `comparison` | the function and its peers in the same scenarios, with a report |
//! | `report` | numbers for readers |
//! | `machine` | on what and when it was measured |
//!
//! Everything listens on loopback only, on free ports, and ends when its value is dropped.

mod cgroup;
pub mod comparison;
mod environment;
mod event_source_mapping;
pub mod huge_user;
mod limit;
mod machine;
pub mod many_users;
mod model;
mod noise;
#[path = "../../../tests/fake/partition.rs"]
mod partition;
mod process;
mod queue;
mod report;
mod store;
mod trace;
mod versions;
mod world;

pub use limit::{Limit, Refusal};
pub use local::Error;
pub use model::{InjectedFault, Latency};
pub use noise::{Noise, Noisy};
pub use report::{Report, command_line};
pub use world::Settings;
