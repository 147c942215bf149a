//! Many users in the queue, most of them small, one of them huge: all are done, and none starves.

use std::collections::HashMap;
use std::time::Duration;

use local::HumanCount;
use tokio::time::Instant;

use crate::report::{Spread, percent, seconds};
use crate::world::{Outcome, PHOTOS, World, receipt_key};
use crate::{Error, Report, Settings};

const HUGE: &str = "huge-user";
const HUGE_REQUEST: &str = "request-0";
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
    /// Whether it shared an invocation with the huge user.
    shares_with_huge: bool,
}

/// Erases so many users, one of them of so many objects; 0 is none.
pub async fn run(settings: &Settings, users: usize, huge: u64) -> Result<Report, Error> {
    let mut world = World::start(settings).await?;
    let mut users = make_up(settings.seed, users, huge);
    for user in &users {
        world.store.fill(PHOTOS, &format!("{}/", user.id), user.objects, BYTES);
        world.withdraw(&user.id, &user.request);
    }
    let outcome = world.run().await?;
    see_when(&mut users, &outcome);

    let huge = if huge > 0 {
        format!("one of them with {}", HumanCount(huge))
    } else {
        "no huge user".to_owned()
    };
    let (count, timeout) = (users.len(), settings.timeout.as_secs());
    let title = format!("Many users: {count} users, {huge}, timeout {timeout} s");
    let mut report = Report::new(title);
    describe(&mut report, settings, &outcome, &users);
    check(&mut report, settings, &world, &outcome, &users);
    Ok(report)
}

fn make_up(seed: u64, users: usize, huge: u64) -> Vec<User> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let user = |id, number: usize, objects| User {
        id,
        request: format!("request-{number}"),
        objects,
        done_after: None,
        acknowledged_after: None,
        shares_with_huge: false,
    };
    let mut users: Vec<User> = (1..users + usize::from(huge == 0))
        .map(|number| {
            let objects = if number % LARGE_EVERY == 0 { LARGE } else { chance.u64(0..=SMALL) };
            user(format!("u{number:05}"), number, objects)
        })
        .collect();
    if huge > 0 {
        // First, so that most of the others have to wait for it.
        users.insert(0, user(HUGE.to_owned(), 0, huge));
    }
    users
}

fn see_when(users: &mut [User], outcome: &Outcome) {
    let puts =
        outcome.requests.iter().filter_map(|request| Some((request.key.as_deref()?, request.end?)));
    let stored: HashMap<&str, Instant> = puts.collect();
    let mut ends = HashMap::new();
    let mut sharing = Vec::new();
    for invocation in &outcome.invocations {
        let hops = outcome.hops.get(&invocation.id).map_or(&[][..], Vec::as_slice);
        let has_huge_user = hops.iter().any(|hop| hop.erasure == HUGE_REQUEST);
        for hop in hops {
            ends.insert(hop.erasure.as_str(), invocation.end);
            sharing.extend(has_huge_user.then_some(hop.erasure.as_str()));
        }
    }
    for user in users {
        user.done_after =
            stored.get(receipt_key(&user.request).as_str()).map(|stored| *stored - outcome.begin);
        user.acknowledged_after = ends.get(user.request.as_str()).map(|end| *end - outcome.begin);
        user.shares_with_huge = sharing.contains(&user.request.as_str());
    }
}

fn describe(report: &mut Report, settings: &Settings, outcome: &Outcome, users: &[User]) {
    let took = outcome.end - outcome.begin;
    let objects: u64 = users.iter().map(|user| user.objects).sum();
    let per_second = objects as f64 / took.as_secs_f64();
    let limit = settings
        .keys_per_second()
        .saturating_mul(u32::try_from(settings.concurrency).unwrap_or(u32::MAX));
    report.row("users, objects", format!("{}, {}", users.len(), HumanCount(objects)));
    report.row("environments", settings.concurrency);
    report.row("invocations", outcome.invocations.len());
    report.row("time until all were done", seconds(took));
    report.row(
        "keys per second",
        format!("{per_second:.0}: {} of the limit", percent(per_second, f64::from(limit))),
    );
    let refused = outcome.requests.iter().filter(|request| request.is_refused).count();
    report.row(
        "requests to S3, of these throttled",
        format!("{}, {refused}", outcome.requests.len()),
    );
    let is_small = |user: &&User| user.objects <= SMALL;
    let done = |users: Vec<&User>| Spread::of(users.iter().filter_map(|user| user.done_after));
    report.row(
        "waits are",
        "from the start until the receipt is stored: least / median / 95 % / most",
    );
    report.row("all small users (0 to 300 objects)", done(users.iter().filter(is_small).collect()));
    report.row(
        "the smallest (0 to 10 objects)",
        done(users.iter().filter(|user| user.objects <= 10).collect()),
    );
    report.row(
        "large users (5,000 objects)",
        done(users.iter().filter(|user| user.objects == LARGE).collect()),
    );
    if let Some(huge) = users.iter().find(|user| user.id == HUGE) {
        let sharing: Vec<&User> =
            users.iter().filter(is_small).filter(|user| user.shares_with_huge).collect();
        report.row("small users in a batch with the huge user", sharing.len());
        let acknowledged = Spread::of(sharing.iter().filter_map(|user| user.acknowledged_after));
        report.row("their receipts", done(sharing));
        report.row("their acknowledgements, which wait for the huge user's hop", acknowledged);
        report.row("the huge user", huge.done_after.map(seconds).unwrap_or_default());
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
    users: &[User],
) {
    let done = users.iter().filter(|user| user.done_after.is_some()).count();
    report.check(
        done == users.len(),
        format!("all are done: {done} of {} have their receipt", users.len()),
    );
    let left = world.store.count(PHOTOS, "");
    report.check(left == 0, format!("nothing is left ({left} objects)"));
    let counted =
        |user: &User| world.receipt(&user.request).unwrap_or_default()["objects"].as_u64();
    let wrong = users.iter().filter(|user| counted(user) != Some(user.objects)).count();
    report.check(wrong == 0, format!("every tally is exact ({wrong} are not)"));
    outcome.check_deliveries(report);
    let has_huge_user = users.iter().any(|user| user.id == HUGE);
    let others = || users.iter().filter(|user| user.id != HUGE);
    let last = others().filter_map(|user| user.done_after).max().unwrap_or_default();
    let longest = longest_wait(settings, others().map(|user| user.objects).sum(), has_huge_user);
    let text = format!(
        "no user starved: the last of all others finished after {}, {} at most",
        seconds(last),
        seconds(longest)
    );
    report.check(last <= longest, text);
}

/// The longest that users with so many keys in all may wait. The huge user takes one environment,
/// or half of the only one; two timeouts are for batches that contain it.
fn longest_wait(settings: &Settings, keys: u64, has_huge_user: bool) -> Duration {
    let environments = u32::try_from(settings.concurrency).unwrap_or(u32::MAX);
    let share = match (has_huge_user, environments) {
        (false, all) => f64::from(all),
        (true, 0 | 1) => 0.5,
        (true, all) => f64::from(all - 1),
    };
    let rate = settings.keys_per_second();
    let deleting = if rate == 0 { 0.0 } else { keys as f64 / (f64::from(rate) * share) };
    // Most users are small, and wait for answers more than for the pace.
    Duration::from_secs_f64(deleting * 1.5) + settings.timeout * 2
}
