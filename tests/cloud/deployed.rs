//! The project's stack in a local cloud: messages in, log lines out, and waits that end.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use local::{Hop, Ministack, Stack};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::emf::Embedded;
use crate::objects::USER;
use crate::{Failure, Outcome};

const POLL: Duration = Duration::from_millis(100);

/// The message of an invocation's end is deleted a moment after its log line is there.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// The function's time limit where a test sets none, in seconds, and with it that of its queue's
/// visibility (see `template.yaml`): SQS redelivers a message earlier only because the function
/// requested it.
const FUNCTION_TIMEOUT: &str = "10";
pub(crate) const QUEUE_VISIBILITY: Duration = Duration::from_secs(60);

/// A deployed stack and its cloud.
#[derive(Debug)]
pub(crate) struct Deployed<'a> {
    pub(crate) cloud: &'a Ministack,
    pub(crate) stack: Stack,
}

impl<'a> Deployed<'a> {
    /// Deploys the function's binary with the template.
    pub(crate) async fn new(
        cloud: &'a Ministack,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let mut all = parameters.to_vec();
        if !all.iter().any(|(name, _)| *name == "FunctionTimeout") {
            all.push(("FunctionTimeout", FUNCTION_TIMEOUT));
        }
        let stack = cloud.deploy(Path::new(env!("CARGO_BIN_EXE_erase-user-files")), &all).await?;
        Ok(Self { cloud, stack })
    }

    /// Sends the message that a user has withdrawn.
    pub(crate) async fn withdraw(&self, user: &str) -> Outcome {
        self.send(&json!({ "type": "user-withdrawn", "userId": user }).to_string()).await
    }

    /// Sends any message.
    pub(crate) async fn send(&self, body: &str) -> Outcome {
        self.cloud.send_message(&self.stack.queue_url, body).await?;
        Ok(())
    }

