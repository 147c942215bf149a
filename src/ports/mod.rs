//! The traits that hide AWS: a store, a queue, and a place for receipts.

pub mod queue;
pub mod receipts;
pub mod store;
