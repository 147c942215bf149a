//! One pass: lists one kind at one target, and hands every batch to a sink.

use std::pin::pin;

use futures::future::ready;
use futures::stream::StreamExt;

use crate::erasure::batch::{BatchOutcome, BatchSink};
use crate::erasure::checkpoint::KeyRange;
use crate::erasure::context::{Context, Scope};
use crate::erasure::counts::Counts;
use crate::erasure::list::{Batch, Listing};
use crate::erasure::plan::{PassEnd, Resume};
use crate::erasure::ranges::Ranges;
use crate::erasure::report::PassError;
use crate::erasure::watermark::PageInfo;
use crate::ports::store::{Page, ReadStore, StoreError};

/// The longest list of key ranges that a continuation carries, in bytes of JSON: as long as the
/// longest token may become in it.
const MAX_RANGES_BYTES: usize = 6 * 16_384;

/// A batch that is done: its range, its page, and its outcome.
type Done = (usize, PageInfo, BatchOutcome);

/// Lists from these ranges on, in parallel with the handling of the batches, until everything has
/// an outcome, or the stop time, or an error ends the pass.
pub(super) async fn run_pass<S: ReadStore>(
    cx: &Context<'_, S>,
    sink: &impl BatchSink<S>,
    scope: &Scope<'_>,
    resume: Vec<KeyRange>,
    prefetched: Option<Page>,
) -> PassEnd {
    let is_at_start = resume.is_empty();
    let ranges = &Ranges::resume(resume);
    let listing = Listing::new(cx, scope, ranges, is_at_start, prefetched);
    let batches = listing
        .batches()
        .take_until(cx.until_last_launch())
        .take_while(|_| ready(!cx.is_aborted.get() && !scope.is_left.get()))
        .map(|batch| async { handle(cx, sink, scope, batch?).await })
        // One more than may be in flight: the next page is listed while this one is deleted.
        .buffer_unordered(cx.limiter.max_in_flight().saturating_add(1));
    let mut batches = pin!(batches);
    let mut end = None;
    let is_complete = loop {
        match cx.until_stop(batches.next()).await {
            Some(Some(Ok(Some((range, page, outcome))))) => {
                for outcome in ranges.record(range, page, outcome) {
                    record(cx, scope, &outcome);
                }
            }
            // It was too late for this batch: the low-water mark stays before it.
            Some(Some(Ok(None))) => {}
            Some(Some(Err(error @ PassError::ForeignKey(_)))) => return PassEnd::Aborted(error),
            // The responses of what was sent are still counted: items that nobody has counted would
            // be listed, and counted, again.
            Some(Some(Err(error))) => end = end_on(cx, scope, end, error),
            Some(None) => break ranges.is_complete(),
            None => break false,
        }
    };
    match end {
        Some(end) => end,
        None if is_complete => PassEnd::Complete,
        None => out_of_time(scope, ranges.not_done()),
    }
}

async fn handle<S: ReadStore>(
    cx: &Context<'_, S>,
    sink: &impl BatchSink<S>,
    scope: &Scope<'_>,
    batch: Batch<'_>,
) -> Result<Option<Done>, PassError> {
    let Batch { range, page, items, left, _memory } = batch;
    let found = items.counts();
    let Some(mut outcome) = sink.handle(cx, scope, items).await? else { return Ok(None) };
    outcome.found = found;
    outcome.left.merge(&left);
    Ok(Some((range, page, outcome)))
}

/// Counts an outcome that the low-water mark has passed.
fn record<S>(cx: &Context<'_, S>, scope: &Scope<'_>, outcome: &BatchOutcome) {
    let BatchOutcome { found, left, missing } = outcome;
    cx.progress.record_page(scope.target, *found, left, *missing);
    if cx.is_dry_run {
        // An erasure finds what it keeps again in each round; this is the only round.
        let kept_newer = left.kept_newer;
        cx.progress.record_deleted(scope.target, Counts { kept_newer, ..*found });
    }
}

/// How the pass ends after an error of a batch, given the end that an earlier error decided.
fn end_on<S>(
    cx: &Context<'_, S>,
    scope: &Scope<'_>,
    end: Option<PassEnd>,
    error: PassError,
) -> Option<PassEnd> {
    match error {
        PassError::ObjectLimit(_) | PassError::ForeignKey(_) => {
            cx.is_aborted.set(true);
            Some(PassEnd::Aborted(error))
        }
        PassError::Store(error @ StoreError::TokenRejected(_)) => {
            end.or(Some(PassEnd::Restart(Some(error))))
        }
        PassError::Store(_) | PassError::TransientFailures(_) => {
            scope.is_left.set(true);
            end.or(Some(PassEnd::Failed(error)))
        }
    }
}

fn out_of_time(scope: &Scope<'_>, ranges: Vec<KeyRange>) -> PassEnd {
    let is_short = serde_json::to_string(&ranges).is_ok_and(|text| text.len() <= MAX_RANGES_BYTES);
    if is_short {
        PassEnd::OutOfTime(Resume { kind: Some(scope.kind), ranges })
    } else {
        // No store that is known here has such long tokens. Only time is lost.
        PassEnd::OutOfTimeAtStart
    }
}
