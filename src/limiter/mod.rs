//! How fast keys are deleted: one turnstile for each bucket, and one for all of them, shared by all
//! erasures of an execution environment.

mod congestion;
pub mod retry;

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use self::congestion::{Answer, Congestion};
use crate::ports::store::MAX_BATCH_KEYS;

/// `ReadBackoff` requests of each sort at once, over all erasures of an event, which may have up to
/// 10,000: each is a socket.
const READS_AT_ONCE: usize = 32;

/// How late a batch may pass without the next one having to wait for it: after a moment of leisure,
/// what was not used is made up for. At the documented rate, that is a batch.
const CREDIT: Duration = Duration::from_millis(250);

/// The same where there is no ceiling and nothing was refused yet: small users need not wait at
/// all.
const FREE_CREDIT: Duration = Duration::from_secs(2);

/// The memory for items that are listed and have no outcome yet, over all erasures of an event.
/// Longer keys mean fewer items: 10 users with keys of 1,024 bytes take no more than with short
/// ones.
const MEMORY_KIB: usize = 16 * 1_024;

/// Lets batches pass so that no span of time sees more keys than the rate allows for it and for the
/// credit, and no moment more requests than the slots.
///
/// S3 counts every key of a DeleteObjects as one write against about 3,500 per second and
/// partition, so rates are in keys. What a bucket takes is learned from it; the ceiling is for all
/// buckets together. Waiting erasures pass in the order in which they came.
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
    /// What was let through last, to whichever bucket.
    last: Mutex<LastAdmission>,
    batch_time: RefCell<BatchLatency>,
    jitter: RefCell<fastrand::Rng>,
}

/// The turnstile of one bucket.
#[derive(Debug)]
struct BucketLimiter {
    /// What was let through last.
    last: Mutex<LastAdmission>,
    congestion: RefCell<Congestion>,
    key_time: RefCell<KeyLatency>,
    reading: RefCell<ReadBackoff>,
}

/// A batch that was let through: the next one has to wait as long as it takes at the rate of then.
#[derive(Debug)]
struct LastAdmission {
    start: Instant,
    keys: usize,
}

impl LastAdmission {
    /// Nothing, for as long as any credit is for.
    fn rested(now: Instant) -> Self {
        Self { start: now.checked_sub(FREE_CREDIT).unwrap_or(now), keys: 0 }
    }

    /// Waits until the next batch may start; returns from when on it might have, `earliest` or
    /// later.
    async fn next_start(&self, earliest: Instant, time_for: impl Fn(usize) -> Duration) -> Instant {
        loop {
            // The rate may have become another meanwhile.
            let start = earliest.max(self.start + time_for(self.keys));
            if start <= Instant::now() {
                return start;
            }
            sleep_until(start).await;
        }
    }
}

/// How long listings have to wait that the bucket has refused.
#[derive(Debug)]
struct ReadBackoff {
    resume: Instant,
    /// What was sent before the last refusal says nothing new.
    refused_at: Option<Instant>,
    attempt: u32,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadClass {
    /// A page in one of several lanes. While batches of the others are being deleted, nobody goes
    /// on with it, and it keeps its slot: it must not be the slot that these batches, or anybody
    /// else, need.
    RangePage,
    /// Anything else.
    Other,
}

/// A batch that may be sent now. Its slot is free again when this is dropped.
#[derive(Debug)]
pub struct Permit<'p> {
    pace: &'p Limiter,
    gate: Rc<BucketLimiter>,
    _slot: SemaphorePermit<'p>,
    sent: Instant,
    keys: usize,
    was_limited: bool,
}

/// A reading request that may be sent now.
#[derive(Debug)]
pub struct ReadPermit<'p> {
    pace: &'p Limiter,
    gate: Rc<BucketLimiter>,
    _slot: SemaphorePermit<'p>,
    sent: Instant,
}

impl Limiter {
    /// `ceiling`: keys per second, to all buckets together; `None` is none. `seed` decides the
    /// jitter of all waits.
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

    /// Whether nothing but the slots holds requests to this bucket back: there is no ceiling, and
    /// nothing was refused.
    pub fn is_free(&self, bucket: &str) -> bool {
        self.ceiling.is_none() && self.gate(bucket).congestion().is_free()
    }

