//! Keys and bodies in memory. A made-up object costs its key and a few bytes: there may be millions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

type Keys = BTreeMap<Box<str>, Content>;

/// What an object holds.
#[derive(Debug)]
enum Content {
    /// Nothing: somebody made it up, with this size in bytes.
    MadeUp(u32),
    /// What somebody put.
    Put(Box<Bytes>),
}

/// Buckets that never had versioning.
#[derive(Debug)]
pub(crate) struct Store {
    buckets: Mutex<BTreeMap<String, Keys>>,
}

/// Some keys in a row, with their sizes in bytes, and whether more follow.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) keys: Vec<(String, u64)>,
    pub(crate) is_truncated: bool,
}

impl Store {
    pub(crate) fn new(buckets: &[&str]) -> Self {
        let buckets = buckets.iter().map(|bucket| ((*bucket).to_owned(), Keys::new())).collect();
        Self { buckets: Mutex::new(buckets) }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Keys>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes up so many objects below a prefix.
    pub(crate) fn fill(&self, bucket: &str, prefix: &str, objects: u64, bytes: u32) {
        if let Some(keys) = self.locked().get_mut(bucket) {
            keys.extend((0..objects).map(|number| {
                let key = format!("{prefix}{:02x}/{number:07}.jpg", number % 251);
                (key.into_boxed_str(), Content::MadeUp(bytes))
            }));
        }
    }

    /// The keys below a prefix that come after another, in the order of their bytes. `None`: there is no such bucket.
    pub(crate) fn page(&self, bucket: &str, prefix: &str, after: Option<&str>, max: usize) -> Option<Page> {
        let buckets = self.locked();
        let keys = buckets.get(bucket)?;
        let start = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let mut following = below(keys, prefix, start);
        let listed = following.by_ref().take(max).map(|(key, content)| (key.to_string(), content.bytes())).collect();
        Some(Page { keys: listed, is_truncated: following.next().is_some() })
    }

    /// The last key below a prefix.
    pub(crate) fn last(&self, bucket: &str, prefix: &str) -> Option<String> {
        let buckets = self.locked();
        below(buckets.get(bucket)?, prefix, Bound::Included(prefix)).last().map(|(key, _)| key.to_string())
    }

    /// Removes keys and says how many were there.
    pub(crate) fn remove<'k>(&self, bucket: &str, keys: impl IntoIterator<Item = &'k str>) -> u64 {
        let mut buckets = self.locked();
        let Some(stored) = buckets.get_mut(bucket) else { return 0 };
        keys.into_iter().map(|key| u64::from(stored.remove(key).is_some())).sum()
    }

    /// Puts an object where none is. `false`: one is there, or there is no such bucket.
    pub(crate) fn put_new(&self, bucket: &str, key: &str, body: Bytes) -> bool {
        let mut buckets = self.locked();
        let keys = buckets.get_mut(bucket).filter(|keys| !keys.contains_key(key));
        keys.is_some_and(|keys| keys.insert(key.into(), Content::Put(Box::new(body))).is_none())
    }

    /// What somebody put there.
    pub(crate) fn get(&self, bucket: &str, key: &str) -> Option<Bytes> {
        match self.locked().get(bucket)?.get(key)? {
            Content::Put(body) => Some(Bytes::clone(body)),
            Content::MadeUp(_) => None,
        }
    }

    /// How many objects a bucket holds below a prefix.
    pub(crate) fn count(&self, bucket: &str, prefix: &str) -> usize {
        let buckets = self.locked();
        buckets.get(bucket).map_or(0, |keys| below(keys, prefix, Bound::Included(prefix)).count())
    }
}

/// What is below a prefix from a place there on.
fn below<'k>(
    keys: &'k Keys,
    prefix: &'k str,
    from: Bound<&'k str>,
) -> impl Iterator<Item = (&'k Box<str>, &'k Content)> {
    keys.range::<str, _>((from, Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix))
}

impl Content {
    fn bytes(&self) -> u64 {
        match self {
            Self::MadeUp(bytes) => u64::from(*bytes),
            Self::Put(body) => u64::try_from(body.len()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_key_of_a_prefix_once_and_no_other() {
        let store = Store::new(&["photos"]);
        store.fill("photos", "u1/", 2_500, 7);
        store.fill("photos", "u10/", 5, 7);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.page("photos", "u1/", after.as_deref(), 1_000).unwrap();
            seen.extend(page.keys.iter().map(|(key, _)| key.clone()));
            after = seen.last().cloned();
            if !page.is_truncated {
                break;
            }
        }
        assert_eq!(seen.len(), 2_500);
        assert!(seen.is_sorted() && seen.iter().all(|key| key.starts_with("u1/")));
        assert_eq!(store.remove("photos", seen.iter().map(String::as_str)), 2_500);
        assert_eq!((store.count("photos", "u1/"), store.count("photos", "u10/")), (0, 5));
    }

    #[test]
    fn puts_only_where_nothing_is() {
        let store = Store::new(&["receipts"]);
        assert!(store.put_new("receipts", "a", Bytes::from_static(b"1")));
        assert!(!store.put_new("receipts", "a", Bytes::from_static(b"2")));
        assert!(!store.put_new("elsewhere", "a", Bytes::from_static(b"3")));
        assert_eq!(store.get("receipts", "a"), Some(Bytes::from_static(b"1")));
    }
}
