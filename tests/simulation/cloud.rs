//! The simulated SQS and Lambda: at-least-once delivery, a dead-letter queue, kills, frozen environments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use erase_user_files::config::Config;
use erase_user_files::deadline::Announced;
use erase_user_files::handler::Handler;
use erase_user_files::queue::{Outgoing, Queue, QueueFault, Received};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::store::Store;
use crate::world::{LONGEST_WORLD, Logs, NEIGHBOURS, Shared, TARGETS, WITHDRAWN, World, locked};

const MAX_RECEIVE_COUNT: u32 = 5;

/// Three users cannot need more, however many answers are lost.
const MAX_MESSAGES: usize = 1_000;

const GARBAGE: [&str; 6] = [
    "",
    "not JSON",
    "[\"user-withdrawn\",\"u1-zebra\"]",
    r#"{"type":"user-withdrawn","userId":"../u1-zebra"}"#,
    r#"{"type":"user-withdrawn","userId":7}"#,
    r#"{"type":"erasure-continuation","version":99,"erasureId":"new","userId":"u1-zebra","hop":1}"#,
];

#[derive(Debug, Clone)]
pub(crate) struct Message {
    id: u64,
    body: String,
    visible_at: Instant,
    receives: u32,
}

impl Message {
    fn field(&self, name: &str) -> Option<Value> {
        serde_json::from_str::<Value>(&self.body).ok()?.get(name).cloned()
    }

    pub(crate) fn is_about(&self, user: &str) -> bool {
        self.field("userId").is_some_and(|id| id == user)
    }

    /// The erasure's id and the hop that this message asks for.
    fn step(&self) -> (String, u64) {
        let id = self.field("erasureId").and_then(|id| id.as_str().map(str::to_owned));
        let hop = self.field("hop").and_then(|hop| hop.as_u64()).unwrap_or(0);
        (id.unwrap_or_else(|| format!("m{}", self.id)), hop)
    }
}

impl World {
    fn put(&mut self, body: String, delay: Duration) {
        let id = self.ids;
        self.ids += 1;
        self.queue.push(Message { id, body, visible_at: Instant::now() + delay, receives: 0 });
        if self.queue.len() == MAX_MESSAGES {
            self.broken(format!("{MAX_MESSAGES} messages are in the queue: a storm of continuations"));
        }
    }

