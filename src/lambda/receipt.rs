//! The receipt of an outcome: what was erased, what remains, and why. It names no key and no user.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::erasure::counts::{Counts, Remaining, STILL_LISTED};
use crate::erasure::report::Round;
use crate::message::erasure::Erasure;
use crate::target::{Target, Targets};

/// The format version of receipts; `schemas/receipt.json` describes it.
const VERSION: u32 = 1;

/// Data that a deletion in S3 does not reach.
const NOT_REACHED: [&str; 4] = [
    "replicas in other buckets",
    "backups",
    "access logs and inventories",
    "caches in front of the buckets",
];

/// The result that a receipt states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptKind {
    /// A complete round found nothing.
    Erased {
        /// Whether the first listing of everything found nothing.
        found_nothing: bool,
    },
    /// The late-write sweep after the proof found nothing more.
    Swept,
    /// The dry run counted everything and deleted nothing.
    DryRun,
    /// Something remains.
    Incomplete {
        /// How often the message was delivered. Each delivery has its own receipt.
        delivery: u32,
        /// Why something remains.
        reason: String,
    },
}

impl ReceiptKind {
    /// The receipt's word for this result.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Erased { .. } => "erased",
            Self::Swept => "swept",
            Self::DryRun => "dry-run",
            Self::Incomplete { .. } => "incomplete",
        }
    }

    /// The receipt's name in the receipts' folder.
    pub fn file_name(&self, erasure: &Erasure) -> String {
        let number = match self {
            Self::Incomplete { delivery, .. } => format!("-{delivery}"),
            Self::Erased { .. } | Self::Swept | Self::DryRun => String::new(),
        };
        format!("{}/{}{number}.json", erasure.id.as_str(), self.name())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    version: u32,
    outcome: &'static str,
    erasure_id: String,
    user: &'a str,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    withdrawn_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    erase_before: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    requested_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    finished_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    proven_empty_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    found_nothing: bool,
    hops: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(flatten)]
    deleted: Counts,
    targets: Vec<OfTarget>,
    requests: u64,
    throttles: u64,
    not_reached: [&'static str; NOT_REACHED.len()],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfTarget {
    bucket: String,
    prefix: String,
    #[serde(flatten)]
    deleted: Counts,
    retained: Vec<Retained>,
    refused: Vec<Refused>,
    #[serde(rename = "markersKept")]
    deferred_markers: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Retained {
    reason: &'static str,
    count: u64,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    erasable_from: Option<OffsetDateTime>,
}

#[derive(Serialize)]
struct Refused {
    code: String,
    count: u64,
}

/// Writes the receipt of an erasure's state at the end of a hop. `user` is the keyed hash of the
/// user's id.
pub fn document(
    verdict: &ReceiptKind,
    erasure: &Erasure,
    user: &str,
    (targets, round): (&Targets, &Round),
    now: OffsetDateTime,
) -> String {
    let is_proof = matches!(verdict, ReceiptKind::Erased { .. } | ReceiptKind::Swept);
    let receipt = Receipt {
        version: VERSION,
        outcome: verdict.name(),
        erasure_id: erasure.redacted_id(),
        user,
        withdrawn_at: erasure.withdrawn_at,
        erase_before: erasure.erase_before,
        requested_at: erasure.requested_at,
        started_at: erasure.started_at,
        finished_at: now,
        proven_empty_at: is_proof.then_some(now),
        found_nothing: matches!(verdict, ReceiptKind::Erased { found_nothing: true }),
        hops: erasure.hop.saturating_add(1),
        reason: match verdict {
            ReceiptKind::Incomplete { reason, .. } => Some(reason),
            ReceiptKind::Erased { .. } | ReceiptKind::Swept | ReceiptKind::DryRun => None,
        },
        deleted: with_kept(erasure.totals.deleted, &round.left(), erasure),
        targets: of_targets(erasure, targets, round),
        requests: erasure.totals.requests,
        throttles: erasure.totals.throttles,
        not_reached: NOT_REACHED,
    };
    serde_json::to_string(&receipt).expect("strings, numbers and checked times always serialize")
}

fn of_targets(erasure: &Erasure, targets: &Targets, round: &Round) -> Vec<OfTarget> {
    let of_target = |target: &Target| {
        let name = target.to_string();
        let left = round.left.get(&name).cloned().unwrap_or_default();
        OfTarget {
            bucket: target.bucket().to_owned(),
            prefix: target.template(),
            deleted: with_kept(
                erasure.totals.targets.get(&name).copied().unwrap_or_default(),
                &left,
                erasure,
            ),
            retained: retained(&left),
            refused: refused(&left),
            deferred_markers: left.deferred_markers,
        }
    };
    targets.as_slice().iter().map(of_target).collect()
}

/// Adds the number of kept items: a dry run has counted them, and an erasure takes them from its
/// last round.
fn with_kept(deleted: Counts, left: &Remaining, erasure: &Erasure) -> Counts {
    if erasure.is_dry_run { deleted } else { Counts { kept_newer: left.kept_newer, ..deleted } }
}

fn retained(left: &Remaining) -> Vec<Retained> {
    let of_hold =
        left.retained.iter().map(|(hold, held)| (hold.name(), held)).map(|(reason, held)| {
            Retained { reason, count: held.count, erasable_from: held.erasable_from }
        });
    of_hold.collect()
}

fn refused(left: &Remaining) -> Vec<Refused> {
    let again = left.still_listed.total();
    let again = (again > 0).then_some((STILL_LISTED, again));
    let codes = left.refused.iter().chain(left.unsettled.iter()).chain(again);
    codes.map(|(code, count)| Refused { code: code.to_owned(), count }).collect()
}

/// The fields of a stored receipt that distinguish it from others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredReceipt {
    outcome: String,
    user: String,
    #[serde(default, with = "time::serde::rfc3339::option")]
    requested_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub(crate) proven_empty_at: Option<OffsetDateTime>,
}

impl StoredReceipt {
    /// Parses a stored document; returns `None` if it is not a receipt.
    pub(crate) fn read(document: &str) -> Option<Self> {
        serde_json::from_str(document).ok()
    }

    /// Whether it is a receipt of the same outcome for the same user.
    pub(crate) fn is_same(&self, verdict: &ReceiptKind, user: &str) -> bool {
        self.outcome == verdict.name() && self.user == user
    }

    /// Whether it is the receipt of the same request.
    pub(crate) fn is_of(&self, erasure: &Erasure) -> bool {
        self.requested_at.is_some() && self.requested_at == erasure.requested_at
    }
}
