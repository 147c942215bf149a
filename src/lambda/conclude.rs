//! How a hop ends. What its outcome claims, a receipt or a continuation, is stored before the
//! message is acknowledged.

use std::future::Future;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::warn;

use crate::deadline::{Deadline, time_until};
use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::counts::Totals;
use crate::erasure::engine::Engine;
use crate::erasure::report::{HopEnd, IncompleteReason, describe_remaining, made_no_progress};
use crate::lambda::handler::Handler;
use crate::lambda::hop::Hop;
use crate::lambda::outcome::{Failure, Incomplete, Outcome, reason};
use crate::lambda::receipt::{self, ReceiptKind};
use crate::limiter::retry::retry;
use crate::message::erasure::{ChainLimit, Erasure};
use crate::ports::queue::{OutgoingMessage, Queue, QueueError};
use crate::ports::receipts::{PutResult, ReceiptError, Receipts};

/// The maximum number of attempts for one request to SQS or for one receipt; the remaining time may
/// end them sooner. The number is small: a continuation whose response was lost is in the queue,
/// and a second one doubles the chain.
const MAX_ATTEMPTS: u32 = 3;
const MAX_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest time for which SQS hides a message before its first delivery.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html>
const MAX_DELAY: Duration = Duration::from_secs(900);

/// The delay before a later hop proves the result again and retries to store the receipt.
const RECEIPT_DELAY: Duration = Duration::from_secs(30);

impl<W: Engine, Q: Queue, R: Receipts> Handler<W, Q, R> {
    /// Determines the outcome of the hop, and stores what it claims.
    pub(super) async fn conclude(&self, erasure: &Erasure, end: HopEnd, hop: &Hop<'_>) -> Outcome {
        match end {
            HopEnd::Erased if erasure.sweep_at.is_some() => self
                .store_final_receipt(erasure, &ReceiptKind::Swept, hop)
                .await
                .err()
                .unwrap_or(Outcome::Swept),
            HopEnd::Erased => {
                let found_nothing = hop.has_found_nothing(erasure);
                match self
                    .store_final_receipt(erasure, &ReceiptKind::Erased { found_nothing }, hop)
                    .await
                {
                    Ok(()) => {
                        let now = hop.deadline.time_of_day();
                        let arranged = self.schedule_sweep(erasure, now, hop.deadline).await;
                        arranged.err().unwrap_or(Outcome::Erased { found_nothing })
                    }
                    Err(outcome) => outcome,
                }
            }
            HopEnd::Counted => self
                .store_final_receipt(erasure, &ReceiptKind::DryRun, hop)
                .await
                .err()
                .unwrap_or(Outcome::DryRun),
            HopEnd::Unfinished { has_advanced, faults }
                if made_no_progress(hop.is_idle, has_advanced) =>
            {
                Outcome::Failed(Failure::NoProgress(faults))
            }
            HopEnd::Unfinished { faults, .. } => {
                self.continue_erasure(erasure, hop, reason(&faults)).await
            }
            // If the message were returned to its queue, its totals would lack what this hop met,
            // and a later delivery would delete the rest.
            HopEnd::Incomplete(stuck @ IncompleteReason::ObjectLimit(_))
                if hop.totals.deleted.objects_and_versions() > 0 =>
            {
                self.continue_erasure(erasure, hop, Some(stuck.to_string())).await
            }
            HopEnd::Incomplete(stuck) => Outcome::Incomplete(stuck.into()),
            HopEnd::Failed(faults) => Outcome::Failed(Failure::Targets(faults)),
        }
    }

    /// Sends a continuation, with a delay if a bucket throttles more than a third of the keys.
    async fn continue_erasure(
        &self,
        erasure: &Erasure,
        hop: &Hop<'_>,
        reason: Option<String>,
    ) -> Outcome {
        let sent = self.send_continuation(erasure, hop.is_idle, hop, self.limiter.cooldown()).await;
        sent.err().unwrap_or(Outcome::Continued(reason))
    }

