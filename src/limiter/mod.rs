//! Limits how fast keys are deleted, with one rate for each bucket and a ceiling for all of them.
//! All erasures of an execution environment share the limiter.

mod congestion;
mod latency;
pub mod retry;

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use self::congestion::{Answer, Congestion};
use self::latency::{BatchLatency, KeyLatency};

/// The number of concurrent read requests of each class, over all erasures of an event. An event
/// may have up to 10,000 messages, and each request needs a socket.
const READS_AT_ONCE: usize = 32;

/// The burst allowance: after an idle time, this much unused time can be made up for. At the
/// documented rate, it is about one batch.
const CREDIT: Duration = Duration::from_millis(250);

/// The burst allowance without a ceiling and before the first throttle event, so that erasures of
/// small users need not wait at all.
const FREE_CREDIT: Duration = Duration::from_secs(2);

/// The memory for items that are listed and have no outcome yet, over all erasures of an event.
/// Longer keys mean fewer items: 10 users with keys of 1,024 bytes take no more memory than with
/// short keys.
const MEMORY_KIB: usize = 16 * 1_024;

/// A token bucket in keys per second with a burst allowance, and a limit on concurrent requests.
///
/// S3 counts every key of a DeleteObjects as one write against about 3,500 per second and
/// partition, so rates are in keys. Each bucket's rate is learned from its responses; the ceiling
/// applies to all buckets together. Waiting erasures are served in the order in which they arrived.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>
#[derive(Debug)]
pub struct Limiter {
    ceiling: Option<NonZeroU32>,
    max_in_flight: usize,
    slots: Semaphore,
    pages_of_lanes: Semaphore,
    other_reads: Semaphore,
    memory: Semaphore,
    gates: RefCell<HashMap<String, Rc<BucketLimiter>>>,
    /// The last batch that was admitted, to any bucket.
    last: Mutex<LastAdmission>,
    batch_time: RefCell<BatchLatency>,
    jitter: RefCell<fastrand::Rng>,
}

/// The limiter of one bucket.
#[derive(Debug)]
struct BucketLimiter {
    /// The last batch that was admitted.
    last: Mutex<LastAdmission>,
    congestion: RefCell<Congestion>,
    key_time: RefCell<KeyLatency>,
    reading: RefCell<ReadBackoff>,
}

/// An admitted batch. The next batch has to wait as long as this one takes at the rate at that
/// time.
#[derive(Debug)]
struct LastAdmission {
    start: Instant,
    keys: usize,
}

impl LastAdmission {
    /// The state after an idle time that is as long as the largest burst allowance.
    fn rested(now: Instant) -> Self {
        Self { start: now.checked_sub(FREE_CREDIT).unwrap_or(now), keys: 0 }
    }

    /// Waits until the next batch may start. Returns the time from which it could have started,
    /// which is `earliest` or later.
    async fn next_start(&self, earliest: Instant, time_for: impl Fn(usize) -> Duration) -> Instant {
        loop {
            // The rate may have changed in the meantime.
            let start = earliest.max(self.start + time_for(self.keys));
            if start <= Instant::now() {
                return start;
            }
            sleep_until(start).await;
        }
    }
}

/// How long read requests to a bucket that throttled them have to wait.
#[derive(Debug)]
struct ReadBackoff {
    resume: Instant,
    /// A request that was sent before the last throttled response carries no new information.
    refused_at: Option<Instant>,
    attempt: u32,
}

/// The class of a read request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadClass {
    /// A page in one of several key ranges. While batches of the other ranges are being deleted,
    /// this page makes no progress and keeps its slot. So it must not take the slot that these
    /// batches, or another erasure, need.
    RangePage,
    /// Anything else.
    Other,
}

/// The permission to send one batch. Dropping it releases its slot.
#[derive(Debug)]
pub struct Permit<'p> {
    pace: &'p Limiter,
    gate: Rc<BucketLimiter>,
    _slot: SemaphorePermit<'p>,
    sent: Instant,
    keys: usize,
    was_limited: bool,
}

/// The permission to send one read request.
#[derive(Debug)]
pub struct ReadPermit<'p> {
    pace: &'p Limiter,
    gate: Rc<BucketLimiter>,
    _slot: SemaphorePermit<'p>,
    sent: Instant,
}