    /// Up to ten messages whose time has come; those that came too often go to the dead-letter queue.
    fn receive(&mut self, hidden_for: Duration) -> Vec<Message> {
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

/// The simulated SQS, as the function sees it.
#[derive(Debug)]
struct Sqs(Shared);

impl Sqs {
    /// `Ok(answer)`: the request takes effect, and `answer` is what comes back.
    async fn request(
        &self,
        limit: Duration,
        lost: &'static str,
        answer_lost: &'static str,
    ) -> Result<Result<(), QueueFault>, QueueFault> {
        let unavailable = || QueueFault::Unavailable("simulated".to_owned());
        let took = Duration::from_millis(locked(&self.0).dice.u64(2..150));
        timeout(limit, sleep(took)).await.map_err(|_elapsed| unavailable())?;
        let mut world = locked(&self.0);
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
        let mut world = locked(&self.0);
        if continuation.body.len() > 1_048_576 || continuation.deduplication_id.len() > 128 {
            world.broken("a continuation is too large for SQS".to_owned());
        }
        world.put(continuation.body.clone(), Duration::ZERO);
        let step = world.queue.last().map(Message::step);
        world.continued.extend(step);
        answer
    }

    async fn set_visibility(
        &self,
        received: &Received,
        visibility: Duration,
        limit: Duration,
    ) -> Result<(), QueueFault> {
        let answer = self.request(limit, "visibility lost", "visibility's answer lost").await?;
        let mut world = locked(&self.0);
        for message in &mut world.queue {
            if format!("m{}", message.id) == received.receipt_handle {
                message.visible_at = Instant::now() + visibility;
            }
        }
        answer
    }
}

/// Plays the world: requests arrive, two environments work. Returns who was asked to be erased.
pub(crate) async fn live(world: &Shared, logs: &Logs) -> BTreeSet<String> {
    let lambda = Lambda::new(&mut locked(world));
    for user in WITHDRAWN {
        let mut world = locked(world);
        let times = world.dice.u32(1..=2);
        for _ in 0..times {
            let delay = Duration::from_secs(world.dice.u64(0..30));
            world.put(format!(r#"{{"type":"user-withdrawn","userId":"{user}"}}"#), delay);
        }
    }
    for body in GARBAGE {
        let mut world = locked(world);
        if world.dice.u32(0..100) < world.weather.garbage_messages {
            world.put(body.to_owned(), Duration::ZERO);
        }
    }
    futures::join!(lambda.environment(world, logs, 1), lambda.environment(world, logs, 2));
    WITHDRAWN.map(str::to_owned).into()
}

/// The function's configuration in this world.
struct Lambda {
    timeout: Duration,
    settings: [(&'static str, String); 5],
}

impl Lambda {
    fn new(world: &mut World) -> Self {
        let dice = &mut world.dice;
        let mut pick = |from: &[u32]| dice.choice(from).map_or(0, |choice| *choice).to_string();
        let settings = [
            ("ERASE_TARGETS", TARGETS.to_owned()),
            ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase".to_owned()),
            ("MAX_DELETES_PER_SECOND", pick(&[0, 100, 1_000, 3_500])),
            ("MAX_IN_FLIGHT_BATCHES", pick(&[1, 2, 8])),
            ("MAX_IDLE_HOPS", pick(&[1, 3])),
        ];
        Self { timeout: Duration::from_secs(dice.u64(4..20)), settings }
    }

    /// A new process: what it knew before is gone.
    fn cold_start(&self, world: &Shared) -> Handler<Store, Sqs> {
        let lookup = |name: &str| self.settings.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        let config = Config::from_vars(lookup).expect("the simulated settings are right");
        let seed = locked(world).dice.u64(..);
        Handler::new(config, Store(Arc::clone(world)), Sqs(Arc::clone(world)), seed)
    }

    /// One execution environment: receives and works until the queue is empty and nobody else is working.
    async fn environment(&self, world: &Shared, logs: &Logs, number: u32) {
        let mut handler = self.cold_start(world);
        loop {
            if locked(world).age() > LONGEST_WORLD {
                return;
            }
            let messages = locked(world).receive(self.timeout * 6);
            if messages.is_empty() {
                let next = {
                    let world = locked(world);
                    if world.queue.is_empty() && world.running == 0 {
                        return;
                    }
                    world.queue.iter().map(|message| message.visible_at).min()
                };
                let poll = Instant::now() + Duration::from_millis(100);
                sleep_until(next.unwrap_or(poll).max(poll)).await;
                continue;
            }
            let is_alive = self.invoke(&handler, world, &messages, number).await;
            check_logs(&mut locked(world), &logs.take());
            if !is_alive {
                handler = self.cold_start(world);
            }
        }
    }

    /// One invocation. `false`: the environment did not survive it.
    async fn invoke(&self, handler: &Handler<Store, Sqs>, world: &Shared, messages: &[Message], number: u32) -> bool {
        let start = Instant::now();
        let end = start + self.timeout;
        let (announced, killed_at, is_frozen) = {
            let mut world = locked(world);
            world.running += 1;
            if world.running > 1 {
                world.reach("two at once");
            }
            world.event(&format!("environment {number} begins with {} messages", messages.len()));
            let now = world.wall_clock();
            let deadline = now + self.timeout;
            let since_1970 = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
            let deadline_epoch_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
            let kills = world.weather.kills;
            let is_killed = world.dice.u32(0..100) < kills;
            let killed_at = is_killed.then(|| start + self.timeout.mul_f64(world.dice.f64()));
            (Announced { deadline_epoch_ms, now, fallback: Duration::from_secs(60) }, killed_at, world.dice.bool())
        };
        let answer = tokio::select! {
            biased;
            () = sleep_until(killed_at.unwrap_or(end)) => None,
            answer = handler.handle_until(event(messages), announced) => Some(answer),
        };
        if answer.is_none() && is_frozen {
            // It stands still until Lambda ends it.
            sleep_until(end).await;
        }
        let mut world = locked(world);
        world.running -= 1;
        let Some(answer) = answer else {
            world.reach(if is_frozen { "killed at the timeout" } else { "killed" });
            if killed_at.is_none() {
                world.broken("the function did not answer before its deadline".to_owned());
            }
            return false;
        };
        let failed: BTreeSet<String> = match answer {
            Ok(response) => response.batch_item_failures.into_iter().map(|item| item.item_identifier).collect(),
            Err(error) => {
                world.broken(format!("an invocation failed as a whole: {error}"));
                return true;
            }
        };
        for message in messages.iter().filter(|message| !failed.contains(&format!("m{}", message.id))) {
            acknowledge(&mut world, message, start);
        }
        true
    }
}

/// The function says that this message is done: it must be proven done, or its continuation in the queue.
fn acknowledge(world: &mut World, message: &Message, start: Instant) {
    world.queue.retain(|other| other.id != message.id);
    let (erasure, hop) = message.step();
    if world.continued.contains(&(erasure, hop + 1)) {
        return;
    }
    let Some(user) = WITHDRAWN.into_iter().find(|user| message.is_about(user)) else {
        world.broken(format!("a message that nobody can understand was acknowledged: {}", message.body));
        return;
    };
    if world.was_empty_since(user, start) {
        world.erased.insert(user.to_owned());
    } else {
        world.broken(format!("{user} was called erased, but was not empty at any moment of the invocation"));
    }
}

fn event(messages: &[Message]) -> SqsEvent {
    let records = messages.iter().map(|message| {
        let mut record = SqsMessage::default();
        record.message_id = Some(format!("m{}", message.id));
        record.receipt_handle = Some(format!("m{}", message.id));
        record.body = Some(message.body.clone());
        record.attributes.insert("ApproximateReceiveCount".to_owned(), message.receives.to_string());
        record
    });
    let mut event = SqsEvent::default();
    event.records = records.collect();
    event
}

/// Notes the outcomes, and that nothing personal is in the logs.
fn check_logs(world: &mut World, logs: &str) {
    for line in logs.lines() {
        let line_of: Value = serde_json::from_str(line).unwrap_or_default();
        let outcome = line_of["outcome"].as_str();
        world.event(&format!("log: {line}"));
        match outcome {
            Some("erased") => world.reach("outcome erased"),
            Some("continued") => world.reach("outcome continued"),
            Some("incomplete") => world.reach("outcome incomplete"),
            Some("failed") => world.reach("outcome failed"),
            Some("rejected") => world.reach("outcome rejected"),
            Some(_) | None => {}
        }
        if line_of["reason"].as_str().is_some_and(|reason| reason.contains("rounds found objects")) {
            world.reach("too many rounds");
        }
        if outcome == Some("continued") && line_of["objects"] == 0 {
            world.reach("hop without a deletion continued");
        }
        let mut personal =
            WITHDRAWN.into_iter().chain(NEIGHBOURS.into_iter().filter(|id| *id != "u1")).chain(["secret"]);
        if let Some(found) = personal.find(|text| line.contains(text)) {
            world.broken(format!("the log says {found:?}: {line}"));
        }
    }
}
