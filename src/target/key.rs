//! What an erasure may touch: the prefix of one user, and the keys under it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest object key, in bytes.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
pub const MAX_KEY_BYTES: usize = 1024;

/// What one user owns in one bucket under one target: a folder, one key, or the keys with one
/// beginning. An erasure may touch nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix {
    bucket: String,
    text: String,
    extent: Extent,
}

/// Which of the keys that begin with the text of a prefix are the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of them: the text ends in `/`.
    Folder,
    /// Only the key that equals the text.
    Key,
    /// Those without a further `/`.
    Names,
}

impl Prefix {
    /// Creates a prefix. In `text`, the user's id has a fixed end, because only a target calls this
    /// function.
    pub(super) fn new(bucket: String, text: String, extent: Extent) -> Self {
        Self { bucket, text, extent }
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The beginning of all keys, in clear: for requests, never for logs.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every key that begins with the prefix is the user's.
    pub fn is_folder(&self) -> bool {
        self.extent == Extent::Folder
    }

    /// Whether only one key is the user's. In a listing in key order, it comes before all its
    /// neighbours.
    pub fn is_one_key(&self) -> bool {
        self.extent == Extent::Key
    }

    /// Whether the store rightly lists this key under the prefix, but it is not the user's: if the
    /// user owns `avatars/1`, `avatars/12` is a neighbour.
    pub fn is_neighbour(&self, key: &str) -> bool {
        key.starts_with(&self.text) && !self.owns(key)
    }

    /// The folder that a neighbour is in and the user's files are not: if the user owns
    /// `avatars/1.*`, that of `avatars/1.d/x` is `avatars/1.d/`. Under a prefix that is a folder, it
    /// is a subfolder of the user.
    pub fn folder_of_neighbour<'k>(&self, key: &'k str) -> Option<&'k str> {
        let rest = key.strip_prefix(self.text.as_str())?;
        Some(&key[..self.text.len() + rest.find('/')? + 1])
    }

    /// Turns a key that the store listed into a [`Key`], if it is the user's. A [`Key`] cannot be
    /// created in another way.
    pub fn claim(&self, key: String) -> Result<Key, OutsidePrefix> {
        if self.owns(&key) { Ok(Key(key.into())) } else { Err(OutsidePrefix) }
    }

    fn owns(&self, key: &str) -> bool {
        let rest = key.strip_prefix(self.text.as_str());
        rest.is_some_and(|rest| match self.extent {
            Extent::Folder => true,
            Extent::Key => rest.is_empty(),
            Extent::Names => !rest.contains('/'),
        })
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
