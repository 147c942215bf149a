//! The pages of one pass, cut into batches. Where many pages are to come, they are listed in lanes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::erasure::batch::{BatchOutcome, Items};
use crate::erasure::checkpoint::{KeyRange, LowWaterMark, PageInfo};
use crate::erasure::context::{Context, Scope};
use crate::erasure::progress::{Counts, Remaining};
use crate::erasure::report::PassError;
use crate::erasure::select::Selector;
use crate::erasure::split::{KeySample, head_pages};
use crate::limiter::{ReadClass, ReservedMemory};
use crate::ports::store::{Item, Kind, MAX_BATCH_KEYS, Page, ReadStore, StoreError};

/// Each upload is aborted by a request of its own, and all of a batch have to fit into the time of
/// one.
const UPLOADS_IN_A_BATCH: usize = 100;

/// So many pages of a pass are the files of a small user.
const FIRST_PAGES: u64 = 16;

/// In so many batches each of them goes where nothing holds the deletion back, and in twice as many
/// where this many requests may be in flight. With fewer, more batches would only wait for each
/// other.
const PARTS: usize = 4;
const MANY_IN_FLIGHT: usize = 32;

/// Items of one page that go together.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) lane: usize,
    pub(super) page: PageInfo,
    pub(super) items: Items,
    pub(super) left: Remaining,
    /// The memory of the page's items, for all of its batches.
    pub(super) _memory: Arc<ReservedMemory<'a>>,
}

/// Where a lane goes on.
#[derive(Debug)]
struct PageRequest {
    lane: usize,
    token: Option<String>,
    /// The page's number in the lane.
    number: u64,
    selector: Selector,
}

/// The pages of one pass, in as many lanes as they are listed in.
#[derive(Debug)]
pub(super) struct Listing<'l, 'a, B> {
    cx: &'l Context<'a, B>,
    scope: &'l Scope<'l>,
    deletes: bool,
    is_at_start: bool,
    lanes: std::sync::Mutex<Vec<RangeProgress>>,
    /// The first page, if it was listed ahead of its turn.
    first: std::sync::Mutex<Option<Page>>,
    /// How many pages were listed.
    pages: AtomicU64,
    /// Where the listing goes on behind its head, if that is to be split, and what the head tells
    /// of it.
    behind: std::sync::Mutex<Option<(PageRequest, KeySample)>>,
}

/// What a batch listed, and what has become of it.
pub(super) type Seen = (Counts, BatchOutcome);

/// A lane on its way.
#[derive(Debug)]
struct RangeProgress {
    mark: LowWaterMark<(Remaining, Seen)>,
    /// The last key of the lane.
    until: Option<String>,
}

impl<'l, 'a, B: ReadStore> Listing<'l, 'a, B> {
    /// No lanes: the listing is at its start, and its first page may have been listed already.
    pub(super) fn new(
        cx: &'l Context<'a, B>,
        scope: &'l Scope<'l>,
        deletes: bool,
        lanes: Vec<KeyRange>,
        first: Option<Page>,
    ) -> Self {
        let is_at_start = lanes.is_empty();
        let open = |KeyRange { token, until }| RangeProgress {
            mark: LowWaterMark::new(token),
            until: until.map(|until| percent_decode_str(&until).decode_utf8_lossy().into_owned()),
        };
        let lanes = if is_at_start { vec![KeyRange::default()] } else { lanes };
        let lanes = std::sync::Mutex::new(lanes.into_iter().map(open).collect());
        let first = std::sync::Mutex::new(first);
        let (pages, behind) = (AtomicU64::new(0), std::sync::Mutex::default());
        Self { cx, scope, deletes, is_at_start, lanes, first, pages, behind }
    }

    pub(super) fn scope(&self) -> &'l Scope<'l> {
        self.scope
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<RangeProgress>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behind(&self) -> MutexGuard<'_, Option<(PageRequest, KeySample)>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a batch has its outcome; returns those that may be counted now.
    pub(super) fn record(
        &self,
        lane: usize,
        page: PageInfo,
        outcome: (Remaining, Seen),
    ) -> Vec<(Remaining, Seen)> {
        self.lanes().get_mut(lane).map(|lane| lane.mark.record(page, outcome)).unwrap_or_default()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lanes().iter().all(|lane| lane.mark.is_complete())
    }

    /// What is not done. Nothing: all of it, from the start.
    pub(super) fn left(&self) -> Vec<KeyRange> {
        let lane = |lane: &RangeProgress| KeyRange {
            token: lane.mark.token().map(str::to_owned),
            until: lane
                .until
                .as_deref()
                .map(|key| utf8_percent_encode(key, NON_ALPHANUMERIC).to_string()),
        };
        let lanes: Vec<KeyRange> =
            self.lanes().iter().filter(|lane| !lane.mark.is_complete()).map(lane).collect();
        if lanes == [KeyRange::default()] { Vec::new() } else { lanes }
    }

    /// All batches. Where there are many pages, what is behind the first ones is split.
    pub(super) fn batches(&self) -> impl Stream<Item = Result<Batch<'a>, PassError>> + Send {
        let resumes = !self.is_at_start;
        let start = |(lane, open)| self.start(lane, open, resumes);
        let mut rest: Vec<PageRequest> = self.lanes().iter().enumerate().map(start).collect();
        let head = if self.is_at_start { rest.pop() } else { None };
        let behind = stream::once(self.split(rest))
            .map_ok(|lanes| {
                stream::select_all(lanes.into_iter().map(|lane| self.pages(Some(lane)).boxed()))
            })
            .try_flatten();
        self.pages(head).chain(behind)
    }

