//! The message formats.

pub mod erasure;
pub mod json;
