//! Where receipts are kept. The real place is in [`aws::s3`](crate::aws::s3); the tests' simulation
//! has another.

use std::future::Future;
use std::time::Duration;

/// A place for receipts that never overwrites one. Every call ends within its `limit`, and none
/// retries by itself.
pub trait Receipts {
    /// Stores a document under a name, unless there is one already.
    fn store(
        &self,
        name: &str,
        document: &str,
        limit: Duration,
    ) -> impl Future<Output = Result<PutResult, ReceiptError>>;

    /// Reads what stands under a name; `None`: nothing.
    fn read(
        &self,
        name: &str,
        limit: Duration,
    ) -> impl Future<Output = Result<Option<String>, ReceiptError>>;
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutResult {
    /// It is stored.
    Created,
    /// Another, or the same, stood there before.
    AlreadyExists,
}

/// Why a receipt could not be stored or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// No answer came: try again.
    #[error("no answer from the receipts bucket: {0}")]
    NoAnswer(String),
    /// A broken answer, or the store's own error: try again.
    #[error("the receipts bucket answered with an error of its own: {0}")]
    Unavailable(String),
    /// A missing permission, bucket or the like: no attempt helps until an operator changes
    /// something.
    #[error("the receipts bucket cannot be used: {0}")]
    Permanent(String),
}

impl ReceiptError {
    /// Whether another attempt would fail, too.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Permanent(_))
    }
}
