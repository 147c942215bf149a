//! The handler in virtual time.
//!
//! | module | one line |
//! |---|---|
//! | `flow` | budget, hand-off, fairness, and what one message may do to another |
//! | `receipts` | what is stored, when, and what happens when it cannot be |
//! | `attacks` | ids and messages that try to reach the files of another user |
//! | `batches` | which items of a batch are retried, and what the report says about the others |
//! | `safety_settings` | dry runs, the object limit, the sweep, patterns of user ids |
//! | `patterns` | files named after users, and tenants: neighbours with similar names stay |
//! | `proof` | what changes while it is listed |
//! | `isolation` | one target or one key that fails, and all others |
//! | `stores` | stores that are slow, list what they deleted, or do not find what they listed |
//! | `redelivery` | messages that SQS redelivers after their end |
//! | `metrics` | the numbers that an invocation leaves |
//! | `fixture` | a function with its store, its queue and its receipts |
//! | `faulty` | a function that stays warm, over three buckets of which one fails |

mod attacks;
mod batches;
#[path = "../emf/mod.rs"]
mod emf;
#[expect(dead_code, reason = "the simulation uses more of it")]
#[path = "../fake/mod.rs"]
mod fake;
#[path = "../fake/faults.rs"]
mod faults;
mod faulty;
mod fixture;
mod flow;
mod isolation;
mod metrics;
mod patterns;
mod proof;
mod receipts;
mod redelivery;
mod safety_settings;
#[path = "../schema/mod.rs"]
mod schema;
mod stores;
