//! Counts of what an erasure deleted, found and left.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ports::store::{Kind, LockKind, MAX_CODE_BYTES, Retention};

/// Our own code for items that are listed again after the store confirmed their deletion.
pub const STILL_LISTED: &str = "StillListed";

/// The number of error codes that are counted separately; all others count as `other`.
const MAX_CODES: usize = 20;

/// The number of items of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Objects of buckets that never had versioning.
    pub objects: u64,
    /// Data versions.
    pub versions: u64,
    /// Delete markers.
    pub delete_markers: u64,
    /// Unfinished multipart uploads.
    pub uploads: u64,
    /// The bytes of the objects and versions.
    pub bytes: u64,
    /// Items of any kind that are newer than the erasure's limit and are kept. Only dry runs count
    /// them here: an erasure counts them again in each round, see [`Remaining`].
    pub kept_newer: u64,
}

impl Counts {
    /// The counts of several items of one kind.
    pub fn of(kind: Kind, count: u64, bytes: u64) -> Self {
        let mut counts = Self { bytes, ..Self::default() };
        *match kind {
            Kind::Uploads => &mut counts.uploads,
            Kind::Objects => &mut counts.objects,
            Kind::Versions => &mut counts.versions,
            Kind::DeleteMarkers => &mut counts.delete_markers,
        } = count;
        counts
    }

    /// The number of all items, of any kind.
    pub fn total(&self) -> u64 {
        self.objects_and_versions().saturating_add(self.delete_markers).saturating_add(self.uploads)
    }

    /// The number of objects and versions.
    pub fn objects_and_versions(&self) -> u64 {
        self.objects.saturating_add(self.versions)
    }
}

impl std::fmt::Display for Counts {
    /// Formats the items by kind, for example `2 objects, 1 upload`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [
            (self.objects, "object"),
            (self.versions, "version"),
            (self.delete_markers, "delete marker"),
            (self.uploads, "upload"),
        ];
        let some = kinds.into_iter().filter(|(count, _)| *count > 0);
        let told = some
            .map(|(count, kind)| format!("{count} {kind}{}", if count == 1 { "" } else { "s" }));
        formatter.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.objects = self.objects.saturating_add(more.objects);
        self.versions = self.versions.saturating_add(more.versions);
        self.delete_markers = self.delete_markers.saturating_add(more.delete_markers);
        self.uploads = self.uploads.saturating_add(more.uploads);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.kept_newer = self.kept_newer.saturating_add(more.kept_newer);
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, less: Self) {
        self.objects = self.objects.saturating_sub(less.objects);
        self.versions = self.versions.saturating_sub(less.versions);
        self.delete_markers = self.delete_markers.saturating_sub(less.delete_markers);
        self.uploads = self.uploads.saturating_sub(less.uploads);
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.kept_newer = self.kept_newer.saturating_sub(less.kept_newer);
    }
}

/// Totals that only grow. They are lower bounds, because what a crashed hop did is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// Items whose deletion the store confirmed; in a dry run, items that would be deleted.
    #[serde(flatten)]
    pub deleted: Counts,
    /// The same for each target, as its setting names it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Counts>,
    /// The number of requests sent to S3.
    pub requests: u64,
    /// The number of responses, about a request or a key, that asked the client to slow down.
    pub throttles: u64,
    /// The number of requests that repeated an earlier request, or the failed part of it.
    pub retries: u64,
}

impl Totals {
    pub(super) fn add(&mut self, more: &Self) {
        self.deleted += more.deleted;
        for (target, counts) in &more.targets {
            *self.targets.entry(target.clone()).or_default() += *counts;
        }
        self.requests = self.requests.saturating_add(more.requests);
        self.throttles = self.throttles.saturating_add(more.throttles);
        self.retries = self.retries.saturating_add(more.retries);
    }

