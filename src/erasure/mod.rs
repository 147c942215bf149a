//! The core: one hop of one erasure. `design.md`, in this folder, has the algorithm on one page.

mod batch;
pub mod checkpoint;
mod confirmed;
mod context;
pub mod counts;
mod delete;
pub mod dry_run;
pub mod engine;
pub mod erase;
mod failures;
mod list;
mod pass;
mod patience;
mod plan;
pub mod progress;
mod ranges;
pub mod report;
mod round;
mod select;
mod split;
mod sub_batch;
pub mod watermark;
