//! Erases everything that a withdrawn user stored in S3, and proves it.
//!
//! Data flows one way: an SQS event comes to the [`lambda`], a [`message`] tells whose erasure it
//! is, the [`erasure`] works on a [store](ports::store) until the time is over, and what it reports
//! goes back as an answer, over the [queue](ports::queue) as a continuation, or to the
//! [receipts](ports::receipts).
//!
//! Three invariants, and where they are kept:
//!
//! - **Nothing outside the user's prefix is deleted.** Only [`target::Prefix::claim`] makes a
//!   [`target::Key`], and only keys can be deleted. No message names a bucket or a prefix. A dry
//!   run has only a [`ports::store::ReadStore`] to read from, and no [`ports::store::DeleteStore`].
//! - **"Erased" is said only after a fresh and complete listing found nothing.** The eraser has one
//!   line that returns [`erasure::report::HopEnd::Erased`].
//! - **No request is lost.** [`lambda::handler::Handler::handle`] lets a message go only when its
//!   work is proven done and its receipt stored, or its continuation is in the queue. Whatever
//!   crashes, the message comes again.

pub mod aws;
pub mod config;
pub mod deadline;
pub mod erasure;
pub mod lambda;
pub mod limiter;
pub mod message;
pub mod ports;
pub mod target;
