//! The algorithm: rounds, until a complete and fresh round finds nothing, or the time is over.

use std::time::Duration;

use tokio::time::sleep;

use crate::deadline::time_until;
use crate::erasure::checkpoint::{Checkpoint, MAX_ROUNDS};
use crate::erasure::context::Context;
use crate::erasure::delete::Deleter;
use crate::erasure::engine::{Engine, ErasureScope};
use crate::erasure::progress::Progress;
use crate::erasure::report::{HopEnd, IncompleteReason, Report, Round, RoundVerdict};
use crate::erasure::round::{RoundEnd, run_round};
use crate::limiter::Limiter;
use crate::ports::store::{DeleteStore, ReadStore};

/// How many rounds that find only items whose deletion S3 confirmed are followed by a wait and
/// another round: half a second first, then twice as long each time, half a minute in all.
const MAX_WAITS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Deletes, until a fresh round proves that nothing is left.
#[derive(Debug)]
pub struct Eraser<S>(pub S);

impl<S: DeleteStore> Engine for Eraser<S> {
    const IS_DRY_RUN: bool = false;

    async fn work(
        &self,
        limiter: &Limiter,
        progress: &Progress,
        erasure: ErasureScope<'_>,
        checkpoint: &mut Checkpoint,
    ) -> Report {
        progress.begin_hop(checkpoint, erasure.started_at);
        let cx = Context::new(&self.0, limiter, progress, erasure, false);
        erase(&cx, checkpoint).await
    }
}

/// Runs rounds from the checkpoint on, and moves it.
async fn erase<S: DeleteStore>(cx: &Context<'_, S>, checkpoint: &mut Checkpoint) -> Report {
    let start = checkpoint.clone();
    let mut waits = 0;
    loop {
        let (is_fresh, number) = (checkpoint.is_at_start_of_round(), checkpoint.round);
        let round_end = run_round(cx, &Deleter, checkpoint).await;
        let mut round = cx.progress.round();
        checkpoint.has_left_some |= !round.errors.is_empty() || round.left().may_be_deleted_later();
        let end = match round_end {
            RoundEnd::OutOfTime => {
                let is_over = is_fresh && number > MAX_ROUNDS;
                out_of_time(cx, &mut round, is_over, *checkpoint != start)
            }
            RoundEnd::Aborted(error) => round.aborted(error),
            RoundEnd::Complete => match round.verdict(is_fresh, number) {
                RoundVerdict::Erased => HopEnd::Erased,
                RoundVerdict::Incomplete(reason) => HopEnd::Incomplete(reason),
                RoundVerdict::Failed(errors) => HopEnd::Failed(errors),
                RoundVerdict::NextRound => {
                    checkpoint.start_next_round();
                    continue;
                }
                RoundVerdict::Wait => {
                    waits += 1;
                    if waits <= MAX_WAITS && wait(cx, waits).await {
                        checkpoint.start_next_round();
                        continue;
                    }
                    HopEnd::Incomplete(IncompleteReason::StillListed(round.still_listed()))
                }
            },
        };
        if matches!(end, HopEnd::Incomplete(_)) {
            // It is not known whether these items are deleted this time.
            cx.progress.retract_still_listed();
        }
        return Report { end, round };
    }
}

/// The stop time ended the round.
fn out_of_time<S: ReadStore>(
    cx: &Context<'_, S>,
    round: &mut Round,
    was_last_round: bool,
    has_advanced: bool,
) -> HopEnd {
    let errors = &mut round.errors;
    if cx.progress.deleted() == 0 && !errors.is_empty() {
        // Passes that were left are no progress: SQS is to count the delivery.
        return HopEnd::Failed(std::mem::take(errors));
    }
    errors.extend(cx.progress.last_transient_error());
    let faults = std::mem::take(errors);
    match (was_last_round, faults.is_empty()) {
        (false, _) => HopEnd::Unfinished { has_advanced, faults },
        // A round for the proof after the last one is not continued: with a store that does not
        // delete, the erasure would never end.
        (true, true) => HopEnd::Incomplete(IncompleteReason::LastRound),
        (true, false) => HopEnd::Failed(faults),
    }
}

/// Waits between two rounds. `false`: then there would be no time for another round.
async fn wait<S: ReadStore>(cx: &Context<'_, S>, number: u32) -> bool {
    let time = FIRST_WAIT * 2_u32.pow(number - 1);
    time_until(cx.last_launch()) > time && cx.until_stop(sleep(time)).await.is_some()
}
