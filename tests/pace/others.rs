//! Other ways to keep a pace, as the field knows them: what ours is measured against in
//! `docs/pace.md`.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::world::{Keeper, Sent};

/// What every user of S3 may begin with.
const START: f64 = 3_500.0;

/// Decides on a rate in keys per second.
pub(crate) trait Controller {
    fn rate(&self, now: Instant) -> f64;

    /// A response to what was sent then, all of it throttled or all of it accepted.
    fn answered(&mut self, sent: Instant, now: Instant, keys: usize, is_refused: bool);
}

/// Never changes: a rate that is set manually.
pub(crate) struct Fixed;

impl Controller for Fixed {
    fn rate(&self, _now: Instant) -> f64 {
        START
    }

    fn answered(&mut self, _sent: Instant, _now: Instant, _keys: usize, _is_refused: bool) {}
}

/// Additive increase, multiplicative decrease, as TCP Reno: half at each event, and a tenth of the
/// start's rate more in each second. RFC 5681.
pub(crate) struct Aimd {
    rate: f64,
    halved: Option<Instant>,
}

impl Aimd {
    pub(crate) fn new() -> Self {
        Self { rate: START, halved: None }
    }
}

impl Controller for Aimd {
    fn rate(&self, _now: Instant) -> f64 {
        self.rate
    }

    fn answered(&mut self, sent: Instant, now: Instant, keys: usize, is_refused: bool) {
        if !is_refused {
            self.rate += START / 10.0 * keys as f64 / self.rate;
        } else if self.halved.is_none_or(|halved| sent > halved) {
            self.rate = (self.rate / 2.0).max(START / 100.0);
            self.halved = Some(now);
        }
    }
}

/// CUBIC: after an event, it soon returns most of the way to the rate that was throttled, stays
/// near it for long, then exceeds it. RFC 9438, with its time scale stretched so that it returns
/// after about 4 s.
pub(crate) struct Cubic {
    /// The rate that was throttled.
    highest: f64,
    /// At the start, as if it had been just then.
    reduced: Instant,
}

impl Cubic {
    const KEPT: f64 = 0.7;
    const BACK_AFTER: f64 = 4.0;

    pub(crate) fn new() -> Self {
        Self { highest: START, reduced: Instant::now() }
    }
}

impl Controller for Cubic {
    fn rate(&self, now: Instant) -> f64 {
        let time = (now - self.reduced).as_secs_f64() / Self::BACK_AFTER - 1.0;
        (self.highest * (1.0 + (1.0 - Self::KEPT) * time.powi(3))).max(START / 100.0)
    }

    fn answered(&mut self, sent: Instant, now: Instant, _keys: usize, is_refused: bool) {
        if is_refused && sent > self.reduced {
            self.highest = self.rate(now);
            self.reduced = now;
        }
    }
}

/// The adaptive mode of the AWS SDKs: CUBIC over what is sent, in requests, not in keys; at each
/// throttled response it keeps 70 %, and it grows to at most twice what is sent.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>
pub(crate) struct Adaptive {
    /// Requests per second; nothing is limited before the first throttled response.
    rate: Option<f64>,
    highest: f64,
    reduced: Instant,
    /// Smoothed, over half seconds.
    sent: f64,
    bucket: (f64, f64),
    begin: Instant,
}

impl Adaptive {
    const KEPT: f64 = 0.7;
    const SCALE: f64 = 0.4;
    const SMOOTH: f64 = 0.8;
    /// Of a batch: its keys.
    const BATCH: f64 = 1_000.0;

    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { rate: None, highest: 0.0, reduced: now, sent: 0.0, bucket: (0.0, 0.0), begin: now }
    }

    fn measure(&mut self, now: Instant) {
        let half = ((now - self.begin).as_secs_f64() * 2.0).floor() / 2.0;
        self.bucket.1 += 1.0;
        if half > self.bucket.0 {
            let current = self.bucket.1 / (half - self.bucket.0);
            self.sent = current * Self::SMOOTH + self.sent * (1.0 - Self::SMOOTH);
            self.bucket = (half, 0.0);
        }
    }
}

impl Controller for Adaptive {
    fn rate(&self, _now: Instant) -> f64 {
        self.rate.map_or(1e9, |rate| rate * Self::BATCH)
    }

    fn answered(&mut self, _sent: Instant, now: Instant, _keys: usize, is_refused: bool) {
        self.measure(now);
        let new = if is_refused {
            let before = self.rate.map_or(self.sent, |rate| rate.min(self.sent));
            self.highest = before;
            self.reduced = now;
            before * Self::KEPT
        } else {
            let window = (self.highest * (1.0 - Self::KEPT) / Self::SCALE).cbrt();
            let time = (now - self.reduced).as_secs_f64() - window;
            Self::SCALE * time.powi(3) + self.highest
        };
        if self.rate.is_some() || is_refused {
            self.rate = Some(new.min(2.0 * self.sent).max(0.5));
        }
    }
}

/// Keeps the rate that a controller decides on, below a ceiling, in full batches.
pub(crate) struct Kept<C> {
    controller: RefCell<C>,
    ceiling: f64,
    next_start: tokio::sync::Mutex<Instant>,
}

impl<C: Controller> Kept<C> {
    /// A ceiling of 0 is none.
    pub(crate) fn new(controller: C, ceiling: u32) -> Self {
        let ceiling = if ceiling == 0 { f64::INFINITY } else { f64::from(ceiling) };
        Self {
            controller: RefCell::new(controller),
            ceiling,
            next_start: tokio::sync::Mutex::new(Instant::now()),
        }
    }
}

pub(crate) struct KeptPass<'k, C> {
    kept: &'k Kept<C>,
    sent: Instant,
    keys: usize,
}

impl<C: Controller> Keeper for Kept<C> {
    type Pass<'k>
        = KeptPass<'k, C>
    where
        Self: 'k;

    async fn admit(&self, wanted: usize) -> KeptPass<'_, C> {
        let mut next_start = self.next_start.lock().await;
        sleep_until(*next_start).await;
        let sent = Instant::now();
        let rate = self.controller.borrow().rate(sent).min(self.ceiling);
        *next_start = sent + Duration::from_secs_f64(wanted as f64 / rate);
        KeptPass { kept: self, sent, keys: wanted }
    }
}

impl<C: Controller> Sent for KeptPass<'_, C> {
    fn keys(&self) -> usize {
        self.keys
    }

    fn answered(&self, refused: usize) {
        self.kept.controller.borrow_mut().answered(
            self.sent,
            Instant::now(),
            self.keys,
            refused > 0,
        );
    }
}
