//! The key ranges in which a pass is listed, and how far each of them is done.

use std::cell::RefCell;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::erasure::batch::BatchOutcome;
use crate::erasure::checkpoint::KeyRange;
use crate::erasure::watermark::{LowWaterMark, PageInfo};

/// The ranges of one pass. Together, they are the whole listing.
#[derive(Debug)]
pub(super) struct Ranges(RefCell<Vec<Range>>);

#[derive(Debug)]
struct Range {
    mark: LowWaterMark<BatchOutcome>,
    /// The last key of the range; `None`: it goes to the end of the listing.
    until: Option<String>,
}

/// Where a range begins or resumes.
#[derive(Debug)]
pub(super) struct RangeStart {
    /// Its number in the pass.
    pub(super) number: usize,
    pub(super) token: Option<String>,
    pub(super) until: Option<String>,
}

impl Ranges {
    /// No ranges: the pass is one range from its start.
    pub(super) fn resume(ranges: Vec<KeyRange>) -> Self {
        let ranges = if ranges.is_empty() { vec![KeyRange::default()] } else { ranges };
        let open = |KeyRange { token, until }| Range {
            mark: LowWaterMark::new(token),
            until: until.map(|key| percent_decode_str(&key).decode_utf8_lossy().into_owned()),
        };
        Self(RefCell::new(ranges.into_iter().map(open).collect()))
    }

    /// Where each range begins.
    pub(super) fn starts(&self) -> Vec<RangeStart> {
        let start = |(number, range): (usize, &Range)| RangeStart {
            number,
            token: range.mark.token().map(str::to_owned),
            until: range.until.clone(),
        };
        self.0.borrow().iter().enumerate().map(start).collect()
    }

    /// Ends the first range at the first of these keys, and adds the ranges between and behind
    /// them: each begins at the token of its key. Returns those that were added.
    pub(super) fn split(&self, cuts: Vec<(String, String)>) -> Vec<RangeStart> {
        let first = self.0.borrow().len();
        let mut ranges = self.0.borrow_mut();
        let mut keys = cuts.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>().into_iter();
        if let Some(range) = ranges.first_mut() {
            range.until = keys.next();
        }
        for (_, token) in cuts {
            ranges.push(Range { mark: LowWaterMark::new(Some(token)), until: keys.next() });
        }
        drop(ranges);
        self.starts().split_off(first)
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Notes that a batch has its outcome; returns the outcomes that may be counted now.
    pub(super) fn record(
        &self,
        range: usize,
        page: PageInfo,
        outcome: BatchOutcome,
    ) -> Vec<BatchOutcome> {
        let mut ranges = self.0.borrow_mut();
        ranges.get_mut(range).map(|range| range.mark.record(page, outcome)).unwrap_or_default()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.0.borrow().iter().all(|range| range.mark.is_complete())
    }

    /// The ranges that are not done. None: the whole pass, from its start.
    pub(super) fn not_done(&self) -> Vec<KeyRange> {
        let range = |range: &Range| KeyRange {
            token: range.mark.token().map(str::to_owned),
            until: range
                .until
                .as_deref()
                .map(|key| utf8_percent_encode(key, NON_ALPHANUMERIC).to_string()),
        };
        let ranges = self.0.borrow();
        let ranges: Vec<_> =
            ranges.iter().filter(|range| !range.mark.is_complete()).map(range).collect();
        if ranges == [KeyRange::default()] { Vec::new() } else { ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_page() -> PageInfo {
        PageInfo { number: 0, batches: 1, resume: None, is_last: true }
    }

    #[test]
    fn a_split_leaves_no_gap_and_what_is_not_done_resumes() {
        let ranges = Ranges::resume(Vec::new());
        assert!(ranges.not_done().is_empty(), "the whole pass, from its start");
        let cuts = [("g/", "after g"), ("p", "after p")];
        let cuts = cuts.map(|(key, token)| (key.to_owned(), token.to_owned())).to_vec();
        let added = ranges.split(cuts);
        let added: Vec<_> =
            added.iter().map(|it| (it.number, it.token.as_deref(), it.until.as_deref())).collect();
        assert_eq!(added, [(1, Some("after g"), Some("p")), (2, Some("after p"), None)]);
        assert_eq!(ranges.starts()[0].until.as_deref(), Some("g/"));

        ranges.record(1, last_page(), BatchOutcome::default());
        let resumed = Ranges::resume(ranges.not_done());
        let resumed: Vec<_> = resumed.starts().into_iter().map(|it| (it.token, it.until)).collect();
        assert_eq!(resumed, [(None, Some("g/".to_owned())), (Some("after p".to_owned()), None)]);
        ranges.record(0, last_page(), BatchOutcome::default());
        assert!(!ranges.is_complete());
        ranges.record(2, last_page(), BatchOutcome::default());
        assert!(ranges.is_complete());
    }
}
