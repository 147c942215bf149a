//! The simulated Lambda: two execution environments, cold starts, kills, frozen environments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use erase_user_files::config::Config;
use erase_user_files::deadline::Announced;
use erase_user_files::eraser::Eraser;
use erase_user_files::handler::{EventError, Handler};
use erase_user_files::survey::Survey;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep_until};

use crate::archive::Archive;
use crate::checks::{acknowledge, check_log};
use crate::people::{TARGETS, WITHDRAWN};
use crate::sqs::{Message, Sqs};
use crate::store::{ReadOnly, Store};
use crate::weather::{RequestIds, START};
use crate::world::{LONGEST_WORLD, Logs, Shared, World, locked};

/// What must not be worked on: the last two are a dry run's in an erasing world, and the other way round.
const GARBAGE: [&str; 8] = [
    "",
    "not JSON",
    "[\"user-withdrawn\",\"u1-zebra\"]",
    r#"{"type":"user-withdrawn","userId":"../u1-zebra"}"#,
    r#"{"type":"user-withdrawn","userId":7}"#,
    r#"{"type":"erasure-continuation","version":99,"erasureId":"new","userId":"u1-zebra","hop":1}"#,
    r#"{"type":"erasure-continuation","version":1,"erasureId":"dry","userId":"u1-zebra","hop":1,"dryRun":true}"#,
    r#"{"type":"erasure-continuation","version":1,"erasureId":"wet","userId":"u1-zebra","hop":1}"#,
];

/// Plays the world: requests arrive, two environments work.
pub(crate) async fn live(world: &Shared, logs: &Logs) {
    let lambda = Lambda::new(&mut locked(world));
    for user in WITHDRAWN {
        let mut world = locked(world);
        let times = world.dice.u32(1..=2);
        world.requests.insert(user, times);
        for _ in 0..times {
            let delay = Duration::from_secs(world.dice.u64(0..30));
            let body = request(&world, user);
            world.put(body, delay, false);
        }
    }
    for (number, body) in GARBAGE.into_iter().enumerate() {
        let mut world = locked(world);
        let is_garbage = match number {
            6 => !world.scene.is_dry_run,
            7 => world.scene.is_dry_run,
            _ => true,
        };
        if is_garbage && world.dice.u32(0..100) < world.weather.garbage_messages {
            world.put(body.to_owned(), Duration::ZERO, true);
        }
    }
    futures::join!(lambda.environment(world, logs, 0), lambda.environment(world, logs, 1));
}

/// What the user service sends.
fn request(world: &World, user: &str) -> String {
    let mut request = json!({"type": "user-withdrawn", "userId": user, "withdrawnAt": "2027-01-01T00:00:00Z"});
    match world.scene.request_ids {
        RequestIds::None => {}
        RequestIds::OfUser => request["requestId"] = format!("withdrawal-of-{user}").into(),
        RequestIds::Shared => request["requestId"] = "withdrawal".into(),
    }
    if let Some(limit) = world.scene.erase_before {
        request["eraseBefore"] = limit.format(&Rfc3339).expect("a time of this century").into();
    }
    request.to_string()
}

/// The function's configuration in this world.
struct Lambda {
    timeout: Duration,
    settings: Vec<(&'static str, String)>,
}

/// One process of the function: what it knew before is gone.
enum Function {
    Erases(Handler<Eraser<Store>, Sqs, Archive>),
    Surveys(Handler<Survey<ReadOnly>, Sqs, Archive>),
}

impl Function {
    async fn handle(&self, event: SqsEvent, announced: Announced) -> Result<SqsBatchResponse, EventError> {
        match self {
            Self::Erases(handler) => handler.handle_until(event, announced).await,
            Self::Surveys(handler) => handler.handle_until(event, announced).await,
        }
    }
}

impl Lambda {
    fn new(world: &mut World) -> Self {
        let (scene, dice) = (&world.scene, &mut world.dice);
        let mut pick = |from: &[u32]| dice.choice(from).map_or(0, |choice| *choice).to_string();
        let mut settings = vec![
            ("ERASE_TARGETS", TARGETS.to_owned()),
            ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase".to_owned()),
            ("MAX_DELETES_PER_SECOND", pick(&[0, 100, 1_000, 3_500])),
            ("MAX_IN_FLIGHT_BATCHES", pick(&[1, 2, 8])),
            ("MAX_IDLE_HOPS", pick(&[1, 3])),
            ("DRY_RUN", scene.is_dry_run.to_string()),
            ("LATE_WRITE_SWEEP_SECONDS", scene.sweep_seconds.to_string()),
            ("BYPASS_GOVERNANCE_RETENTION", scene.bypasses_governance.to_string()),
            ("RECEIPT_HASH_KEY", HASH_KEY.to_owned()),
        ];
        settings.extend(scene.max_objects.map(|max| ("MAX_OBJECTS", max.to_string())));
        settings.extend(scene.has_receipts.then(|| ("RECEIPTS_URI", "s3://receipts/erasures/".to_owned())));
        Self { timeout: Duration::from_secs(dice.u64(4..20)), settings }
    }

