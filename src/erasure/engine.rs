//! The core's interface to the handler: one hop of an erasure or of a dry run.

use std::future::Future;
use std::num::NonZeroU64;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::progress::Progress;
use crate::erasure::report::Report;
use crate::limiter::Limiter;
use crate::target::{Targets, User};

/// Processes a user's files: the eraser deletes them, a dry run counts them.
pub trait Engine {
    /// Whether this engine deletes nothing.
    const IS_DRY_RUN: bool;

    /// Works from the checkpoint on, moves it, and returns at the stop time at the latest.
    ///
    /// The counters are updated as responses arrive, and remain valid if this future is dropped.
    /// The future need not be `Send`, because the function has one thread.
    fn work(
        &self,
        pace: &Limiter,
        counters: &Progress,
        job: ErasureScope<'_>,
        checkpoint: &mut Checkpoint,
    ) -> impl Future<Output = Report>;
}

/// What to erase, and until when the hop may work on it.
#[derive(Debug, Clone, Copy)]
pub struct ErasureScope<'a> {
    /// The targets, where users' files are.
    pub targets: &'a Targets,
    /// The user to erase.
    pub user: &'a User,
    /// Items that were last modified at this time or later are kept.
    pub erase_before: Option<OffsetDateTime>,
    /// The object limit: the most objects and versions that an erasure may find, over all hops.
    pub max_objects: Option<NonZeroU64>,
    /// When the first hop of the erasure began.
    pub started_at: Option<OffsetDateTime>,
    /// The stop time, at which the work ends, finished or not.
    pub stop: Instant,
}
