//! From an SQS event to the batch response. The only place that logs.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::FutureExt;
use futures::future::join_all;
use lambda_runtime::Diagnostic;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::config::Config;
use crate::deadline::{AnnouncedDeadline, Deadline, time_until};
use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::counts::{Remaining, Totals};
use crate::erasure::engine::{Engine, ErasureScope};
use crate::erasure::progress::Progress;
use crate::erasure::report::{
    HopEnd, IncompleteReason, Round, describe_remaining, made_no_progress,
};
use crate::lambda::metrics::{Metrics, Numbers, Share};
use crate::lambda::outcome::{Failure, Incomplete, Outcome, Rejection, reason};
use crate::lambda::receipt::{self, ReceiptKind};
use crate::limiter::Limiter;
use crate::message::erasure::{ChainLimit, Erasure};
use crate::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};
use crate::ports::receipts::{PutResult, ReceiptError, Receipts};

/// Tries for one request to SQS or for one receipt; the time that is left ends them sooner. Few,
/// because a continuation whose answer was lost is in the queue, and one more beside it doubles the
/// chain.
const ATTEMPTS: u32 = 3;
const LONGEST_REQUEST: Duration = Duration::from_secs(3);

/// SQS hides a message for no longer than this before its first delivery.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html>
const LONGEST_DELAY: Duration = Duration::from_secs(900);

/// Before the next try to store a receipt, and to prove again what it says.
const RECEIPT_DELAY: Duration = Duration::from_secs(30);

/// The function: what stays the same from one invocation to the next.
#[derive(Debug)]
pub struct Handler<W, Q, R> {
    config: Config,
    work: W,
    queue: Q,
    /// `None`: no receipts are wanted.
    receipts: Option<R>,
    pace: Limiter,
    metrics: Option<Metrics>,
}

/// Why an event as a whole fails: then all its messages come again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A message that is to come again cannot be named in the answer.
    #[error("a record without a message id is not done: the whole batch is given back")]
    UnnamedRecord,
    /// Whoever invoked the function sent something else.
    #[error(
        "the event is not from SQS: expected {{\"Records\": [{{\"messageId\": ..., \"body\": ...}}]}}"
    )]
    NotFromSqs,
}

impl From<EventError> for Diagnostic {
    fn from(error: EventError) -> Self {
        Self { error_type: format!("{error:?}"), error_message: error.to_string() }
    }
}

impl<W: Engine, Q: Queue, R: Receipts> Handler<W, Q, R> {
    /// `seed` decides the jitter of all waits.
    pub fn new(config: Config, work: W, queue: Q, receipts: Option<R>, seed: u64) -> Self {
        let pace = Limiter::new(config.max_deletes_per_second, config.max_in_flight_batches, seed);
        Self { config, work, queue, receipts, pace, metrics: None }
    }

    /// The same, with a line of numbers for each invocation.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Works on all messages of an event at once, and names those that are to come again.
    ///
    /// `deadline_epoch_ms` is the end of the invocation, in milliseconds since 1970; the answer is
    /// there before it.
    pub async fn handle(
        &self,
        event: Value,
        deadline_epoch_ms: u64,
    ) -> Result<SqsBatchResponse, EventError> {
        let event = read_event(event)
            .inspect_err(|error| error!(reason = %error, "event not understood"))?;
        let announced = AnnouncedDeadline::at_wall_clock(
            deadline_epoch_ms,
            self.config.fallback_invocation_time,
        );
        self.handle_until(event, announced).await
    }

    /// As [`Handler::handle`], with the event read and the wall clock's time from outside.
    pub async fn handle_until(
        &self,
        event: SqsEvent,
        announced: AnnouncedDeadline,
    ) -> Result<SqsBatchResponse, EventError> {
        let (deadline, is_believed) = Deadline::new(announced, self.config.handoff_reserve);
        if !is_believed {
            let budget_s = announced.fallback.as_secs();
            warn!(
                budget_s,
                "the announced deadline has already passed: taking a fixed time budget instead"
            );
        }
        let settled =
            join_all(event.records.iter().map(|record| self.settle(record, &deadline))).await;

        self.write_metrics(&settled, &deadline);
        let mut response = SqsBatchResponse::default();
        for (record, settled) in event.records.into_iter().zip(settled) {
            match record.message_id.filter(|id| !id.is_empty()) {
                _ if !settled.is_redelivered => {}
                Some(message_id) => response.add_failure(message_id),
                None => return Err(EventError::UnnamedRecord),
            }
        }
        Ok(response)
    }

