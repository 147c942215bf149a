//! One round: over targets, kinds, pages and batches, from a bookmark on, until the end or the stop time.

mod listing;

use std::future::Future;
use std::pin::pin;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{Either, join, ready, select};
use futures::stream::StreamExt;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use self::listing::{Batch, Listing};
use crate::bookmark::{Bookmark, Lane};
use crate::bucket::{Bucket, Fault, Item, Kind, Page};
use crate::deadline::left_until;
use crate::lanes::MAX_LANES;
use crate::pace::{Pace, Read};
use crate::tally::{Counters, Counts, Left};
use crate::target::{Prefix, Target};
use crate::work::{Job, Obstacle, Round, TargetFault};

/// No request to S3 may take longer; a hop of five minutes must survive a few that hang.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// The longest list of lanes that a continuation carries, in bytes of JSON: as long as the longest token may become in it.
const MAX_LANES_BYTES: usize = 6 * 16_384;

/// What is done with the batches of a round.
pub(crate) trait Disposal<B>: Sync {
    /// Whether anything is deleted: then a delete marker waits until the data of its key is gone.
    const DELETES: bool;

    /// Sees one batch to its outcome. `None`: too late, it has none.
    fn dispose(
        &self,
        tour: &Tour<'_, B>,
        ground: &Ground<'_>,
        items: Vec<Item>,
    ) -> impl Future<Output = Result<Option<Outcome>, Obstacle>> + Send;

    /// Whether objects are asked for before it is known whether there may be any.
    fn looks_ahead(&self) -> bool;

    /// Hears that a target is gone over anew, from its start. `None`: everything is, and there may be other targets now.
    fn begin_again(&self, tour: &Tour<'_, B>, target: Option<&str>);
}

/// What a batch leaves to be counted once the low-water mark has passed it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) left: Left,
    /// What was seen, where nothing is deleted.
    pub(crate) seen: Counts,
}

/// What all rounds of a hop share.
#[derive(Debug)]
pub(crate) struct Tour<'a, B> {
    pub(crate) bucket: &'a B,
    pub(crate) pace: &'a Pace,
    pub(crate) counters: &'a Counters,
    pub(crate) job: Job<'a>,
    /// Held while waiting at the pace, so that each erasure has one place in that line, however large its user is.
    pub(crate) turn: Mutex<()>,
    longest_launch: Duration,
    /// Set when nothing more may be deleted: what is on its way comes in, and is counted.
    has_halted: AtomicBool,
    /// The newest fault that was waited out: the reason, should the hop have been of no use.
    pending: std::sync::Mutex<Option<TargetFault>>,
}

/// One kind at one target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The target, as its setting names it.
    pub(crate) target: &'a str,
    pub(crate) prefix: &'a Prefix,
    pub(crate) kind: Kind,
}

/// How a round ended.
#[derive(Debug)]
pub(crate) enum RoundEnd {
    Complete,
    OutOfTime,
    /// Something that must stop the whole erasure.
    Halted(TargetFault),
}

/// Where a target's share of a round begins: a kind, or `None` for the first, and what of it is not done; nothing means
/// all of it.
#[derive(Debug, Default)]
struct Place {
    kind: Option<Kind>,
    lanes: Vec<Lane>,
}

impl Place {
    fn start_of(kind: Kind) -> Self {
        Self { kind: Some(kind), lanes: Vec::new() }
    }
}

/// How the visit of one target ended, and what stood in the way.
enum Visit {
    Ended(Vec<Obstacle>),
    OutOfTime(Vec<Obstacle>, Place),
    /// The place to go on from is none any more: the store has refused its token, or has another kind of data now.
    BeginAgain(Option<Fault>),
}

/// How the pass over one kind of one target ended.
enum PassEnd {
    Complete {
        /// Whether a delete marker may be there: one was listed, or not everything was.
        may_have_markers: bool,
    },
    OutOfTime(Place),
    /// The store does not know the token of a page any more.
    TokenRefused(Fault),
    Obstacle(Obstacle),
}

