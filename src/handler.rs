//! From an SQS event to the batch response. The only place that logs.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::FutureExt;
use futures::future::join_all;
use lambda_runtime::Diagnostic;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::bucket::Bucket;
use crate::config::Config;
use crate::deadline::{Announced, Deadline, left_until};
use crate::eraser::{End, Eraser, Job, Round, Stuck, TargetFault};
use crate::message::{Erasure, MessageError};
use crate::pace::Pace;
use crate::queue::{Outgoing, Queue, QueueFault, Received};
use crate::tally::{Counters, Tally};

/// The end of every chain of continuations, whatever else fails: 10,000 hops of 15 minutes are three months.
const MAX_HOPS: u32 = 10_000;

/// Tries for one request to SQS; the time that is left ends them sooner. Few, because a continuation whose answer was
/// lost is in the queue, and one more beside it doubles the chain.
const QUEUE_ATTEMPTS: u32 = 3;
const LONGEST_QUEUE_REQUEST: Duration = Duration::from_secs(3);

/// A message that is given back comes again after 5 s, doubling with each delivery up to 15 minutes.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(900);

/// The function: what stays the same from one invocation to the next.
#[derive(Debug)]
pub struct Handler<B, Q> {
    config: Config,
    bucket: B,
    queue: Q,
    pace: Pace,
}

/// Why an event as a whole fails: then all its messages come again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A message that is to come again cannot be named in the answer.
    #[error("a record without a message id is not done: the whole batch is given back")]
    UnnamedRecord,
    /// Whoever invoked the function sent something else.
    #[error("the event is not from SQS: expected {{\"Records\": [{{\"messageId\": ..., \"body\": ...}}]}}")]
    NotFromSqs,
}

impl From<EventError> for Diagnostic {
    fn from(error: EventError) -> Self {
        Self { error_type: format!("{error:?}"), error_message: error.to_string() }
    }
}

/// What became of one message.
#[derive(Debug)]
enum Outcome {
    Erased,
    /// With what stood in the way, if anything did.
    Continued(Vec<TargetFault>),
    Incomplete(Incomplete),
    Failed(Failure),
    Rejected(Rejection),
}

/// Why an erasure cannot be completed.
#[derive(Debug, thiserror::Error)]
enum Incomplete {
    #[error("{0}")]
    Stuck(#[from] Stuck),
    #[error("{0} hops in a row deleted nothing")]
    IdleHops(u32),
    #[error("it has taken {MAX_HOPS} hops")]
    Hops,
}

/// Why nothing can be said about what is left.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", join(.0))]
    Targets(Vec<TargetFault>),
    #[error("nothing could be listed or deleted before the time was over ({})", join(.0))]
    NoProgress(Vec<TargetFault>),
    #[error("failed to send the continuation: failed to {0}")]
    Continuation(#[source] QueueFault),
    #[error("{0}")]
    NewerVersion(MessageError),
    #[error("the erasure panicked")]
    Panic,
}

/// Why a message can never be worked on.
#[derive(Debug, thiserror::Error)]
enum Rejection {
    #[error("the record has no body")]
    NoBody,
    #[error("{0}")]
    Message(MessageError),
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::Continued(_) => "continued",
            Self::Incomplete(_) => "incomplete",
            Self::Failed(_) => "failed",
            Self::Rejected(_) => "rejected",
        }
    }

    fn reason(&self) -> Option<String> {
        match self {
            Self::Erased => None,
            Self::Continued(faults) => (!faults.is_empty()).then(|| join(faults)),
            Self::Incomplete(incomplete) => Some(incomplete.to_string()),
            Self::Failed(failure) => Some(failure.to_string()),
            Self::Rejected(rejection) => Some(rejection.to_string()),
        }
    }

    /// How long a message that is given back stays hidden; `None`: it is done.
    fn give_back_after(&self, receive_count: u32) -> Option<Duration> {
        match self {
            Self::Erased | Self::Continued(_) => None,
            Self::Incomplete(_) | Self::Failed(_) => {
                let doublings = receive_count.saturating_sub(1).min(16);
                Some(FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF))
            }
            // No wait makes it valid: on to the dead-letter queue.
            Self::Rejected(_) => Some(Duration::ZERO),
        }
    }
}

