//! The simulated Lambda: execution environments, cold starts, kills, frozen environments,
//! deployments.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use erase_user_files::config::Config;
use erase_user_files::deadline::AnnouncedDeadline;
use erase_user_files::erasure::dry_run::DryRun;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::event::EventError;
use erase_user_files::lambda::handler::Handler;
use futures::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use crate::checks::{acknowledge, check_log};
use crate::faults::{Faults, START};
use crate::queue_state::Message;
use crate::receipt_store::ReceiptStore;
use crate::releases::Release;
use crate::requests;
use crate::sqs::Sqs;
use crate::store::Store;
use crate::users::{KEYS, TARGETS, USER_ID_CHARACTERS};
use crate::world::{LONGEST_WORLD, Logs, Shared, World, locked};

/// What the function takes instead of a deadline that it cannot believe. Longer than any timeout
/// here.
const FALLBACK: Duration = Duration::from_secs(60);

/// Longer than the function remembers anything that could have changed.
const LONG_REST: Duration = Duration::from_secs(3_601);

/// Plays the world: requests arrive, environments work, and perhaps an operator removes the faults
/// and redrives.
pub(crate) async fn live(world: &Shared, logs: &Logs) {
    let (lambda, environments) = {
        let mut world = locked(world);
        let lambda = Lambda::new(&mut world);
        requests::send_all(&mut world);
        (lambda, world.invocations.len())
    };
    let mut environments: Vec<Environment> =
        (0..environments).map(|number| lambda.environment(world, number)).collect();
    loop {
        join_all(
            environments.iter_mut().map(|environment| lambda.live_in(environment, world, logs)),
        )
        .await;
        if !is_redriven(world).await {
            return;
        }
    }
}

/// Some time later an operator has removed all faults, and redrives the dead-letter messages.
/// `false`: no operator does.
async fn is_redriven(world: &Shared) -> bool {
    let later = {
        let mut world = locked(world);
        let mut letters = world.queue_state.dead_letters().iter();
        let is_wanted = world.setup.is_redriven && letters.any(|letter| !letter.is_garbage);
        // What a store that lied has kept for 20 rounds may be more than five hops can delete: an
        // operator who finds the dead-letter messages again with less left redrives them again. In
        // all other worlds, once has to be enough.
        let left = world.left();
        let was_enough =
            world.is_repaired && !(world.initial_faults.is_liar && left < world.left_at_redrive);
        if was_enough || world.is_given_up || !is_wanted {
            return false;
        }
        world.left_at_redrive = left;
        // The second redrive follows within minutes.
        let longest = if world.is_repaired { 1_000 } else { 100_000 };
        Duration::from_secs(world.dice.u64(60..longest))
    };
    sleep(later).await;
    let mut world = locked(world);
    world.faults = Faults::calm();
    world.refused_keys.clear();
    world.poison_keys.clear();
    world.is_repaired = true;
    let age = world.age();
    for (before, now) in world.queue_state.redrive(age) {
        world.event(format_args!("redriven: {before:?} as {now:?}"));
        let [before, now] = [before, now].map(|step| (step.erasure, step.user));
        // What names no erasure has become another one.
        if before != now && world.asked.remove(&before) {
            world.asked.insert(now);
        }
    }
    world.reach("dead letters redriven");
    true
}

/// The function's configuration in this world.
struct Lambda {
    timeout: Duration,
    settings: Vec<(&'static str, String)>,
}

/// One process of the function. It knows nothing of earlier processes.
enum Function {
    Erases(Handler<Eraser<Store>, Sqs, ReceiptStore>),
    Surveys(Handler<DryRun<Store>, Sqs, ReceiptStore>),
}

impl Function {
    async fn handle(
        &self,
        event: SqsEvent,
        announced: AnnouncedDeadline,
    ) -> Result<SqsBatchResponse, EventError> {
        match self {
            Self::Erases(handler) => handler.handle_until(event, announced).await,
            Self::Surveys(handler) => handler.handle_until(event, announced).await,
        }
    }
}

/// An execution environment: frozen between its invocations, with all that its function knows.
struct Environment {
    number: usize,
    /// What it runs, and whether that is the new setting.
    release: (Release, bool),
    function: Function,
    last_answer: Option<Instant>,
}

/// When an invocation dies, if it does.
#[derive(Default)]
struct Death {
    at: Option<Instant>,
    /// At which of its awaits.
    at_poll: Option<u32>,
    /// Whether it first hangs until its timeout.
    is_frozen: bool,
}

impl Death {
    fn draw(world: &mut World, timeout: Duration) -> Self {
        let kills = world.faults.kills;
        if world.dice.u32(0..100) >= kills {
            return Self::default();
        }
        let is_frozen = world.dice.bool();
        if world.dice.bool() {
            return Self {
                at: Some(Instant::now() + timeout.mul_f64(world.dice.f64())),
                at_poll: None,
                is_frozen,
            };
        }
        // Early ones as often as late ones.
        let poll = 2_u32.pow(world.dice.u32(0..9));
        Self { at: None, at_poll: Some(world.dice.u32(poll..=2 * poll)), is_frozen }
    }

