//! The simulated SQS: at-least-once delivery, delays, a dead-letter queue.

use std::time::Duration;

use erase_user_files::queue::{Outgoing, Queue, QueueFault, Received};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep, timeout};

use crate::checks::check_sweep;
use crate::world::{Shared, World, locked};

const MAX_RECEIVE_COUNT: u32 = 5;

/// Three users cannot need more, however many answers are lost.
const MAX_MESSAGES: usize = 1_000;

/// Nor more hops for one of them, however small the pages and however often it begins again.
const MAX_HOPS: u64 = 150;

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) body: String,
    pub(crate) sent_at: Duration,
    visible_at: Instant,
    pub(crate) receives: u32,
    /// Nobody who may send would send it.
    pub(crate) is_garbage: bool,
}

impl Message {
    fn field(&self, name: &str) -> Option<Value> {
        serde_json::from_str::<Value>(&self.body).ok()?.get(name).cloned()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.field(name).and_then(|value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn is_about(&self, user: &str) -> bool {
        !self.is_garbage && self.text("userId").is_some_and(|id| id == user)
    }

    /// The erasure's id, its user, and the hop that this message asks for.
    pub(crate) fn step(&self) -> (String, String, u64) {
        let id = self.text("erasureId").or_else(|| self.text("requestId"));
        let hop = self.field("hop").and_then(|hop| hop.as_u64()).unwrap_or(0);
        (id.unwrap_or_else(|| format!("m{}", self.id)), self.text("userId").unwrap_or_default(), hop)
    }

    /// When the sweep that this message asks for is due.
    pub(crate) fn sweep_at(&self) -> Option<OffsetDateTime> {
        self.text("sweepAt").and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok())
    }

    pub(crate) fn is_sweep(&self) -> bool {
        self.field("sweepAt").is_some()
    }

    /// Whether it goes on with a dry run.
    fn is_dry_run(&self) -> bool {
        self.field("dryRun").is_some_and(|is_dry_run| is_dry_run == true)
    }

    pub(crate) fn visible_at(&self) -> Instant {
        self.visible_at
    }
}

impl World {
    pub(crate) fn put(&mut self, body: String, delay: Duration, is_garbage: bool) {
        let id = self.ids;
        self.ids += 1;
        let (visible_at, sent_at) = (Instant::now() + delay, self.age());
        self.queue.push(Message { id, body, sent_at, visible_at, receives: 0, is_garbage });
        if self.queue.len() == MAX_MESSAGES {
            self.broken(format!("{MAX_MESSAGES} messages are in the queue: a storm of continuations"));
        }
    }

    /// Up to ten messages whose time has come; those that came too often go to the dead-letter queue.
    pub(crate) fn receive(&mut self, hidden_for: Duration) -> Vec<Message> {
        let now = Instant::now();
        let most = self.dice.usize(1..=10);
        let (dead, alive) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|message| message.visible_at <= now && message.receives >= MAX_RECEIVE_COUNT);
        self.queue = alive;
        for message in dead {
            self.reach("dead letter");
            self.dead_letters.push(message);
        }
        let mut received = Vec::new();
        for index in 0..self.queue.len() {
            if self.queue[index].visible_at > now || received.len() == most {
                continue;
            }
            let duplicates = if self.doublings_left > 0 { self.weather.duplicates } else { 0 };
            let is_twice = self.happens(duplicates, "message twice");
            self.doublings_left -= u32::from(is_twice);
            let hidden_for = if is_twice { Duration::from_millis(self.dice.u64(0..3_000)) } else { hidden_for };
            self.queue[index].receives += 1;
            self.queue[index].visible_at = now + hidden_for;
            received.push(self.queue[index].clone());
        }
        received
    }
}

/// The queue, as one environment sees it.
#[derive(Debug)]
pub(crate) struct Sqs {
    pub(crate) world: Shared,
    pub(crate) environment: usize,
}

impl Sqs {
    /// `Ok(answer)`: the request takes effect, and `answer` is what comes back.
    async fn request(
        &self,
        limit: Duration,
        lost: &'static str,
        answer_lost: &'static str,
    ) -> Result<Result<(), QueueFault>, QueueFault> {
        let unavailable = || QueueFault::Unavailable("simulated".to_owned());
        let took = Duration::from_millis(locked(&self.world).dice.u64(2..150));
        timeout(limit, sleep(took)).await.map_err(|_elapsed| unavailable())?;
        let mut world = locked(&self.world);
        let (fails, loses) = (world.weather.queue_fails, world.weather.queue_answer_lost);
        if world.happens(fails, lost) {
            let is_refused = world.dice.u32(0..4) == 0;
            return Err(if is_refused { QueueFault::Refused("simulated".to_owned()) } else { unavailable() });
        }
        if world.doublings_left > 0 && world.happens(loses, answer_lost) {
            world.doublings_left -= 1;
            return Ok(Err(unavailable()));
        }
        Ok(Ok(()))
    }
}

impl Queue for Sqs {
    async fn send(&self, continuation: &Outgoing, limit: Duration) -> Result<(), QueueFault> {
        let answer = self.request(limit, "continuation lost", "continuation's answer lost").await?;
        let mut world = locked(&self.world);
        let Outgoing { body, deduplication_id, delay, .. } = continuation;
        if body.len() > 1_048_576 || deduplication_id.len() > 128 || *delay > Duration::from_secs(900) {
            world.broken("a continuation is larger or later than SQS takes".to_owned());
        }
        if !delay.is_zero() {
            world.reach("continuation delayed");
        }
        world.put(body.clone(), *delay, false);
        if let Some(message) = world.queue.last().cloned() {
            let since = world.invocations[self.environment].unwrap_or_else(Instant::now);
            if message.is_dry_run() != world.scene.is_dry_run {
                world.broken("a dry run goes on as an erasure, or the other way round".to_owned());
            }
            if message.step().2 > MAX_HOPS && !world.is_given_up {
                world.broken(format!("an erasure has taken {MAX_HOPS} hops, and goes on"));
                world.is_given_up = true;
            }
            check_sweep(&mut world, &message, since);
            world.continued.insert(message.step());
        }
        answer
    }

    async fn set_visibility(
        &self,
        received: &Received,
        visibility: Duration,
        limit: Duration,
    ) -> Result<(), QueueFault> {
        let answer = self.request(limit, "visibility lost", "visibility's answer lost").await?;
        let mut world = locked(&self.world);
        for message in &mut world.queue {
            if format!("m{}", message.id) == received.receipt_handle {
                message.visible_at = Instant::now() + visibility;
            }
        }
        answer
    }
}
