//! Keys and bodies in memory. A made-up object costs its key and a few bytes: there may be
//! millions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

type Keys = BTreeMap<Box<str>, Content>;

/// What an object holds.
#[derive(Debug)]
enum Content {
    /// Nothing: the content is generated, with this size in bytes.
    MadeUp(u32),
    /// What a client put.
    Put(Box<Bytes>),
}

/// Buckets that never had versioning.
#[derive(Debug)]
pub(crate) struct Store {
    buckets: Mutex<BTreeMap<String, Keys>>,
}

/// What a listing asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Query<'q> {
    pub(crate) prefix: &'q str,
    /// Where it goes on.
    pub(crate) place: Option<&'q Place>,
    /// Keys and folders together.
    pub(crate) max: usize,
    /// Whether the listing shows a folder instead of the keys in it.
    pub(crate) is_grouped: bool,
}

/// A place among the keys, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// After this key.
    After(String),
    /// Behind everything in this folder, whose name ends in `/`.
    Behind(String),
}

/// Some keys in a row, with their sizes in bytes, and folders.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) keys: Vec<(String, u64)>,
    pub(crate) folders: Vec<String>,
    /// Where it goes on, if more follow.
    pub(crate) next: Option<Place>,
}

impl Page {
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.folders.len()
    }
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
        let name = |number| format!("{prefix}{:02x}/{number:07}.jpg", number % 251);
        self.make_up(bucket, (0..objects).map(name), bytes);
    }

    /// Makes up objects with these keys.
    pub(crate) fn make_up(&self, bucket: &str, names: impl Iterator<Item = String>, bytes: u32) {
        if let Some(keys) = self.locked().get_mut(bucket) {
            keys.extend(names.map(|name| (name.into_boxed_str(), Content::MadeUp(bytes))));
        }
    }

    /// What a listing answers, in the order of the bytes. `None`: there is no such bucket.
    pub(crate) fn page(&self, bucket: &str, query: Query<'_>) -> Option<Page> {
        let buckets = self.locked();
        let keys = buckets.get(bucket)?;
        let mut page = Page::default();
        let mut last = query.place.cloned();
        'folders: loop {
            let start = start(query.prefix, last.as_ref());
            let from = start.as_ref().map(String::as_str);
            for (key, content) in below(keys, query.prefix, from) {
                if page.len() == query.max {
                    page.next = last;
                    return Some(page);
                }
                if let Some(folder) = folder_of(key, query).map(str::to_owned) {
                    page.folders.push(folder.clone());
                    last = Some(Place::Behind(folder));
                    continue 'folders;
                }
                last = Some(Place::After(key.to_string()));
                page.keys.push((key.to_string(), content.bytes()));
            }
            return Some(page);
        }
    }

    /// The last key below a prefix.
    pub(crate) fn last(&self, bucket: &str, prefix: &str) -> Option<String> {
        let buckets = self.locked();
        below(buckets.get(bucket)?, prefix, Bound::Included(prefix))
            .last()
            .map(|(key, _)| key.to_string())
    }

    /// Removes keys and says how many were there.
    pub(crate) fn remove<'k>(&self, bucket: &str, keys: impl IntoIterator<Item = &'k str>) -> u64 {
        let mut buckets = self.locked();
        let Some(stored) = buckets.get_mut(bucket) else {
            return 0;
        };
        keys.into_iter().map(|key| u64::from(stored.remove(key).is_some())).sum()
    }

    /// Puts an object where none is. `false`: one is there, or there is no such bucket.
    pub(crate) fn put_new(&self, bucket: &str, key: &str, body: Bytes) -> bool {
        let mut buckets = self.locked();
        let keys = buckets.get_mut(bucket).filter(|keys| !keys.contains_key(key));
        keys.is_some_and(|keys| keys.insert(key.into(), Content::Put(Box::new(body))).is_none())
    }

    /// What a client put there.
    pub(crate) fn get(&self, bucket: &str, key: &str) -> Option<Bytes> {
        match self.locked().get(bucket)?.get(key)? {
            Content::Put(body) => Some(Bytes::clone(body)),
            Content::MadeUp(_) => None,
        }
    }

    /// How many objects a bucket holds below a prefix.
    pub(crate) fn count(&self, bucket: &str, prefix: &str) -> u64 {
        let buckets = self.locked();
        buckets
            .get(bucket)
            .map_or(0, |keys| below(keys, prefix, Bound::Included(prefix)).count() as u64)
    }
}

/// Where to begin below a prefix.
fn start(prefix: &str, place: Option<&Place>) -> Bound<String> {
    match place {
        Some(Place::After(key)) if key.as_str() >= prefix => Bound::Excluded(key.clone()),
        // The byte that follows the one of `/`: nothing is between the two.
        Some(Place::Behind(folder)) => {
            Bound::Included(format!("{}0", folder.trim_end_matches('/')))
        }
        Some(Place::After(_)) | None => Bound::Included(prefix.to_owned()),
    }
}

/// The folder that a listing shows instead of a key, if the query groups.
fn folder_of<'k>(key: &'k str, query: Query<'_>) -> Option<&'k str> {
    let end = query.prefix.len() + key.get(query.prefix.len()..)?.find('/')? + 1;
    key.get(..end).filter(|_| query.is_grouped)
}

/// What is below a prefix from a place there on.
fn below<'k>(
    keys: &'k Keys,
    prefix: &'k str,
    from: Bound<&'k str>,
) -> impl Iterator<Item = (&'k Box<str>, &'k Content)> {
    keys.range::<str, _>((from, Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
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
        let (pages, seen) = listed(&store, Query { prefix: "u1/", max: 1_000, ..Query::default() });
        assert_eq!((pages, seen.len()), (3, 2_500));
        assert!(seen.is_sorted() && seen.iter().all(|key| key.starts_with("u1/")));
        assert_eq!(store.remove("photos", seen.iter().map(String::as_str)), 2_500);
        assert_eq!((store.count("photos", "u1/"), store.count("photos", "u10/")), (0, 5));
    }

    /// Lists page by page: how many pages, and everything on them.
    fn listed(store: &Store, query: Query<'_>) -> (usize, Vec<String>) {
        let (mut pages, mut seen, mut place) = (0, Vec::new(), query.place.cloned());
        loop {
            let page = store.page("photos", Query { place: place.as_ref(), ..query }).unwrap();
            pages += 1;
            seen.extend(page.keys.into_iter().map(|(key, _)| key).chain(page.folders));
            place = page.next;
            if place.is_none() {
                return (pages, seen);
            }
        }
    }

    #[test]
    fn groups_what_is_in_folders() {
        let store = Store::new(&["photos"]);
        let names = ["u1/a/1", "u1/a/2", "u1/a0", "u1/b/c/1", "u1/b/d", "u1/z", "u2/a/1"];
        store.make_up("photos", names.map(str::to_owned).into_iter(), 7);
        let grouped = Query { prefix: "u1/", max: 1_000, is_grouped: true, ..Query::default() };
        assert_eq!(
            listed(&store, grouped),
            (1, ["u1/a0", "u1/z", "u1/a/", "u1/b/"].map(str::to_owned).into())
        );
        let one_by_one = Query { max: 1, ..grouped };
        assert_eq!(
            listed(&store, one_by_one),
            (4, ["u1/a/", "u1/a0", "u1/b/", "u1/z"].map(str::to_owned).into())
        );
        let after = Place::After("u1/a/1".to_owned());
        let page = store.page("photos", Query { place: Some(&after), ..one_by_one }).unwrap();
        assert_eq!(page.folders, ["u1/a/"], "a folder is there as long as one of its keys follows");
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
