//! Hundreds of erasures in a storm: a network that fails, processes that are killed, a cloud that
//! stands still, messages that come twice. Afterwards everybody is gone with a true receipt, or
//! named in the dead-letter queue.

mod people;
mod storm;
mod tale;
mod verdict;

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use indicatif::HumanDuration;
use local::{Error, FaultProxy, Ministack, Stack, function_binary, project_root};
use tokio::time::{Instant, sleep, timeout};

use super::{Failure, PLACES};
use people::{ARCHIVE, People, Stock};
use storm::{Storm, Watch};
use verdict::{DeadLetter, Verdict};

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

/// What is random here is decided by the seed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Settings {
    /// Users that withdraw: 10 to 999, because the ids of neighbours begin at 1000.
    #[arg(long, default_value = "200", value_parser = RangedU64ValueParser::<usize>::new().range(10..=999))]
    users: usize,
    /// The same seed makes a similar storm [default: a random one].
    #[arg(long, default_value_t = fastrand::u64(1..1_000_000), hide_default_value = true)]
    seed: u64,
    /// How long the storm lasts.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

/// `local chaos`
pub(crate) async fn chaos(settings: Settings) -> Result<(), Failure> {
    let Settings { users, seed, seconds } = settings;
    println!("chaos with {users} users, {seconds} s of storm, seed {seed}");
    // Every step has a limit of its own, which says more; this one is for a local cloud that does
    // not answer at all.
    let limit = STORE_LIMIT + Duration::from_secs(seconds) + 2 * DRAIN_LIMIT + 2 * CHECK_LIMIT;
    let result = within(limit, "all this", Box::pin(play(settings))).await;
    // Times are real, so that the same seed is only a similar storm.
    result.map_err(|failure| {
        failure.and(&format!(
            "A similar storm: make chaos USERS={users} SEED={seed} SECONDS={seconds}\nThe function's log: {LOG}"
        ))
    })
}

async fn play(settings: Settings) -> Result<(), Failure> {
    let begin = Instant::now();
    let binary = function_binary()?;
    let proxy = FaultProxy::start(settings.seed).await?;
    let cloud = Ministack::start_behind(&proxy).await?;
    let people = People::new(settings.users, settings.seed);
    let stored = Box::pin(people.store(&cloud));
    let stored = within(STORE_LIMIT, "storing what users leave behind", stored).await?;
    let parameters = [&PLACES[..], &PARAMETERS].concat();
    let stack = cloud.deploy(&binary, &parameters).await?;
    shorten_visibility(&cloud, &stack).await?;
    println!("deployed template.yaml behind the fault proxy {}", proxy.endpoint());

    let prepared = begin.elapsed();
    let storm = Storm::new((&cloud, &proxy, &stack), &people, settings);
    let mut watch = Watch::new(&storm);
    let stormy = Box::pin(weather_it(&storm, &mut watch)).await;
    keep_log(&cloud.function_log_lines(&stack).await?)?;
    stormy?;
    let weathered = begin.elapsed();
    let dead = Box::pin(judge(&storm, &stored)).await?;
    let redriven = redrive(&storm, &dead).await?;
    keep_log(&cloud.function_log_lines(&stack).await?)?;
    Box::pin(check_everybody_is_gone(&storm, &stored)).await?;
    println!(
        "\nIn calm weather again, legal holds lifted, {redriven} dead letters were sent once more:\
         \n  all {} users are gone, each with a receipt, neighbours are byte-identical, both queues are empty",
        people.users.len(),
    );
    let all = begin.elapsed();
    let times = [all, prepared, weathered - prepared, all - weathered].map(|time| time.as_secs());
    let [all, storing, storm, end] = times;
    println!(
        "\nAll as promised, in {all} s: {storing} s to store, {storm} s until the queue was empty, {end} s to check and redrive"
    );
    Ok(())
}

async fn shorten_visibility(cloud: &Ministack, stack: &Stack) -> Result<(), Failure> {
    let request = cloud.sqs().set_queue_attributes().queue_url(&stack.queue_url);
    let request =
        request.attributes(QueueAttributeName::VisibilityTimeout, VISIBILITY_SECONDS.to_string());
    let set = request
        .send()
        .await
        .map_err(|error| Error::service("set the queue's visibility", error.to_string()));
    Ok(set.map(|_| ())?)
}

