//! The work: rounds of pages and batches, until a round finds nothing or the time is over.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};

use crate::deadline::time_until;
use crate::erasure::batch::{BatchOutcome, BatchSink, Items};
use crate::erasure::checkpoint::{Checkpoint, MAX_ROUNDS};
use crate::erasure::confirmed::Confirmation;
use crate::erasure::context::{Context, Scope};
use crate::erasure::progress::{Counts, Progress};
use crate::erasure::report::{
    Engine, ErasureScope, HopEnd, IncompleteReason, PassError, Report, Round, RoundVerdict,
};
use crate::erasure::round::RoundEnd;
use crate::limiter::{Limiter, Permit, ReadClass};
use crate::ports::store::{DeleteStore, FailureKind, Item, KeyFailure, Kind, StoreError};
use crate::target::Key;

/// The code for what may not be deleted, a locked version among them.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const ACCESS_DENIED: &str = "AccessDenied";

/// Our own code for what may be locked, where S3 does not say: a permission to ask is missing.
const LOCK_NOT_READABLE: &str = "LockNotReadable";

/// Questions about denied versions of one batch that are sent concurrently.
const RETENTIONS_AT_ONCE: usize = 8;

/// So often an item is tried in one round: with the waits between the attempts, for about 3 s. One
/// that is throttled is tried twice as often, for about 20 s. Where the pass has less patience, an
/// item gets no more than that, either.
const MAX_ATTEMPTS: u32 = 6;

/// A request that failed so often for the moment is sent in bisect: one item of it may be the
/// reason.
const ATTEMPTS_AS_A_WHOLE: u32 = 2;

/// However short the hop, an item gets this time for further attempts.
const LEAST_RETRY: Duration = Duration::from_secs(1);

/// So many items, each in a request of its own, show that the store rejects every request.
const SAMPLES: usize = 8;

/// The most bytes of keys and ids in one request: 1,000 items with keys of about 230 bytes. Longer
/// keys go in smaller requests, which bounds the memory for requests and answers, and stays below
/// what stores take for a body.
const MAX_REQUEST_BYTES: usize = 262_144;

/// So many rounds that find only what S3 said was deleted are waited for, half a second first and
/// then twice as long each time: half a minute in all.
const MAX_WAITS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Deletes, until a fresh round proves that nothing is left.
#[derive(Debug)]
pub struct Eraser<B>(pub B);

impl<B: DeleteStore> Engine for Eraser<B> {
    const IS_DRY_RUN: bool = false;