    fn is_planned(&self) -> bool {
        self.at.is_some() || self.at_poll.is_some()
    }
}

impl Lambda {
    fn new(world: &mut World) -> Self {
        let (setup, dice) = (&world.setup, &mut world.dice);
        let mut pick = |from: &[u32]| dice.choice(from).map_or(0, |choice| *choice).to_string();
        let queue = if setup.is_fifo {
            "https://sqs/123456789012/erase.fifo"
        } else {
            "https://sqs/123456789012/erase"
        };
        let mut settings = vec![
            ("CONTINUATION_QUEUE_URL", queue.to_owned()),
            ("MAX_DELETES_PER_SECOND", pick(&[0, 100, 1_000, 3_500])),
            ("MAX_IN_FLIGHT_BATCHES", pick(&[1, 2, 8])),
            ("MAX_IDLE_HOPS", pick(&[1, 3])),
            ("DRY_RUN", setup.is_dry_run.to_string()),
            ("LATE_WRITE_SWEEP_SECONDS", setup.sweep_seconds.to_string()),
            ("BYPASS_GOVERNANCE_RETENTION", setup.bypasses_governance.to_string()),
            ("RECEIPT_HASH_KEY", HASH_KEY.to_owned()),
        ];
        settings.extend(setup.max_objects.map(|max| ("MAX_OBJECTS", max.to_string())));
        settings.extend(
            setup.has_receipts.then(|| ("RECEIPTS_URI", "s3://receipts/erasures/".to_owned())),
        );
        Self { timeout: Duration::from_secs(dice.u64(4..20)), settings }
    }

    fn cold_start(
        &self,
        world: &Shared,
        environment: usize,
        (release, is_new): (Release, bool),
    ) -> Function {
        let (seed, setup) = {
            let mut world = locked(world);
            (world.dice.u64(..), world.setup.clone())
        };
        let mut targets = TARGETS;
        if is_new && setup.deployment.is_some_and(|deployment| deployment.turns_targets) {
            locked(world).reach("targets turned");
            targets.reverse();
        }
        let lookup = |name: &str| match name {
            "ERASE_TARGETS" => Some(targets.join(",")),
            "ERASE_KEYS" => Some(KEYS.to_owned()),
            "USER_ID_CHARACTERS" => Some(USER_ID_CHARACTERS.to_owned()),
            _ => self
                .settings
                .iter()
                .find(|(setting, _)| *setting == name)
                .map(|(_, value)| value.clone()),
        };
        let config = Config::from_vars(lookup).expect("the simulated settings are right");
        let shared = || Arc::clone(world);
        let queue = Sqs { world: shared(), environment, release };
        let receipts = setup.has_receipts.then(|| ReceiptStore { world: shared(), environment });
        if config.dry_run {
            Function::Surveys(Handler::new(config, DryRun(Store(shared())), queue, receipts, seed))
        } else {
            Function::Erases(Handler::new(config, Eraser(Store(shared())), queue, receipts, seed))
        }
    }

    fn environment(&self, world: &Shared, number: usize) -> Environment {
        let release = locked(world).release_of(number);
        Environment {
            number,
            release,
            function: self.cold_start(world, number, release),
            last_answer: None,
        }
    }

