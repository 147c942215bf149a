//! What an erasure has counted, over all its hops, and what it found and left.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ports::store::{Kind, LockKind, MAX_CODE_BYTES, Retention};

/// Our own code for what is listed again after the store confirmed its deletion.
pub const STILL_LISTED: &str = "StillListed";

/// How many different error codes are told apart; the rest are counted as `other`.
const MAX_CODES: usize = 20;

/// How much there was of each kind.
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
    /// Bytes of the objects and versions.
    pub bytes: u64,
    /// Things of any kind that are newer than the erasure's limit, and stay. Counted here by dry
    /// runs alone: an erasure finds them anew in each round, see [`Remaining`].
    pub kept_newer: u64,
}

impl Counts {
    /// Some things of one kind.
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

    /// All things, of whatever kind.
    pub fn total(&self) -> u64 {
        self.objects_and_versions().saturating_add(self.delete_markers).saturating_add(self.uploads)
    }

    /// Objects and versions.
    pub fn objects_and_versions(&self) -> u64 {
        self.objects.saturating_add(self.versions)
    }
}

impl std::fmt::Display for Counts {
    /// The things by kind, as in `2 objects, 1 upload`.
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

/// Sums that only grow. At least what happened: what a crashed hop did is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// What the store confirmed gone; in a dry run, what would go.
    #[serde(flatten)]
    pub gone: Counts,
    /// The same for each target, as its setting names it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Counts>,
    /// Requests sent to S3.
    pub requests: u64,
    /// Answers, for a request or a key, that asked to slow down.
    pub throttles: u64,
    /// Requests that repeated an earlier one, or the failed part of it.
    pub retries: u64,
}

impl Totals {
    fn add(&mut self, more: &Self) {
        self.gone += more.gone;
        for (target, counts) in &more.targets {
            *self.targets.entry(target.clone()).or_default() += *counts;
        }
        self.requests = self.requests.saturating_add(more.requests);
        self.throttles = self.throttles.saturating_add(more.throttles);
        self.retries = self.retries.saturating_add(more.retries);
    }

    fn forget(&mut self, target: &str) {
        self.gone -= self.targets.remove(target).unwrap_or_default();
    }
}

/// The tally of one hop, raised as answers arrive, so that work that is dropped later stays
/// counted.
#[derive(Debug, Default)]
pub struct Progress {
    before: Mutex<Totals>,
    hop: Mutex<Totals>,
    /// Things that were deleted, or would be in a dry run, whether they are in a count or not.
    progress: AtomicU64,
    /// Objects and versions that were deleted and are in no count.
    uncounted_data: AtomicU64,
    has_forgotten: AtomicBool,
}

impl Progress {
    /// Counts on from what earlier hops counted.
    pub fn resume(before: Totals) -> Self {
        Self { before: Mutex::new(before), ..Self::default() }
    }

    fn before(&self) -> MutexGuard<'_, Totals> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, Totals> {
        self.hop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was counted at a target, in this hop and before, because it is going to be
    /// counted anew.
    pub fn forget(&self, target: &str) {
        self.before().forget(target);
        self.locked().forget(target);
        self.has_forgotten.store(true, Ordering::Relaxed);
    }

    /// Forgets what was counted of all targets, of those that are none any more, too.
    pub fn reset(&self) {
        for mut tally in [self.before(), self.locked()] {
            (tally.gone, tally.targets) = (Counts::default(), BTreeMap::new());
        }
        self.has_forgotten.store(true, Ordering::Relaxed);
    }

    /// Whether anything was forgotten: then counting is no progress.
    pub fn was_reset(&self) -> bool {
        self.has_forgotten.load(Ordering::Relaxed)
    }

    /// Something of a target is gone.
    pub fn gone(&self, target: &str, counts: Counts) {
        self.progress.fetch_add(counts.total(), Ordering::Relaxed);
        let mut hop = self.locked();
        hop.gone += counts;
        if let Some(of_target) = hop.targets.get_mut(target) {
            *of_target += counts;
        } else {
            hop.targets.insert(target.to_owned(), counts);
        }
    }

    /// Things were deleted that are in no count: whether an earlier hop counted them is not known.
    pub fn record_deleted_uncounted(&self, counts: Counts) {
        self.progress.fetch_add(counts.total(), Ordering::Relaxed);
        self.uncounted_data.fetch_add(counts.objects_and_versions(), Ordering::Relaxed);
    }

    /// Things that were counted as deleted turned out to exist.
    pub fn retract_deleted(&self, target: &str, counts: Counts) {
        let mut hop = self.locked();
        hop.gone -= counts;
        if let Some(of_target) = hop.targets.get_mut(target) {
            *of_target -= counts;
        }
    }

