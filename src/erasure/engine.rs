//! What the handler asks of the core: one hop of one erasure, or of its dry run.

use std::future::Future;
use std::num::NonZeroU64;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::progress::Progress;
use crate::erasure::report::Report;
use crate::limiter::Limiter;
use crate::target::{Targets, UserId};

/// What the function does with a user's files: the eraser deletes, the survey counts.
pub trait Engine {
    /// Whether nothing is deleted.
    const IS_DRY_RUN: bool;

    /// Works from the checkpoint on, moves it, and returns at the stop time at the latest.
    ///
    /// `counters` are raised as answers arrive, and hold whatever happens to this future. It need
    /// not be `Send`: the function has one thread.
    fn work(
        &self,
        pace: &Limiter,
        counters: &Progress,
        job: ErasureScope<'_>,
        checkpoint: &mut Checkpoint,
    ) -> impl Future<Output = Report>;
}

/// What is to be erased, and until when it may be worked on.
#[derive(Debug, Clone, Copy)]
pub struct ErasureScope<'a> {
    /// Where users' files are.
    pub targets: &'a Targets,
    /// Whose.
    pub user: &'a UserId,
    /// What was last modified at this moment or after it is kept.
    pub erase_before: Option<OffsetDateTime>,
    /// The most objects and versions that an erasure may meet, all hops together.
    pub max_objects: Option<NonZeroU64>,
    /// When the first hop of the erasure began.
    pub started_at: Option<OffsetDateTime>,
    /// When the work ends, finished or not.
    pub stop: Instant,
}
