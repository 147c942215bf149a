//! An erasure of many keys from one partition, at the rate of one algorithm.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use erase_user_files::limiter::{Limiter, Permit};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::noise::{Dice, Noise};
use crate::partition::Partition;

/// What S3 takes for a DeleteObjects: so long, and so much more for 1,000 keys.
pub(crate) const LEAST: Duration = Duration::from_millis(20);
pub(crate) const FULL: Duration = Duration::from_millis(230);

/// Concurrent requests, as the function's default.
pub(crate) const SLOTS: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// How a partition says no: to requests, for nothing or for a tenth of what they would have cost;
/// or to keys.
pub(crate) const REQUEST: Option<f64> = Some(0.0);
pub(crate) const COSTLY_REQUEST: Option<f64> = Some(0.1);
pub(crate) const KEYS: Option<f64> = None;

/// What keeps a pace.
pub(crate) trait Keeper {
    /// A request that may be sent now.
    type Pass<'k>: Sent
    where
        Self: 'k;

    /// Waits until some of the wanted keys may be sent.
    async fn admit(&self, wanted: usize) -> Self::Pass<'_>;
}

/// A request on its way.
pub(crate) trait Sent {
    fn keys(&self) -> usize;

    /// Receives the number of its keys that were throttled.
    fn answered(&self, refused: usize);
}

impl Keeper for Limiter {
    type Pass<'k> = Permit<'k>;

    async fn admit(&self, wanted: usize) -> Permit<'_> {
        self.admit("photos", wanted).await
    }
}

impl Sent for Permit<'_> {
    fn keys(&self) -> usize {
        self.keys()
    }

    fn answered(&self, refused: usize) {
        self.answered(self.keys() - refused, refused);
    }
}

/// What an erasure came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) keys: usize,
    /// Keys of all requests, each as often as it was sent.
    pub(crate) sent: usize,
    pub(crate) requests: u32,
    pub(crate) refused: u32,
    /// When, in seconds, how many keys passed.
    pub(crate) passed: Vec<(f64, usize)>,
}

impl Run {
    pub(crate) fn keys_per_second(&self) -> f64 {
        self.keys as f64 / self.seconds
    }

    /// How much longer than if every key had passed at the limit, with what the partition had in
    /// store at the start.
    pub(crate) fn over_the_bound(&self, keys_per_second: u32) -> f64 {
        let limit = f64::from(keys_per_second);
        self.seconds / ((self.keys as f64 - limit) / limit)
    }

    /// The share of keys that were throttled, of all that were sent.
    pub(crate) fn throttled_keys_percent(&self) -> f64 {
        100.0 * (1.0 - self.keys as f64 / self.sent as f64)
    }

    pub(crate) fn refused_percent(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.requests) * 100.0
    }
}

/// A partition that may be shared.
#[derive(Debug, Clone)]
pub(crate) struct Shared(pub(crate) Rc<RefCell<Partition>>, Option<Rc<Dice>>);

impl Shared {
    pub(crate) fn new(keys_per_second: u32, no: Option<f64>) -> Self {
        Self(Rc::new(RefCell::new(Partition::new(keys_per_second, no, Instant::now()))), None)
    }

    /// The same, with something that is throttled at random.
    pub(crate) fn with_noise(self, noise: Noise, seed: u64) -> Self {
        Self(self.0, Some(Rc::new(Dice::new(noise, seed))))
    }

    /// How many of the keys are taken.
    pub(crate) fn takes(&self, keys: usize) -> usize {
        let keys = self.1.as_ref().map_or(keys, |dice| dice.spare(keys));
        if keys == 0 { 0 } else { self.0.borrow_mut().take(keys, Instant::now()) }
    }

    /// Deletes so many keys at this pace, with as many concurrent requests as there are slots, for
    /// at most an hour.
    pub(crate) async fn erase(&self, keeper: &impl Keeper, keys: usize) -> Run {
        let (start, left, run) = (Instant::now(), Cell::new(keys), RefCell::new(Run::default()));
        // As in the function, one at a time waits at the pace.
        let turn = tokio::sync::Mutex::new(());
        let work = async || {
            let mut open = 0;
            while start.elapsed() < Duration::from_secs(3_600) {
                let pass = {
                    let _turn = turn.lock().await;
                    if open == 0 {
                        open = left.get().min(1_000);
                        left.set(left.get() - open);
                    }
                    if open == 0 {
                        return;
                    }
                    keeper.admit(open).await
                };
                let taken = self.takes(pass.keys());
                let full = if taken > 0 {
                    FULL.mul_f64(pass.keys() as f64 / 1_000.0)
                } else {
                    Duration::ZERO
                };
                sleep(LEAST + full).await;
                pass.answered(pass.keys() - taken);
                open -= taken;
                let mut run = run.borrow_mut();
                run.sent += pass.keys();
                run.requests += 1;
                run.refused += u32::from(taken < pass.keys());
                run.keys += taken;
                run.passed.push((start.elapsed().as_secs_f64(), taken));
            }
        };
        join_all((0..SLOTS.get()).map(|_| work())).await;
        Run { seconds: start.elapsed().as_secs_f64(), ..run.into_inner() }
    }
}
