//! A faultless S3 in memory: what an erasure is checked against.
//!
//! [`model::S3`] is the model: plain data and the effect of each operation on it. [`handle::Fake`]
//! is a handle on one, which the function gets instead of the real S3. The model contains whatever
//! S3 does to an erasure, and nothing else: versions and delete markers, multipart uploads, Object
//! Lock, listings page by page. Nothing is slow, and nothing fails except what S3 rejects by its
//! own rules.

pub(crate) mod handle;
pub(crate) mod listing;
pub(crate) mod model;