impl<B: Bucket, Q: Queue> Handler<B, Q> {
    /// `seed` decides the jitter of all waits.
    pub fn new(config: Config, bucket: B, queue: Q, seed: u64) -> Self {
        let pace = Pace::new(config.max_deletes_per_second, config.max_in_flight_batches, seed);
        Self { config, bucket, queue, pace }
    }

    /// Works on all messages of an event at once, and names those that are to come again.
    ///
    /// `deadline_epoch_ms` is the end of the invocation, in milliseconds since 1970; the answer is there before it.
    pub async fn handle(&self, event: Value, deadline_epoch_ms: u64) -> Result<SqsBatchResponse, EventError> {
        let Ok(event) = serde_json::from_value(event) else {
            error!(reason = %EventError::NotFromSqs, "event not understood");
            return Err(EventError::NotFromSqs);
        };
        let announced = Announced::at_wall_clock(deadline_epoch_ms, self.config.fallback_invocation_time);
        self.handle_until(event, announced).await
    }

    /// As [`Handler::handle`], with the event read and the wall clock's time from outside.
    pub async fn handle_until(&self, event: SqsEvent, announced: Announced) -> Result<SqsBatchResponse, EventError> {
        let (deadline, is_believed) = Deadline::new(announced, self.config.handoff_reserve);
        if !is_believed {
            let budget_s = announced.fallback.as_secs();
            warn!(budget_s, "the announced deadline has already passed: taking a fixed time budget instead");
        }
        let settled = join_all(event.records.iter().map(|record| self.settle(record, &deadline))).await;

        let mut response = SqsBatchResponse::default();
        for (record, is_done) in event.records.into_iter().zip(settled) {
            match record.message_id.filter(|id| !id.is_empty()) {
                _ if is_done => {}
                Some(message_id) => response.add_failure(message_id),
                None => return Err(EventError::UnnamedRecord),
            }
        }
        Ok(response)
    }

    /// Sees one message to its outcome. `false`: it is to come again.
    async fn settle(&self, record: &SqsMessage, deadline: &Deadline) -> bool {
        let worked = AssertUnwindSafe(self.work(record, deadline)).catch_unwind().await;
        let outcome = worked.unwrap_or_else(|_panic| {
            let outcome = Outcome::Failed(Failure::Panic);
            log_without_erasure(record, &outcome, "erasure panicked");
            outcome
        });
        let Some(visibility) = outcome.give_back_after(receive_count(record)) else { return true };
        if let Some(receipt_handle) = record.receipt_handle.clone() {
            let received = Received { queue_arn: record.event_source_arn.clone(), receipt_handle };
            let request = |limit| self.queue.set_visibility(&received, visibility, limit);
            if let Err(fault) = self.until_done(deadline.last_word(), request).await {
                // It comes again all the same, when its queue's visibility timeout is over.
                let message_id = record.message_id.as_deref();
                warn!(message_id, reason = %fault, "visibility not changed");
            }
        }
        false
    }

    /// Works on one message. The continuation is in the queue before `Continued` is returned.
    async fn work(&self, record: &SqsMessage, deadline: &Deadline) -> Outcome {
        let parsed = match record.body.as_deref() {
            None => Err(Outcome::Rejected(Rejection::NoBody)),
            Some(body) => Erasure::parse(body, record.message_id.as_deref(), &self.config.targets).map_err(|error| {
                if matches!(error, MessageError::NewerVersion(_)) {
                    Outcome::Failed(Failure::NewerVersion(error))
                } else {
                    Outcome::Rejected(Rejection::Message(error))
                }
            }),
        };
        let mut erasure = match parsed {
            Ok(erasure) => erasure,
            Err(outcome) => {
                log_without_erasure(record, &outcome, "message not understood");
                return outcome;
            }
        };
        let counters = Counters::on_top_of(erasure.tally);
        let job = Job {
            targets: &self.config.targets,
            user: &erasure.user,
            erase_before: erasure.erase_before,
            stop: deadline.stop(),
        };
        let mut bookmark = std::mem::take(&mut erasure.bookmark);
        let report = Eraser::new(&self.bucket, &self.pace, &counters, job).erase(&mut bookmark).await;
        erasure.bookmark = bookmark;
        erasure.tally = counters.total();
        let hop = counters.hop();
        let outcome = match report.end {
            End::Erased => Outcome::Erased,
            // Nothing deleted, and nowhere further: SQS is to count it.
            End::Unfinished { has_advanced: false, faults } if hop.objects == 0 => {
                Outcome::Failed(Failure::NoProgress(faults))
            }
            End::Unfinished { faults, .. } => match self.hand_on(&erasure, hop, deadline).await {
                Ok(()) => Outcome::Continued(faults),
                Err(outcome) => outcome,
            },
            End::Stuck(stuck) => Outcome::Incomplete(stuck.into()),
            End::Failed(faults) => Outcome::Failed(Failure::Targets(faults)),
        };
        log_hop(record, &erasure, &Hop { tally: hop, round: report.round, start: deadline.start() }, &outcome);
        outcome
    }

