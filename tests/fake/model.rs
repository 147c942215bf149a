//! Buckets, what is stored in them, and what each operation makes of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use erase_user_files::ports::store::{Kind, LockKind, Retention};
use time::OffsetDateTime;

/// The id of versions that were written while the bucket did not keep any.
const NULL: &str = "null";

/// What a bucket does with an object that is overwritten or deleted.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versioning {
    /// It has never had versioning, and forgets the object.
    Never,
    /// It keeps the object as an older version.
    Enabled,
    /// It keeps all that has a version id, and forgets the `null` version.
    Suspended,
}

/// A version of a key: data, or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Its id, or `null`.
    pub(crate) id: String,
    /// The number of the write in the whole store: what is newer has a higher one.
    pub(crate) sequence: u64,
    /// The size of the data; `None`: a delete marker.
    pub(crate) bytes: Option<u64>,
    pub(crate) last_modified: OffsetDateTime,
    /// Object Lock, whether it still holds or not.
    pub(crate) lock: Option<Retention>,
}

impl Version {
    pub(crate) fn kind(&self) -> Kind {
        if self.bytes.is_some() { Kind::Versions } else { Kind::DeleteMarkers }
    }

    pub(crate) fn is_locked(&self, now: OffsetDateTime) -> bool {
        self.lock.is_some_and(|lock| lock.until.is_none_or(|until| until > now))
    }
}

/// A multipart upload that was neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) initiated: OffsetDateTime,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) versioning: Versioning,
    /// The versions of each key, newest first; no key is without one.
    pub(super) keys: BTreeMap<String, VecDeque<Version>>,
    /// By key and by the number of the request that began them.
    pub(super) uploads: BTreeMap<(String, u64), Upload>,
}

/// Everything of every kind under a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// Objects, and data versions.
    pub(crate) data: Vec<(String, Version)>,
    pub(crate) markers: Vec<(String, Version)>,
    pub(crate) uploads: Vec<(String, Upload)>,
}

impl Inventory {
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.markers.is_empty() && self.uploads.is_empty()
    }

    /// The size of all data.
    pub(crate) fn bytes(&self) -> u64 {
        self.data.iter().filter_map(|(_, version)| version.bytes).sum()
    }
}

/// The whole store.
#[derive(Debug, Clone)]
pub(crate) struct S3 {
    buckets: BTreeMap<String, Contents>,
    now: OffsetDateTime,
    sequence: u64,
}

impl S3 {
    /// Empty buckets that never had versioning, on the first day of 2027.
    pub(crate) fn new(buckets: &[&str]) -> Self {
        let empty = Contents {
            versioning: Versioning::Never,
            keys: BTreeMap::new(),
            uploads: BTreeMap::new(),
        };
        let buckets = buckets.iter().map(|name| ((*name).to_owned(), empty.clone())).collect();
        Self {
            buckets,
            now: OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_798_761_600),
            sequence: 0,
        }
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// Sets the clock. S3 reports times in whole seconds, rounded down.
    pub(crate) fn set_now(&mut self, now: OffsetDateTime) {
        self.now =
            OffsetDateTime::from_unix_timestamp(now.unix_timestamp()).expect("the same year");
    }

    pub(super) fn contents(&self, bucket: &str) -> Option<&Contents> {
        self.buckets.get(bucket)
    }

