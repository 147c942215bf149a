//! What S3 lets the partitions of a model take, and how it says no.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::partition::Partition;

/// What S3 lets a partition take.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Keys per second, each from so long on after the first keys that anybody asked for. The first
    /// is there from zero on.
    pub steps: Vec<(Duration, u32)>,
    /// How it says no.
    pub refusal: Refusal,
}

/// How a partition says no.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refusal {
    /// To the whole request, as 503 `SlowDown`.
    Request {
        /// What it costs, as a part of what the request would have cost.
        cost: f64,
    },
    /// To each key that is too many, within a 200.
    Keys,
}

impl Limit {
    /// A constant limit that rejects whole requests, at no cost.
    pub fn of(keys_per_second: u32) -> Self {
        Self {
            steps: vec![(Duration::ZERO, keys_per_second)],
            refusal: Refusal::Request { cost: 0.0 },
        }
    }

    /// Keys per second, so long after the start.
    pub(crate) fn at(&self, since: Duration) -> u32 {
        self.steps.iter().rev().find(|(from, _)| *from <= since).map_or(0, |(_, keys)| *keys)
    }
}

/// All partitions of a model: each bucket is one.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// `None`: as many keys as come.
    limit: Option<Limit>,
    buckets: Mutex<HashMap<String, (Instant, Partition)>>,
}

impl Partitions {
    pub(crate) fn new(limit: Option<Limit>) -> Self {
        Self { limit, buckets: Mutex::default() }
    }

    /// How many keys of a request are taken: the first of them.
    pub(crate) fn take(&self, bucket: &str, keys: usize, now: Instant) -> usize {
        let Some(limit) = &self.limit else {
            return keys;
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = match limit.refusal {
            Refusal::Request { cost } => Some(cost),
            Refusal::Keys => None,
        };
        let (begin, partition) = buckets
            .entry(bucket.to_owned())
            .or_insert_with(|| (now, Partition::new(limit.at(Duration::ZERO), cost, now)));
        partition.set_limit(limit.at(now - *begin), now);
        partition.take(keys, now)
    }

    /// Whether a request that is not taken as a whole fails as a whole.
    pub(crate) fn refuses_requests(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| matches!(limit.refusal, Refusal::Request { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_limit_of_the_moment_allows() {
        let steps = vec![(Duration::ZERO, 100), (Duration::from_secs(10), 200)];
        let limit = Limit { steps, refusal: Refusal::Request { cost: 0.5 } };
        let partitions = Partitions::new(Some(limit));
        let begin = Instant::now();
        let take =
            |bucket, keys, ms| partitions.take(bucket, keys, begin + Duration::from_millis(ms));
        assert_eq!([take("a", 100, 0), take("b", 100, 0)], [100, 100], "each bucket has its own");
        assert_eq!(take("a", 10, 0), 0);
        assert_eq!(take("a", 10, 140), 0, "the refusal has cost 5 keys");
        assert_eq!(take("a", 100, 11_000), 100);
        assert_eq!(take("a", 200, 12_000), 200);
    }

    #[test]
    fn takes_the_keys_that_fit() {
        let limit = Limit { refusal: Refusal::Keys, ..Limit::of(100) };
        let partitions = Partitions::new(Some(limit));
        let now = Instant::now();
        assert_eq!([70, 70, 70].map(|keys| partitions.take("a", keys, now)), [70, 30, 0]);
        assert!(!partitions.refuses_requests());
        assert_eq!(Partitions::new(None).take("a", 1_000_000, now), 1_000_000);
    }
}
