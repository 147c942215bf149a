//! A batch: items of one page that are handled together.

use std::future::Future;

use crate::erasure::context::{Context, Scope};
use crate::erasure::counts::{Counts, Remaining};
use crate::erasure::report::PassError;
use crate::erasure::select::SelectedPage;
use crate::ports::store::Item;

/// What handles the batches of a pass: an erasure deletes them, a dry run counts them.
pub(super) trait BatchSink<S> {
    /// Handles one batch. `None`: the stop time is too near, and some item has no outcome.
    fn handle(
        &self,
        cx: &Context<'_, S>,
        scope: &Scope<'_>,
        items: Items,
    ) -> impl Future<Output = Result<Option<BatchOutcome>, PassError>>;
}

/// The items of one batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Items {
    /// Items that may be deleted in any order.
    pub(super) now: Vec<Item>,
    /// Delete markers, each of which may be deleted when all data of its key in `now` is deleted.
    pub(super) after_data: Vec<Item>,
}

/// The outcome of one batch. It is counted when the low-water mark has passed its page.
#[derive(Debug, Default)]
pub(super) struct BatchOutcome {
    /// The items that were listed to be deleted.
    pub(super) found: Counts,
    /// What of the page remains.
    pub(super) left: Remaining,
    /// Items that were listed, and not found when they were to be deleted.
    pub(super) missing: u64,
}

impl Items {
    /// The items by kind.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for item in self.now.iter().chain(&self.after_data) {
            counts += Counts::of(item.kind, 1, item.bytes);
        }
        counts
    }
}

/// Cuts the items of a page into batches of at most `size` items. If delete markers wait for data,
/// it cuts between keys only. An empty page is one empty batch, so that the low-water mark can pass
/// it.
pub(super) fn cut(page: &mut SelectedPage, size: usize) -> Vec<Items> {
    let (mut now, mut after_data) =
        (std::mem::take(&mut page.items), std::mem::take(&mut page.after_data));
    if now.len() <= size {
        return vec![Items { now, after_data }];
    }
    let keeps_keys_together = !after_data.is_empty();
    if keeps_keys_together {
        now.sort_by(|one, other| one.key.cmp(&other.key));
        after_data.sort_by(|one, other| one.key.cmp(&other.key));
    }
    let (mut now, mut after_data) = (now.into_iter().peekable(), after_data.into_iter().peekable());
    let mut batches = Vec::new();
    while now.peek().is_some() {
        let mut batch = Items::default();
        while let Some(item) = now.next_if(|item| {
            let is_of_last_key =
                || batch.now.last().is_some_and(|last: &Item| last.key == item.key);
            batch.now.len() < size || keeps_keys_together && is_of_last_key()
        }) {
            batch.now.push(item);
        }
        let last = batch.now.last().map(|last| last.key.clone());
        while let Some(marker) =
            after_data.next_if(|marker| last.as_ref().is_some_and(|last| marker.key <= *last))
        {
            batch.after_data.push(marker);
        }
        batch.now.shrink_to_fit();
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::Kind;
    use crate::target::{Target, User};

    fn item(kind: Kind, name: &str) -> Item {
        let prefix =
            Target::parse("s3://photos/{user_id}/").unwrap().prefix(&User::parse("u1").unwrap());
        let key = prefix.claim(format!("u1/{name}")).unwrap();
        Item { kind, key, other_key: None, id: Some("v".to_owned()), bytes: 1, last_modified: None }
    }

    fn names(items: &[Item]) -> String {
        items.iter().map(|item| &item.key.as_str()[3..]).collect()
    }

    #[test]
    fn markers_are_in_the_batch_of_all_data_of_their_key() {
        let items =
            |kind, names: &str| names.chars().map(|name| item(kind, &name.to_string())).collect();
        let mut page = SelectedPage {
            items: items(Kind::Versions, "caabbbcd"),
            after_data: items(Kind::DeleteMarkers, "cab"),
            ..SelectedPage::default()
        };
        let batches = cut(&mut page, 3);
        let batches: Vec<_> =
            batches.iter().map(|batch| (names(&batch.now), names(&batch.after_data))).collect();
        let batch = |now: &str, after_data: &str| (now.to_owned(), after_data.to_owned());
        assert_eq!(batches, [batch("aabbb", "ab"), batch("ccd", "c")]);
    }

    #[test]
    fn batches_without_such_markers_are_full_and_hold_no_more_memory_than_they_need() {
        let items = (0..2_500).map(|number| item(Kind::Versions, &number.to_string())).collect();
        let batches = cut(&mut SelectedPage { items, ..SelectedPage::default() }, 1_000);
        let sizes: Vec<_> = batches.iter().map(|batch| batch.now.len()).collect();
        assert_eq!(sizes, [1_000, 1_000, 500]);
        assert!(batches.iter().all(|batch| batch.now.capacity() == batch.now.len()));
        let empty = cut(&mut SelectedPage::default(), 1_000);
        assert_eq!(empty.len(), 1, "an empty page is one batch");
    }
}
