//! The progress of one hop: everything that it counts, in one place. The hop has one thread, so
//! nothing here is a lock.

use std::cell::RefCell;
use std::num::NonZeroU64;

use time::OffsetDateTime;

use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::confirmed::{Confirmation, ConfirmedItems};
use crate::erasure::counts::{Counts, Remaining, Totals};
use crate::erasure::report::{PassError, Round, TargetError};
use crate::ports::store::{Item, StoreError};

/// What one hop has counted so far, on top of what earlier hops counted.
///
/// Counts are raised as responses arrive: work that is dropped at the stop time stays counted.
#[derive(Debug, Default)]
pub struct Progress(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    before: Totals,
    hop: Totals,
    /// Items that this hop deleted, or counted in a dry run. Unlike `hop`, it only grows, and it
    /// includes items of which it is unknown whether an earlier hop counted them.
    deleted: u64,
    /// Objects and versions that this hop deleted and that are in no count.
    uncounted: u64,
    /// Whether counts were reset, because a dry run lists a target again.
    was_reset: bool,
    confirmed: ConfirmedItems,
    round: Round,
    /// Objects and versions that this round listed and did not delete so far.
    reserved: u64,
    last_transient_error: Option<TargetError>,
}

impl Progress {
    /// Counts on from what earlier hops counted.
    pub fn resume(before: Totals) -> Self {
        Self(RefCell::new(Inner { before, ..Inner::default() }))
    }

    /// A hop begins at this checkpoint. `started_at`: when the first hop of the erasure began.
    pub(super) fn begin_hop(&self, checkpoint: &Checkpoint, started_at: Option<OffsetDateTime>) {
        let counted = self.total();
        let is_first_hop = checkpoint.round <= 1
            && checkpoint.is_at_start_of_round()
            && counted.deleted.total() == 0;
        let counted = counted.targets.into_keys().collect();
        self.0.borrow_mut().confirmed = ConfirmedItems::new(is_first_hop, started_at, counted);
    }

    /// A round begins at this checkpoint, or is resumed there.
    pub(super) fn begin_round(&self, checkpoint: &Checkpoint) {
        let mut inner = self.0.borrow_mut();
        inner.confirmed.begin_round(checkpoint);
        (inner.round, inner.reserved) = (Round::default(), 0);
    }

    /// What this hop has seen of the current round.
    pub(super) fn round(&self) -> Round {
        self.0.borrow().round.clone()
    }

    /// Whether the current round has deleted nothing so far: then it may become the proof.
    pub(super) fn may_be_proof(&self) -> bool {
        self.0.borrow().round.deleted == 0
    }

    /// Reserves listed objects and versions under the object limit, all hops together. A deletion
    /// ends the reservation of its item; the rest stays reserved until the round ends.
    pub(super) fn reserve(&self, objects: u64, max: Option<NonZeroU64>) -> Result<(), PassError> {
        let mut inner = self.0.borrow_mut();
        inner.reserved = inner.reserved.saturating_add(objects);
        let met = inner
            .before
            .deleted
            .objects_and_versions()
            .saturating_add(inner.hop.deleted.objects_and_versions())
            .saturating_add(inner.uncounted)
            .saturating_add(inner.reserved);
        match max {
            Some(max) if objects > 0 && met > max.get() => Err(PassError::ObjectLimit(max)),
            Some(_) | None => Ok(()),
        }
    }

    /// The store confirmed the deletion of an item. [`Confirmation::First`] is to be counted by
    /// [`Progress::record_deleted`], in one call for all items of a response.
    pub(super) fn confirm(&self, target: &str, item: &Item, counts: Counts) -> Confirmation {
        let mut inner = self.0.borrow_mut();
        inner.reserved = inner.reserved.saturating_sub(counts.objects_and_versions());
        let confirmation = inner.confirmed.confirm(target, item);
        if confirmation == Confirmation::Unknown {
            inner.uncounted = inner.uncounted.saturating_add(counts.objects_and_versions());
            inner.count_deletion(counts.total());
        }
        confirmation
    }

    /// The store has no such item: whether this hop has seen the deletion of it confirmed before.
    pub(super) fn confirm_missing(&self, target: &str, item: &Item) -> bool {
        self.0.borrow_mut().confirmed.confirm(target, item) == Confirmation::Again
    }

    /// An item exists. If its deletion was confirmed and counted before, it is counted no longer.
    pub(super) fn revoke(&self, target: &str, item: &Item, counts: Counts) {
        let mut inner = self.0.borrow_mut();
        if inner.confirmed.revoke(target, item) {
            inner.hop.subtract(target, counts);
        }
    }

    /// Items of a target were deleted; in a dry run, they would be.
    pub fn record_deleted(&self, target: &str, counts: Counts) {
        let mut inner = self.0.borrow_mut();
        inner.hop.add_deleted(target, counts);
        inner.count_deletion(counts.total());
    }

    /// Deletions of this round that are in doubt after all: the store still lists the items.
    pub(super) fn retract_still_listed(&self) {
        let inner = &mut *self.0.borrow_mut();
        for (target, left) in &inner.round.left {
            inner.hop.subtract(target, left.still_listed);
        }
    }

    /// A page of a target is done: what it listed to be deleted, what of it remains, and how many
    /// items were not found when they were to be deleted.
    pub(super) fn record_page(&self, target: &str, found: Counts, left: &Remaining, missing: u64) {
        let round = &mut self.0.borrow_mut().round;
        round.left.entry(target.to_owned()).or_default().merge(left);
        *round.found.entry(target.to_owned()).or_default() += found;
        round.missing += missing;
    }

