//! Why a message is rejected.

use crate::target::UserIdError;

pub(super) const WITHDRAWAL: &str = "user-withdrawn";

/// The newest continuation format that this code understands.
pub(super) const VERSION: u32 = 2;

/// The longest request id and the longest SQS deduplication id, in bytes.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub(super) const MAX_ID_BYTES: usize = 128;

/// Why a body is not a valid message. The text never repeats the body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The body is larger than any queue carries, or than any continuation of ours.
    #[error("the body has {bytes} bytes, expected at most {max}")]
    Size {
        /// The size of the body.
        bytes: usize,
        /// The largest accepted size.
        max: usize,
    },
    /// The body is not JSON, or has the same field twice.
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// The body is valid JSON, but not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// `type` is missing or unknown, and the body is not an envelope.
    #[error(
        "\"type\" is not {WITHDRAWAL:?}, nor is it such a request in an envelope of SNS or EventBridge"
    )]
    Type,
    /// The message is neither an event that `MESSAGE_MATCH` describes nor `user-withdrawn`.
    #[error(
        "the message does not have all values of MESSAGE_MATCH, and its \"type\" is not {WITHDRAWAL:?}, \
         nor is it such a request in an envelope of SNS or EventBridge"
    )]
    NoMatch,
    /// A field is missing or has the wrong JSON type.
    #[error("{0:?} is missing or not a JSON string")]
    NotAString(String),
    /// An id is missing or has the wrong JSON type.
    #[error("{0:?} is missing or not a JSON string or integer")]
    NotAnId(String),
    /// An id is a number that may not be what the sender meant.
    #[error(
        "{0:?} is a number, but not an integer from 0 to 9007199254740991 without sign, point and \
         exponent; JavaScript rounds larger ones, so that they may name another user: send a JSON string"
    )]
    Number(String),
    /// The message names several users.
    #[error("{0:?} is an array: send one message for each user, since each has its own receipt")]
    Many(String),
    /// The query of `USER_ID_POINTER` does not select one place.
    #[error("USER_ID_POINTER selects {0} values of the message, expected exactly one")]
    Query(usize),
    /// A field is not a time.
    #[error("{0:?} is not a time as in RFC 3339, like 2026-01-31T12:00:00Z")]
    Time(String),
    /// The id of the user or of a scope is unsafe, or not one of this deployment.
    #[error("{name:?}: {error}")]
    User {
        /// Where in the message the id is.
        name: String,
        /// What is wrong with it.
        error: UserIdError,
    },
    /// The scopes of a continuation are others than those of this deployment.
    #[error("the continuation has other scopes than SCOPE_IDS declares")]
    Scopes,
    /// Another user could own the same keys.
    #[error(
        "this user's id is fixed text of another target: keys of this user and of other users would be mixed up"
    )]
    ReservedUser,
    /// The id of the request or erasure has an invalid form.
    #[error("the request id is not 1 to {MAX_ID_BYTES} of A-Z a-z 0-9 . _ : -")]
    Id,
    /// The fields of a continuation cannot be read.
    #[error("the continuation cannot be read at line {line}, column {column}")]
    Continuation {
        /// The line in the body, from 1.
        line: usize,
        /// The column in the line, from 1.
        column: usize,
    },
    /// A later release sent the continuation, during a deployment. A newer execution environment
    /// has to process it.
    #[error(
        "the continuation has format version {0}, this release supports versions up to {VERSION}"
    )]
    NewerVersion(u64),
}
