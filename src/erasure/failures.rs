//! What a response means for the items of a batch: deleted, to be sent again, or left for this
//! round.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use crate::erasure::confirmed::Confirmation;
use crate::erasure::counts::Counts;
use crate::erasure::delete::BatchDeletion;
use crate::erasure::report::PassError;
use crate::erasure::sub_batch::{SubBatch, bisect};
use crate::limiter::ReadClass;
use crate::ports::store::{DeleteStore, FailureKind, Item, KeyFailure, Kind, StoreError};

/// The code for versions of which the store does not say what locks them: a permission is missing.
const LOCK_NOT_READABLE: &str = "LockNotReadable";

/// Look-ups of Object Lock for one batch that are sent concurrently.
const CONCURRENT_LOOK_UPS: usize = 8;

/// How often an item is tried in one round: with the waits between the attempts, for about 3 s. An
/// item that is throttled is tried twice as often, for about 20 s. If the pass has less patience,
/// the item gets no more than that, either.
const MAX_ATTEMPTS: u32 = 6;

/// A request that failed this often is sent in halves: one item of it may be the reason.
const ATTEMPTS_AS_A_WHOLE: u32 = 2;

/// However short the hop, an item gets this time for further attempts.
const MIN_RETRY: Duration = Duration::from_secs(1);

/// How many items, each in a request of its own, show that the store rejects every request.
const SAMPLES: usize = 8;

impl<S: DeleteStore> BatchDeletion<'_, '_, S> {
    /// Applies a response: counts what is deleted, notes what remains, and returns what is to be
    /// sent again.
    pub(super) fn apply(
        &mut self,
        mut sent: SubBatch,
        failures: &[KeyFailure],
    ) -> Result<Vec<SubBatch>, PassError> {
        let items = std::mem::take(&mut sent.items);
        let number = items.len();
        let mut by_index: Vec<Option<&KeyFailure>> = vec![None; number];
        for failure in failures {
            by_index[failure.index] = Some(failure);
        }
        let mut deleted = Counts::default();
        let (mut again, mut throttled) = (Vec::new(), Vec::new());
        for (item, failure) in items.into_iter().zip(by_index) {
            match failure {
                None => deleted += self.confirm(&item),
                Some(failure) => match failure.kind {
                    FailureKind::Throttled => throttled.push((item, &*failure.code)),
                    FailureKind::Transient => again.push((item, &*failure.code)),
                    FailureKind::Denied
                    | FailureKind::NotFound
                    | FailureKind::HiddenByMarker
                    | FailureKind::Other => self.leave(item, failure),
                },
            }
        }
        let progress = self.cx.progress;
        progress.record_deleted(self.scope.target, deleted);
        progress.throttled(throttled.len() as u64);
        self.send_again(&sent, number, again, throttled)
    }

    /// Which of the items that failed are sent again, and when.
    fn send_again(
        &mut self,
        sent: &SubBatch,
        number: usize,
        again: Vec<(Item, &str)>,
        throttled: Vec<(Item, &str)>,
    ) -> Result<Vec<SubBatch>, PassError> {
        let (cx, failed) = (self.cx, again.len() + throttled.len());
        let backoff = cx.limiter.backoff(sent.attempt + 1);
        // The limiter knows of the first throttles, and makes all requests wait.
        let wait = match sent.attempt {
            ..2 => Duration::ZERO,
            attempt => cx.limiter.backoff(attempt),
        };
        if failed < number {
            cx.patience.succeeded();
        }
        if let Some((_, code)) = again.first().or(throttled.first()) {
            let text = format!("DeleteObjects: {code} for {failed} of its items");
            let error = StoreError::Unavailable(text);
            if failed == number {
                cx.patience.failed();
                let next = if throttled.is_empty() { backoff } else { wait };
                if cx.patience.is_exhausted_after(next) {
                    return Err(error.into());
                }
            }
            cx.progress.record_transient_error(self.scope.target, error);
        }
        let again = self.keep_trying(sent, again, MAX_ATTEMPTS, backoff);
        // Under a limit, each attempt at its rate takes a part of the throttled items.
        let throttled = self.keep_trying(sent, throttled, 2 * MAX_ATTEMPTS, wait);
        Ok(vec![again, throttled])
    }

