//! Erases everything that a withdrawn user stored in S3, and proves it.
//!
//! Data flows one way: an SQS event comes to the [`handler`], a [`message`] tells whose erasure it is, the [`eraser`]
//! works on a [`bucket`] until the time is over, and what it reports goes back as an answer, over the [`queue`] as a
//! continuation, or to the [`receipts`].
//!
//! Three invariants, and where they are kept:
//!
//! - **Nothing outside the user's prefix is deleted.** Only [`target::Prefix::own`] makes a [`target::Key`], and only
//!   keys can be deleted. No message names a bucket or a prefix. A dry run has only a [`bucket::Bucket`] to read from,
//!   and no [`bucket::Deletes`].
//! - **"Erased" is said only after a fresh and complete listing found nothing.** The eraser has one line that returns
//!   [`work::End::Erased`].
//! - **No request is lost.** [`handler::Handler::handle`] lets a message go only when its work is proven done and its
//!   receipt stored, or its continuation is in the queue. Whatever crashes, the message comes again.

pub mod bookmark;
pub mod bucket;
pub mod config;
pub mod deadline;
mod deleted;
pub mod eraser;
pub mod handler;
pub mod json;
mod lanes;
pub mod message;
pub mod metrics;
mod outcome;
pub mod pace;
pub mod queue;
pub mod receipt;
pub mod receipts;
mod sieve;
pub mod survey;
pub mod tally;
pub mod target;
mod tour;
pub mod work;
