//! The work: rounds of pages and batches, until a round finds nothing or the time is over.

use std::future::Future;
use std::pin::pin;
use std::sync::PoisonError;
use std::time::Duration;

use futures::future::try_join;
use futures::stream::{self, StreamExt, TryStreamExt};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bookmark::{Bookmark, LowWaterMark, PageMark};
use crate::bucket::{Bucket, Fault, Item, KeyFailure, Page};
use crate::deadline::left_until;
use crate::pace::Pace;
use crate::tally::{Codes, Counters};
use crate::target::{OutsidePrefix, Prefix, Target, Targets, UserId};

/// No request to S3 may take longer; a hop of five minutes must survive a few that hang.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// An erasure needs two rounds and one more for each time that something is written behind it. More than this many,
/// and somebody keeps writing, or the store says "deleted" and keeps.
pub const MAX_ROUNDS: u32 = 20;

/// Erases one user, within one invocation.
#[derive(Debug)]
pub struct Eraser<'a, B> {
    bucket: &'a B,
    pace: &'a Pace,
    counters: &'a Counters,
    job: Job<'a>,
    /// Held while waiting at the pace, so that each erasure has one place in that line, however large its user is.
    turn: Mutex<()>,
    longest_launch: Duration,
    /// The newest fault that was waited out: the reason, should the hop have been of no use.
    pending: std::sync::Mutex<Option<TargetFault>>,
}

/// What is to be erased, and until when it may be worked on.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Where users' files are.
    pub targets: &'a Targets,
    /// Whose.
    pub user: &'a UserId,
    /// Objects last modified at this moment or after it are kept.
    pub erase_before: Option<OffsetDateTime>,
    /// When the work ends, finished or not.
    pub stop: Instant,
}

/// How a hop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A complete round that began in this hop found nothing.
    Erased,
    /// There is more to do.
    Unfinished {
        /// Whether the bookmark moved.
        has_advanced: bool,
        /// What stood in the way meanwhile.
        faults: Vec<TargetFault>,
    },
    /// What is left cannot be deleted.
    Stuck(Stuck),
    /// S3 could not be used; nothing is said about what is left.
    Failed(Vec<TargetFault>),
}

/// Why what is left cannot be deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// A whole round deleted nothing of what it found.
    #[error("S3 refuses to delete what is left ({0})")]
    Refused(Codes),
    /// Rounds keep finding objects.
    #[error("{MAX_ROUNDS} rounds found objects: something keeps writing, or the store does not delete")]
    Rounds,
}

/// What stood in the way at one target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{target}: {obstacle}")]
pub struct TargetFault {
    /// The target, as its setting names it.
    pub target: String,
    /// What it was.
    pub obstacle: Obstacle,
}

/// What stands in the way of a pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The store failed.
    #[error("failed to {0}")]
    Fault(#[from] Fault),
    /// The store listed somebody else's key.
    #[error("{0}")]
    Outside(#[from] OutsidePrefix),
}

impl Fault {
    fn is_temporary(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::Unavailable(_) | Self::Untrustworthy(_) => true,
            Self::TokenRefused(_) | Self::Malformed(_) | Self::Refused(_) => false,
        }
    }
}

/// What this hop has seen of a round. Only a round that began in this hop is judged by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// Objects that it deleted.
    pub deleted: u64,
    /// Objects that it found and left, because they are newer than the erasure's limit.
    pub kept_newer: u64,
    /// Keys that it found and could not delete, by the store's code.
    pub refused: Codes,
}

impl Round {
    fn found_nothing(&self) -> bool {
        self.deleted == 0 && self.refused.total() == 0
    }
}

/// What a hop reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// Its last round.
    pub round: Round,
}

/// Items of one page that go in one request.
#[derive(Debug)]
struct Batch {
    page: PageMark,
    items: Vec<Item>,
    outcome: Outcome,
}

