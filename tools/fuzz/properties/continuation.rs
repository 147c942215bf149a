//! Any text as a continuation, and as what a continuation carries.

use serde_json::{Value, json};

use super::erasures::{configs, read};
use super::hop;

/// Takes a whole continuation, or one whose checkpoint and totals are forged.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (token, counts) = text.split_once('\n').unwrap_or((text, "{}"));
    let counts: Value = serde_json::from_str(counts).unwrap_or_default();
    // In the last kind of the last target: right before the end.
    let forged = json!({
        "type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1,
        "bookmark": {"round": 2, "target": "s3://videos/{user_id}/", "kind": "deleteMarkers", "token": token},
        "tally": counts,
    });
    let forged = forged.to_string();
    for config in configs() {
        // Whatever is wrong with it, the error is one of ours.
        drop(read(text, config));
        if let Ok(erasure) = read(&forged, config) {
            assert_eq!(
                (erasure.user.id().as_str(), erasure.checkpoint.token.as_deref()),
                ("u1", Some(token))
            );
        }
    }
    hop::check(text);
    hop::check(&forged);
}
