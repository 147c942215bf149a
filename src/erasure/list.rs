//! The pages of a pass: listed, selected, and cut into batches. It knows nothing of what happens to
//! the batches.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use crate::erasure::batch::{Items, cut};
use crate::erasure::context::{Context, Scope};
use crate::erasure::counts::Remaining;
use crate::erasure::ranges::{RangeStart, Ranges};
use crate::erasure::report::PassError;
use crate::erasure::select::Selector;
use crate::erasure::split::{self, KeySample};
use crate::erasure::watermark::PageInfo;
use crate::limiter::{ReadClass, ReservedMemory};
use crate::ports::store::{Item, Kind, MAX_BATCH_KEYS, Page, ReadStore, StoreError};

/// Each upload is aborted by a request of its own, and those of a batch have to fit into the time
/// of one batch.
const MAX_UPLOADS_IN_A_BATCH: usize = 100;

/// The first pages of a pass, which hold the files of a small user, are cut into this many batches
/// each, if nothing holds the deletion back; into twice as many, if at least `MANY_IN_FLIGHT`
/// requests may be in flight. With fewer, more batches would only wait for each other.
const FIRST_PAGES: u64 = 16;
const BATCHES_OF_A_FIRST_PAGE: usize = 4;
const MANY_IN_FLIGHT: usize = 32;

/// Items of one page that are handled together.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) range: usize,
    pub(super) page: PageInfo,
    pub(super) items: Items,
    /// What remains of the page without being handled; the first batch of the page has it.
    pub(super) left: Remaining,
    /// The memory of the page's items, for all of its batches.
    pub(super) _memory: Rc<ReservedMemory<'a>>,
}

/// The pages of one pass, in as many key ranges as they are listed in.
#[derive(Debug)]
pub(super) struct Listing<'l, 'a, S> {
    cx: &'l Context<'a, S>,
    scope: &'l Scope<'l>,
    ranges: &'l Ranges,
    /// The first page, if it was listed before the pass began.
    prefetched: RefCell<Option<Page>>,
    /// How many pages were listed.
    pages: Cell<u64>,
    /// Where the listing continues behind its head, if that is to be split, and a sample of keys.
    tail: RefCell<Option<(RangeReader, KeySample)>>,
    /// Whether the pass begins at its start: then its one range is the head.
    is_at_start: bool,
}

/// Where a range is being listed.
#[derive(Debug)]
struct RangeReader {
    range: usize,
    token: Option<String>,
    /// The number of the next page in the range.
    page: u64,
    selector: Selector,
}

impl<'l, 'a, S: ReadStore> Listing<'l, 'a, S> {
    pub(super) fn new(
        cx: &'l Context<'a, S>,
        scope: &'l Scope<'l>,
        ranges: &'l Ranges,
        is_at_start: bool,
        prefetched: Option<Page>,
    ) -> Self {
        let (prefetched, pages) = (RefCell::new(prefetched), Cell::new(0));
        Self { cx, scope, ranges, prefetched, pages, tail: RefCell::default(), is_at_start }
    }

