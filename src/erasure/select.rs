//! Selects what of a listed page may be deleted: nothing outside the prefix, nothing newer than the
//! limit, and no delete marker whose deletion would make data current again.

use std::collections::HashSet;

use time::OffsetDateTime;

use crate::erasure::counts::Remaining;
use crate::ports::store::{Item, Kind, ListedEntry, Page};
use crate::target::{Key, OutsidePrefix, Prefix};

/// Selects from the pages of one pass, in their order.
///
/// A key's current version is its newest. If the delete marker above data is deleted first, the
/// data becomes the newest, and the object is visible again.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/RemDelMarker.html>
///
/// So a marker of a key that lies completely on one page is deleted after all data of the key on
/// that page. If a key begins or ends on another page, all its markers except the newest may be
/// deleted at any time, because the newest covers the data. The newest marker is carried to the
/// page where the key ends. If an earlier page listed data of the key, the marker stays until the
/// next round.
#[derive(Debug)]
pub(super) struct Selector {
    kind: Kind,
    erase_before: Option<OffsetDateTime>,
    deletes: bool,
    /// The last key that is selected.
    until: Option<String>,
    /// Whether the listing ends for this pass where a neighbour of the user's one key is listed.
    ends_at_neighbour: bool,
    /// Whether the next page may begin within a key whose earlier entries are unknown.
    may_begin_within: bool,
    unfinished: Option<UnfinishedKey>,
}

/// A key whose versions continue on the next page.
#[derive(Debug)]
struct UnfinishedKey {
    key: Key,
    /// Whether data of the key was listed.
    has_data: bool,
    newest: Newest,
}

/// The newest delete marker of an unfinished key.
#[derive(Debug)]
enum Newest {
    /// No marker was listed so far.
    NotListed,
    /// The marker was listed, but no data. It may be deleted if the key ends without data.
    Carried(Item),
    /// The marker stays until the next round.
    Kept,
}

/// The result of selecting from a page.
#[derive(Debug, Default)]
pub(super) struct SelectedPage {
    /// The items that may be deleted.
    pub(super) items: Vec<Item>,
    /// Delete markers, each of which may be deleted after all data of its key in `items`.
    pub(super) after_data: Vec<Item>,
    /// The items that stay.
    pub(super) left: Remaining,
    /// The token of the next page; `None` after the last page, or after the last key to be
    /// selected.
    pub(super) next: Option<String>,
}

impl Selector {
    /// Creates a selector. `may_begin_within` is true if the listing may begin within a key.
    pub(super) fn new(
        kind: Kind,
        erase_before: Option<OffsetDateTime>,
        deletes: bool,
        may_begin_within: bool,
    ) -> Self {
        Self {
            kind,
            erase_before,
            deletes,
            until: None,
            ends_at_neighbour: false,
            may_begin_within,
            unfinished: None,
        }
    }

    /// Ignores keys after this one.
    pub(super) fn until(self, key: Option<String>) -> Self {
        Self { until: key, ..self }
    }

    /// Ends the pass where a neighbour is listed. This is right if the user owns only one key and
    /// the store lists in key order: all neighbours are behind the key.
    pub(super) fn ending_at_neighbour(self, ends_at_neighbour: bool) -> Self {
        Self { ends_at_neighbour, ..self }
    }

    /// Selects from the next page.
    pub(super) fn select(
        &mut self,
        prefix: &Prefix,
        page: Page,
    ) -> Result<SelectedPage, OutsidePrefix> {
        let mut selected = SelectedPage { next: page.next, ..SelectedPage::default() };
        let (mut markers, mut with_data) = (Vec::new(), HashSet::new());
        let mut without_time = HashSet::new();
        let mut last: Option<Key> = None;
        for ListedEntry { kind, key, other_key, id, bytes, last_modified } in page.entries {
            if !prefix.is_folder() && prefix.is_neighbour(&key) {
                selected.next = selected.next.take().filter(|_| !self.ends_at_neighbour);
                continue;
            }
            let key = match last.take() {
                // All versions of a key share one copy of it.
                Some(last) if last.as_str() == key => last,
                Some(_) | None => prefix.claim(key)?,
            };
            last = Some(key.clone());
            if self.until.as_deref().is_some_and(|until| key.as_str() > until) {
                selected.next = None;
                continue;
            }
            if !self.kind.lists(kind) {
                continue;
            }
            if self.is_newer(last_modified) {
                selected.left.kept_newer += 1;
                if kind == Kind::Versions && last_modified.is_none() {
                    without_time.insert(key);
                }
                continue;
            }
            let other_key = other_key.and_then(|other| prefix.claim(other).ok());
            let item = Item { kind, key, other_key, id, bytes, last_modified };
            if kind == Kind::DeleteMarkers && self.deletes {
                markers.push(item);
                continue;
            }
            if kind == Kind::Versions && self.deletes {
                with_data.insert(item.key.clone());
            }
            selected.items.push(item);
        }
        // Without its marker, a version that is kept would be current again.
        let covers_kept = |marker: &Item| without_time.contains(&marker.key);
        selected.left.kept_newer +=
            markers.extract_if(.., |marker| covers_kept(marker)).count() as u64;
        if self.kind == Kind::Versions && self.deletes {
            self.order_markers(&mut selected, markers, (&with_data, &without_time), page.cut_at);
        }
        Ok(selected)
    }