impl<'a, B: Bucket> Tour<'a, B> {
    pub(crate) fn new(bucket: &'a B, pace: &'a Pace, counters: &'a Counters, job: Job<'a>) -> Self {
        // However slow the store was lately, the first half of a hop launches.
        let longest_launch = left_until(job.stop) / 2;
        let (has_halted, pending) = (AtomicBool::new(false), std::sync::Mutex::default());
        Self { bucket, pace, counters, job, turn: Mutex::new(()), longest_launch, has_halted, pending }
    }

    /// Goes over the targets that the round has not seen yet. What stands in the way at one of them becomes a fault,
    /// and the others are gone over all the same.
    pub(crate) async fn round<D: Disposal<B>>(
        &self,
        disposal: &D,
        bookmark: &mut Bookmark,
        round: &mut Round,
        faults: &mut Vec<TargetFault>,
    ) -> RoundEnd {
        let targets = self.job.targets.as_slice();
        // A place in another setting is none in this one: what comes before it there may come after it here.
        let is_same_setting = bookmark.setting.take().is_none_or(|mark| mark == self.job.targets.mark());
        let is_here = |target: &Target| is_same_setting && bookmark.target.as_deref() == Some(&*target.to_string());
        let resumed = targets.iter().position(is_here);
        let mut place = Place { kind: bookmark.kind.take(), lanes: bookmark.take_lanes() };
        // A token without a kind, as releases before kinds sent it, belongs to none.
        if resumed.is_none() || place.kind.is_none() || place.lanes.len() > MAX_LANES {
            if bookmark.target.is_some() {
                disposal.begin_again(self, None);
            }
            place = Place::default();
        }
        for target in targets.iter().skip(resumed.unwrap_or(0)) {
            let name = target.to_string();
            let gone_before = self.counters.gone_in_hop().things();
            let prefix = &target.prefix(self.job.user);
            let ground = Ground { target: &name, prefix, kind: Kind::Uploads };
            let mut from = std::mem::take(&mut place);
            let (obstacles, stopped_at) = loop {
                match self.visit(disposal, ground, from, round).await {
                    Visit::Ended(obstacles) => break (obstacles, None),
                    Visit::OutOfTime(obstacles, place) => break (obstacles, Some(place)),
                    Visit::BeginAgain(refused) => {
                        if let Some(fault) = refused {
                            // After a pause: a store that refuses every token must not be asked without end.
                            self.note(&name, fault);
                            self.counters.retried();
                            sleep(self.pace.backoff(1)).await;
                        }
                        // What was counted there will be found again.
                        round.left.remove(&name);
                        disposal.begin_again(self, Some(&name));
                        from = Place::default();
                    }
                }
            };
            round.gone += self.counters.gone_in_hop().things() - gone_before;
            for obstacle in obstacles {
                let must_halt = obstacle.must_halt();
                let fault = TargetFault { target: name.clone(), obstacle };
                if must_halt {
                    return RoundEnd::Halted(fault);
                }
                faults.push(fault);
            }
            if let Some(place) = stopped_at {
                let is_at_start = target == &targets[0] && place.lanes.is_empty() && place.kind == Some(Kind::Uploads);
                bookmark.setting = (!is_at_start).then(|| self.job.targets.mark().to_owned());
                bookmark.target = (!is_at_start).then_some(name);
                bookmark.kind = place.kind.filter(|_| !is_at_start);
                bookmark.put_lanes(place.lanes);
                return RoundEnd::OutOfTime;
            }
        }
        bookmark.target = None;
        RoundEnd::Complete
    }