    /// `resumes`: the lane may begin in the middle of a key.
    fn start(&self, lane: usize, open: &RangeProgress, resumes: bool) -> PageRequest {
        let token = open.mark.token().map(str::to_owned);
        let may_begin_within = resumes && token.is_some();
        let selector = Selector::new(
            self.scope.kind,
            self.cx.job.erase_before,
            self.deletes,
            may_begin_within,
        );
        PageRequest { lane, token, number: 0, selector: selector.until(open.until.clone()) }
    }

    /// The batches of one lane, of the listing's head until there is something to split.
    fn pages(
        &self,
        next: Option<PageRequest>,
    ) -> impl Stream<Item = Result<Batch<'a>, PassError>> + Send {
        stream::try_unfold(next, |next| self.next_page(next))
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Fetches one page and cuts it into batches; returns what comes after it. `None`: there is no
    /// further page.
    async fn next_page(
        &self,
        next: Option<PageRequest>,
    ) -> Result<Option<(Vec<Batch<'a>>, Option<PageRequest>)>, PassError> {
        let Some(PageRequest { lane, token, number, mut selector }) = next else {
            return Ok(None);
        };
        let scope = self.scope;
        let ahead = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let page = if let Some(page) = ahead { page } else { self.list(token.as_deref()).await? };
        let is_head = self.is_at_start && lane == 0 && number + 1 == head_pages(self.deletes);
        let is_split = is_head && page.next.is_some() && self.is_slower();
        let sample = is_split
            .then(|| KeySample::of(page.entries.iter().map(|entry| entry.key.as_str())))
            .flatten();
        let selected = selector.select(scope.prefix, page)?;
        // A proof trusts no order: what may be one, because nothing is to be deleted so far, is
        // listed as a whole.
        let sample = sample.filter(|_| !self.deletes || !selected.items.is_empty());
        let memory = selected.items.iter().chain(&selected.after_data).map(Item::memory).sum();
        let memory = Arc::new(self.cx.pace.reserve_memory(memory).await);
        // The page was listed: the wait for memory, behind other erasures, is no failure of this
        // one.
        self.cx.succeeded();
        // A small user waits less for several requests in parallel than for one. A large one has
        // enough of them anyway.
        let is_among_first = self.pages.fetch_add(1, Ordering::Relaxed) < FIRST_PAGES;
        let size = match scope.kind {
            Kind::Uploads => UPLOADS_IN_A_BATCH,
            _ if is_among_first && self.deletes && self.is_slower() => {
                let has_many_slots = self.cx.pace.max_in_flight() >= MANY_IN_FLIGHT;
                MAX_BATCH_KEYS / if has_many_slots { 2 * PARTS } else { PARTS }
            }
            Kind::Objects | Kind::Versions | Kind::DeleteMarkers => MAX_BATCH_KEYS,
        };
        let parts = cut(selected.items, selected.after_data, size);
        let is_last = selected.next.is_none();
        let page =
            PageInfo { number, batches: parts.len(), resume: selected.next.clone(), is_last };
        let mut left = Some(selected.left);
        let batch = |items| {
            let (page, left) = (page.clone(), left.take().unwrap_or_default());
            Batch { lane, page, items, left, _memory: Arc::clone(&memory) }
        };
        let batches = parts.into_iter().map(batch).collect();
        let mut next = selected.next.map(|token| PageRequest {
            lane,
            token: Some(token),
            number: number + 1,
            selector,
        });
        if let Some(sample) = sample {
            *self.behind() = next.take().map(|next| (next, sample));
        }
        Ok(Some((batches, next)))
    }

    /// Whether listing could be slower than what is done with it.
    fn is_slower(&self) -> bool {
        !self.deletes || self.cx.pace.is_free(self.scope.prefix.bucket())
    }

