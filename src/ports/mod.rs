//! The three traits behind which AWS is: a store, a queue, and a place for receipts.

pub mod queue;
pub mod receipts;
pub mod store;