    /// All batches. If the pass is long, the listing behind its first pages is split into ranges
    /// that are listed in parallel.
    pub(super) fn batches(&self) -> impl Stream<Item = Result<Batch<'a>, PassError>> {
        let reader = |start| self.reader(start, !self.is_at_start);
        let mut readers: Vec<_> = self.ranges.starts().into_iter().map(reader).collect();
        let head = if self.is_at_start { readers.pop() } else { None };
        let tail = stream::once(self.split(readers))
            .map_ok(|readers| {
                let streams = readers.into_iter().map(|reader| self.read(Some(reader)));
                stream::select_all(streams.map(StreamExt::boxed_local))
            })
            .try_flatten();
        self.read(head).chain(tail)
    }

    /// `resumes`: the range may begin in the middle of a key.
    fn reader(&self, start: RangeStart, resumes: bool) -> RangeReader {
        let RangeStart { number, token, until } = start;
        let may_begin_within = resumes && token.is_some();
        let (erase_before, deletes) = (self.cx.erasure.erase_before, !self.cx.is_dry_run);
        let selector = Selector::new(self.scope.kind, erase_before, deletes, may_begin_within);
        let selector = selector.until(until).ending_at_neighbour(self.is_one_key_in_order());
        RangeReader { range: number, token, page: 0, selector }
    }

    /// Whether the user owns one key here, which the store lists before all others.
    fn is_one_key_in_order(&self) -> bool {
        let Scope { prefix, kind, .. } = *self.scope;
        prefix.is_one_key() && self.cx.store.token_after(kind, prefix.as_str()).is_some()
    }

    /// If a page ends within a folder of neighbours, the token of the page behind that folder: a
    /// folder of any size costs one page.
    fn token_behind_folder_of_neighbours(&self, page: &Page) -> Option<String> {
        let Scope { prefix, kind, .. } = *self.scope;
        let last = page.entries.iter().map(|entry| entry.key.as_str()).max()?;
        let folder = prefix.folder_of_neighbour(last)?;
        // Keys are listed in the order of their UTF-8 bytes, and no character is behind this one.
        let behind = format!("{folder}{}", char::MAX);
        // Otherwise the same page would be listed again.
        let is_further = last < behind.as_str();
        if is_further { self.cx.store.token_after(kind, &behind) } else { None }
    }

    /// The batches of one range; of the head, up to the page behind which the listing is split.
    fn read(
        &self,
        reader: Option<RangeReader>,
    ) -> impl Stream<Item = Result<Batch<'a>, PassError>> {
        stream::try_unfold(reader, async |reader| match reader {
            Some(reader) => self.next_page(reader).await.map(Some),
            None => Ok(None),
        })
        .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
        .try_flatten()
    }

    /// Lists one page and cuts it into batches; returns the reader if another page follows.
    async fn next_page(
        &self,
        reader: RangeReader,
    ) -> Result<(Vec<Batch<'a>>, Option<RangeReader>), PassError> {
        let RangeReader { range, token, page: number, mut selector } = reader;
        let page = match self.prefetched.take() {
            Some(page) => page,
            None => self.list(token.as_deref()).await?,
        };
        let is_head = self.is_at_start && range == 0;
        let sample = if is_head { split::sample(self.cx, self.scope, number, &page) } else { None };
        let behind_folder = if self.scope.prefix.is_folder() {
            None
        } else {
            self.token_behind_folder_of_neighbours(&page)
        };
        let mut selected = selector.select(self.scope.prefix, page)?;
        selected.next = selected.next.map(|next| behind_folder.unwrap_or(next));
        // A proof trusts no order of the store: what may become one, because nothing is to be
        // deleted so far, is listed as a whole.
        let sample = sample.filter(|_| self.cx.is_dry_run || !selected.items.is_empty());
        let bytes = selected.items.iter().chain(&selected.after_data).map(Item::memory).sum();
        let memory = Rc::new(self.cx.limiter.reserve_memory(bytes).await);
        // The page was listed: the wait for memory, behind other erasures, is no failure.
        self.cx.patience.succeeded();

        let (next, mut left) = (selected.next.take(), Some(std::mem::take(&mut selected.left)));
        let batches = cut(&mut selected, self.batch_size());
        let (resume, is_last) = (next.clone(), next.is_none());
        let page = PageInfo { number, batches: batches.len(), resume, is_last };
        let batch = |items| {
            let (page, left) = (page.clone(), left.take().unwrap_or_default());
            Batch { range, page, items, left, _memory: Rc::clone(&memory) }
        };
        let batches = batches.into_iter().map(batch).collect();
        let mut reader =
            next.map(|token| RangeReader { range, token: Some(token), page: number + 1, selector });
        if let Some(sample) = sample {
            *self.tail.borrow_mut() = reader.take().map(|reader| (reader, sample));
        }
        Ok((batches, reader))
    }

    /// The most items of a batch of the next page. A small user waits less for several requests in
    /// parallel than for one. A large user has enough of them anyway.
    fn batch_size(&self) -> usize {
        let pages = self.pages.replace(self.pages.get() + 1);
        let is_unthrottled = || self.cx.limiter.is_free(self.scope.prefix.bucket());
        if self.scope.kind == Kind::Uploads {
            MAX_UPLOADS_IN_A_BATCH
        } else if pages < FIRST_PAGES && !self.cx.is_dry_run && is_unthrottled() {
            let has_many_slots = self.cx.limiter.max_in_flight() >= MANY_IN_FLIGHT;
            MAX_BATCH_KEYS / (BATCHES_OF_A_FIRST_PAGE * if has_many_slots { 2 } else { 1 })
        } else {
            MAX_BATCH_KEYS
        }
    }

    /// Splits the listing behind its head, if the head asked for it; returns the readers of all
    /// ranges.
    async fn split(&self, mut readers: Vec<RangeReader>) -> Result<Vec<RangeReader>, PassError> {
        if let Some((mut head, sample)) = self.tail.take() {
            let cuts = split::cuts(self.cx, self.scope, &sample).await;
            let added = self.ranges.split(cuts);
            let until = self.ranges.starts().into_iter().next().and_then(|first| first.until);
            head.selector = head.selector.until(until);
            readers.push(head);
            readers.extend(added.into_iter().map(|start| self.reader(start, false)));
        }
        Ok(readers)
    }

    async fn list(&self, token: Option<&str>) -> Result<Page, StoreError> {
        let Scope { prefix, kind, .. } = *self.scope;
        let request = |timeout| self.cx.store.list(prefix, kind, token, timeout);
        let class = if self.ranges.len() > 1 { ReadClass::RangePage } else { ReadClass::Other };
        self.cx.retry_read(self.scope, class, request).await
    }
}