    /// Those of the items that are tried once more, after a wait. The others are left for this
    /// round.
    fn keep_trying(
        &mut self,
        sent: &SubBatch,
        items: Vec<(Item, &str)>,
        max_attempts: u32,
        wait: Duration,
    ) -> SubBatch {
        if sent.attempt + 1 < max_attempts && !self.is_over(sent, wait) {
            return sent.again(items.into_iter().map(|(item, _)| item).collect(), wait);
        }
        for (item, code) in items {
            self.outcome.left.unsettled.add(code, 1);
            self.defer_markers(&item);
        }
        sent.again(Vec::new(), wait)
    }

    /// The store confirmed that an item is deleted: what of it is to be counted.
    fn confirm(&mut self, item: &Item) -> Counts {
        let counts = Counts::of(item.kind, 1, item.bytes);
        match self.cx.progress.confirm(self.scope.target, item, counts) {
            Confirmation::First => counts,
            Confirmation::Unknown => Counts::default(),
            Confirmation::Again => {
                self.outcome.left.still_listed += counts;
                self.defer_markers(item);
                Counts::default()
            }
        }
    }

    /// An item is left for this round, for a reason of its own.
    fn leave(&mut self, item: Item, failure: &KeyFailure) {
        let counts = Counts::of(item.kind, 1, item.bytes);
        let (progress, target) = (self.cx.progress, self.scope.target);
        self.defer_markers(&item);
        if failure.kind == FailureKind::NotFound {
            if progress.confirm_missing(target, &item) {
                self.outcome.left.still_listed += counts;
            } else {
                self.outcome.missing += 1;
            }
            return;
        }
        progress.revoke(target, &item, counts);
        let left = &mut self.outcome.left;
        match failure.kind {
            FailureKind::HiddenByMarker => left.hidden += 1,
            FailureKind::Denied if item.kind == Kind::Versions => {
                self.denied.push((item, failure.code.clone()));
            }
            FailureKind::Denied => left.add_denied(&failure.code),
            FailureKind::Throttled
            | FailureKind::Transient
            | FailureKind::NotFound
            | FailureKind::Other => left.refused.add(&failure.code, 1),
        }
    }

    /// Without the delete markers of its key, data that is not deleted would become current again.
    fn defer_markers(&mut self, item: &Item) {
        if item.kind == Kind::Versions {
            self.not_deleted.insert(item.key.clone());
        }
    }

    /// Whether items were tried for so long that they get no attempt after this wait.
    fn is_over(&self, sent: &SubBatch, wait: Duration) -> bool {
        sent.since.elapsed() + wait > self.cx.patience.lasts().max(MIN_RETRY)
    }

    /// The request as a whole failed in a way that may pass.
    pub(super) fn postpone(
        &mut self,
        mut sent: SubBatch,
        error: StoreError,
    ) -> Result<Vec<SubBatch>, PassError> {
        let cx = self.cx;
        let attempt = sent.attempt + 1;
        let is_throttled = matches!(error, StoreError::Throttled(_));
        let wait =
            if is_throttled && attempt < 3 { Duration::ZERO } else { cx.limiter.backoff(attempt) };
        cx.patience.failed();
        let is_hopeless =
            !is_throttled && !self.scope.is_accepted.get() && self.is_over(&sent, wait);
        if is_hopeless || cx.patience.is_exhausted_after(wait) {
            cx.progress.throttled(u64::from(is_throttled));
            return Err(error.into());
        }
        let code = error.code().to_owned();
        cx.progress.record_transient_error(self.scope.target, error);
        let items = std::mem::take(&mut sent.items);
        if is_throttled {
            return Ok(vec![sent.again(items, wait)]);
        }
        if attempt >= ATTEMPTS_AS_A_WHOLE && items.len() > 1 {
            // The halves begin with one attempt less than a whole: one item may be the reason.
            let (attempt, since) = (ATTEMPTS_AS_A_WHOLE - 1, Instant::now());
            let half = |items| SubBatch { attempt, since, ..sent.again(items, wait) };
            return Ok(bisect(items).map(half).into());
        }
        let items = items.into_iter().map(|item| (item, &*code)).collect();
        Ok(vec![self.keep_trying(&sent, items, MAX_ATTEMPTS, wait)])
    }

