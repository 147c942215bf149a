//! One round: over targets, kinds, pages and batches, from a bookmark on, until the end or the stop time.
//!
//! A fault stays where it is: what fails for the moment is tried again for as long as the pass has patience, and is then
//! left for this round. The other kinds and targets are gone over all the same.

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
use crate::deleted::Deleted;
use crate::lanes::MAX_LANES;
use crate::pace::{Pace, Read};
use crate::tally::{Counters, Counts, Left};
use crate::target::{Prefix, Target};
use crate::work::{Job, Obstacle, Round, TargetFault};

/// No request to S3 may take longer; a hop of five minutes must survive a few that hang.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// So much time a request gets where it is left, however short the rest of the hop is.
const LEAST_REQUEST: Duration = Duration::from_secs(3);
const LEAST_READ: Duration = Duration::from_millis(500);

/// A pass in which nothing succeeds for so long is left for this round.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// The longest list of lanes that a continuation carries, in bytes of JSON: as long as the longest token may become in it.
const MAX_LANES_BYTES: usize = 6 * 16_384;

/// What is done with the batches of a round.
pub(crate) trait Disposal<B>: Sync {
    /// Whether anything is deleted: then delete markers have an order.
    const DELETES: bool;

    /// Sees one batch to its outcome. `found`: its items by kind. `None`: too late, it has none.
    fn dispose(
        &self,
        tour: &Tour<'_, B>,
        ground: &Ground<'_>,
        items: Items,
        found: Counts,
    ) -> impl Future<Output = Result<Option<Outcome>, Obstacle>> + Send;

    /// Whether objects are asked for before it is known whether there may be any.
    fn looks_ahead(&self) -> bool;

    /// Hears that a target is gone over anew, from its start. `None`: everything is, and there may be other targets now.
    fn begin_again(&self, tour: &Tour<'_, B>, target: Option<&str>);
}

/// The items of one batch.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// What may be deleted in any order.
    pub(crate) items: Vec<Item>,
    /// Delete markers, each of which may be deleted when all data of its key in `items` is deleted.
    pub(crate) after_data: Vec<Item>,
}

/// What a batch leaves to be counted once the low-water mark has passed it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) left: Left,
    /// What was listed, and not found when it was to be deleted.
    pub(crate) missing: u64,
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
    deleted: std::sync::Mutex<Deleted>,
    patience: std::sync::Mutex<Patience>,
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
    pass: &'a PassState,
    /// How many targets come after it.
    targets_behind: usize,
}

/// What the batches of a pass share.
#[derive(Debug, Default)]
struct PassState {
    /// Set when the pass is over before its time: nothing more of it is sent, and what is on its way comes in.
    is_left: AtomicBool,
    /// Set when the store has accepted a delete request.
    is_accepted: AtomicBool,
}

impl Ground<'_> {
    /// Whether no other target waits for this one.
    pub(crate) fn is_last(&self) -> bool {
        self.targets_behind == 0
    }

    pub(crate) fn is_left(&self) -> bool {
        self.pass.is_left.load(Ordering::Relaxed)
    }

    /// Whether the store has accepted a delete request of this pass.
    pub(crate) fn is_accepted(&self) -> bool {
        self.pass.is_accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn accepted(&self) {
        self.pass.is_accepted.store(true, Ordering::Relaxed);
    }
}

/// How long a pass goes on in which nothing succeeds.
#[derive(Debug)]
struct Patience {
    /// When the pass began, or something of it succeeded last.
    since: Instant,
    lasts: Duration,
    /// Requests to this target that have failed since then.
    failures: u32,
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
    Complete,
    OutOfTime(Place),
    /// The store does not know the token of a page any more.
    TokenRefused(Fault),
    Obstacle(Obstacle),
}