    /// Waits until the finished hops are enough, and returns them.
    pub(crate) async fn hops_until(
        &self,
        what: &str,
        limit: Duration,
        is_enough: impl Fn(&[Hop]) -> bool + Send,
    ) -> Result<Vec<Hop>, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            let hops = self.cloud.hops(&self.stack).await?;
            if is_enough(&hops) {
                return Ok(hops);
            }
            if Instant::now() > deadline {
                return Err(self.too_late(what, limit).await);
            }
            sleep(POLL).await;
        }
    }

    /// Requests the erasure of u1 under this id.
    pub(crate) async fn request(&self, id: &str) -> Outcome {
        let body = json!({ "type": "user-withdrawn", "userId": USER, "requestId": id });
        self.send(&body.to_string()).await
    }

    /// Waits until so many hops have ended with "erased", and nothing is left in the queues.
    pub(crate) async fn erased(&self, times: usize, limit: Duration) -> Result<Vec<Hop>, Failure> {
        let is_erased =
            |hops: &[Hop]| hops.iter().filter(|hop| hop.outcome == "erased").count() >= times;
        let hops = self.hops_until(&format!("{times} times \"erased\""), limit, is_erased).await?;
        self.depth_becomes(0).await?;
        let dead = self.cloud.queue_depth(&self.stack.dead_letter_queue_url).await?;
        assert_eq!(dead, 0, "messages in the dead-letter queue after {hops:#?}");
        Ok(hops)
    }

    /// Waits until the queue holds so many messages, visible or not.
    pub(crate) async fn depth_becomes(&self, expected: u64) -> Outcome {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let depth = self.cloud.queue_depth(&self.stack.queue_url).await?;
            if depth == expected {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self
                    .too_late(
                        &format!("{expected} messages in the queue, not {depth}"),
                        SETTLE_LIMIT,
                    )
                    .await);
            }
            sleep(POLL).await;
        }
    }

    /// Takes the bodies of so many messages out of the dead-letter queue, sorted.
    pub(crate) async fn dead_letters(
        &self,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<String>, Failure> {
        let deadline = Instant::now() + limit;
        let mut bodies = Vec::new();
        while bodies.len() < count {
            let request =
                self.cloud.sqs().receive_message().queue_url(&self.stack.dead_letter_queue_url);
            let answer = request.max_number_of_messages(10).visibility_timeout(60).send().await?;
            bodies.extend(answer.messages.into_iter().flatten().filter_map(|message| message.body));
            if Instant::now() > deadline {
                let what =
                    format!("{count} messages in the dead-letter queue, not {}", bodies.len());
                return Err(self.too_late(&what, limit).await);
            }
            sleep(POLL).await;
        }
        bodies.sort();
        Ok(bodies)
    }

    /// The function's own log lines with this message.
    pub(crate) async fn log(&self, message: &str) -> Result<Vec<Value>, Failure> {
        let lines = self.cloud.function_log_lines(&self.stack).await?;
        let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(values.filter(|value| value["message"] == message).collect())
    }

    /// What each invocation counted.
    pub(crate) async fn metrics(&self) -> Result<Vec<Embedded>, Failure> {
        let lines = self.cloud.function_log_lines(&self.stack).await?;
        Ok(lines.iter().filter_map(|line| Embedded::read(line)).collect())
    }

    /// What every log must fulfil: no user id in plain text, no key, no invocation that Lambda had
    /// to end.
    pub(crate) async fn assert_log_is_discreet(&self) -> Outcome {
        let lines = self.cloud.function_log_lines(&self.stack).await?;
        assert!(!lines.is_empty(), "the function's log is empty");
        for line in lines {
            for forbidden in [USER, "keep.txt", "photos/0", "imed out", "panicked"] {
                assert!(!line.contains(forbidden), "{forbidden:?} in the log: {line}");
            }
        }
        Ok(())
    }

    /// The queue's own count of messages that are hidden until their visibility timeout ends.
    pub(crate) async fn hidden_messages(&self) -> Result<String, Failure> {
        let name = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let request = self.cloud.sqs().get_queue_attributes().queue_url(&self.stack.queue_url);
        let answer = request.attribute_names(name.clone()).send().await?;
        Ok(answer.attributes.unwrap_or_default().remove(&name).unwrap_or_default())
    }

    async fn too_late(&self, what: &str, limit: Duration) -> Failure {
        let log = self.cloud.function_log_lines(&self.stack).await.unwrap_or_default();
        let log = log[log.len().saturating_sub(40)..].join("\n");
        let words = self.cloud.last_words();
        Failure(format!(
            "waited {limit:?} in vain for {what}.\nThe function's log:\n{log}\nThe server's log:\n{words}"
        ))
    }
}

/// Checks a whole chain: numbered without gaps, continued until erased, each hop in time, sums that
/// add up.
pub(crate) fn assert_is_chain(hops: &[Hop], function_timeout: Duration) {
    let last = hops.len().saturating_sub(1);
    let (mut objects, mut bytes) = (0, 0);
    for (index, hop) in hops.iter().enumerate() {
        let outcome = if index == last { "erased" } else { "continued" };
        assert_eq!(hop.outcome, outcome, "hop {index} of {hops:#?}");
        assert_eq!(hop.hop, index as u64, "the number of hop {index} in {hops:#?}");
        objects += hop.objects;
        bytes += hop.bytes;
        assert_eq!(
            (hop.total_objects, hop.total_bytes),
            (objects, bytes),
            "totals of hop {index} in {hops:#?}"
        );
        let took = Duration::from_millis(hop.duration_ms);
        assert!(took < function_timeout, "hop {index} ended after its deadline: {hops:#?}");
        assert_eq!(hop.reason, "", "hop {index} of {hops:#?}");
    }
    let names: BTreeSet<(&str, &str)> =
        hops.iter().map(|hop| (hop.user.as_str(), hop.erasure.as_str())).collect();
    assert_eq!(
        names.len(),
        1,
        "one user and one erasure, by the same names in all hops: {names:?}"
    );
}