    fn is_newer(&self, last_modified: Option<OffsetDateTime>) -> bool {
        match (self.erase_before, last_modified) {
            (Some(limit), Some(last_modified)) => last_modified >= limit,
            // Without a time, the item's age is unknown. It is kept, because a kept item can still
            // be deleted later.
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    fn order_markers(
        &mut self,
        selected: &mut SelectedPage,
        markers: Vec<Item>,
        (with_data, without_time): (&HashSet<Key>, &HashSet<Key>),
        cut_at: Option<String>,
    ) {
        let begun = self.begun(&markers, with_data);
        let cut_at = cut_at.filter(|_| selected.next.is_some());
        let (mut of_begun, mut of_cut) = (Vec::new(), Vec::new());
        for marker in markers {
            let key = marker.key.as_str();
            if begun.as_ref().is_some_and(|begun| begun.key.as_str() == key) {
                of_begun.push(marker);
            } else if cut_at.as_deref() == Some(key) {
                of_cut.push(marker);
            } else if with_data.contains(key) {
                selected.after_data.push(marker);
            } else {
                selected.items.push(marker);
            }
        }
        let cut = cut_at
            .as_deref()
            .filter(|cut| begun.as_ref().is_none_or(|begun| begun.key.as_str() != *cut));
        let cut_key = cut.and_then(|cut| {
            of_cut.first().map(|marker| &marker.key).or_else(|| with_data.get(cut)).cloned()
        });
        if let Some(mut begun) = begun {
            if matches!(begun.newest, Newest::Carried(_)) && without_time.contains(&begun.key) {
                selected.left.kept_newer += 1;
                begun.newest = Newest::Kept;
            }
            let is_cut = cut_at.as_deref() == Some(begun.key.as_str());
            let has_data = with_data.contains(&begun.key);
            self.unfinished = begun.order(of_begun, selected, has_data, is_cut);
        }
        if let Some(key) = cut_key {
            let has_data = with_data.contains(&key);
            let begun = UnfinishedKey { key, has_data: false, newest: Newest::NotListed };
            self.unfinished = begun.order(of_cut, selected, has_data, true);
        }
    }

    /// Returns the key that began on an earlier page.
    fn begun(&mut self, markers: &[Item], with_data: &HashSet<Key>) -> Option<UnfinishedKey> {
        if !std::mem::take(&mut self.may_begin_within) {
            return self.unfinished.take();
        }
        // The first key may have begun on a page that another hop listed. It must be assumed that
        // that page listed data of the key.
        let key = markers.iter().map(|marker| &marker.key).chain(with_data).min()?.clone();
        Some(UnfinishedKey { key, has_data: true, newest: Newest::NotListed })
    }
}

impl UnfinishedKey {
    /// Decides on the markers of a page. Returns the key if it continues on the next page.
    /// `has_data` is whether the page lists data of the key.
    fn order(
        self,
        markers: Vec<Item>,
        selected: &mut SelectedPage,
        has_data: bool,
        is_cut: bool,
    ) -> Option<Self> {
        let Self { key, has_data: had_data, newest } = self;
        let has_data = had_data || has_data;
        let mut markers = markers.into_iter();
        let newest = match newest {
            Newest::NotListed => markers.next().map_or(Newest::NotListed, Newest::Carried),
            newest @ (Newest::Carried(_) | Newest::Kept) => newest,
        };
        // The newest marker covers the data, so the others may be deleted.
        selected.items.extend(markers);
        match newest {
            newest if is_cut => {
                let is_kept = matches!(newest, Newest::Carried(_)) && has_data;
                selected.left.deferred_markers += u64::from(is_kept);
                return Some(Self {
                    key,
                    has_data,
                    newest: if is_kept { Newest::Kept } else { newest },
                });
            }
            Newest::Carried(marker) if !has_data => selected.items.push(marker),
            Newest::Carried(marker) if !had_data => selected.after_data.push(marker),
            Newest::Carried(_) => selected.left.deferred_markers += 1,
            Newest::NotListed | Newest::Kept => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Target, User};

    fn prefix() -> Prefix {
        Target::parse("s3://photos/{user_id}/").unwrap().prefix(&User::parse("u1").unwrap())
    }

    /// Creates a page from entries such as `a1` (a version of key a) and `am2` (a marker of key a).
    /// The page is cut at the key `cut_at`.
    fn page(entries: &[&str], cut_at: Option<&str>) -> Page {
        let entry = |text: &&str| {
            let kind = if text.contains('m') { Kind::DeleteMarkers } else { Kind::Versions };
            let (key, id) = (format!("u1/{}", &text[..1]), Some((*text).to_owned()));
            ListedEntry { kind, key, other_key: None, id, bytes: 1, last_modified: None }
        };
        let cut_at = cut_at.map(|key| format!("u1/{key}"));
        Page {
            entries: entries.iter().map(entry).collect(),
            next: cut_at.as_ref().map(|_| "next".to_owned()),
            cut_at,
        }
    }

    fn ids(items: &[Item]) -> String {
        items.iter().filter_map(|item| item.id.as_deref()).collect::<Vec<_>>().join(" ")
    }

    /// Returns for each page the items that may be deleted, the markers to delete after their data,
    /// and the number of markers that stay.
    fn select(
        mut selector: Selector,
        pages: &[(&[&str], Option<&str>)],
    ) -> Vec<(String, String, u64)> {
        let sift = |(entries, cut_at): &(&[&str], Option<&str>)| {
            let selected = selector.select(&prefix(), page(entries, *cut_at)).unwrap();
            (ids(&selected.items), ids(&selected.after_data), selected.left.deferred_markers)
        };
        pages.iter().map(sift).collect()
    }

    fn versions() -> Selector {
        Selector::new(Kind::Versions, None, true, false)
    }

    fn row(items: &str, after_data: &str, kept: u64) -> (String, String, u64) {
        (items.to_owned(), after_data.to_owned(), kept)
    }

    #[test]
    fn the_last_key_of_a_range_belongs_to_it_and_a_key_behind_it_ends_it() {
        for (entries, items, has_more) in
            [(&["a1", "b2"][..], "a1 b2", true), (&["a1", "b2", "c3"], "a1 b2", false)]
        {
            let mut selector = versions().until(Some("u1/b".to_owned()));
            let selected = selector.select(&prefix(), page(entries, Some("z"))).unwrap();
            assert_eq!((ids(&selected.items).as_str(), selected.next.is_some()), (items, has_more));
        }
    }

    #[test]
    fn a_dry_run_counts_versions_and_markers_in_any_order() {
        let selector = Selector::new(Kind::Versions, None, false, true);
        assert_eq!(
            select(selector, &[(&["am1", "a2", "bm3"], Some("b"))]),
            [row("am1 a2 bm3", "", 0)]
        );
    }

    #[test]
    fn markers_of_a_key_on_one_page_are_deleted_after_its_data_or_with_everything_else_where_it_has_none()
     {
        let pages: [(&[&str], _); 1] = [(&["am1", "a2", "am3", "bm1", "c1", "dm1", "dm2"], None)];
        assert_eq!(select(versions(), &pages), [row("a2 c1 bm1 dm1 dm2", "am1 am3", 0)]);
    }

    #[test]
    fn the_newest_marker_of_a_key_without_data_is_deleted_where_the_key_ends() {
        let pages: [(&[&str], _); 3] =
            [(&["bm1", "bm2"], Some("b")), (&["bm3", "bm4"], Some("b")), (&["bm5", "cm1"], None)];
        assert_eq!(
            select(versions(), &pages),
            [row("bm2", "", 0), row("bm3 bm4", "", 0), row("cm1 bm5 bm1", "", 0)]
        );
        // Another client deleted the rest of the key, and an empty page decides nothing.
        let pages: [(&[&str], _); 3] = [(&["bm1"], Some("b")), (&[], Some("b")), (&["c1"], None)];
        assert_eq!(
            select(versions(), &pages),
            [row("", "", 0), row("", "", 0), row("c1 bm1", "", 0)]
        );
    }

    #[test]
    fn the_newest_marker_of_a_key_waits_for_data_on_the_page_where_the_key_ends() {
        let pages: [(&[&str], _); 2] = [(&["bm1", "bm2"], Some("b")), (&["bm3", "b4"], None)];
        assert_eq!(select(versions(), &pages), [row("bm2", "", 0), row("b4 bm3", "bm1", 0)]);
    }

    #[test]
    fn the_newest_marker_of_a_key_with_data_on_an_earlier_page_stays_until_the_next_round() {
        // The marker is listed before the data, with it, or after it.
        let pages: [(&[&str], _); 3] =
            [(&["bm1"], Some("b")), (&["b2"], Some("b")), (&["bm3", "b4"], None)];
        assert_eq!(
            select(versions(), &pages),
            [row("", "", 0), row("b2", "", 1), row("b4 bm3", "", 0)]
        );
        let pages: [(&[&str], _); 2] = [(&["bm1", "b2"], Some("b")), (&["bm3", "c1"], None)];
        assert_eq!(select(versions(), &pages), [row("b2", "", 1), row("c1 bm3", "", 0)]);
        let pages: [(&[&str], _); 2] = [(&["a1"], Some("a")), (&["am2", "am3", "bm1"], None)];
        assert_eq!(select(versions(), &pages), [row("a1", "", 0), row("bm1 am3", "", 1)]);
        // Two keys are cut one after the other.
        let pages: [(&[&str], _); 2] = [(&["a1"], Some("a")), (&["am2", "bm1", "bm2"], Some("b"))];
        assert_eq!(select(versions(), &pages), [row("a1", "", 0), row("bm2", "", 1)]);
    }

    #[test]
    fn a_listing_that_resumes_keeps_the_first_marker_of_its_first_key() {
        let selector = || Selector::new(Kind::Versions, None, true, true);
        let pages: [(&[&str], _); 1] = [(&["bm1", "bm2", "cm1"], None)];
        assert_eq!(select(selector(), &pages), [row("cm1 bm2", "", 1)]);
        let pages: [(&[&str], _); 2] = [(&["b1"], Some("b")), (&["bm2", "c1", "cm2"], None)];
        assert_eq!(select(selector(), &pages), [row("b1", "", 0), row("c1", "cm2", 1)]);
    }

    #[test]
    fn newer_data_is_kept_and_does_not_hold_markers_back() {
        let limit = OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_secs(10);
        let at =
            |seconds| Some(OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        let mut listed = page(&["a1", "am2", "bm3", "c4"], None);
        for (entry, seconds) in listed.entries.iter_mut().zip([11, 9, 10, 9]) {
            entry.last_modified = at(seconds);
        }
        let selector = || Selector::new(Kind::Versions, Some(limit), true, false);
        let selected = selector().select(&prefix(), listed.clone()).unwrap();
        assert_eq!(
            (ids(&selected.items).as_str(), ids(&selected.after_data).as_str()),
            ("c4 am2", "")
        );
        assert_eq!((selected.left.kept_newer, selected.left.deferred_markers), (2, 0));
        listed.entries[3].last_modified = None;
        let selected = selector().select(&prefix(), listed).unwrap();
        assert_eq!(
            (ids(&selected.items).as_str(), selected.left.kept_newer),
            ("am2", 3),
            "what has no time is kept"
        );
    }

    #[test]
    fn a_marker_above_a_version_without_a_time_is_kept_with_it() {
        let limit = OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_secs(10);
        let mut listed = page(&["am2", "a1", "bm1"], None);
        for entry in [0, 2] {
            listed.entries[entry].last_modified = Some(OffsetDateTime::UNIX_EPOCH);
        }
        let selected = Selector::new(Kind::Versions, Some(limit), true, false)
            .select(&prefix(), listed)
            .unwrap();
        assert_eq!((ids(&selected.items).as_str(), selected.left.kept_newer), ("bm1", 2));
    }

    #[test]
    fn a_marker_on_an_earlier_page_is_kept_with_a_version_without_a_time() {
        let limit = OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_secs(10);
        let mut selector = Selector::new(Kind::Versions, Some(limit), true, false);
        let mut first = page(&["bm1"], Some("b"));
        first.entries[0].last_modified = Some(OffsetDateTime::UNIX_EPOCH);
        let first = selector.select(&prefix(), first).unwrap();
        let second = selector.select(&prefix(), page(&["b2"], None)).unwrap();
        assert!(first.items.is_empty() && second.items.is_empty() && second.after_data.is_empty());
        assert_eq!((first.left.kept_newer, second.left.kept_newer), (0, 2));
    }

    #[test]
    fn a_key_outside_the_prefix_stops_everything() {
        let mut listed = page(&["a1"], None);
        listed.entries[0].key = "u10/a".to_owned();
        assert!(versions().select(&prefix(), listed).is_err());
    }
}