    /// Goes over the kinds of one target: uploads, then data, then what may only go when the data is gone.
    async fn visit<D: Disposal<B>>(&self, disposal: &D, uploads: Ground<'_>, from: Place, round: &mut Round) -> Visit {
        let gone_before = self.counters.gone_in_hop().things();
        let mut obstacles = Vec::new();
        let mut from = Some(from);
        let mut ahead = None;
        // Uploads first: one that is completed meanwhile becomes an object, and has to be seen as one.
        let is_versioned = if let Some(place) = from.take_if(|from| matches!(from.kind, None | Some(Kind::Uploads))) {
            let listing = Listing::new(self, &uploads, D::DELETES, place.lanes, None);
            let asked = self.ask_and_look_ahead(disposal, uploads);
            let ((is_versioned, page), end) = join(asked, self.pass(disposal, listing, round)).await;
            ahead = page;
            match end {
                PassEnd::Complete { .. } => {}
                PassEnd::OutOfTime(place) => return Visit::OutOfTime(obstacles, place),
                PassEnd::TokenRefused(fault) => return Visit::BeginAgain(Some(fault)),
                PassEnd::Obstacle(obstacle) if obstacle.must_halt() => return Visit::Ended(vec![obstacle]),
                // The data can be erased all the same.
                PassEnd::Obstacle(obstacle) => obstacles.push(obstacle),
            }
            is_versioned
        } else {
            self.ask_for_versioning(&uploads).await
        };
        let kinds = match is_versioned {
            None => {
                return Visit::OutOfTime(obstacles, from.unwrap_or(Place::start_of(Kind::Objects)));
            }
            Some(Err(fault)) => {
                obstacles.push(fault.into());
                return Visit::Ended(obstacles);
            }
            Some(Ok(true)) => &[Kind::Versions, Kind::DeleteMarkers][..],
            Some(Ok(false)) => &[Kind::Objects][..],
        };
        let at = from.as_ref().and_then(|from| from.kind);
        // Where time ran out before it was known what kind of data there is, the bookmark says objects.
        let is_start_of_data = from.as_ref().is_some_and(|from| from.lanes.is_empty() && at == Some(Kind::Objects));
        let known = if is_start_of_data { Some(0) } else { kinds.iter().position(|kind| at == Some(*kind)) };
        if at.is_some() && known.is_none() {
            return Visit::BeginAgain(None);
        }
        let mut lanes = from.map(|from| from.lanes).unwrap_or_default();
        for kind in kinds.iter().skip(known.unwrap_or(0)) {
            let ground = Ground { kind: *kind, ..uploads };
            let ahead = ahead.take().filter(|_| *kind == Kind::Objects);
            let listing = Listing::new(self, &ground, D::DELETES, std::mem::take(&mut lanes), ahead);
            match self.pass(disposal, listing, round).await {
                PassEnd::Complete { may_have_markers: false } if *kind == Kind::Versions => break,
                PassEnd::Complete { .. } if *kind == Kind::Objects && self.may_be_last::<D>(round, gone_before) => {
                    // Asked before, it may have become another since, and what was deleted then is only hidden. A bucket
                    // that has no versioning after the listing had none during it.
                    match self.ask_for_versioning(&ground).await {
                        None => {
                            disposal.begin_again(self, Some(uploads.target));
                            return Visit::OutOfTime(obstacles, Place::start_of(Kind::Uploads));
                        }
                        Some(Err(fault)) => obstacles.push(fault.into()),
                        Some(Ok(true)) => return Visit::BeginAgain(None),
                        Some(Ok(false)) => {}
                    }
                }
                PassEnd::Complete { .. } => {}
                PassEnd::OutOfTime(place) => return Visit::OutOfTime(obstacles, place),
                PassEnd::TokenRefused(fault) => return Visit::BeginAgain(Some(fault)),
                PassEnd::Obstacle(obstacle) => {
                    obstacles.push(obstacle);
                    break;
                }
            }
        }
        Visit::Ended(obstacles)
    }

    /// Whether this round may be the last one. One that deleted something proves nothing: the next asks for all anew.
    fn may_be_last<D: Disposal<B>>(&self, round: &Round, gone_before: u64) -> bool {
        !D::DELETES || (round.gone == 0 && self.counters.gone_in_hop().things() == gone_before)
    }

