//! What an erasure has counted, over all its hops.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How many different error codes are told apart; the rest are counted as `other`.
const MAX_CODES: usize = 20;

/// Sums that only grow. At least what happened: what a crashed hop did is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tally {
    /// Objects that the store confirmed deleted.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests sent to S3.
    pub requests: u64,
    /// Answers, for a request or a key, that asked to slow down.
    pub throttles: u64,
    /// Requests that repeated an earlier one, or the failed part of it.
    pub retries: u64,
}

impl Tally {
    /// What came on top of an earlier state.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            objects: self.objects.saturating_sub(earlier.objects),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            requests: self.requests.saturating_sub(earlier.requests),
            throttles: self.throttles.saturating_sub(earlier.throttles),
            retries: self.retries.saturating_sub(earlier.retries),
        }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            objects: self.objects.saturating_add(more.objects),
            bytes: self.bytes.saturating_add(more.bytes),
            requests: self.requests.saturating_add(more.requests),
            throttles: self.throttles.saturating_add(more.throttles),
            retries: self.retries.saturating_add(more.retries),
        }
    }
}

/// The counters of one hop, raised as answers arrive, so that work that is dropped later stays counted.
#[derive(Debug, Default)]
pub struct Counters {
    before: Tally,
    objects: AtomicU64,
    bytes: AtomicU64,
    requests: AtomicU64,
    throttles: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    /// Counts on from what earlier hops counted.
    pub fn on_top_of(before: Tally) -> Self {
        Self { before, ..Self::default() }
    }

    /// One object is gone.
    pub fn deleted(&self, bytes: u64) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Requests were sent.
    pub fn requested(&self, requests: u64) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    /// Answers asked to slow down.
    pub fn throttled(&self, answers: u64) {
        self.throttles.fetch_add(answers, Ordering::Relaxed);
    }

    /// One request is a repetition.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// What this hop counted.
    pub fn hop(&self) -> Tally {
        Tally {
            objects: self.objects.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            throttles: self.throttles.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// What all hops counted.
    pub fn total(&self) -> Tally {
        self.before.plus(self.hop())
    }
}

/// How many keys failed with which code. Codes come from the store, so their number is bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codes(BTreeMap<String, u64>);

impl Codes {
    /// Counts keys under a code.
    pub fn add(&mut self, code: &str, keys: u64) {
        let has_room = self.0.len() < MAX_CODES || self.0.contains_key(code);
        let code = if has_room { code } else { "other" };
        let count = self.0.entry(code.to_owned()).or_default();
        *count = count.saturating_add(keys);
    }

    /// Adds all counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (code, keys) in &other.0 {
            self.add(code, *keys);
        }
    }

    /// All keys, whatever the code.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, keys| sum.saturating_add(*keys))
    }
}

impl std::fmt::Display for Codes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<String> = self.0.iter().map(|(code, keys)| format!("{code}: {keys}")).collect();
        formatter.write_str(&counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_from_the_store_are_bounded() {
        let mut codes = Codes::default();
        for number in 0..100 {
            codes.add(&format!("Code{number}"), 1);
        }
        codes.add("Code0", 1);
        assert_eq!(codes.0.len(), MAX_CODES + 1);
        assert_eq!(codes.total(), 101);
        assert_eq!(codes.0["Code0"], 2);
        assert_eq!(codes.0["other"], 80);
    }

    #[test]
    fn a_hop_counts_on_top_of_the_earlier_ones() {
        let before = Tally { objects: 5, bytes: 50, requests: 2, throttles: 1, retries: 1 };
        let counters = Counters::on_top_of(before);
        counters.deleted(7);
        counters.requested(1);
        assert_eq!(counters.total(), Tally { objects: 6, bytes: 57, requests: 3, throttles: 1, retries: 1 });
        assert_eq!(counters.total().since(before), counters.hop());
    }
}