    /// Splits what is behind the head into lanes.
    async fn split(&self, mut lanes: Vec<PageRequest>) -> Result<Vec<PageRequest>, PassError> {
        let behind = self.behind().take();
        let Some((mut next, sample)) = behind else {
            return Ok(lanes);
        };
        let Scope { kind, prefix, .. } = *self.scope;
        let start = |key: &String| self.cx.bucket.token_after(kind, key);
        // A store without order has one lane, and is asked nothing.
        let cuts = if start(&sample.last).is_some() {
            sample.split_points(prefix, |key| self.is_any_behind(key)).await
        } else {
            Vec::new()
        };
        let starts: Option<Vec<String>> = cuts.iter().map(start).collect();
        let starts = starts.unwrap_or_default();
        let mut cuts = cuts.into_iter().take(starts.len()).map(Some).chain([None]);
        let until = cuts.next().flatten();
        let mut open = self.lanes();
        if let Some(first) = open.first_mut() {
            first.until.clone_from(&until);
        }
        next.selector = next.selector.until(until);
        lanes.push(next);
        for (token, until) in starts.into_iter().zip(cuts) {
            let lane = RangeProgress { mark: LowWaterMark::new(Some(token)), until };
            lanes.push(self.start(open.len(), &lane, false));
            open.push(lane);
        }
        Ok(lanes)
    }

    /// Whether anything is listed behind a key. What cannot be listed from there counts as nothing.
    async fn is_any_behind(&self, key: String) -> bool {
        let Self { cx, scope, .. } = self;
        let key = key.as_str();
        let request = |limit| cx.bucket.is_any_behind(scope.prefix, scope.kind, key, limit);
        cx.retry_read(scope, ReadClass::Other, request).await.unwrap_or(false)
    }

    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError> {
        let Self { cx, scope, .. } = self;
        let request = |limit| cx.bucket.list(scope.prefix, scope.kind, token, limit);
        let read = if self.lanes().len() > 1 { ReadClass::RangePage } else { ReadClass::Other };
        cx.retry_read(scope, read, request).await
    }
}

/// Cuts the items of a page into batches of at most so many, and none where markers wait for data
/// of another. An empty page is one empty batch, so that the low-water mark can pass it.
fn cut(mut items: Vec<Item>, mut after_data: Vec<Item>, size: usize) -> Vec<Items> {
    if items.len() <= size {
        return vec![Items { items, after_data }];
    }
    let keeps_keys_together = !after_data.is_empty();
    if keeps_keys_together {
        items.sort_by(|one, other| one.key.cmp(&other.key));
        after_data.sort_by(|one, other| one.key.cmp(&other.key));
    }
    let (mut items, mut after_data) =
        (items.into_iter().peekable(), after_data.into_iter().peekable());
    let mut batches = Vec::new();
    while items.peek().is_some() {
        let mut batch = Items::default();
        while let Some(item) = items.next_if(|item| {
            let is_of_last_key =
                || batch.items.last().is_some_and(|last: &Item| last.key == item.key);
            batch.items.len() < size || keeps_keys_together && is_of_last_key()
        }) {
            batch.items.push(item);
        }
        let last = batch.items.last().map(|last| last.key.clone());
        while let Some(marker) =
            after_data.next_if(|marker| last.as_ref().is_some_and(|last| marker.key <= *last))
        {
            batch.after_data.push(marker);
        }
        batch.items.shrink_to_fit();
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Target, UserId};

    fn item(kind: Kind, name: &str) -> Item {
        let prefix =
            Target::parse("s3://photos/{user_id}/").unwrap().prefix(&UserId::parse("u1").unwrap());
        let key = prefix.claim(format!("u1/{name}")).unwrap();
        Item { kind, key, other_key: None, id: Some("v".to_owned()), bytes: 1, last_modified: None }
    }

    fn names(items: &[Item]) -> String {
        items.iter().map(|item| &item.key.as_str()[3..]).collect()
    }

    #[test]
    fn markers_are_in_the_batch_of_all_data_of_their_key() {
        let items =
            "caabbbcd".chars().map(|name| item(Kind::Versions, &name.to_string())).collect();
        let markers =
            "cab".chars().map(|name| item(Kind::DeleteMarkers, &name.to_string())).collect();
        let batches = cut(items, markers, 3);
        let told: Vec<_> =
            batches.iter().map(|batch| (names(&batch.items), names(&batch.after_data))).collect();
        assert_eq!(
            told,
            [("aabbb".to_owned(), "ab".to_owned()), ("ccd".to_owned(), "c".to_owned())]
        );
    }

    #[test]
    fn batches_without_such_markers_are_full_and_hold_no_more_memory_than_they_need() {
        let items: Vec<Item> =
            (0..2_500).map(|number| item(Kind::Versions, &number.to_string())).collect();
        let batches = cut(items, Vec::new(), 1_000);
        assert_eq!(
            batches.iter().map(|batch| batch.items.len()).collect::<Vec<_>>(),
            [1_000, 1_000, 500]
        );
        assert!(batches.iter().all(|batch| batch.items.capacity() == batch.items.len()));
        assert_eq!(cut(Vec::new(), Vec::new(), 1_000).len(), 1, "an empty page is one batch");
    }
}
