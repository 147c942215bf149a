//! The core: one hop of one erasure.

mod batch;
pub mod checkpoint;
mod confirmed;
mod context;
pub mod delete;
pub mod dry_run;
mod list;
pub mod progress;
pub mod report;
mod round;
mod select;
mod split;