/// Where the listing of a pass goes on.
#[derive(Debug)]
struct Next {
    token: Option<String>,
    /// The page's number in the pass.
    number: u64,
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

/// What a batch leaves to be counted once the low-water mark has passed it.
#[derive(Debug, Default)]
struct Outcome {
    kept_newer: u64,
    refused: Codes,
}

enum PassEnd {
    Complete,
    OutOfTime,
    Obstacle(Obstacle),
}

impl<'a, B: Bucket> Eraser<'a, B> {
    /// `counters` are raised as answers arrive, and hold whatever happens to the future of [`Eraser::erase`].
    pub fn new(bucket: &'a B, pace: &'a Pace, counters: &'a Counters, job: Job<'a>) -> Self {
        // However slow the store was lately, the first half of a hop launches.
        let longest_launch = left_until(job.stop) / 2;
        let pending = std::sync::Mutex::default();
        Self { bucket, pace, counters, job, turn: Mutex::new(()), longest_launch, pending }
    }

    /// Works from the bookmark on, moves it, and returns at the stop time at the latest.
    pub async fn erase(&self, bookmark: &mut Bookmark) -> Report {
        let start = bookmark.clone();
        loop {
            // A round that another invocation began proves nothing, however long ago that was.
            let is_fresh = bookmark.is_at_start_of_round();
            let mut round = Round::default();
            let mut faults = Vec::new();
            let is_over = self.round(bookmark, &mut round, &mut faults).await;
            let end = if !is_over {
                if self.counters.hop().objects == 0 {
                    faults.extend(self.pending.lock().unwrap_or_else(PoisonError::into_inner).take());
                }
                End::Unfinished { has_advanced: *bookmark != start, faults }
            } else if !faults.is_empty() {
                End::Failed(faults)
            } else if is_fresh && round.found_nothing() {
                End::Erased
            } else if is_fresh && round.deleted == 0 {
                End::Stuck(Stuck::Refused(round.refused.clone()))
            } else if bookmark.round >= MAX_ROUNDS && round.deleted > 0 {
                End::Stuck(Stuck::Rounds)
            } else {
                bookmark.begin_next_round();
                continue;
            };
            return Report { end, round };
        }
    }

    /// Goes over the targets that the round has not seen yet. `false`: out of time.
    async fn round(&self, bookmark: &mut Bookmark, round: &mut Round, faults: &mut Vec<TargetFault>) -> bool {
        let targets = self.job.targets.as_slice();
        // A target that is no longer configured: begin at the first.
        let resumed = targets.iter().position(|target| Some(target.to_string()) == bookmark.target);
        if resumed.is_none() {
            bookmark.token = None;
        }
        for target in targets.iter().skip(resumed.unwrap_or(0)) {
            let deleted_before = self.counters.hop().objects;
            let mut mark = LowWaterMark::new(bookmark.token.take());
            let end = self.pass(target, &mut mark, round).await;
            round.deleted += self.counters.hop().objects - deleted_before;
            match end {
                PassEnd::Complete => {}
                PassEnd::OutOfTime => {
                    let is_at_start = mark.token().is_none() && target == &targets[0];
                    bookmark.target = (!is_at_start).then(|| target.to_string());
                    bookmark.token = mark.token().map(str::to_owned);
                    return false;
                }
                PassEnd::Obstacle(obstacle) => {
                    let is_alarming = matches!(obstacle, Obstacle::Outside(_));
                    faults.push(TargetFault { target: target.to_string(), obstacle });
                    if is_alarming {
                        return true;
                    }
                }
            }
        }
        true
    }

    /// Lists one target from the low-water mark on and deletes what it lists.
    async fn pass(&self, target: &Target, mark: &mut LowWaterMark<Outcome>, round: &mut Round) -> PassEnd {
        let prefix = target.prefix(self.job.user);
        let first = Some(Next { token: mark.token().map(str::to_owned), number: 0 });
        let pass = Pass { eraser: self, target, prefix: &prefix };
        let batches = stream::try_unfold(first, |next| pass.next_page(next))
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten()
            .take_until(self.launch_window())
            .map(|batch: Result<Batch, Obstacle>| async { pass.erase_batch(batch?).await })
            // One more than may be in flight: the next page is fetched while this one is deleted.
            .buffer_unordered(self.pace.max_in_flight().saturating_add(1));
        let mut batches = pin!(batches);
        loop {
            let batch = tokio::select! {
                biased;
                () = sleep_until(self.job.stop) => return PassEnd::OutOfTime,
                batch = batches.next() => batch,
            };
            match batch {
                Some(Ok(Some((page, outcome)))) => {
                    for outcome in mark.batch_done(&page, outcome) {
                        round.kept_newer += outcome.kept_newer;
                        round.refused.merge(&outcome.refused);
                    }
                }
                // Too late for this batch: the mark stays before it.
                Some(Ok(None)) => {}
                Some(Err(obstacle)) => return PassEnd::Obstacle(obstacle),
                None if mark.is_complete() => return PassEnd::Complete,
                None => return PassEnd::OutOfTime,
            }
        }
    }

