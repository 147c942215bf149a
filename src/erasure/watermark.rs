//! The low-water mark of a listing: pages finish out of order, and the checkpoint must lie before
//! the first unfinished page.

use std::collections::BTreeMap;

/// The information about its page that a batch carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageInfo {
    /// The page's number in this pass, from 0 without gaps.
    pub number: u64,
    /// The number of batches of the page; an empty page counts as one batch.
    pub batches: usize,
    /// The token from which to resume when this page and all earlier ones are finished. It is the
    /// next page's token, or an earlier one if the page left something to a later page.
    pub resume: Option<String>,
    /// Whether no page follows.
    pub is_last: bool,
}

/// The position before which everything listed has an outcome.
///
/// `Outcome` is what one batch contributes to the totals. It is returned only when the mark has
/// passed the batch's page, so that a page that is listed again in the next hop is never counted
/// twice.
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
    /// Creates a mark at the page that this token lists; `None` means the first page of the prefix.
    pub fn new(token: Option<String>) -> Self {
        Self { token, first_open: 0, open: BTreeMap::new(), is_complete: false }
    }

    /// Records the outcome of one batch of a page. Returns the outcomes of all pages that the mark
    /// now passes.
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

    /// The token of the first page that has a batch without an outcome; `None` means the prefix's
    /// first page.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether all pages up to the last have all their outcomes.
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
