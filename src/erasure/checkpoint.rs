//! Where an erasure is: the checkpoint that a continuation carries, and the low-water mark that
//! moves it.

use std::collections::BTreeMap;

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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<KeyRange>,
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
            lanes: Vec::new(),
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
            && self.lanes.is_empty()
    }

    /// Takes the places out that a kind is to be gone on with from; none: from its start.
    pub(crate) fn take_ranges(&mut self) -> Vec<KeyRange> {
        let whole = self.token.take().map(|token| KeyRange { token: Some(token), until: None });
        let lanes = std::mem::take(&mut self.lanes);
        if lanes.is_empty() { whole.into_iter().collect() } else { lanes }
    }

    /// Notes these places. One part that goes to the end is written as releases before parts did.
    pub(crate) fn set_ranges(&mut self, mut lanes: Vec<KeyRange>) {
        if let [KeyRange { token, until: None }] = lanes.as_mut_slice() {
            self.token = token.take();
        } else {
            self.lanes = lanes;
        }
    }

    /// Goes to the start of the next round.
    pub fn start_next_round(&mut self) {
        let has_left_some = self.has_left_some;
        *self = Self { round: self.round.saturating_add(1), has_left_some, ..Self::default() };
    }
}

/// What a batch knows of the page that listed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageInfo {
    /// The page's number in this pass, from 0 without gaps.
    pub number: u64,
    /// Into how many batches it was cut; an empty page counts as one.
    pub batches: usize,
    /// The token to resume from when this page and all before it are done: the next page's, or an
    /// earlier one where the page left something to a later one.
    pub resume: Option<String>,
    /// Whether no page follows.
    pub is_last: bool,
}

/// The place before which everything listed has an outcome.
///
/// `Outcome` is what one batch leaves to be counted. It is handed out only when the mark has passed
/// its page, so that a page that is listed again in the next hop is never counted twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LowWaterMark<Outcome> {
    token: Option<String>,
    first_open: u64,
    open: BTreeMap<u64, OpenPage<Outcome>>,
    is_complete: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OpenPage<Outcome> {
    missing: usize,
    mark: PageInfo,
    outcomes: Vec<Outcome>,
}

impl<Outcome> LowWaterMark<Outcome> {
    /// Begins at the page that this token lists; `None` is the first page of the prefix.
    pub fn new(token: Option<String>) -> Self {
        Self { token, first_open: 0, open: BTreeMap::new(), is_complete: false }
    }

    /// Notes that one batch of a page has an outcome; returns the outcomes of all pages that the
    /// mark passes now.
    pub fn record(&mut self, page: PageInfo, outcome: Outcome) -> Vec<Outcome> {
        let open = self.open.entry(page.number).or_insert_with(|| OpenPage {
            missing: page.batches,
            mark: page,
            outcomes: Vec::new(),
        });
        open.missing = open.missing.saturating_sub(1);
        open.outcomes.push(outcome);

        let mut passed = Vec::new();
        while let Some(first) = self.open.first_entry() {
            if *first.key() != self.first_open || first.get().missing > 0 {
                break;
            }
            let page = first.remove();
            passed.extend(page.outcomes);
            self.first_open += 1;
            self.is_complete = page.mark.is_last;
            self.token = page.mark.resume;
        }
        passed
    }

    /// The token that lists the first page with a batch without an outcome; `None` is the prefix's
    /// first page.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether every page up to the last has all its outcomes.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u64, batches: usize, next: Option<&str>) -> PageInfo {
        PageInfo { number, batches, resume: next.map(str::to_owned), is_last: next.is_none() }
    }

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

    #[test]
    fn stays_before_the_first_page_with_a_batch_without_outcome() {
        let mut mark = LowWaterMark::new(Some("resume".to_owned()));
        assert!(mark.record(page(1, 1, Some("c")), "1").is_empty());
        assert!(mark.record(page(0, 2, Some("b")), "0a").is_empty());
        assert_eq!(mark.token(), Some("resume"));

        assert_eq!(mark.record(page(0, 2, Some("b")), "0b"), ["0a", "0b", "1"]);
        assert_eq!(mark.token(), Some("c"));
        assert!(!mark.is_complete());
    }

    #[test]
    fn is_complete_only_behind_the_last_page() {
        let mut mark = LowWaterMark::new(None);
        mark.record(page(1, 1, None), ());
        assert!(!mark.is_complete());
        mark.record(page(0, 1, Some("b")), ());
        assert!(mark.is_complete());
        assert_eq!(mark.token(), None);
    }
}