    /// Receives and processes until the queue is empty and no other environment is working.
    async fn live_in(&self, environment: &mut Environment, world: &Shared, logs: &Logs) {
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
                    if world.queue_state.queue().is_empty()
                        && world.invocations.iter().all(Option::is_none)
                    {
                        return;
                    }
                    world.queue_state.queue().iter().map(|message| message.visible_at).min()
                };
                let poll = Instant::now() + Duration::from_millis(100);
                sleep_until(next.unwrap_or(poll).max(poll)).await;
                continue;
            }
            let newest = locked(world).release_of(environment.number);
            if newest != environment.release {
                locked(world).reach("deployed in the middle");
                *environment = self.environment(world, environment.number);
            }
            if environment.last_answer.is_some_and(|last| last.elapsed() > LONG_REST) {
                locked(world).reach("thawed after more than an hour");
            }
            // Lines of other environments may be among them: they are held against what these began
            // with.
            let since = locked(world)
                .invocations
                .iter()
                .flatten()
                .min()
                .copied()
                .unwrap_or_else(Instant::now);
            let is_alive = self.invoke(environment, world, &messages).await;
            for line in logs.take().lines() {
                check_log(&mut locked(world), line, since);
            }
            environment.last_answer = Some(Instant::now());
            if !is_alive {
                *environment = self.environment(world, environment.number);
            }
        }
    }

    /// One invocation. `false`: the environment did not survive it.
    async fn invoke(
        &self,
        environment: &Environment,
        world: &Shared,
        messages: &[Message],
    ) -> bool {
        let Environment { number, release: (release, _), ref function, .. } = *environment;
        let start = Instant::now();
        let end = start + self.timeout;
        let (announced, death) = self.announce(&mut locked(world), messages, number);
        let mut handled = pin!(function.handle(event(messages, release), announced));
        let mut polls = 0;
        let lives = poll_fn(|context| {
            polls += 1;
            let is_over = death.at_poll.is_some_and(|last| polls > last);
            if is_over { Poll::Ready(None) } else { handled.as_mut().poll(context).map(Some) }
        });
        let answer = tokio::select! {
            biased;
            () = sleep_until(death.at.unwrap_or(end).min(end)) => None,
            answer = lives => answer,
        };
        if answer.is_none() && death.is_frozen {
            // It hangs until Lambda ends it.
            sleep_until(end).await;
        }
        let mut world = locked(world);
        world.invocations[number] = None;
        let Some(answer) = answer else {
            world.reach(if death.is_frozen { "killed at the timeout" } else { "killed" });
            if death.at_poll.is_some() {
                world.reach("killed at an await");
            }
            // Who reads a wrong clock cannot know when the time is up.
            if !death.is_planned() && world.faults.clock_skew_ms == 0 {
                world.broken("the function did not answer before its deadline".to_owned());
            }
            return false;
        };
        let failed: BTreeSet<String> = match answer {
            Ok(response) => {
                response.batch_item_failures.into_iter().map(|item| item.item_identifier).collect()
            }
            Err(error) => {
                world.broken(format!("an invocation failed as a whole: {error}"));
                return true;
            }
        };
        for message in
            messages.iter().filter(|message| !failed.contains(&format!("m{}", message.id)))
        {
            acknowledge(&mut world, message, start);
        }
        true
    }

    /// The deadline that Lambda announces, on a clock that may be wrong; and whether it is
    /// killed.
    fn announce(
        &self,
        world: &mut World,
        messages: &[Message],
        number: usize,
    ) -> (AnnouncedDeadline, Death) {
        world.invocations[number] = Some(Instant::now());
        match world.invocations.iter().flatten().count() {
            0 | 1 => {}
            2 => world.reach("two at once"),
            _ => world.reach("three at once"),
        }
        let ids = messages.iter().map(|message| message.id).collect::<Vec<_>>();
        world.event(format_args!("environment {} begins with messages {ids:?}", number + 1));
        let (now, deadline) = (world.clock_of_the_function(), world.wall_clock() + self.timeout);
        match world.faults.clock_skew_ms {
            0 => {}
            ..0 => world.reach("clock behind"),
            1.. if now < deadline => world.reach("clock ahead"),
            1.. => world.reach("deadline not believed"),
        }
        let since_1970 = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
        let deadline_epoch_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        (
            AnnouncedDeadline { deadline_epoch_ms, now, fallback: FALLBACK },
            Death::draw(world, self.timeout),
        )
    }
}

/// `RECEIPT_HASH_KEY`.
pub(crate) const HASH_KEY: &str = "a key of the simulation";

fn event(messages: &[Message], release: Release) -> SqsEvent {
    let records = messages.iter().map(|message| {
        let mut record = SqsMessage::default();
        record.message_id = Some(format!("m{}", message.id));
        record.receipt_handle = Some(format!("m{}", message.id));
        record.body = Some(release.reads(&message.body));
        record
            .attributes
            .insert("ApproximateReceiveCount".to_owned(), message.receives.to_string());
        let sent_at = (Duration::from_secs(START) + message.sent_at).as_millis();
        record.attributes.insert("SentTimestamp".to_owned(), sent_at.to_string());
        record
    });
    let mut event = SqsEvent::default();
    event.records = records.collect();
    event
}