impl Limiter {
    /// Creates a limiter. `ceiling` is in keys per second to all buckets together; `None` means no
    /// ceiling. `seed` determines the jitter of all waits.
    pub fn new(ceiling: Option<NonZeroU32>, max_in_flight: NonZeroU32, seed: u64) -> Self {
        let max_in_flight =
            usize::try_from(max_in_flight.get()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            ceiling,
            max_in_flight,
            slots: Semaphore::new(max_in_flight),
            pages_of_lanes: Semaphore::new(READS_AT_ONCE),
            other_reads: Semaphore::new(READS_AT_ONCE),
            memory: Semaphore::new(MEMORY_KIB),
            gates: RefCell::default(),
            last: Mutex::new(LastAdmission::rested(Instant::now())),
            batch_time: RefCell::default(),
            jitter: RefCell::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// Whether only the slots limit requests to this bucket: there is no ceiling, and nothing has
    /// been throttled.
    pub fn is_free(&self, bucket: &str) -> bool {
        self.ceiling.is_none() && self.gate(bucket).congestion().is_free()
    }

    /// The number of concurrent delete requests.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Waits for a free slot and until more keys may be sent to a bucket. The permit is for
    /// `wanted` keys or fewer.
    ///
    /// The caller may drop the wait without losing anything.
    pub async fn admit(&self, bucket: &str, wanted: usize) -> Permit<'_> {
        let gate = self.gate(bucket);
        let mut last = gate.last.lock().await;
        // The slot is acquired before the time: time that is taken early and used late would let
        // batches start in a burst.
        let slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let asked = Instant::now();
        let credit = if self.ceiling.is_none() && gate.congestion().is_free() {
            FREE_CREDIT
        } else {
            CREDIT
        };
        let earliest = asked.checked_sub(credit).unwrap_or(asked);
        let start = last.next_start(earliest, |keys| gate.congestion().time_for(keys)).await;
        let keys = wanted.min(gate.congestion().batch_keys()).min(gate.key_time().most_keys());
        if let Some(ceiling) = self.ceiling {
            let time_for =
                |keys| Duration::from_secs(1).mul_f64(keys as f64 / f64::from(ceiling.get()));
            let mut last = self.last.lock().await;
            let start = last.next_start(earliest, time_for).await;
            *last = LastAdmission { start, keys };
        }
        *last = LastAdmission { start, keys };
        drop(last);
        let sent = Instant::now();
        Permit { pace: self, gate, _slot: slot, sent, keys, was_limited: sent > asked }
    }

    /// Waits until one more read request may be sent to a bucket.
    pub async fn admit_read(&self, bucket: &str, read: ReadClass) -> ReadPermit<'_> {
        let gate = self.gate(bucket);
        let slots = match read {
            ReadClass::RangePage => &self.pages_of_lanes,
            ReadClass::Other => &self.other_reads,
        };
        loop {
            let resume = gate.reading().resume;
            sleep_until(resume).await;
            let slot = slots.acquire().await.expect("the semaphore is never closed");
            if gate.reading().resume <= Instant::now() {
                return ReadPermit { pace: self, gate, _slot: slot, sent: Instant::now() };
            }
        }
    }

    /// How long a bucket that throttles read requests gets no more of them.
    pub fn read_pause(&self, bucket: &str) -> Duration {
        self.gate(bucket).reading().resume.saturating_duration_since(Instant::now())
    }

    /// Waits until this number of bytes of listed items may be held. A size above the whole memory
    /// waits for all of it.
    pub async fn reserve_memory(&self, bytes: usize) -> ReservedMemory<'_> {
        let kib = u32::try_from(bytes.div_ceil(1_024).min(MEMORY_KIB)).unwrap_or(u32::MAX);
        ReservedMemory {
            _permit: self.memory.acquire_many(kib).await.expect("the semaphore is never closed"),
        }
    }

    /// How long to send nothing, if one of the buckets throttles more than a third of its keys;
    /// otherwise zero.
    pub fn cooldown(&self) -> Duration {
        let gates = self.gates.borrow_mut();
        gates.values().map(|gate| gate.congestion().cooldown()).max().unwrap_or_default()
    }

    fn gate(&self, bucket: &str) -> Rc<BucketLimiter> {
        let mut gates = self.gates.borrow_mut();
        let now = Instant::now();
        if let Some(gate) = gates.get(bucket) {
            let mut congestion = gate.congestion();
            if congestion.is_stale(now) {
                *congestion = Congestion::new(self.ceiling, now);
            }
            drop(congestion);
            return Rc::clone(gate);
        }
        let gate = Rc::new(BucketLimiter {
            last: Mutex::new(LastAdmission::rested(now)),
            congestion: RefCell::new(Congestion::new(self.ceiling, now)),
            key_time: RefCell::default(),
            reading: RefCell::new(ReadBackoff { resume: now, refused_at: None, attempt: 0 }),
        });
        gates.insert(bucket.to_owned(), Rc::clone(&gate));
        gate
    }

    /// The longest time that a full delete request takes, except in rare cases; zero before the
    /// first measurement.
    pub fn longest_batch_time(&self) -> Duration {
        self.batch_time().longest()
    }

    fn batch_time(&self) -> RefMut<'_, BatchLatency> {
        self.batch_time.borrow_mut()
    }

    /// The wait before retry number `attempt` (from 1): 100 ms doubling to 5 s, less a random part
    /// of up to half.
    ///
    /// <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>
    pub fn backoff(&self, attempt: u32) -> Duration {
        const FIRST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(5);
        let ceiling =
            FIRST.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST);
        let part = self.jitter.borrow_mut().f64();
        ceiling.mul_f64(0.5 + 0.5 * part)
    }
}

