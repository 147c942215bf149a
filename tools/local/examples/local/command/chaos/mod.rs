//! Hundreds of erasures during network faults, kills, pauses of the whole cloud and duplicate
//! messages. Afterwards every user is deleted with a true receipt, or is in the dead-letter queue.

mod checks;
mod load;
mod report;
mod users;

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use indicatif::HumanDuration;
use local::{Error, FaultProxy, Ministack, Stack, function_binary, project_root};
use tokio::time::{Instant, sleep, timeout};

use super::{Failure, PLACES};
use checks::{Checks, DeadLetter};
use load::{Load, Watch};
use users::{ARCHIVE, Stock, Users};

/// Eight seconds of work at this pace: large users need many hops.
const PARAMETERS: [(&str, &str); 6] = [
    ("Target3Bucket", ARCHIVE),
    ("Target3Prefix", "{user_id}/"),
    ("FunctionTimeout", "10"),
    ("HandoffReserveMs", "2000"),
    ("MaxDeletesPerSecond", "500"),
    ("MaximumConcurrency", "3"),
];

/// The template's minute would be a long wait after each kill. SQS takes nothing below the
/// function's time limit.
const VISIBILITY_SECONDS: u32 = 20;

const STORE_LIMIT: Duration = Duration::from_secs(600);
/// Five deliveries, the waits between them, and some of those again that were hidden when a process
/// was killed.
const DRAIN_LIMIT: Duration = Duration::from_secs(420);
const CHECK_LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(500);

const LOG: &str = ".local/chaos.log";

/// The settings of `local chaos`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Settings {
    /// Users that withdraw: 10 to 999, because the ids of neighbours begin at 1000.
    #[arg(long, default_value = "200", value_parser = RangedU64ValueParser::<usize>::new().range(10..=999))]
    users: usize,
    /// The same seed makes a similar load [default: a random one].
    #[arg(long, default_value_t = fastrand::u64(1..1_000_000), hide_default_value = true)]
    seed: u64,
    /// How long the load lasts.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

/// `local chaos`
pub(crate) async fn chaos(settings: Settings) -> Result<(), Failure> {
    let Settings { users, seed, seconds } = settings;
    println!("chaos with {users} users, {seconds} s of load, seed {seed}");
    // Every step has a limit of its own, which says more; this one is for a local cloud that does
    // not answer at all.
    let limit = STORE_LIMIT + Duration::from_secs(seconds) + 2 * DRAIN_LIMIT + 2 * CHECK_LIMIT;
    let result = within(limit, "all this", Box::pin(play(settings))).await;
    // Times are real, so that the same seed is only a similar load.
    result.map_err(|failure| {
        failure.and(&format!(
            "A similar load: make chaos USERS={users} SEED={seed} SECONDS={seconds}\nThe function's log: {LOG}"
        ))
    })
}

async fn play(settings: Settings) -> Result<(), Failure> {
    let begin = Instant::now();
    let binary = function_binary()?;
    let proxy = FaultProxy::start(settings.seed).await?;
    let cloud = Ministack::start_behind(&proxy).await?;
    let users = Users::new(settings.users, settings.seed);
    let stored = Box::pin(users.store(&cloud));
    let stored = within(STORE_LIMIT, "storing what users leave behind", stored).await?;
    let parameters = [&PLACES[..], &PARAMETERS].concat();
    let stack = cloud.deploy(&binary, &parameters).await?;
    shorten_visibility(&cloud, &stack).await?;
    println!("deployed template.yaml behind the fault proxy {}", proxy.endpoint());

    let prepared = begin.elapsed();
    let load = Load::new((&cloud, &proxy, &stack), &users, settings);
    let mut watch = Watch::new(&load);
    let result = Box::pin(run_and_drain(&load, &mut watch)).await;
    keep_log(&cloud.function_log_lines(&stack).await?)?;
    result?;
    let drained = begin.elapsed();
    let dead = Box::pin(check(&load, &stored)).await?;
    let redriven = redrive(&load, &dead).await?;
    keep_log(&cloud.function_log_lines(&stack).await?)?;
    Box::pin(check_that_all_are_deleted(&load, &stored)).await?;
    println!(
        "\nWithout faults, and with legal holds lifted, {redriven} dead-letter messages were sent again:\
         \n  all {} users are erased, each with a receipt; other users' data is byte-identical; both queues are empty",
        users.list.len(),
    );
    let all = begin.elapsed();
    let times = [all, prepared, drained - prepared, all - drained].map(|time| time.as_secs());
    let [all, storing, load, end] = times;
    println!(
        "\nAll checks passed, in {all} s: {storing} s to store, {load} s until the queue was empty, {end} s to check and redrive"
    );
    Ok(())
}

