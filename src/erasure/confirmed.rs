//! The items whose deletion the store confirmed in this hop, so that an item that is listed again
//! is recognised and never counted twice.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use time::OffsetDateTime;

use crate::erasure::checkpoint::Checkpoint;
use crate::ports::store::Item;

/// The number of items that a hop remembers: about 1 MB. After that, the hop does not count what
/// later rounds delete.
const MAX_REMEMBERED: usize = 65_536;

/// The state of an item whose deletion the store confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// The deletion was confirmed for the first time.
    First,
    /// The deletion was confirmed before, and the item was listed again.
    Again,
    /// It is unknown whether this hop or an earlier one has already counted the item.
    Unknown,
}

/// The items that were confirmed in this hop.
#[derive(Debug, Default)]
pub(super) struct ConfirmedItems {
    hashes: HashSet<u64>,
    /// Whether this hop began at the start of the erasure.
    knows_all: bool,
    /// Whether this hop has deleted more items than it remembers.
    has_forgotten: bool,
    /// Whether an earlier round left something for a later one. Then everything that a later round
    /// deletes is counted.
    has_left_some: bool,
    /// Whether this is not the first round of the erasure.
    is_later_round: bool,
    /// The targets at which an earlier hop counted something.
    counted: HashSet<String>,
    /// The start of the erasure. An older item in a later round was already listed in the first
    /// round.
    started_at: Option<OffsetDateTime>,
}

impl ConfirmedItems {
    /// Creates an empty set. `is_from_start` is whether the hop begins at the start of the
    /// erasure's first round.
    pub(super) fn new(
        is_from_start: bool,
        started_at: Option<OffsetDateTime>,
        counted: HashSet<String>,
    ) -> Self {
        Self {
            hashes: HashSet::new(),
            knows_all: is_from_start,
            has_forgotten: false,
            has_left_some: false,
            is_later_round: false,
            counted,
            started_at,
        }
    }

    /// Records that a round begins or continues.
    pub(super) fn begin_round(&mut self, checkpoint: &Checkpoint) {
        (self.is_later_round, self.has_left_some) =
            (checkpoint.round > 1, checkpoint.has_left_some);
    }

    /// Records that the deletion of an item was confirmed in this round.
    pub(super) fn confirm(&mut self, target: &str, item: &Item) -> Confirmation {
        let hash = hash(target, item);
        if self.hashes.contains(&hash) {
            return Confirmation::Again;
        }
        if self.hashes.len() < MAX_REMEMBERED {
            self.hashes.insert(hash);
        } else {
            self.has_forgotten = true;
        }
        let is_older =
            || item.last_modified.is_none_or(|at| self.started_at.is_none_or(|start| at < start));
        let may_be_counted = self.has_forgotten || !self.knows_all && self.counted.contains(target);
        if may_be_counted && !self.has_left_some && self.is_later_round && is_older() {
            Confirmation::Unknown
        } else {
            Confirmation::First
        }
    }

    /// Records that an item exists whose deletion was confirmed before. Returns `false` if it was
    /// not confirmed.
    pub(super) fn revoke(&mut self, target: &str, item: &Item) -> bool {
        !self.hashes.is_empty() && self.hashes.remove(&hash(target, item))
    }
}

/// The item's identity. An object that is written again has another time.
fn hash(target: &str, item: &Item) -> u64 {
    let mut hasher = DefaultHasher::new();
    (target, item.kind, item.key.as_str(), &item.id, item.last_modified).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::Kind;
    use crate::target::{Target, User};

    fn round(round: u32) -> Checkpoint {
        Checkpoint { round, ..Checkpoint::default() }
    }

    fn item(name: &str, seconds: i64) -> Item {
        let prefix =
            Target::parse("s3://photos/{user_id}/").unwrap().prefix(&User::parse("u1").unwrap());
        let key = prefix.claim(format!("u1/{name}")).unwrap();
        let last_modified = Some(OffsetDateTime::from_unix_timestamp(seconds).unwrap());
        Item { kind: Kind::Objects, key, other_key: None, id: None, bytes: 1, last_modified }
    }

    #[test]
    fn an_item_that_is_listed_again_is_confirmed_again_and_one_that_was_written_again_is_another() {
        let mut deleted =
            ConfirmedItems::new(true, OffsetDateTime::from_unix_timestamp(50).ok(), HashSet::new());
        assert_eq!(deleted.confirm("t", &item("a", 7)), Confirmation::First);
        deleted.begin_round(&round(2));
        assert_eq!(deleted.confirm("t", &item("a", 7)), Confirmation::Again);
        assert_eq!(deleted.confirm("t", &item("a", 8)), Confirmation::First);
        assert_eq!(deleted.confirm("other", &item("a", 7)), Confirmation::First);
        assert!(deleted.revoke("t", &item("a", 7)) && !deleted.revoke("t", &item("a", 7)));
    }

    #[test]
    fn a_later_round_of_a_later_hop_counts_only_what_is_newer_than_the_erasure() {
        let counted = HashSet::from(["t".to_owned()]);
        let mut deleted =
            ConfirmedItems::new(false, OffsetDateTime::from_unix_timestamp(50).ok(), counted);
        deleted.begin_round(&round(2));
        assert_eq!(
            deleted.confirm("other", &item("a", 49)),
            Confirmation::First,
            "nothing of it was counted"
        );
        deleted.begin_round(&round(1));
        assert_eq!(deleted.confirm("t", &item("a", 49)), Confirmation::First);
        deleted.begin_round(&round(2));
        assert_eq!(deleted.confirm("t", &item("b", 49)), Confirmation::Unknown);
        assert_eq!(deleted.confirm("t", &item("c", 50)), Confirmation::First);
    }

    #[test]
    fn behind_the_items_that_are_remembered_later_rounds_count_nothing_older() {
        let mut deleted =
            ConfirmedItems::new(true, OffsetDateTime::from_unix_timestamp(50).ok(), HashSet::new());
        for number in 0..=MAX_REMEMBERED {
            assert_eq!(deleted.confirm("t", &item(&number.to_string(), 1)), Confirmation::First);
        }
        assert_eq!(deleted.hashes.len(), MAX_REMEMBERED);
        deleted.begin_round(&round(2));
        assert_eq!(deleted.confirm("t", &item("new", 1)), Confirmation::Unknown);
        assert_eq!(deleted.confirm("t", &item("0", 1)), Confirmation::Again);
    }
}
