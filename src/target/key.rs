//! What an erasure may touch: the prefix of one user, and the keys under it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest object key, in bytes.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
pub const MAX_KEY_BYTES: usize = 1024;

/// The folder of one user in one bucket. An erasure may touch nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix {
    bucket: String,
    text: String,
}

impl Prefix {
    /// Creates a prefix. `text` ends in `/` after a non-empty user id, because only a target calls
    /// this function.
    pub(super) fn new(bucket: String, text: String) -> Self {
        Self { bucket, text }
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix in clear: for requests, never for logs.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Turns a key that the store listed into a [`Key`], if it lies in this folder. A [`Key`]
    /// cannot be created in another way.
    pub fn claim(&self, key: String) -> Result<Key, OutsidePrefix> {
        if key.starts_with(&self.text) { Ok(Key(key.into())) } else { Err(OutsidePrefix) }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Prefix(s3://{}/...)", self.bucket)
    }
}

/// The store listed a key outside the prefix, which is a bug of the store or of this function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the store listed a key outside the user's prefix")]
pub struct OutsidePrefix;

/// The key of an object that was checked to lie under the user's prefix. Nothing else can be
/// deleted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The key in clear: for requests, never for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}
