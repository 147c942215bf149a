//! The outcome of one message, its reason, and when the message is delivered again.

use std::time::Duration;

use crate::erasure::report::{IncompleteReason, TargetError};
use crate::message::erasure::{ChainLimit, MessageError};
use crate::ports::queue::QueueError;
use crate::ports::receipts::ReceiptError;

/// The delay before SQS delivers a failed message again: 5 s, doubling with each delivery up to 15
/// minutes.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(900);

/// The outcome of one message.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// `found_nothing` is true if the first listing of everything found nothing. Then the user id
    /// or the target may be wrong.
    Erased {
        found_nothing: bool,
    },
    Swept,
    /// An earlier delivery of the same message finished the erasure and stored this receipt.
    AlreadyDone(&'static str),
    DryRun,
    /// The text is the error that occurred, or what the erasure waits for, if anything.
    Continued(Option<String>),
    Incomplete(Incomplete),
    Failed(Failure),
    Rejected(Rejection),
}

/// Why an erasure cannot be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Incomplete {
    #[error("{0}")]
    IncompleteReason(#[from] IncompleteReason),
    /// The chain of continuations ended; `left` is what the last hop could not delete.
    #[error("{end}{}", if .left.is_empty() { String::new() } else { format!(": {}", .left) })]
    Chain { end: ChainLimit, left: String },
}

/// Why the hop shows nothing about what remains.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", join(.0))]
    Targets(Vec<TargetError>),
    /// No progress was made. There are no errors if no response came.
    #[error("nothing was listed or deleted before the stop time: {}", if .0.is_empty() { "S3 sent no response, or the rate limit allowed no request".to_owned() } else { join(.0) })]
    NoProgress(Vec<TargetError>),
    #[error("failed to send the continuation: {0}")]
    Continuation(#[source] QueueError),
    #[error("failed to store the receipt: {0}")]
    Receipt(#[source] ReceiptError),
    #[error(
        "a receipt of another user already exists under this name: was the request id used again?"
    )]
    ReceiptTaken,
    #[error("{0}")]
    NewerVersion(MessageError),
    #[error(
        "DRY_RUN is on, and this erasure has begun: redrive it from the dead-letter queue when DRY_RUN is off"
    )]
    DryRunIsOn,
    #[error("the erasure panicked")]
    Panic,
}

/// Why a message can never be processed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("the record has no body or is not an SQS record")]
    NoBody,
    #[error("{0}")]
    Message(MessageError),
    #[error(
        "this is the continuation of a dry run, and DRY_RUN is off: it must not become an erasure"
    )]
    DryRunIsOver,
}

impl From<MessageError> for Outcome {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::NewerVersion(_) => Self::Failed(Failure::NewerVersion(error)),
            MessageError::Size { .. }
            | MessageError::Json(_)
            | MessageError::NotAnObject
            | MessageError::Type
            | MessageError::NoMatch
            | MessageError::NotAString(_)
            | MessageError::NotAnId(_)
            | MessageError::Number(_)
            | MessageError::Many(_)
            | MessageError::Query(_)
            | MessageError::Time(_)
            | MessageError::User { .. }
            | MessageError::Scopes
            | MessageError::ReservedUser
            | MessageError::Id
            | MessageError::Continuation { .. } => Self::Rejected(Rejection::Message(error)),
        }
    }
}

impl Outcome {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Erased { .. } => "erased",
            Self::AlreadyDone(outcome) => outcome,
            Self::Swept => "swept",
            Self::DryRun => "dry-run",
            Self::Continued(_) => "continued",
            Self::Incomplete(_) => "incomplete",
            Self::Failed(_) => "failed",
            Self::Rejected(_) => "rejected",
        }
    }

    pub(crate) fn reason(&self) -> Option<String> {
        match self {
            Self::Erased { .. } | Self::Swept | Self::DryRun => None,
            Self::AlreadyDone(_) => Some(
                "an earlier delivery stored the receipt, so this delivery deleted nothing"
                    .to_owned(),
            ),
            Self::Continued(reason) => reason.clone(),
            Self::Incomplete(incomplete) => Some(incomplete.to_string()),
            Self::Failed(failure) => Some(failure.to_string()),
            Self::Rejected(rejection) => Some(rejection.to_string()),
        }
    }

    /// `Some(true)` if the erasure found nothing, otherwise `None`.
    pub(crate) fn found_nothing(&self) -> Option<bool> {
        matches!(self, Self::Erased { found_nothing: true }).then_some(true)
    }

    /// How long a message stays hidden before it is delivered again; `None` if it is done.
    pub(crate) fn retry_delay(&self, receive_count: u32) -> Option<Duration> {
        match self {
            Self::Erased { .. }
            | Self::Swept
            | Self::AlreadyDone(_)
            | Self::DryRun
            | Self::Continued(_) => None,
            Self::Incomplete(_) | Self::Failed(_) => {
                let doublings = receive_count.saturating_sub(1).min(16);
                Some(FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF))
            }
            // Waiting cannot make the message valid, so it goes to the dead-letter queue without
            // delay.
            Self::Rejected(_) => Some(Duration::ZERO),
        }
    }
}

/// The errors as one text; `None` if there are no errors.
pub(crate) fn reason(faults: &[TargetError]) -> Option<String> {
    (!faults.is_empty()).then(|| join(faults))
}

fn join(faults: &[TargetError]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
