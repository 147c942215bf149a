//! A bucket with versioning: every version, and every delete marker, is a name of its own in the
//! store.

use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, ETag, ListObjectVersionsInput, ListObjectVersionsOutput,
    ObjectVersion, ObjectVersionStorageClass,
};

use crate::model::{encoded, modified};
use crate::store::{Page, Place};

/// The id of the delete marker that hides a key. In the order of bytes, it comes before all
/// versions, as the newest does.
pub(crate) const NEWEST_MARKER: &str = "marker";
/// Between a key and the id of its version: no key here has it, and every other character comes
/// after it.
const BETWEEN: char = '\0';

/// The name of a version in the store.
pub(crate) fn versioned(key: &str, id: &str) -> String {
    format!("{key}{BETWEEN}{id}")
}

/// Where a listing of versions goes on: behind one of them, behind all of a key, or behind a
/// folder.
pub(crate) fn place(input: &ListObjectVersionsInput) -> Option<Place> {
    let key = input.key_marker.as_deref()?;
    Some(match &input.version_id_marker {
        Some(id) => Place::After(versioned(key, id)),
        None if input.delimiter.is_some() && key.ends_with('/') => Place::Behind(key.to_owned()),
        None => Place::After(versioned(key, "\u{10FFFF}")),
    })
}

/// What a page looks like.
pub(crate) fn listing(page: &Page, input: ListObjectVersionsInput) -> ListObjectVersionsOutput {
    let (next_key, next_id) = match &page.next {
        Some(Place::After(name)) => name.split_once(BETWEEN).unzip(),
        Some(Place::Behind(folder)) => (Some(folder.as_str()), None),
        None => (None, None),
    };
    let is_encoded = input.encoding_type.is_some();
    let shown = |key: &str| {
        if is_encoded { encoded(key) } else { key.to_owned() }
    };
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for (name, bytes) in &page.keys {
        let Some((key, id)) = name.split_once(BETWEEN) else {
            continue;
        };
        let (key, version_id) = (Some(shown(key)), Some(id.to_owned()));
        if id == NEWEST_MARKER {
            let (is_latest, last_modified) = (Some(true), Some(modified()));
            markers.push(DeleteMarkerEntry {
                key,
                version_id,
                is_latest,
                last_modified,
                ..DeleteMarkerEntry::default()
            });
        } else {
            versions.push(ObjectVersion {
                key,
                version_id,
                is_latest: Some(false),
                last_modified: Some(modified()),
                size: i64::try_from(*bytes).ok(),
                e_tag: Some(ETag::Strong("d41d8cd98f00b204e9800998ecf8427e".to_owned())),
                storage_class: Some(ObjectVersionStorageClass::from_static(
                    ObjectVersionStorageClass::STANDARD,
                )),
                ..ObjectVersion::default()
            });
        }
    }
    let folders = page.folders.iter().map(|folder| CommonPrefix { prefix: Some(shown(folder)) });
    ListObjectVersionsOutput {
        common_prefixes: Some(folders.collect()),
        delimiter: input.delimiter,
        versions: Some(versions),
        delete_markers: Some(markers),
        is_truncated: Some(page.next.is_some()),
        next_key_marker: next_key.map(shown),
        next_version_id_marker: next_id.map(str::to_owned),
        name: Some(input.bucket),
        prefix: input.prefix.as_deref().map(shown),
        max_keys: Some(input.max_keys.unwrap_or(1_000)),
        key_marker: input.key_marker.as_deref().map(shown),
        version_id_marker: input.version_id_marker,
        encoding_type: input.encoding_type,
        ..ListObjectVersionsOutput::default()
    }
}
