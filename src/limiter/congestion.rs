//! A congestion control, like that of TCP: it learns from the responses how many keys per second a
//! bucket accepts.
//!
//! The code is pure: it takes events with their times and returns a rate. `docs/pace.md` describes
//! what was tried, with measurements.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::ports::store::MAX_BATCH_KEYS;

/// Rates are whole numbers of keys per this many seconds.
const SECONDS: u64 = 1_000;

/// The rate of deletions that S3 documents for one partition. It accepts more after it has split
/// the partition.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>
const DOCUMENTED: u64 = 3_500 * SECONDS;

/// The lowest rate: a hundredth of the documented rate. It still detects that the bucket accepts
/// more again.
const LEAST: u64 = DOCUMENTED / 100;

/// A rate below this one grows as fast as at this one.
const SLOW: u64 = 1_000 * SECONDS;

/// The growth of the rate for each key that passed, in thousandths of a key per second. Before the
/// first throttle event, the rate doubles in a quarter of a second, which is about the time of a
/// full batch.
const START_GAIN: u64 = 4_000;
/// The growth near the rate that was last throttled: 2 % per second.
const PROBE_GAIN: u64 = 20;
/// The growth well below that rate, or so far above it that the bucket must accept more than
/// before.
const CLIMB_GAIN: u64 = 200;
/// The range that counts as near, in percent of the rate that was last throttled.
const NEAR: std::ops::RangeInclusive<u64> = 90..=115;

/// Shares of keys are in 1,024ths.
const WHOLE: u64 = 1_024;

/// By how much a single request that is throttled as a whole reduces the rate: this many eighths of
/// its share, because it may be one of many requests.
const OF_SINGLE: u64 = 3;

/// A share of throttled keys above the noise that does not reduce the rate: 3 %. BBR ignores losses
/// below 2 %.
/// <https://datatracker.ietf.org/doc/draft-ietf-ccwg-bbr/>
const NOISE_MARGIN: u64 = WHOLE * 3 / 100;

/// The largest share that counts as noise.
const MOST_NOISE: u64 = WHOLE / 10;

/// From this share on, the rate is far above the limit. It is set to 90 % of what has passed
/// recently, but is reduced by at least 15 %, and to no less than a half, or a tenth if single keys
/// were throttled.
const FAR_ABOVE: u64 = WHOLE / 8;
const LEAST_PART: (u64, u64) = (2, 10);
const MOST_KEPT: u64 = 85;
const KEPT_OF_PASSED: u64 = 90;
const LATELY: Duration = Duration::from_secs(2);

/// Below that share, the rate is set to this percentage of the limit that the share implies, so
/// that the requests that wait at the limit can pass.
const BELOW_LIMIT: u64 = 90;

/// The number of keys that suffices to measure the share of keys that responses report as
/// throttled.
const SAMPLE_KEYS: u64 = 1_000;

/// How long the rate stays constant after a throttle event. The time doubles with each event, until
/// the bucket is found to accept more.
const QUIET: Duration = Duration::from_secs(1);
const LONGEST_QUIET: Duration = Duration::from_secs(16);

/// The lower bound to which throttling reduces the keys of one request.
const SMALL_BATCH: usize = MAX_BATCH_KEYS / 8;

/// After this time without a request, everything learned may be outdated.
const MEMORY: Duration = Duration::from_secs(60);

/// The rate of one bucket, and the largest size of a request to it.
#[derive(Debug)]
pub(super) struct Congestion {
    /// The rate in keys per 1,000 seconds.
    rate: u64,
    ceiling: u64,
    batch_keys: usize,
    throttle: Option<Throttle>,
    quiet: Duration,
    /// The responses of the last [`LATELY`].
    answers: VecDeque<Answer>,
    /// The share of keys that is throttled at any rate.
    noise: u64,
    requests: Requests,
    /// The share of throttled keys in the last requests.
    throttled_share: u64,
    began: Instant,
    last_answer: Instant,
}

/// The result of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) sent: Instant,
    pub(super) now: Instant,
    pub(super) passed: u64,
    pub(super) throttled: u64,
}

impl Answer {
    /// Whether a request of many keys was throttled as a whole. If a request has few keys, all of
    /// them may be throttled by chance.
    fn is_whole(&self) -> bool {
        self.passed == 0 && self.keys() >= SMALL_BATCH as u64 / 4
    }

    fn keys(&self) -> u64 {
        self.passed + self.throttled
    }
}

/// One throttle event. Requests that were sent before it and are throttled after it carry no new
/// information.
#[derive(Debug, Clone, Copy)]
struct Throttle {
    at: Instant,
    /// The rate that was too high.
    rate: u64,
    /// Whether more than a single request shows it.
    is_sure: bool,
    /// The share of keys that were throttled, while it is unknown whether the rate was the reason.
    suspected: Option<u64>,
}

/// How many requests are throttled as a whole while the rate is below what has passed. Below a
/// limit S3 throttles no requests, so that these requests show how many are throttled at any rate.
#[derive(Debug, Clone, Default)]
struct Requests {
    /// Whether each of the last requests was throttled, as bits, the newest first.
    last: u16,
    sent: u32,
    throttled: u32,
}