    fn write_metrics(&self, settled: &[ProcessedMessage], deadline: &Deadline) {
        let Some(metrics) = &self.metrics else { return };
        let mut numbers = Numbers::default();
        for ProcessedMessage { outcome, share, .. } in settled {
            numbers.add(outcome, share.as_ref());
        }
        metrics.write(&numbers.within(deadline.start().elapsed()), deadline.time_of_day());
    }

    /// Sees one message to its outcome.
    async fn settle(&self, record: &SqsMessage, deadline: &Deadline) -> ProcessedMessage {
        let worked = AssertUnwindSafe(self.work(record, deadline)).catch_unwind().await;
        let (outcome, share) = worked.unwrap_or_else(|_panic| {
            let outcome = Outcome::Failed(Failure::Panic);
            log_without_erasure(record, &outcome, "erasure panicked");
            (outcome, None)
        });
        let Some(visibility) = outcome.retry_delay(receive_count(record)) else {
            return ProcessedMessage { outcome, share, is_redelivered: false };
        };
        if let Some(receipt_handle) = record.receipt_handle.clone() {
            let received =
                ReceiptHandle { queue_arn: record.event_source_arn.clone(), receipt_handle };
            let request = |limit| self.queue.set_visibility(&received, visibility, limit);
            if let Err(fault) =
                self.retry(deadline.visibility_deadline(), QueueError::is_permanent, request).await
            {
                // It comes again all the same, when its queue's visibility timeout is over.
                let message_id = record.message_id.as_deref();
                warn!(message_id, reason = %fault, "visibility not changed");
            }
        }
        ProcessedMessage { outcome, share, is_redelivered: true }
    }

    /// Works on one message. What the outcome claims, the receipt or the continuation, is stored
    /// before it returns.
    async fn work(&self, record: &SqsMessage, deadline: &Deadline) -> (Outcome, Option<Share>) {
        let mut erasure = match self.read(record) {
            Ok(erasure) => erasure,
            Err(outcome) => {
                log_without_erasure(record, &outcome, "message not understood");
                return (outcome, None);
            }
        };
        self.log_redelivery(record, &erasure);
        let now = deadline.time_of_day();
        erasure.requested_at = erasure.requested_at.or_else(|| sent_at(record)).or(Some(now));
        let mut hop = Hop {
            tally: Totals::default(),
            round: Round::default(),
            is_idle: true,
            is_first_delivery: receive_count(record) <= 1,
            deadline,
        };
        if let Some(due) = erasure.sweep_at.filter(|due| *due > now) {
            let outcome = self.wait(&erasure, due, deadline).await;
            self.log_hop(record, &erasure, &hop, &outcome);
            return (outcome, Some(hop.share(&erasure)));
        }
        if !hop.is_first_delivery
            && let Some(outcome) = self.find_own_receipt(&erasure, deadline).await
        {
            hop.is_idle = false;
            self.log_hop(record, &erasure, &hop, &outcome);
            return (outcome, Some(hop.share(&erasure)));
        }
        erasure.started_at = erasure.started_at.or(Some(now));

        let progress = Progress::resume(std::mem::take(&mut erasure.tally));
        let mut bookmark = erasure.place(receive_count(record), self.config.max_idle_hops);
        let job = ErasureScope {
            targets: &self.config.targets,
            user: &erasure.user,
            erase_before: erasure.erase_before,
            max_objects: self.config.max_objects,
            started_at: erasure.started_at,
            stop: deadline.stop(),
        };
        let report = self.work.work(&self.pace, &progress, job, &mut bookmark).await;
        erasure.bookmark = bookmark;
        erasure.tally = progress.total();
        hop.tally = progress.hop();
        // A dry run that lists what is kept counts nothing for a while, and makes progress.
        let gets_on = erasure.is_dry_run
            && matches!(report.end, HopEnd::Unfinished { has_advanced: true, .. });
        hop.is_idle = progress.was_reset() || (progress.deleted() == 0 && !gets_on);
        hop.round = report.round;
        let outcome = self.conclude(&erasure, report.end, &hop).await;
        self.store_incomplete_receipt(&erasure, &outcome, &hop, receive_count(record)).await;
        self.log_hop(record, &erasure, &hop, &outcome);
        (outcome, Some(hop.share(&erasure)))
    }

