//! The simulated SQS: at-least-once delivery in any order, delays, a dead-letter queue.

use std::time::Duration;

use erase_user_files::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};
use tokio::time::{Instant, sleep, timeout};

use crate::checks::check_sweep;
use crate::queue_state::{Message, Step};
use crate::releases::Release;
use crate::world::{Shared, World, locked};

/// Three users cannot need more, however many answers are lost.
const MAX_MESSAGES: usize = 1_000;

/// Nor more hops for one of them, however small the pages and however often it begins again.
const MAX_HOPS: u64 = 150;

impl World {
    pub(crate) fn put(&mut self, body: String, delay: Duration, is_garbage: bool) -> Message {
        let message = self.queue_state.add(body, self.age(), delay, is_garbage);
        if self.queue_state.queue().len() == MAX_MESSAGES {
            self.broken(format!(
                "{MAX_MESSAGES} messages are in the queue: a storm of continuations"
            ));
        }
        message
    }

    /// Up to ten messages whose time has come; those that came too often go to the dead-letter
    /// queue.
    pub(crate) fn receive(&mut self, hidden_for: Duration) -> Vec<Message> {
        if self.queue_state.bury() {
            self.reach("dead letter");
        }
        let is_fifo = self.setup.is_fifo;
        let mut visible = self.queue_state.visible(is_fifo);
        if visible.len() > 1
            && !is_fifo
            && self.happens(self.faults.reorders, "messages in another order")
        {
            self.dice.shuffle(&mut visible);
        }
        visible.truncate(self.dice.usize(1..=10));
        let mut received = Vec::new();
        for index in visible {
            let may_double = self.doublings_left > 0 && !is_fifo;
            let duplicates = if may_double { self.faults.duplicates } else { 0 };
            let is_twice = self.happens(duplicates, "message twice");
            self.doublings_left -= u32::from(is_twice);
            let hidden_for =
                if is_twice { Duration::from_millis(self.dice.u64(0..3_000)) } else { hidden_for };
            received.push(self.queue_state.deliver(index, hidden_for));
        }
        if received.len() > 1 {
            self.reach("several messages at once");
        }
        received
    }
}

/// The queue, as one environment sees it.
#[derive(Debug)]
pub(crate) struct Sqs {
    pub(crate) world: Shared,
    pub(crate) environment: usize,
    /// What writes its continuations.
    pub(crate) release: Release,
}

impl Sqs {
    /// `Ok(answer)`: the request takes effect, and `answer` is what the client receives.
    async fn request(
        &self,
        limit: Duration,
        lost: &'static str,
        answer_lost: &'static str,
    ) -> Result<Result<(), QueueError>, QueueError> {
        let unavailable = || QueueError::Unavailable("simulated".to_owned());
        let took = locked(&self.world).latency(2..150);
        timeout(limit, sleep(took)).await.map_err(|_elapsed| unavailable())?;
        let mut world = locked(&self.world);
        let (fails, loses) = (world.faults.queue_fails, world.faults.queue_answer_lost);
        if world.happens(fails, lost) {
            let is_refused = world.dice.u32(0..4) == 0;
            return Err(if is_refused {
                QueueError::Permanent("simulated".to_owned())
            } else {
                unavailable()
            });
        }
        if world.doublings_left > 0 && world.happens(loses, answer_lost) {
            world.doublings_left -= 1;
            return Ok(Err(unavailable()));
        }
        Ok(Ok(()))
    }
}

impl Queue for Sqs {
    async fn send(
        &self,
        continuation: &OutgoingMessage,
        limit: Duration,
    ) -> Result<(), QueueError> {
        let answer = self.request(limit, "continuation lost", "continuation's answer lost").await?;
        let mut world = locked(&self.world);
        let OutgoingMessage { body, deduplication_id, delay, .. } = continuation;
        if body.len() > 1_048_576
            || deduplication_id.len() > 128
            || *delay > Duration::from_secs(900)
        {
            world.broken("a continuation is larger or later than SQS takes".to_owned());
        }
        let damaged = world.faults.queue_damaged;
        if !delay.is_zero() {
            world.reach("continuation delayed");
        }
        if body.contains("\"lanes\"") {
            world.reach("continuation of several lanes");
        }
        match self.release {
            Release::First => world.reach("continuation of the first release"),
            Release::Current => {}
            Release::Later => world.reach("continuation of a later release"),
        }
        let answer = if world.happens(damaged, "continuation's answer damaged") {
            // HTTP 200 without a MessageId: the queue has nothing.
            return Err(QueueError::Unavailable(
                "SendMessage: the answer has no MessageId".to_owned(),
            ));
        } else {
            answer
        };
        if world.setup.is_fifo && world.queue_state.is_duplicate(deduplication_id) {
            world.reach("continuation deduplicated");
            let step = Step::of(body, 0);
            world.continued.insert((step.erasure, step.user, step.hop, step.is_sweep));
            return answer;
        }
        let delay = if world.setup.is_fifo { Duration::ZERO } else { *delay };
        let message = world.put(self.release.writes(body), delay, false);
        world.event(format_args!("continuation m{}: {}", message.id, message.body));
        let since = world.invocations[self.environment].unwrap_or_else(Instant::now);
        if message.step.is_dry_run != world.setup.is_dry_run {
            world.broken("a dry run goes on as an erasure, or the other way round".to_owned());
        }
        if message.step.hop > MAX_HOPS && !world.is_given_up {
            world.broken(format!("an erasure has taken {MAX_HOPS} hops, and goes on"));
            world.is_given_up = true;
        }
        check_sweep(&mut world, &message, since);
        let step = message.step;
        world.continued.insert((step.erasure, step.user, step.hop, step.is_sweep));
        answer
    }

    async fn set_visibility(
        &self,
        received: &ReceiptHandle,
        visibility: Duration,
        limit: Duration,
    ) -> Result<(), QueueError> {
        let answer = self.request(limit, "visibility lost", "visibility's answer lost").await?;
        let id = received.receipt_handle.trim_start_matches('m').parse();
        locked(&self.world)
            .queue_state
            .set_visibility(id.expect("a handle of this queue"), visibility);
        answer
    }
}
