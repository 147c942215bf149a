//! The report of a hop, and the verdict on a round.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use crate::erasure::checkpoint::MAX_ROUNDS;
use crate::erasure::counts::{Counts, Remaining};
use crate::ports::store::StoreError;
use crate::target::OutsidePrefix;

/// The report of a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How the hop ended.
    pub end: HopEnd,
    /// The hop's last round.
    pub round: Round,
}

/// How a hop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HopEnd {
    /// A complete round that began in this hop found nothing.
    Erased,
    /// A dry run has listed everything.
    Counted,
    /// The erasure is not finished.
    Unfinished {
        /// Whether the checkpoint moved.
        has_advanced: bool,
        /// The errors that occurred in the meantime.
        faults: Vec<TargetError>,
    },
    /// The remaining items cannot be deleted.
    Incomplete(IncompleteReason),
    /// S3 could not be used. This shows nothing about what remains.
    Failed(Vec<TargetError>),
}

/// Whether an unfinished hop is not continued: it deleted nothing and its checkpoint did not move,
/// so the message is redelivered and SQS counts the deliveries.
pub fn made_no_progress(is_idle: bool, has_advanced: bool) -> bool {
    is_idle && !has_advanced
}

/// Why the remaining items cannot be deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteReason {
    /// A whole round deleted nothing of what it found.
    #[error("what is left cannot be deleted: {}", describe_remaining(.0))]
    NotDeletable(BTreeMap<String, Remaining>),
    /// Every round found something; these are the counts of the last one, by target.
    #[error("{MAX_ROUNDS} rounds found something, the last one {}: a client keeps writing, or the store does not delete", counts_by_target(.0))]
    Rounds(BTreeMap<String, Counts>),
    /// The store lists again what it confirmed as deleted, or lists what it does not find; by
    /// target.
    #[error("S3 lists again what it reported as deleted or not found: {}", counts_by_target(.0))]
    StillListed(BTreeMap<String, Counts>),
    /// The round after round `MAX_ROUNDS` did not finish within an invocation.
    #[error(
        "after {MAX_ROUNDS} rounds, one more did not fit into an invocation: a client keeps writing, the store does not delete, or an invocation is too short to list what stays"
    )]
    LastRound,
    /// The erasure found more than `MAX_OBJECTS`.
    #[error("the object limit is reached: this user has more than MAX_OBJECTS ({0}) objects")]
    ObjectLimit(NonZeroU64),
}

/// An error at one target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{target}: {error}")]
pub struct TargetError {
    /// The target, as its setting names it.
    pub target: String,
    /// The error.
    pub error: PassError,
}

/// Why a pass could not finish.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PassError {
    /// A request to the store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Some items failed transiently in every attempt: their codes and number.
    #[error("S3 failed to delete some of the items, which were left for a later round: {0}")]
    TransientFailures(String),
    /// The store listed a key outside the user's prefix.
    #[error("{0}")]
    ForeignKey(#[from] OutsidePrefix),
    /// The object limit is exceeded.
    #[error("more than {0} objects")]
    ObjectLimit(NonZeroU64),
}

/// What this hop has seen of a round. Only a round that began in this hop can prove anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Round {
    /// The number of items of any kind that were deleted; in a dry run, that would be deleted.
    pub deleted: u64,
    /// The number of items that were listed, but not found when they were to be deleted.
    pub missing: u64,
    /// The items that the round listed for deletion, by target.
    pub found: BTreeMap<String, Counts>,
    /// The items that the round left, by target, as the setting names it.
    pub left: BTreeMap<String, Remaining>,
    /// Why passes were aborted, in the order in which it happened.
    pub errors: Vec<TargetError>,
}

impl Round {
    /// The items that the round left at all targets together.
    pub fn left(&self) -> Remaining {
        let mut all = Remaining::default();
        for left in self.left.values() {
            all.merge(left);
        }
        all
    }

    /// The verdict on a complete round. A round that another hop began (it is not fresh) proves
    /// nothing, however little of it remained: that hop may have run a long time ago.
    pub fn verdict(&self, is_fresh: bool, number: u32) -> RoundVerdict {
        let left = self.left();
        let lasting = left.refused.total() + left.retained_total();
        let again = left.still_listed.total() + self.missing;
        // Deferred markers stay above data that was listed late: the next round deletes that data
        // first.
        let passing = left.unsettled.total() + left.hidden + left.deferred_markers + again;
        if !self.errors.is_empty() && (is_fresh || number > MAX_ROUNDS) {
            RoundVerdict::Failed(self.errors.clone())
        } else if !is_fresh {
            // At the targets before the resumed position, something may wait for the next round. A
            // redelivery would begin at the same position.
            RoundVerdict::NextRound
        } else if self.deleted == 0 && lasting == 0 && passing == 0 {
            RoundVerdict::Erased
        } else if self.deleted == 0 && left.unsettled.total() > 0 {
            RoundVerdict::Failed(self.unsettled())
        } else if self.deleted == 0 && lasting > 0 {
            RoundVerdict::Incomplete(IncompleteReason::NotDeletable(self.left.clone()))
        } else if number >= MAX_ROUNDS {
            // A round that was resumed is followed by one more: a message that an operator redrives
            // from the dead-letter queue, after correcting the cause, has to reach its proof.
            RoundVerdict::Incomplete(IncompleteReason::Rounds(self.found.clone()))
        } else if self.deleted == 0 && again > 0 {
            RoundVerdict::Wait
        } else {
            RoundVerdict::NextRound
        }
    }

