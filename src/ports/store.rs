//! What this function needs of S3, reading and deleting apart. The real ones are in
//! [`aws::s3`](crate::aws::s3); the tests have others.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::target::{Key, Prefix};

/// An object store to read from. Every call ends within its `limit`, and none retries by itself.
pub trait ReadStore {
    /// Whether the bucket of this prefix keeps, or has ever kept, versions: a plain delete would
    /// then only hide the data.
    fn is_versioned(
        &self,
        prefix: &Prefix,
        limit: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>>;

    /// Lists one page of what lies under a prefix, from its start or from where a token of the same
    /// kind points.
    ///
    /// Versions and delete markers are in one listing: a caller that asks for one gets both.
    fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> impl Future<Output = Result<Page, StoreError>>;

    /// The token of a page that begins behind a key. `None`: the store does not list in the order
    /// of keys, or cannot begin a listing of this kind anywhere.
    fn token_after(&self, kind: Kind, key: &str) -> Option<String>;

    /// Whether anything is listed behind a key. It may be asked often: a store should answer faster
    /// than with a page.
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

/// An object store to delete from. What only has a [`ReadStore`], such as a dry run, has no way to
/// delete.
pub trait DeleteStore: ReadStore {
    /// Deletes at most 1,000 items, uploads by aborting them. They are all uploads, or all
    /// objects, or versions and delete markers. The store confirmed the deletion of every item that
    /// the answer does not report as a failure.
    fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> impl Future<Output = Result<DeleteResult, StoreError>>;

    /// Why S3 may have refused to delete a version: what holds it, if anything does.
    fn retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        limit: Duration,
    ) -> impl Future<Output = Result<Option<Retention>, StoreError>>;
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

impl Kind {
    /// Whether a listing of this kind shows entries of another: versions and delete markers are in
    /// one listing.
    pub fn lists(self, entry: Self) -> bool {
        let is_version = |kind: Self| matches!(kind, Self::Versions | Self::DeleteMarkers);
        self == entry || is_version(self) && is_version(entry)
    }
}

/// One answer of a listing. It may be short or even empty although more follow: only `next` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What was listed: keys in any order, the delete markers of one key from the newest to the
    /// oldest.
    pub entries: Vec<ListedEntry>,
    /// The token of the next page; `None` behind the last. It may hold a key: never for logs.
    pub next: Option<String>,
    /// In listings of versions: the key at which the page was cut, so that more of its versions may
    /// follow.
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
pub struct ListedEntry {
    /// What it is.
    pub kind: Kind,
    /// Its key, not yet checked against the prefix.
    pub key: String,
    /// For uploads: the key as it is if the store encodes keys without saying so, or says so
    /// without encoding.
    pub other_key: Option<String>,
    /// The id of the version, delete marker or upload; objects have none.
    pub id: Option<String>,
    /// Its size in bytes, if the listing has it: 0 for uploads and delete markers.
    pub bytes: u64,
    /// When it was last written, or when the upload began, if the listing has it.
    pub last_modified: Option<OffsetDateTime>,
}

/// One thing to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its key.
    pub key: Key,
    /// For uploads: the key under which it is tried once more if it is not found; see
    /// [`ListedEntry::other_key`].
    pub other_key: Option<Key>,
    /// The id of the version, delete marker or upload; objects have none.
    pub id: Option<String>,
    /// Its size in bytes, as listed.
    pub bytes: u64,
    /// When it was last written, as listed.
    pub last_modified: Option<OffsetDateTime>,
}

impl Item {
    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        let other = self.other_key.as_ref().map_or(0, |key| key.as_str().len());
        size_of::<Self>()
            + self.key.as_str().len()
            + other
            + self.id.as_ref().map_or(0, String::capacity)
    }
}

/// What became of the items of a delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteResult {
    /// How many requests it took: an item that does not fit into a common request has its own.
    pub requests: u64,
    /// The items whose deletion the store did not confirm.
    pub failures: Vec<KeyFailure>,
}

/// The most keys that one DeleteObjects may carry.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
pub const MAX_BATCH_KEYS: usize = 1_000;

/// The longest error code that is reported as it is, in bytes. S3's longest have about 40.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
pub const MAX_CODE_BYTES: usize = 64;

/// An item that a delete request did not delete. Data, not an error: the other items of the request
/// are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFailure {
    /// The item's position in the request.
    pub index: usize,
    /// The store's error code.
    pub code: String,
    /// What the caller does about it.
    pub kind: FailureKind,
}

/// Why an item was not deleted, by what the caller does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The store asks for fewer keys: another attempt at the limiter's rate may succeed.
    Throttled,
    /// Another attempt may succeed.
    Transient,
    /// The store forbids it: Object Lock or a policy may be the reason.
    Denied,
    /// Nothing with this key and id exists: the item was deleted by somebody else, or the listing
    /// is wrong.
    NotFound,
    /// A plain delete wrote a delete marker, because the bucket has versioning by now: the next
    /// round finds the version.
    HiddenByMarker,
    /// No other attempt helps, for a reason that is the item's own.
    Other,
}

/// What holds a version against deletion, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What it is.
    pub hold: LockKind,
    /// The moment from which the version may be deleted, if it is known.
    pub until: Option<OffsetDateTime>,
}

/// The holds of Object Lock.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockKind {
    /// Nobody can end it before its date.
    Compliance,
    /// `BYPASS_GOVERNANCE_RETENTION` and the permission to do so can.
    Governance,
    /// It has no date; whoever set it must lift it.
    LegalHold,
}

impl LockKind {
    /// Its name in receipts and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compliance => "compliance",
            Self::Governance => "governance",
            Self::LegalHold => "legal-hold",
        }
    }
}

/// Why a request as a whole failed, by what the caller does about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// The store asks for fewer keys: wait, and send fewer.
    #[error("S3 throttled the request: {0}")]
    Throttled(String),
    /// No answer came: wait, and send the request again. A smaller request may be answered in time.
    #[error("no answer from S3: {0}")]
    NoAnswer(String),
    /// A broken answer, or an error of the store's own: wait, and send the request again.
    #[error("S3 answered with an error of its own: {0}")]
    Unavailable(String),
    /// An answer that cannot be true, such as one about a key that nobody asked for: send it again,
    /// believe nothing.
    #[error("the answer of S3 cannot be true: {0}")]
    Inconsistent(String),
    /// The store does not know the token: begin again at the prefix.
    #[error("S3 rejected the continuation token: {0}")]
    TokenRejected(String),
    /// The store rejected this request: a smaller one may be accepted.
    #[error("S3 rejected the request: {0}")]
    Malformed(String),
    /// A missing permission, bucket or the like: no attempt helps until an operator changes
    /// something.
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

    /// The store's code, or the adapter's word for it: every text begins with the operation and the
    /// code, as in `DeleteObjects: SlowDown (HTTP 503, ...)`.
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
