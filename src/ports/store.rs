//! The operations that this function needs from S3, with reading separate from deleting.
//! [`aws::s3`](crate::aws::s3) implements them; the tests have other implementations.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::target::{Key, Prefix};

/// Read access to an object store. Every call ends within its `limit`, and none retries.
pub trait ReadStore {
    /// Whether the bucket of this prefix has or ever had versioning. If so, a plain delete would
    /// only hide the data.
    fn is_versioned(
        &self,
        prefix: &Prefix,
        limit: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>>;

    /// Lists one page of the entries under a prefix, from its start or from a token of the same
    /// kind.
    ///
    /// Versions and delete markers are in one listing: a caller that requests one of these kinds
    /// gets both.
    fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> impl Future<Output = Result<Page, StoreError>>;

    /// The token of a page that begins after a key. `None` if the store does not list in key order,
    /// or cannot start a listing of this kind at any key.
    fn token_after(&self, kind: Kind, key: &str) -> Option<String>;

    /// Whether anything is listed after a key. It may be called often, so a store should respond
    /// faster than with a page.
    fn is_any_behind(
        &self,
        prefix: &Prefix,
        kind: Kind,
        key: &str,
        limit: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> {
        async move {
            let Some(token) = self.token_after(kind, key) else {
                return Ok(false);
            };
            Ok(self.list(prefix, kind, Some(&token), limit).await?.is_any())
        }
    }
}

/// Delete access to an object store. Code that only has a [`ReadStore`], such as a dry run, cannot
/// delete.
pub trait DeleteStore: ReadStore {
    /// Deletes at most 1,000 items, and aborts uploads. The items are all uploads, or all objects,
    /// or versions and delete markers. The store confirmed the deletion of every item that the
    /// result does not report as a failure.
    fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> impl Future<Output = Result<DeleteResult, StoreError>>;

    /// What retains a version, if anything does. It explains why S3 may have denied the deletion.
    fn retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        limit: Duration,
    ) -> impl Future<Output = Result<Option<Retention>, StoreError>>;
}

/// The kinds of entries that an erasure lists under a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Multipart uploads that were neither completed nor aborted. Their parts are data, too.
    Uploads,
    /// Objects of a bucket that never had versioning.
    Objects,
    /// Data versions, `null` included.
    Versions,
    /// Delete markers. Deleting the last marker above a version would make that version current
    /// again.
    DeleteMarkers,
}

impl Kind {
    /// Whether a listing of this kind contains entries of another kind: versions and delete markers
    /// are in one listing.
    pub fn lists(self, entry: Self) -> bool {
        let is_version = |kind: Self| matches!(kind, Self::Versions | Self::DeleteMarkers);
        self == entry || is_version(self) && is_version(entry)
    }
}

/// One response of a listing. It may be short or even empty although more pages follow; only `next`
/// shows whether they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The listed entries. Keys are in any order; the delete markers of one key are ordered from
    /// the newest to the oldest.
    pub entries: Vec<ListedEntry>,
    /// The token of the next page; `None` after the last page. It may contain a key and must not be
    /// logged.
    pub next: Option<String>,
    /// In listings of versions, the key at which the page was cut, so that more of its versions may
    /// follow.
    pub cut_at: Option<String>,
}

impl Page {
    /// Whether this page or a later one may have entries.
    pub fn is_any(&self) -> bool {
        !self.entries.is_empty() || self.next.is_some()
    }
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// The entry's kind.
    pub kind: Kind,
    /// The entry's key, not yet checked against the prefix.
    pub key: String,
    /// For uploads, the key's other reading: some stores encode keys without saying so, or say so
    /// without encoding.
    pub other_key: Option<String>,
    /// The id of the version, delete marker or upload; objects have none.
    pub id: Option<String>,
    /// The size in bytes, if the listing has it; 0 for uploads and delete markers.
    pub bytes: u64,
    /// When the entry was last written or the upload began, if the listing has the time.
    pub last_modified: Option<OffsetDateTime>,
}

/// One item to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The item's kind.
    pub kind: Kind,
    /// The item's key.
    pub key: Key,
    /// For uploads, the key with which the abort is retried if the upload is not found; see
    /// [`ListedEntry::other_key`].
    pub other_key: Option<Key>,
    /// The id of the version, delete marker or upload; objects have none.
    pub id: Option<String>,
    /// The size in bytes, as listed.
    pub bytes: u64,
    /// When the item was last written, as listed.
    pub last_modified: Option<OffsetDateTime>,
}

