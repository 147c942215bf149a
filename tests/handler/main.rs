//! The handler in virtual time.
//!
//! | module | one line |
//! |---|---|
//! | `flow` | budget, hand-off, fairness, and what one message may do to another |
//! | `receipts` | what is stored, when, and what happens when it cannot be |
//! | `attacks` | ids and messages that would like to reach somebody else's files |
//! | `batches` | what of a batch is sent again, and what is told of the rest |
//! | `care` | dry runs, the fuse, the sweep |
//! | `proof` | what changes while it is listed |
//! | `metrics` | the numbers that an invocation leaves |
//! | `scene` | a function with its store, its queue and its receipts |

mod attacks;
mod batches;
mod care;
#[path = "../emf/mod.rs"]
mod emf;
mod flow;
mod metrics;
mod proof;
mod receipts;
mod scene;
#[path = "../schema/mod.rs"]
mod schema;