    pub(super) fn add_deleted(&mut self, target: &str, counts: Counts) {
        self.deleted += counts;
        match self.targets.get_mut(target) {
            Some(of_target) => *of_target += counts,
            None => {
                self.targets.insert(target.to_owned(), counts);
            }
        }
    }

    /// Subtracts counts, but at most what the target has, so that the sum remains that of all
    /// targets.
    pub(super) fn subtract(&mut self, target: &str, counts: Counts) {
        if let Some(of_target) = self.targets.get_mut(target) {
            let mut subtracted = *of_target;
            *of_target -= counts;
            subtracted -= *of_target;
            self.deleted -= subtracted;
        }
    }

    pub(super) fn reset_target(&mut self, target: &str) {
        self.deleted -= self.targets.remove(target).unwrap_or_default();
    }

    /// Resets the counts of all targets, including those that are no longer in the setting.
    pub(super) fn reset(&mut self) {
        (self.deleted, self.targets) = (Counts::default(), BTreeMap::new());
    }
}

/// The number of keys that failed, by code. The store chooses the codes, and receipts contain them,
/// so their number and length are limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ErrorCounts(BTreeMap<String, u64>);

impl ErrorCounts {
    /// Adds keys to the count of a code.
    pub fn add(&mut self, code: &str, keys: u64) {
        let has_room = self.0.len() < MAX_CODES || self.0.contains_key(code);
        let code = if has_room && code.len() <= MAX_CODE_BYTES { code } else { "other" };
        let count = self.0.entry(code.to_owned()).or_default();
        *count = count.saturating_add(keys);
    }

    /// Adds all counts of another.
    pub fn merge(&mut self, more: &Self) {
        for (code, keys) in more.iter() {
            self.add(code, keys);
        }
    }

    /// The number of keys of all codes.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, keys| sum.saturating_add(*keys))
    }

    /// The number of keys of one code.
    pub fn of(&self, code: &str) -> u64 {
        self.0.get(code).copied().unwrap_or(0)
    }

    /// Codes and their counts, in the order of the codes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(code, keys)| (code.as_str(), *keys))
    }
}

/// Versions that one kind of lock retains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LockedVersions {
    /// The number of versions.
    pub count: u64,
    /// The earliest time at which one of them may be erased, if the store reports it.
    pub erasable_from: Option<OffsetDateTime>,
}

/// Items that were found at one target and left there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Remaining {
    /// Items that are newer than the erasure's limit and are kept on purpose.
    pub kept_newer: u64,
    /// Versions that Object Lock retains.
    pub retained: BTreeMap<LockKind, LockedVersions>,
    /// Items that could not be deleted, by the store's code.
    pub refused: ErrorCounts,
    /// How many of `refused` the store denied: a permission may be missing.
    pub denied: u64,
    /// Items whose deletion failed transiently in every attempt, by the store's code.
    pub unsettled: ErrorCounts,
    /// Objects that a plain delete only hid. The next round finds their versions.
    pub hidden: u64,
    /// Items that are listed again after the store confirmed their deletion, or are listed and not
    /// found.
    pub still_listed: Counts,
    /// Delete markers that stay because data of their keys may exist. Without them, that data would
    /// become current again.
    pub deferred_markers: u64,
}

impl Remaining {
    /// The number of items that S3 did not delete, for any reason except Object Lock.
    pub fn not_deleted(&self) -> u64 {
        self.refused.total() + self.unsettled.total() + self.still_listed.total()
    }

    /// Whether a later round may delete some of these items for the first time.
    pub(crate) fn may_be_deleted_later(&self) -> bool {
        self.unsettled.total()
            + self.refused.total()
            + self.retained_total()
            + self.hidden
            + self.deferred_markers
            > 0
    }

    /// Counts an item whose deletion the store denied.
    pub(super) fn add_denied(&mut self, code: &str) {
        self.refused.add(code, 1);
        self.denied += 1;
    }