    /// How many requests may be in flight at once.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Waits for a free slot and for the time that more keys may be sent to a bucket: as many as
    /// are wanted, or fewer.
    ///
    /// Dropping the wait costs nothing.
    pub async fn admit(&self, bucket: &str, wanted: usize) -> Permit<'_> {
        let gate = self.gate(bucket);
        let mut last = gate.last.lock().await;
        // The slot before the time: time that is taken early and used late would let batches
        // through in a bunch.
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

    /// Waits until one more reading request may be sent to a bucket.
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

    /// How long a bucket that throttles reading requests gets none.
    pub fn read_pause(&self, bucket: &str) -> Duration {
        self.gate(bucket).reading().resume.saturating_duration_since(Instant::now())
    }

    /// Waits until so many bytes of listed items may be held. What is larger than all of it waits
    /// for all of it.
    pub async fn reserve_memory(&self, bytes: usize) -> ReservedMemory<'_> {
        let kib = u32::try_from(bytes.div_ceil(1_024).min(MEMORY_KIB)).unwrap_or(u32::MAX);
        ReservedMemory {
            _permit: self.memory.acquire_many(kib).await.expect("the semaphore is never closed"),
        }
    }

    /// How long to leave the buckets alone, where one of them refuses most of what is sent. Else
    /// zero.
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

    /// How long a full delete request takes at most, all but seldom; zero before the first was
    /// measured.
    pub fn longest_batch_time(&self) -> Duration {
        self.batch_time().longest()
    }

    fn batch_time(&self) -> RefMut<'_, BatchLatency> {
        self.batch_time.borrow_mut()
    }

    /// The wait before repetition number `attempt` (from 1): 100 ms doubling to 5 s, less a random
    /// part of up to half.
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
    /// How many keys may be sent: as many as were wanted, or fewer.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Notes that the batch was answered: how many of its keys passed, and how many were throttled.
    /// Keys that failed for another reason are neither, and say nothing of the rate.
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

    /// Notes that no answer came, in this time at most: where all of it was over, the batch was too
    /// large for the store. Returns whether batches become smaller now.
    pub fn not_answered(&self, limit: Duration) -> bool {
        let mut key_time = self.gate.key_time();
        let before = key_time.most_keys();
        if self.sent.elapsed() >= limit {
            key_time.was_cut_off(self.keys, limit);
        }
        key_time.most_keys() < before
    }
}

/// `ReservedMemory` for listed items, until this is dropped.
#[derive(Debug)]
pub struct ReservedMemory<'p> {
    _permit: SemaphorePermit<'p>,
}

impl ReadPermit<'_> {
    /// Notes whether the bucket refused the request because there were too many.
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

/// How long a store takes for a key, so that a slow one gets batches that it can answer in time. Of
/// a fast store nothing is learned: its batches have up to 1,000 keys.
#[derive(Debug, Default)]
struct KeyLatency {
    /// `None`: batches of any size are answered in time.
    per_key: Option<Duration>,
    /// How long a batch should take.
    wanted: Duration,
}

impl KeyLatency {
    /// A batch that takes longer is slow, and should take no longer than a few of these.
    const SLOW: Duration = Duration::from_secs(1);
    const WANTED: Duration = Duration::from_secs(5);
    /// Requests with fewer keys take the time of a request, not that of its keys.
    const LEAST_KEYS: usize = 50;

    fn most_keys(&self) -> usize {
        let Some(per_key) = self.per_key else {
            return MAX_BATCH_KEYS;
        };
        let keys = self.wanted.as_nanos() / per_key.as_nanos().max(1);
        usize::try_from(keys).unwrap_or(MAX_BATCH_KEYS).clamp(1, MAX_BATCH_KEYS)
    }

    fn took(&mut self, keys: usize, time: Duration) {
        let sample = time / u32::try_from(keys.max(1)).unwrap_or(u32::MAX);
        match self.per_key {
            None if time < Self::SLOW => {}
            None => (self.per_key, self.wanted) = (Some(sample), Self::WANTED),
            Some(per_key) => {
                let smoothed = (per_key + sample) / 2;
                let keys = self.wanted.as_nanos() / smoothed.as_nanos().max(1);
                // A store that is fast again needs no smaller batches.
                self.per_key = (keys < 4 * MAX_BATCH_KEYS as u128).then_some(smoothed);
            }
        }
    }

