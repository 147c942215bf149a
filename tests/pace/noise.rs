//! Keys and requests that are throttled at random, at any rate: no limit is the reason, and slowing
//! down does not help.

use crate::pace;
use crate::world::{KEYS, Shared};
use std::cell::RefCell;

/// The rate that an erasure reaches of a ceiling of 3,500 keys a second, as a share of it.
async fn share(noise: Noise, seed: u64) -> f64 {
    let partition = Shared::new(1_000_000_000, KEYS).with_noise(noise, seed);
    let run = partition.erase(&pace(3_500), 250_000).await;
    run.keys as f64 / run.seconds / 3_500.0
}

/// What is throttled at random.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Noise {
    /// Each key with this probability.
    Keys(f64),
    /// Each request as a whole with this probability.
    Requests(f64),
}

/// Decides what is throttled.
#[derive(Debug)]
pub(crate) struct Dice {
    noise: Noise,
    random: RefCell<fastrand::Rng>,
}

impl Dice {
    pub(crate) fn new(noise: Noise, seed: u64) -> Self {
        Self { noise, random: RefCell::new(fastrand::Rng::with_seed(seed)) }
    }

    /// How many of these keys are not throttled.
    pub(crate) fn spare(&self, keys: usize) -> usize {
        let mut random = self.random.borrow_mut();
        match self.noise {
            Noise::Keys(probability) => (0..keys).filter(|_| random.f64() >= probability).count(),
            Noise::Requests(probability) if random.f64() < probability => 0,
            Noise::Requests(_) => keys,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn randomly_throttled_keys_slow_less_than_four_times_their_share() {
    for per_mille in [0, 1, 5, 10, 20, 30, 40, 50] {
        let probability = f64::from(per_mille) / 1_000.0;
        for seed in 0..8 {
            let share = share(Noise::Keys(probability), seed).await;
            assert!(
                share > 0.99 * (1.0 - 4.0 * probability),
                "{per_mille} of 1,000 keys, seed {seed}: {share:.3}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn randomly_throttled_requests_slow_less_than_eight_times_their_share() {
    for per_mille in [1, 5, 10, 20, 30, 40, 50] {
        let probability = f64::from(per_mille) / 1_000.0;
        for seed in 0..8 {
            let share = share(Noise::Requests(probability), seed).await;
            assert!(
                share > 0.99 * (1.0 - 8.0 * probability),
                "{per_mille} of 1,000 requests, seed {seed}: {share:.3}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn limit_is_found_despite_random_throttles() {
    for (limit, seed) in [(1_200, 1), (2_500, 2), (600, 3)] {
        let partition = Shared::new(limit, KEYS).with_noise(Noise::Keys(0.02), seed);
        let run = partition.erase(&pace(3_500), usize::try_from(limit).unwrap() * 180).await;
        assert!(run.over_the_bound(limit) < 1.2, "{limit}: {:.1} s", run.seconds);
        assert!(
            run.throttled_keys_percent() < 10.0,
            "{limit}: {:.1} %",
            run.throttled_keys_percent()
        );
    }
}
