//! Many users in the queue at once, most of them small, one of them huge: all done, none starved.

use std::collections::HashMap;
use std::time::Duration;

use local::HumanCount;
use tokio::time::Instant;

use crate::report::{Spread, percent, seconds};
use crate::world::{Outcome, PHOTOS, World, receipt_key};
use crate::{Error, Report, Settings};

const WHALE: &str = "whale";
const WHALE_REQUEST: &str = "request-0";
const BYTES: u32 = 1_000;
/// One of so many users is large.
const LARGE_EVERY: usize = 200;
const LARGE: u64 = 5_000;
/// The others have from none to this many objects, evenly spread.
const SMALL: u64 = 300;

#[derive(Debug)]
struct User {
    id: String,
    request: String,
    objects: u64,
    /// Until the receipt was stored.
    done_after: Option<Duration>,
    /// Until the message was acknowledged: with the last of its batch.
    acknowledged_after: Option<Duration>,
    /// Whether it shared an invocation with the whale.
    is_beside_whale: bool,
}

/// Erases so many users, one of them of so many objects; 0 is none.
pub async fn run(settings: &Settings, users: usize, whale: u64) -> Result<Report, Error> {
    let mut world = World::start(settings).await?;
    let mut crowd = make_up(settings.seed, users, whale);
    for user in &crowd {
        world.store.fill(PHOTOS, &format!("{}/", user.id), user.objects, BYTES);
        world.withdraw(&user.id, &user.request);
    }
    let outcome = world.run().await?;
    see_when(&mut crowd, &outcome);

    let huge = if whale > 0 {
        format!("one of them with {}", HumanCount(whale))
    } else {
        "no whale".to_owned()
    };
    let title = format!("A crowd: {users} users, {huge}, timeout {} s", settings.timeout.as_secs());
    let mut report = Report::new(title);
    describe(&mut report, settings, &outcome, &crowd);
    check(&mut report, settings, &world, &outcome, &crowd);
    Ok(report)
}

fn make_up(seed: u64, users: usize, whale: u64) -> Vec<User> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let user = |id, number: usize, objects| User {
        id,
        request: format!("request-{number}"),
        objects,
        done_after: None,
        acknowledged_after: None,
        is_beside_whale: false,
    };
    let mut crowd: Vec<User> = (1..users + usize::from(whale == 0))
        .map(|number| {
            let objects = if number % LARGE_EVERY == 0 { LARGE } else { chance.u64(0..=SMALL) };
            user(format!("u{number:05}"), number, objects)
        })
        .collect();
    if whale > 0 {
        // First, so that most of the others have to wait beside it.
        crowd.insert(0, user(WHALE.to_owned(), 0, whale));
    }
    crowd
}

fn see_when(crowd: &mut [User], outcome: &Outcome) {
    let puts =
        outcome.requests.iter().filter_map(|request| Some((request.key.as_deref()?, request.end?)));
    let stored: HashMap<&str, Instant> = puts.collect();
    let mut ends = HashMap::new();
    let mut beside = Vec::new();
    for invocation in &outcome.invocations {
        let hops = outcome.hops.get(&invocation.id).map_or(&[][..], Vec::as_slice);
        let has_whale = hops.iter().any(|hop| hop.erasure == WHALE_REQUEST);
        for hop in hops {
            ends.insert(hop.erasure.as_str(), invocation.end);
            beside.extend(has_whale.then_some(hop.erasure.as_str()));
        }
    }
    for user in crowd {
        user.done_after =
            stored.get(receipt_key(&user.request).as_str()).map(|stored| *stored - outcome.begin);
        user.acknowledged_after = ends.get(user.request.as_str()).map(|end| *end - outcome.begin);
        user.is_beside_whale = beside.contains(&user.request.as_str());
    }
}

