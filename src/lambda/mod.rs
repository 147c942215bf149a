//! The Lambda interface: it takes an SQS event and produces the response, receipts, logs and
//! metrics.

mod conclude;
pub mod event;
pub mod handler;
mod hop;
mod log;
pub mod metrics;
mod outcome;
pub mod receipt;
