//! The work: rounds of pages and batches, until a round finds nothing or the time is over.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bookmark::{Bookmark, LowWaterMark, PageMark, Round};
use crate::bucket::{Bucket, Fault, Item, KeyFailure, Page};
use crate::deadline::left_until;
use crate::pace::Pace;
use crate::tally::{Codes, Counters};
use crate::target::{OutsidePrefix, Prefix, Target, Targets, UserId};

/// No request to S3 may take longer; a hop of five minutes must survive a few that hang.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// After so many tries, about 11 s of waiting, a request or key is given up for this round.
const MAX_ATTEMPTS: u32 = 8;

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
    /// The store takes none of its own continuation tokens, and nothing can be deleted before the first.
    #[error("the store refuses its own continuation tokens")]
    Tokens,
}

impl Fault {
    fn is_temporary(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::Unavailable(_) | Self::Untrustworthy(_) => true,
            Self::TokenRefused(_) | Self::Malformed(_) | Self::Refused(_) => false,
        }
    }
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
    /// How many objects were gone when the listing last began again, because the store refused a token.
    restarted_at: Option<u64>,
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
        Self { bucket, pace, counters, job, turn: Mutex::new(()), longest_launch }
    }

    /// Works from the bookmark on, moves it, and returns at the stop time at the latest.
    pub async fn erase(&self, bookmark: &mut Bookmark) -> End {
        let start = bookmark.clone();
        loop {
            // A round that another invocation began is no proof, however long ago that was.
            let is_fresh = bookmark.is_at_start_of_round();
            let faults = match self.round(bookmark).await {
                Some(faults) => faults,
                None => return End::Unfinished { has_advanced: *bookmark != start },
            };
            if !faults.is_empty() {
                return self.end_of_faulty_round(bookmark, faults);
            }
            let round = &bookmark.round;
            if round.found_nothing() && is_fresh {
                return End::Erased;
            }
            if round.deleted == 0 && round.refused.total() > 0 {
                return End::Stuck(Stuck::Refused(round.refused.clone()));
            }
            if round.number >= MAX_ROUNDS {
                return End::Stuck(Stuck::Rounds);
            }
            bookmark.begin_next_round();
        }
    }

    /// Progress decides: what was deleted before a passing fault is handed on, not thrown back.
    fn end_of_faulty_round(&self, bookmark: &mut Bookmark, faults: Vec<TargetFault>) -> End {
        let is_temporary = |fault: &TargetFault| match &fault.obstacle {
            Obstacle::Fault(fault) => fault.is_temporary(),
            Obstacle::Outside(_) | Obstacle::Tokens => false,
        };
        if self.counters.hop().objects > 0 && faults.iter().all(is_temporary) {
            bookmark.begin_next_round();
            return End::Unfinished { has_advanced: true };
        }
        End::Failed(faults)
    }

    /// Goes over the targets that the round has not seen yet. `None`: out of time.
    async fn round(&self, bookmark: &mut Bookmark) -> Option<Vec<TargetFault>> {
        let targets = self.job.targets.as_slice();
        // A target that is no longer configured: begin at the first.
        let resumed = targets.iter().position(|target| Some(target.to_string()) == bookmark.target);
        if resumed.is_none() {
            bookmark.token = None;
        }
        let mut faults = Vec::new();
        for target in targets.iter().skip(resumed.unwrap_or(0)) {
            let deleted_before = self.counters.hop().objects;
            let mut mark = LowWaterMark::new(bookmark.token.take());
            let end = self.pass(target, &mut mark, &mut bookmark.round).await;
            bookmark.round.deleted += self.counters.hop().objects - deleted_before;
            match end {
                PassEnd::Complete => {}
                PassEnd::OutOfTime => {
                    let is_at_start = mark.token().is_none() && target == &targets[0];
                    bookmark.target = (!is_at_start).then(|| target.to_string());
                    bookmark.token = mark.token().map(str::to_owned);
                    return None;
                }
                PassEnd::Obstacle(obstacle) => {
                    let is_alarming = matches!(obstacle, Obstacle::Outside(_));
                    faults.push(TargetFault { target: target.to_string(), obstacle });
                    if is_alarming {
                        break;
                    }
                }
            }
        }
        Some(faults)
    }

    /// Lists one target from the low-water mark on and deletes what it lists.
    async fn pass(&self, target: &Target, mark: &mut LowWaterMark<Outcome>, round: &mut Round) -> PassEnd {
        let prefix = target.prefix(self.job.user);
        let first = Some(Next { token: mark.token().map(str::to_owned), number: 0, restarted_at: None });
        let batches = stream::try_unfold(first, |next| self.next_page(&prefix, next))
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten()
            .take_until(self.launch_window())
            .map(|batch: Result<Batch, Obstacle>| async { self.erase_batch(&prefix, batch?).await })
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

    /// Fetches one page and cuts it into batches; returns what comes after it. `None`: there is no further page.
    async fn next_page(
        &self,
        prefix: &Prefix,
        next: Option<Next>,
    ) -> Result<Option<(Vec<Batch>, Option<Next>)>, Obstacle> {
        let Some(mut next) = next else { return Ok(None) };
        if next.number == 0 {
            self.until_answered(|limit| self.bucket.check(prefix.bucket(), limit)).await?;
        }
        let page = match self.list(prefix, next.token.as_deref()).await {
            Err(Fault::TokenRefused(_)) if next.token.is_some() => {
                let deleted = self.counters.hop().objects;
                if next.restarted_at == Some(deleted) {
                    return Err(Obstacle::Tokens);
                }
                next.restarted_at = Some(deleted);
                self.list(prefix, None).await?
            }
            answer => answer?,
        };
        let mark = PageMark { number: next.number, batches: 1, next: page.next.clone() };
        let following = page.next.clone().map(|token| Next {
            token: Some(token),
            number: next.number + 1,
            restarted_at: next.restarted_at,
        });
        Ok(Some((self.batches(prefix, page, mark)?, following)))
    }

    async fn list(&self, prefix: &Prefix, token: Option<&str>) -> Result<Page, Fault> {
        self.until_answered(|limit| self.bucket.list(prefix, token, limit)).await
    }

    /// Cuts a page into batches. An empty page is one empty batch, so that the low-water mark can pass it.
    fn batches(&self, prefix: &Prefix, page: Page, mark: PageMark) -> Result<Vec<Batch>, Obstacle> {
        let mut items = Vec::with_capacity(page.objects.len());
        let mut kept_newer = 0;
        for object in page.objects {
            let key = prefix.own(object.key)?;
            let is_newer = match (self.job.erase_before, object.last_modified) {
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
        let size = self.pace.batch_keys();
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
    async fn erase_batch(&self, prefix: &Prefix, batch: Batch) -> Result<Option<(PageMark, Outcome)>, Obstacle> {
        let mut outcome = batch.outcome;
        let mut parts = vec![(batch.items, 0_u32)];
        while let Some((items, attempt)) = parts.pop() {
            if items.is_empty() {
                continue;
            }
            if !self.wait_to_launch(attempt).await {
                return Ok(None);
            }
            match self.request(prefix, &items).await {
                Ok(Some(failures)) => {
                    let again = self.settle(items, &failures, attempt, &mut outcome);
                    parts.push((again, attempt + 1));
                }
                Ok(None) => return Ok(None),
                Err(Fault::Malformed(code)) if items.len() == 1 => outcome.refused.add(&code, 1),
                Err(Fault::Throttled(_) | Fault::Malformed(_)) if items.len() > 1 && attempt < MAX_ATTEMPTS => {
                    let mut first = items;
                    let second = first.split_off(first.len() / 2);
                    parts.extend([(second, attempt + 1), (first, attempt + 1)]);
                }
                Err(fault) if fault.is_temporary() && attempt < MAX_ATTEMPTS => parts.push((items, attempt + 1)),
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(Some((batch.page, outcome)))
    }

    /// One delete request, when its turn comes. `None`: too late.
    async fn request(&self, prefix: &Prefix, items: &[Item]) -> Result<Option<Vec<KeyFailure>>, Fault> {
        let turn = self.turn.lock().await;
        let _permit = self.pace.admit(items.len()).await;
        drop(turn);
        if !self.may_launch() {
            return Ok(None);
        }
        let start = Instant::now();
        self.counters.requested(1);
        match self.bucket.delete(prefix, items, self.limit()).await {
            Ok(failures) => {
                self.pace.batch_took(start.elapsed());
                Ok(Some(failures))
            }
            Err(fault) => {
                self.note_throttle(&fault);
                Err(fault)
            }
        }
    }

    /// Counts what an answer says of each key; returns what is worth another try.
    fn settle(&self, items: Vec<Item>, failures: &[KeyFailure], attempt: u32, outcome: &mut Outcome) -> Vec<Item> {
        let mut by_index: Vec<Option<&KeyFailure>> = vec![None; items.len()];
        for failure in failures {
            by_index[failure.index] = Some(failure);
        }
        let mut again = Vec::new();
        for (item, failure) in items.into_iter().zip(by_index) {
            match failure {
                None => self.counters.deleted(item.bytes),
                Some(failure) => {
                    self.counters.throttled(u64::from(failure.is_throttle));
                    if failure.is_retryable && attempt < MAX_ATTEMPTS {
                        again.push(item);
                    } else {
                        outcome.refused.add(&failure.code, 1);
                    }
                }
            }
        }
        again
    }

    /// Repeats a reading request until it is answered, or until that is hopeless.
    async fn until_answered<T, Answer>(&self, request: impl Fn(Duration) -> Answer) -> Result<T, Fault>
    where
        Answer: Future<Output = Result<T, Fault>>,
    {
        let mut attempt = 0;
        loop {
            self.counters.requested(1);
            let fault = match request(self.limit()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            self.note_throttle(&fault);
            attempt += 1;
            if !fault.is_temporary() || attempt > MAX_ATTEMPTS {
                return Err(fault);
            }
            self.counters.retried();
            sleep(self.pace.backoff(attempt)).await;
        }
    }

    fn note_throttle(&self, fault: &Fault) {
        if matches!(fault, Fault::Throttled(_)) {
            self.counters.throttled(1);
        }
    }

    /// Waits before a repetition. `false`: there is no time for it.
    async fn wait_to_launch(&self, attempt: u32) -> bool {
        if attempt > 0 {
            let wait = self.pace.backoff(attempt);
            if left_until(self.launch_end()) <= wait {
                return false;
            }
            self.counters.retried();
            sleep(wait).await;
        }
        self.may_launch()
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
