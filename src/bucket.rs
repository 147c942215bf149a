//! What this function needs of S3. The real one is in [`s3`]; the tests' simulation is the other.

pub mod s3;

use std::future::Future;
use std::time::Duration;

use time::OffsetDateTime;

use crate::target::{Key, Prefix};

/// An object store, as far as an erasure needs it. Every call ends within its `limit`, and none retries by itself.
pub trait Bucket: Sync {
    /// Checks that deleting an object of this bucket destroys it, which a bucket with versioning does not.
    fn check(&self, bucket: &str, limit: Duration) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Lists one page of the objects under a prefix, from its start or from where a token points.
    fn list(
        &self,
        prefix: &Prefix,
        token: Option<&str>,
        limit: Duration,
    ) -> impl Future<Output = Result<Page, Fault>> + Send;

    /// Deletes at most 1,000 objects. Every item that the answer does not report as a failure was confirmed deleted.
    fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> impl Future<Output = Result<Deletion, Fault>> + Send;
}

/// One answer of a listing. It may be short or even empty although more follow: only `next` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What was listed, in the store's order.
    pub objects: Vec<ListedObject>,
    /// The continuation token of the next page; `None` behind the last.
    pub next: Option<String>,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key, not yet checked against the prefix.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written, if the store tells.
    pub last_modified: Option<OffsetDateTime>,
}

/// One thing to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: Key,
    /// Its size in bytes, as listed.
    pub bytes: u64,
}

/// What became of the items of a delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// How many requests it took: keys that do not fit into a common one go by their own.
    pub requests: u64,
    /// The items that are not confirmed deleted.
    pub failures: Vec<KeyFailure>,
}

/// A key that a delete request did not delete. Data, not an error: the others of the request are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFailure {
    /// The key's position in the request.
    pub index: usize,
    /// The store's error code.
    pub code: String,
    /// Whether another try may help.
    pub is_retryable: bool,
    /// Whether the store asked us to slow down.
    pub is_throttle: bool,
}

/// Why a request as a whole failed, sorted by what the caller does about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store asks for fewer keys: wait, and come back with half as many.
    #[error("be let through by S3: {0}")]
    Throttled(String),
    /// No answer, a broken one, or the store's own error: wait and try again.
    #[error("reach S3: {0}")]
    Unavailable(String),
    /// An answer that cannot be true, such as one about a key that nobody asked for: try again, believe nothing.
    #[error("trust the answer of S3: {0}")]
    Untrustworthy(String),
    /// The store does not know the continuation token: begin again at the prefix.
    #[error("resume the listing: {0}")]
    TokenRefused(String),
    /// The store cannot take this request as it is: a smaller one may pass.
    #[error("have S3 accept the request: {0}")]
    Malformed(String),
    /// A missing permission, bucket or the like: no try will help until somebody mends it.
    #[error("use the bucket: {0}")]
    Refused(String),
}
