//! How long batches take: what decides their size on a slow store, and when the last one is sent.

use std::time::Duration;

use tokio::time::Instant;

use crate::ports::store::MAX_BATCH_KEYS;

/// How long a store takes for a key, so that a slow store gets batches that it can process in time.
/// For a fast store nothing is learned: its batches have up to 1,000 keys.
#[derive(Debug, Default)]
pub(super) struct KeyLatency {
    /// `None` if the store processes batches of any size in time.
    per_key: Option<Duration>,
    /// How long a batch should take.
    wanted: Duration,
}

impl KeyLatency {
    /// A batch that takes longer than `SLOW` is slow. On a slow store, a batch should take at most
    /// `WANTED`.
    const SLOW: Duration = Duration::from_secs(1);
    const WANTED: Duration = Duration::from_secs(5);
    /// Requests with fewer keys take the time of a request, not that of their keys.
    pub(super) const LEAST_KEYS: usize = 50;

    pub(super) fn most_keys(&self) -> usize {
        let Some(per_key) = self.per_key else {
            return MAX_BATCH_KEYS;
        };
        let keys = self.wanted.as_nanos() / per_key.as_nanos().max(1);
        usize::try_from(keys).unwrap_or(MAX_BATCH_KEYS).clamp(1, MAX_BATCH_KEYS)
    }

    pub(super) fn took(&mut self, keys: usize, time: Duration) {
        let sample = time / u32::try_from(keys.max(1)).unwrap_or(u32::MAX);
        match self.per_key {
            None if time < Self::SLOW => {}
            None => (self.per_key, self.wanted) = (Some(sample), Self::WANTED),
            Some(per_key) => {
                let smoothed = (per_key + sample) / 2;
                let keys = self.wanted.as_nanos() / smoothed.as_nanos().max(1);
                // A store that has become fast again needs no smaller batches.
                self.per_key = (keys < 4 * MAX_BATCH_KEYS as u128).then_some(smoothed);
            }
        }
    }

    /// Records a batch without a response in time. The next batches have an eighth of its keys,
    /// until the time per key is known.
    pub(super) fn was_cut_off(&mut self, keys: usize, limit: Duration) {
        self.wanted = (limit / 2).min(Self::WANTED).max(Duration::from_millis(1));
        let eighth = u32::try_from((keys / 8).max(1)).unwrap_or(u32::MAX);
        let at_least = self.wanted / eighth;
        self.per_key = Some(self.per_key.map_or(at_least, |per_key| per_key.max(at_least)));
    }
}

/// A smoothed measure of how long full batches take, so that no batch is sent that could not end in
/// time. The keys of a dropped batch may nevertheless be deleted, and no count includes them.
#[derive(Debug, Default)]
pub(super) struct BatchLatency {
    smoothed: Duration,
    deviation: Duration,
    last_full: Option<Instant>,
}

/// How long the time of a full batch is trusted if no other full batch follows.
const MEMORY: Duration = Duration::from_secs(60);

impl BatchLatency {
    /// The smoothed time plus four times its deviation, as TCP calculates its retransmission
    /// timeout (RFC 6298).
    pub(super) fn longest(&self) -> Duration {
        self.smoothed + 4 * self.deviation
    }

    pub(super) fn note(&mut self, is_full: bool, took: Duration) {
        if is_full {
            self.last_full = Some(Instant::now());
        }
        // While there are full batches, the fast, small batches show nothing.
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