    /// Stores the receipt of a finished erasure. If that fails, a later hop has to prove the result
    /// again and store the receipt.
    async fn store_final_receipt(
        &self,
        erasure: &Erasure,
        verdict: &ReceiptKind,
        hop: &Hop<'_>,
    ) -> Result<(), Outcome> {
        let Err(failure) = self.store(erasure, verdict, hop).await else {
            return Ok(());
        };
        if !matches!(failure, Failure::Receipt(_)) {
            return Err(Outcome::Failed(failure));
        }
        let mut again = erasure.clone();
        let mut is_idle = hop.is_idle;
        if matches!(verdict, ReceiptKind::DryRun) {
            // A dry run counts everything again, which is no progress. An erasure only proves again
            // that nothing remains.
            again.totals = Totals::default();
            is_idle = true;
        }
        Err(match self.send_continuation(&again, is_idle, hop, RECEIPT_DELAY).await {
            Ok(()) => Outcome::Continued(Some(failure.to_string())),
            // The attempts failed too often, so the message is redelivered and SQS counts the
            // deliveries.
            Err(Outcome::Incomplete(_)) => Outcome::Failed(failure),
            Err(outcome) => outcome,
        })
    }

    /// Adds the receipt of an incomplete erasure. The message is delivered again, with or without
    /// this receipt.
    pub(super) async fn store_incomplete_receipt(
        &self,
        erasure: &Erasure,
        outcome: &Outcome,
        hop: &Hop<'_>,
        delivery: u32,
    ) {
        if let Outcome::Incomplete(incomplete) = outcome
            && !erasure.is_dry_run
        {
            let verdict = ReceiptKind::Incomplete { delivery, reason: incomplete.to_string() };
            if let Err(failure) = self.store(erasure, &verdict, hop).await {
                warn!(erasure = erasure.redacted_id(), reason = %failure, "failed to store the incomplete receipt");
            }
        }
    }

    /// Stores a receipt, or finds that it is already stored.
    async fn store(
        &self,
        erasure: &Erasure,
        verdict: &ReceiptKind,
        hop: &Hop<'_>,
    ) -> Result<(), Failure> {
        let Some(receipts) = &self.receipts else {
            return Ok(());
        };
        let user = self.config.hash_key.hash(&erasure.user);
        let name = verdict.file_name(erasure);
        let now = hop.deadline.time_of_day();
        let document =
            receipt::document(verdict, erasure, &user, (&self.config.targets, &hop.round), now);
        let until = hop.deadline.receipt_deadline();
        let store = |limit| receipts.store(&name, &document, limit);
        match self
            .retry(until, ReceiptError::is_permanent, store)
            .await
            .map_err(Failure::Receipt)?
        {
            PutResult::Created => Ok(()),
            PutResult::AlreadyExists => {
                let read = |limit| receipts.read(&name, limit);
                let stored = self
                    .retry(until, ReceiptError::is_permanent, read)
                    .await
                    .map_err(Failure::Receipt)?;
                match stored.as_deref().map(receipt::StoredReceipt::read) {
                    Some(Some(stored)) if stored.is_same(verdict, &user) => Ok(()),
                    Some(_) => Err(Failure::ReceiptTaken),
                    None => {
                        let text = "GetObject: NotFound, although PutObject said that it exists";
                        Err(Failure::Receipt(ReceiptError::Unavailable(text.to_owned())))
                    }
                }
            }
        }
    }

    /// Whether an earlier delivery of this message finished the erasure and stored the receipt. If
    /// so, this delivery deletes nothing, because whatever exists now was written later. If the
    /// receipt cannot be read, the erasure counts as not finished.
    pub(super) async fn find_own_receipt(
        &self,
        erasure: &Erasure,
        deadline: &Deadline,
    ) -> Option<Outcome> {
        if erasure.is_dry_run {
            return None;
        }
        if erasure.sweep_at.is_some() {
            self.own_receipt(erasure, &ReceiptKind::Swept, deadline).await?;
            return Some(Outcome::AlreadyDone(ReceiptKind::Swept.name()));
        }
        let verdict = ReceiptKind::Erased { found_nothing: false };
        let stored = self.own_receipt(erasure, &verdict, deadline).await?;
        let proven_at = stored.proven_empty_at.unwrap_or_else(|| deadline.time_of_day());
        // It is unknown whether the earlier delivery sent the late-write sweep, unless the sweep is
        // finished.
        if self.config.late_write_sweep.is_some()
            && self.own_receipt(erasure, &ReceiptKind::Swept, deadline).await.is_none()
            && let Err(outcome) = self.schedule_sweep(erasure, proven_at, deadline).await
        {
            return Some(outcome);
        }
        Some(Outcome::AlreadyDone(verdict.name()))
    }