    /// Counts a retained version.
    pub fn retain(&mut self, retention: Retention) {
        let until = retention.until;
        self.merge_held(retention.hold, LockedVersions { count: 1, erasable_from: until });
    }

    fn merge_held(&mut self, hold: LockKind, more: LockedVersions) {
        let held = self.retained.entry(hold).or_default();
        held.count = held.count.saturating_add(more.count);
        held.erasable_from = match (held.erasable_from, more.erasable_from) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Adds all counts of another.
    pub fn merge(&mut self, more: &Self) {
        self.kept_newer = self.kept_newer.saturating_add(more.kept_newer);
        self.deferred_markers = self.deferred_markers.saturating_add(more.deferred_markers);
        self.hidden = self.hidden.saturating_add(more.hidden);
        self.still_listed += more.still_listed;
        self.denied = self.denied.saturating_add(more.denied);
        self.refused.merge(&more.refused);
        self.unsettled.merge(&more.unsettled);
        for (hold, held) in &more.retained {
            self.merge_held(*hold, *held);
        }
    }

    /// The number of versions that Object Lock retains, with any kind of lock.
    pub fn retained_total(&self) -> u64 {
        self.retained.values().fold(0, |sum, held| sum.saturating_add(held.count))
    }
}

impl std::fmt::Display for Remaining {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.retained.iter().map(|(hold, held)| (hold.name(), held.count));
        let counts = self.refused.iter().chain(self.unsettled.iter()).chain(held);
        let counts = counts.map(|(code, count)| format!("{code}: {count}"));
        let again = (self.still_listed.total() > 0)
            .then(|| format!("{STILL_LISTED}: {}", self.still_listed));
        formatter.write_str(&counts.chain(again).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_from_the_store_are_bounded() {
        let mut codes = ErrorCounts::default();
        for number in 0..100 {
            codes.add(&format!("Code{number}"), 1);
        }
        codes.add("Code0", 1);
        assert_eq!(codes.0.len(), MAX_CODES + 1);
        assert_eq!(codes.total(), 101);
        assert_eq!(codes.0["Code0"], 2);
        assert_eq!(codes.0["other"], 80);
        codes.add(&"x".repeat(MAX_CODE_BYTES + 1), 1);
        assert_eq!((codes.0.len(), codes.0["other"]), (MAX_CODES + 1, 81));
        let mut long = ErrorCounts::default();
        long.add(&"x".repeat(MAX_CODE_BYTES), 1);
        long.add(&"x".repeat(1_000_000), 1);
        assert_eq!(
            long.iter().map(|(code, _)| code.len()).collect::<Vec<_>>(),
            ["other".len(), MAX_CODE_BYTES]
        );
    }

    #[test]
    fn a_target_gives_no_more_than_it_has_and_the_sum_stays_that_of_all_targets() {
        let uploads = |count| Counts::of(Kind::Uploads, count, 0);
        let mut totals = Totals::default();
        totals.add_deleted("a", uploads(1));
        totals.add_deleted("b", uploads(3));
        totals.subtract("a", uploads(2));
        totals.subtract("unknown", uploads(1));
        assert_eq!((totals.deleted, totals.targets["a"]), (uploads(3), uploads(0)));
    }

    #[test]
    fn the_earliest_date_of_a_hold_counts() {
        let held = |seconds| Retention {
            hold: LockKind::Compliance,
            until: Some(OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)),
        };
        let mut left = Remaining::default();
        left.retain(held(7));
        left.retain(held(5));
        left.retain(Retention { hold: LockKind::LegalHold, until: None });
        let mut both = left.clone();
        both.merge(&left);
        assert_eq!(
            both.retained[&LockKind::Compliance],
            LockedVersions { count: 4, erasable_from: held(5).until }
        );
        assert_eq!(
            both.retained[&LockKind::LegalHold],
            LockedVersions { count: 2, erasable_from: None }
        );
        assert_eq!(both.to_string(), "compliance: 4, legal-hold: 2");
    }
}
