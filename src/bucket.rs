//! What this function needs of S3, reading and deleting apart. The real ones are in [`s3`]; the tests have others.

pub mod s3;

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::target::{Key, Prefix};

/// An object store to read from. Every call ends within its `limit`, and none retries by itself.
pub trait Bucket: Sync {
    /// Whether this bucket keeps, or has ever kept, versions: a plain delete would then only hide the data.
    fn is_versioned(&self, bucket: &str, limit: Duration) -> impl Future<Output = Result<bool, Fault>> + Send;

    /// Lists one page of what lies under a prefix, from its start or from where a token of the same kind points.
    ///
    /// Versions and delete markers stand in one listing: whoever asks for one gets both.
    fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> impl Future<Output = Result<Page, Fault>> + Send;

    /// The token of a page that begins behind a key. `None`: the store does not list in the order of keys, or cannot begin
    /// a listing of this kind anywhere.
    fn token_after(&self, kind: Kind, key: &str) -> Option<String>;

    /// Whether anything is listed behind a key. It may be asked often: a store should answer faster than with a page.
    fn is_any_behind(
        &self,
        prefix: &Prefix,
        kind: Kind,
        key: &str,
        limit: Duration,
    ) -> impl Future<Output = Result<bool, Fault>> + Send {
        async move {
            let Some(token) = self.token_after(kind, key) else { return Ok(false) };
            Ok(self.list(prefix, kind, Some(&token), limit).await?.is_any())
        }
    }
}

/// An object store to delete from. What only has a [`Bucket`], such as a dry run, has no way to delete.
pub trait Deletes: Bucket {
    /// Deletes at most 1,000 items of one kind, uploads by aborting them. Every item that the answer does not report
    /// as a failure was confirmed gone.
    fn delete(
        &self,
        prefix: &Prefix,
        kind: Kind,
        items: &[Item],
        limit: Duration,
    ) -> impl Future<Output = Result<Deletion, Fault>> + Send;

    /// Why S3 may have refused to delete a version: what holds it, if anything does.
    fn retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        limit: Duration,
    ) -> impl Future<Output = Result<Option<Retention>, Fault>> + Send;
}

/// What an erasure looks for under a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Multipart uploads that were neither completed nor aborted: their parts are data, too.
    Uploads,
    /// Objects of a bucket that never had versioning.
    Objects,
    /// Data versions, `null` included.
    Versions,
    /// Delete markers. Deleting the last one above a version would bring that version back to life.
    DeleteMarkers,
}

/// One answer of a listing. It may be short or even empty although more follow: only `next` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What was listed, in any order.
    pub entries: Vec<Entry>,
    /// The token of the next page; `None` behind the last. It may hold a key: never for logs.
    pub next: Option<String>,
    /// In listings of versions: the key at which the page was cut, so that more of its versions may follow.
    pub cut_at: Option<String>,
}

impl Page {
    /// Whether there is anything: on it or behind it.
    pub fn is_any(&self) -> bool {
        !self.entries.is_empty() || self.next.is_some()
    }
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its key, not yet checked against the prefix.
    pub key: String,
    /// The id of the version, delete marker or upload; objects have none.
    pub id: Option<String>,
    /// Its size in bytes, as far as the listing tells: 0 for uploads and delete markers.
    pub bytes: u64,
    /// When it was last written, an upload when it began, if the store tells.
    pub last_modified: Option<OffsetDateTime>,
}

/// One thing to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: Key,
    /// The id of the version, delete marker or upload; objects have none.
    pub id: Option<String>,
    /// Its size in bytes, as listed.
    pub bytes: u64,
}

/// What became of the items of a delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// How many requests it took: what does not fit into a common one goes by its own.
    pub requests: u64,
    /// The items that are not confirmed gone.
    pub failures: Vec<KeyFailure>,
}

/// Longest error code that is told as it is, in bytes. S3's longest have about 40.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
pub const MAX_CODE_BYTES: usize = 64;

/// The code of an object that a delete has only hidden, because its bucket has got versioning since: the next round
/// finds its version.
pub const ONLY_HIDDEN: &str = "OnlyHidden";

/// An item that a delete request did not delete. Data, not an error: the others of the request are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFailure {
    /// The item's position in the request.
    pub index: usize,
    /// The store's error code.
    pub code: String,
    /// Whether another try may help.
    pub is_retryable: bool,
    /// Whether the store asked us to slow down.
    pub is_throttle: bool,
}

/// What holds a version against deletion, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What it is.
    pub hold: Hold,
    /// The moment from which the version may be deleted, if it is known.
    pub until: Option<OffsetDateTime>,
}

/// The holds of Object Lock.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// Nobody can end it before its date.
    Compliance,
    /// `BYPASS_GOVERNANCE_RETENTION` and the permission to do so can.
    Governance,
    /// It has no date; whoever set it must lift it.
    LegalHold,
}

impl Hold {
    /// Its name in receipts and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compliance => "compliance",
            Self::Governance => "governance",
            Self::LegalHold => "legal-hold",
        }
    }
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
    /// The store does not know the token: begin again at the prefix.
    #[error("resume the listing: {0}")]
    TokenRefused(String),
    /// The store cannot take this request as it is: a smaller one may pass.
    #[error("have S3 accept the request: {0}")]
    Malformed(String),
    /// A missing permission, bucket or the like: no try will help until somebody mends it.
    #[error("use the bucket: {0}")]
    Refused(String),
}
