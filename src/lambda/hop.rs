//! The result of one hop, as its receipt, log line and metrics need it.

use std::time::Duration;

use crate::deadline::Deadline;
use crate::erasure::counts::{Remaining, Totals};
use crate::erasure::report::Round;
use crate::lambda::metrics::MessageMetrics;
use crate::lambda::outcome::Outcome;
use crate::message::erasure::Erasure;

/// The result of processing one message.
pub(super) struct ProcessedMessage {
    pub(super) outcome: Outcome,
    /// The metrics of the message, if it could be read.
    pub(super) metrics: Option<MessageMetrics>,
    /// Whether the response asks SQS to deliver the message again.
    pub(super) is_redelivered: bool,
}

/// The result of one hop.
pub(super) struct Hop<'a> {
    pub(super) totals: Totals,
    pub(super) round: Round,
    /// Whether the hop made no progress.
    pub(super) is_idle: bool,
    /// Whether no earlier delivery can have deleted anything.
    pub(super) is_first_delivery: bool,
    pub(super) deadline: &'a Deadline,
}

impl Hop<'_> {
    /// Whether the first listing of everything found nothing. Then no earlier hop or delivery can
    /// have deleted anything, and the first round was the proof.
    pub(super) fn has_found_nothing(&self, erasure: &Erasure) -> bool {
        let is_first = self.is_first_delivery && erasure.hop == 0 && erasure.checkpoint.round == 1;
        is_first
            && self.round.found.values().all(|found| found.total() == 0)
            && self.round.left() == Remaining::default()
    }

    pub(super) fn metrics(&self, erasure: &Erasure) -> MessageMetrics {
        let since = erasure.withdrawn_at.or(erasure.requested_at);
        // If the sender's clock is ahead of ours, the age counts as zero.
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
