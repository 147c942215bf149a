//! How many keys a second a bucket takes, learned from what it lets through: a congestion control, as TCP has one.
//!
//! Pure: what happened and when comes in, a rate comes out. `docs/pace.md` says what was tried, and measures it.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::pace::MAX_BATCH_KEYS;

/// Rates are whole numbers of keys in so many seconds.
const SECONDS: u64 = 1_000;

/// S3 lets a partition delete at least so many keys a second; more, once it has split it.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>
const DOCUMENTED: u64 = 3_500 * SECONDS;

/// The lowest rate: a hundredth of what is documented. It still finds out when the bucket takes more again.
const LEAST: u64 = DOCUMENTED / 100;

/// Below this rate, it grows as fast as at this one.
const SLOW: u64 = 1_000 * SECONDS;

/// By how many keys a second the rate grows, in thousandths, for each key that passed. Before the first throttle: it
/// doubles in a quarter of a second, which is about the time of a full batch.
const START_GAIN: u64 = 4_000;
/// Near the rate that was refused last: 2 % in a second.
const PROBE_GAIN: u64 = 20;
/// Well below it, or so far above it that the bucket must take more than it did.
const CLIMB_GAIN: u64 = 200;
/// What is near, in percent of the rate that was refused last.
const NEAR: std::ops::RangeInclusive<u64> = 90..=115;

/// A throttle takes off at least 15 %, and at most half; between the two, it leaves 90 % of what has passed lately.
const KEPT: (u64, u64) = (50, 85);
const KEPT_OF_PASSED: u64 = 90;
const LATELY: Duration = Duration::from_secs(2);

/// How long the rate stays after a throttle. It doubles each time, until the bucket is found to take more.
const QUIET: Duration = Duration::from_secs(1);
const LONGEST_QUIET: Duration = Duration::from_secs(16);

/// The fewest keys that throttles leave to one request.
const SMALL_BATCH: usize = MAX_BATCH_KEYS / 8;

/// After so long without a request, nothing that was learned need be true any more.
const MEMORY: Duration = Duration::from_secs(60);

/// The rate of one bucket, and how large a request to it may be.
#[derive(Debug)]
pub(super) struct Congestion {
    /// In keys per 1,000 seconds.
    rate: u64,
    ceiling: u64,
    batch_keys: usize,
    throttle: Option<Throttle>,
    quiet: Duration,
    /// When how many keys passed, lately.
    passed: VecDeque<(Instant, u64)>,
    /// Of the last requests, how many were refused: in 1,024ths.
    refused_share: u64,
    began: Instant,
    last_answer: Instant,
}

/// One throttle event: what was sent before it, and is refused after it, says nothing new.
#[derive(Debug, Clone, Copy)]
struct Throttle {
    at: Instant,
    /// The rate that was refused.
    rate: u64,
}

impl Congestion {
    /// `ceiling`: in keys per second; `None` is none.
    pub(super) fn new(ceiling: Option<NonZeroU32>, now: Instant) -> Self {
        let ceiling = ceiling.map_or(u64::MAX, |ceiling| u64::from(ceiling.get()) * SECONDS);
        Self {
            rate: DOCUMENTED.min(ceiling),
            ceiling,
            batch_keys: MAX_BATCH_KEYS,
            throttle: None,
            quiet: QUIET,
            passed: VecDeque::new(),
            refused_share: 0,
            began: now,
            last_answer: now,
        }
    }

    /// How long the bucket is busy with so many keys.
    pub(super) fn time_for(&self, keys: usize) -> Duration {
        let nanoseconds = (keys as u128) * u128::from(SECONDS) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How many keys one request may have: what passes in half a second, and less where requests were refused.
    pub(super) fn batch_keys(&self) -> usize {
        let half_a_second = usize::try_from(self.rate / SECONDS / 2).unwrap_or(usize::MAX);
        half_a_second.clamp(1, self.batch_keys)
    }

    /// Notes that keys passed which were sent at that time. `was_limited`: whether they had to wait for the rate; a rate
    /// that nobody uses up is not known to be right.
    pub(super) fn passed(&mut self, sent: Instant, now: Instant, keys: usize, was_limited: bool) {
        self.answered(now, false);
        let keys_passed = keys as u64;
        self.passed.push_back((now, keys_passed));
        let Some(throttle) = self.throttle else {
            return self.grow(keys_passed * START_GAIN);
        };
        if sent > throttle.at {
            self.batch_keys = (self.batch_keys + keys / 2).min(MAX_BATCH_KEYS);
        }
        if was_limited && sent >= throttle.at + self.quiet {
            let percent = self.rate * 100 / throttle.rate;
            let gain = if NEAR.contains(&percent) { PROBE_GAIN } else { CLIMB_GAIN };
            if percent > *NEAR.end() {
                self.quiet = QUIET;
            }
            self.grow(keys_passed * gain * SLOW.max(self.rate) / self.rate);
        }
    }

    fn grow(&mut self, more: u64) {
        self.rate = self.rate.saturating_add(more).min(self.ceiling);
    }

    /// Notes that a request was refused, wholly or in part, which was sent at that time.
    pub(super) fn throttled(&mut self, sent: Instant, now: Instant) {
        self.answered(now, true);
        if self.throttle.is_some_and(|throttle| sent <= throttle.at) {
            return;
        }
        let (least, most) = (self.rate * KEPT.0 / 100, self.rate * KEPT.1 / 100);
        // Before anything has passed, that nothing has says nothing.
        let is_first = self.throttle.is_none() && self.rate <= DOCUMENTED;
        let kept = if is_first { most } else { (self.passed_lately(now) * KEPT_OF_PASSED / 100).clamp(least, most) };
        if self.throttle.is_some_and(|throttle| now - throttle.at > self.quiet) {
            self.quiet = (self.quiet * 2).min(LONGEST_QUIET);
        }
        self.throttle = Some(Throttle { at: now, rate: self.rate });
        self.rate = kept.max(LEAST.min(self.ceiling));
        self.batch_keys = (self.batch_keys / 2).max(SMALL_BATCH);
    }

    fn answered(&mut self, now: Instant, is_refused: bool) {
        self.last_answer = now;
        while self.passed.front().is_some_and(|(at, _)| now - *at > LATELY) {
            self.passed.pop_front();
        }
        self.refused_share -= self.refused_share / 16;
        self.refused_share += if is_refused { 64 } else { 0 };
    }

    /// What has passed lately, in keys per 1,000 seconds.
    fn passed_lately(&self, now: Instant) -> u64 {
        let keys: u64 = self.passed.iter().map(|(_, keys)| keys).sum();
        // At the start, not more of it is over.
        let time = (now - self.began).clamp(LATELY / 8, LATELY);
        keys * SECONDS * 1_000 / u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long to leave the bucket alone, where it refuses more than every third request. Else zero.
    pub(super) fn rest(&self) -> Duration {
        if self.refused_share * 3 > 1_024 { self.quiet } else { Duration::ZERO }
    }

    /// Whether nothing was refused yet.
    pub(super) fn is_free(&self) -> bool {
        self.throttle.is_none()
    }

    /// Whether so long nothing was sent that it is better to begin anew.
    pub(super) fn is_outdated(&self, now: Instant) -> bool {
        now - self.last_answer > MEMORY
    }
}
