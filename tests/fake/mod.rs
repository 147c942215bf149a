//! A faultless S3 in memory: what an erasure is checked against.
//!
//! [`model::S3`] is the model: plain data and what each operation makes of it. [`handle::Fake`] is
//! a handle on one, to be given to the function in the place of the real S3. Whatever S3 does to an
//! erasure is meant to be here, and nothing else: versions and delete markers, multipart uploads,
//! Object Lock, listings page by page. Nothing is slow, and nothing fails but what S3 rejects by
//! its own rules.

pub(crate) mod handle;
pub(crate) mod listing;
pub(crate) mod model;