    fn contents_mut(&mut self, bucket: &str) -> &mut Contents {
        self.buckets.get_mut(bucket).expect("a bucket of this store")
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(crate) fn versioning(&self, bucket: &str) -> Option<Versioning> {
        self.contents(bucket).map(|contents| contents.versioning)
    }

    /// Enables or suspends versioning; there is no way back to never.
    pub(crate) fn set_versioning(&mut self, bucket: &str, versioning: Versioning) {
        assert!(
            versioning != Versioning::Never,
            "a bucket that has had versioning can only suspend it"
        );
        self.contents_mut(bucket).versioning = versioning;
    }

    /// Stores an object.
    pub(crate) fn put(&mut self, bucket: &str, key: &str, bytes: u64) {
        self.write(bucket, key, Some(bytes), self.now);
    }

    /// Deletes an object as any client does, without a version id. `true`: it is only hidden,
    /// or was before.
    pub(crate) fn delete_plain(&mut self, bucket: &str, key: &str) -> bool {
        if self.contents_mut(bucket).versioning == Versioning::Never {
            self.contents_mut(bucket).keys.remove(key);
            return false;
        }
        self.write(bucket, key, None, self.now);
        true
    }

    /// Puts data or a delete marker on top of a key's versions.
    fn write(
        &mut self,
        bucket: &str,
        key: &str,
        bytes: Option<u64>,
        last_modified: OffsetDateTime,
    ) {
        let sequence = self.next_sequence();
        let contents = self.contents_mut(bucket);
        let versions = contents.keys.entry(key.to_owned()).or_default();
        let id = match contents.versioning {
            Versioning::Enabled => format!("v{sequence:08}"),
            Versioning::Never | Versioning::Suspended => {
                versions.retain(|version| version.id != NULL);
                NULL.to_owned()
            }
        };
        versions.push_front(Version { id, sequence, bytes, last_modified, lock: None });
    }

    /// Begins a multipart upload, and returns its id.
    pub(crate) fn start_upload(&mut self, bucket: &str, key: &str) -> String {
        let (sequence, initiated) = (self.next_sequence(), self.now);
        let id = format!("upload-{sequence:08}");
        self.contents_mut(bucket)
            .uploads
            .insert((key.to_owned(), sequence), Upload { id: id.clone(), initiated });
        id
    }

    fn take_upload(&mut self, bucket: &str, key: &str, id: &str) -> Option<Upload> {
        let uploads = &mut self.contents_mut(bucket).uploads;
        let mut of_key = uploads.range((key.to_owned(), 0)..=(key.to_owned(), u64::MAX));
        let found = of_key.find(|(_, upload)| upload.id == id).map(|(place, _)| place.clone());
        found.and_then(|place| uploads.remove(&place))
    }

    /// Makes an object of an upload, if there still is one. It is as old as the upload.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
    pub(crate) fn complete_upload(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        bytes: u64,
    ) -> bool {
        let upload = self.take_upload(bucket, key, id);
        if let Some(upload) = &upload {
            self.write(bucket, key, Some(bytes), upload.initiated);
        }
        upload.is_some()
    }

    /// Aborts an upload. It succeeds if there is no such upload.
    pub(crate) fn abort_upload(&mut self, bucket: &str, key: &str, id: &str) {
        self.take_upload(bucket, key, id);
    }

    /// Locks a data version. Object Lock needs a bucket that keeps versions, and can never be
    /// without them again.
    pub(crate) fn lock(&mut self, bucket: &str, key: &str, id: &str, lock: Retention) {
        let contents = self.contents_mut(bucket);
        assert!(contents.versioning == Versioning::Enabled, "Object Lock needs versioning");
        let versions = contents.keys.get_mut(key).into_iter().flatten();
        let version =
            versions.filter(|version| version.bytes.is_some()).find(|version| version.id == id);
        version.expect("a data version to lock").lock = Some(lock);
    }

    /// Deletes one version or delete marker; it succeeds if there is none.
    /// `false`: it is locked.
    pub(crate) fn delete_version(
        &mut self,
        bucket: &str,
        key: &str,
        id: &str,
        bypasses_governance: bool,
    ) -> bool {
        let now = self.now;
        let contents = self.contents_mut(bucket);
        let Some(versions) = contents.keys.get_mut(key) else {
            return true;
        };
        let holds = |version: &Version| {
            let is_bypassed = bypasses_governance
                && version.lock.is_some_and(|lock| lock.hold == LockKind::Governance);
            version.is_locked(now) && !is_bypassed
        };
        let Some(index) = versions.iter().position(|version| version.id == id) else {
            return true;
        };
        if holds(&versions[index]) {
            return false;
        }
        versions.remove(index);
        if versions.is_empty() {
            contents.keys.remove(key);
        }
        true
    }

    /// What holds a version now.
    pub(crate) fn retention(&self, bucket: &str, key: &str, id: &str) -> Option<Retention> {
        self.version(bucket, key, id)
            .filter(|version| version.is_locked(self.now))
            .and_then(|version| version.lock)
    }

    /// All versions of a key, newest first.
    pub(crate) fn versions(&self, bucket: &str, key: &str) -> &VecDeque<Version> {
        static NONE: VecDeque<Version> = VecDeque::new();
        self.contents(bucket).and_then(|contents| contents.keys.get(key)).unwrap_or(&NONE)
    }

    /// One version of a key.
    pub(crate) fn version(&self, bucket: &str, key: &str, id: &str) -> Option<&Version> {
        self.versions(bucket, key).iter().find(|version| version.id == id)
    }

    /// Data versions and delete markers under a prefix, as S3 lists them.
    pub(crate) fn versions_under(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> impl Iterator<Item = (&str, &Version)> {
        let keys = self
            .contents(bucket)
            .into_iter()
            .flat_map(move |contents| contents.keys.range(prefix.to_owned()..));
        keys.take_while(move |(key, _)| key.starts_with(prefix))
            .flat_map(|(key, versions)| versions.iter().map(|version| (key.as_str(), version)))
    }

    /// Unfinished uploads under a prefix, as S3 lists them.
    pub(crate) fn uploads_under(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> impl Iterator<Item = (&str, &Upload)> {
        let from = (prefix.to_owned(), 0);
        let uploads = self
            .contents(bucket)
            .into_iter()
            .flat_map(move |contents| contents.uploads.range(from.clone()..));
        uploads
            .take_while(move |((key, _), _)| key.starts_with(prefix))
            .map(|((key, _), upload)| (key.as_str(), upload))
    }

    /// Everything of every kind under a prefix; the empty prefix is the whole bucket.
    pub(crate) fn inventory(&self, bucket: &str, prefix: &str) -> Inventory {
        let mut inventory = Inventory::default();
        for (key, version) in self.versions_under(bucket, prefix) {
            let kind =
                if version.bytes.is_some() { &mut inventory.data } else { &mut inventory.markers };
            kind.push((key.to_owned(), version.clone()));
        }
        let uploads = self.uploads_under(bucket, prefix);
        inventory.uploads = uploads.map(|(key, upload)| (key.to_owned(), upload.clone())).collect();
        inventory
    }
}