impl Requests {
    /// The number of requests that are remembered.
    const MEMORY: u32 = 64;

    fn note(&mut self, is_throttled: bool, is_below_limit: bool) {
        self.last = (self.last << 1) | u16::from(is_throttled);
        if is_below_limit {
            self.sent += 1;
            self.throttled += u32::from(is_throttled);
        }
        if self.sent >= 2 * Self::MEMORY {
            (self.sent, self.throttled) = (self.sent / 2, self.throttled / 2);
        }
    }

    /// Whether the last requests were throttled no more often than at any rate. Twice the expected
    /// number, plus one, can happen by chance.
    fn is_noise(&self) -> bool {
        let expected = u16::BITS * self.throttled / self.sent.max(u16::BITS);
        let is_known =
            self.sent >= Self::MEMORY / 2 && self.throttled > 0 && self.throttled * 14 <= self.sent;
        is_known && self.last.count_ones() <= 1 + 2 * expected
    }
}

impl Congestion {
    /// `ceiling` is in keys per second; `None` means no ceiling.
    pub(super) fn new(ceiling: Option<NonZeroU32>, now: Instant) -> Self {
        let ceiling = ceiling.map_or(u64::MAX, |ceiling| u64::from(ceiling.get()) * SECONDS);
        Self {
            rate: DOCUMENTED.min(ceiling),
            ceiling,
            batch_keys: MAX_BATCH_KEYS,
            throttle: None,
            quiet: QUIET,
            answers: VecDeque::new(),
            noise: 0,
            requests: Requests::default(),
            throttled_share: 0,
            began: now,
            last_answer: now,
        }
    }

