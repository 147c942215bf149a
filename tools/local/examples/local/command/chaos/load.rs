//! The load on the function: network faults, kills, pauses, and the messages that it gets.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use local::{
    Fault, FaultProfile, FaultProxy, Ministack, Operation, Signal, Stack, inventory, list_keys,
    read_object, signal,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::{Failure, RECEIPTS, show};
use super::Settings;
use super::users::{TARGETS, User, Users};

/// A user with that many objects takes many hops.
const LONG: usize = 5_000;
const SEND_ATTEMPTS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(700);
const PRINT_EVERY: Duration = Duration::from_secs(10);

/// What a sender may send by mistake or malice. Each must arrive in the dead-letter queue, byte for
/// byte.
const GARBAGE: [&str; 7] = [
    "not JSON",
    "{\"type\":\"user-withdrawn\"}",
    "{\"type\":\"user-withdrawn\",\"userId\":\"\"}",
    "{\"type\":\"user-withdrawn\",\"userId\":\"../u1\"}",
    "{\"type\":\"user-withdrawn\",\"userId\":\"u1/\"}",
    "{\"type\":\"user-withdrawn\",\"userId\":\"u1\",\"userId\":\"u10000\"}",
    "{\"type\":\"erasure-continuation\",\"version\":1,\"erasureId\":\"x\",\"userId\":\"*\",\"hop\":1}",
];

/// What was done, counted.
#[derive(Debug, Default, Clone)]
pub(super) struct Injected {
    pub(super) requests: u64,
    pub(super) duplicates: u64,
    pub(super) garbage: u64,
    pub(super) kills: u64,
    /// Kills of everything that runs, at the instant at which such a request has taken effect.
    pub(super) targeted_kills: BTreeMap<Operation, u64>,
    pub(super) frozen: u64,
    pub(super) pauses: u64,
    pub(super) paused: Duration,
}

/// Everything that the load can reach.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) cloud: &'a Ministack,
    pub(super) proxy: &'a FaultProxy,
    pub(super) stack: &'a Stack,
    pub(super) users: &'a Users,
    settings: Settings,
    begin: Instant,
    end: Instant,
    injected: Mutex<Injected>,
}

