//! The demo: one user is erased end to end, and everything that was promised is checked.

use std::time::Duration;

use futures::future::try_join_all;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar};
use local::{
    Hop, Ministack, Receipt, ReceiptsFolder, Stack, Stored, function_binary, inventory,
    read_objects, user_hash,
};
use tokio::time::{Instant, sleep};

use super::{DOCUMENTS, Failure, HASH_KEY, PHOTOS, PLACES, RECEIPTS_URI, USERS, seed, show};

const USER: &str = "u1";
const PLAIN_OBJECTS: usize = 5_000;
const VERSIONED_DOCUMENTS: usize = 300;
const LONE_DELETE_MARKERS: usize = 40;
/// Two more places of the user's files in the bucket of photos: a folder of which a part of the
/// name is fixed, as Django's `user_1/`, and a file that is named after the user.
const MEDIA_PREFIX: &str = "media/user_{user_id}/";
const AVATAR_PATTERN: &str = "avatars/{user_id}.jpg";
const MEDIA_FOLDER: &str = "media/user_u1/";
const AVATAR: &str = "avatars/u1.jpg";
const MEDIA_OBJECTS: usize = 20;
/// Keys in the bucket of photos that are similar to the user's, or have the user's id at a place
/// that is no target.
const SIMILAR_KEYS: [&str; 16] = [
    "user_u1/a.jpg",
    "media/user_u10/a.jpg",
    "media/user_u1x/a.jpg",
    "media/xuser_u1/a.jpg",
    "media/user_u1",
    "media/u1/a.jpg",
    "u1.jpg",
    "avatars/u1",
    "avatars/u1.jpg.bak",
    "avatars/u1.jpg/a",
    "avatars/u10.jpg",
    "avatars/u12.jpg",
    "avatars/u123.jpg",
    "avatars/u12",
    "tenant-a/u1/a.jpg",
    "tenant-b/u1/a.jpg",
];
/// Who the neighbours are, in plain words.
const UNTOUCHED: [&str; 4] = [
    "users with similar ids: u10/, U1/, u1.bak/",
    "folders similar to media/user_u1/, which was deleted: media/user_u10/, media/xuser_u1/",
    "files similar to avatars/u1.jpg, which was deleted: avatars/u12.jpg, avatars/u1.jpg.bak",
    "the same id in folders of tenants: tenant-a/u1/, tenant-b/u1/",
];
/// From the message to the proof.
const TIME_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(500);
/// Three seconds of work at this pace are too few for 6,000 things: the erasure must continue in a
/// second invocation. The reserve is longer than usual, because the local cloud does one thing at a
/// time, on whatever machine this is.
const PARAMETERS: [(&str, &str); 7] = [
    ("FunctionTimeout", "5"),
    ("HandoffReserveMs", "2000"),
    ("MaxDeletesPerSecond", "1000"),
    ("Target3Bucket", PHOTOS),
    ("Target3Prefix", MEDIA_PREFIX),
    ("EraseKey1Bucket", PHOTOS),
    ("EraseKey1Pattern", AVATAR_PATTERN),
];

