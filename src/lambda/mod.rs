//! The edge: an SQS event comes in, and the response, receipts, logs and metrics go out.

mod conclude;
pub mod event;
pub mod handler;
mod hop;
mod log;
pub mod metrics;
mod outcome;
pub mod receipt;