    /// How the hop ends after an error that stopped the whole erasure.
    pub(super) fn aborted(&mut self, error: TargetError) -> HopEnd {
        match error.error {
            PassError::ObjectLimit(max) => HopEnd::Incomplete(IncompleteReason::ObjectLimit(max)),
            PassError::Store(_) | PassError::ForeignKey(_) | PassError::TransientFailures(_) => {
                self.errors.push(error);
                HopEnd::Failed(std::mem::take(&mut self.errors))
            }
        }
    }

    /// The items that failed transiently, by target.
    fn unsettled(&self) -> Vec<TargetError> {
        let some = self.left.iter().filter(|(_, left)| left.unsettled.total() > 0);
        some.map(|(target, left)| TargetError {
            target: target.clone(),
            error: PassError::TransientFailures(left.to_string()),
        })
        .collect()
    }

    /// The items that are still listed, or were listed and not found, by target.
    pub(crate) fn still_listed(&self) -> BTreeMap<String, Counts> {
        let again = |(target, left): (&String, &Remaining)| (target.clone(), left.still_listed);
        let again: BTreeMap<_, _> =
            self.left.iter().map(again).filter(|(_, counts)| counts.total() > 0).collect();
        // Items that were not found for the first time have no separate count.
        if again.is_empty() { self.found.clone() } else { again }
    }
}

fn counts_by_target(counts: &BTreeMap<String, Counts>) -> String {
    let some = counts.iter().filter(|(_, counts)| counts.total() > 0);
    some.map(|(target, counts)| format!("{target} ({counts})")).collect::<Vec<_>>().join(", ")
}

/// What the operator should check first if S3 denies a deletion.
const DENIED_HINT: &str = "; are s3:DeleteObject, s3:DeleteObjectVersion for versions, and s3:AbortMultipartUpload for \
                           uploads, granted?";

