//! Any text as the body of a message.

use erase_user_files::message::erasure::Erasure;
use serde_json::{Value, json};

use super::erasures::{configs, read};

/// Takes a body as the function would, and once more in each envelope.
pub(crate) fn check(data: &[u8]) {
    // What comes from SQS is text.
    let Ok(body) = std::str::from_utf8(data) else {
        return;
    };
    for config in configs() {
        let Ok(erasure) = read(body, config) else {
            continue;
        };
        let value: Value = serde_json::from_str(body).expect("what was understood is JSON");
        if erasure.is_continuation || value["type"] != "user-withdrawn" {
            continue;
        }
        let by_sns = json!({"Type": "Notification", "Message": body}).to_string();
        assert_eq!(read(&by_sns, config).as_ref(), Ok(&erasure));
        // A continuation, or a second envelope of the same kind, does not come in one.
        let continuation = Erasure { hop: 1, ..erasure.clone() }.continuation();
        for inner in [&by_sns, &continuation] {
            assert!(
                read(&json!({"Type": "Notification", "Message": inner}).to_string(), config)
                    .is_err()
            );
        }
        let by_eventbridge = json!({"detail-type": "user-withdrawn", "detail": value}).to_string();
        match read(&by_eventbridge, config) {
            Ok(same) => assert_eq!(same, erasure),
            Err(error) => assert!(error.to_string().contains("recursion limit"), "{error}"),
        }
    }
}
