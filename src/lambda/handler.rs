//! Handles an SQS event and returns the batch response.

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

/// The function's state that persists between invocations.
#[derive(Debug)]
pub struct Handler<W, Q, R> {
    pub(super) config: Config,
    engine: W,
    pub(super) queue: Q,
    /// `None` if the function stores no receipts.
    pub(super) receipts: Option<R>,
    pub(super) limiter: Limiter,
    metrics: Option<Metrics>,
}

impl<W: Engine, Q: Queue, R: Receipts> Handler<W, Q, R> {
    /// Creates a handler; `seed` determines the jitter of all waits.
    pub fn new(config: Config, engine: W, queue: Q, receipts: Option<R>, seed: u64) -> Self {
        let limiter =
            Limiter::new(config.max_deletes_per_second, config.max_in_flight_batches, seed);
        Self { config, engine, queue, receipts, limiter, metrics: None }
    }

    /// Adds a line of metrics for each invocation.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Processes all messages of an event concurrently, and returns those that are to be delivered
    /// again.
    ///
    /// `deadline_epoch_ms` is the end of the invocation, in milliseconds since 1970; the response
    /// is returned before it.
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

    /// Works as [`Handler::handle`] does, but takes the parsed event and the wall-clock time.
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
                "the announced deadline has passed: the function uses a fixed time budget instead"
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

    /// Processes one message and returns its outcome.
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
                // SQS delivers the message again anyway, after the queue's visibility timeout.
                let message_id = record.message_id.as_deref();
                warn!(message_id, reason = %fault, "failed to change message visibility");
            }
        }
        ProcessedMessage { outcome, metrics, is_redelivered: true }
    }

    /// Works on one message. What the outcome claims, a receipt or a continuation, is stored before
    /// this function returns.
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
        let outcome = self.outcome(&mut erasure, &mut hop, receive_count(record)).await;
        log_hop(record, (&erasure, &user), &hop, &outcome);
        (outcome, Some(hop.metrics(&erasure)))
    }

    /// The outcome of an erasure's message: without a hop, if a sweep is not due yet or an earlier
    /// delivery has done all of it.
    async fn outcome(&self, erasure: &mut Erasure, hop: &mut Hop<'_>, delivery: u32) -> Outcome {
        let (now, deadline) = (hop.deadline.time_of_day(), hop.deadline);
        if let Some(due) = erasure.sweep_at.filter(|due| *due > now) {
            return self.reschedule_sweep(erasure, due, deadline).await;
        }
        if !hop.is_first_delivery
            && let Some(outcome) = self.find_own_receipt(erasure, deadline).await
        {
            hop.is_idle = false;
            return outcome;
        }
        erasure.started_at = erasure.started_at.or(Some(now));
        let end = self.run_hop(erasure, hop, delivery).await;
        let outcome = self.conclude(erasure, end, hop).await;
        self.store_incomplete_receipt(erasure, &outcome, hop, delivery).await;
        outcome
    }

    /// Runs the engine until the erasure ends or the stop time comes.
    async fn run_hop(&self, erasure: &mut Erasure, hop: &mut Hop<'_>, delivery: u32) -> HopEnd {
        let progress = Progress::resume(std::mem::take(&mut erasure.totals));
        let mut checkpoint = erasure.starting_checkpoint(delivery, self.config.max_idle_hops);
        let scope = ErasureScope {
            targets: &self.config.targets,
            user: &erasure.user,
            erase_before: erasure.erase_before,
            max_objects: self.config.max_objects,
            started_at: erasure.started_at,
            stop: hop.deadline.stop(),
        };
        let report = self.engine.work(&self.limiter, &progress, scope, &mut checkpoint).await;
        erasure.checkpoint = checkpoint;
        erasure.totals = progress.total();
        hop.totals = progress.hop();
        // A dry run that lists many kept items counts nothing for some time, but makes progress.
        let has_listed = erasure.is_dry_run
            && matches!(report.end, HopEnd::Unfinished { has_advanced: true, .. });
        hop.is_idle = progress.was_reset() || (progress.deleted() == 0 && !has_listed);
        hop.round = report.round;
        report.end
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
