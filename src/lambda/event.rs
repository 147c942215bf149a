//! Reads the event's SQS records one by one.

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use lambda_runtime::Diagnostic;
use serde_json::Value;
use time::OffsetDateTime;

/// Why a whole event fails. SQS then delivers all its messages again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A message must be delivered again, but has no id by which the response could name it.
    #[error(
        "a record has no message id, so that the function cannot report only this message as failed: the whole batch is returned to the queue"
    )]
    UnnamedRecord,
    /// The function's caller sent something other than an SQS event.
    #[error(
        "the event is not from SQS: expected {{\"Records\": [{{\"messageId\": ..., \"body\": ...}}]}}"
    )]
    NotFromSqs,
}

impl From<EventError> for Diagnostic {
    fn from(error: EventError) -> Self {
        Self { error_type: format!("{error:?}"), error_message: error.to_string() }
    }
}

/// Reads an event record by record, so that a malformed one does not affect the others.
pub(super) fn read_event(event: Value) -> Result<SqsEvent, EventError> {
    let Value::Object(mut fields) = event else {
        return Err(EventError::NotFromSqs);
    };
    let Some(Value::Array(records)) = fields.remove("Records") else {
        return Err(EventError::NotFromSqs);
    };
    let mut event = SqsEvent::default();
    event.records = records.into_iter().map(read_record).collect::<Result<_, _>>()?;
    Ok(event)
}

/// Reads a record. A record that has an id but cannot be read becomes one without a body.
fn read_record(mut record: Value) -> Result<SqsMessage, EventError> {
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let mut name = SqsMessage::default();
    name.message_id = text("messageId");
    name.receipt_handle = text("receiptHandle");
    name.event_source_arn = text("eventSourceARN");
    if let Some(fields) = record.as_object_mut() {
        // The function does not use message attributes, so they cannot make a record invalid.
        fields.remove("messageAttributes");
    }
    let is_named = name.message_id.is_some();
    serde_json::from_value(record).or(if is_named { Ok(name) } else { Err(EventError::NotFromSqs) })
}

pub(super) fn receive_count(record: &SqsMessage) -> u32 {
    let count = record.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// When the message was sent, according to SQS.
pub(super) fn sent_at(record: &SqsMessage) -> Option<OffsetDateTime> {
    let milliseconds: u64 = record.attributes.get("SentTimestamp")?.parse().ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()
}
