//! The dry run: one round that counts what would go. It has a store to read from, and none to
//! delete from.

use crate::erasure::batch::{BatchOutcome, BatchSink, Items};
use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::context::{Context, Scope};
use crate::erasure::progress::{Counts, Progress};
use crate::erasure::report::{Engine, ErasureScope, HopEnd, PassError, Report, Round};
use crate::erasure::round::RoundEnd;
use crate::limiter::Limiter;
use crate::ports::store::ReadStore;

/// Counts, and deletes nothing.
#[derive(Debug)]
pub struct DryRun<B>(pub B);

impl<B: ReadStore> Engine for DryRun<B> {
    const IS_DRY_RUN: bool = true;

    async fn work(
        &self,
        pace: &Limiter,
        counters: &Progress,
        job: ErasureScope<'_>,
        checkpoint: &mut Checkpoint,
    ) -> Report {
        let start = checkpoint.clone();
        let cx = Context::new(&self.0, pace, counters, job, checkpoint);
        let (mut round, mut faults) = (Round::default(), Vec::new());
        let end = match cx.round(&Counter, checkpoint, &mut round, &mut faults).await {
            // The next hop would know nothing of them, and this is the only round.
            RoundEnd::OutOfTime if !faults.is_empty() => HopEnd::Failed(faults),
            RoundEnd::OutOfTime => {
                faults.extend(cx.last_transient_error());
                HopEnd::Unfinished { has_advanced: *checkpoint != start, faults }
            }
            RoundEnd::Aborted(fault) => {
                faults.push(fault);
                HopEnd::Failed(faults)
            }
            RoundEnd::Complete if faults.is_empty() => HopEnd::Counted,
            RoundEnd::Complete => HopEnd::Failed(faults),
        };
        Report { end, round }
    }
}

/// Only counts.
#[derive(Debug)]
struct Counter;

impl<B: ReadStore> BatchSink<B> for Counter {
    const DELETES: bool = false;

    /// Its one round has to be as good as a proof.
    fn prefetches_first_page(&self) -> bool {
        false
    }

    fn restart(&self, cx: &Context<'_, B>, target: Option<&str>) {
        match target {
            Some(target) => cx.counters.forget(target),
            None => cx.counters.reset(),
        }
    }

    async fn handle_batch(
        &self,
        _tour: &Context<'_, B>,
        _ground: &Scope<'_>,
        _items: Items,
        _found: Counts,
    ) -> Result<Option<BatchOutcome>, PassError> {
        Ok(Some(BatchOutcome::default()))
    }
}