    fn read(&self, record: &SqsMessage) -> Result<Erasure, Outcome> {
        let body = record.body.as_deref().ok_or(Outcome::Rejected(Rejection::NoBody))?;
        let mut erasure = Erasure::parse(body, record.message_id.as_deref(), &self.config)?;
        match (W::IS_DRY_RUN, erasure.is_dry_run) {
            (true, false) if erasure.is_continuation => Err(Outcome::Failed(Failure::DryRunIsOn)),
            (false, true) => Err(Outcome::Rejected(Rejection::DryRunIsOver)),
            (is_dry_run, _) => {
                erasure.is_dry_run = is_dry_run;
                Ok(erasure)
            }
        }
    }

    /// Makes the outcome of what the work has come to, and stores what it claims.
    async fn conclude(&self, erasure: &Erasure, end: HopEnd, hop: &Hop<'_>) -> Outcome {
        match end {
            HopEnd::Erased if erasure.sweep_at.is_some() => {
                self.finish(erasure, &ReceiptKind::Swept, hop).await.err().unwrap_or(Outcome::Swept)
            }
            HopEnd::Erased => {
                let found_nothing = hop.has_found_nothing(erasure);
                match self.finish(erasure, &ReceiptKind::Erased { found_nothing }, hop).await {
                    Ok(()) => {
                        let now = hop.deadline.time_of_day();
                        let arranged = self.schedule_sweep(erasure, now, hop.deadline).await;
                        arranged.err().unwrap_or(Outcome::Erased { found_nothing })
                    }
                    Err(outcome) => outcome,
                }
            }
            HopEnd::Counted => self
                .finish(erasure, &ReceiptKind::DryRun, hop)
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
            // Given back, the message would not know what was met so far, and a later delivery
            // would delete the rest.
            HopEnd::Incomplete(stuck @ IncompleteReason::ObjectLimit(_))
                if hop.tally.deleted.objects_and_versions() > 0 =>
            {
                self.continue_erasure(erasure, hop, Some(stuck.to_string())).await
            }
            HopEnd::Incomplete(stuck) => Outcome::Incomplete(stuck.into()),
            HopEnd::Failed(faults) => Outcome::Failed(Failure::Targets(faults)),
        }
    }

    /// Continues where there is more to do: at once, unless the hop was mostly refused.
    async fn continue_erasure(
        &self,
        erasure: &Erasure,
        hop: &Hop<'_>,
        reason: Option<String>,
    ) -> Outcome {
        let sent = self.send_continuation(erasure, hop.is_idle, hop, self.pace.rest()).await;
        sent.err().unwrap_or(Outcome::Continued(reason))
    }

