//! Long runs of the function's real binary against models of S3, SQS and Lambda, and what they
//! measure.
//!
//! | module | one line |
//! |---|---|
//! | `store` | keys and bodies in memory, lean enough for millions |
//! | `partition`, `limit` | what S3 lets a partition take, and how it says no |
//! | `noise` | what fails at random, whatever the rate |
//! | `model` | a model of S3 over the store: latency, limits, planted faults |
//! | `trace` | every request that the model answered: when, how long, how many keys |
//! | `queue` | a model of SQS: a standard queue with visibility, deliveries and a dead-letter queue |
//! | `environment` | one warm execution environment: the real binary and the Runtime API that feeds it |
//! | `mapping` | the event source mapping between the two: batches of 10, so many invocations at once |
//! | `process`, `quota` | memory and CPU seconds of a process, and how many it may have |
//! | `world` | all of these together, for one run |
//! | `whale`, `crowd` | the runs, their checks and their reports |
//! | `race` | the function and its peers in the same scenarios, with a report |
//! | `report` | numbers for readers |
//! | `machine` | on what and when it was measured |
//!
//! Everything listens on loopback only, on free ports, and ends with the value that stands for it.

pub mod crowd;
mod environment;
mod limit;
mod machine;
mod mapping;
mod model;
mod noise;
#[path = "../../../tests/fake/partition.rs"]
mod partition;
mod process;
mod queue;
mod quota;
pub mod race;
mod report;
mod store;
mod trace;
mod versions;
pub mod whale;
mod world;

pub use limit::{Limit, Refusal};
pub use local::Error;
pub use model::{Latency, Plant};
pub use noise::{Noise, Noisy};
pub use report::{Report, command_line};
pub use world::Settings;
