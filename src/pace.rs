//! How fast keys are deleted: one turnstile for all erasures of an execution environment.

use std::num::NonZeroU32;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// The most keys that one DeleteObjects may carry.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
pub const MAX_BATCH_KEYS: usize = 1_000;

/// Listings at once, over all erasures of an event, which may have up to 10,000: each is a socket.
const READS_AT_ONCE: usize = 32;

/// How late a batch may pass without the next one having to wait for it. Tokio's timers have 1 ms.
const TIMER_SLACK: Duration = Duration::from_millis(20);

/// Lets batches pass so that, one batch aside, no span of time sees more keys than the rate allows for it, and no moment
/// more requests than the slots.
///
/// S3 counts every key of a DeleteObjects as one write against about 3,500 per second and partition, so the rate
/// is in keys. Waiting erasures pass in the order in which they came.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>
#[derive(Debug)]
pub struct Pace {
    keys_per_second: Option<NonZeroU32>,
    max_in_flight: usize,
    slots: Semaphore,
    reads: Semaphore,
    /// When the next batch may start.
    next_start: Mutex<Option<Instant>>,
    batch_time: std::sync::Mutex<BatchTime>,
    jitter: std::sync::Mutex<fastrand::Rng>,
}

impl Pace {
    /// `keys_per_second`: `None` is no limit. `seed` decides the jitter of all waits.
    pub fn new(keys_per_second: Option<NonZeroU32>, max_in_flight: NonZeroU32, seed: u64) -> Self {
        let max_in_flight = usize::try_from(max_in_flight.get()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            keys_per_second,
            max_in_flight,
            slots: Semaphore::new(max_in_flight),
            reads: Semaphore::new(READS_AT_ONCE),
            next_start: Mutex::new(None),
            batch_time: std::sync::Mutex::default(),
            jitter: std::sync::Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// How many keys one batch may have: at most a second's worth.
    pub fn batch_keys(&self) -> usize {
        let rate = self.keys_per_second.and_then(|rate| usize::try_from(rate.get()).ok());
        rate.unwrap_or(MAX_BATCH_KEYS).min(MAX_BATCH_KEYS)
    }

    /// How many requests may be in flight at once.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Waits for a free slot and for the time that `keys` more keys may be sent.
    ///
    /// The slot is free again when the permit is dropped. Dropping the wait costs nothing.
    pub async fn admit(&self, keys: usize) -> SemaphorePermit<'_> {
        let mut next_start = self.next_start.lock().await;
        // The slot before the time: time that is taken early and used late would let batches through in a bunch.
        let permit = self.slots.acquire().await.expect("the semaphore is never closed");
        if let Some(rate) = self.keys_per_second {
            let now = Instant::now();
            // A timer that wakes a little late must not cost throughput.
            let start = next_start.unwrap_or(now).max(now.checked_sub(TIMER_SLACK).unwrap_or(now));
            sleep_until(start).await;
            *next_start = Some(start + seconds_for(keys, rate));
        }
        permit
    }

    /// Waits until one more reading request may be sent; it is over when the permit is dropped.
    pub async fn admit_read(&self) -> SemaphorePermit<'_> {
        self.reads.acquire().await.expect("the semaphore is never closed")
    }

    /// How long a full delete request takes at most, all but seldom; zero before the first was measured.
    pub fn longest_batch_time(&self) -> Duration {
        self.batch_time().longest()
    }

    /// Notes how long a successful delete request of so many keys took.
    pub fn batch_took(&self, keys: usize, took: Duration) {
        let is_full = keys * 2 > self.batch_keys();
        self.batch_time().note(is_full, took);
    }

    fn batch_time(&self) -> MutexGuard<'_, BatchTime> {
        self.batch_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wait before repetition number `attempt` (from 1): 100 ms doubling to 5 s, less a random part of up to half.
    ///
    /// <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>
    pub fn backoff(&self, attempt: u32) -> Duration {
        const FIRST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(5);
        let ceiling = FIRST.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST);
        let part = self.jitter.lock().unwrap_or_else(PoisonError::into_inner).f64();
        ceiling.mul_f64(0.5 + 0.5 * part)
    }
}

fn seconds_for(keys: usize, rate: NonZeroU32) -> Duration {
    let keys = u32::try_from(keys).unwrap_or(u32::MAX);
    Duration::from_secs_f64(f64::from(keys) / f64::from(rate.get()))
}

/// A smoothed measure of how long full batches take, so that none is launched that could not end in time: what is dropped
/// may be deleted all the same, and is in no count.
#[derive(Debug, Default)]
struct BatchTime {
    smoothed: Duration,
    deviation: Duration,
    last_full: Option<Instant>,
}

/// How long full batches are believed that no other has followed.
const MEMORY: Duration = Duration::from_secs(60);

