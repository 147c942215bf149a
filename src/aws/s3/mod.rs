//! The S3 adapters, implemented with the AWS SDK: the store and the receipts.

mod cache;
mod delete;
mod errors;
mod list;
mod object_lock;
pub mod receipts;
mod redact;
mod regional;
mod responses;
pub mod store;
mod xml;