    fn cold_start(&self, world: &Shared, environment: usize) -> Function {
        let lookup = |name: &str| self.settings.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        let config = Config::from_vars(lookup).expect("the simulated settings are right");
        let (seed, has_receipts) = {
            let mut world = locked(world);
            (world.dice.u64(..), world.scene.has_receipts)
        };
        let shared = || Arc::clone(world);
        let queue = Sqs { world: shared(), environment };
        let receipts = has_receipts.then(|| Archive { world: shared(), environment });
        if config.dry_run {
            Function::Surveys(Handler::new(config, Survey(ReadOnly(Store(shared()))), queue, receipts, seed))
        } else {
            Function::Erases(Handler::new(config, Eraser(Store(shared())), queue, receipts, seed))
        }
    }

    /// One execution environment: receives and works until the queue is empty and nobody else is working.
    async fn environment(&self, world: &Shared, logs: &Logs, number: usize) {
        let mut function = self.cold_start(world, number);
        loop {
            let messages = {
                let mut world = locked(world);
                if world.is_given_up || world.age() > LONGEST_WORLD {
                    return;
                }
                world.receive(self.timeout * 6)
            };
            if messages.is_empty() {
                let next = {
                    let world = locked(world);
                    if world.queue.is_empty() && world.invocations.iter().all(Option::is_none) {
                        return;
                    }
                    world.queue.iter().map(Message::visible_at).min()
                };
                let poll = Instant::now() + Duration::from_millis(100);
                sleep_until(next.unwrap_or(poll).max(poll)).await;
                continue;
            }
            let is_alive = self.invoke(&function, world, &messages, number).await;
            for line in logs.take().lines() {
                check_log(&mut locked(world), line);
            }
            if !is_alive {
                function = self.cold_start(world, number);
            }
        }
    }

    /// One invocation. `false`: the environment did not survive it.
    async fn invoke(&self, function: &Function, world: &Shared, messages: &[Message], number: usize) -> bool {
        let start = Instant::now();
        let end = start + self.timeout;
        let (announced, killed_at, is_frozen) = self.announce(&mut locked(world), messages.len(), number);
        let answer = tokio::select! {
            biased;
            () = sleep_until(killed_at.unwrap_or(end)) => None,
            answer = function.handle(event(messages), announced) => Some(answer),
        };
        if answer.is_none() && is_frozen {
            // It stands still until Lambda ends it.
            sleep_until(end).await;
        }
        let mut world = locked(world);
        world.invocations[number] = None;
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

    /// What the function is told of its deadline; when it is killed, if it is; whether it then stands still first.
    fn announce(&self, world: &mut World, messages: usize, number: usize) -> (Announced, Option<Instant>, bool) {
        let start = Instant::now();
        world.invocations[number] = Some(start);
        if world.invocations.iter().all(Option::is_some) {
            world.reach("two at once");
        }
        world.event(&format!("environment {} begins with {messages} messages", number + 1));
        let now = world.wall_clock();
        let since_1970 = (now + self.timeout).duration_since(UNIX_EPOCH).unwrap_or_default();
        let deadline_epoch_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let kills = world.weather.kills;
        let is_killed = world.dice.u32(0..100) < kills;
        let killed_at = is_killed.then(|| start + self.timeout.mul_f64(world.dice.f64()));
        (Announced { deadline_epoch_ms, now, fallback: Duration::from_secs(60) }, killed_at, world.dice.bool())
    }
}

/// `RECEIPT_HASH_KEY`.
pub(crate) const HASH_KEY: &str = "a key of the simulation";

fn event(messages: &[Message]) -> SqsEvent {
    let records = messages.iter().map(|message| {
        let mut record = SqsMessage::default();
        record.message_id = Some(format!("m{}", message.id));
        record.receipt_handle = Some(format!("m{}", message.id));
        record.body = Some(message.body.clone());
        record.attributes.insert("ApproximateReceiveCount".to_owned(), message.receives.to_string());
        let sent_at = (Duration::from_secs(START) + message.sent_at).as_millis();
        record.attributes.insert("SentTimestamp".to_owned(), sent_at.to_string());
        record
    });
    let mut event = SqsEvent::default();
    event.records = records.collect();
    event
}
