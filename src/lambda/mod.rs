//! The edge: an SQS event comes in, and the answer, receipts, logs and metrics go out.

pub mod handler;
pub mod metrics;
mod outcome;
pub mod receipt;