    /// How much this hop has deleted, or would have in a dry run. It only grows.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Requests were sent.
    pub fn requested(&self, requests: u64) {
        let mut hop = self.locked();
        hop.requests = hop.requests.saturating_add(requests);
    }

    /// Answers asked to slow down.
    pub fn throttled(&self, answers: u64) {
        let mut hop = self.locked();
        hop.throttles = hop.throttles.saturating_add(answers);
    }

    /// One request is a repetition.
    pub fn retried(&self) {
        let mut hop = self.locked();
        hop.retries = hop.retries.saturating_add(1);
    }

    /// What is gone in this hop.
    pub fn deleted_in_hop(&self) -> Counts {
        self.locked().gone
    }

    /// Objects and versions that are deleted in all hops, as far as they are in a count, or in no
    /// count and of this hop.
    pub fn objects_and_versions_deleted(&self) -> u64 {
        let counted = self
            .before()
            .gone
            .objects_and_versions()
            .saturating_add(self.deleted_in_hop().objects_and_versions());
        counted.saturating_add(self.uncounted_data.load(Ordering::Relaxed))
    }

    /// What this hop counted.
    pub fn hop(&self) -> Totals {
        self.locked().clone()
    }

    /// What all hops counted.
    pub fn total(&self) -> Totals {
        let mut total = self.before().clone();
        total.add(&self.locked());
        total
    }
}

/// How many keys failed with which code. Codes come from the store, and end in receipts:
/// their number is bounded, and so is their length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ErrorCounts(BTreeMap<String, u64>);

impl ErrorCounts {
    /// Counts keys under a code.
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

    /// All keys, whatever the code.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, keys| sum.saturating_add(*keys))
    }

    /// The keys of one code.
    pub fn of(&self, code: &str) -> u64 {
        self.0.get(code).copied().unwrap_or(0)
    }

    /// Codes and counts, by code.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(code, keys)| (code.as_str(), *keys))
    }
}

/// Versions that are held by one kind of hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LockedVersions {
    /// How many.
    pub count: u64,
    /// The earliest moment at which one of them may be erased, if the store tells.
    pub erasable_from: Option<OffsetDateTime>,
}

/// What was found at one target and left there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Remaining {
    /// Newer than the erasure's limit, and kept on purpose.
    pub kept_newer: u64,
    /// Versions that Object Lock holds.
    pub retained: BTreeMap<LockKind, LockedVersions>,
    /// What could not be deleted, by the store's code.
    pub refused: ErrorCounts,
    /// What failed for the moment, as often as it was tried, by the store's code.
    pub unsettled: ErrorCounts,
    /// Objects that a plain delete has only hidden: the next round finds their versions.
    pub hidden: u64,
    /// What is listed again after the store confirmed its deletion, or is listed and not found.
    pub still_listed: Counts,
    /// Delete markers that stay because data of their keys may exist: without them it would become
    /// current again.
    pub deferred_markers: u64,
}

impl Remaining {
    /// What S3 did not delete, for any reason but Object Lock.
    pub fn not_deleted(&self) -> u64 {
        self.refused.total() + self.unsettled.total() + self.still_listed.total()
    }

    /// Whether a later round may delete some of it that no round has deleted before.
    pub(crate) fn may_be_deleted_later(&self) -> bool {
        self.unsettled.total()
            + self.refused.total()
            + self.retained_total()
            + self.hidden
            + self.deferred_markers
            > 0
    }

    /// Counts a version that is held.
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
        self.refused.merge(&more.refused);
        self.unsettled.merge(&more.unsettled);
        for (hold, held) in &more.retained {
            self.merge_held(*hold, *held);
        }
    }

    /// Versions that Object Lock holds, whatever the hold.
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
    fn a_hop_counts_on_top_of_the_earlier_ones() {
        let earlier = r#"{"objects":5,"bytes":50,"requests":2,"throttles":1,"retries":1,"targets":{"a":{"versions":2}}}"#;
        let counters = Progress::resume(serde_json::from_str(earlier).unwrap());
        counters.gone("a", Counts::of(Kind::Versions, 1, 7));
        counters.gone("b", Counts::of(Kind::Uploads, 1, 0));
        counters.requested(1);
        let total = counters.total();
        assert_eq!((total.gone.objects, total.gone.versions, total.gone.uploads), (5, 1, 1));
        assert_eq!(
            (total.gone.bytes, total.requests, total.throttles, total.retries),
            (57, 3, 1, 1)
        );
        assert_eq!((total.targets["a"].versions, total.targets["b"].uploads), (3, 1));
        assert_eq!(counters.hop().gone.total(), 2);
        assert_eq!(counters.objects_and_versions_deleted(), 6);
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
