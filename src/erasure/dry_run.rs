//! The dry run: one round that counts what would be deleted. It has a store to read from, and none
//! to delete from.

use crate::erasure::batch::{BatchOutcome, BatchSink, Items};
use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::context::{Context, Scope};
use crate::erasure::engine::{Engine, ErasureScope};
use crate::erasure::progress::Progress;
use crate::erasure::report::{HopEnd, PassError, Report};
use crate::erasure::round::{RoundEnd, run_round};
use crate::limiter::Limiter;
use crate::ports::store::ReadStore;

/// Counts, and deletes nothing.
#[derive(Debug)]
pub struct DryRun<S>(pub S);

impl<S: ReadStore> Engine for DryRun<S> {
    const IS_DRY_RUN: bool = true;

    async fn work(
        &self,
        limiter: &Limiter,
        progress: &Progress,
        erasure: ErasureScope<'_>,
        checkpoint: &mut Checkpoint,
    ) -> Report {
        let start = checkpoint.clone();
        progress.begin_hop(checkpoint, erasure.started_at);
        let cx = Context::new(&self.0, limiter, progress, erasure, true);
        let round_end = run_round(&cx, &Counter, checkpoint).await;
        let mut round = progress.round();
        let end = match round_end {
            RoundEnd::Aborted(error) => round.aborted(error),
            // The next hop would not know of these errors, and this is the only round.
            RoundEnd::OutOfTime | RoundEnd::Complete if !round.errors.is_empty() => {
                HopEnd::Failed(std::mem::take(&mut round.errors))
            }
            RoundEnd::Complete => HopEnd::Counted,
            RoundEnd::OutOfTime => HopEnd::Unfinished {
                has_advanced: *checkpoint != start,
                faults: progress.last_transient_error().into_iter().collect(),
            },
        };
        Report { end, round }
    }
}

/// Counts the items of a batch; the pass does that for every sink.
#[derive(Debug)]
struct Counter;

impl<S> BatchSink<S> for Counter {
    async fn handle(
        &self,
        _cx: &Context<'_, S>,
        _scope: &Scope<'_>,
        _items: Items,
    ) -> Result<Option<BatchOutcome>, PassError> {
        Ok(Some(BatchOutcome::default()))
    }
}