    /// The receipt of exactly this request, if it is stored.
    async fn own_receipt(
        &self,
        erasure: &Erasure,
        verdict: &ReceiptKind,
        deadline: &Deadline,
    ) -> Option<receipt::StoredReceipt> {
        let receipts = self.receipts.as_ref()?;
        let name = verdict.file_name(erasure);
        let read = |limit| receipts.read(&name, limit);
        // The erasure needs most of the time.
        let until = Instant::now() + time_until(deadline.stop()) / 4;
        let stored = self.retry(until, ReceiptError::is_permanent, read).await.ok().flatten()?;
        let stored = receipt::StoredReceipt::read(&stored)?;
        let user = self.config.hash_key.hash(&erasure.user);
        (stored.is_same(verdict, &user) && stored.is_of(erasure)).then_some(stored)
    }

    /// Sends the message for the late-write sweep, which finds uploads that began before the proof
    /// and end after it.
    async fn schedule_sweep(
        &self,
        erasure: &Erasure,
        proven_at: OffsetDateTime,
        deadline: &Deadline,
    ) -> Result<(), Outcome> {
        let Some(after) = self.config.late_write_sweep else {
            return Ok(());
        };
        let due = proven_at + after;
        let after = Duration::try_from(due - deadline.time_of_day()).unwrap_or_default();
        let sweep = Erasure {
            idle_hops: 0,
            sweep_at: Some(due),
            started_at: None,
            checkpoint: Checkpoint::default(),
            totals: Totals::default(),
            ..erasure.clone()
        };
        self.send(sweep.next_hop_unchecked(), after.min(MAX_DELAY), deadline).await
    }

    /// Sends on a late-write sweep that is not due yet.
    pub(super) async fn reschedule_sweep(
        &self,
        erasure: &Erasure,
        due: OffsetDateTime,
        deadline: &Deadline,
    ) -> Outcome {
        let left = Duration::try_from(due - deadline.time_of_day()).unwrap_or_default();
        // The delay is at least one second: SQS counts in seconds, and a message without a delay
        // would be delivered immediately.
        let delay = Duration::from_secs(left.as_secs() + 1).min(MAX_DELAY);
        match self.send(erasure.next_hop_unchecked(), delay, deadline).await {
            Ok(()) => Outcome::Continued(Some(format!("the sweep is due in {} s", left.as_secs()))),
            Err(outcome) => outcome,
        }
    }

    /// Sends the continuation, unless the chain has reached its limit.
    async fn send_continuation(
        &self,
        erasure: &Erasure,
        is_idle: bool,
        hop: &Hop<'_>,
        delay: Duration,
    ) -> Result<(), Outcome> {
        let next = erasure.next_hop(is_idle, self.config.max_idle_hops);
        let mut sent = self.send(next, delay, hop.deadline).await;
        if let Err(Outcome::Incomplete(Incomplete::Chain { left, .. })) = &mut sent {
            *left = describe_remaining(&hop.round.left);
        }
        sent
    }

    async fn send(
        &self,
        next: Result<Erasure, ChainLimit>,
        delay: Duration,
        deadline: &Deadline,
    ) -> Result<(), Outcome> {
        let next = next
            .map_err(|end| Outcome::Incomplete(Incomplete::Chain { end, left: String::new() }))?;
        let continuation = OutgoingMessage {
            body: next.continuation(),
            // SQS shows the group where it does not show the body, and CloudTrail may log it.
            group: self.config.hash_key.hash(&next.user),
            deduplication_id: next.deduplication_id(),
            delay,
        };
        let request = |limit| self.queue.send(&continuation, limit);
        let sent =
            self.retry(deadline.continuation_deadline(), QueueError::is_permanent, request).await;
        sent.map_err(|fault| Outcome::Failed(Failure::Continuation(fault)))
    }

    /// Retries a request until it succeeds, its error is permanent, or the time is over.
    pub(super) async fn retry<T, E, Response>(
        &self,
        until: Instant,
        is_permanent: impl Fn(&E) -> bool,
        request: impl Fn(Duration) -> Response,
    ) -> Result<T, E>
    where
        Response: Future<Output = Result<T, E>>,
    {
        let attempt = || request(time_until(until).min(MAX_TIMEOUT));
        retry(attempt, |error, attempts| {
            let wait = self.limiter.backoff(attempts);
            let is_last = attempts >= MAX_ATTEMPTS || time_until(until) <= wait;
            if is_last || is_permanent(&error) { Err(error) } else { Ok(wait) }
        })
        .await
    }
}
