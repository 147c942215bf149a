//! Deletes one batch, in as many requests as it takes. What a response means for its items is in
//! `failures.rs`.

use std::collections::{HashSet, VecDeque};

use tokio::time::{Instant, sleep_until};

use crate::erasure::batch::{BatchOutcome, BatchSink, Items};
use crate::erasure::context::{Context, Scope};
use crate::erasure::report::PassError;
use crate::erasure::sub_batch::SubBatch;
use crate::limiter::Permit;
use crate::ports::store::{DeleteStore, FailureKind, Item, KeyFailure, StoreError};
use crate::target::Key;

/// The consecutive throttles of one key that count as congestion. After that, the key itself is the
/// problem, and must not slow down the others.
const MAX_CONGESTION_SIGNALS: u32 = 3;

/// Deletes the batches of a round.
#[derive(Debug)]
pub(super) struct Deleter;

impl<S: DeleteStore> BatchSink<S> for Deleter {
    /// Deletes data first, and then the delete markers of each key of which all data is deleted.
    async fn handle(
        &self,
        cx: &Context<'_, S>,
        scope: &Scope<'_>,
        items: Items,
    ) -> Result<Option<BatchOutcome>, PassError> {
        let objects = items.counts().objects_and_versions();
        cx.progress.reserve(objects, cx.erasure.max_objects)?;
        let Items { now, after_data } = items;
        let mut batch = BatchDeletion::new(cx, scope);
        if !batch.delete(now).await? {
            return Ok(None);
        }
        let (deferred, free): (Vec<_>, Vec<_>) =
            after_data.into_iter().partition(|marker| batch.not_deleted.contains(&marker.key));
        batch.outcome.left.deferred_markers += deferred.len() as u64;
        if !batch.delete(free).await? {
            return Ok(None);
        }
        batch.look_up_retention().await;
        Ok(Some(batch.outcome))
    }
}

/// The deletion of one batch, and the outcome of its items so far.
pub(super) struct BatchDeletion<'b, 'a, S> {
    pub(super) cx: &'b Context<'a, S>,
    pub(super) scope: &'b Scope<'b>,
    pub(super) outcome: BatchOutcome,
    /// Keys of which some data is not deleted.
    pub(super) not_deleted: HashSet<Key>,
    /// Versions whose deletion the store denied, with its code. Object Lock may be the reason.
    pub(super) denied: Vec<(Item, String)>,
    pub(super) rejections: Rejections,
}

/// Requests of this batch for one item that the store rejected in succession.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    pub(super) code: String,
    pub(super) number: usize,
    /// The fewest items that were left when a request was cut into halves.
    pub(super) fewest_items: Option<usize>,
}

impl<'b, 'a, S: DeleteStore> BatchDeletion<'b, 'a, S> {
    fn new(cx: &'b Context<'a, S>, scope: &'b Scope<'b>) -> Self {
        Self {
            cx,
            scope,
            outcome: BatchOutcome::default(),
            not_deleted: HashSet::new(),
            denied: Vec::new(),
            rejections: Rejections::default(),
        }
    }

    /// Deletes items. `false`: not all have an outcome, because the stop time is too near or the
    /// pass is left.
    async fn delete(&mut self, items: Vec<Item>) -> Result<bool, PassError> {
        let mut queue = VecDeque::from([SubBatch::new(items)]);
        while let Some(mut next) = queue.pop_front() {
            if next.items.is_empty() {
                continue;
            }
            let Some(permit) = self.admit(&next).await else { return Ok(false) };
            let rest = next.items.split_off(permit.keys().min(next.items.len()));
            queue.push_front(SubBatch { items: rest, ..next });
            if next.attempt == 0 {
                next.since = Instant::now();
            }
            // Items that failed wait behind the items that were not sent so far.
            queue.extend(self.send(next, &permit).await?);
        }
        Ok(true)
    }

    /// Waits until some of the items may be sent. `None`: the stop time is too near, or the pass is
    /// left.
    async fn admit(&self, next: &SubBatch) -> Option<Permit<'a>> {
        let cx = self.cx;
        if next.due > Instant::now() && next.due >= cx.last_launch() {
            return None;
        }
        sleep_until(next.due).await;
        if next.attempt > 0 {
            cx.progress.retried();
        }
        let turn = cx.admission_lock.lock().await;
        let permit = cx.limiter.admit(self.scope.prefix.bucket(), next.len_of_request()).await;
        drop(turn);
        (cx.may_launch() && !self.scope.is_left.get()).then_some(permit)
    }

    /// Sends one request; returns what is to be sent again.
    async fn send(
        &mut self,
        mut sent: SubBatch,
        permit: &Permit<'_>,
    ) -> Result<Vec<SubBatch>, PassError> {
        match self.request(&mut sent, permit).await {
            Ok(failures) => {
                self.scope.is_accepted.set(true);
                self.apply(sent, &failures)
            }
            Err(StoreError::Malformed(text)) => self.reject(sent, StoreError::Permanent(text)),
            Err(error) if !error.is_transient() => Err(error.into()),
            Err(error) => self.postpone(sent, error),
        }
    }

    /// One delete request. The limiter learns from its response.
    async fn request(
        &self,
        sent: &mut SubBatch,
        permit: &Permit<'_>,
    ) -> Result<Vec<KeyFailure>, StoreError> {
        let cx = self.cx;
        cx.progress.requested(1);
        let timeout = cx.delete_timeout();
        let result = cx.store.delete(self.scope.prefix, &sent.items, timeout).await;
        match &result {
            Ok(deleted) => {
                let is_throttled = |it: &&KeyFailure| it.kind == FailureKind::Throttled;
                let throttled = deleted.failures.iter().filter(is_throttled).count();
                let passed = sent.items.len() - throttled;
                if sent.attempt < MAX_CONGESTION_SIGNALS {
                    permit.answered(passed, throttled);
                } else if passed > 0 {
                    permit.answered(passed, 0);
                }
                cx.progress.requested(deleted.requests.saturating_sub(1));
            }
            Err(StoreError::Throttled(_)) => permit.answered(0, sent.items.len()),
            Err(StoreError::NoAnswer(_)) => {
                // A smaller batch is an attempt of another kind: if no other target waits for this
                // pass, it has the time.
                if permit.not_answered(timeout) {
                    sent.since = Instant::now();
                    if self.scope.is_last_target {
                        cx.patience.succeeded();
                    }
                }
            }
            // The error says nothing of the rate.
            Err(_) => {}
        }
        result.map(|deleted| deleted.failures)
    }
}
