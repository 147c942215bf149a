//! The event source mapping: takes messages from the queue in batches and has environments work on
//! them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Error;
use crate::environment::Environment;
use crate::process::Usage;
use crate::queue::{Message, Queue};

/// As in `template.yaml`.
const BATCH_SIZE: usize = 10;

/// One invocation.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    pub(crate) id: String,
    /// The number of its environment.
    pub(crate) lane: usize,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    /// Messages that it did not finish.
    pub(crate) failed_messages: usize,
    /// What its process had used at its end.
    pub(crate) usage: Usage,
}

/// Every invocation that has ended.
pub(crate) type Invocations = Arc<Mutex<Vec<Invocation>>>;

/// Feeds one environment without end: with `MaximumConcurrency`, there are so many of these.
pub(crate) async fn feed(
    queue: &Queue,
    lane: usize,
    environment: &mut Environment,
    invocations: &Invocations,
) -> Result<(), Error> {
    let mut number = 0;
    loop {
        let messages = queue.receive(BATCH_SIZE).await;
        number += 1;
        let id = format!("{lane}-{number}");
        let event = json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() });
        let reply = environment.invoke(&id, event.to_string()).await?;
        let again = failed_messages(&id, reply.body, &messages)?;
        for message in messages.iter().filter(|message| !again.contains(&message.id)) {
            queue.delete(&message.receipt_handle);
        }
        let (begin, end, usage) = (reply.begin, reply.end, environment.usage());
        let invocation = Invocation { id, lane, begin, end, failed_messages: again.len(), usage };
        invocations.lock().unwrap_or_else(PoisonError::into_inner).push(invocation);
    }
}

fn failed_messages(
    id: &str,
    body: Result<String, String>,
    messages: &[Message],
) -> Result<HashSet<String>, Error> {
    let Ok(body) = body else {
        // After an error, all messages are delivered again.
        return Ok(messages.iter().map(|message| message.id.clone()).collect());
    };
    let answer: Value = serde_json::from_str(&body).map_err(|error| {
        Error::service("run the function", format!("invocation {id} answered {body:?}: {error}"))
    })?;
    let failures = answer["batchItemFailures"].as_array().into_iter().flatten();
    Ok(failures
        .filter_map(|failure| failure["itemIdentifier"].as_str().map(str::to_owned))
        .collect())
}

fn record(message: &Message) -> Value {
    json!({
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": {
            "ApproximateReceiveCount": message.receive_count.to_string(),
            "SentTimestamp": message.sent_epoch_ms.to_string(),
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:erase",
        "awsRegion": "us-east-1",
    })
}