async fn shorten_visibility(cloud: &Ministack, stack: &Stack) -> Result<(), Failure> {
    let request = cloud.sqs().set_queue_attributes().queue_url(&stack.queue_url);
    let request =
        request.attributes(QueueAttributeName::VisibilityTimeout, VISIBILITY_SECONDS.to_string());
    let set = request.send().await;
    Ok(set.map(|_| ()).map_err(|error| Error::sdk("set the queue's visibility", error))?)
}

/// Checks everything, prints a report, and returns the dead-letter messages.
async fn check(load: &Load<'_>, stored: &Stock) -> Result<Vec<DeadLetter>, Failure> {
    let log = load.cloud.function_log_lines(load.stack).await?;
    let dead = checks::take_dead_letters(load.cloud, &load.stack.dead_letter_queue_url).await?;
    let receipts = checks::read_receipts(load.cloud).await?;
    let after =
        within(CHECK_LIMIT, "listing what is left", Stock::take(load.cloud, load.users)).await?;
    let mut checks = Checks::of(load, (stored, &after), &dead, &receipts, &log);
    checks.neighbours(stored, &after);
    let untested = report::print(load, stored, &checks, &log);
    checks.fail_at_violations("what must not be")?;
    if !untested.is_empty() {
        let what = "nothing is wrong, but not everything was tested; a longer load would (SECONDS)";
        return Err(Failure::Check(report::list(what, &untested)));
    }
    Ok(dead)
}

/// Runs the load, and then waits without faults until the queue is empty.
async fn run_and_drain(load: &Load<'_>, watch: &mut Watch<'_>) -> Result<(), Failure> {
    let course = async {
        Box::pin(load.run()).await?;
        println!("  the load is over");
        drain(load).await
    };
    tokio::select! {
        // This ends only with a failure.
        result = Box::pin(watch.run()) => result,
        result = course => result,
    }?;
    // What was stored since the last look.
    watch.look().await
}

/// Waits until the queue is empty, visible or not.
async fn drain(load: &Load<'_>) -> Result<(), Failure> {
    let deadline = Instant::now() + DRAIN_LIMIT;
    loop {
        let depth = load.cloud.queue_depth(&load.stack.queue_url).await?;
        if depth == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            let open =
                report::left_by_user(&Stock::take(load.cloud, load.users).await?, load.users);
            let limit = HumanDuration(DRAIN_LIMIT);
            return Err(Failure::Check(format!(
                "{limit} after the load, {depth} messages are still in the queue; with data: {open}\n{}",
                load.cloud.last_words(),
            )));
        }
        sleep(POLL).await;
    }
}

/// Redrives the dead-letter messages, as an operator does when the cause is fixed. Returns their
/// number.
async fn redrive(load: &Load<'_>, dead: &[DeadLetter]) -> Result<usize, Failure> {
    let cloud = load.cloud;
    load.users.lift_holds(cloud).await?;
    let letters = || dead.iter().filter(|letter| !load.is_garbage(&letter.body));
    for letter in letters() {
        cloud.send_message(&load.stack.queue_url, &letter.body).await?;
    }
    drain(load).await?;
    Ok(letters().count())
}

async fn check_that_all_are_deleted(load: &Load<'_>, stored: &Stock) -> Result<(), Failure> {
    let (cloud, users) = (load.cloud, load.users);
    let left = Stock::take(cloud, users).await?;
    let dead = checks::take_dead_letters(cloud, &load.stack.dead_letter_queue_url).await?;
    let receipts = checks::read_receipts(cloud).await?;
    let mut checks = Checks::default();
    checks.receipts(load, (stored, &left), &receipts);
    checks.neighbours(stored, &left);
    for user in left.by_user.into_keys() {
        checks.violations.push(format!("{} still has data after the redrive", users.list[user].id));
    }
    for (user, person) in users.list.iter().enumerate() {
        if !checks.erased.contains_key(&user) {
            checks.violations.push(format!("{} has no receipt after the redrive", person.id));
        }
    }
    for letter in dead {
        checks.violations.push(format!(
            "dead-letter message after the redrive, without faults: {}",
            letter.body
        ));
    }
    checks.fail_at_violations("what must not be after the redrive")
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late =
        |_elapsed| Failure::Check(format!("{what} took longer than {}", HumanDuration(limit)));
    timeout(limit, work).await.map_err(late)?
}

/// Writes the function's log into a file.
fn keep_log(lines: &[String]) -> Result<(), Failure> {
    let path = project_root().join(LOG);
    std::fs::write(&path, lines.join("\n"))
        .map_err(|error| Failure::Check(format!("failed to write {}: {error}", path.display())))
}