    async fn work(
        &self,
        pace: &Limiter,
        counters: &Progress,
        job: ErasureScope<'_>,
        checkpoint: &mut Checkpoint,
    ) -> Report {
        let start = checkpoint.clone();
        let cx = Context::new(&self.0, pace, counters, job, checkpoint);
        let mut waits = 0;
        loop {
            let (is_fresh, number) = (checkpoint.is_at_start_of_round(), checkpoint.round);
            let (mut round, mut faults) = (Round::default(), Vec::new());
            // What may be kept is listed as late as can be: meanwhile it may be written again.
            let prefetches_first_page = number == 1 && job.erase_before.is_none();
            let erasing = Deleter { prefetches_first_page, ..Deleter::default() };
            let round_end = cx.round(&erasing, checkpoint, &mut round, &mut faults).await;
            checkpoint.has_left_some |= !faults.is_empty() || round.left().may_be_deleted_later();
            let end = match round_end {
                // Passes that were left are no progress: SQS is to count the delivery.
                RoundEnd::OutOfTime if counters.progress() == 0 && !faults.is_empty() => {
                    HopEnd::Failed(faults)
                }
                RoundEnd::OutOfTime => {
                    faults.extend(cx.last_transient_error());
                    // One more, for the proof, is not carried on: a store that does not delete
                    // would have no end.
                    if is_fresh && number > MAX_ROUNDS {
                        let end = if faults.is_empty() {
                            HopEnd::Incomplete(IncompleteReason::LastRound)
                        } else {
                            HopEnd::Failed(faults)
                        };
                        return Report { end, round };
                    }
                    HopEnd::Unfinished { has_advanced: *checkpoint != start, faults }
                }
                RoundEnd::Aborted(fault) => match fault.obstacle {
                    PassError::ObjectLimit(max_objects) => {
                        HopEnd::Incomplete(IncompleteReason::ObjectLimit(max_objects))
                    }
                    PassError::Store(_)
                    | PassError::ForeignKey(_)
                    | PassError::TransientFailures(_) => {
                        faults.push(fault);
                        HopEnd::Failed(faults)
                    }
                },
                // It began in another hop, and the targets before its checkpoint may have something
                // that waits for a next round. A redelivery would begin at the same checkpoint.
                RoundEnd::Complete if !faults.is_empty() && !is_fresh && number <= MAX_ROUNDS => {
                    checkpoint.start_next_round();
                    continue;
                }
                RoundEnd::Complete if !faults.is_empty() => HopEnd::Failed(faults),
                RoundEnd::Complete => match round.verdict(is_fresh, number) {
                    RoundVerdict::Erased => HopEnd::Erased,
                    RoundVerdict::Incomplete(stuck) => HopEnd::Incomplete(stuck),
                    RoundVerdict::Failed(faults) => HopEnd::Failed(faults),
                    RoundVerdict::Wait => {
                        waits += 1;
                        if waits <= MAX_WAITS && wait(&cx, FIRST_WAIT * 2_u32.pow(waits - 1)).await
                        {
                            checkpoint.start_next_round();
                            continue;
                        }
                        HopEnd::Incomplete(IncompleteReason::StillListed(round.still_listed()))
                    }
                    RoundVerdict::NextRound => {
                        checkpoint.start_next_round();
                        continue;
                    }
                },
            };
            if matches!(end, HopEnd::Incomplete(_)) {
                // Nobody knows whether they are deleted this time.
                round
                    .left
                    .iter()
                    .for_each(|(target, left)| counters.retract_deleted(target, left.still_listed));
            }
            return Report { end, round };
        }
    }
}

/// Waits between two rounds. `false`: then there is no time for another one.
async fn wait<B: DeleteStore>(cx: &Context<'_, B>, time: Duration) -> bool {
    let is_enough = time_until(cx.last_launch()) > time;
    is_enough && cx.until_stop(sleep(time)).await.is_some()
}

/// Deletes the batches of one round.
#[derive(Debug, Default)]
struct Deleter {
    /// In the first round: later ones find as good as nothing, and what is empty is listed twice.
    prefetches_first_page: bool,
    /// Objects and versions that were listed in this round and are not deleted.
    open: AtomicU64,
}

impl<B: DeleteStore> BatchSink<B> for Deleter {
    const DELETES: bool = true;

    fn prefetches_first_page(&self) -> bool {
        self.prefetches_first_page
    }

    /// What is deleted is not found again; what is not will be counted once more.
    fn restart(&self, _tour: &Context<'_, B>, _target: Option<&str>) {
        self.open.store(0, Ordering::Relaxed);
    }

    /// Deletes one batch, in as many requests as it takes: delete markers only above data that
    /// is deleted.
    async fn handle_batch(
        &self,
        cx: &Context<'_, B>,
        scope: &Scope<'_>,
        Items { items, after_data }: Items,
        found: Counts,
    ) -> Result<Option<BatchOutcome>, PassError> {
        self.check_fuse(cx, found.objects_and_versions())?;
        let mut batch = Batch::new(&self.open, cx, scope);
        if !batch.delete(items).await? {
            return Ok(None);
        }
        let (kept, free): (Vec<_>, Vec<_>) =
            after_data.into_iter().partition(|marker| batch.not_deleted.contains(&marker.key));
        batch.outcome.left.deferred_markers += kept.len() as u64;
        if !batch.delete(free).await? {
            return Ok(None);
        }
        batch.look_up_retention().await;
        Ok(Some(batch.outcome))
    }
}

