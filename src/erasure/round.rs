//! One round: over targets, kinds, pages and batches, from a checkpoint on, until the end or the
//! stop time.
//!
//! A fault stays where it is: what fails for the moment is tried again for as long as the pass has
//! patience, and is then left for this round. The other kinds and targets are gone over all the
//! same.

use std::pin::pin;
use std::sync::atomic::Ordering;

use futures::future::{Either, join, ready, select};
use futures::stream::StreamExt;
use tokio::time::sleep;

use crate::erasure::batch::{BatchSink, Items};
use crate::erasure::checkpoint::{Checkpoint, KeyRange};
use crate::erasure::context::{Context, PassState, Scope};
use crate::erasure::list::{Batch, Listing};
use crate::erasure::progress::Counts;
use crate::erasure::report::{PassError, Round, TargetError};
use crate::erasure::split::MAX_LANES;
use crate::limiter::ReadClass;
use crate::ports::store::{Kind, Page, ReadStore, StoreError};
use crate::target::Target;

/// The longest list of lanes that a continuation carries, in bytes of JSON: as long as the longest
/// token may become in it.
const MAX_LANES_BYTES: usize = 6 * 16_384;

/// How a round ended.
#[derive(Debug)]
pub(crate) enum RoundEnd {
    Complete,
    OutOfTime,
    /// Something that must stop the whole erasure.
    Aborted(TargetError),
}

/// Where a target's share of a round begins: a kind, or `None` for the first, and what of it is not
/// done; nothing means all of it.
#[derive(Debug, Default)]
struct Place {
    kind: Option<Kind>,
    lanes: Vec<KeyRange>,
}

impl Place {
    fn start_of(kind: Kind) -> Self {
        Self { kind: Some(kind), lanes: Vec::new() }
    }
}

/// How the visit of one target ended, and what stood in the way.
enum Visit {
    Ended(Vec<PassError>),
    OutOfTime(Vec<PassError>, Place),
    /// The place to go on from is none any more: the store has refused its token, or has another
    /// kind of data now.
    BeginAgain(Option<StoreError>),
}

/// How the pass over one kind of one target ended.
enum PassEnd {
    Complete,
    OutOfTime(Place),
    /// The store does not know the token of a page any more.
    TokenRefused(StoreError),
    PassError(PassError),
}

impl<'a, B: ReadStore> Context<'a, B> {
    /// Goes over the targets that the round has not seen yet. What stands in the way at one of them
    /// becomes a fault, and the others are gone over all the same.
    pub(crate) async fn round<D: BatchSink<B>>(
        &self,
        sink: &D,
        checkpoint: &mut Checkpoint,
        round: &mut Round,
        faults: &mut Vec<TargetError>,
    ) -> RoundEnd {
        let targets = self.job.targets.as_slice();
        self.deleted().begin_round(checkpoint);
        // A place in another setting is none in this one: what comes before it there may come after
        // it here.
        let is_same_setting =
            checkpoint.setting.take().is_none_or(|mark| mark == self.job.targets.mark());
        let is_here = |target: &Target| {
            is_same_setting && checkpoint.target.as_deref() == Some(&*target.to_string())
        };
        let resumed = targets.iter().position(is_here);
        let mut place = Place { kind: checkpoint.kind.take(), lanes: checkpoint.take_ranges() };
        if place.kind == Some(Kind::DeleteMarkers) {
            // Earlier releases deleted markers in a pass of their own, behind that of the data.
            place = Place::start_of(Kind::Versions);
        }
        // A token without a kind, as releases before kinds sent it, belongs to none.
        if resumed.is_none() || place.kind.is_none() || place.lanes.len() > MAX_LANES {
            if checkpoint.target.is_some() {
                sink.restart(self, None);
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
                let uploads =
                    Scope { target: &name, prefix, kind: Kind::Uploads, pass, targets_behind };
                match self.visit(sink, uploads, from, round).await {
                    Visit::Ended(obstacles) => break (obstacles, None),
                    Visit::OutOfTime(obstacles, place) => break (obstacles, Some(place)),
                    // A store that rejects its tokens again and again, and deletes nothing, is
                    // asked no more.
                    Visit::BeginAgain(Some(fault))
                        if refused_at == Some(self.counters.progress()) =>
                    {
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
                        sink.restart(self, Some(&name));
                        from = Place::default();
                    }
                }
            };
            round.gone += self.counters.progress() - gone_before;
            for obstacle in obstacles {
                let must_halt = obstacle.must_halt();
                let fault = TargetError { target: name.clone(), obstacle };
                if must_halt {
                    return RoundEnd::Aborted(fault);
                }
                faults.push(fault);
            }
            if let Some(place) = stopped_at {
                let is_at_start = target == &targets[0]
                    && place.lanes.is_empty()
                    && place.kind == Some(Kind::Uploads);
                checkpoint.setting = (!is_at_start).then(|| self.job.targets.mark().to_owned());
                checkpoint.target = (!is_at_start).then_some(name);
                checkpoint.kind = place.kind.filter(|_| !is_at_start);
                checkpoint.set_ranges(place.lanes);
                return RoundEnd::OutOfTime;
            }
        }
        checkpoint.target = None;
        RoundEnd::Complete
    }

