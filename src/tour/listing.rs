//! The pages of one pass, cut into batches. Where many pages are to come, they are listed in lanes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::bookmark::{Lane, LowWaterMark, PageMark};
use crate::bucket::{Bucket, Fault, Item, Kind, Page};
use crate::lanes::{Sample, head_pages};
use crate::pace::{MAX_BATCH_KEYS, Read};
use crate::sieve::Sieve;
use crate::tally::Left;
use crate::tour::{Ground, Outcome, Tour};
use crate::work::Obstacle;

/// Each upload is aborted by a request of its own, and all of a batch have to fit into the time of one.
const UPLOADS_IN_A_BATCH: usize = 100;

/// So many pages of a pass are the files of a small user.
const FIRST_PAGES: u64 = 16;

/// In so many batches each of them goes where nothing holds the deletion back, and in twice as many where this many
/// requests may be in flight. With fewer, more batches would only wait for each other.
const PARTS: usize = 4;
const MANY_IN_FLIGHT: usize = 32;

/// Items of one page that go together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lane: usize,
    pub(super) page: PageMark,
    pub(super) items: Vec<Item>,
    pub(super) left: Left,
}

/// Where a lane goes on.
#[derive(Debug)]
struct Next {
    lane: usize,
    token: Option<String>,
    /// The page's number in the lane.
    number: u64,
    sieve: Sieve,
}

/// The pages of one pass, in as many lanes as they are listed in.
#[derive(Debug)]
pub(super) struct Listing<'l, 'a, B> {
    tour: &'l Tour<'a, B>,
    ground: &'l Ground<'l>,
    deletes: bool,
    is_at_start: bool,
    may_have_markers: AtomicBool,
    lanes: std::sync::Mutex<Vec<OpenLane>>,
    /// The first page, if it was listed ahead of its turn.
    first: std::sync::Mutex<Option<Page>>,
    /// How many pages were listed.
    pages: AtomicU64,
    /// Where the listing goes on behind its head, if that is to be split, and what the head tells of it.
    behind: std::sync::Mutex<Option<(Next, Sample)>>,
}

/// A lane on its way.
#[derive(Debug)]
struct OpenLane {
    mark: LowWaterMark<(Left, Outcome)>,
    /// The last key of the lane.
    until: Option<String>,
}

impl<'l, 'a, B: Bucket> Listing<'l, 'a, B> {
    /// No lanes: the listing is at its start, and its first page may have been listed already.
    pub(super) fn new(
        tour: &'l Tour<'a, B>,
        ground: &'l Ground<'l>,
        deletes: bool,
        lanes: Vec<Lane>,
        first: Option<Page>,
    ) -> Self {
        let is_at_start = lanes.is_empty();
        let open = |Lane { token, until }| OpenLane {
            mark: LowWaterMark::new(token),
            until: until.map(|until| percent_decode_str(&until).decode_utf8_lossy().into_owned()),
        };
        let lanes = if is_at_start { vec![Lane::default()] } else { lanes };
        let lanes = std::sync::Mutex::new(lanes.into_iter().map(open).collect());
        let may_have_markers = AtomicBool::new(!is_at_start);
        let first = std::sync::Mutex::new(first);
        let (pages, behind) = (AtomicU64::new(0), std::sync::Mutex::default());
        Self { tour, ground, deletes, is_at_start, may_have_markers, lanes, first, pages, behind }
    }

    pub(super) fn ground(&self) -> &'l Ground<'l> {
        self.ground
    }