/// `local run`
pub(crate) async fn run() -> Result<(), Failure> {
    let begin = Instant::now();
    let binary = function_binary()?;
    let cloud = Ministack::start().await?;
    println!("1/5 started a local cloud at {}: S3, SQS and Lambda", cloud.endpoint());
    println!("2/5 storing files");
    seed::make_buckets(&cloud).await?;
    seed::store_neighbours(&cloud).await?;
    let what = "objects with similar names: media/user_u10/, avatars/u12.jpg, tenant-b/u1/, …";
    seed::store(&cloud, PHOTOS, what, similar_objects()).await?;
    seed::leave_uploads(&cloud, PHOTOS, "media/user_u10/", 1).await?;
    let neighbours = take_stock(&cloud, Whose::Everybody).await?;
    store_files(&cloud).await?;
    let stored = show::counts(&take_stock(&cloud, Whose::Users).await?);

    let stack = cloud.deploy(&binary, &[&PLACES[..], &PARAMETERS].concat()).await?;
    println!("3/5 deployed template.yaml: {}", stack.function_name);
    let message = format!(r#"{{"type":"user-withdrawn","userId":"{USER}"}}"#);
    cloud.send_message(&stack.queue_url, &message).await?;
    println!("4/5 sent {message}");
    println!("    (each line below is the part of one invocation in this erasure)");

    let sent = Instant::now();
    let hops = watch(&cloud, &stack, stored.iter().sum()).await?;
    let took = sent.elapsed();
    println!("5/5 checking the result with listings of our own");
    let receipt = check(&cloud, &stack, &hops, stored, &neighbours).await?;
    summarize(&hops, stored, (took, begin.elapsed()));
    println!(
        "  ✓ other users' data   {}: unchanged, among them",
        show::kinds(show::counts(&neighbours))
    );
    for words in UNTOUCHED {
        println!("                        - {words}");
    }
    println!("  ✓ queues              the queue and the dead-letter queue are empty");
    println!("  ✓ receipt             {}\n{}", receipt.key, receipt.pretty());
    println!("\nNext:");
    println!("  make local    keep such a cloud running, and send messages yourself");
    println!("  make unit     run the tests that need no server");
    println!("  make help     other targets");
    Ok(())
}

fn similar_objects() -> Vec<seed::Object> {
    SIMILAR_KEYS.map(|key| seed::object(key.to_owned())).into()
}

/// Everything that the user leaves behind.
async fn store_files(cloud: &Ministack) -> Result<(), Failure> {
    let mut files = seed::odd_objects(USER);
    let odd = files.len();
    files.extend(seed::plain_objects(USER, PLAIN_OBJECTS));
    files.extend((0..MEDIA_OBJECTS).map(|n| seed::object(format!("{MEDIA_FOLDER}{n}.jpg"))));
    files.push(seed::object(AVATAR.to_owned()));
    let count = HumanCount(files.len() as u64);
    let what = format!(
        "{count} objects of the user {USER}, {odd} of them with special characters in their keys"
    );
    seed::store(cloud, PHOTOS, &what, files).await?;
    seed::leave_uploads(cloud, PHOTOS, &format!("{USER}/"), 2).await?;
    let folder = format!("{USERS}{USER}/");
    seed::leave_uploads(cloud, DOCUMENTS, &folder, 3).await?;
    seed::store_versions(cloud, USER, &[folder], (VERSIONED_DOCUMENTS, LONE_DELETE_MARKERS)).await
}

enum Whose {
    Everybody,
    Users,
}

/// What both buckets hold, by our own listings.
async fn take_stock(cloud: &Ministack, whose: Whose) -> Result<Vec<Stored>, Failure> {
    let s3 = cloud.s3();
    let places = match whose {
        Whose::Everybody => vec![(PHOTOS, String::new()), (DOCUMENTS, String::new())],
        Whose::Users => vec![
            (PHOTOS, format!("{USER}/")),
            (PHOTOS, MEDIA_FOLDER.to_owned()),
            (PHOTOS, AVATAR.to_owned()),
            (DOCUMENTS, format!("{USERS}{USER}/")),
        ],
    };
    let listings = places.iter().map(|(bucket, prefix)| inventory(&s3, bucket, prefix));
    let mut stored = try_join_all(listings).await?.concat();
    if matches!(whose, Whose::Users) {
        stored.retain(|item| item.key == AVATAR || !item.key.starts_with(AVATAR));
    }
    Ok(stored)
}

/// Shows progress until the function says that the user is erased. Fails when it cannot come to
/// that.
async fn watch(cloud: &Ministack, stack: &Stack, count: u64) -> Result<Vec<Hop>, Failure> {
    let bar = ProgressBar::new(count);
    bar.set_style(seed::bar_style("remaining"));
    let deadline = Instant::now() + TIME_LIMIT;
    let (mut seen, mut hops, mut shown) = (0, Vec::new(), [u64::MAX; 4]);
    loop {
        let lines = cloud.function_log_lines(stack).await?;
        let dead = cloud.queue_depth(&stack.dead_letter_queue_url).await?;
        let left = show::counts(&take_stock(cloud, Whose::Users).await?);
        for line in &lines[seen.min(lines.len())..] {
            let hop = Hop::parse(line);
            if let Some(text) = hop.as_ref().map(show::hop).or_else(|| show::trouble(line)) {
                bar.suspend(|| println!("{text}"));
            }
            hops.extend(hop);
        }
        seen = lines.len();
        bar.set_position(left.iter().sum());
        if bar.is_hidden() && left != shown {
            println!("  remaining: {}", show::kinds(left));
            shown = left;
        }
        match hops.last().map(|hop| hop.outcome.as_str()) {
            Some("erased") => break,
            _ if dead > 0 => {
                return Err(Failure::Check("the message is in the dead-letter queue".to_owned()));
            }
            _ if Instant::now() > deadline => return Err(too_late(cloud, &hops, left)),
            _ => sleep(POLL).await,
        }
    }
    bar.finish_and_clear();
    Ok(hops)
}

fn too_late(cloud: &Ministack, hops: &[Hop], left: [u64; 4]) -> Failure {
    let (limit, hops, left) = (HumanDuration(TIME_LIMIT), hops.len(), show::kinds(left));
    let words = cloud.last_words();
    Failure::Check(format!(
        "after {limit} and {hops} invocations, this remains: {left}. The local cloud's log:\n{words}"
    ))
}

fn ensure(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if is_so { Ok(()) } else { Err(Failure::Check(otherwise())) }
}

/// Trusts nothing that the function said. Returns its receipt.
async fn check(
    cloud: &Ministack,
    stack: &Stack,
    hops: &[Hop],
    stored: [u64; 4],
    neighbours: &[Stored],
) -> Result<Receipt, Failure> {
    let left = take_stock(cloud, Whose::Users).await?;
    ensure(left.is_empty(), || {
        format!("this remains: {}, as {:?}", show::kinds(show::counts(&left)), left.first())
    })?;

    // A version, a delete marker or an upload never changes: its id is as good as its bytes.
    let found = take_stock(cloud, Whose::Everybody).await?;
    let harmed = neighbours.iter().find(|item| !found.contains(item));
    ensure(harmed.is_none(), || format!("something of another user is missing: {harmed:?}"))?;
    ensure(found == neighbours, || {
        "the buckets contain something that this demo did not store".to_owned()
    })?;
    let mut expected = [seed::neighbours(), similar_objects()].concat();
    expected.sort();
    let found = read_objects(&cloud.s3(), PHOTOS, "").await?;
    ensure(found == expected, || "an object of another user has other content".to_owned())?;

    for queue in [&stack.queue_url, &stack.dead_letter_queue_url] {
        let depth = settled_depth(cloud, queue).await?;
        ensure(depth == 0, || format!("{depth} messages remain in {queue}"))?;
    }
    let continued = hops.iter().any(|hop| hop.outcome == "continued");
    ensure(continued, || {
        "the erasure took one invocation only, so no continuation was shown".to_owned()
    })?;
    let counted = counted(hops);
    // A batch that was in flight at a stop time is deleted, but not counted.
    let is_plausible = counted.iter().zip(stored).all(|(counted, stored)| *counted <= stored);
    ensure(is_plausible, || {
        format!(
            "the function counted {}, but only {} were stored",
            show::kinds(counted),
            show::kinds(stored)
        )
    })?;

    let hash = user_hash(HASH_KEY, USER);
    let is_named = hops.iter().all(|hop| hop.user == hash);
    ensure(is_named, || format!("the log does not name the user {hash}"))?;
    let mut receipts =
        ReceiptsFolder::parse(RECEIPTS_URI)?.of_user(&cloud.s3(), &hash).await?.receipts;
    let count = receipts.len();
    let receipt =
        receipts.pop().filter(|receipt| count == 1 && receipt.key.ends_with("/erased.json"));
    receipt.ok_or_else(|| {
        Failure::Check(format!("expected one receipt, of the outcome \"erased\", not {count}"))
    })
}

/// The last message is deleted a moment after the function has answered; a message that failed is
/// delivered again before.
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

/// What the function has counted in all hops, in the order of [`show::kinds`].
fn counted(hops: &[Hop]) -> [u64; 4] {
    let last = hops.last().cloned().unwrap_or_default();
    [last.total_objects, last.total_versions, last.total_delete_markers, last.total_uploads]
}

fn summarize(hops: &[Hop], stored: [u64; 4], (took, all): (Duration, Duration)) {
    let bytes = HumanBytes(hops.last().map_or(0, |hop| hop.total_bytes));
    println!(
        "\nErased {USER} in {} invocations, {:.1} s after the message ({:.0} s in total):",
        hops.len(),
        took.as_secs_f64(),
        all.as_secs_f64(),
    );
    let names = ["objects", "versions", "delete markers", "uploads"];
    for (name, (stored, counted)) in names.into_iter().zip(stored.into_iter().zip(counted(hops))) {
        println!(
            "  {name:<20}  {:>5} stored, {:>5} counted",
            HumanCount(stored).to_string(),
            HumanCount(counted).to_string()
        );
    }
    println!("  bytes                 {bytes}");
    println!(
        "  ✓ verified empty      the function's final listings, and this demo's own, found nothing"
    );
}
