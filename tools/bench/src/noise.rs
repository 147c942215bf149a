//! What fails at random in a model of S3, whatever the rate.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use s3s::{S3Error, s3_error};

use crate::trace::Operation;

/// What fails, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// What fails.
    pub what: Noisy,
    /// How much of it: 0 to 1.
    pub share: f64,
}

/// What fails at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noisy {
    /// Keys of a DeleteObjects, within a 200. The next attempt of the same key succeeds.
    Keys {
        /// What S3 says of them.
        code: &'static str,
    },
    /// Delete requests as a whole, with 503 `SlowDown`.
    Deletions,
    /// Requests of all kinds as a whole, with 500 `InternalError`.
    Requests,
}

/// Decides what fails.
#[derive(Debug)]
pub(crate) struct Dice {
    /// `None`: nothing does.
    noise: Option<Noise>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    /// Keys that have failed and were not tried again since.
    failed: HashSet<String>,
    /// The part of a failure that the requests so far make. A run has few requests: the share of
    /// them that fails is exact, and where it begins is random.
    owed: f64,
}

impl Dice {
    pub(crate) fn new(noise: Option<Noise>, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let owed = random.f64();
        Self { noise, state: Mutex::new(State { random, failed: HashSet::new(), owed }) }
    }

    /// The answer to a request that fails as a whole.
    pub(crate) fn error_of(&self, operation: Operation) -> Option<S3Error> {
        let Noise { what, share } = self.noise?;
        let error = match what {
            Noisy::Deletions if operation == Operation::Delete => s3_error!(SlowDown),
            Noisy::Requests => s3_error!(InternalError),
            Noisy::Keys { .. } | Noisy::Deletions => return None,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.owed += share;
        let fails = state.owed >= 1.0;
        state.owed -= f64::from(fails);
        fails.then_some(error)
    }

    /// What S3 says of a key that fails.
    pub(crate) fn code_of(&self, name: &str) -> Option<&'static str> {
        let Noise { what: Noisy::Keys { code }, share } = self.noise? else {
            return None;
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = !state.failed.remove(name) && state.random.f64() < share;
        if fails {
            state.failed.insert(name.to_owned());
        }
        fails.then_some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice(what: Noisy, share: f64) -> Dice {
        Dice::new(Some(Noise { what, share }), 1)
    }

    #[test]
    fn a_share_of_the_keys_fails_once() {
        let dice = dice(Noisy::Keys { code: "InternalError" }, 0.05);
        let names: Vec<String> = (0..10_000).map(|number| format!("u1/{number}")).collect();
        let failed: Vec<&String> =
            names.iter().filter(|name| dice.code_of(name).is_some()).collect();
        assert!((400..600).contains(&failed.len()), "{}", failed.len());
        assert!(
            failed.iter().all(|name| dice.code_of(name).is_none()),
            "the next attempt succeeds"
        );
        assert!(dice.error_of(Operation::Delete).is_none());
    }

    #[test]
    fn requests_fail_as_a_whole() {
        let codes = |what| {
            let dice = dice(what, 1.0);
            [Operation::Delete, Operation::List].map(|operation| {
                assert_eq!(dice.code_of("u1/a"), None);
                dice.error_of(operation).map(|error| error.code().as_str().to_owned())
            })
        };
        assert_eq!(codes(Noisy::Deletions), [Some("SlowDown".to_owned()), None]);
        let internal = Some("InternalError".to_owned());
        assert_eq!(codes(Noisy::Requests), [internal.clone(), internal]);
    }

    #[test]
    fn the_share_of_failed_requests_is_exact() {
        let dice = dice(Noisy::Deletions, 0.05);
        let failed = (0..200).filter(|_| dice.error_of(Operation::Delete).is_some()).count();
        assert_eq!(failed, 10);
    }

    #[test]
    fn nothing_fails_without_noise() {
        let dice = Dice::new(None, 1);
        assert!(dice.code_of("u1/a").is_none() && dice.error_of(Operation::Delete).is_none());
    }
}