    /// The time that the bucket needs for this number of keys at the current rate.
    pub(super) fn time_for(&self, keys: usize) -> Duration {
        let nanoseconds =
            (keys as u128) * u128::from(SECONDS) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// The most keys of one request: what passes in half a second, or less after requests were
    /// throttled.
    pub(super) fn batch_keys(&self) -> usize {
        let half_a_second = usize::try_from(self.rate / SECONDS / 2).unwrap_or(usize::MAX);
        half_a_second.clamp(1, self.batch_keys)
    }

    /// Records a response. `was_limited` is whether the request had to wait for the rate: a rate
    /// that is not used up is not known to be right.
    pub(super) fn answered(&mut self, answer: Answer, was_limited: bool) {
        self.remember(answer);
        let is_below_limit = self.throttle.is_some_and(|it| {
            it.is_sure && answer.sent > it.at && answer.sent <= it.at + self.quiet
        });
        self.requests.note(answer.is_whole(), is_below_limit);
        self.learn_noise(answer);
        if answer.passed > 0 {
            self.grow_with(answer, was_limited);
        }
        if answer.throttled > 0 && self.throttle.is_none_or(|throttle| answer.sent > throttle.at) {
            self.throttled(answer);
        }
    }

    fn grow_with(&mut self, Answer { sent, passed, .. }: Answer, was_limited: bool) {
        let Some(throttle) = self.throttle else {
            return self.grow(passed * START_GAIN);
        };
        if sent > throttle.at {
            let more = usize::try_from(passed / 2).unwrap_or(MAX_BATCH_KEYS);
            self.batch_keys = (self.batch_keys + more).min(MAX_BATCH_KEYS);
        }
        if was_limited && sent >= throttle.at + self.quiet {
            let percent = self.rate * 100 / throttle.rate;
            let gain = if NEAR.contains(&percent) { PROBE_GAIN } else { CLIMB_GAIN };
            if percent > *NEAR.end() {
                self.quiet = QUIET;
            }
            self.grow(passed * gain * SLOW.max(self.rate) / self.rate);
        }
    }

    fn grow(&mut self, more: u64) {
        self.rate = self.rate.saturating_add(more).min(self.ceiling);
    }

    /// Reduces the rate in proportion to the throttled share, as DCTCP does (RFC 8257), unless the
    /// share is noise.
    fn throttled(&mut self, answer: Answer) {
        let is_whole = answer.is_whole();
        let share =
            if is_whole { Self::share_of(self.answers.iter()) } else { self.share_of_sample() };
        let is_noise = if is_whole {
            self.requests.is_noise()
        } else {
            share <= self.noise * 3 / 2 + NOISE_MARGIN
        };
        // What is learned from the last event decides on the next one.
        let is_suspected =
            self.throttle.is_some_and(|throttle| throttle.suspected.is_some()) && share < FAR_ABOVE;
        if is_noise || is_suspected {
            return;
        }
        // A single request that is throttled as a whole may be one of many.
        let is_single =
            is_whole && self.answers.iter().filter(|answer| answer.is_whole()).count() == 1;
        let is_far_above = if is_whole { !is_single } else { share >= FAR_ABOVE };
        let kept = if is_far_above {
            self.batch_keys = (self.batch_keys / 2).max(SMALL_BATCH);
            self.kept_far_above(answer)
        } else if is_single {
            self.rate * (WHOLE - share * OF_SINGLE / 8) / WHOLE
        } else {
            self.rate * (WHOLE - share) / WHOLE * BELOW_LIMIT / 100
        };
        if let Some(throttle) = self.throttle {
            let is_quiet = answer.now - throttle.at <= self.quiet;
            let is_again = throttle.is_sure || self.rate < self.ceiling;
            if !is_quiet && is_again {
                self.quiet = (self.quiet * 2).min(LONGEST_QUIET);
            } else if is_quiet && throttle.is_sure {
                // S3 throttles nothing while the rate stays below a limit.
                self.quiet = QUIET;
            }
        }
        let suspected = (!is_whole && !is_far_above).then_some(share);
        self.throttle =
            Some(Throttle { at: answer.now, rate: self.rate, is_sure: !is_single, suspected });
        self.rate = kept.max(LEAST.min(self.ceiling));
    }

    /// Detects throttling that does not depend on the rate. A limit throttles nothing below it. If
    /// about the same share is throttled after the rate was reduced in proportion, the rate is not
    /// the reason and is restored.
    fn learn_noise(&mut self, answer: Answer) {
        let Some(Throttle { at, rate, suspected: Some(share), .. }) = self.throttle else {
            return;
        };
        let since: Vec<_> =
            self.answers.iter().filter(|answer| answer.sent > at && !answer.is_whole()).collect();
        let is_enough = since.iter().map(|answer| answer.keys()).sum::<u64>() >= self.sample_keys();
        if !is_enough && answer.now - at < LATELY {
            return;
        }
        let share_since = Self::share_of(since.into_iter());
        if share_since * 2 > share && share_since <= MOST_NOISE {
            self.noise = self.noise.max(share_since);
            self.rate = rate;
            self.quiet = QUIET;
        }
        if let Some(throttle) = &mut self.throttle {
            throttle.suspected = None;
        }
    }

    fn kept_far_above(&self, answer: Answer) -> u64 {
        // The number of passed keys is exact if it comes from responses about single keys, but not
        // if whole requests are throttled.
        let least = self.rate / if answer.is_whole() { LEAST_PART.0 } else { LEAST_PART.1 };
        let most = self.rate * MOST_KEPT / 100;
        (self.passed_lately(answer.now) * KEPT_OF_PASSED / 100).clamp(least, most)
    }

    /// The number of keys that suffices to measure the throttled share: those of one second, or
    /// fewer.
    fn sample_keys(&self) -> u64 {
        (self.rate / SECONDS).clamp(1, SAMPLE_KEYS)
    }

    fn remember(&mut self, answer: Answer) {
        self.last_answer = answer.now;
        self.answers.push_back(answer);
        while self.answers.front().is_some_and(|first| answer.now - first.now > LATELY) {
            self.answers.pop_front();
        }
        let share = answer.throttled * WHOLE / answer.keys().max(1);
        self.throttled_share -= self.throttled_share / 16;
        self.throttled_share += share / 16;
        // A retried request with few keys shows nothing about a share.
        if share < self.noise && answer.keys() * 2 >= self.batch_keys() as u64 {
            self.noise -= (self.noise - share).div_ceil(16);
        }
    }

    /// The share of keys that were throttled.
    fn share_of<'a>(answers: impl Iterator<Item = &'a Answer>) -> u64 {
        let (throttled, keys) = answers.fold((0, 0), |(throttled, keys), answer| {
            (throttled + answer.throttled, keys + answer.keys())
        });
        throttled * WHOLE / u64::max(keys, 1)
    }

    /// The throttled share of the newest responses, as many as suffice to measure it.
    fn share_of_sample(&self) -> u64 {
        let (mut keys, sample) = (0, self.sample_keys());
        let last = self.throttle.map(|throttle| throttle.at);
        let newest =
            self.answers.iter().rev().filter(|answer| last.is_none_or(|at| answer.sent > at));
        let newest = newest.take_while(|answer| {
            let is_needed = keys < sample;
            keys += answer.keys();
            is_needed
        });
        Self::share_of(newest)
    }

    /// What has passed recently, in keys per 1,000 seconds.
    fn passed_lately(&self, now: Instant) -> u64 {
        let keys: u64 = self.answers.iter().map(|answer| answer.passed).sum();
        // At the start, less than `LATELY` has passed.
        let time = (now - self.began).clamp(LATELY / 8, LATELY);
        keys * SECONDS * 1_000 / u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long to send nothing to a bucket that throttles more than a third of the keys; otherwise
    /// zero.
    pub(super) fn cooldown(&self) -> Duration {
        if self.throttled_share * 3 > WHOLE { self.quiet } else { Duration::ZERO }
    }

    /// Whether nothing has been throttled yet.
    pub(super) fn is_free(&self) -> bool {
        self.throttle.is_none()
    }

    /// Whether nothing was sent for so long that the rate should be learned from the start.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now - self.last_answer > MEMORY
    }
}
