//! Long runs of the function's real binary against models of S3, SQS and Lambda, and what they measure.
//!
//! | module | one line |
//! |---|---|
//! | `store` | keys and bodies in memory, lean enough for millions |
//! | `model` | a model of S3 over the store: latency, a limit in keys for each partition, planted faults |
//! | `trace` | every request that the model answered: when, how long, how many keys |
//! | `queue` | a model of SQS: a standard queue with visibility, deliveries and a dead-letter queue |
//! | `environment` | one warm execution environment: the real binary and the Runtime API that feeds it |
//! | `mapping` | the event source mapping between the two: batches of 10, so many invocations at once |
//! | `process` | memory and CPU seconds of a process |
//! | `world` | all of these together, for one run |
//! | `whale`, `crowd` | the runs, their checks and their reports |
//! | `report` | numbers for readers |
//!
//! Everything listens on loopback only, on free ports, and ends with the value that stands for it.

pub mod crowd;
mod environment;
mod error;
mod http;
mod mapping;
mod model;
mod process;
mod queue;
mod report;
mod store;
mod trace;
pub mod whale;
mod world;

pub use error::Error;
pub use model::{Latency, Plant};
pub use report::Report;
pub use world::Settings;