impl<'a> Load<'a> {
    /// It begins now.
    pub(super) fn new(
        (cloud, proxy, stack): (&'a Ministack, &'a FaultProxy, &'a Stack),
        users: &'a Users,
        settings: Settings,
    ) -> Self {
        let begin = Instant::now();
        let end = begin + Duration::from_secs(settings.seconds);
        Self { cloud, proxy, stack, users, settings, begin, end, injected: Mutex::default() }
    }

    pub(super) fn injected(&self) -> MutexGuard<'_, Injected> {
        self.injected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_garbage(&self, body: &str) -> bool {
        GARBAGE.contains(&body)
    }

    /// Does everything concurrently until the end, and then ends the faults.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let all = async {
            tokio::try_join!(
                self.send(),
                self.kill(),
                self.kill_at_effect(),
                self.freeze(),
                self.pause(),
                self.change_profile()
            )
        };
        let result = Box::pin(all).await;
        self.proxy.set_profile(FaultProfile::NONE);
        result.map(|_| ())
    }

    fn random(&self, number: u64) -> Chance {
        Chance(fastrand::Rng::with_seed(self.settings.seed.wrapping_mul(31).wrapping_add(number)))
    }

    /// `false` if the load is over.
    async fn wait(&self, time: Duration) -> bool {
        sleep_until((Instant::now() + time).min(self.end)).await;
        Instant::now() < self.end
    }

    /// Alternates between few and many faults. Sometimes nearly all requests fail.
    async fn change_profile(&self) -> Result<(), Failure> {
        let few: fn(Operation) -> u32 = |operation| rate(operation, 40, 200);
        let many: fn(Operation) -> u32 = |operation| rate(operation, 150, 450);
        let nearly_all: fn(Operation) -> u32 = |_| 900;
        let mut chance = self.random(1);
        loop {
            let last = chance.one_in(4).then_some((nearly_all, 1.0..4.0));
            for (per_mille, time) in [(few, 3.0..8.0), (many, 2.0..6.0)].into_iter().chain(last) {
                self.proxy.set_profile(FaultProfile { faults: &Fault::RANDOM, per_mille });
                if !self.wait(chance.seconds(time)).await {
                    return Ok(());
                }
            }
        }
    }

    /// Kills one of the function's processes, at any instant.
    async fn kill(&self) -> Result<(), Failure> {
        let mut chance = self.random(2);
        while self.wait(chance.seconds(2.0..10.0)).await {
            let processes = self.cloud.function_processes()?;
            if let Some(process) = chance.one_of(&processes)
                && signal(process, Signal::KILL)?
            {
                self.injected().kills += 1;
            }
        }
        Ok(())
    }

    /// Kills all that run at the worst instants: something has taken effect, and the client does
    /// not know it yet.
    async fn kill_at_effect(&self) -> Result<(), Failure> {
        let mut chance = self.random(3);
        let operations = [Operation::StoreReceipt, Operation::Continue, Operation::Delete];
        for operation in operations.into_iter().cycle() {
            if !self.wait(chance.seconds(5.0..15.0)).await {
                break;
            }
            tokio::select! {
                () = self.proxy.withhold_next(operation) => {}
                () = sleep_until(self.end) => break,
            }
            for process in self.cloud.function_processes()? {
                signal(process, Signal::KILL)?;
            }
            *self.injected().targeted_kills.entry(operation).or_default() += 1;
        }
        Ok(())
    }

    /// Pauses one of the function's processes, as Lambda does between invocations, but in the
    /// middle of one.
    async fn freeze(&self) -> Result<(), Failure> {
        let mut chance = self.random(4);
        while self.wait(chance.seconds(3.0..9.0)).await {
            let processes = self.cloud.function_processes()?;
            if let Some(process) = chance.one_of(&processes)
                && signal(process, Signal::STOP)?
            {
                // Now and then for longer than its invocation may take.
                let time = if chance.one_in(3) { 8.0..12.0 } else { 0.3..4.0 };
                sleep(chance.seconds(time)).await;
                // If it has been ended meanwhile, that is as good.
                signal(process, Signal::CONT)?;
                self.injected().frozen += 1;
            }
        }
        Ok(())
    }

    /// Pauses the whole cloud.
    async fn pause(&self) -> Result<(), Failure> {
        let mut chance = self.random(5);
        while self.wait(chance.seconds(10.0..22.0)).await {
            let time = chance.seconds(1.0..5.0);
            self.cloud.send_signal(Signal::STOP)?;
            sleep(time).await;
            self.cloud.send_signal(Signal::CONT)?;
            let mut injected = self.injected();
            injected.pauses += 1;
            injected.paused += time;
        }
        Ok(())
    }

    /// Sends the requests for all users, every fourth twice, and garbage between them.
    async fn send(&self) -> Result<(), Failure> {
        for (time, body) in self.messages() {
            sleep_until(self.begin + time).await;
            let mut attempt = 1;
            while let Err(error) = self.cloud.send_message(&self.stack.queue_url, &body).await {
                attempt += 1;
                if attempt > SEND_ATTEMPTS {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// All messages with their times, in order.
    fn messages(&self) -> Vec<(Duration, String)> {
        let mut chance = self.random(6);
        let length = self.end - self.begin;
        let mut messages = Vec::new();
        let mut injected = self.injected();
        for (number, user) in self.users.list.iter().enumerate() {
            let mut message = json!({ "type": "user-withdrawn", "userId": user.id });
            // The others are known by the id of the message: sent twice, they are two erasures.
            if !chance.one_in(3) {
                message["requestId"] = Value::from(request_id(number));
            }
            // What takes longest comes first.
            let time = match user {
                User { is_held: true, .. } => Duration::ZERO,
                User { objects: LONG.., .. } => length.mul_f64(0.02),
                User { .. } => length.mul_f64(0.6 * chance.0.f64()),
            };
            messages.push((time, message.to_string()));
            injected.requests += 1;
            if chance.one_in(4) {
                // Immediately, or much later.
                let later = if chance.one_in(2) { 0.0 } else { chance.0.f64() * 0.3 };
                messages.push((time + length.mul_f64(later), message.to_string()));
                injected.duplicates += 1;
            }
        }
        for body in GARBAGE {
            messages.push((length.mul_f64(chance.0.f64() * 0.6), body.to_owned()));
            injected.garbage += 1;
        }
        messages.sort();
        messages
    }
}

/// The id that a caller gives to a user's erasure.
pub(super) fn request_id(user: usize) -> String {
    format!("withdrawal-{user:04}")
}

/// The user of such an id.
pub(super) fn user_of_request(id: &str) -> Option<usize> {
    id.strip_prefix("withdrawal-")?.parse().ok()
}

/// Lists and deletions are many; of the other requests there are few, and each counts.
fn rate(operation: Operation, many: u32, few: u32) -> u32 {
    match operation {
        Operation::List | Operation::Delete | Operation::Read => many,
        Operation::StoreReceipt | Operation::Continue | Operation::ChangeVisibility => few,
    }
}

/// Decisions that a seed makes.
struct Chance(fastrand::Rng);

impl Chance {
    fn seconds(&mut self, range: Range<f64>) -> Duration {
        Duration::from_secs_f64(range.start + self.0.f64() * (range.end - range.start))
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.0.u32(0..count) == 0
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        self.0.choice(items).copied()
    }
}

/// Checks every receipt when it appears. No client stores a user's object late here: a folder that
/// is not empty then was not empty at its verification.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    load: &'a Load<'a>,
    seen: BTreeSet<String>,
    printed: Instant,
}

impl<'a> Watch<'a> {
    pub(super) fn new(load: &'a Load<'a>) -> Self {
        Self { load, seen: BTreeSet::new(), printed: Instant::now() }
    }

    /// Checks, and prints the progress, until something is wrong.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        loop {
            self.look().await?;
            if self.printed.elapsed() > PRINT_EVERY {
                self.printed = Instant::now();
                self.print().await?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Checks every receipt of the outcome "erased" that is new.
    pub(super) async fn look(&mut self) -> Result<(), Failure> {
        let s3 = self.load.cloud.s3();
        for key in list_keys(&s3, RECEIPTS, "").await? {
            if !key.ends_with("/erased.json") || !self.seen.insert(key.clone()) {
                continue;
            }
            let document: Value = serde_json::from_slice(&read_object(&s3, RECEIPTS, &key).await?)
                .unwrap_or_default();
            let user = document["user"].as_str().and_then(|hash| self.load.users.by_hash.get(hash));
            let user = user.ok_or_else(|| {
                Failure::Check(format!("the receipt {key} is about an unknown user: {document}"))
            })?;
            let id = &self.load.users.list[*user].id;
            for (bucket, before) in TARGETS {
                let left = inventory(&s3, bucket, &format!("{before}{id}/")).await?;
                if !left.is_empty() {
                    let left = show::kinds(show::counts(&left));
                    return Err(Failure::Check(format!(
                        "the receipt {key} says that {id} is erased, but s3://{bucket} still has {left}:\n{document}"
                    )));
                }
            }
        }
        Ok(())
    }

    async fn print(&self) -> Result<(), Failure> {
        let (cloud, stack) = (self.load.cloud, self.load.stack);
        let queue = cloud.queue_depth(&stack.queue_url).await?;
        let dead = cloud.queue_depth(&stack.dead_letter_queue_url).await?;
        let faults: u64 =
            self.load.proxy.counts().iter().filter_map(|((_, fault), n)| fault.map(|_| *n)).sum();
        let injected = self.load.injected().clone();
        let (seconds, receipts) = (self.load.begin.elapsed().as_secs(), self.seen.len());
        let targeted_kills: u64 = injected.targeted_kills.values().sum();
        println!(
            "  {seconds:>3} s  {receipts} receipts, {queue} messages in the queue, {dead} dead; \
             {faults} faults, {} kills, {targeted_kills} targeted kills, {} pauses",
            injected.kills, injected.pauses,
        );
        Ok(())
    }
}