    /// Sends the continuation, unless the chain has come to its end.
    async fn hand_on(&self, erasure: &Erasure, hop: Tally, deadline: &Deadline) -> Result<(), Outcome> {
        let idle_hops = if hop.objects > 0 { 0 } else { erasure.idle_hops.saturating_add(1) };
        if idle_hops >= self.config.max_idle_hops.get() {
            return Err(Outcome::Incomplete(Incomplete::IdleHops(idle_hops)));
        }
        let next = Erasure { hop: erasure.hop.saturating_add(1), idle_hops, ..erasure.clone() };
        if next.hop > MAX_HOPS {
            return Err(Outcome::Incomplete(Incomplete::Hops));
        }
        let continuation = Outgoing {
            body: next.continuation(),
            group: next.user.as_str().to_owned(),
            deduplication_id: next.deduplication_id(),
        };
        let request = |limit| self.queue.send(&continuation, limit);
        let sent = self.until_done(deadline.last_send(), request).await;
        sent.map_err(|fault| Outcome::Failed(Failure::Continuation(fault)))
    }

    /// Repeats a request to SQS until it is done, or until that is hopeless or too late.
    async fn until_done<Answer>(&self, until: Instant, request: impl Fn(Duration) -> Answer) -> Result<(), QueueFault>
    where
        Answer: Future<Output = Result<(), QueueFault>>,
    {
        let mut attempt = 0;
        loop {
            let fault = match request(left_until(until).min(LONGEST_QUEUE_REQUEST)).await {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            attempt += 1;
            let wait = self.pace.backoff(attempt);
            let is_hopeless = matches!(fault, QueueFault::Refused(_)) || attempt >= QUEUE_ATTEMPTS;
            if is_hopeless || left_until(until) <= wait {
                return Err(fault);
            }
            sleep(wait).await;
        }
    }
}

fn receive_count(record: &SqsMessage) -> u32 {
    let count = record.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// What one hop did.
struct Hop {
    tally: Tally,
    round: Round,
    start: Instant,
}

/// One line for each hop, whatever its outcome.
fn log_hop(record: &SqsMessage, erasure: &Erasure, hop: &Hop, outcome: &Outcome) {
    macro_rules! log {
        ($level:ident) => {
            $level!(
                outcome = outcome.name(),
                reason = outcome.reason(),
                user = erasure.user.fingerprint(),
                erasure = erasure.log_name(),
                hop = erasure.hop,
                round = erasure.bookmark.round,
                objects = hop.tally.objects,
                bytes = hop.tally.bytes,
                kept_newer = hop.round.kept_newer,
                refused = hop.round.refused.total(),
                requests = hop.tally.requests,
                throttles = hop.tally.throttles,
                retries = hop.tally.retries,
                total_objects = erasure.tally.objects,
                total_bytes = erasure.tally.bytes,
                receive_count = receive_count(record),
                duration_ms = u64::try_from(hop.start.elapsed().as_millis()).unwrap_or(u64::MAX),
                "hop finished"
            )
        };
    }
    match outcome {
        Outcome::Continued(faults) if !faults.is_empty() => log!(warn),
        Outcome::Erased | Outcome::Continued(_) => log!(info),
        Outcome::Incomplete(_) => log!(warn),
        Outcome::Failed(_) | Outcome::Rejected(_) => log!(error),
    }
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

fn join(faults: &[TargetFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
