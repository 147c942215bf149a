//! What of a listed page may go: nothing outside the prefix, nothing newer than the limit, and no delete marker above
//! data.

use std::collections::HashSet;

use time::OffsetDateTime;

use crate::bucket::{Entry, Item, Kind, Page};
use crate::tally::Left;
use crate::target::{OutsidePrefix, Prefix};

/// Markers of one key that are held back at most; the next round takes the rest. About 10 MB.
const MAX_HELD_BACK: usize = 100_000;

/// Sifts the pages of one pass, in their order.
#[derive(Debug)]
pub(crate) struct Sieve {
    kind: Kind,
    erase_before: Option<OffsetDateTime>,
    holds_markers_back: bool,
    /// The last key that is looked for.
    until: Option<String>,
    open: Option<OpenKey>,
}

/// A key whose versions go on behind the page: whether its markers may go is not known yet.
#[derive(Debug)]
struct OpenKey {
    key: String,
    has_data: bool,
    held_back: Vec<Item>,
    /// The token of the page where this key began.
    since: Option<String>,
}

/// What a page leaves.
#[derive(Debug, Default)]
pub(crate) struct Sifted {
    /// What may go.
    pub(crate) items: Vec<Item>,
    /// What stays.
    pub(crate) left: Left,
    /// Whether the page listed a delete marker.
    pub(crate) has_markers: bool,
    /// From where to list again should the hop end when all pages up to this one are done.
    pub(crate) resume: Option<String>,
    /// The token of the page that follows; `None` behind the last, and behind the last key that is looked for.
    pub(crate) next: Option<String>,
}

impl Sieve {
    pub(crate) fn new(kind: Kind, erase_before: Option<OffsetDateTime>, holds_markers_back: bool) -> Self {
        Self { kind, erase_before, holds_markers_back, until: None, open: None }
    }

    /// Looks for no key behind this one.
    pub(crate) fn until(self, key: Option<String>) -> Self {
        Self { until: key, ..self }
    }

    /// Takes the page that `token` listed.
    pub(crate) fn sift(&mut self, prefix: &Prefix, token: Option<&str>, page: Page) -> Result<Sifted, OutsidePrefix> {
        let mut sifted = Sifted { next: page.next, ..Sifted::default() };
        let mut with_data = HashSet::new();
        for Entry { kind, key, id, bytes, last_modified } in page.entries {
            let key = prefix.own(key)?;
            if self.until.as_deref().is_some_and(|until| key.as_str() > until) {
                sifted.next = None;
                continue;
            }
            sifted.has_markers |= kind == Kind::DeleteMarkers;
            let is_newer = self.is_newer(last_modified);
            if self.kind == Kind::DeleteMarkers && kind == Kind::Versions && !is_newer {
                with_data.insert(key.as_str().to_owned());
            }
            if kind == self.kind {
                if is_newer {
                    sifted.left.kept_newer += 1;
                } else {
                    sifted.items.push(Item { key, id, bytes });
                }
            }
        }
        sifted.resume.clone_from(&sifted.next);
        if self.kind == Kind::DeleteMarkers && self.holds_markers_back {
            self.hold_back(&mut sifted, with_data, page.cut_at, token);
        }
        Ok(sifted)
    }

