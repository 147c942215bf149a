//! What the wire carries.

pub mod erasure;
pub mod json;