    /// The store cannot read the request. Half of its items may be accepted, until the item that
    /// the store cannot read is alone. But if items from all over the batch are rejected alike,
    /// each alone, and nothing of the pass was accepted, the request itself is the reason.
    pub(super) fn reject(
        &mut self,
        mut sent: SubBatch,
        error: StoreError,
    ) -> Result<Vec<SubBatch>, PassError> {
        let mut items = std::mem::take(&mut sent.items);
        let code = error.code().to_owned();
        let (seen, is_accepted) = (&mut self.rejections, self.scope.is_accepted.get());
        if items.len() == 1 {
            seen.number = if seen.code == code { seen.number + 1 } else { 1 };
            seen.code.clone_from(&code);
            let samples = seen.fewest_items.unwrap_or(SAMPLES).clamp(2, SAMPLES);
            if seen.number >= samples && !is_accepted {
                return Err(error.into());
            }
            items.iter().for_each(|item| self.defer_markers(item));
            self.outcome.left.refused.add(&code, 1);
            return Ok(Vec::new());
        }
        // The items have not failed themselves.
        let since = Instant::now();
        let part = |items| SubBatch { attempt: 1, since, ..sent.again(items, Duration::ZERO) };
        if is_accepted || seen.number > 0 || items.len() <= SAMPLES {
            let fewest = seen.fewest_items.map_or(items.len(), |fewest| fewest.min(items.len()));
            seen.fewest_items = Some(fewest);
            return Ok(bisect(items).map(part).into());
        }
        let step = (items.len() - 1) / (SAMPLES - 1);
        let samples: Vec<_> =
            (0..SAMPLES).rev().map(|number| part(vec![items.swap_remove(number * step)])).collect();
        Ok(samples.into_iter().chain(bisect(items).map(part)).collect())
    }

    /// Asks what locks each denied version. If nothing does, the version counts as denied.
    pub(super) async fn look_up_retention(&mut self) {
        let (cx, scope) = (self.cx, self.scope);
        // If a look-up fails in a way that may pass, the others are not sent: nothing waits for
        // the reason of a denial.
        let has_failed = &Cell::new(false);
        let look_up = async |(item, code): (Item, String)| {
            if has_failed.get() || scope.is_left.get() {
                return (Ok(None), code);
            }
            let request = |timeout| cx.store.retention(scope.prefix, &item, timeout);
            let retention = cx.retry_read(scope, ReadClass::Other, request).await;
            if retention.as_ref().is_err_and(StoreError::is_transient) {
                has_failed.set(true);
            }
            (retention, code)
        };
        let denied = std::mem::take(&mut self.denied);
        let left = &mut self.outcome.left;
        let mut retentions =
            pin!(stream::iter(denied).map(look_up).buffer_unordered(CONCURRENT_LOOK_UPS));
        while let Some((retention, code)) = retentions.next().await {
            match retention {
                Ok(Some(retention)) => left.retain(retention),
                Ok(None) => left.add_denied(&code),
                Err(error) if error.is_transient() => left.add_denied(&code),
                Err(_) => left.refused.add(LOCK_NOT_READABLE, 1),
            }
        }
    }
}
