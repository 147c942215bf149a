//! A model of SQS: one standard queue with its dead-letter queue.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use local::http::{Answer, answer, text_of};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::environment::epoch_ms;

/// As in `template.yaml`.
const MAX_RECEIVE_COUNT: u32 = 5;
/// SQS keeps no order, but looks at old messages first more often than not: each is taken from
/// among so many.
const LOOKED_AT: usize = 64;

const JSON: &str = "application/x-amz-json-1.0";

/// A message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) sent_epoch_ms: u64,
    pub(crate) receive_count: u32,
    /// Names this delivery.
    pub(crate) receipt_handle: String,
    visible_from: Instant,
}

#[derive(Debug)]
struct Inside {
    messages: Vec<Message>,
    dead: Vec<Message>,
    count: u64,
    chance: fastrand::Rng,
}

/// The queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    inside: Arc<Mutex<Inside>>,
    changed: Arc<Notify>,
    visibility_timeout: Duration,
}

impl Queue {
    pub(crate) fn new(visibility_timeout: Duration, seed: u64) -> Self {
        let chance = fastrand::Rng::with_seed(seed);
        let inside = Inside { messages: Vec::new(), dead: Vec::new(), count: 0, chance };
        Self { inside: Arc::new(Mutex::new(inside)), changed: Arc::default(), visibility_timeout }
    }

    fn locked(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message and returns its id.
    pub(crate) fn send(&self, body: String, delay: Duration) -> String {
        let mut inside = self.locked();
        inside.count += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", inside.count);
        inside.messages.push(Message {
            id: id.clone(),
            body,
            sent_epoch_ms: epoch_ms(),
            receive_count: 0,
            receipt_handle: String::new(),
            visible_from: Instant::now() + delay,
        });
        drop(inside);
        self.changed.notify_waiters();
        id
    }

    /// Takes up to so many messages; waits for the first. What was received too often goes to the
    /// dead-letter queue.
    pub(crate) async fn receive(&self, most: usize) -> Vec<Message> {
        loop {
            let changed = self.changed.notified();
            let (taken, next) = self.take(most);
            if !taken.is_empty() {
                return taken;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(next.unwrap_or_else(|| Instant::now() + Duration::from_secs(1))) => {}
            }
        }
    }

    fn take(&self, most: usize) -> (Vec<Message>, Option<Instant>) {
        let now = Instant::now();
        let mut inside = self.locked();
        let Inside { messages, dead, count, chance } = &mut *inside;
        dead.extend(messages.extract_if(.., |message| {
            message.visible_from <= now && message.receive_count >= MAX_RECEIVE_COUNT
        }));
        let mut visible: Vec<usize> =
            (0..messages.len()).filter(|at| messages[*at].visible_from <= now).collect();
        let mut taken = Vec::new();
        while taken.len() < most && !visible.is_empty() {
            let at = visible.remove(chance.usize(..visible.len().min(LOOKED_AT)));
            *count += 1;
            let message = &mut messages[at];
            message.receive_count += 1;
            message.receipt_handle = format!("{}#{count}", message.id);
            message.visible_from = now + self.visibility_timeout;
            taken.push(message.clone());
        }
        (taken, messages.iter().map(|message| message.visible_from).min())
    }

    /// Acknowledges a delivery.
    pub(crate) fn delete(&self, receipt_handle: &str) {
        self.locked().messages.retain(|message| message.receipt_handle != receipt_handle);
        self.changed.notify_waiters();
    }

    /// How many messages it holds, visible or not, and how many are dead.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let inside = self.locked();
        (inside.messages.len(), inside.dead.len())
    }

    fn change_visibility(&self, receipt_handle: &str, visibility: Duration) -> bool {
        let mut inside = self.locked();
        let found =
            inside.messages.iter_mut().find(|message| message.receipt_handle == receipt_handle);
        let is_found = found.is_some();
        if let Some(message) = found {
            message.visible_from = Instant::now() + visibility;
        }
        drop(inside);
        self.changed.notify_waiters();
        is_found
    }

    /// What the function may ask of SQS, over its JSON protocol.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let target = target.unwrap_or_default().to_owned();
        let input: Value = serde_json::from_str(&text_of(request).await).unwrap_or_default();
        let seconds = |name: &str| Duration::from_secs(input[name].as_u64().unwrap_or(0));
        let text = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
        Ok(match target.as_str() {
            "AmazonSQS.SendMessage" => {
                let id = self.send(text("MessageBody"), seconds("DelaySeconds"));
                answer(200, JSON, json!({ "MessageId": id }).to_string())
            }
            "AmazonSQS.ChangeMessageVisibility"
                if self.change_visibility(&text("ReceiptHandle"), seconds("VisibilityTimeout")) =>
            {
                answer(200, JSON, "{}")
            }
            _ => {
                let fault =
                    json!({ "__type": "com.amazonaws.sqs#InvalidAction", "message": target });
                answer(400, JSON, fault.to_string())
            }
        })
    }
}
