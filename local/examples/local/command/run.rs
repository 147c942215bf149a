//! The demo: one user is erased end to end, and everything that was promised is checked.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar};
use local::{Hop, Ministack, Stack, function_binary, list_keys, read_objects};
use tokio::time::{Instant, sleep};

use super::{BUCKET, Failure, seed, show};

const USER: &str = "u1";
const PLAIN_OBJECTS: usize = 5_000;
/// From the message to the proof.
const TIME_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(500);
/// Three seconds of work at this pace are too few for 5,000 objects: the erasure must continue in a second invocation.
/// The reserve is longer than usual, because the local cloud does one thing at a time, on whatever machine this is.
const PARAMETERS: [(&str, &str); 4] = [
    ("Target1Bucket", BUCKET),
    ("FunctionTimeout", "5"),
    ("HandoffReserveMs", "2000"),
    ("MaxDeletesPerSecond", "1000"),
];

/// `local run`
pub(crate) async fn run() -> Result<(), Failure> {
    let begin = Instant::now();
    let binary = function_binary()?;
    let cloud = Ministack::start().await?;
    println!("started a local cloud at {}: S3, SQS and Lambda", cloud.endpoint());
    cloud.create_bucket(BUCKET).await?;

    let mut files = seed::odd_objects(USER);
    let odd = files.len();
    files.extend(seed::plain_objects(USER, PLAIN_OBJECTS));
    let count = files.len();
    let what = format!("{} objects of the user {USER}, {odd} of them with odd names", HumanCount(count as u64));
    seed::store(&cloud, &what, files).await?;
    let neighbours = seed::neighbours();
    let what = format!("{} objects of neighbours: u10/, u1.bak/, U1/, other/u1/, …", neighbours.len());
    seed::store(&cloud, &what, neighbours).await?;

    let stack = cloud.deploy(&binary, &PARAMETERS).await?;
    println!("deployed template.yaml: {}", stack.function_name);
    let message = format!(r#"{{"type":"user-withdrawn","userId":"{USER}"}}"#);
    cloud.send_message(&stack.queue_url, &message).await?;
    println!("sent {message}\n");

    let sent = Instant::now();
    let hops = watch(&cloud, &stack, count as u64).await?;
    let took = sent.elapsed();
    check(&cloud, &stack, &hops, count as u64).await?;
    summarize(&hops, count as u64, took, begin.elapsed());
    Ok(())
}

/// Shows progress until the function says that the user is erased. Fails when it cannot come to that.
async fn watch(cloud: &Ministack, stack: &Stack, count: u64) -> Result<Vec<Hop>, Failure> {
    let bar = ProgressBar::new(count);
    bar.set_style(seed::bar_style("left"));
    let deadline = Instant::now() + TIME_LIMIT;
    let (mut seen, mut hops, mut shown) = (0, Vec::new(), u64::MAX);
    loop {
        let s3 = cloud.s3();
        let prefix = format!("{USER}/");
        let (lines, left, dead) = tokio::try_join!(
            cloud.function_log_lines(stack),
            list_keys(&s3, BUCKET, &prefix),
            cloud.queue_depth(&stack.dead_letter_queue_url),
        )?;
        for line in &lines[seen.min(lines.len())..] {
            let hop = Hop::parse(line);
            if let Some(text) = hop.as_ref().map(show::hop).or_else(|| show::trouble(line)) {
                bar.suspend(|| println!("{text}"));
            }
            hops.extend(hop);
        }
        seen = lines.len();
        let left = left.len() as u64;
        bar.set_position(left);
        if bar.is_hidden() && left != shown {
            println!("  {left} objects left");
            shown = left;
        }
        match hops.last().map(|hop| hop.outcome.as_str()) {
            Some("erased") => break,
            _ if dead > 0 => return Err(Failure::Check("the message is in the dead-letter queue".to_owned())),
            _ if Instant::now() > deadline => return Err(too_late(cloud, &hops, left)),
            _ => sleep(POLL).await,
        }
    }
    bar.finish_and_clear();
    Ok(hops)
}

fn too_late(cloud: &Ministack, hops: &[Hop], left: u64) -> Failure {
    let limit = HumanDuration(TIME_LIMIT);
    let hops = hops.len();
    let words = cloud.last_words();
    Failure::Check(format!("after {limit} and {hops} hops, {left} objects are left. The local cloud's log:\n{words}"))
}

/// Trusts nothing that the function said.
async fn check(cloud: &Ministack, stack: &Stack, hops: &[Hop], count: u64) -> Result<(), Failure> {
    let s3 = cloud.s3();
    let ensure = |so: bool, otherwise: String| if so { Ok(()) } else { Err(Failure::Check(otherwise)) };

    let left = list_keys(&s3, BUCKET, &format!("{USER}/")).await?;
    ensure(left.is_empty(), format!("{} objects are left, among them {:?}", left.len(), left.first()))?;

    let mut expected = seed::neighbours();
    expected.sort();
    let found = read_objects(&s3, BUCKET, "").await?;
    let harmed = expected.iter().find(|object| !found.contains(object));
    ensure(harmed.is_none(), format!("an object of a neighbour is gone or changed: {harmed:?}"))?;
    ensure(found == expected, "the bucket holds objects that nobody put there".to_owned())?;

    for queue in [&stack.queue_url, &stack.dead_letter_queue_url] {
        let depth = settled_depth(cloud, queue).await?;
        ensure(depth == 0, format!("{depth} messages are left in {queue}"))?;
    }
    let continued = hops.iter().any(|hop| hop.outcome == "continued");
    ensure(continued, "the erasure took one invocation only, so no continuation was shown".to_owned())?;
    let total = hops.last().map_or(0, |hop| hop.total_objects);
    // A batch that was in flight at a stop time is gone, but not counted.
    ensure(total <= count, format!("the function counted {total} objects, but only {count} were stored"))
}

/// The last message is deleted a moment after the function has answered; one that was given back comes again first.
async fn settled_depth(cloud: &Ministack, queue: &str) -> Result<u64, Failure> {
    let deadline = Instant::now() + TIME_LIMIT;
    loop {
        let depth = cloud.queue_depth(queue).await?;
        if depth == 0 || Instant::now() > deadline {
            return Ok(depth);
        }
        sleep(POLL).await;
    }
}

fn summarize(hops: &[Hop], count: u64, took: Duration, all: Duration) {
    let last = hops.last().cloned().unwrap_or_default();
    println!(
        "\nErased {USER} in {} hops: {} objects ({} counted, {}), {:.1} s after the message ({:.0} s with everything).",
        hops.len(),
        HumanCount(count),
        HumanCount(last.total_objects),
        HumanBytes(last.total_bytes),
        took.as_secs_f64(),
        all.as_secs_f64(),
    );
    println!("  proven empty          the function's last listing found nothing, and neither did ours");
    println!("  neighbours untouched  {} objects, compared byte for byte", seed::neighbours().len());
    println!("  nothing outstanding   the queue and the dead-letter queue are empty");
    println!("\nWhat to try next:");
    println!("  make local    the same cloud, until Ctrl-C: send messages yourself");
    println!("  make invoke   the function by itself, under cargo lambda");
    println!("  make test     all tests");
}
