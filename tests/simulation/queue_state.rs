//! What is in the queue and in its dead-letter queue.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::faults::START;

/// SQS gives a message up after so many deliveries.
const MAX_RECEIVE_COUNT: u32 = 5;

const DEDUPLICATED_FOR: Duration = Duration::from_secs(300);

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The erasure's id.
    pub(crate) erasure: String,
    pub(crate) user: String,
    pub(crate) hop: u64,
    pub(crate) is_sweep: bool,
    /// When the sweep that it asks for is due.
    pub(crate) sweep_at: Option<OffsetDateTime>,
    /// Whether it goes on with a dry run.
    pub(crate) is_dry_run: bool,
}

impl Step {
    pub(crate) fn of(body: &str, id: u64) -> Self {
        let fields: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |name: &str| fields[name].as_str().map(str::to_owned);
        Self {
            erasure: text("erasureId")
                .or_else(|| text("requestId"))
                .unwrap_or_else(|| format!("m{id}")),
            user: text("userId").unwrap_or_default(),
            hop: fields["hop"].as_u64().unwrap_or(0),
            is_sweep: fields.get("sweepAt").is_some(),
            sweep_at: text("sweepAt").and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok()),
            is_dry_run: fields["dryRun"] == true,
        }
    }
}

/// A message, wherever it is.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) body: String,
    pub(crate) step: Step,
    pub(crate) sent_at: Duration,
    pub(crate) visible_at: Instant,
    pub(crate) receives: u32,
    /// No permitted sender would send it.
    pub(crate) is_garbage: bool,
}

impl Message {
    /// When the request was sent that this message is, or goes on with.
    pub(crate) fn requested_at(&self) -> Option<OffsetDateTime> {
        let fields: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let said =
            fields["requestedAt"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        let sent = Duration::from_millis(u64::try_from(self.sent_at.as_millis()).ok()?);
        said.or(Some(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(START) + sent))
    }

    pub(crate) fn is_about(&self, user: &str) -> bool {
        !self.is_garbage && self.step.user == user
    }
}

/// The two queues. What is in neither, SQS has forgotten.
#[derive(Debug, Default)]
pub(crate) struct QueueState {
    queue: Vec<Message>,
    dead_letters: Vec<Message>,
    ids: u64,
    changes: u64,
    /// On a FIFO queue: when a message with this deduplication id was taken.
    taken: BTreeMap<String, Instant>,
}

impl QueueState {
    /// Whether a FIFO queue has taken a message with this id in the last five minutes, so that it
    /// drops this one. If not, it takes it.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html>
    pub(crate) fn is_duplicate(&mut self, id: &str) -> bool {
        let now = Instant::now();
        if self.taken.get(id).is_some_and(|at| now - *at < DEDUPLICATED_FOR) {
            return true;
        }
        self.taken.insert(id.to_owned(), now);
        false
    }

    /// How often a message was added, removed or moved.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn queue(&self) -> &[Message] {
        &self.queue
    }

    pub(crate) fn dead_letters(&self) -> &[Message] {
        &self.dead_letters
    }

    pub(crate) fn everywhere(&self) -> impl Iterator<Item = &Message> {
        self.queue.iter().chain(&self.dead_letters)
    }

    pub(crate) fn add(
        &mut self,
        body: String,
        sent_at: Duration,
        delay: Duration,
        is_garbage: bool,
    ) -> Message {
        let (id, visible_at) = (self.ids, Instant::now() + delay);
        self.ids += 1;
        self.changes += 1;
        let message = Message {
            id,
            step: Step::of(&body, id),
            body,
            sent_at,
            visible_at,
            receives: 0,
            is_garbage,
        };
        self.queue.push(message.clone());
        message
    }

    /// The place of each message whose time has come.
    pub(crate) fn visible(&self, is_fifo: bool) -> Vec<usize> {
        let now = Instant::now();
        // A FIFO queue delivers no message of a group while an earlier one is being worked on.
        let is_blocked = |index: usize| {
            let user = &self.queue[index].step.user;
            is_fifo
                && self.queue[..index]
                    .iter()
                    .any(|earlier| earlier.step.user == *user && earlier.visible_at > now)
        };
        let is_visible =
            |index: &usize| self.queue[*index].visible_at <= now && !is_blocked(*index);
        (0..self.queue.len()).filter(is_visible).collect()
    }

    /// Delivers a message, and hides it for a while.
    pub(crate) fn deliver(&mut self, index: usize, hidden_for: Duration) -> Message {
        let message = &mut self.queue[index];
        message.receives += 1;
        message.visible_at = Instant::now() + hidden_for;
        message.clone()
    }

    pub(crate) fn set_visibility(&mut self, id: u64, visibility: Duration) {
        for message in self.queue.iter_mut().filter(|message| message.id == id) {
            message.visible_at = Instant::now() + visibility;
        }
    }

    pub(crate) fn delete(&mut self, id: u64) {
        self.changes += 1;
        self.queue.retain(|message| message.id != id);
    }

    /// Moves what came too often to the dead-letter queue. `true`: there was something.
    pub(crate) fn bury(&mut self) -> bool {
        let now = Instant::now();
        let (dead, alive): (Vec<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(|message| {
                message.visible_at <= now && message.receives >= MAX_RECEIVE_COUNT
            });
        self.queue = alive;
        let is_any = !dead.is_empty();
        self.changes += u64::from(is_any);
        self.dead_letters.extend(dead);
        is_any
    }

    /// Moves all messages back from the dead-letter queue, except those that no permitted sender
    /// would send. Returns what each message requested before, and requests now: to SQS it is a new
    /// one, with a new id.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html>
    pub(crate) fn redrive(&mut self, sent_at: Duration) -> Vec<(Step, Step)> {
        let (dead, alive): (Vec<_>, Vec<_>) = std::mem::take(&mut self.dead_letters)
            .into_iter()
            .partition(|message| message.is_garbage);
        self.dead_letters = dead;
        let redrive = |letter: Message| {
            (letter.step, self.add(letter.body, sent_at, Duration::ZERO, false).step)
        };
        alive.into_iter().map(redrive).collect()
    }
}