impl<'a, B: Bucket> Tour<'a, B> {
    /// `bookmark`: where the hop begins.
    pub(crate) fn new(
        bucket: &'a B,
        pace: &'a Pace,
        counters: &'a Counters,
        job: Job<'a>,
        bookmark: &Bookmark,
    ) -> Self {
        let counted = counters.total();
        let is_from_start = bookmark.round <= 1 && bookmark.is_at_start_of_round() && counted.gone.things() == 0;
        let counted = counted.targets.into_keys().collect();
        Self {
            bucket,
            pace,
            counters,
            job,
            turn: Mutex::new(()),
            // However slow the store was lately, the first half of a hop launches.
            longest_launch: left_until(job.stop) / 2,
            deleted: std::sync::Mutex::new(Deleted::new(is_from_start, job.started_at, counted)),
            patience: std::sync::Mutex::new(Patience { since: Instant::now(), lasts: LONGEST_PATIENCE, failures: 0 }),
            has_halted: AtomicBool::new(false),
            pending: std::sync::Mutex::default(),
        }
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
        self.deleted().begin_round(bookmark);
        // A place in another setting is none in this one: what comes before it there may come after it here.
        let is_same_setting = bookmark.setting.take().is_none_or(|mark| mark == self.job.targets.mark());
        let is_here = |target: &Target| is_same_setting && bookmark.target.as_deref() == Some(&*target.to_string());
        let resumed = targets.iter().position(is_here);
        let mut place = Place { kind: bookmark.kind.take(), lanes: bookmark.take_lanes() };
        if place.kind == Some(Kind::DeleteMarkers) {
            // Earlier releases deleted markers in a pass of their own, behind that of the data.
            place = Place::start_of(Kind::Versions);
        }
        // A token without a kind, as releases before kinds sent it, belongs to none.
        if resumed.is_none() || place.kind.is_none() || place.lanes.len() > MAX_LANES {
            if bookmark.target.is_some() {
                disposal.begin_again(self, None);
            }
            place = Place::default();
        }
        for (index, target) in targets.iter().enumerate().skip(resumed.unwrap_or(0)) {
            let name = target.to_string();
            let gone_before = self.counters.progress();
            let prefix = &target.prefix(self.job.user);
            let targets_behind = targets.len() - index - 1;
            let mut from = std::mem::take(&mut place);
            let mut refused_at = None;
            self.patience().failures = 0;
            let (obstacles, stopped_at) = loop {
                let pass = &PassState::default();
                let uploads = Ground { target: &name, prefix, kind: Kind::Uploads, pass, targets_behind };
                match self.visit(disposal, uploads, from, round).await {
                    Visit::Ended(obstacles) => break (obstacles, None),
                    Visit::OutOfTime(obstacles, place) => break (obstacles, Some(place)),
                    // A store that rejects its tokens again and again, and deletes nothing, is asked no more.
                    Visit::BeginAgain(Some(fault)) if refused_at == Some(self.counters.progress()) => {
                        break (vec![fault.into()], None);
                    }
                    Visit::BeginAgain(refused) => {
                        if let Some(fault) = refused {
                            refused_at = Some(self.counters.progress());
                            self.note(&name, fault);
                            self.counters.retried();
                            sleep(self.pace.backoff(1)).await;
                        }
                        // What was counted there will be found again.
                        round.left.remove(&name);
                        round.found.remove(&name);
                        disposal.begin_again(self, Some(&name));
                        from = Place::default();
                    }
                }
            };
            round.gone += self.counters.progress() - gone_before;
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

    /// Goes over the kinds of one target: uploads, then data, which is objects, or versions and delete markers.
    async fn visit<D: Disposal<B>>(&self, disposal: &D, uploads: Ground<'_>, from: Place, round: &mut Round) -> Visit {
        let gone_before = self.counters.progress();
        let mut obstacles = Vec::new();
        let mut from = Some(from);
        let mut ahead = None;
        let passes_behind = 2 * uploads.targets_behind;
        self.be_patient(passes_behind + 1);
        // Uploads first: one that is completed meanwhile becomes an object, and has to be seen as one.
        let is_versioned = if let Some(place) = from.take_if(|from| matches!(from.kind, None | Some(Kind::Uploads))) {
            let listing = Listing::new(self, &uploads, D::DELETES, place.lanes, None);
            let asked = self.ask_and_look_ahead(disposal, uploads);
            let ((is_versioned, page), end) = join(asked, self.pass(disposal, listing, round)).await;
            ahead = page;
            match end {
                PassEnd::Complete => {}
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
        let kind = match is_versioned {
            None => {
                return Visit::OutOfTime(obstacles, from.unwrap_or(Place::start_of(Kind::Objects)));
            }
            Some(Err(fault)) => {
                obstacles.push(fault.into());
                return Visit::Ended(obstacles);
            }
            Some(Ok(true)) => Kind::Versions,
            Some(Ok(false)) => Kind::Objects,
        };
        let at = from.as_ref().and_then(|from| from.kind);
        let lanes = from.map(|from| from.lanes).unwrap_or_default();
        // Where time ran out before it was known what kind of data there is, the bookmark says objects.
        let is_start_of_data = lanes.is_empty() && at == Some(Kind::Objects);
        if at.is_some_and(|at| at != kind) && !is_start_of_data {
            return Visit::BeginAgain(None);
        }
        let ground = Ground { kind, pass: &PassState::default(), ..uploads };
        self.be_patient(passes_behind);
        let listing = Listing::new(self, &ground, D::DELETES, lanes, ahead.filter(|_| kind == Kind::Objects));
        match self.pass(disposal, listing, round).await {
            PassEnd::Complete if kind == Kind::Objects && self.may_be_last::<D>(round, gone_before) => {
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
            PassEnd::Complete => {}
            PassEnd::OutOfTime(place) => return Visit::OutOfTime(obstacles, place),
            PassEnd::TokenRefused(fault) => return Visit::BeginAgain(Some(fault)),
            PassEnd::Obstacle(obstacle) => obstacles.push(obstacle),
        }
        Visit::Ended(obstacles)
    }

    /// Whether this round may be the last one. One that deleted something proves nothing: the next asks for all anew.
    fn may_be_last<D: Disposal<B>>(&self, round: &Round, gone_before: u64) -> bool {
        !D::DELETES || (round.gone == 0 && self.counters.progress() == gone_before)
    }

    /// Whether the target's bucket has versioning. `None`: the stop time came first.
    async fn ask_for_versioning(&self, ground: &Ground<'_>) -> Option<Result<bool, Fault>> {
        let request = |limit| self.bucket.is_versioned(ground.prefix, limit);
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
            .take_while(|_| ready(!self.has_halted() && !ground.is_left()))
            .map(|batch: Result<Batch<'_>, Obstacle>| async {
                let Batch { lane, page, items, left, _memory } = batch?;
                let found = found(&items);
                let outcome = disposal.dispose(self, ground, items, found).await?;
                Ok(outcome.map(|outcome| (lane, page, left, (found, outcome))))
            })
            // One more than may be in flight: the next page is fetched while this one is deleted.
            .buffer_unordered(self.pace.max_in_flight().saturating_add(1));
        let mut batches = pin!(batches);
        let mut ended = None;
        let is_complete = loop {
            match self.before_stop(batches.next()).await {
                Some(Some(Ok(Some((lane, page, left, outcome))))) => {
                    for (left, (found, outcome)) in listing.batch_done(lane, page, (left, outcome)) {
                        let all_left = round.left.entry(ground.target.to_owned()).or_default();
                        all_left.merge(&left);
                        all_left.merge(&outcome.left);
                        *round.found.entry(ground.target.to_owned()).or_default() += found;
                        round.missing += outcome.missing;
                        if !D::DELETES {
                            // An erasure finds it anew in each round; this is the only one.
                            let kept_newer = left.kept_newer;
                            self.counters.gone(ground.target, Counts { kept_newer, ..found });
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
                Some(Some(Err(obstacle @ Obstacle::Outside(_)))) => return PassEnd::Obstacle(obstacle),
                // The pass is left for this round. What is on its way still comes in, and is counted.
                Some(Some(Err(obstacle @ Obstacle::Fault(_)))) => {
                    ground.pass.is_left.store(true, Ordering::Relaxed);
                    ended = ended.or(Some(PassEnd::Obstacle(obstacle)));
                }
                Some(Some(Err(Obstacle::Unsettled(_)))) => {}
                Some(None) => break listing.is_complete(),
                None => break false,
            }
        };
        if let Some(end) = ended {
            end
        } else if is_complete {
            PassEnd::Complete
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

    /// Repeats a reading request until it is answered, the fault is a lasting one, or the pass is out of patience. The stop
    /// time ends the rest.
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
        let pause = self.pace.read_pause(ground.prefix.bucket());
        if !pause.is_zero() && !ground.is_last() && self.is_longer_than_patience(pause) {
            let why = "not sent: SlowDown, as S3 answered earlier requests to this bucket";
            return Err(Fault::Throttled(why.to_owned()));
        }
        loop {
            let pass = self.pace.admit_read(ground.prefix.bucket(), read).await;
            self.counters.requested(1);
            let limit = self.read_limit(ground);
            let answer = request(limit).await;
            let is_throttled = matches!(answer, Err(Fault::Throttled(_)));
            pass.answered(is_throttled);
            drop(pass);
            attempt += 1;
            let fault = match answer {
                Ok(answer) => {
                    self.succeeded();
                    return Ok(answer);
                }
                Err(fault) => fault,
            };
            // Where there were too many requests, the pace makes all of them wait.
            let pause = self.pace.read_pause(ground.prefix.bucket());
            let wait = if is_throttled { pause } else { self.pace.backoff(attempt) };
            if matches!(fault, Fault::NoAnswer(_)) && limit < LEAST_READ {
                // The end of the hop ended this request. That says nothing about the store: the next hop goes on here.
                self.note(ground.target, fault);
                sleep_until(self.job.stop).await;
                continue;
            }
            if fault.is_temporary() {
                self.failed();
            }
            // Other targets do not wait for a pause that takes all of this pass's time.
            let is_too_long = !ground.is_last() && wait >= self.longest_retry();
            if !fault.is_temporary() || is_too_long || self.is_out_of_patience(wait.max(pause)) {
                self.counters.throttled(u64::from(is_throttled));
                return Err(fault);
            }
            self.note(ground.target, fault);
            sleep(wait).await;
            self.counters.retried();
        }
    }

    /// A pass begins, with so many behind it: until something succeeds, it gets an equal share of the time that is left,
    /// and the same again stays for the proof.
    fn be_patient(&self, passes_behind: usize) {
        let shares = u32::try_from(passes_behind.saturating_add(2)).unwrap_or(u32::MAX);
        let lasts = (left_until(self.job.stop) / shares).min(LONGEST_PATIENCE);
        let mut patience = self.patience();
        (patience.since, patience.lasts) = (Instant::now(), lasts);
    }

    fn patience(&self) -> std::sync::MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of the pass succeeded.
    pub(crate) fn succeeded(&self) {
        let mut patience = self.patience();
        (patience.since, patience.failures) = (Instant::now(), 0);
    }

    /// A request of the pass failed for the moment.
    pub(crate) fn failed(&self) {
        let mut patience = self.patience();
        patience.failures = patience.failures.saturating_add(1);
    }

    /// Whether the pass is left for this round instead of waiting so long for another attempt: nothing has succeeded for
    /// long, and more than one request has failed.
    pub(crate) fn is_out_of_patience(&self, wait: Duration) -> bool {
        self.patience().failures > 1 && self.is_longer_than_patience(wait)
    }

    fn is_longer_than_patience(&self, wait: Duration) -> bool {
        let patience = self.patience();
        patience.since.elapsed() + wait >= patience.lasts
    }

    /// How long this pass tries a single item again, and how long one of its requests may wait.
    pub(crate) fn longest_retry(&self) -> Duration {
        self.patience().lasts
    }

    /// What this hop has deleted so far.
    pub(crate) fn deleted(&self) -> std::sync::MutexGuard<'_, Deleted> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a fault that is about to be waited out, and remembers it as what this hop waits for.
    pub(crate) fn note(&self, target: &str, fault: Fault) {
        self.counters.throttled(u64::from(matches!(fault, Fault::Throttled(_))));
        let fault = TargetFault { target: target.to_owned(), obstacle: fault.into() };
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// The newest fault that was waited out, if nothing came of this hop.
    pub(crate) fn reason_of_idleness(&self) -> Option<TargetFault> {
        let is_idle = self.counters.progress() == 0;
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|_| is_idle)
    }

    /// `None`: the stop time came first.
    pub(crate) async fn before_stop<T>(&self, work: impl Future<Output = T>) -> Option<T> {
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

    /// The longest time that a delete request may take now: at most half of what is left, so that one that hangs leaves
    /// time for another, and half of the pass's patience, for the same reason. Less than all of what is left: a request
    /// that is cut off has to be noticed.
    pub(crate) fn limit(&self) -> Duration {
        let left = left_until(self.job.stop);
        let most = (left / 2).min(self.patience().lasts / 2);
        most.max(LEAST_REQUEST.min(left * 9 / 10)).min(LONGEST_REQUEST)
    }

    /// The same for a reading request: where other targets wait, at most a quarter of what is left, because each pass
    /// begins with one or two.
    fn read_limit(&self, ground: &Ground<'_>) -> Duration {
        let left = left_until(self.job.stop);
        let part = if ground.is_last() { left / 2 } else { left / 4 };
        part.max(LEAST_READ.min(left * 9 / 10)).min(LONGEST_REQUEST)
    }
}

/// The items of a batch by kind.
fn found(items: &Items) -> Counts {
    let mut found = Counts::default();
    for item in items.items.iter().chain(&items.after_data) {
        found += Counts::of(item.kind, 1, item.bytes);
    }
    found
}

impl Obstacle {
    /// Whether the whole erasure has to stop, not only this target.
    fn must_halt(&self) -> bool {
        match self {
            Self::Outside(_) | Self::Fuse(_) => true,
            Self::Fault(_) | Self::Unsettled(_) => false,
        }
    }
}

impl Fault {
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::NoAnswer(_) | Self::Unavailable(_) | Self::Untrustworthy(_) => true,
            Self::TokenRefused(_) | Self::Malformed(_) | Self::Refused(_) => false,
        }
    }
}
