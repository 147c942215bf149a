use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::client::{Call, Plain};

/// What the function says at the end of its share of an erasure: its log line `hop finished`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hop {
    /// `erased`, `swept`, `dry-run`, `continued`, `incomplete`, `failed` or `rejected`.
    pub outcome: String,
    /// The hash of the user id: see [`crate::user_hash`].
    pub user: String,
    /// Id of the erasure.
    pub erasure: String,
    /// Number of the hop, from 0.
    pub hop: u64,
    /// Its last round, from 1.
    pub round: u64,
    /// Objects that this hop deleted, of buckets that never had versions.
    pub objects: u64,
    /// Versions that it deleted.
    pub versions: u64,
    /// Delete markers that it deleted.
    pub delete_markers: u64,
    /// Unfinished uploads that it aborted.
    pub uploads: u64,
    /// The bytes of all these, as far as they are known.
    pub bytes: u64,
    /// Objects that the whole erasure deleted so far.
    pub total_objects: u64,
    /// Versions that it deleted.
    pub total_versions: u64,
    /// Delete markers that it deleted.
    pub total_delete_markers: u64,
    /// Unfinished uploads that it aborted.
    pub total_uploads: u64,
    /// The bytes of all these.
    pub total_bytes: u64,
    /// What `eraseBefore` keeps.
    pub kept_newer: u64,
    /// Versions that Object Lock holds.
    pub retained: u64,
    /// Requests to S3.
    pub requests: u64,
    /// Answers and keys that S3 throttled.
    pub throttles: u64,
    /// Requests and keys that were tried again.
    pub retries: u64,
    /// Items that S3 rejects to delete for other reasons.
    pub refused: u64,
    /// How often the message was delivered.
    pub receive_count: u64,
    /// Why it did not end well; else empty.
    pub reason: String,
    /// Duration of the hop.
    pub duration_ms: u64,
    /// The invocation.
    pub span: Span,
}

/// The invocation of a log line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Span {
    /// The invocation's id.
    pub request_id: String,
}

impl Hop {
    /// Reads one line of the function's log; `None` if it is about something else.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        if value.get("message")?.as_str()? != "hop finished" {
            return None;
        }
        serde_json::from_value(value).ok()
    }
}

/// Every line of a log group, in order.
pub(crate) async fn lines(plain: &Plain, group: &str) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    let mut token = Value::Null;
    loop {
        let mut question = json!({ "logGroupName": group });
        if !token.is_null() {
            question["nextToken"] = token;
        }
        let headers = [
            ("x-amz-target", "Logs_20140328.FilterLogEvents"),
            ("content-type", "application/x-amz-json-1.1"),
        ];
        let body = question.to_string().into_bytes();
        let call = Call { method: "POST", service: "logs", path: "/", headers: &headers, body };
        let text = plain.send(call).await?;
        let mut answer: Value = serde_json::from_str(&text)
            .map_err(|error| Error::service("read the function's log", error.to_string()))?;
        let events = answer["events"].as_array().into_iter().flatten();
        lines.extend(events.filter_map(|event| event["message"].as_str().map(str::to_owned)));
        token = answer["nextToken"].take();
        if token.is_null() {
            return Ok(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hop;

    #[test]
    fn reads_a_finished_hop_and_nothing_else() {
        let line = r#"{"timestamp":"t","level":"INFO","message":"hop finished","outcome":"continued","hop":2,"new":1}"#;
        let hop = Hop { outcome: "continued".to_owned(), hop: 2, ..Hop::default() };
        assert_eq!(Hop::parse(line), Some(hop));
        assert_eq!(Hop::parse(r#"{"message":"other"}"#), None);
        assert_eq!(Hop::parse("START RequestId: 1"), None);
    }
}
