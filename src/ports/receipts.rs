//! The storage of receipts. [`aws::s3`](crate::aws::s3) implements it; the tests have a simulation.

use std::future::Future;
use std::time::Duration;

/// A storage of receipts that never overwrites one. Every call ends within its `limit`, and none
/// retries.
pub trait Receipts {
    /// Stores a document under a name, unless that name is already used.
    fn store(
        &self,
        name: &str,
        document: &str,
        limit: Duration,
    ) -> impl Future<Output = Result<PutResult, ReceiptError>>;

    /// Reads the document under a name; `None` if there is none.
    fn read(
        &self,
        name: &str,
        limit: Duration,
    ) -> impl Future<Output = Result<Option<String>, ReceiptError>>;
}

/// The result of storing a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutResult {
    /// The document is stored.
    Created,
    /// A document, the same or another, already has this name.
    AlreadyExists,
}

/// Why a receipt could not be stored or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// No response came: try again.
    #[error("no answer from the receipts bucket: {0}")]
    NoAnswer(String),
    /// The response is malformed, or the store had an internal error: try again.
    #[error("the receipts bucket returned a server error: {0}")]
    Unavailable(String),
    /// A permission or a bucket is missing, or the like: no attempt succeeds until an operator
    /// changes something.
    #[error("the receipts bucket cannot be used: {0}")]
    Permanent(String),
}

impl ReceiptError {
    /// Whether another attempt would fail, too.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Permanent(_))
    }
}
