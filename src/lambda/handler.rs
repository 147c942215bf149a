//! From an SQS event to the batch response.

use std::panic::AssertUnwindSafe;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::FutureExt;
use futures::future::join_all;
use serde_json::Value;
use tracing::{error, warn};

use crate::config::Config;
use crate::deadline::{AnnouncedDeadline, Deadline};
use crate::erasure::counts::Totals;
use crate::erasure::engine::{Engine, ErasureScope};
use crate::erasure::progress::Progress;
use crate::erasure::report::{HopEnd, Round};
use crate::lambda::event::{EventError, read_event, receive_count, sent_at};
use crate::lambda::hop::{Hop, ProcessedMessage};
use crate::lambda::log::{log_hop, log_redelivery, log_without_erasure};
use crate::lambda::metrics::{InvocationMetrics, MessageMetrics, Metrics};
use crate::lambda::outcome::{Failure, Outcome, Rejection};
use crate::limiter::Limiter;
use crate::message::erasure::Erasure;
use crate::ports::queue::{Queue, QueueError, ReceiptHandle};
use crate::ports::receipts::Receipts;

/// The function: what stays the same from one invocation to the next.
#[derive(Debug)]
pub struct Handler<W, Q, R> {
    pub(super) config: Config,
    engine: W,
    pub(super) queue: Q,
    /// `None`: no receipts are wanted.
    pub(super) receipts: Option<R>,
    pub(super) limiter: Limiter,
    metrics: Option<Metrics>,
}

impl<W: Engine, Q: Queue, R: Receipts> Handler<W, Q, R> {
    /// `seed` decides the jitter of all waits.
    pub fn new(config: Config, engine: W, queue: Q, receipts: Option<R>, seed: u64) -> Self {
        let limiter =
            Limiter::new(config.max_deletes_per_second, config.max_in_flight_batches, seed);
        Self { config, engine, queue, receipts, limiter, metrics: None }
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
            join_all(event.records.iter().map(|record| self.process(record, &deadline))).await;

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
        let mut numbers = InvocationMetrics::default();
        for ProcessedMessage { outcome, metrics, .. } in settled {
            numbers.add(outcome, metrics.as_ref());
        }
        metrics.write(&numbers.within(deadline.start().elapsed()), deadline.time_of_day());
    }

    /// Sees one message to its outcome.
    async fn process(&self, record: &SqsMessage, deadline: &Deadline) -> ProcessedMessage {
        let worked = AssertUnwindSafe(self.work(record, deadline)).catch_unwind().await;
        let (outcome, metrics) = worked.unwrap_or_else(|_panic| {
            let outcome = Outcome::Failed(Failure::Panic);
            log_without_erasure(record, &outcome, "erasure panicked");
            (outcome, None)
        });
        let Some(visibility) = outcome.retry_delay(receive_count(record)) else {
            return ProcessedMessage { outcome, metrics, is_redelivered: false };
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
        ProcessedMessage { outcome, metrics, is_redelivered: true }
    }

    /// Works on one message. What the outcome claims, the receipt or the continuation, is stored
    /// before it returns.
    async fn work(
        &self,
        record: &SqsMessage,
        deadline: &Deadline,
    ) -> (Outcome, Option<MessageMetrics>) {
        let mut erasure = match self.read(record) {
            Ok(erasure) => erasure,
            Err(outcome) => {
                log_without_erasure(record, &outcome, "message not understood");
                return (outcome, None);
            }
        };
        let user = self.config.hash_key.hash(&erasure.user);
        log_redelivery(record, &erasure, &user);
        let now = deadline.time_of_day();
        erasure.requested_at = erasure.requested_at.or_else(|| sent_at(record)).or(Some(now));
        let mut hop = Hop {
            totals: Totals::default(),
            round: Round::default(),
            is_idle: true,
            is_first_delivery: receive_count(record) <= 1,
            deadline,
        };
        if let Some(due) = erasure.sweep_at.filter(|due| *due > now) {
            let outcome = self.reschedule_sweep(&erasure, due, deadline).await;
            log_hop(record, (&erasure, &user), &hop, &outcome);
            return (outcome, Some(hop.metrics(&erasure)));
        }
        if !hop.is_first_delivery
            && let Some(outcome) = self.find_own_receipt(&erasure, deadline).await
        {
            hop.is_idle = false;
            log_hop(record, (&erasure, &user), &hop, &outcome);
            return (outcome, Some(hop.metrics(&erasure)));
        }
        erasure.started_at = erasure.started_at.or(Some(now));

        let progress = Progress::resume(std::mem::take(&mut erasure.totals));
        let mut checkpoint =
            erasure.starting_checkpoint(receive_count(record), self.config.max_idle_hops);
        let job = ErasureScope {
            targets: &self.config.targets,
            user: &erasure.user,
            erase_before: erasure.erase_before,
            max_objects: self.config.max_objects,
            started_at: erasure.started_at,
            stop: deadline.stop(),
        };
        let report = self.engine.work(&self.limiter, &progress, job, &mut checkpoint).await;
        erasure.checkpoint = checkpoint;
        erasure.totals = progress.total();
        hop.totals = progress.hop();
        // A dry run that lists what is kept counts nothing for a while, and makes progress.
        let gets_on = erasure.is_dry_run
            && matches!(report.end, HopEnd::Unfinished { has_advanced: true, .. });
        hop.is_idle = progress.was_reset() || (progress.deleted() == 0 && !gets_on);
        hop.round = report.round;
        let outcome = self.conclude(&erasure, report.end, &hop).await;
        self.store_incomplete_receipt(&erasure, &outcome, &hop, receive_count(record)).await;
        log_hop(record, (&erasure, &user), &hop, &outcome);
        (outcome, Some(hop.metrics(&erasure)))
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
}