/// Describes what remains at each target, with a hint at what to check first.
pub(crate) fn describe_remaining(left: &BTreeMap<String, Remaining>) -> String {
    let stays = |left: &Remaining| left.not_deleted() + left.retained_total() > 0;
    let told = left.iter().filter(|(_, left)| stays(left)).map(|(target, left)| {
        let hint = if left.denied > 0 { DENIED_HINT } else { "" };
        format!("{target} ({left}{hint})")
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The verdict on a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoundVerdict {
    /// Nothing remains except what is kept on purpose because it is newer than the erasure's limit.
    Erased,
    /// Another round would find the same items and delete none of them either.
    Incomplete(IncompleteReason),
    /// The remaining items failed transiently in every attempt.
    Failed(Vec<TargetError>),
    /// The store still lists items whose deletion it confirmed. Another round, after a wait, has to
    /// show whether they disappear.
    Wait,
    /// Another round is needed.
    NextRound,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::{LockKind, Retention};

    fn refused(code: &str) -> Remaining {
        let mut left = Remaining::default();
        left.refused.add(code, 2);
        left
    }

    fn retained() -> Remaining {
        let mut left = Remaining::default();
        left.retain(Retention { hold: LockKind::LegalHold, until: None });
        left
    }

    fn both(mut one: Remaining, other: &Remaining) -> Remaining {
        one.merge(other);
        one
    }

    #[test]
    fn a_round_is_judged_by_what_it_deleted_and_what_it_left() {
        let nothing = Remaining::default;
        let newer = || Remaining { kept_newer: 5, ..nothing() };
        let marker = || Remaining { deferred_markers: 1, ..nothing() };
        let denied = || refused("AccessDenied");
        let hidden = || Remaining { hidden: 1, ..nothing() };
        let unsettled = || {
            let mut left = nothing();
            left.unsettled.add("InternalError", 1);
            left
        };
        let ghost =
            || Remaining { still_listed: Counts { uploads: 1, ..Counts::default() }, ..nothing() };
        let erased = |_: &Round| RoundVerdict::Erased;
        let next = |_: &Round| RoundVerdict::NextRound;
        let wait = |_: &Round| RoundVerdict::Wait;
        let failed = |round: &Round| RoundVerdict::Failed(round.unsettled());
        let stuck = |round: &Round| {
            RoundVerdict::Incomplete(IncompleteReason::NotDeletable(round.left.clone()))
        };
        let rounds =
            |round: &Round| RoundVerdict::Incomplete(IncompleteReason::Rounds(round.found.clone()));
        type Judged = fn(&Round) -> RoundVerdict;
        let cases: [(u64, Remaining, bool, u32, Judged); 24] = [
            (0, nothing(), true, 1, erased),
            (0, newer(), true, 1, erased),
            (0, nothing(), true, MAX_ROUNDS + 1, erased),
            (0, nothing(), false, 1, next),
            (1, nothing(), true, 1, next),
            (1, nothing(), true, MAX_ROUNDS - 1, next),
            (1, nothing(), true, MAX_ROUNDS, rounds),
            (1, nothing(), false, MAX_ROUNDS, next),
            (0, denied(), true, 1, stuck),
            (0, denied(), false, 1, next),
            (1, denied(), true, 1, next),
            (0, retained(), true, 1, stuck),
            (0, both(retained(), &denied()), true, 1, stuck),
            (0, hidden(), true, 1, next),
            (0, both(retained(), &hidden()), true, 1, stuck),
            (0, marker(), true, 1, next),
            (0, both(marker(), &denied()), true, 1, stuck),
            (0, unsettled(), true, 1, failed),
            (0, both(unsettled(), &denied()), true, 1, failed),
            (1, unsettled(), true, 1, next),
            (0, unsettled(), false, 1, next),
            (0, ghost(), true, 1, wait),
            (0, ghost(), true, MAX_ROUNDS, rounds),
            (1, ghost(), true, 1, next),
        ];
        for (deleted, left, is_fresh, number, judged) in cases {
            let left = [("s3://photos/{user_id}/".to_owned(), left)].into();
            let round = Round { deleted, left, ..Round::default() };
            assert_eq!(
                round.verdict(is_fresh, number),
                judged(&round),
                "{round:?}, fresh: {is_fresh}, {number}"
            );
        }
        let missing = Round { missing: 1, ..Round::default() };
        assert_eq!(
            missing.verdict(true, 1),
            RoundVerdict::Wait,
            "what was listed and not found is no proof"
        );
    }

    #[test]
    fn a_round_with_errors_fails_unless_a_next_round_can_show_more() {
        let error = TargetError {
            target: "s3://photos/{user_id}/".to_owned(),
            error: StoreError::Permanent("ListObjectsV2: AccessDenied".to_owned()).into(),
        };
        let round = Round { errors: vec![error.clone()], ..Round::default() };
        let failed = || RoundVerdict::Failed(vec![error.clone()]);
        for (is_fresh, number, verdict) in [
            (true, 1, failed()),
            (false, 1, RoundVerdict::NextRound),
            (false, MAX_ROUNDS, RoundVerdict::NextRound),
            (false, MAX_ROUNDS + 1, failed()),
        ] {
            assert_eq!(round.verdict(is_fresh, number), verdict, "fresh: {is_fresh}, {number}");
        }
    }

    #[test]
    fn what_stays_is_reported_with_target_kind_and_number() {
        let target = || "s3://photos/{user_id}/".to_owned();
        let counts = |uploads, objects| Counts { uploads, objects, ..Counts::default() };
        let stuck = IncompleteReason::StillListed(
            [(target(), counts(1, 0)), ("empty".to_owned(), counts(0, 0))].into(),
        );
        let told = "S3 lists again what it reported as deleted or not found: s3://photos/{user_id}/ (1 upload)";
        assert_eq!(stuck.to_string(), told);
        let rounds = IncompleteReason::Rounds([(target(), counts(2, 1))].into()).to_string();
        assert!(
            rounds.contains("the last one s3://photos/{user_id}/ (1 object, 2 uploads)"),
            "{rounds}"
        );
    }

    #[test]
    fn only_targets_where_something_stays_against_our_will_are_reported_and_denials_with_a_hint() {
        let newer = Remaining { kept_newer: 5, ..Remaining::default() };
        let told = |left| {
            describe_remaining(&[("a".to_owned(), newer.clone()), ("b".to_owned(), left)].into())
        };
        assert_eq!(told(Remaining::default()), "");
        assert_eq!(told(retained()), "b (legal-hold: 1)");
        assert_eq!(
            told(both(retained(), &refused("InvalidRequest"))),
            "b (InvalidRequest: 2, legal-hold: 1)"
        );
        let denied = Remaining { denied: 2, ..refused("AccessDenied") };
        assert_eq!(told(denied), format!("b (AccessDenied: 2{DENIED_HINT})"));
    }
}
