//! The three listings, page by page.

use erase_user_files::ports::store::{Kind, ListedEntry, Page, StoreError};

use super::model::{Contents, S3, Upload, Version, Versioning};

/// The place of an entry in a listing: by key, in UTF-8 byte order, and within a key by rank, from
/// 1.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: String,
    rank: u64,
}

impl Place {
    /// The token of what comes behind this place.
    fn token(&self, kind: Kind) -> String {
        format!("{kind:?}:{}:{}", self.rank, self.key)
    }

    /// Reads a token of this very listing.
    fn parse(token: &str, kind: Kind, prefix: &str) -> Option<Self> {
        let (rank, key) = token.strip_prefix(&format!("{kind:?}:"))?.split_once(':')?;
        key.starts_with(prefix).then_some(Self { key: key.to_owned(), rank: rank.parse().ok()? })
    }
}

/// The token of what comes behind a key.
pub(crate) fn token_after(kind: Kind, key: &str) -> Option<String> {
    let has_place = kind != Kind::Uploads;
    has_place.then(|| Place { key: key.to_owned(), rank: u64::MAX }.token(kind))
}

impl S3 {
    /// One page of at most so many entries behind a token of the same listing; without a token, the
    /// first.
    ///
    /// It is cut anywhere, even before its first entry or between two versions of a key.
    pub(crate) fn list(
        &self,
        (bucket, prefix): (&str, &str),
        kind: Kind,
        token: Option<&str>,
        most: usize,
    ) -> Result<Page, StoreError> {
        let contents = self
            .contents(bucket)
            .ok_or_else(|| StoreError::Permanent("NoSuchBucket".to_owned()))?;
        let refused = || StoreError::TokenRejected("InvalidArgument".to_owned());
        let after = match token {
            Some(token) => Place::parse(token, kind, prefix).ok_or_else(refused)?,
            None => Place { key: prefix.to_owned(), rank: 0 },
        };
        let from = &after.key;
        let mut listed: Vec<(Place, ListedEntry)> = match kind {
            Kind::Objects => behind(&after, prefix, most, objects(contents, from)),
            Kind::Versions | Kind::DeleteMarkers => {
                behind(&after, prefix, most, versions(contents, from))
            }
            Kind::Uploads => behind(&after, prefix, most, uploads(contents, from)),
        };
        let is_cut = listed.len() > most;
        listed.truncate(most);
        let is_begun = token.is_some() || !listed.is_empty();
        let last = listed.last().map_or(&after, |(place, _)| place).clone();
        Ok(Page {
            next: is_cut.then(|| last.token(kind)),
            cut_at: (is_cut && is_begun && matches!(kind, Kind::Versions | Kind::DeleteMarkers))
                .then_some(last.key),
            entries: listed.into_iter().map(|(_, entry)| entry).collect(),
        })
    }
}

/// The page, and one entry more if there is one.
fn behind(
    after: &Place,
    prefix: &str,
    most: usize,
    entries: impl Iterator<Item = (Place, ListedEntry)>,
) -> Vec<(Place, ListedEntry)> {
    let entries = entries.skip_while(|(place, _)| place <= after);
    entries
        .take_while(|(place, _)| place.key.starts_with(prefix))
        .take(most.saturating_add(1))
        .collect()
}

/// Keys whose newest version is data.
fn objects(contents: &Contents, from: &str) -> impl Iterator<Item = (Place, ListedEntry)> {
    contents.keys.range(from.to_owned()..).filter_map(|(key, versions)| {
        let newest = versions.front().filter(|newest| newest.bytes.is_some())?;
        let entry = ListedEntry { kind: Kind::Objects, id: None, ..version_entry(key, newest) };
        Some((Place { key: key.clone(), rank: 1 }, entry))
    })
}

/// All versions and delete markers, the newest of a key first.
fn versions(contents: &Contents, from: &str) -> impl Iterator<Item = (Place, ListedEntry)> {
    let keys = contents.keys.range(from.to_owned()..);
    keys.flat_map(|(key, versions)| {
        versions.iter().map(move |version| {
            let place = Place { key: key.clone(), rank: u64::MAX - version.sequence };
            (place, version_entry(key, version))
        })
    })
}

/// Unfinished uploads, the oldest of a key first.
fn uploads(contents: &Contents, from: &str) -> impl Iterator<Item = (Place, ListedEntry)> {
    contents.uploads.range((from.to_owned(), 0)..).map(|((key, sequence), upload)| {
        let Upload { id, initiated } = upload.clone();
        let place = Place { key: key.clone(), rank: *sequence };
        let (key, id, last_modified) = (key.clone(), Some(id), Some(initiated));
        (
            place,
            ListedEntry { kind: Kind::Uploads, key, other_key: None, id, bytes: 0, last_modified },
        )
    })
}

fn version_entry(key: &str, version: &Version) -> ListedEntry {
    ListedEntry {
        kind: version.kind(),
        key: key.to_owned(),
        other_key: None,
        id: Some(version.id.clone()),
        bytes: version.bytes.unwrap_or(0),
        last_modified: Some(version.last_modified),
    }
}

impl Versioning {
    /// What S3 says about the bucket: a bucket that has suspended versioning has versions all the
    /// same.
    pub(crate) fn has_versions(self) -> bool {
        self != Self::Never
    }
}