impl Item {
    /// The memory that the item takes, in bytes.
    pub fn memory(&self) -> usize {
        let other = self.other_key.as_ref().map_or(0, |key| key.as_str().len());
        size_of::<Self>()
            + self.key.as_str().len()
            + other
            + self.id.as_ref().map_or(0, String::capacity)
    }
}

/// The result of a delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteResult {
    /// The number of requests: an item that does not fit into a common request has its own.
    pub requests: u64,
    /// The items whose deletion the store did not confirm.
    pub failures: Vec<KeyFailure>,
}

/// The most keys of one DeleteObjects.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
pub const MAX_BATCH_KEYS: usize = 1_000;

/// The longest error code that is reported unchanged, in bytes. S3's longest codes have about 40.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
pub const MAX_CODE_BYTES: usize = 64;

/// An item that a delete request did not delete. It is data and not an error, because the other
/// items of the request are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFailure {
    /// The item's position in the request.
    pub index: usize,
    /// The store's error code.
    pub code: String,
    /// The kind of failure, by how the caller handles it.
    pub kind: FailureKind,
}

/// Why an item was not deleted, by how the caller handles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The store asks for fewer keys. Another attempt at the limiter's rate may succeed.
    Throttled,
    /// Another attempt may succeed.
    Transient,
    /// The store denied the deletion; Object Lock or a policy may be the reason.
    Denied,
    /// No item with this key and id exists: another client deleted it, or the listing is wrong.
    NotFound,
    /// A plain delete wrote a delete marker, because the bucket has versioning now. The next round
    /// finds the version.
    HiddenByMarker,
    /// No other attempt can succeed, for a reason that concerns only this item.
    Other,
}

/// What retains a version, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The kind of lock.
    pub hold: LockKind,
    /// When the version may be deleted, if known.
    pub until: Option<OffsetDateTime>,
}

/// The locks of Object Lock.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockKind {
    /// Compliance mode: nobody can end the retention before its date.
    Compliance,
    /// Governance mode: `BYPASS_GOVERNANCE_RETENTION`, with the permission for it, can end the
    /// retention.
    Governance,
    /// A legal hold: it has no date, and the party that set it must lift it.
    LegalHold,
}

impl LockKind {
    /// The lock's name in receipts and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compliance => "compliance",
            Self::Governance => "governance",
            Self::LegalHold => "legal-hold",
        }
    }
}

/// Why a whole request failed, by how the caller handles it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// The store asks for fewer keys: wait, and send fewer.
    #[error("S3 throttled the request: {0}")]
    Throttled(String),
    /// No response came: wait, and send the request again. The store may respond in time to a
    /// smaller request.
    #[error("no answer from S3: {0}")]
    NoAnswer(String),
    /// The response is malformed, or the store had an internal error: wait, and send the request
    /// again.
    #[error("S3 returned a server error: {0}")]
    Unavailable(String),
    /// The response is implausible, for example because it is about a key that was not requested:
    /// ignore it, and send the request again.
    #[error("S3 returned an inconsistent response: {0}")]
    Inconsistent(String),
    /// The store does not accept the token: list from the start of the prefix.
    #[error("S3 rejected the continuation token: {0}")]
    TokenRejected(String),
    /// The store rejected this request: a smaller one may be accepted.
    #[error("S3 rejected the request: {0}")]
    Malformed(String),
    /// A permission or a bucket is missing, or the like: no attempt succeeds until an operator
    /// changes something.
    #[error("the bucket cannot be used: {0}")]
    Permanent(String),
}

impl StoreError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled(_)
            | Self::NoAnswer(_)
            | Self::Unavailable(_)
            | Self::Inconsistent(_) => true,
            Self::TokenRejected(_) | Self::Malformed(_) | Self::Permanent(_) => false,
        }
    }

    /// The store's code, or the adapter's own. Every text begins with the operation and the code,
    /// for example `DeleteObjects: SlowDown (HTTP 503, ...)`.
    pub fn code(&self) -> &str {
        let (Self::Throttled(text)
        | Self::NoAnswer(text)
        | Self::Unavailable(text)
        | Self::Inconsistent(text)
        | Self::TokenRejected(text)
        | Self::Malformed(text)
        | Self::Permanent(text)) = self;
        let code = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest);
        code.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default()
    }
}