    /// Stores the receipt of an erasure that is over. Should that fail, a later hop has to prove
    /// and store again.
    async fn finish(
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
            // It counts everything anew, which is no progress; an erasure only proves again that
            // nothing is left.
            again.tally = Totals::default();
            is_idle = true;
        }
        Err(match self.send_continuation(&again, is_idle, hop, RECEIPT_DELAY).await {
            Ok(()) => Outcome::Continued(Some(failure.to_string())),
            // Too often in vain: SQS is to count it.
            Err(Outcome::Incomplete(_)) => Outcome::Failed(failure),
            Err(outcome) => outcome,
        })
    }

    /// Adds the receipt that an incomplete erasure leaves. The message comes again, with or without
    /// it.
    async fn store_incomplete_receipt(
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
                warn!(erasure = erasure.redacted_id(), reason = %failure, "receipt of what is left not stored");
            }
        }
    }

    /// Stores a receipt, or finds that it stands there already.
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

    /// Whether an earlier delivery of this message has done all of it, and stored the receipt. Then
    /// nothing is deleted: what is there now was written later. What cannot be found out counts as
    /// not done.
    async fn find_own_receipt(&self, erasure: &Erasure, deadline: &Deadline) -> Option<Outcome> {
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
        // Whether the earlier delivery has sent the sweep is not known, unless it is done.
        if self.config.late_write_sweep.is_some()
            && self.own_receipt(erasure, &ReceiptKind::Swept, deadline).await.is_none()
            && let Err(outcome) = self.schedule_sweep(erasure, proven_at, deadline).await
        {
            return Some(outcome);
        }
        Some(Outcome::AlreadyDone(verdict.name()))
    }

    /// The receipt of this very request, if it is stored.
    async fn own_receipt(
        &self,
        erasure: &Erasure,
        verdict: &ReceiptKind,
        deadline: &Deadline,
    ) -> Option<receipt::StoredReceipt> {
        let receipts = self.receipts.as_ref()?;
        let name = verdict.file_name(erasure);
        let read = |limit| receipts.read(&name, limit);
        // Most of the time is for the erasure.
        let until = Instant::now() + time_until(deadline.stop()) / 4;
        let stored = self.retry(until, ReceiptError::is_permanent, read).await.ok().flatten()?;
        let stored = receipt::StoredReceipt::read(&stored)?;
        let user = self.config.hash_key.hash(&erasure.user);
        (stored.is_same(verdict, &user) && stored.is_of(erasure)).then_some(stored)
    }

    /// Sends the message that comes back after the proof, for uploads that began before it and end
    /// after it.
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
            bookmark: Checkpoint::default(),
            tally: Totals::default(),
            ..erasure.clone()
        };
        self.send(sweep.next_hop_unchecked(), after.min(LONGEST_DELAY), deadline).await
    }

    /// Passes a sweep on that is not due yet.
    async fn wait(&self, erasure: &Erasure, due: OffsetDateTime, deadline: &Deadline) -> Outcome {
        let left = Duration::try_from(due - deadline.time_of_day()).unwrap_or_default();
        // A whole second at least: SQS counts in seconds, and a message without a delay would come
        // at once.
        let delay = Duration::from_secs(left.as_secs() + 1).min(LONGEST_DELAY);
        match self.send(erasure.next_hop_unchecked(), delay, deadline).await {
            Ok(()) => Outcome::Continued(Some(format!("the sweep is due in {} s", left.as_secs()))),
            Err(outcome) => outcome,
        }
    }

    /// Sends the continuation, unless the chain has come to its end.
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
            group: next.user.as_str().to_owned(),
            deduplication_id: next.deduplication_id(),
            delay,
        };
        let request = |limit| self.queue.send(&continuation, limit);
        let sent =
            self.retry(deadline.continuation_deadline(), QueueError::is_permanent, request).await;
        sent.map_err(|fault| Outcome::Failed(Failure::Continuation(fault)))
    }

    /// Repeats a request until it is done, or until that is hopeless or too late.
    async fn retry<T, E, Answer>(
        &self,
        until: Instant,
        is_hopeless: impl Fn(&E) -> bool,
        request: impl Fn(Duration) -> Answer,
    ) -> Result<T, E>
    where
        Answer: Future<Output = Result<T, E>>,
    {
        let mut attempt = 0;
        loop {
            let fault = match request(time_until(until).min(LONGEST_REQUEST)).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            attempt += 1;
            let wait = self.pace.backoff(attempt);
            if is_hopeless(&fault) || attempt >= ATTEMPTS || time_until(until) <= wait {
                return Err(fault);
            }
            sleep(wait).await;
        }
    }

    /// Of deliveries that were cut short, by a crash or by Lambda, nothing else would tell.
    fn log_redelivery(&self, record: &SqsMessage, erasure: &Erasure) {
        let receive_count = receive_count(record);
        if receive_count > 1 {
            let user = self.config.hash_key.hash(&erasure.user);
            info!(
                user,
                erasure = erasure.redacted_id(),
                hop = erasure.hop,
                receive_count,
                "message came again"
            );
        }
    }

    /// One line for each hop, whatever its outcome.
    fn log_hop(&self, record: &SqsMessage, erasure: &Erasure, hop: &Hop<'_>, outcome: &Outcome) {
        let left = hop.round.left();
        macro_rules! log {
            ($level:ident) => {
                $level!(
                    outcome = outcome.name(),
                    reason = outcome.reason(),
                    user = self.config.hash_key.hash(&erasure.user),
                    erasure = erasure.redacted_id(),
                    hop = erasure.hop,
                    round = erasure.bookmark.round,
                    objects = hop.tally.deleted.objects,
                    versions = hop.tally.deleted.versions,
                    delete_markers = hop.tally.deleted.delete_markers,
                    uploads = hop.tally.deleted.uploads,
                    bytes = hop.tally.deleted.bytes,
                    foundNothing = outcome.found_nothing(),
                    kept_newer = left.kept_newer,
                    retained = left.retained_total(),
                    refused = left.not_deleted(),
                    requests = hop.tally.requests,
                    throttles = hop.tally.throttles,
                    retries = hop.tally.retries,
                    total_objects = erasure.tally.deleted.objects,
                    total_versions = erasure.tally.deleted.versions,
                    total_delete_markers = erasure.tally.deleted.delete_markers,
                    total_uploads = erasure.tally.deleted.uploads,
                    total_bytes = erasure.tally.deleted.bytes,
                    receive_count = receive_count(record),
                    duration_ms = u64::try_from(hop.deadline.start().elapsed().as_millis())
                        .unwrap_or(u64::MAX),
                    "hop finished"
                )
            };
        }
        match outcome {
            // A sweep that waits is no trouble.
            Outcome::Continued(Some(_)) if erasure.sweep_at.is_none() => log!(warn),
            Outcome::Erased { .. }
            | Outcome::Swept
            | Outcome::AlreadyDone(_)
            | Outcome::DryRun
            | Outcome::Continued(_) => log!(info),
            Outcome::Incomplete(_) => log!(warn),
            Outcome::Failed(_) | Outcome::Rejected(_) => log!(error),
        }
    }
}