    /// A target is listed again from its start: what the round has found and left there will be
    /// found again. A dry run counts it again, too.
    pub(super) fn restart_target(&self, target: &str, is_dry_run: bool) {
        let mut inner = self.0.borrow_mut();
        inner.round.left.remove(target);
        inner.round.found.remove(target);
        inner.round.errors.retain(|error| error.target != target);
        inner.reserved = 0;
        drop(inner);
        if is_dry_run {
            self.reset_counts(target);
        }
    }

    /// A dry run will count a target again.
    pub(super) fn reset_counts(&self, target: &str) {
        let mut inner = self.0.borrow_mut();
        inner.before.reset_target(target);
        inner.hop.reset_target(target);
        inner.was_reset = true;
    }

    /// The whole round begins again, because the targets may be others now.
    pub(super) fn restart_round(&self, is_dry_run: bool) {
        let mut inner = self.0.borrow_mut();
        if is_dry_run {
            inner.before.reset();
            inner.hop.reset();
            inner.was_reset = true;
        }
    }

    /// A pass was left for this round.
    pub(super) fn record_error(&self, error: TargetError) {
        self.0.borrow_mut().round.errors.push(error);
    }

    /// A request failed in a way that may pass, and is sent again.
    pub(super) fn record_transient_error(&self, target: &str, error: StoreError) {
        self.throttled(u64::from(matches!(error, StoreError::Throttled(_))));
        let error = TargetError { target: target.to_owned(), error: error.into() };
        self.0.borrow_mut().last_transient_error = Some(error);
    }

    /// The newest error that was waited for, if this hop deleted nothing.
    pub(super) fn last_transient_error(&self) -> Option<TargetError> {
        let mut inner = self.0.borrow_mut();
        if inner.deleted == 0 { inner.last_transient_error.take() } else { None }
    }

    /// Requests were sent to the store.
    pub(super) fn requested(&self, requests: u64) {
        let totals = &mut self.0.borrow_mut().hop;
        totals.requests = totals.requests.saturating_add(requests);
    }

    /// Responses, for a request or a key, asked to slow down.
    pub(super) fn throttled(&self, responses: u64) {
        let totals = &mut self.0.borrow_mut().hop;
        totals.throttles = totals.throttles.saturating_add(responses);
    }

    /// One request repeats an earlier one.
    pub(super) fn retried(&self) {
        let totals = &mut self.0.borrow_mut().hop;
        totals.retries = totals.retries.saturating_add(1);
    }

    /// How many items this hop deleted, or counted in a dry run. It only grows.
    pub fn deleted(&self) -> u64 {
        self.0.borrow().deleted
    }

    /// Whether counts were reset: then counting is no progress.
    pub fn was_reset(&self) -> bool {
        self.0.borrow().was_reset
    }

    /// What this hop counted.
    pub fn hop(&self) -> Totals {
        self.0.borrow().hop.clone()
    }

    /// What all hops counted.
    pub fn total(&self) -> Totals {
        let inner = self.0.borrow();
        let mut total = inner.before.clone();
        total.add(&inner.hop);
        total
    }
}

impl Inner {
    fn count_deletion(&mut self, items: u64) {
        self.deleted = self.deleted.saturating_add(items);
        self.round.deleted = self.round.deleted.saturating_add(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::Kind;

    #[test]
    fn a_hop_counts_on_top_of_the_earlier_ones() {
        let earlier = r#"{"objects":5,"bytes":50,"requests":2,"throttles":1,"retries":1,
                          "targets":{"a":{"versions":2}}}"#;
        let progress = Progress::resume(serde_json::from_str(earlier).unwrap());
        progress.record_deleted("a", Counts::of(Kind::Versions, 1, 7));
        progress.record_deleted("b", Counts::of(Kind::Uploads, 1, 0));
        progress.requested(1);
        let total = progress.total();
        let deleted = total.deleted;
        assert_eq!(
            (deleted.objects, deleted.versions, deleted.uploads, deleted.bytes),
            (5, 1, 1, 57)
        );
        assert_eq!((total.requests, total.throttles, total.retries), (3, 1, 1));
        assert_eq!((total.targets["a"].versions, total.targets["b"].uploads), (3, 1));
        assert_eq!((progress.hop().deleted.total(), progress.deleted()), (2, 2));
    }

    #[test]
    fn the_object_limit_counts_what_all_hops_deleted_and_what_this_round_listed() {
        let max = NonZeroU64::new(10);
        let progress = Progress::resume(serde_json::from_str(r#"{"objects":5}"#).unwrap());
        assert_eq!(progress.reserve(4, max), Ok(()));
        progress.record_deleted("a", Counts::of(Kind::Versions, 1, 7));
        assert_eq!(progress.reserve(1, max), Err(PassError::ObjectLimit(max.unwrap())));
        assert_eq!(progress.reserve(0, max), Ok(()), "a page without objects meets none");
        progress.begin_round(&Checkpoint::default());
        assert_eq!(progress.reserve(4, max), Ok(()), "a new round lists the rest again");
    }

    #[test]
    fn only_a_dry_run_resets_the_counts_of_a_target_that_it_lists_again() {
        let progress = Progress::default();
        progress.record_deleted("a", Counts::of(Kind::Versions, 1, 7));
        progress.record_page("a", Counts::of(Kind::Versions, 1, 7), &Remaining::default(), 0);
        progress.restart_target("a", false);
        assert_eq!((progress.hop().deleted.versions, progress.was_reset()), (1, false));
        assert!(progress.round().found.is_empty());
        progress.restart_target("a", true);
        assert_eq!((progress.hop().deleted.versions, progress.was_reset()), (0, true));
        assert_eq!(progress.deleted(), 1, "it only grows");
    }
}
