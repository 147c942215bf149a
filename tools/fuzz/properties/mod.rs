//! What must hold for every input, however hostile: one module with one `check` for each fuzz
//! target.
//!
//! libFuzzer looks for inputs that break it (`make fuzz`), and `tests/fuzzed.rs` replays those that
//! were worth keeping.

pub(crate) mod continuation;
pub(crate) mod erasures;
#[path = "../../../tests/fake/mod.rs"]
#[expect(dead_code, reason = "a whole S3, of which not everything is needed here")]
mod fake;
pub(crate) mod hop;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod message;
pub(crate) mod patterns;
pub(crate) mod store;
pub(crate) mod template;
pub(crate) mod user_id;
