//! The message formats.

pub mod erasure;
mod error;
pub mod json;
mod request;