    /// Whether the target's bucket has versioning. `None`: the stop time came first.
    async fn ask_for_versioning(&self, ground: &Ground<'_>) -> Option<Result<bool, Fault>> {
        let request = |limit| self.bucket.is_versioned(ground.prefix.bucket(), limit);
        self.before_stop(self.until_answered(ground, Read::Other, request)).await
    }

    /// Whether the bucket has versioning, and the first page of objects. Who has versions does not wait for the page: it is
    /// of no use there, and behind many delete markers it may take longer than all the rest.
    async fn ask_and_look_ahead<D: Disposal<B>>(
        &self,
        disposal: &D,
        uploads: Ground<'_>,
    ) -> (Option<Result<bool, Fault>>, Option<Page>) {
        let (ask, page) = (pin!(self.ask_for_versioning(&uploads)), pin!(self.look_ahead(disposal, uploads)));
        match select(ask, page).await {
            Either::Left((answer @ Some(Ok(false)), page)) => (answer, page.await),
            Either::Left((answer, _)) => (answer, None),
            Either::Right((page, ask)) => (ask.await, page),
        }
    }

    /// The first page of objects, ahead of its turn. An empty one is listed again after the uploads: one of them that was
    /// completed between the two listings may be in neither, and a round that finds nothing is the proof.
    async fn look_ahead<D: Disposal<B>>(&self, disposal: &D, uploads: Ground<'_>) -> Option<Page> {
        if !disposal.looks_ahead() {
            return None;
        }
        let ground = Ground { kind: Kind::Objects, ..uploads };
        let request = |limit| self.bucket.list(ground.prefix, ground.kind, None, limit);
        let page = self.before_stop(self.until_answered(&ground, Read::Other, request)).await?.ok()?;
        (!page.entries.is_empty()).then_some(page)
    }

    /// Disposes of what a listing of one kind at one target still lists.
    async fn pass<D: Disposal<B>>(&self, disposal: &D, listing: Listing<'_, '_, B>, round: &mut Round) -> PassEnd {
        let ground = listing.ground();
        let batches = listing
            .batches()
            .take_until(self.launch_window())
            .take_while(|_| ready(!self.has_halted()))
            .map(|batch: Result<Batch, Obstacle>| async {
                let Batch { lane, page, items, left } = batch?;
                let outcome = disposal.dispose(self, ground, items).await?;
                Ok(outcome.map(|outcome| (lane, page, left, outcome)))
            })
            // One more than may be in flight: the next page is fetched while this one is deleted.
            .buffer_unordered(self.pace.max_in_flight().saturating_add(1));
        let mut batches = pin!(batches);
        let mut ended = None;
        let is_complete = loop {
            match self.before_stop(batches.next()).await {
                Some(Some(Ok(Some((lane, page, left, outcome))))) => {
                    for (left, outcome) in listing.batch_done(lane, page, (left, outcome)) {
                        let all_left = round.left.entry(ground.target.to_owned()).or_default();
                        all_left.merge(&left);
                        all_left.merge(&outcome.left);
                        if !D::DELETES {
                            // An erasure finds it anew in each round; this is the only one.
                            let kept_newer = left.kept_newer;
                            self.counters.gone(ground.target, Counts { kept_newer, ..outcome.seen });
                        }
                    }
                }
                // Too late for this batch: the mark stays before it.
                Some(Some(Ok(None))) => {}
                // The listing is over. What is on its way still comes in, so that nothing is listed and counted twice.
                Some(Some(Err(Obstacle::Fault(fault @ Fault::TokenRefused(_))))) => {
                    ended = ended.or(Some(PassEnd::TokenRefused(fault)));
                }
                // The same: what nobody has counted, a later delivery would delete on top of it.
                Some(Some(Err(obstacle @ Obstacle::Fuse(_)))) => {
                    self.has_halted.store(true, Ordering::Relaxed);
                    ended = Some(PassEnd::Obstacle(obstacle));
                }
                Some(Some(Err(obstacle))) => return PassEnd::Obstacle(obstacle),
                Some(None) => break listing.is_complete(),
                None => break false,
            }
        };
        if let Some(end) = ended {
            end
        } else if is_complete {
            PassEnd::Complete { may_have_markers: listing.may_have_markers() }
        } else {
            let lanes = listing.left();
            if serde_json::to_string(&lanes).is_ok_and(|text| text.len() <= MAX_LANES_BYTES) {
                return PassEnd::OutOfTime(Place { kind: Some(ground.kind), lanes });
            }
            // No store of ours has such tokens. Nothing is lost but time.
            disposal.begin_again(self, Some(ground.target));
            PassEnd::OutOfTime(Place::start_of(Kind::Uploads))
        }
    }