    /// Goes over the kinds of one target: uploads, then data, which is objects, or versions and
    /// delete markers.
    async fn visit<D: BatchSink<B>>(
        &self,
        sink: &D,
        uploads: Scope<'_>,
        from: Place,
        round: &mut Round,
    ) -> Visit {
        let gone_before = self.counters.progress();
        let mut obstacles = Vec::new();
        let mut from = Some(from);
        let mut ahead = None;
        let passes_behind = 2 * uploads.targets_behind;
        self.be_patient(passes_behind + 1);
        // Uploads first: one that is completed meanwhile becomes an object, and has to be seen as
        // one.
        let is_versioned = if let Some(place) =
            from.take_if(|from| matches!(from.kind, None | Some(Kind::Uploads)))
        {
            let listing = Listing::new(self, &uploads, D::DELETES, place.lanes, None);
            let asked = self.prefetch(sink, uploads);
            let ((is_versioned, page), end) = join(asked, self.pass(sink, listing, round)).await;
            ahead = page;
            match end {
                PassEnd::Complete => {}
                PassEnd::OutOfTime(place) => return Visit::OutOfTime(obstacles, place),
                PassEnd::TokenRefused(fault) => return Visit::BeginAgain(Some(fault)),
                PassEnd::PassError(obstacle) if obstacle.must_halt() => {
                    return Visit::Ended(vec![obstacle]);
                }
                // The data can be erased all the same.
                PassEnd::PassError(obstacle) => obstacles.push(obstacle),
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
        // Where time ran out before it was known what kind of data there is, the checkpoint says
        // objects.
        let is_start_of_data = lanes.is_empty() && at == Some(Kind::Objects);
        if at.is_some_and(|at| at != kind) && !is_start_of_data {
            return Visit::BeginAgain(None);
        }
        let scope = Scope { kind, pass: &PassState::default(), ..uploads };
        self.be_patient(passes_behind);
        let listing =
            Listing::new(self, &scope, D::DELETES, lanes, ahead.filter(|_| kind == Kind::Objects));
        match self.pass(sink, listing, round).await {
            PassEnd::Complete
                if kind == Kind::Objects && self.may_be_proof::<D>(round, gone_before) =>
            {
                // Asked before, it may have become another since, and what was deleted then is only
                // hidden. A bucket that has no versioning after the listing had none during it.
                match self.ask_for_versioning(&scope).await {
                    None => {
                        sink.restart(self, Some(uploads.target));
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
            PassEnd::PassError(obstacle) => obstacles.push(obstacle),
        }
        Visit::Ended(obstacles)
    }

    /// Whether this round may be the last one. One that deleted something proves nothing: the next
    /// asks for all anew.
    fn may_be_proof<D: BatchSink<B>>(&self, round: &Round, gone_before: u64) -> bool {
        !D::DELETES || (round.gone == 0 && self.counters.progress() == gone_before)
    }

    /// Whether the target's bucket has versioning. `None`: the stop time came first.
    async fn ask_for_versioning(&self, scope: &Scope<'_>) -> Option<Result<bool, StoreError>> {
        let request = |limit| self.bucket.is_versioned(scope.prefix, limit);
        self.until_stop(self.retry_read(scope, ReadClass::Other, request)).await
    }

    /// Whether the bucket has versioning, and the first page of objects. Who has versions does not
    /// wait for the page: it is of no use there, and behind many delete markers it may take longer
    /// than all the rest.
    async fn prefetch<D: BatchSink<B>>(
        &self,
        sink: &D,
        uploads: Scope<'_>,
    ) -> (Option<Result<bool, StoreError>>, Option<Page>) {
        let (ask, page) = (
            pin!(self.ask_for_versioning(&uploads)),
            pin!(self.first_page_of_objects(sink, uploads)),
        );
        match select(ask, page).await {
            Either::Left((answer @ Some(Ok(false)), page)) => (answer, page.await),
            Either::Left((answer, _)) => (answer, None),
            Either::Right((page, ask)) => (ask.await, page),
        }
    }

    /// The first page of objects, ahead of its turn. An empty one is listed again after the
    /// uploads: one of them that was completed between the two listings may be in neither, and a
    /// round that finds nothing is the proof.
    async fn first_page_of_objects<D: BatchSink<B>>(
        &self,
        sink: &D,
        uploads: Scope<'_>,
    ) -> Option<Page> {
        if !sink.prefetches_first_page() {
            return None;
        }
        let scope = Scope { kind: Kind::Objects, ..uploads };
        let request = |limit| self.bucket.list(scope.prefix, scope.kind, None, limit);
        let page =
            self.until_stop(self.retry_read(&scope, ReadClass::Other, request)).await?.ok()?;
        (!page.entries.is_empty()).then_some(page)
    }

    /// Disposes of what a listing of one kind at one target still lists.
    async fn pass<D: BatchSink<B>>(
        &self,
        sink: &D,
        listing: Listing<'_, '_, B>,
        round: &mut Round,
    ) -> PassEnd {
        let scope = listing.scope();
        let batches = listing
            .batches()
            .take_until(self.until_last_launch())
            .take_while(|_| ready(!self.is_aborted() && !scope.is_left()))
            .map(|batch: Result<Batch<'_>, PassError>| async {
                let Batch { lane, page, items, left, _memory } = batch?;
                let found = found(&items);
                let outcome = sink.handle_batch(self, scope, items, found).await?;
                Ok(outcome.map(|outcome| (lane, page, left, (found, outcome))))
            })
            // One more than may be in flight: the next page is fetched while this one is deleted.
            .buffer_unordered(self.pace.max_in_flight().saturating_add(1));
        let mut batches = pin!(batches);
        let mut ended = None;
        let is_complete = loop {
            match self.until_stop(batches.next()).await {
                Some(Some(Ok(Some((lane, page, left, outcome))))) => {
                    for (left, (found, outcome)) in listing.record(lane, page, (left, outcome)) {
                        let all_left = round.left.entry(scope.target.to_owned()).or_default();
                        all_left.merge(&left);
                        all_left.merge(&outcome.left);
                        *round.found.entry(scope.target.to_owned()).or_default() += found;
                        round.missing += outcome.missing;
                        if !D::DELETES {
                            // An erasure finds it anew in each round; this is the only one.
                            let kept_newer = left.kept_newer;
                            self.counters.gone(scope.target, Counts { kept_newer, ..found });
                        }
                    }
                }
                // Too late for this batch: the mark stays before it.
                Some(Some(Ok(None))) => {}
                // The listing is over. What is on its way still comes in, so that nothing is listed
                // and counted twice.
                Some(Some(Err(PassError::Store(fault @ StoreError::TokenRejected(_))))) => {
                    ended = ended.or(Some(PassEnd::TokenRefused(fault)));
                }
                // The same: what nobody has counted, a later delivery would delete on top of it.
                Some(Some(Err(obstacle @ PassError::ObjectLimit(_)))) => {
                    self.is_aborted.store(true, Ordering::Relaxed);
                    ended = Some(PassEnd::PassError(obstacle));
                }
                Some(Some(Err(obstacle @ PassError::ForeignKey(_)))) => {
                    return PassEnd::PassError(obstacle);
                }
                // The pass is left for this round. What is on its way still comes in, and is
                // counted.
                Some(Some(Err(obstacle @ PassError::Store(_)))) => {
                    scope.pass.is_left.store(true, Ordering::Relaxed);
                    ended = ended.or(Some(PassEnd::PassError(obstacle)));
                }
                Some(Some(Err(PassError::TransientFailures(_)))) => {}
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
                return PassEnd::OutOfTime(Place { kind: Some(scope.kind), lanes });
            }
            // No store of ours has such tokens. Nothing is lost but time.
            sink.restart(self, Some(scope.target));
            PassEnd::OutOfTime(Place::start_of(Kind::Uploads))
        }
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

impl PassError {
    /// Whether the whole erasure has to stop, not only this target.
    fn must_halt(&self) -> bool {
        match self {
            Self::ForeignKey(_) | Self::ObjectLimit(_) => true,
            Self::Store(_) | Self::TransientFailures(_) => false,
        }
    }
}
