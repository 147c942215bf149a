//! The dry run: one round that counts what would go. It has a store to read from, and none to
//! delete from.

use crate::erasure::batch::{Disposal, Items, Outcome};
use crate::erasure::checkpoint::Bookmark;
use crate::erasure::context::{Ground, Tour};
use crate::erasure::progress::{Counters, Counts};
use crate::erasure::report::{End, Job, Obstacle, Report, Round, Work};
use crate::erasure::round::RoundEnd;
use crate::limiter::Pace;
use crate::ports::store::Bucket;

/// Counts, and deletes nothing.
#[derive(Debug)]
pub struct Survey<B>(pub B);

impl<B: Bucket> Work for Survey<B> {
    const IS_DRY_RUN: bool = true;

    async fn work(
        &self,
        pace: &Pace,
        counters: &Counters,
        job: Job<'_>,
        bookmark: &mut Bookmark,
    ) -> Report {
        let start = bookmark.clone();
        let tour = Tour::new(&self.0, pace, counters, job, bookmark);
        let (mut round, mut faults) = (Round::default(), Vec::new());
        let end = match tour.round(&Counting, bookmark, &mut round, &mut faults).await {
            // The next hop would know nothing of them, and this is the only round.
            RoundEnd::OutOfTime if !faults.is_empty() => End::Failed(faults),
            RoundEnd::OutOfTime => {
                faults.extend(tour.reason_of_idleness());
                End::Unfinished { has_advanced: *bookmark != start, faults }
            }
            RoundEnd::Halted(fault) => {
                faults.push(fault);
                End::Failed(faults)
            }
            RoundEnd::Complete if faults.is_empty() => End::Surveyed,
            RoundEnd::Complete => End::Failed(faults),
        };
        Report { end, round }
    }
}

/// Only counts.
#[derive(Debug)]
struct Counting;

impl<B: Bucket> Disposal<B> for Counting {
    const DELETES: bool = false;

    /// Its one round has to be as good as a proof.
    fn looks_ahead(&self) -> bool {
        false
    }

    fn begin_again(&self, tour: &Tour<'_, B>, target: Option<&str>) {
        match target {
            Some(target) => tour.counters.forget(target),
            None => tour.counters.forget_everything(),
        }
    }

    async fn dispose(
        &self,
        _tour: &Tour<'_, B>,
        _ground: &Ground<'_>,
        _items: Items,
        _found: Counts,
    ) -> Result<Option<Outcome>, Obstacle> {
        Ok(Some(Outcome::default()))
    }
}
