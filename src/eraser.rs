//! The work: rounds of pages and batches, until a round finds nothing or the time is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::sleep;

use crate::bookmark::{Bookmark, MAX_ROUNDS};
use crate::bucket::{Deletes, Fault, Item, KeyFailure, Kind};
use crate::deadline::left_until;
use crate::pace::{Pace, Pass, Read};
use crate::tally::{Counters, Counts, Left};
use crate::tour::{Disposal, Ground, Outcome, RoundEnd, Tour};
use crate::work::{End, Job, Judgement, Obstacle, Report, Round, Stuck, Work};

/// The code for what may not be deleted, a locked version among them.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const ACCESS_DENIED: &str = "AccessDenied";

/// Our own code for what may be locked, where S3 does not tell: a permission to ask is missing.
const LOCK_NOT_READABLE: &str = "LockNotReadable";

/// So often in a row the refusal of a key says that the pace is too high. One that always fails must not slow down all.
const SIGNALS: u32 = 3;

/// Questions about refused versions of one batch at once.
const RETENTIONS_AT_ONCE: usize = 8;

/// Deletes, until a fresh round proves that nothing is left.
#[derive(Debug)]
pub struct Eraser<B>(pub B);

impl<B: Deletes> Work for Eraser<B> {
    const IS_DRY_RUN: bool = false;

    async fn work(&self, pace: &Pace, counters: &Counters, job: Job<'_>, bookmark: &mut Bookmark) -> Report {
        let start = bookmark.clone();
        let tour = Tour::new(&self.0, pace, counters, job);
        loop {
            let (is_fresh, number) = (bookmark.is_at_start_of_round(), bookmark.round);
            let (mut round, mut faults) = (Round::default(), Vec::new());
            // What may be kept is listed as late as can be: meanwhile it may be written anew.
            let looks_ahead = number == 1 && job.erase_before.is_none();
            let erasing = Erasing { looks_ahead, ..Erasing::default() };
            let end = match tour.round(&erasing, bookmark, &mut round, &mut faults).await {
                RoundEnd::OutOfTime => {
                    faults.extend(tour.reason_of_idleness());
                    // One more, for the proof, is not carried on: a store that does not delete would have no end.
                    if is_fresh && number > MAX_ROUNDS {
                        let end = if faults.is_empty() { End::Stuck(Stuck::LastRound) } else { End::Failed(faults) };
                        return Report { end, round };
                    }
                    End::Unfinished { has_advanced: *bookmark != start, faults }
                }
                RoundEnd::Halted(fault) => match fault.obstacle {
                    Obstacle::Fuse(max_objects) => End::Stuck(Stuck::Fuse(max_objects)),
                    Obstacle::Fault(_) | Obstacle::Outside(_) => {
                        faults.push(fault);
                        End::Failed(faults)
                    }
                },
                RoundEnd::Complete if !faults.is_empty() => End::Failed(faults),
                RoundEnd::Complete => match round.judge(is_fresh, number) {
                    Judgement::Erased => End::Erased,
                    Judgement::Stuck(stuck) => End::Stuck(stuck),
                    Judgement::NextRound => {
                        bookmark.begin_next_round();
                        continue;
                    }
                },
            };
            return Report { end, round };
        }
    }
}

/// Deletes the batches of one round.
#[derive(Debug, Default)]
struct Erasing {
    /// In the first round: later ones find as good as nothing, and what is empty is listed twice.
    looks_ahead: bool,
    /// Objects and versions that were listed in this round and are not gone.
    open: AtomicU64,
}

/// Items of a batch on their way to a request.
#[derive(Debug)]
struct Part {
    items: Vec<Item>,
    /// How often they were sent before, in vain.
    attempt: u32,
    /// How long they have to wait.
    wait: Duration,
}

impl<B: Deletes> Disposal<B> for Erasing {
    const DELETES: bool = true;

    fn looks_ahead(&self) -> bool {
        self.looks_ahead
    }

    /// What is gone is not found again; what is not will be counted once more.
    fn begin_again(&self, _tour: &Tour<'_, B>, _target: Option<&str>) {
        self.open.store(0, Ordering::Relaxed);
    }