    /// Whether a delete marker may be there: one was listed, or not everything was.
    pub(super) fn may_have_markers(&self) -> bool {
        self.may_have_markers.load(Ordering::Relaxed)
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<OpenLane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behind(&self) -> MutexGuard<'_, Option<(Next, Sample)>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a batch has its outcome; returns those that may be counted now.
    pub(super) fn batch_done(&self, lane: usize, page: PageMark, outcome: (Left, Outcome)) -> Vec<(Left, Outcome)> {
        self.lanes().get_mut(lane).map(|lane| lane.mark.batch_done(page, outcome)).unwrap_or_default()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lanes().iter().all(|lane| lane.mark.is_complete())
    }

    /// What is not done. Nothing: all of it, from the start.
    pub(super) fn left(&self) -> Vec<Lane> {
        let lane = |lane: &OpenLane| Lane {
            token: lane.mark.token().map(str::to_owned),
            until: lane.until.as_deref().map(|key| utf8_percent_encode(key, NON_ALPHANUMERIC).to_string()),
        };
        let lanes: Vec<Lane> = self.lanes().iter().filter(|lane| !lane.mark.is_complete()).map(lane).collect();
        if lanes == [Lane::default()] { Vec::new() } else { lanes }
    }

    /// All batches. Where there are many pages, what is behind the first ones is split.
    pub(super) fn batches(&self) -> impl Stream<Item = Result<Batch, Obstacle>> + Send {
        let mut rest: Vec<Next> = self.lanes().iter().enumerate().map(|(lane, open)| self.start(lane, open)).collect();
        let head = if self.is_at_start { rest.pop() } else { None };
        let behind = stream::once(self.split(rest))
            .map_ok(|lanes| stream::select_all(lanes.into_iter().map(|lane| self.pages(Some(lane)).boxed())))
            .try_flatten();
        self.pages(head).chain(behind)
    }

    fn start(&self, lane: usize, open: &OpenLane) -> Next {
        let sieve = Sieve::new(self.ground.kind, self.tour.job.erase_before, self.deletes).until(open.until.clone());
        Next { lane, token: open.mark.token().map(str::to_owned), number: 0, sieve }
    }

    /// The batches of one lane, of the listing's head until there is something to split.
    fn pages(&self, next: Option<Next>) -> impl Stream<Item = Result<Batch, Obstacle>> + Send {
        stream::try_unfold(next, |next| self.next_page(next))
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Fetches one page and cuts it into batches; returns what comes after it. `None`: there is no further page.
    async fn next_page(&self, next: Option<Next>) -> Result<Option<(Vec<Batch>, Option<Next>)>, Obstacle> {
        let Some(Next { lane, token, number, mut sieve }) = next else { return Ok(None) };
        let ground = self.ground;
        let ahead = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let page = if let Some(page) = ahead { page } else { self.list(token.as_deref()).await? };
        let is_head = self.is_at_start && lane == 0 && number + 1 == head_pages(self.deletes);
        let is_split = is_head && page.next.is_some() && self.is_slower();
        let sample = is_split.then(|| Sample::of(page.entries.iter().map(|entry| entry.key.as_str()))).flatten();
        let sifted = sieve.sift(ground.prefix, token.as_deref(), page)?;
        // A proof trusts no order: what may be one, because nothing is to be deleted so far, is listed as a whole.
        let sample = sample.filter(|_| !self.deletes || !sifted.items.is_empty());
        self.may_have_markers.fetch_or(sifted.has_markers, Ordering::Relaxed);
        // A small user waits less for some requests at once than for one. A large one has enough of them anyway.
        let is_among_first = self.pages.fetch_add(1, Ordering::Relaxed) < FIRST_PAGES;
        let size = match ground.kind {
            Kind::Uploads => UPLOADS_IN_A_BATCH,
            _ if is_among_first && self.deletes && self.is_slower() => {
                let has_many_slots = self.tour.pace.max_in_flight() >= MANY_IN_FLIGHT;
                MAX_BATCH_KEYS / if has_many_slots { 2 * PARTS } else { PARTS }
            }
            Kind::Objects | Kind::Versions | Kind::DeleteMarkers => MAX_BATCH_KEYS,
        };
        let page = PageMark {
            number,
            // An empty page is one empty batch, so that the low-water mark can pass it.
            batches: sifted.items.len().div_ceil(size).max(1),
            resume: sifted.resume,
            is_last: sifted.next.is_none(),
        };
        let batches = cut(sifted.items, size, &page, sifted.left, lane);
        let mut next = sifted.next.map(|token| Next { lane, token: Some(token), number: number + 1, sieve });
        if let Some(sample) = sample {
            *self.behind() = next.take().map(|next| (next, sample));
        }
        Ok(Some((batches, next)))
    }

    /// Whether listing could be slower than what is done with it.
    fn is_slower(&self) -> bool {
        !self.deletes || self.tour.pace.is_free(self.ground.prefix.bucket())
    }

    /// Splits what is behind the head into lanes.
    async fn split(&self, mut lanes: Vec<Next>) -> Result<Vec<Next>, Obstacle> {
        let behind = self.behind().take();
        let Some((mut next, sample)) = behind else { return Ok(lanes) };
        let Ground { kind, prefix, .. } = *self.ground;
        let start = |key: &String| self.tour.bucket.token_after(kind, key);
        // A store without order has one lane, and is asked nothing.
        let cuts = if start(&sample.last).is_some() {
            sample.cuts(prefix, |key| self.is_any_behind(key)).await
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
        next.sieve = next.sieve.until(until);
        lanes.push(next);
        for (token, until) in starts.into_iter().zip(cuts) {
            let lane = OpenLane { mark: LowWaterMark::new(Some(token)), until };
            lanes.push(self.start(open.len(), &lane));
            open.push(lane);
        }
        Ok(lanes)
    }

    /// Whether anything is listed behind a key. What cannot be listed from there counts as nothing.
    async fn is_any_behind(&self, key: String) -> bool {
        let Self { tour, ground, .. } = self;
        let key = key.as_str();
        let request = |limit| tour.bucket.is_any_behind(ground.prefix, ground.kind, key, limit);
        tour.until_answered(ground, Read::Other, request).await.unwrap_or(false)
    }

    async fn list(&self, token: Option<&str>) -> Result<Page, Fault> {
        let Self { tour, ground, .. } = self;
        let request = |limit| tour.bucket.list(ground.prefix, ground.kind, token, limit);
        let read = if self.lanes().len() > 1 { Read::PageOfLane } else { Read::Other };
        tour.until_answered(ground, read, request).await
    }
}

/// Cuts the items of a page into its batches; what the page leaves goes with the first.
fn cut(mut items: Vec<Item>, size: usize, page: &PageMark, left: Left, lane: usize) -> Vec<Batch> {
    let mut batches = Vec::with_capacity(page.batches);
    let mut left = Some(left);
    for _ in 0..page.batches {
        let rest = items.split_off(size.min(items.len()));
        batches.push(Batch { lane, page: page.clone(), items, left: left.take().unwrap_or_default() });
        items = rest;
    }
    batches
}