impl BatchTime {
    /// As TCP waits for an answer: the smoothed time, and four times what it deviates. RFC 6298.
    fn longest(&self) -> Duration {
        self.smoothed + 4 * self.deviation
    }

    fn note(&mut self, is_full: bool, took: Duration) {
        if is_full {
            self.last_full = Some(Instant::now());
        }
        // While there are full batches, those of small users say nothing: they are fast.
        if self.smoothed.is_zero() {
            (self.smoothed, self.deviation) = (took, took / 2);
        } else if is_full || took > self.longest() || self.last_full.is_none_or(|at| at.elapsed() > MEMORY) {
            self.deviation = self.deviation * 3 / 4 + self.smoothed.abs_diff(took) / 4;
            self.smoothed = self.smoothed * 7 / 8 + took / 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u32, slots: u32) -> Pace {
        Pace::new(NonZeroU32::new(rate), NonZeroU32::new(slots).unwrap(), 1)
    }

    #[tokio::test(start_paused = true)]
    async fn spaces_batches_by_their_keys() {
        let pace = pace(1_000, 8);
        let start = Instant::now();
        for _ in 0..4 {
            let _permit = pace.admit(500).await;
        }
        assert_eq!(start.elapsed().as_millis() / 10, 150, "four batches of 500 at 1,000 keys a second");
    }

    #[tokio::test(start_paused = true)]
    async fn never_has_more_requests_than_slots() {
        let pace = pace(0, 2);
        let first = pace.admit(1).await;
        let _second = pace.admit(1).await;
        let third = tokio::time::timeout(Duration::from_secs(9), pace.admit(1));
        assert!(third.await.is_err());
        drop(first);
        let fourth = tokio::time::timeout(Duration::from_secs(9), pace.admit(1));
        assert!(fourth.await.is_ok());
    }

    #[test]
    fn batches_hold_at_most_a_second_of_the_rate() {
        assert_eq!(pace(0, 1).batch_keys(), 1_000);
        assert_eq!(pace(3_500, 1).batch_keys(), 1_000);
        assert_eq!(pace(10, 1).batch_keys(), 10);
    }

    #[test]
    fn waits_grow_and_end() {
        let pace = pace(0, 1);
        for (attempt, ceiling_ms) in [(1, 100), (2, 200), (5, 1_600), (20, 5_000), (u32::MAX, 5_000)] {
            for _ in 0..100 {
                let wait_ms = pace.backoff(attempt).as_millis();
                assert!(wait_ms >= ceiling_ms / 2 && wait_ms <= ceiling_ms, "attempt {attempt}: {wait_ms} ms");
            }
        }
    }

    fn longest_after(pace: &Pace, keys: usize, measures_ms: impl IntoIterator<Item = u64>) -> u128 {
        measures_ms.into_iter().for_each(|took| pace.batch_took(keys, Duration::from_millis(took)));
        pace.longest_batch_time().as_millis()
    }

    #[test]
    fn learns_how_long_a_batch_takes_at_most() {
        assert_eq!(longest_after(&pace(0, 1), 1_000, []), 0);
        assert_eq!(longest_after(&pace(0, 1), 1_000, [200]), 600, "RFC 6298: half of the first measure deviates");
        assert_eq!(longest_after(&pace(0, 1), 1_000, [200; 100]), 200);
        let uneven = longest_after(&pace(0, 1), 1_000, (0..100).map(|n| 150 + n % 5 * 25));
        assert!((250..400).contains(&uneven), "{uneven} ms, of measures from 150 to 250");
        let slower = longest_after(&pace(0, 1), 1_000, [[200; 20], [400; 20]].concat());
        assert!((390..500).contains(&slower), "{slower}");
    }

    #[tokio::test(start_paused = true)]
    async fn fast_batches_of_few_keys_do_not_hide_how_slow_the_others_are() {
        let pace = pace(0, 1);
        assert_eq!(longest_after(&pace, 1_000, [250; 100]), 250);
        assert_eq!(longest_after(&pace, 500, [20; 100]), 250);
        assert!(longest_after(&pace, 3, [400]) > 300, "slower than any full one");
        assert!(longest_after(&pace, 501, [20; 100]) < 50, "more than half full is full");
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_batch_is_forgotten_where_all_others_are_small() {
        let pace = pace(0, 1);
        assert!(longest_after(&pace, 9, [20; 9]) < 60);
        assert!(longest_after(&pace, 9, [15_000]) > 15_000);
        assert!(longest_after(&pace, 9, [20; 200]) < 60);
        let full = longest_after(&pace, 1_000, [[250; 50], [15_000; 50]].concat());
        assert_eq!(longest_after(&pace, 9, [20; 200]), full);
        tokio::time::advance(MEMORY + Duration::from_secs(1)).await;
        assert!(longest_after(&pace, 9, [20; 200]) < 60);
    }
}
