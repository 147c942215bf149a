//! Erases everything that a withdrawn user stored in S3, and proves it.
//!
//! Data flows one way: an SQS event comes to the [`handler`], a [`message`] tells whose erasure it is, the [`eraser`]
//! works on a [`bucket`] until the time is over, and what it reports goes back as an answer or, over the [`queue`],
//! as a continuation.
//!
//! Three invariants, and where they are kept:
//!
//! - **Nothing outside the user's prefix is deleted.** Only [`target::Prefix::own`] makes a [`target::Key`], and only
//!   keys can be deleted. No message names a bucket or a prefix.
//! - **"Erased" is said only after a fresh and complete listing found nothing.** [`eraser::Eraser::erase`] has one
//!   line that returns [`eraser::End::Erased`].
//! - **No request is lost.** [`handler::Handler::handle`] lets a message go only when its work is proven done or its
//!   continuation is in the queue. Whatever crashes, the message comes again.

pub mod bookmark;
pub mod bucket;
pub mod config;
pub mod deadline;
pub mod eraser;
pub mod handler;
pub mod message;
pub mod pace;
pub mod queue;
pub mod tally;
pub mod target;