/// What became of one message.
struct ProcessedMessage {
    outcome: Outcome,
    /// What of it is counted, if it was understood.
    share: Option<Share>,
    /// Whether the answer gives it back.
    is_redelivered: bool,
}

/// What one hop did.
struct Hop<'a> {
    tally: Totals,
    round: Round,
    /// Whether it was of no use.
    is_idle: bool,
    /// Whether no earlier delivery can have deleted anything.
    is_first_delivery: bool,
    deadline: &'a Deadline,
}

impl Hop<'_> {
    /// Whether the first listing of everything found nothing: no earlier hop or delivery can have
    /// deleted anything, and the first round was the proof.
    fn has_found_nothing(&self, erasure: &Erasure) -> bool {
        let is_first = self.is_first_delivery && erasure.hop == 0 && erasure.bookmark.round == 1;
        is_first
            && self.round.found.values().all(|found| found.total() == 0)
            && self.round.left() == Remaining::default()
    }

    fn share(&self, erasure: &Erasure) -> Share {
        let since = erasure.withdrawn_at.or(erasure.requested_at);
        // A clock that is ahead of ours makes it young, not old.
        let age =
            since.and_then(|since| Duration::try_from(self.deadline.time_of_day() - since).ok());
        Share {
            deleted: self.tally.deleted,
            left: self.round.left(),
            throttles: self.tally.throttles,
            is_idle: self.is_idle,
            is_dry_run: erasure.is_dry_run,
            is_sweep: erasure.sweep_at.is_some(),
            age: age.unwrap_or_default(),
        }
    }
}

/// Reads an event record by record: an odd one must not harm the others.
fn read_event(event: Value) -> Result<SqsEvent, EventError> {
    let Value::Object(mut fields) = event else {
        return Err(EventError::NotFromSqs);
    };
    let Some(Value::Array(records)) = fields.remove("Records") else {
        return Err(EventError::NotFromSqs);
    };
    let mut event = SqsEvent::default();
    event.records = records.into_iter().map(read_record).collect::<Result<_, _>>()?;
    Ok(event)
}

/// A record that can be named but not read is one without a body.
fn read_record(mut record: Value) -> Result<SqsMessage, EventError> {
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let mut name = SqsMessage::default();
    name.message_id = text("messageId");
    name.receipt_handle = text("receiptHandle");
    name.event_source_arn = text("eventSourceARN");
    if let Some(fields) = record.as_object_mut() {
        // Nobody reads them, so nothing is wrong with them.
        fields.remove("messageAttributes");
    }
    let is_named = name.message_id.is_some();
    serde_json::from_value(record).or(if is_named { Ok(name) } else { Err(EventError::NotFromSqs) })
}

fn receive_count(record: &SqsMessage) -> u32 {
    let count = record.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// When the message was sent, as SQS says.
fn sent_at(record: &SqsMessage) -> Option<OffsetDateTime> {
    let milliseconds: u64 = record.attributes.get("SentTimestamp")?.parse().ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()
}

/// For messages whose user is not known, or no longer.
fn log_without_erasure(record: &SqsMessage, outcome: &Outcome, message: &str) {
    error!(
        outcome = outcome.name(),
        reason = outcome.reason(),
        message_id = record.message_id.as_deref(),
        receive_count = receive_count(record),
        "{message}"
    );
}
