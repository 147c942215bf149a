//! The checkpoint of an erasure, which its continuation carries.

use serde::{Deserialize, Serialize};

use crate::ports::store::Kind;

/// The maximum number of rounds.
///
/// An erasure needs two rounds, and one more for each time that a client writes into a part that
/// the round has already listed. If it needs more than this, a client keeps writing, or the store
/// confirms deletions and keeps the items.
pub const MAX_ROUNDS: u32 = 20;

/// How far an erasure has come. It is a hint that avoids repeated listing: losing it costs time,
/// but never correctness.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoint {
    /// The round, from 1. A round is one pass over all targets and kinds.
    pub round: u32,
    /// The mark of the setting to which this position belongs: under another setting, other targets
    /// may come before it. It is missing in checkpoints of earlier releases, whose setting was the
    /// same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// The current target, as its setting names it; `None` means the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The current kind at that target; `None` means the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The token of the first page that lacks an outcome; `None` means the kind's first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The unfinished key ranges, if the listing was split. There is no `token` then.
    #[serde(rename = "lanes", skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<KeyRange>,
    /// Whether something was left for a later round, which counts it. If so, what a later round
    /// finds is not necessarily what the store still lists after confirming its deletion.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_left_some: bool,
}

/// A part of a listing that is listed separately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyRange {
    /// The token of the range's first page that lacks an outcome; `None` means the listing's first
    /// page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The last possible key of the range, in characters that every queue accepts; `None` if the
    /// range ends with the listing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            round: 1,
            setting: None,
            target: None,
            kind: None,
            token: None,
            ranges: Vec::new(),
            has_left_some: false,
        }
    }
}

impl Checkpoint {
    /// Whether this is the start of a round: the first page of the first target.
    pub fn is_at_start_of_round(&self) -> bool {
        self.target.is_none()
            && self.kind.is_none()
            && self.token.is_none()
            && self.ranges.is_empty()
    }

    /// The key ranges at which the listing resumes; empty if it starts from the beginning.
    pub(crate) fn resume_ranges(&self) -> Vec<KeyRange> {
        let whole = self.token.clone().map(|token| KeyRange { token: Some(token), until: None });
        if self.ranges.is_empty() { whole.into_iter().collect() } else { self.ranges.clone() }
    }

    /// Stores these key ranges. A single range to the end of the listing is written as a token, as
    /// in releases without key ranges.
    pub(crate) fn set_ranges(&mut self, mut ranges: Vec<KeyRange>) {
        if let [KeyRange { token, until: None }] = ranges.as_mut_slice() {
            self.token = token.take();
        } else {
            self.ranges = ranges;
        }
    }

    /// Moves to the start of the same round.
    pub(crate) fn clear_position(&mut self) {
        *self = Self { round: self.round, has_left_some: self.has_left_some, ..Self::default() };
    }

    /// Moves to the start of the next round.
    pub fn start_next_round(&mut self) {
        self.clear_position();
        self.round = self.round.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_begins_nowhere_but_at_the_start_of_its_first_target() {
        let start = Checkpoint { round: 7, ..Checkpoint::default() };
        assert!(start.is_at_start_of_round());
        for checkpoint in [
            Checkpoint { target: Some("s3://exports/{user_id}/".to_owned()), ..start.clone() },
            Checkpoint { kind: Some(Kind::Objects), ..start.clone() },
            Checkpoint { token: Some("1000".to_owned()), ..start },
        ] {
            assert!(!checkpoint.is_at_start_of_round(), "{checkpoint:?}");
        }
    }
}
