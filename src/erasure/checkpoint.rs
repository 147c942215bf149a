//! Where an erasure is: the checkpoint that a continuation carries, and the low-water mark that
//! moves it.

use serde::{Deserialize, Serialize};

use crate::ports::store::Kind;

/// An erasure needs two rounds and one more for each time that something is written behind it. More
/// than this many, and somebody keeps writing, or the store says "deleted" and keeps.
pub const MAX_ROUNDS: u32 = 20;

/// How far an erasure has come. A hint that saves listing again: losing it costs time, never truth.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoint {
    /// The round, from 1: one pass over all targets and kinds.
    pub round: u32,
    /// The mark of the setting that this is a place in: under another one, other targets come
    /// before it. A release that did not say it had the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// The target being erased, as its setting names it; `None` is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The kind being erased there; `None` is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The token of the first page without all its outcomes; `None` is the kind's first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where the kind was listed in parts: those that are not done. Then there is no `token`.
    #[serde(rename = "lanes", skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<KeyRange>,
    /// Whether something was left for a later round, which counts it: then what a later round finds
    /// is not what the store still lists.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_left_some: bool,
}

/// A part of a listing that is listed on its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyRange {
    /// The token of its first page without all its outcomes; `None` is the listing's first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its last possible key, in letters that every queue takes; `None`: it goes to the end of the
    /// listing.
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
    /// Whether a round begins here, at its first target's first page.
    pub fn is_at_start_of_round(&self) -> bool {
        self.target.is_none()
            && self.kind.is_none()
            && self.token.is_none()
            && self.ranges.is_empty()
    }

    /// The ranges at which the listing resumes; empty: at its start.
    pub(crate) fn resume_ranges(&self) -> Vec<KeyRange> {
        let whole = self.token.clone().map(|token| KeyRange { token: Some(token), until: None });
        if self.ranges.is_empty() { whole.into_iter().collect() } else { self.ranges.clone() }
    }

    /// Stores these ranges. One range that goes to the end is written as a token, as releases
    /// before key ranges did.
    pub(crate) fn set_ranges(&mut self, mut ranges: Vec<KeyRange>) {
        if let [KeyRange { token, until: None }] = ranges.as_mut_slice() {
            self.token = token.take();
        } else {
            self.ranges = ranges;
        }
    }

    /// Goes to the start of the same round.
    pub(crate) fn clear_position(&mut self) {
        *self = Self { round: self.round, has_left_some: self.has_left_some, ..Self::default() };
    }

    /// Goes to the start of the next round.
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
