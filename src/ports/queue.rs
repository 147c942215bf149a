//! The operations that this function needs from SQS. [`aws::sqs`](crate::aws::sqs) implements them;
//! the tests have a simulation.

use std::future::Future;
use std::time::Duration;

/// A message queue, as far as an erasure needs it. Every call ends within its `limit`, and none
/// retries.
pub trait Queue {
    /// Sends a continuation to the continuation queue. After an error, it may be in the queue
    /// nevertheless.
    fn send(
        &self,
        continuation: &OutgoingMessage,
        limit: Duration,
    ) -> impl Future<Output = Result<(), QueueError>>;

    /// Sets how long from now a received message stays hidden: 0 s to 12 h.
    fn set_visibility(
        &self,
        received: &ReceiptHandle,
        visibility: Duration,
        limit: Duration,
    ) -> impl Future<Output = Result<(), QueueError>>;
}

/// A continuation to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The JSON text.
    pub body: String,
    /// The hash of the user. FIFO queues keep the order within a group; standard queues are fair between
    /// groups.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>
    pub group: String,
    /// The id by which a FIFO queue drops duplicates, for 5 minutes.
    pub deduplication_id: String,
    /// How long the message stays hidden: 0 s to 900 s. FIFO queues do not support delays of single
    /// messages, and deliver it immediately.
    pub delay: Duration,
}

/// Identifies a received message to the queue that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptHandle {
    /// The queue's ARN; it need not be the continuation queue.
    pub queue_arn: Option<String>,
    /// The handle of this delivery.
    pub receipt_handle: String,
}

/// Why a request to SQS failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No response came: try again.
    #[error("no answer from SQS: {0}")]
    NoAnswer(String),
    /// The response is implausible, or SQS had an internal error: try again.
    #[error("SQS returned a server error: {0}")]
    Unavailable(String),
    /// A permission or a queue is missing, or the like: no attempt succeeds until an operator
    /// changes something.
    #[error("the queue cannot be used: {0}")]
    Permanent(String),
}

impl QueueError {
    /// Whether another attempt would fail, too.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Permanent(_))
    }
}
