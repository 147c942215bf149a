//! [`Queue`], implemented with the AWS SDK.

use std::error::Error;
use std::time::Duration;

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::RequestId;
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_sdk_sqs::{Client, Config};
use md5::{Digest, Md5};

use crate::aws::timeouts::timeouts;
use crate::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};
use crate::target::hex;

/// SQS, through one client that all requests share.
#[derive(Debug)]
pub struct Sqs {
    client: Client,
    continuation_queue_url: String,
}

impl Sqs {
    /// Creates the adapter. The client must not retry: the callers retry within the remaining time.
    pub fn new(client: Client, continuation_queue_url: String) -> Self {
        Self { client, continuation_queue_url }
    }

    /// The URL of the queue that a message came from. It has the same host and form as the
    /// continuation queue's URL.
    fn url_of(&self, queue_arn: Option<&str>) -> String {
        let source = queue_arn.and_then(|arn| {
            // Example: arn:aws:sqs:eu-central-1:123456789012:erase
            let mut parts = arn.split(':').skip(4);
            Some((parts.next()?, parts.next()?))
        });
        let host = self.continuation_queue_url.rsplitn(3, '/').nth(2);
        match (source, host) {
            (Some((account, name)), Some(host)) => format!("{host}/{account}/{name}"),
            _ => self.continuation_queue_url.clone(),
        }
    }
}

impl Queue for Sqs {
    async fn send(
        &self,
        continuation: &OutgoingMessage,
        limit: Duration,
    ) -> Result<(), QueueError> {
        let is_fifo = self.continuation_queue_url.ends_with(".fifo");
        let delay_seconds = i32::try_from(continuation.delay.as_secs()).ok();
        let sent = self
            .client
            .send_message()
            .queue_url(&self.continuation_queue_url)
            .message_body(&continuation.body)
            .message_group_id(&continuation.group)
            .set_message_deduplication_id(is_fifo.then(|| continuation.deduplication_id.clone()))
            .set_delay_seconds(delay_seconds.filter(|seconds| *seconds > 0 && !is_fifo))
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let sent = sent.map_err(|error| fault("SendMessage", &error))?;
        check_sent(&sent, &continuation.body)
    }

    async fn set_visibility(
        &self,
        received: &ReceiptHandle,
        visibility: Duration,
        limit: Duration,
    ) -> Result<(), QueueError> {
        let changed = self
            .client
            .change_message_visibility()
            .queue_url(self.url_of(received.queue_arn.as_deref()))
            .receipt_handle(&received.receipt_handle)
            .visibility_timeout(i32::try_from(visibility.as_secs()).unwrap_or(i32::MAX))
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        changed.map(|_| ()).map_err(|error| fault("ChangeMessageVisibility", &error))
    }
}

/// Checks that SQS accepted the message. SQS returns an id and the MD5 of the body for every
/// message that it accepts. Any other response with HTTP 200 comes from something else, such as a
/// proxy, and the message is not in the queue.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
fn check_sent(sent: &SendMessageOutput, body: &str) -> Result<(), QueueError> {
    let distrust = |what: &str| Err(QueueError::Unavailable(format!("SendMessage: {what}")));
    let is_named = sent.message_id().is_some_and(|id| !id.is_empty());
    match sent.md5_of_message_body() {
        _ if !is_named => distrust("the answer has no MessageId"),
        Some(digest) if !digest.eq_ignore_ascii_case(&hex(&Md5::digest(body))) => {
            distrust("the answer has the MD5 of another body")
        }
        Some(_) | None => Ok(()),
    }
}

fn fault<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> QueueError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Some(response) = error.raw_response() else {
        let is_timeout = matches!(error, SdkError::TimeoutError(_));
        let kind = if is_timeout { "NoAnswerInTime" } else { "NoConnection" };
        return QueueError::NoAnswer(format!("{operation}: {kind}"));
    };
    let status = response.status().as_u16();
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or("NoCode");
    let request_id = error.request_id().unwrap_or("none");
    let text = format!("{operation}: {code} (HTTP {status}, request id {request_id})");
    // SQS returns 400 for some of its throttling errors, so the code decides.
    // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
    let is_temporary = status == 429 || !(400..500).contains(&status) || code.contains("Throttl");
    if is_temporary { QueueError::Unavailable(text) } else { QueueError::Permanent(text) }
}

fn within(limit: Duration) -> aws_sdk_sqs::config::Builder {
    Config::builder().timeout_config(timeouts(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_queue_that_a_message_came_from() {
        let config = Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::v2026_01_12())
            .build();
        let sqs = Sqs::new(
            Client::from_conf(config),
            "http://127.0.0.1:4566/000000000000/continue".to_owned(),
        );
        let arn = "arn:aws:sqs:us-east-1:123456789012:withdrawals.fifo";
        assert_eq!(sqs.url_of(Some(arn)), "http://127.0.0.1:4566/123456789012/withdrawals.fifo");
        assert_eq!(sqs.url_of(None), "http://127.0.0.1:4566/000000000000/continue");
        assert_eq!(sqs.url_of(Some("nonsense")), "http://127.0.0.1:4566/000000000000/continue");
    }
}
