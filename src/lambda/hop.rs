//! What one hop did, as its receipt, log line and metrics need it.

use std::time::Duration;

use crate::deadline::Deadline;
use crate::erasure::counts::{Remaining, Totals};
use crate::erasure::report::Round;
use crate::lambda::metrics::MessageMetrics;
use crate::lambda::outcome::Outcome;
use crate::message::erasure::Erasure;

/// What became of one message.
pub(super) struct ProcessedMessage {
    pub(super) outcome: Outcome,
    /// What of it is counted, if it was understood.
    pub(super) metrics: Option<MessageMetrics>,
    /// Whether the answer gives it back.
    pub(super) is_redelivered: bool,
}

/// What one hop did.
pub(super) struct Hop<'a> {
    pub(super) totals: Totals,
    pub(super) round: Round,
    /// Whether it was of no use.
    pub(super) is_idle: bool,
    /// Whether no earlier delivery can have deleted anything.
    pub(super) is_first_delivery: bool,
    pub(super) deadline: &'a Deadline,
}

impl Hop<'_> {
    /// Whether the first listing of everything found nothing: no earlier hop or delivery can have
    /// deleted anything, and the first round was the proof.
    pub(super) fn has_found_nothing(&self, erasure: &Erasure) -> bool {
        let is_first = self.is_first_delivery && erasure.hop == 0 && erasure.checkpoint.round == 1;
        is_first
            && self.round.found.values().all(|found| found.total() == 0)
            && self.round.left() == Remaining::default()
    }

    pub(super) fn metrics(&self, erasure: &Erasure) -> MessageMetrics {
        let since = erasure.withdrawn_at.or(erasure.requested_at);
        // A clock that is ahead of ours makes it young, not old.
        let age =
            since.and_then(|since| Duration::try_from(self.deadline.time_of_day() - since).ok());
        MessageMetrics {
            deleted: self.totals.deleted,
            left: self.round.left(),
            throttles: self.totals.throttles,
            is_idle: self.is_idle,
            is_dry_run: erasure.is_dry_run,
            is_sweep: erasure.sweep_at.is_some(),
            age: age.unwrap_or_default(),
        }
    }
}
