//! The function's binary in a local cloud: deployed by the project's template, driven over SQS,
//! watched by its log. And the S3 adapter on two stores by different people.
//!
//! | module | one line |
//! |---|---|
//! | `erasing` | erasures that succeed: over many hops, with unusual keys, from continuations |
//! | `receipts` | versions, markers, uploads, locks, dry runs, and the receipts of all that |
//! | `failures` | what fails: malformed messages, missing buckets, missing permissions |
//! | `notifications` | the team's notification of an erasure that could not be completed |
//! | `privileges` | what the deployed role may do, request by request, and what it may not |
//! | `accounts` | targets and receipts in another account, with the bucket policies of `deploy/` |
//! | `acceptance`, `stores` | every kind of data in every state of versioning, on the model, ministack and seaweedfs |
//! | `endpoints`, `results` | the same at any endpoint, and the report: `make acceptance ENDPOINT=https://…` |
//! | `examples` | the programs in `examples/`, as another team would run them |
//! | `recipes` | a recipe of `examples/events` end to end, and the verifier of webhooks |
//! | `smoke` | the smoke test of a deployed stack: what it shows, and on what it fails |
//! | `packages` | what `make package` writes, deployed in every documented way |
//! | `policies` | the policies of `deploy/policies/`, with IAM enforced |
//! | `runbook` | the runbook against the log lines that the function writes |
//! | `starting` | the binary where it cannot work: wrong settings, no Lambda |
//! | `networks` | the binary behind a proxy, and with certificate authorities of its own |
//! | `deployed` | a stack, its queues and its log, with bounded waits |
//! | `objects` | keys that other deletion scripts mishandled, and similar keys of other users |
//!
//! Every test has servers of its own, which end with it, failed or not: they take a second to
//! start.

#![expect(clippy::future_not_send, reason = "every test has one thread")]

mod acceptance;
mod accounts;
mod deployed;
#[path = "../emf/mod.rs"]
mod emf;
mod endpoints;
mod erasing;
mod examples;
mod failures;
#[path = "../fake/mod.rs"]
#[expect(dead_code, reason = "the simulation uses more of it")]
mod fake;
mod networks;
mod notifications;
mod objects;
mod packages;
mod policies;
mod privileges;
mod receipts;
mod recipes;
mod results;
mod runbook;
#[path = "../schema/mod.rs"]
mod schema;
mod slack_picture;
mod smoke;
mod starting;
mod stores;

use std::error::Error;
use std::fmt::{self, Debug, Formatter};
use std::time::Duration;

/// Whatever went wrong. Shown as it is: what a test returns is printed with `Debug`, which escapes
/// every new line.
struct Failure(String);
type Outcome = Result<(), Failure>;

impl Debug for Failure {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        Self(text)
    }
}

/// Ends a test that hangs. Installing and starting servers has limits of its own and does not
/// belong in here.
async fn within(limit: Duration, test: impl Future<Output = Outcome>) -> Outcome {
    match tokio::time::timeout(limit, Box::pin(test)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(Failure(format!(
            "the test has not ended within {limit:?}: a server hangs, or a wait has no end"
        ))),
    }
}

/// As `assert_eq!` for two lists of which only the differences are worth printing.
fn assert_same<T: Debug + PartialEq>(found: &[T], expected: &[T], what: &str) {
    let missing: Vec<&T> = expected.iter().filter(|item| !found.contains(item)).collect();
    let extra: Vec<&T> = found.iter().filter(|item| !expected.contains(item)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{what}\n  missing: {missing:?}\n  too many: {extra:?}"
    );
    assert_eq!(found.len(), expected.len(), "{what}: something is there twice");
}
