//! The log lines of the function: one for each hop, and one for each message without a hop.

use aws_lambda_events::event::sqs::SqsMessage;
use tracing::{error, info, warn};

use crate::lambda::event::receive_count;
use crate::lambda::hop::Hop;
use crate::lambda::outcome::Outcome;
use crate::message::erasure::Erasure;

/// Logs a redelivery. It is the only trace of deliveries that a crash or Lambda cut short.
pub(super) fn log_redelivery(record: &SqsMessage, erasure: &Erasure, user: &str) {
    let receive_count = receive_count(record);
    if receive_count > 1 {
        info!(
            user,
            erasure = erasure.redacted_id(),
            hop = erasure.hop,
            receive_count,
            "message redelivered"
        );
    }
}

/// Logs one line for each hop, whatever its outcome.
pub(super) fn log_hop(
    record: &SqsMessage,
    (erasure, user): (&Erasure, &str),
    hop: &Hop<'_>,
    outcome: &Outcome,
) {
    let left = hop.round.left();
    macro_rules! log {
        ($level:ident) => {
            $level!(
                outcome = outcome.name(),
                reason = outcome.reason(),
                user,
                erasure = erasure.redacted_id(),
                hop = erasure.hop,
                round = erasure.checkpoint.round,
                objects = hop.totals.deleted.objects,
                versions = hop.totals.deleted.versions,
                delete_markers = hop.totals.deleted.delete_markers,
                uploads = hop.totals.deleted.uploads,
                bytes = hop.totals.deleted.bytes,
                foundNothing = outcome.found_nothing(),
                kept_newer = left.kept_newer,
                retained = left.retained_total(),
                refused = left.not_deleted(),
                requests = hop.totals.requests,
                throttles = hop.totals.throttles,
                retries = hop.totals.retries,
                total_objects = erasure.totals.deleted.objects,
                total_versions = erasure.totals.deleted.versions,
                total_delete_markers = erasure.totals.deleted.delete_markers,
                total_uploads = erasure.totals.deleted.uploads,
                total_bytes = erasure.totals.deleted.bytes,
                receive_count = receive_count(record),
                duration_ms =
                    u64::try_from(hop.deadline.start().elapsed().as_millis()).unwrap_or(u64::MAX),
                "hop finished"
            )
        };
    }
    match outcome {
        // A sweep that is not due yet needs no warning.
        Outcome::Continued(Some(_)) if erasure.sweep_at.is_none() => log!(warn),
        Outcome::Erased { .. }
        | Outcome::Swept
        | Outcome::AlreadyDone(_)
        | Outcome::DryRun
        | Outcome::Continued(_) => log!(info),
        Outcome::Incomplete(_) => log!(warn),
        Outcome::Failed(_) | Outcome::Rejected(_) => log!(error),
    }
}

/// Logs the outcome of a message whose user is not, or no longer, known.
pub(super) fn log_without_erasure(record: &SqsMessage, outcome: &Outcome, message: &str) {
    error!(
        outcome = outcome.name(),
        reason = outcome.reason(),
        message_id = record.message_id.as_deref(),
        receive_count = receive_count(record),
        "{message}"
    );
}
