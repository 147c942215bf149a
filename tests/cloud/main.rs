//! The function's binary in a local cloud: deployed by the project's template, driven over SQS, watched by its log.
//! And the S3 adapter on two stores by different people.
//!
//! | module | one line |
//! |---|---|
//! | `erasing` | what ends well: over many hops, with odd keys, from continuations |
//! | `failing` | what does not: malformed messages, versioned or missing buckets, missing permissions |
//! | `adapter` | the same odd keys on ministack and on seaweedfs, one by one and all at once |
//! | `starting` | the binary where it cannot work: wrong settings, no Lambda |
//! | `deployed` | a stack, its queues and its log, with bounded waits |
//! | `objects` | keys that have broken other deletion scripts, and neighbours that tempt |
//!
//! Every test has servers of its own, which end with it, failed or not: they take a second to start.

mod adapter;
mod deployed;
mod erasing;
mod failing;
mod objects;
mod starting;

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

/// Whatever went wrong, as text.
type Failure = Box<dyn Error + Send + Sync>;
type Outcome = Result<(), Failure>;

/// Ends a test that hangs. Installing and starting servers has limits of its own and does not belong in here.
async fn within(limit: Duration, test: impl Future<Output = Outcome>) -> Outcome {
    match tokio::time::timeout(limit, Box::pin(test)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(format!("the test has not ended within {limit:?}: a server hangs, or a wait has no end").into()),
    }
}

/// As `assert_eq!` for two lists of which only the differences are worth printing.
fn assert_same<T: Debug + PartialEq>(found: &[T], expected: &[T], what: &str) {
    let missing: Vec<&T> = expected.iter().filter(|item| !found.contains(item)).collect();
    let extra: Vec<&T> = found.iter().filter(|item| !expected.contains(item)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}\n  missing: {missing:?}\n  too many: {extra:?}");
    assert_eq!(found.len(), expected.len(), "{what}: something is there twice");
}
