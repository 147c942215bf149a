//! What this function needs of SQS. The real one is in [`aws::sqs`](crate::aws::sqs); the tests'
//! simulation is the other.

use std::future::Future;
use std::time::Duration;

/// A message queue, as far as an erasure needs it. Every call ends within its `limit`, and none
/// retries by itself.
pub trait Queue {
    /// Puts a continuation into the continuation queue. An error does not mean that it is not
    /// there.
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

/// A continuation on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The JSON text.
    pub body: String,
    /// The user: FIFO queues keep a group's order, standard queues are fair between groups.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>
    pub group: String,
    /// What a FIFO queue drops duplicates by, for 5 minutes.
    pub deduplication_id: String,
    /// How long it stays hidden: 0 s to 900 s. FIFO queues know no delay of a single message, and
    /// show it at once.
    pub delay: Duration,
}

/// How to name a received message to the queue that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptHandle {
    /// The queue, which need not be the continuation queue.
    pub queue_arn: Option<String>,
    /// The handle of this one delivery.
    pub receipt_handle: String,
}

/// Why SQS did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No answer came: try again.
    #[error("no answer from SQS: {0}")]
    NoAnswer(String),
    /// An answer that cannot be true, or the service's own error: try again.
    #[error("SQS answered with an error of its own: {0}")]
    Unavailable(String),
    /// A missing permission, queue or the like: no attempt helps until an operator changes
    /// something.
    #[error("the queue cannot be used: {0}")]
    Permanent(String),
}

impl QueueError {
    /// Whether another attempt would fail, too.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Permanent(_))
    }
}
