//! What S3 lets a partition take: a token bucket in keys. The models of the long runs in `bench`
//! have the same.

use tokio::time::Instant;

/// One partition, with a second's worth of its limit in store.
#[derive(Debug)]
pub(crate) struct Partition {
    keys_per_second: f64,
    /// What a throttled request costs, as a part of what it asked for. `None`: single keys are
    /// throttled, not requests.
    refusal_cost: Option<f64>,
    level: f64,
    filled: Instant,
}

impl Partition {
    /// A rested one.
    pub(crate) fn new(keys_per_second: u32, refusal_cost: Option<f64>, now: Instant) -> Self {
        let keys_per_second = f64::from(keys_per_second);
        Self { keys_per_second, refusal_cost, level: keys_per_second, filled: now }
    }

    /// From now on it takes so many keys a second.
    pub(crate) fn set_limit(&mut self, keys_per_second: u32, now: Instant) {
        self.fill(now);
        self.keys_per_second = f64::from(keys_per_second);
    }

    /// How many keys of a request are taken: the first of them, all or none where requests are
    /// throttled as a whole. A request that is larger than all that is ever in store is taken when it
    /// is full, and paid for later.
    pub(crate) fn take(&mut self, keys: usize, now: Instant) -> usize {
        self.fill(now);
        let (taken, cost) = match self.refusal_cost {
            None => ((0..keys).take_while(|taken| self.level >= (*taken + 1) as f64).count(), 0.0),
            Some(_) if self.level >= (keys as f64).min(self.keys_per_second) => (keys, 0.0),
            Some(cost) => (0, cost * keys as f64),
        };
        self.level -= taken as f64 + cost;
        taken
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + since * self.keys_per_second).min(self.keys_per_second);
        self.filled = now;
    }
}