fn describe(report: &mut Report, settings: &Settings, outcome: &Outcome, crowd: &[User]) {
    let took = outcome.end - outcome.begin;
    let objects: u64 = crowd.iter().map(|user| user.objects).sum();
    let per_second = objects as f64 / took.as_secs_f64();
    let limit = settings
        .keys_per_second()
        .saturating_mul(u32::try_from(settings.concurrency).unwrap_or(u32::MAX));
    report.row("users, objects", format!("{}, {}", crowd.len(), HumanCount(objects)));
    report.row("environments", settings.concurrency);
    report.row("invocations", outcome.invocations.len());
    report.row("time until all were done", seconds(took));
    report.row(
        "keys per second",
        format!("{per_second:.0}: {} of the limit", percent(per_second, f64::from(limit))),
    );
    let refused = outcome.requests.iter().filter(|request| request.is_refused).count();
    report
        .row("requests to S3, of these refused", format!("{}, {refused}", outcome.requests.len()));
    let is_small = |user: &&User| user.objects <= SMALL;
    let done = |users: Vec<&User>| Spread::of(users.iter().filter_map(|user| user.done_after));
    report.row(
        "waits are",
        "from the start until the receipt is stored: least / median / 95 % / most",
    );
    report.row("all small users (0 to 300 objects)", done(crowd.iter().filter(is_small).collect()));
    report.row(
        "the smallest (0 to 10 objects)",
        done(crowd.iter().filter(|user| user.objects <= 10).collect()),
    );
    report.row(
        "large users (5,000 objects)",
        done(crowd.iter().filter(|user| user.objects == LARGE).collect()),
    );
    if let Some(whale) = crowd.iter().find(|user| user.id == WHALE) {
        let beside: Vec<&User> =
            crowd.iter().filter(is_small).filter(|user| user.is_beside_whale).collect();
        report.row("small users in a batch with the whale", beside.len());
        let acknowledged = Spread::of(beside.iter().filter_map(|user| user.acknowledged_after));
        report.row("their receipts", done(beside));
        report.row("their acknowledgements, which wait for the whale's hop", acknowledged);
        report.row("the whale", whale.done_after.map(seconds).unwrap_or_default());
    }
    for lane in 0..settings.concurrency {
        let of_lane = outcome.invocations.iter().filter(|invocation| invocation.lane == lane);
        let last = of_lane
            .max_by_key(|invocation| invocation.end)
            .map(|invocation| invocation.usage)
            .unwrap_or_default();
        let text =
            format!("{:.2} s, {:.1} MiB", last.cpu.as_secs_f64(), last.peak_kib as f64 / 1_024.0);
        report.row(&format!("CPU and peak memory of environment {lane}"), text);
    }
}

fn check(
    report: &mut Report,
    settings: &Settings,
    world: &World,
    outcome: &Outcome,
    crowd: &[User],
) {
    let done = crowd.iter().filter(|user| user.done_after.is_some()).count();
    report.check(
        done == crowd.len(),
        format!("all are done: {done} of {} have their receipt", crowd.len()),
    );
    let left = world.store.count(PHOTOS, "");
    report.check(left == 0, format!("nothing is left ({left} objects)"));
    let counted =
        |user: &User| world.receipt(&user.request).unwrap_or_default()["objects"].as_u64();
    let wrong = crowd.iter().filter(|user| counted(user) != Some(user.objects)).count();
    report.check(wrong == 0, format!("every tally is exact ({wrong} are not)"));
    let given_back: usize =
        outcome.invocations.iter().map(|invocation| invocation.given_back).sum();
    report.check(
        outcome.depth == (0, 0) && given_back == 0,
        "every message was done at its first delivery",
    );
    let has_whale = crowd.iter().any(|user| user.id == WHALE);
    let others = || crowd.iter().filter(|user| user.id != WHALE);
    let last = others().filter_map(|user| user.done_after).max().unwrap_or_default();
    let longest = longest_wait(settings, others().map(|user| user.objects).sum(), has_whale);
    let text = format!(
        "nobody starved: the last of all others was done after {}, {} at most",
        seconds(last),
        seconds(longest)
    );
    report.check(last <= longest, text);
}

/// What users with so many keys in all have to wait at most: the whale takes one environment from
/// them, or half of the only one, and two timeouts are for batches that it is in.
fn longest_wait(settings: &Settings, keys: u64, has_whale: bool) -> Duration {
    let environments = u32::try_from(settings.concurrency).unwrap_or(u32::MAX);
    let share = match (has_whale, environments) {
        (false, all) => f64::from(all),
        (true, 0 | 1) => 0.5,
        (true, all) => f64::from(all - 1),
    };
    let rate = settings.keys_per_second();
    let deleting = if rate == 0 { 0.0 } else { keys as f64 / (f64::from(rate) * share) };
    // Most users are small, and wait for answers more than for the pace.
    Duration::from_secs_f64(deleting * 1.5) + settings.timeout * 2
}