/// Checks everything, tells it, and returns the dead letters.
async fn judge(storm: &Storm<'_>, stored: &Stock) -> Result<Vec<DeadLetter>, Failure> {
    let log = storm.cloud.function_log_lines(storm.stack).await?;
    let dead = verdict::take_dead_letters(storm.cloud, &storm.stack.dead_letter_queue_url).await?;
    let receipts = verdict::read_receipts(storm.cloud).await?;
    let after =
        within(CHECK_LIMIT, "listing what is left", Stock::take(storm.cloud, storm.people)).await?;
    let mut verdict = Verdict::of(storm, (stored, &after), &dead, &receipts, &log);
    verdict.neighbours(stored, &after);
    let untested = tale::tell(storm, stored, &verdict, &log);
    if !verdict.violations.is_empty() {
        return Err(Failure::Check(tale::list("what must not be", &verdict.violations)));
    }
    if !untested.is_empty() {
        let what =
            "nothing is wrong, but not everything was tested; a longer storm would (SECONDS)";
        return Err(Failure::Check(tale::list(what, &untested)));
    }
    Ok(dead)
}

/// The storm, and then calm weather until the queue is empty.
async fn weather_it(storm: &Storm<'_>, watch: &mut Watch<'_>) -> Result<(), Failure> {
    let course = async {
        Box::pin(storm.rage()).await?;
        println!("  the storm is over");
        drain(storm).await
    };
    tokio::select! {
        // Ends only with what must not be.
        failure = Box::pin(watch.stand()) => Err(failure),
        result = course => result,
    }?;
    // What was stored since the last look.
    watch.look().await
}

/// Waits until the queue is empty, visible or not.
async fn drain(storm: &Storm<'_>) -> Result<(), Failure> {
    let deadline = Instant::now() + DRAIN_LIMIT;
    loop {
        let depth = storm.cloud.queue_depth(&storm.stack.queue_url).await?;
        if depth == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            let open =
                tale::left_by_user(&Stock::take(storm.cloud, storm.people).await?, storm.people);
            let limit = HumanDuration(DRAIN_LIMIT);
            return Err(Failure::Check(format!(
                "{limit} after the storm, {depth} messages are still in the queue; with data: {open}\n{}",
                storm.cloud.last_words(),
            )));
        }
        sleep(POLL).await;
    }
}

/// Sends dead letters once more, as an operator does when what was wrong is mended. Returns their
/// number.
async fn redrive(storm: &Storm<'_>, dead: &[DeadLetter]) -> Result<usize, Failure> {
    let cloud = storm.cloud;
    storm.people.lift_holds(cloud).await?;
    let letters = dead.iter().filter(|letter| !storm.is_garbage(&letter.body));
    let mut redriven = 0;
    for letter in letters {
        cloud.send_message(&storm.stack.queue_url, &letter.body).await?;
        redriven += 1;
    }
    drain(storm).await?;
    Ok(redriven)
}

async fn check_everybody_is_gone(storm: &Storm<'_>, stored: &Stock) -> Result<(), Failure> {
    let (cloud, people) = (storm.cloud, storm.people);
    let left = Stock::take(cloud, people).await?;
    let dead = verdict::take_dead_letters(cloud, &storm.stack.dead_letter_queue_url).await?;
    let receipts = verdict::read_receipts(cloud).await?;
    let mut verdict = Verdict::default();
    verdict.receipts(storm, (stored, &left), &receipts);
    verdict.neighbours(stored, &left);
    for user in left.users.into_keys() {
        verdict
            .violations
            .push(format!("{} still has data after the redrive", people.users[user].id));
    }
    for (user, person) in people.users.iter().enumerate() {
        if !verdict.erased.contains_key(&user) {
            verdict.violations.push(format!("{} has no receipt after the redrive", person.id));
        }
    }
    for letter in dead {
        verdict.violations.push(format!("dead again, in calm weather: {}", letter.body));
    }
    if verdict.violations.is_empty() {
        return Ok(());
    }
    Err(Failure::Check(tale::list("what must not be after the redrive", &verdict.violations)))
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

/// Keeps the function's log for whoever looks for a cause.
fn keep_log(lines: &[String]) -> Result<(), Failure> {
    let path = project_root().join(LOG);
    std::fs::write(&path, lines.join("\n"))
        .map_err(|error| Failure::Check(format!("failed to write {}: {error}", path.display())))
}