impl BucketLimiter {
    fn congestion(&self) -> RefMut<'_, Congestion> {
        self.congestion.borrow_mut()
    }

    fn key_time(&self) -> RefMut<'_, KeyLatency> {
        self.key_time.borrow_mut()
    }

    fn reading(&self) -> RefMut<'_, ReadBackoff> {
        self.reading.borrow_mut()
    }
}

impl Permit<'_> {
    /// The number of keys that may be sent, which is the wanted number or less.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Records the response to the batch: how many of its keys passed, and how many were throttled.
    /// Keys that failed for another reason are in neither number, because they show nothing about
    /// the rate.
    pub fn answered(&self, passed: usize, throttled: usize) {
        let now = Instant::now();
        let is_full = self.keys * 2 > self.gate.congestion().batch_keys();
        let answer =
            Answer { sent: self.sent, now, passed: passed as u64, throttled: throttled as u64 };
        self.gate.congestion().answered(answer, self.was_limited);
        if passed > 0 {
            self.pace.batch_time().note(is_full, now - self.sent);
            if self.keys >= KeyLatency::LEAST_KEYS.min(self.gate.key_time().most_keys()) {
                self.gate.key_time().took(self.keys, now - self.sent);
            }
        }
    }

    /// Records that no response came within `limit`. If all of that time has passed, the batch was
    /// too large for the store. Returns whether batches become smaller now.
    pub fn not_answered(&self, limit: Duration) -> bool {
        let mut key_time = self.gate.key_time();
        let before = key_time.most_keys();
        if self.sent.elapsed() >= limit {
            key_time.was_cut_off(self.keys, limit);
        }
        key_time.most_keys() < before
    }
}

/// Memory that is reserved for listed items until this is dropped.
#[derive(Debug)]
pub struct ReservedMemory<'p> {
    _permit: SemaphorePermit<'p>,
}

impl ReadPermit<'_> {
    /// Records whether the bucket throttled the request.
    pub fn answered(&self, is_throttled: bool) {
        let now = Instant::now();
        let mut reading = self.gate.reading();
        if reading.refused_at.is_some_and(|refused_at| self.sent <= refused_at) {
            return;
        }
        if is_throttled {
            reading.attempt = reading.attempt.saturating_add(1);
            reading.resume = now + self.pace.backoff(reading.attempt);
            reading.refused_at = Some(now);
        } else {
            reading.attempt /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u32, slots: u32) -> Limiter {
        Limiter::new(NonZeroU32::new(rate), NonZeroU32::new(slots).unwrap(), 1)
    }

    #[tokio::test(start_paused = true)]
    async fn spaces_batches_by_their_keys() {
        let pace = pace(1_000, 8);
        let start = Instant::now();
        for _ in 0..4 {
            let _pass = pace.admit("photos", 500).await;
        }
        // Four batches of 500 keys at 1,000 keys per second, less the burst allowance.
        assert_eq!(start.elapsed().as_millis() / 10, 125);
    }

    #[tokio::test(start_paused = true)]
    async fn never_has_more_requests_than_slots() {
        let pace = pace(0, 2);
        let first = pace.admit("photos", 1).await;
        let _second = pace.admit("exports", 1).await;
        let third = tokio::time::timeout(Duration::from_secs(9), pace.admit("photos", 1));
        assert!(third.await.is_err());
        drop(first);
        let fourth = tokio::time::timeout(Duration::from_secs(9), pace.admit("photos", 1));
        assert!(fourth.await.is_ok());
    }

    fn batch_keys(rate: u32) -> usize {
        pace(rate, 1).gate("photos").congestion().batch_keys()
    }

    #[test]
    fn batches_hold_at_most_half_a_second_of_the_rate() {
        assert_eq!(batch_keys(0), 1_000);
        assert_eq!(batch_keys(3_500), 1_000);
        assert_eq!(batch_keys(10), 5);
        assert_eq!(batch_keys(1), 1);
    }

    #[test]
    fn waits_grow_and_end() {
        let pace = pace(0, 1);
        for (attempt, ceiling_ms) in
            [(1, 100), (2, 200), (5, 1_600), (20, 5_000), (u32::MAX, 5_000)]
        {
            for _ in 0..100 {
                let wait_ms = pace.backoff(attempt).as_millis();
                assert!(
                    wait_ms >= ceiling_ms / 2 && wait_ms <= ceiling_ms,
                    "attempt {attempt}: {wait_ms} ms"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_half_full_is_full_and_what_was_refused_has_no_time() {
        let pace = pace(0, 1);
        for (keys, refused, wait_ms, counts) in [
            (1_000, 0, 250, true),
            (500, 0, 20, false),
            (501, 0, 20, true),
            (100, 100, 9_000, false),
        ] {
            let pass = pace.admit("photos", keys).await;
            sleep_until(Instant::now() + Duration::from_millis(wait_ms)).await;
            let before = pace.longest_batch_time();
            pass.answered(keys - refused, refused);
            assert_eq!(
                pace.longest_batch_time() != before,
                counts,
                "{keys} keys, {refused} refused"
            );
        }
    }
}