    fn may_launch(&self) -> bool {
        Instant::now() < self.launch_end()
    }

    /// A batch that is launched later than this would probably be dropped at the stop time.
    fn launch_end(&self) -> Instant {
        self.job.stop - self.pace.usual_batch_time().min(self.longest_launch)
    }

    /// Ends when nothing more should be launched.
    async fn launch_window(&self) {
        while self.may_launch() {
            sleep_until(self.launch_end()).await;
        }
    }

    fn limit(&self) -> Duration {
        left_until(self.job.stop).min(LONGEST_REQUEST)
    }
}

/// One target's share of a round.
#[derive(Debug)]
struct Pass<'a, B> {
    eraser: &'a Eraser<'a, B>,
    target: &'a Target,
    prefix: &'a Prefix,
}

impl<B: Bucket> Pass<'_, B> {
    /// Fetches one page and cuts it into batches; returns what comes after it. `None`: there is no further page.
    async fn next_page(&self, next: Option<Next>) -> Result<Option<(Vec<Batch>, Option<Next>)>, Obstacle> {
        let Some(next) = next else { return Ok(None) };
        let page = if next.number == 0 {
            // Both at once: most users are small, and this is one round trip less for each.
            try_join(self.check(), self.list(next.token.as_deref())).await?.1
        } else {
            self.list(next.token.as_deref()).await?
        };
        let mark = PageMark { number: next.number, batches: 1, next: page.next.clone() };
        let following = page.next.clone().map(|token| Next { token: Some(token), number: next.number + 1 });
        Ok(Some((self.batches(page, mark)?, following)))
    }

    /// Asked in every round, the proving one included: what was deleted after versioning was enabled is only hidden.
    async fn check(&self) -> Result<(), Fault> {
        let Eraser { bucket, .. } = self.eraser;
        self.until_answered(|limit| bucket.check(self.prefix.bucket(), limit)).await
    }

    /// Lists from a token on, or from the prefix where the store refuses the token.
    async fn list(&self, token: Option<&str>) -> Result<Page, Fault> {
        let list = |token| {
            let request = move |limit| self.eraser.bucket.list(self.prefix, token, limit);
            self.until_answered(request)
        };
        match list(token).await {
            Err(fault @ Fault::TokenRefused(_)) => {
                // After a pause: a store that refuses every token must not be asked without end.
                self.note(fault);
                self.eraser.counters.retried();
                sleep(self.eraser.pace.backoff(1)).await;
                list(None).await
            }
            answer => answer,
        }
    }

    /// Cuts a page into batches. An empty page is one empty batch, so that the low-water mark can pass it.
    fn batches(&self, page: Page, mark: PageMark) -> Result<Vec<Batch>, Obstacle> {
        let mut items = Vec::with_capacity(page.objects.len());
        let mut kept_newer = 0;
        for object in page.objects {
            let key = self.prefix.own(object.key)?;
            let is_newer = match (self.eraser.job.erase_before, object.last_modified) {
                (Some(limit), Some(last_modified)) => last_modified >= limit,
                // Without a time it cannot be known: keeping is the mistake that can be mended.
                (Some(_), None) => true,
                (None, _) => false,
            };
            if is_newer {
                kept_newer += 1;
            } else {
                items.push(Item { key, bytes: object.bytes });
            }
        }
        let size = self.eraser.pace.batch_keys();
        let mark = PageMark { batches: items.len().div_ceil(size).max(1), ..mark };
        let mut batches = Vec::with_capacity(mark.batches);
        for _ in 0..mark.batches {
            let rest = items.split_off(size.min(items.len()));
            batches.push(Batch { page: mark.clone(), items, outcome: Outcome { kept_newer, ..Outcome::default() } });
            kept_newer = 0;
            items = rest;
        }
        Ok(batches)
    }

    /// Deletes one batch, in as many requests as it takes. `None`: too late, the batch has no outcome.
    async fn erase_batch(&self, batch: Batch) -> Result<Option<(PageMark, Outcome)>, Obstacle> {
        let mut outcome = batch.outcome;
        let mut parts = vec![Part { items: batch.items, attempt: 0, wait: Duration::ZERO }];
        while let Some(Part { items, attempt, wait }) = parts.pop() {
            if items.is_empty() {
                continue;
            }
            if left_until(self.eraser.launch_end()) <= wait {
                return Ok(None);
            }
            if attempt > 0 {
                self.eraser.counters.retried();
            }
            sleep(wait).await;
            let later = |items| Part { items, attempt: attempt + 1, wait: self.eraser.pace.backoff(attempt + 1) };
            match self.request(&items).await {
                Ok(Some(failures)) => parts.push(later(self.settle(items, &failures, &mut outcome))),
                Ok(None) => return Ok(None),
                // Half as many, until the key that the store cannot take stands alone.
                Err(Fault::Malformed(_)) if items.len() > 1 => {
                    let halves = halves(items).map(|items| Part { items, attempt: attempt + 1, wait: Duration::ZERO });
                    parts.extend(halves);
                }
                Err(Fault::Malformed(_)) => outcome.refused.add("Malformed", 1),
                Err(fault @ Fault::Throttled(_)) => {
                    self.note(fault);
                    parts.extend(halves(items).map(later));
                }
                Err(fault) if fault.is_temporary() => {
                    self.note(fault);
                    parts.push(later(items));
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(Some((batch.page, outcome)))
    }

    /// One delete request, when its turn comes. `None`: too late.
    async fn request(&self, items: &[Item]) -> Result<Option<Vec<KeyFailure>>, Fault> {
        let Eraser { bucket, pace, counters, turn, .. } = self.eraser;
        let turn = turn.lock().await;
        let _permit = pace.admit(items.len()).await;
        drop(turn);
        if !self.eraser.may_launch() {
            return Ok(None);
        }
        let start = Instant::now();
        counters.requested(1);
        let deletion = bucket.delete(self.prefix, items, self.eraser.limit()).await?;
        counters.requested(deletion.requests.saturating_sub(1));
        pace.batch_took(start.elapsed());
        Ok(Some(deletion.failures))
    }

    /// Counts what an answer says of each key; returns what is worth another try.
    fn settle(&self, items: Vec<Item>, failures: &[KeyFailure], outcome: &mut Outcome) -> Vec<Item> {
        let mut by_index: Vec<Option<&KeyFailure>> = vec![None; items.len()];
        for failure in failures {
            by_index[failure.index] = Some(failure);
        }
        let mut again = Vec::new();
        for (item, failure) in items.into_iter().zip(by_index) {
            match failure {
                None => self.eraser.counters.deleted(item.bytes),
                Some(failure) if failure.is_throttle || failure.is_retryable => {
                    self.eraser.counters.throttled(u64::from(failure.is_throttle));
                    again.push(item);
                }
                Some(failure) => outcome.refused.add(&failure.code, 1),
            }
        }
        if let Some(failure) = failures.iter().find(|failure| failure.is_retryable) {
            self.note(Fault::Unavailable(format!("DeleteObjects: {} for {} keys", failure.code, again.len())));
        }
        again
    }

    /// Repeats a reading request until it is answered, or until that is hopeless. The stop time ends the rest.
    async fn until_answered<T, Answer>(&self, request: impl Fn(Duration) -> Answer) -> Result<T, Fault>
    where
        Answer: Future<Output = Result<T, Fault>>,
    {
        let Eraser { pace, counters, .. } = self.eraser;
        let mut attempt = 0;
        loop {
            let permit = pace.admit_read().await;
            counters.requested(1);
            let fault = match request(self.eraser.limit()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            drop(permit);
            if !fault.is_temporary() {
                return Err(fault);
            }
            self.note(fault);
            attempt += 1;
            sleep(pace.backoff(attempt)).await;
            counters.retried();
        }
    }

    /// Counts a fault that is about to be waited out, and remembers it as what this hop waits for.
    fn note(&self, fault: Fault) {
        self.eraser.counters.throttled(u64::from(matches!(fault, Fault::Throttled(_))));
        let fault = TargetFault { target: self.target.to_string(), obstacle: fault.into() };
        *self.eraser.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }
}

/// The second half first: parts are taken from the end.
fn halves(mut items: Vec<Item>) -> [Vec<Item>; 2] {
    let second = items.split_off(items.len().div_ceil(2));
    [second, items]
}
