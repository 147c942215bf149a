//! The model in the place of the real S3.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use erase_user_files::ports::store::{
    DeleteResult, DeleteStore, FailureKind, Item, KeyFailure, Kind, Page, ReadStore, Retention,
    StoreError,
};
use erase_user_files::target::Prefix;

use super::listing::token_after;
use super::model::S3;

/// A handle on a [`S3`] that the function and its test share.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    store: Arc<Mutex<S3>>,
    /// Entries on a page at most; S3 gives 1,000.
    pub(crate) page_size: usize,
    /// Whether deletes bring the permission to delete what is locked in governance mode.
    pub(crate) bypasses_governance: bool,
}

impl Fake {
    pub(crate) fn new(buckets: &[&str]) -> Self {
        Self {
            store: Arc::new(Mutex::new(S3::new(buckets))),
            page_size: 1_000,
            bypasses_governance: false,
        }
    }

    /// The model: to fill it, and to look into it.
    pub(crate) fn store(&self) -> MutexGuard<'_, S3> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request to delete items, without those at some indices.
    pub(crate) fn delete_except(
        &self,
        prefix: &Prefix,
        items: &[Item],
        kept: &BTreeSet<usize>,
    ) -> DeleteResult {
        let mut failures = Vec::new();
        for (index, item) in items.iter().enumerate().filter(|(index, _)| !kept.contains(index)) {
            let deleted = self.store().delete(prefix.bucket(), item, self.bypasses_governance);
            failures.extend(deleted.err().map(|code| refusal(index, code)));
        }
        let is_of_uploads = items.iter().any(|item| item.kind == Kind::Uploads);
        DeleteResult { requests: if is_of_uploads { items.len() as u64 } else { 1 }, failures }
    }
}

impl ReadStore for Fake {
    async fn is_versioned(&self, prefix: &Prefix, _limit: Duration) -> Result<bool, StoreError> {
        let versioning = self.store().versioning(prefix.bucket());
        versioning
            .map(|versioning| versioning.has_versions())
            .ok_or_else(|| StoreError::Permanent("NoSuchBucket".to_owned()))
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        _limit: Duration,
    ) -> Result<Page, StoreError> {
        self.store().list((prefix.bucket(), prefix.as_str()), kind, token, self.page_size)
    }

    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        token_after(kind, key)
    }
}

impl DeleteStore for Fake {
    async fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        _limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        Ok(self.delete_except(prefix, items, &BTreeSet::new()))
    }

    async fn retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        _limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        Ok(self.store().retention(
            prefix.bucket(),
            item.key.as_str(),
            item.id.as_deref().unwrap_or_default(),
        ))
    }
}

impl S3 {
    /// Deletes one item of a request, or says by which code it stays.
    pub(crate) fn delete(
        &mut self,
        bucket: &str,
        item: &Item,
        bypasses_governance: bool,
    ) -> Result<(), &'static str> {
        let key = item.key.as_str();
        match (item.kind, item.id.as_deref()) {
            // The adapter's word for a delete that S3 answers with a delete marker.
            (Kind::Objects, None) if self.delete_plain(bucket, key) => Err("OnlyHidden"),
            (Kind::Objects, None) => Ok(()),
            (Kind::Uploads, Some(id)) => {
                self.abort_upload(bucket, key, id);
                Ok(())
            }
            (Kind::Versions | Kind::DeleteMarkers, Some(id))
                if self.delete_version(bucket, key, id, bypasses_governance) =>
            {
                Ok(())
            }
            (Kind::Versions | Kind::DeleteMarkers, Some(_)) => Err("AccessDenied"),
            // An object with an id, or anything else without one: no request that the adapter would
            // send.
            (Kind::Objects, Some(_))
            | (Kind::Uploads | Kind::Versions | Kind::DeleteMarkers, None) => {
                Err("InvalidArgument")
            }
        }
    }
}

/// An item that stays; no other attempt helps.
pub(crate) fn refusal(index: usize, code: &str) -> KeyFailure {
    let kind = match code {
        "AccessDenied" => FailureKind::Denied,
        "OnlyHidden" => FailureKind::HiddenByMarker,
        _ => FailureKind::Other,
    };
    KeyFailure { index, code: code.to_owned(), kind }
}