    /// Not answered in time: from now on an eighth of the keys, until it is known how long they
    /// take.
    fn was_cut_off(&mut self, keys: usize, limit: Duration) {
        self.wanted = (limit / 2).min(Self::WANTED).max(Duration::from_millis(1));
        let eighth = u32::try_from((keys / 8).max(1)).unwrap_or(u32::MAX);
        let at_least = self.wanted / eighth;
        self.per_key = Some(self.per_key.map_or(at_least, |per_key| per_key.max(at_least)));
    }
}

/// A smoothed measure of how long full batches take, so that none is launched that could not end in
/// time: what is dropped may be deleted all the same, and is in no count.
#[derive(Debug, Default)]
struct BatchLatency {
    smoothed: Duration,
    deviation: Duration,
    last_full: Option<Instant>,
}

/// How long full batches are believed that no other has followed.
const MEMORY: Duration = Duration::from_secs(60);

impl BatchLatency {
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
        } else if is_full
            || took > self.longest()
            || self.last_full.is_none_or(|at| at.elapsed() > MEMORY)
        {
            self.deviation = self.deviation * 3 / 4 + self.smoothed.abs_diff(took) / 4;
            self.smoothed = self.smoothed * 7 / 8 + took / 8;
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
        // Four batches of 500 at 1,000 keys a second, less the credit.
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

    const FULL: bool = true;
    const SMALL: bool = false;

    fn longest_after(
        time: &mut BatchLatency,
        is_full: bool,
        measures_ms: impl IntoIterator<Item = u64>,
    ) -> u128 {
        measures_ms.into_iter().for_each(|took| time.note(is_full, Duration::from_millis(took)));
        time.longest().as_millis()
    }

    #[test]
    fn learns_how_long_a_batch_takes_at_most() {
        let after =
            |measures_ms: Vec<u64>| longest_after(&mut BatchLatency::default(), FULL, measures_ms);
        assert_eq!(after(vec![]), 0);
        assert_eq!(after(vec![200]), 600, "RFC 6298: half of the first measure deviates");
        assert_eq!(after(vec![200; 100]), 200);
        let uneven = after((0..100).map(|n| 150 + n % 5 * 25).collect());
        assert!((250..400).contains(&uneven), "{uneven} ms, of measures from 150 to 250");
        let slower = after([[200; 20], [400; 20]].concat());
        assert!((390..500).contains(&slower), "{slower}");
    }

    #[tokio::test(start_paused = true)]
    async fn fast_batches_of_few_keys_do_not_hide_how_slow_the_others_are() {
        let mut time = BatchLatency::default();
        assert_eq!(longest_after(&mut time, FULL, [250; 100]), 250);
        assert_eq!(longest_after(&mut time, SMALL, [20; 100]), 250);
        assert!(longest_after(&mut time, SMALL, [400]) > 300, "slower than any full one");
        assert!(longest_after(&mut time, FULL, [20; 100]) < 50);
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

    #[tokio::test(start_paused = true)]
    async fn each_measure_has_its_weight() {
        let mut time = BatchLatency::default();
        assert_eq!(longest_after(&mut time, FULL, [200]), 600);
        assert_eq!(longest_after(&mut time, SMALL, [600]), 600, "not slower than any full one");
        assert_eq!(
            longest_after(&mut time, FULL, [200]),
            500,
            "a quarter of the deviation is gone"
        );
        assert_eq!(
            longest_after(&mut time, FULL, [280]),
            210 + 4 * (75 * 3 / 4 + 20) + 1,
            "an eighth of the difference"
        );
        let before = time.longest();
        tokio::time::advance(MEMORY).await;
        time.note(SMALL, Duration::from_millis(1));
        assert_eq!(time.longest(), before, "full ones are remembered for so long");
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_batch_is_forgotten_where_all_others_are_small() {
        let mut time = BatchLatency::default();
        assert!(longest_after(&mut time, SMALL, [20; 9]) < 60);
        assert!(longest_after(&mut time, SMALL, [15_000]) > 15_000);
        assert!(longest_after(&mut time, SMALL, [20; 200]) < 60);
        let full = longest_after(&mut time, FULL, [[250; 50], [15_000; 50]].concat());
        assert_eq!(longest_after(&mut time, SMALL, [20; 200]), full);
        tokio::time::advance(MEMORY + Duration::from_secs(1)).await;
        assert!(longest_after(&mut time, SMALL, [20; 200]) < 60);
    }
}