    /// Repeats a reading request until it is answered, or until that is hopeless. The stop time ends the rest.
    pub(crate) async fn until_answered<T, Answer>(
        &self,
        ground: &Ground<'_>,
        read: Read,
        request: impl Fn(Duration) -> Answer,
    ) -> Result<T, Fault>
    where
        Answer: Future<Output = Result<T, Fault>>,
    {
        let mut attempt = 0;
        loop {
            let pass = self.pace.admit_read(ground.prefix.bucket(), read).await;
            self.counters.requested(1);
            let answer = request(self.limit()).await;
            let is_throttled = matches!(answer, Err(Fault::Throttled(_)));
            pass.answered(is_throttled);
            drop(pass);
            match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.is_temporary() => self.note(ground.target, fault),
                Err(fault) => return Err(fault),
            }
            // Where there were too many requests, the pace makes all of them wait.
            if !is_throttled {
                attempt += 1;
                sleep(self.pace.backoff(attempt)).await;
            }
            self.counters.retried();
        }
    }

    /// Counts a fault that is about to be waited out, and remembers it as what this hop waits for.
    pub(crate) fn note(&self, target: &str, fault: Fault) {
        self.counters.throttled(u64::from(matches!(fault, Fault::Throttled(_))));
        let fault = TargetFault { target: target.to_owned(), obstacle: fault.into() };
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// The newest fault that was waited out, if nothing came of this hop.
    pub(crate) fn reason_of_idleness(&self) -> Option<TargetFault> {
        let is_idle = self.counters.gone_in_hop().things() == 0;
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|_| is_idle)
    }

    /// `None`: the stop time came first.
    async fn before_stop<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = sleep_until(self.job.stop) => None,
            done = work => Some(done),
        }
    }

    pub(crate) fn may_launch(&self) -> bool {
        !self.has_halted() && Instant::now() < self.launch_end()
    }

    fn has_halted(&self) -> bool {
        self.has_halted.load(Ordering::Relaxed)
    }

    /// A batch that is launched later than this may well be dropped at the stop time.
    pub(crate) fn launch_end(&self) -> Instant {
        self.job.stop - self.pace.longest_batch_time().min(self.longest_launch)
    }

    /// Ends when nothing more should be launched.
    async fn launch_window(&self) {
        while Instant::now() < self.launch_end() {
            sleep_until(self.launch_end()).await;
        }
    }

    /// The longest time that a request may take now.
    pub(crate) fn limit(&self) -> Duration {
        left_until(self.job.stop).min(LONGEST_REQUEST)
    }
}

impl Obstacle {
    /// Whether the whole erasure has to stop, not only this target.
    fn must_halt(&self) -> bool {
        match self {
            Self::Outside(_) | Self::Fuse(_) => true,
            Self::Fault(_) => false,
        }
    }
}

impl Fault {
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::Unavailable(_) | Self::Untrustworthy(_) => true,
            Self::TokenRefused(_) | Self::Malformed(_) | Self::Refused(_) => false,
        }
    }
}