impl Deleter {
    /// Fails when an erasure meets more objects and versions than it may.
    fn check_fuse<B: DeleteStore>(&self, cx: &Context<'_, B>, more: u64) -> Result<(), PassError> {
        let open = self.open.fetch_add(more, Ordering::Relaxed) + more;
        match cx.job.max_objects {
            Some(max)
                if more > 0
                    && cx.counters.objects_and_versions_deleted().saturating_add(open)
                        > max.get() =>
            {
                Err(PassError::ObjectLimit(max))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// One batch, and what has become of its items so far.
struct Batch<'b, 't, B> {
    /// Objects and versions of the round that are not deleted.
    open: &'b AtomicU64,
    cx: &'b Context<'t, B>,
    scope: &'b Scope<'b>,
    outcome: BatchOutcome,
    /// Keys of which some data is not deleted.
    not_deleted: HashSet<Key>,
    /// Denied versions, which Object Lock may hold.
    denied: Vec<Item>,
    /// The code by which the store has rejected requests for one item, one after the other, and how
    /// many these were.
    rejected_alone: (String, usize),
    /// So many of these show that the store rejects every request.
    samples: usize,
}

/// Items of a batch on their way to a request.
#[derive(Debug)]
struct SubBatch {
    items: Vec<Item>,
    /// How often they were sent before.
    attempt: u32,
    /// When they were sent first.
    since: Instant,
    /// When they may be sent again.
    due: Instant,
}

impl SubBatch {
    fn new(items: Vec<Item>) -> Self {
        let now = Instant::now();
        Self { items, attempt: 0, since: now, due: now }
    }

    /// The same items, or some of them, for the next attempt after a wait.
    fn again(&self, items: Vec<Item>, wait: Duration) -> Self {
        Self { items, attempt: self.attempt + 1, since: self.since, due: Instant::now() + wait }
    }
}

impl<'b, 't, B: DeleteStore> Batch<'b, 't, B> {
    fn new(open: &'b AtomicU64, cx: &'b Context<'t, B>, scope: &'b Scope<'b>) -> Self {
        Self {
            open,
            cx,
            scope,
            outcome: BatchOutcome::default(),
            not_deleted: HashSet::new(),
            denied: Vec::new(),
            rejected_alone: (String::new(), 0),
            samples: SAMPLES,
        }
    }

    /// Deletes items, and notes what becomes of them. `false`: not all have an outcome, because
    /// it is too late.
    async fn delete(&mut self, items: Vec<Item>) -> Result<bool, PassError> {
        let mut parts = VecDeque::from([SubBatch::new(items)]);
        while let Some(mut part) = parts.pop_front() {
            if part.items.is_empty() {
                continue;
            }
            let Some(pass) = self.admit(&part).await else {
                return Ok(false);
            };
            let rest = part.items.split_off(pass.keys().min(part.items.len()));
            parts.push_front(SubBatch { items: rest, ..part });
            if part.attempt == 0 {
                part.since = Instant::now();
            }
            // What failed waits behind what was not sent yet.
            parts.extend(self.send(part, &pass).await?);
        }
        Ok(true)
    }

    /// Waits until some of the items may be sent. `None`: it is too late, or the pass is left.
    async fn admit(&self, part: &SubBatch) -> Option<Permit<'b>> {
        let cx = self.cx;
        if part.due > Instant::now() && part.due >= cx.last_launch() {
            return None;
        }
        sleep_until(part.due).await;
        if part.attempt > 0 {
            cx.counters.retried();
        }
        let turn = cx.admission_lock.lock().await;
        let pass = cx.pace.admit(self.scope.prefix.bucket(), items_of_a_request(&part.items)).await;
        drop(turn);
        (cx.may_launch() && !self.scope.is_left()).then_some(pass)
    }

    /// Sends one request; returns what is to be sent again.
    async fn send(
        &mut self,
        mut part: SubBatch,
        pass: &Permit<'_>,
    ) -> Result<Vec<SubBatch>, PassError> {
        match self.request(&mut part, pass).await {
            Ok(failures) => {
                self.scope.accepted();
                self.settle(part, &failures)
            }
            Err(StoreError::Malformed(text)) => self.reject(part, StoreError::Permanent(text)),
            Err(fault) if !fault.is_temporary() => Err(fault.into()),
            Err(fault) => self.postpone(part, fault),
        }
    }

    /// One delete request.
    async fn request(
        &self,
        part: &mut SubBatch,
        pass: &Permit<'_>,
    ) -> Result<Vec<KeyFailure>, StoreError> {
        /// So often in a row the throttling of a key counts for the rate. One that always fails
        /// must not slow down all.
        const SIGNALS: u32 = 3;
        let cx = self.cx;
        cx.counters.requested(1);
        let limit = cx.limit();
        let deletion = cx.bucket.delete(self.scope.prefix, &part.items, limit).await;
        match &deletion {
            Ok(deletion) => {
                let throttled = deletion
                    .failures
                    .iter()
                    .filter(|failure| failure.kind == FailureKind::Throttled);
                let throttled = throttled.count();
                if part.attempt < SIGNALS {
                    pass.answered(part.items.len() - throttled, throttled);
                } else if throttled < part.items.len() {
                    pass.answered(part.items.len() - throttled, 0);
                }
                cx.counters.requested(deletion.requests.saturating_sub(1));
            }
            Err(StoreError::Throttled(_)) => pass.answered(0, part.items.len()),
            // Smaller batches are another attempt at something else. Where nobody waits for this
            // pass, it has the time.
            Err(StoreError::NoAnswer(_)) => {
                if pass.not_answered(limit) {
                    part.since = Instant::now();
                    if self.scope.is_last() {
                        cx.succeeded();
                    }
                }
            }
            // It says nothing of the rate.
            Err(_) => {}
        }
        deletion.map(|deletion| deletion.failures)
    }

    /// Counts what is deleted, notes what is not, and returns what is to be sent again.
    fn settle(
        &mut self,
        mut part: SubBatch,
        failures: &[KeyFailure],
    ) -> Result<Vec<SubBatch>, PassError> {
        let cx = self.cx;
        let items = std::mem::take(&mut part.items);
        let mut by_index: Vec<Option<&KeyFailure>> = vec![None; items.len()];
        for failure in failures {
            by_index[failure.index] = Some(failure);
        }
        let (mut gone, mut is_any_settled) = (Counts::default(), false);
        let (mut again, mut throttled) = (Vec::new(), Vec::new());
        for (item, failure) in items.into_iter().zip(by_index) {
            match failure {
                Some(failure) if failure.kind == FailureKind::Throttled => {
                    throttled.push((item, &*failure.code));
                }
                Some(failure) if failure.kind == FailureKind::Transient => {
                    again.push((item, &*failure.code));
                }
                settled => {
                    is_any_settled = true;
                    match settled {
                        Some(failure) => self.leave(item, failure),
                        None => gone += self.confirm(&item),
                    }
                }
            }
        }
        cx.counters.gone(self.scope.target, gone);
        cx.counters.throttled(throttled.len() as u64);
        // The limiter knows of the first, and makes all wait.
        let wait = if part.attempt < 2 { Duration::ZERO } else { cx.pace.backoff(part.attempt) };
        let later = cx.pace.backoff(part.attempt + 1);
        if is_any_settled {
            cx.succeeded();
        }
        if let Some((_, code)) = again.first().or(throttled.first()) {
            let text =
                format!("DeleteObjects: {code} for {} of its items", again.len() + throttled.len());
            let fault = StoreError::Unavailable(text);
            if !is_any_settled {
                cx.failed();
                if cx.is_out_of_patience(if throttled.is_empty() { later } else { wait }) {
                    return Err(fault.into());
                }
            }
            cx.note(self.scope.target, fault);
        }
        let again = self.keep_trying(&part, again, MAX_ATTEMPTS, later);
        // Where there is a limit, each attempt at its rate takes a part of them.
        let throttled = self.keep_trying(&part, throttled, 2 * MAX_ATTEMPTS, wait);
        Ok(vec![again, throttled])
    }

    /// Those of the items that are tried once more, after a wait. The others are left for this
    /// round.
    fn keep_trying(
        &mut self,
        part: &SubBatch,
        items: Vec<(Item, &str)>,
        most: u32,
        wait: Duration,
    ) -> SubBatch {
        if part.attempt + 1 < most && !self.is_over(part, wait) {
            return part.again(items.into_iter().map(|(item, _)| item).collect(), wait);
        }
        for (item, code) in items {
            self.outcome.left.unsettled.add(code, 1);
            self.keep_markers(&item);
        }
        part.again(Vec::new(), wait)
    }

    /// The store has confirmed that an item is deleted: how much of it counts.
    fn confirm(&mut self, item: &Item) -> Counts {
        let counts = Counts::of(item.kind, 1, item.bytes);
        // Out of the open ones first: the object limit must not count anything twice.
        self.open.fetch_sub(counts.objects_and_versions(), Ordering::Relaxed);
        match self.cx.deleted().confirm(self.scope.target, item) {
            Confirmation::First => counts,
            Confirmation::Again => {
                self.outcome.left.still_listed += counts;
                self.keep_markers(item);
                Counts::default()
            }
            Confirmation::Unknown => {
                self.cx.counters.record_deleted_uncounted(counts);
                Counts::default()
            }
        }
    }

    /// An item stays for now, for a reason of its own.
    fn leave(&mut self, item: Item, failure: &KeyFailure) {
        let counts = Counts::of(item.kind, 1, item.bytes);
        let target = self.scope.target;
        self.keep_markers(&item);
        if failure.kind == FailureKind::NotFound {
            match self.cx.deleted().confirm(target, &item) {
                Confirmation::Again => self.outcome.left.still_listed += counts,
                Confirmation::First | Confirmation::Unknown => self.outcome.missing += 1,
            }
            return;
        }
        if self.cx.deleted().revoke(target, &item) {
            self.cx.counters.retract_deleted(target, counts);
        }
        match failure.kind {
            FailureKind::HiddenByMarker => self.outcome.left.hidden += 1,
            FailureKind::Denied if item.kind == Kind::Versions => self.denied.push(item),
            FailureKind::Denied
            | FailureKind::Throttled
            | FailureKind::Transient
            | FailureKind::NotFound
            | FailureKind::Other => self.outcome.left.refused.add(&failure.code, 1),
        }
    }

    /// Without the delete markers of its key, data that is not deleted would become current again.
    fn keep_markers(&mut self, item: &Item) {
        if item.kind == Kind::Versions {
            self.not_deleted.insert(item.key.clone());
        }
    }

    /// Whether items were tried for so long that they get no attempt after this wait.
    fn is_over(&self, part: &SubBatch, wait: Duration) -> bool {
        part.since.elapsed() + wait > self.cx.longest_retry().max(LEAST_RETRY)
    }

    /// The request failed for the moment, as a whole.
    fn postpone(
        &mut self,
        mut part: SubBatch,
        fault: StoreError,
    ) -> Result<Vec<SubBatch>, PassError> {
        let cx = self.cx;
        let attempt = part.attempt + 1;
        let is_throttled = matches!(fault, StoreError::Throttled(_));
        let wait =
            if is_throttled && attempt < 3 { Duration::ZERO } else { cx.pace.backoff(attempt) };
        cx.failed();
        let is_hopeless = !is_throttled && !self.scope.is_accepted() && self.is_over(&part, wait);
        if is_hopeless || cx.is_out_of_patience(wait) {
            cx.counters.throttled(u64::from(is_throttled));
            return Err(fault.into());
        }
        let code = fault.code().to_owned();
        cx.note(self.scope.target, fault);
        let items = std::mem::take(&mut part.items);
        if is_throttled {
            return Ok(vec![part.again(items, wait)]);
        }
        if attempt >= ATTEMPTS_AS_A_WHOLE && items.len() > 1 {
            // The bisect begin again with one attempt less than a whole: one item may be the
            // reason.
            let half = |items| SubBatch {
                attempt: ATTEMPTS_AS_A_WHOLE - 1,
                since: Instant::now(),
                ..part.again(items, wait)
            };
            return Ok(bisect(items).map(half).into());
        }
        let items = items.into_iter().map(|item| (item, &*code)).collect();
        Ok(vec![self.keep_trying(&part, items, MAX_ATTEMPTS, wait)])
    }

    /// The store cannot take the request. Half as many may pass, until the item that the store
    /// cannot take is alone. But where some items from all over the batch are rejected alike, each
    /// alone, and nothing of the pass was accepted, the request is at fault.
    fn reject(
        &mut self,
        mut part: SubBatch,
        fault: StoreError,
    ) -> Result<Vec<SubBatch>, PassError> {
        let mut items = std::mem::take(&mut part.items);
        // The items have not failed themselves.
        let part = |items| SubBatch {
            attempt: 1,
            since: Instant::now(),
            ..part.again(items, Duration::ZERO)
        };
        let code = fault.code().to_owned();
        if items.len() == 1 {
            let (last_code, number) = &mut self.rejected_alone;
            *number = if *last_code == code { *number + 1 } else { 1 };
            last_code.clone_from(&code);
            if *number >= self.samples.max(2) && !self.scope.is_accepted() {
                return Err(fault.into());
            }
            items.iter().for_each(|item| self.keep_markers(item));
            self.outcome.left.refused.add(&code, 1);
            return Ok(Vec::new());
        }
        if self.scope.is_accepted() || self.rejected_alone.1 > 0 || items.len() <= SAMPLES {
            self.samples = self.samples.min(items.len());
            return Ok(bisect(items).map(part).into());
        }
        let step = (items.len() - 1) / (SAMPLES - 1);
        let samples: Vec<_> =
            (0..SAMPLES).rev().map(|number| part(vec![items.swap_remove(number * step)])).collect();
        Ok(samples.into_iter().chain(bisect(items).map(part)).collect())
    }

    /// Asks what holds each denied version. Where nothing does, it counts as denied.
    async fn look_up_retention(&mut self) {
        let (cx, scope) = (self.cx, self.scope);
        // Where S3 fails for the moment, the reason of the denial stays open; nothing waits for it.
        let has_failed = &AtomicBool::new(false);
        let ask = async |item: Item| {
            if has_failed.load(Ordering::Relaxed) || scope.is_left() {
                return Ok(None);
            }
            let request = |limit| cx.bucket.retention(scope.prefix, &item, limit);
            let answer = cx.retry_read(scope, ReadClass::Other, request).await;
            has_failed
                .fetch_or(answer.as_ref().is_err_and(StoreError::is_temporary), Ordering::Relaxed);
            answer
        };
        let denied = std::mem::take(&mut self.denied);
        let left = &mut self.outcome.left;
        let mut answers =
            std::pin::pin!(stream::iter(denied).map(ask).buffer_unordered(RETENTIONS_AT_ONCE));
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Some(retention)) => left.retain(retention),
                Ok(None) => left.refused.add(ACCESS_DENIED, 1),
                Err(fault) if fault.is_temporary() => left.refused.add(ACCESS_DENIED, 1),
                Err(_) => left.refused.add(LOCK_NOT_READABLE, 1),
            }
        }
    }
}

/// How many of the first items fit into one request: at least one.
fn items_of_a_request(items: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        // XML writes these in up to six letters.
        let specials =
            item.key.as_str().bytes().filter(|byte| b"&<>\"'\r\n".contains(byte)).count();
        bytes += item.key.as_str().len() + 5 * specials + item.id.as_ref().map_or(0, String::len);
        bytes <= MAX_REQUEST_BYTES
    };
    items.iter().take_while(fits).count().max(1)
}

fn bisect(mut items: Vec<Item>) -> [Vec<Item>; 2] {
    let second = items.split_off(items.len().div_ceil(2));
    [items, second]
}
