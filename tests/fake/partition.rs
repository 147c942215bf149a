//! What S3 lets a partition take: a token bucket in keys. The models of the long runs in `bench` have the same.

use tokio::time::Instant;

/// One partition, with a second's worth of its limit in store.
#[derive(Debug)]
pub(crate) struct Partition {
    keys_per_second: f64,
    /// What a refused request costs, as a part of what it asked for.
    refusal_cost: f64,
    level: f64,
    filled: Instant,
}

impl Partition {
    /// A rested one.
    pub(crate) fn new(keys_per_second: u32, refusal_cost: f64, now: Instant) -> Self {
        let keys_per_second = f64::from(keys_per_second);
        Self { keys_per_second, refusal_cost, level: keys_per_second, filled: now }
    }

    /// From now on it takes so many keys a second.
    pub(crate) fn set_limit(&mut self, keys_per_second: u32, now: Instant) {
        self.fill(now);
        self.keys_per_second = f64::from(keys_per_second);
    }

    /// Takes a request as a whole, or nothing of it. One that is larger than all that is ever in store is taken when it is
    /// full, and paid for later.
    pub(crate) fn takes(&mut self, keys: usize, now: Instant) -> bool {
        self.fill(now);
        let keys = keys as f64;
        let is_taken = self.level >= keys.min(self.keys_per_second);
        self.level -= if is_taken { keys } else { keys * self.refusal_cost };
        is_taken
    }

    /// Takes as many of the keys as there is room for.
    pub(crate) fn takes_of(&mut self, keys: usize, now: Instant) -> usize {
        self.fill(now);
        let taken = (0..keys).take_while(|taken| self.level >= (*taken + 1) as f64).count();
        self.level -= taken as f64;
        taken
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + since * self.keys_per_second).min(self.keys_per_second);
        self.filled = now;
    }
}