    /// Deletes one batch, in as many requests as it takes.
    async fn dispose(
        &self,
        tour: &Tour<'_, B>,
        ground: &Ground<'_>,
        items: Vec<Item>,
    ) -> Result<Option<Outcome>, Obstacle> {
        self.check_fuse(tour, ground, items.len())?;
        let (mut left, mut denied) = (Left::default(), Vec::new());
        let mut parts = vec![Part { items, attempt: 0, wait: Duration::ZERO }];
        while let Some(Part { mut items, attempt, wait }) = parts.pop() {
            if items.is_empty() {
                continue;
            }
            if left_until(tour.launch_end()) <= wait {
                return Ok(None);
            }
            if attempt > 0 {
                tour.counters.retried();
            }
            sleep(wait).await;
            let later = |items| Part { items, attempt: attempt + 1, wait: tour.pace.backoff(attempt + 1) };
            let Some(pass) = admit(tour, ground, items.len()).await else { return Ok(None) };
            let rest = items.split_off(pass.keys());
            parts.push(Part { items: rest, attempt, wait: Duration::ZERO });
            // The pace knows of the first refusals, and makes all wait.
            let wait = if attempt < SIGNALS { Duration::ZERO } else { tour.pace.backoff(attempt) };
            let paced = |items| Part { items, attempt: attempt + 1, wait };
            match request(tour, ground, &items, &pass, attempt).await {
                Ok(failures) => {
                    let settled = self.settle(tour, ground, items, &failures);
                    settled.refused.into_iter().for_each(|code| left.refused.add(&code, 1));
                    denied.extend(settled.denied);
                    parts.push(later(settled.again));
                    parts.push(paced(settled.throttled));
                }
                // Half as many, until the key that the store cannot take stands alone.
                Err(Fault::Malformed(_)) if items.len() > 1 => {
                    let halves = halves(items).map(|items| Part { items, attempt: attempt + 1, wait: Duration::ZERO });
                    parts.extend(halves);
                }
                Err(Fault::Malformed(_)) => left.refused.add("Malformed", 1),
                Err(fault @ Fault::Throttled(_)) => {
                    tour.note(ground.target, fault);
                    parts.push(paced(items));
                }
                Err(fault) if fault.is_temporary() => {
                    tour.note(ground.target, fault);
                    parts.push(later(items));
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        explain(tour, ground, &denied, &mut left).await;
        Ok(Some(Outcome { left, ..Outcome::default() }))
    }
}

/// What an answer says of the items of a request.
#[derive(Debug, Default)]
struct Settled {
    /// Worth another try.
    again: Vec<Item>,
    /// Worth another try, at a lower pace.
    throttled: Vec<Item>,
    /// Refused versions, which something may hold.
    denied: Vec<Item>,
    /// The codes of the rest that is not gone.
    refused: Vec<String>,
}

impl Erasing {
    /// Blows when an erasure meets more objects and versions than it may.
    fn check_fuse<B: Deletes>(&self, tour: &Tour<'_, B>, ground: &Ground<'_>, more: usize) -> Result<(), Obstacle> {
        let is_data = matches!(ground.kind, Kind::Objects | Kind::Versions);
        let more = if is_data { more as u64 } else { 0 };
        let open = self.open.fetch_add(more, Ordering::Relaxed) + more;
        match tour.job.max_objects {
            Some(max) if is_data && tour.counters.data_gone().saturating_add(open) > max.get() => {
                Err(Obstacle::Fuse(max))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Counts what is gone, and sorts the rest.
    fn settle<B: Deletes>(
        &self,
        tour: &Tour<'_, B>,
        ground: &Ground<'_>,
        items: Vec<Item>,
        failures: &[KeyFailure],
    ) -> Settled {
        let mut by_index: Vec<Option<&KeyFailure>> = vec![None; items.len()];
        for failure in failures {
            by_index[failure.index] = Some(failure);
        }
        let (mut settled, mut gone) = (Settled::default(), Counts::default());
        for (item, failure) in items.into_iter().zip(by_index) {
            match failure {
                None => gone += Counts::of(ground.kind, 1, item.bytes),
                Some(failure) if failure.is_throttle => settled.throttled.push(item),
                Some(failure) if failure.is_retryable => settled.again.push(item),
                Some(failure) if failure.code == ACCESS_DENIED && ground.kind == Kind::Versions => {
                    settled.denied.push(item);
                }
                Some(failure) => settled.refused.push(failure.code.clone()),
            }
        }
        // First out of the open ones: the fuse must not count anything twice.
        self.open.fetch_sub(gone.data(), Ordering::Relaxed);
        tour.counters.gone(ground.target, gone);
        tour.counters.throttled(settled.throttled.len() as u64);
        if let Some(failure) = failures.iter().find(|failure| failure.is_throttle || failure.is_retryable) {
            let keys = settled.throttled.len() + settled.again.len();
            let text = format!("the deletion: {} for {keys} keys", failure.code);
            tour.note(ground.target, Fault::Unavailable(text));
        }
        settled
    }
}

/// Waits for the turn of one delete request. `None`: too late.
async fn admit<'t, B: Deletes>(tour: &'t Tour<'_, B>, ground: &Ground<'_>, wanted: usize) -> Option<Pass<'t>> {
    let turn = tour.turn.lock().await;
    let pass = tour.pace.admit(ground.prefix.bucket(), wanted).await;
    drop(turn);
    tour.may_launch().then_some(pass)
}

/// One delete request.
async fn request<B: Deletes>(
    tour: &Tour<'_, B>,
    ground: &Ground<'_>,
    items: &[Item],
    pass: &Pass<'_>,
    attempt: u32,
) -> Result<Vec<KeyFailure>, Fault> {
    tour.counters.requested(1);
    let deletion = tour.bucket.delete(ground.prefix, ground.kind, items, tour.limit()).await;
    let throttled = match &deletion {
        Ok(deletion) => deletion.failures.iter().filter(|failure| failure.is_throttle && attempt < SIGNALS).count(),
        Err(Fault::Throttled(_)) => items.len(),
        // It says nothing of the pace.
        Err(_) => return deletion.map(|deletion| deletion.failures),
    };
    pass.answered(throttled);
    let deletion = deletion?;
    tour.counters.requested(deletion.requests.saturating_sub(1));
    Ok(deletion.failures)
}

/// Asks what holds each refused version. Where nothing does, it counts as refused.
async fn explain<B: Deletes>(tour: &Tour<'_, B>, ground: &Ground<'_>, denied: &[Item], left: &mut Left) {
    let request = |item| move |limit| tour.bucket.retention(ground.prefix, item, limit);
    let ask = |item| tour.until_answered(ground, Read::Other, request(item));
    let questions: Vec<_> = denied.iter().map(ask).collect();
    let mut answers = stream::iter(questions).buffer_unordered(RETENTIONS_AT_ONCE);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Some(retention)) => left.retain(retention),
            Ok(None) => left.refused.add(ACCESS_DENIED, 1),
            Err(_) => left.refused.add(LOCK_NOT_READABLE, 1),
        }
    }
}

/// The second half first: parts are taken from the end.
fn halves(mut items: Vec<Item>) -> [Vec<Item>; 2] {
    let second = items.split_off(items.len().div_ceil(2));
    [second, items]
}