    fn is_newer(&self, last_modified: Option<OffsetDateTime>) -> bool {
        match (self.erase_before, last_modified) {
            (Some(limit), Some(last_modified)) => last_modified >= limit,
            // Without a time it cannot be known: keeping is the mistake that can be mended.
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Takes those markers out of the sifted items whose keys have data, here or perhaps on the next page.
    ///
    /// A key's current version is its newest. Without the marker above it, data would be the newest again: the object
    /// would be back. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/RemDelMarker.html>
    fn hold_back(
        &mut self,
        sifted: &mut Sifted,
        mut with_data: HashSet<String>,
        cut_at: Option<String>,
        token: Option<&str>,
    ) {
        let mut markers = std::mem::take(&mut sifted.items);
        let before = self.open.take();
        let mut since = token.map(str::to_owned);
        if let Some(before) = before.as_ref().filter(|before| before.has_data) {
            with_data.insert(before.key.clone());
            // This page begins in the middle of a key with data: from here, its markers would look like any others.
            since.clone_from(&before.since);
        }
        let mut open =
            cut_at.map(|key| OpenKey { has_data: with_data.contains(&key), key, held_back: Vec::new(), since });
        if let Some(before) = before {
            match &mut open {
                Some(open) if open.key == before.key => {
                    open.since = before.since;
                    open.held_back = before.held_back;
                }
                Some(_) | None => markers.extend(before.held_back),
            }
        }
        for marker in markers {
            match &mut open {
                Some(open) if open.key == marker.key.as_str() => {
                    if open.held_back.len() < MAX_HELD_BACK {
                        open.held_back.push(marker);
                    } else {
                        sifted.left.markers_kept += 1;
                    }
                }
                Some(_) | None if with_data.contains(marker.key.as_str()) => sifted.left.markers_kept += 1,
                Some(_) | None => sifted.items.push(marker),
            }
        }
        // A hop that resumes behind the beginning of this key would not know what to do with its markers.
        if let Some(open) = open.as_ref().filter(|open| open.has_data || !open.held_back.is_empty()) {
            sifted.resume.clone_from(&open.since);
        }
        self.open = open;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Target, UserId};

    fn prefix() -> Prefix {
        Target::parse("s3://photos/{user_id}/").unwrap().prefix(&UserId::parse("u1").unwrap())
    }

    /// Entries like `a1` (a version of key a) and `am2` (a marker of key a); a page is cut where the text says.
    fn page(entries: &[&str], cut_at: Option<&str>) -> Page {
        let entry = |text: &&str| {
            let kind = if text.contains('m') { Kind::DeleteMarkers } else { Kind::Versions };
            let key = format!("u1/{}", &text[..1]);
            Entry { kind, key, id: Some((*text).to_owned()), bytes: 1, last_modified: None }
        };
        let cut_at = cut_at.map(|key| format!("u1/{key}"));
        Page { entries: entries.iter().map(entry).collect(), next: cut_at.as_ref().map(|_| "next".to_owned()), cut_at }
    }

    fn markers_that_go(pages: &[(&[&str], Option<&str>)]) -> (Vec<String>, u64, Vec<Option<String>>) {
        let mut sieve = Sieve::new(Kind::DeleteMarkers, None, true);
        let (mut gone, mut kept, mut resumes) = (Vec::new(), 0, Vec::new());
        for (number, (entries, cut_at)) in pages.iter().enumerate() {
            let token = (number > 0).then(|| format!("page {number}"));
            let sifted = sieve.sift(&prefix(), token.as_deref(), page(entries, *cut_at)).unwrap();
            gone.extend(sifted.items.into_iter().map(|item| item.id.unwrap()));
            kept += sifted.left.markers_kept;
            resumes.push(sifted.resume);
        }
        gone.sort();
        (gone, kept, resumes)
    }

    fn ids(sifted: &Sifted) -> Vec<&str> {
        sifted.items.iter().filter_map(|item| item.id.as_deref()).collect()
    }

    #[test]
    fn the_last_key_of_a_lane_belongs_to_it_and_what_is_behind_ends_it() {
        for (entries, items, has_more) in
            [(&["a1", "b2"][..], &["a1", "b2"][..], true), (&["a1", "b2", "c3"], &["a1", "b2"], false)]
        {
            let mut sieve = Sieve::new(Kind::Versions, None, true).until(Some("u1/b".to_owned()));
            let sifted = sieve.sift(&prefix(), None, page(entries, Some("z"))).unwrap();
            assert_eq!((ids(&sifted), sifted.next.is_some()), (items.to_vec(), has_more));
        }
    }

    #[test]
    fn a_pass_over_data_sees_markers_and_holds_nothing_back() {
        for (entries, has_markers) in [(&["a1", "b2"], false), (&["am1", "b2"], true), (&["a1", "bm2"], true)] {
            let mut sieve = Sieve::new(Kind::Versions, None, true);
            let sifted = sieve.sift(&prefix(), None, page(entries, Some("b"))).unwrap();
            let versions: Vec<&str> = entries.iter().copied().filter(|id| !id.contains('m')).collect();
            assert_eq!((ids(&sifted), sifted.has_markers), (versions, has_markers));
        }
        // Nor does a dry run.
        let mut sieve = Sieve::new(Kind::DeleteMarkers, None, false);
        assert_eq!(ids(&sieve.sift(&prefix(), None, page(&["am1", "a2", "bm3"], Some("b"))).unwrap()), ["am1", "bm3"]);
    }

    #[test]
    fn what_one_key_holds_back_is_no_reason_to_list_the_next_one_again() {
        let pages: [(&[&str], _); 3] = [(&["am1", "bm1"], Some("b")), (&["cm1"], Some("c")), (&["c2"], None)];
        let (gone, kept, resumes) = markers_that_go(&pages);
        assert_eq!((gone, kept), (vec!["am1".to_owned(), "bm1".to_owned()], 1));
        assert_eq!(resumes, [None, Some("page 1".to_owned()), None]);
    }

    #[test]
    fn a_marker_stays_as_long_as_its_key_has_data() {
        let (gone, kept, _) = markers_that_go(&[(&["am1", "a2", "bm1", "c1", "dm1", "dm2"], None)]);
        assert_eq!(gone, ["bm1", "dm1", "dm2"]);
        assert_eq!(kept, 1);
    }

    #[test]
    fn a_page_that_ends_within_a_key_decides_nothing_about_it() {
        let next = || Some("next".to_owned());
        // Data on the next page.
        let (gone, kept, resumes) = markers_that_go(&[(&["am1", "bm1"], Some("b")), (&["bm2", "b3", "cm1"], None)]);
        assert_eq!((gone, kept), (vec!["am1".to_owned(), "cm1".to_owned()], 2));
        assert_eq!(resumes, [None, None]);
        // No data, over three pages.
        let pages: [(&[&str], _); 3] = [(&["am1", "bm1"], Some("b")), (&["bm2"], Some("b")), (&["bm3", "cm1"], None)];
        let (gone, kept, resumes) = markers_that_go(&pages);
        assert_eq!((gone.len(), kept), (5, 0));
        assert_eq!(resumes, [None, None, None], "the first page has to be listed again");
        // The second page begins in a key with data: who resumes there would not know.
        let pages: [(&[&str], _); 3] = [(&["am1"], Some("b")), (&["b1"], Some("b")), (&["bm1", "cm1"], Some("c"))];
        let (gone, kept, resumes) = markers_that_go(&pages);
        assert_eq!((gone, kept), (vec!["am1".to_owned()], 1));
        assert_eq!(resumes, [next(), None, None]);
        // Data on the page before, and an empty page between.
        let pages: [(&[&str], _); 4] =
            [(&["a1"], Some("a")), (&[], Some("a")), (&["am1"], Some("b")), (&["bm1"], None)];
        let (gone, kept, resumes) = markers_that_go(&pages);
        assert_eq!((gone, kept), (vec!["bm1".to_owned()], 1));
        assert_eq!(resumes, [None, None, next(), None]);
    }

    #[test]
    fn the_markers_held_back_for_one_key_are_bounded() {
        let mut sieve = Sieve::new(Kind::DeleteMarkers, None, true);
        let many = vec!["am1"; MAX_HELD_BACK + 5];
        let sifted = sieve.sift(&prefix(), None, page(&many, Some("a"))).unwrap();
        assert_eq!((sifted.items.len(), sifted.left.markers_kept), (0, 5), "the next round comes for them");
        let sifted = sieve.sift(&prefix(), Some("page 1"), page(&[], None)).unwrap();
        assert_eq!(sifted.items.len(), MAX_HELD_BACK);
    }

    #[test]
    fn newer_data_is_kept_and_does_not_hold_markers_back() {
        let limit = OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_secs(10);
        let at = |seconds| Some(OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        let mut listed = page(&["a1", "am2", "bm3", "c4"], None);
        for (entry, seconds) in listed.entries.iter_mut().zip([11, 9, 10, 9]) {
            entry.last_modified = at(seconds);
        }
        let sifted = Sieve::new(Kind::DeleteMarkers, Some(limit), true).sift(&prefix(), None, listed.clone()).unwrap();
        assert_eq!(sifted.items.len(), 1, "the marker below newer data");
        assert_eq!((sifted.left.kept_newer, sifted.left.markers_kept), (1, 0));
        listed.entries[3].last_modified = None;
        let sifted = Sieve::new(Kind::Versions, Some(limit), true).sift(&prefix(), None, listed).unwrap();
        assert_eq!((sifted.items.len(), sifted.left.kept_newer), (0, 2), "what has no time is kept");
    }

    #[test]
    fn a_key_outside_the_prefix_stops_everything() {
        let mut listed = page(&["a1"], None);
        listed.entries[0].key = "u10/a".to_owned();
        assert!(Sieve::new(Kind::DeleteMarkers, None, true).sift(&prefix(), None, listed).is_err());
    }
}
