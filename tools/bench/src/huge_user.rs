//! One huge user: hundreds of hops of one warm process. No drift of memory, no lost time, an exact
//! tally.

use std::fs;
use std::time::Duration;

use local::{Hop, HumanCount};
use tokio::time::Instant;

use crate::event_source_mapping::Invocation;
use crate::process::Usage;
use crate::report::{Spread, percent, seconds};
use crate::trace::{Operation, Request};
use crate::world::{Outcome, PHOTOS, World};
use crate::{Error, Report, Settings};

const USER: &str = "huge-user";
const REQUEST: &str = "request-1";
const NEIGHBOUR: &str = "huge-user2/";
const NEIGHBOURS_FILES: u64 = 10;
const BYTES: u32 = 1_000;
/// The longest time from an event to its first deletion, besides what the pace asks for, and from
/// one hop to the next.
const LONGEST_HEAD: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// What a busy machine may add to a time.
const SLACK: Duration = Duration::from_millis(100);
/// Memory may be this much larger at the end than after the first tenth of the hops, in KiB.
const DRIFT_KIB: u64 = 2_048;

/// What one hop did, as the models saw it.
#[derive(Debug)]
struct Share {
    invocation: Invocation,
    /// Whether it ended for lack of time, and not for lack of work.
    is_continued: bool,
    /// What the function counted.
    counted: u64,
    /// What S3 took away.
    gone: u64,
    /// From the event to the first deletion.
    head: Duration,
    /// From the last deletion's answer to the function's.
    tail: Duration,
    /// When at least one deletion was on its way.
    busy: Duration,
    /// Deletions without an answer: the function hung up.
    dropped: usize,
}

impl Share {
    fn length(&self) -> Duration {
        self.invocation.end - self.invocation.begin
    }
}

/// Erases one user of so many objects.
pub async fn run(settings: &Settings, objects: u64) -> Result<Report, Error> {
    let mut world = World::start(&Settings { concurrency: 1, ..settings.clone() }).await?;
    world.store.fill(PHOTOS, &format!("{USER}/"), objects, BYTES);
    world.store.fill(PHOTOS, NEIGHBOUR, NEIGHBOURS_FILES, BYTES);
    let stored = world.store.count(PHOTOS, &format!("{USER}/"));
    world.withdraw(USER, REQUEST);
    let outcome = world.run().await?;
    let shares = shares(&outcome);
    keep(settings, &outcome, &shares)?;

    let timeout = settings.timeout.as_secs();
    let mut report =
        Report::new(format!("A huge user: {} objects, timeout {timeout} s", HumanCount(stored)));
    describe_speed(&mut report, settings, &outcome, stored);
    describe_ends(&mut report, settings, &shares);
    describe_memory(&mut report, &shares);
    check_erasure(&mut report, &world, &outcome, stored);
    check_course(&mut report, settings, &outcome, &shares);
    Ok(report)
}

/// Writes a line for every hop into a CSV file.
fn keep(settings: &Settings, outcome: &Outcome, shares: &[Share]) -> Result<(), Error> {
    let mut text =
        "begin_ms,length_ms,counted,gone,head_ms,tail_ms,busy_ms,dropped,rss_kib,cpu_ms\n"
            .to_owned();
    for share in shares {
        let Invocation { begin, end, usage, .. } = &share.invocation;
        let times =
            [*begin - outcome.begin, *end - *begin].map(|time| time.as_millis().to_string());
        let ends = [share.head, share.tail, share.busy].map(|time| time.as_millis().to_string());
        let (Share { counted, gone, dropped, .. }, Usage { rss_kib, cpu, .. }) = (share, usage);
        let cpu_ms = cpu.as_millis();
        let (times, ends) = (times.join(","), ends.join(","));
        text.push_str(&format!("{times},{counted},{gone},{ends},{dropped},{rss_kib},{cpu_ms}\n"));
    }
    let path = settings.folder.join(format!("huge-user-{}.csv", std::process::id()));
    fs::write(&path, text).map_err(Error::file("write", &path))
}

fn shares(outcome: &Outcome) -> Vec<Share> {
    outcome.invocations.iter().map(|invocation| share(outcome, invocation)).collect()
}

fn share(outcome: &Outcome, invocation: &Invocation) -> Share {
    let Invocation { begin, end, .. } = *invocation;
    let is_within = |request: &&Request| (begin..=end).contains(&request.begin);
    let mut deletions: Vec<&Request> = outcome.requests.iter().filter(is_within).collect();
    deletions.retain(|request| request.operation == Operation::Delete);
    deletions.sort_unstable_by_key(|request| request.begin);
    let first = deletions.first().map_or(end, |request| request.begin);
    let last = deletions.iter().filter_map(|request| request.end).max().unwrap_or(begin);
    let hops = outcome.hops.get(&invocation.id).map_or(&[][..], Vec::as_slice);
    Share {
        invocation: invocation.clone(),
        is_continued: hops.iter().any(|hop| hop.outcome == "continued"),
        counted: hops.iter().map(|hop| hop.objects).sum(),
        gone: deletions.iter().map(|request| request.keys).sum(),
        head: first - begin,
        tail: end.saturating_duration_since(last),
        busy: busy(&deletions, end),
        dropped: deletions.iter().filter(|request| request.end.is_none()).count(),
    }
}

/// How long at least one of them was on its way. They are in the order of their begins.
fn busy(deletions: &[&Request], until: Instant) -> Duration {
    let mut busy = Duration::ZERO;
    let mut covered: Option<Instant> = None;
    for request in deletions {
        let end = request.end.unwrap_or(until).min(until);
        let from = covered.map_or(request.begin, |covered| covered.max(request.begin));
        busy += end.saturating_duration_since(from);
        covered = Some(covered.map_or(end, |covered| covered.max(end)));
    }
    busy
}

fn describe_speed(report: &mut Report, settings: &Settings, outcome: &Outcome, stored: u64) {
    let took = outcome.end - outcome.begin;
    let hops = all_hops(outcome);
    let usage = outcome.invocations.last().map(|invocation| invocation.usage).unwrap_or_default();
    let per_second = stored as f64 / took.as_secs_f64();
    let limit = settings.keys_per_second();
    report.row("hops", hops.len());
    report.row("time", seconds(took));
    report.row("keys per second", format!("{per_second:.0} (limit of the function {limit})"));
    report.row("of what the limit allows", percent(per_second, f64::from(limit)));
    let sum = |of: fn(&Hop) -> u64| hops.iter().map(|hop| of(hop)).sum::<u64>();
    report.row("requests to S3", HumanCount(sum(|hop| hop.requests)));
    let count = |operation| {
        outcome.requests.iter().filter(|request| request.operation == operation).count()
    };
    report.row(
        "of these: listings, deletions",
        format!("{}, {}", count(Operation::List), count(Operation::Delete)),
    );
    let refused = outcome.requests.iter().filter(|request| request.is_refused).count();
    report.row(
        "throttled requests of the model, throttles that the function counted",
        format!("{refused}, {}", sum(|hop| hop.throttles)),
    );
    report.row("retries", sum(|hop| hop.retries));
    let cpu = usage.cpu.as_secs_f64();
    report.row(
        "CPU of the function",
        format!("{cpu:.2} s: {:.1} µs a key", 1e6 * cpu / stored as f64),
    );
}

fn describe_ends(report: &mut Report, settings: &Settings, shares: &[Share]) {
    let whole: Vec<&Share> = shares.iter().filter(|share| share.is_continued).collect();
    let hop_time: Duration = whole.iter().map(|share| share.length()).sum();
    let busy: Duration = whole.iter().map(|share| share.busy).sum();
    let lasts = |of: fn(&Share) -> Duration| Spread::of(whole.iter().map(|share| of(share)));
    report.row("hops that ended for lack of time", whole.len());
    report.row("times of these are", "least / median / 95 % / most");
    report.row("their length", lasts(Share::length));
    report
        .row("deleting, share of their time", percent(busy.as_secs_f64(), hop_time.as_secs_f64()));
    report.row("event to first deletion", lasts(|share| share.head));
    report.row("last deletion answered to the hop's answer", lasts(|share| share.tail));
    let unused = |share: &&Share| settings.timeout.saturating_sub(share.length());
    report.row("the hop's answer to its deadline", Spread::of(whole.iter().map(unused)));
    report.row("from one hop to the next", pauses(shares));
    let keys: u64 = whole.iter().map(|share| share.counted).sum();
    let possible = hop_time.as_secs_f64() * f64::from(settings.keys_per_second());
    report.row(
        "keys of these hops, of what the limit allows in their time",
        percent(keys as f64, possible),
    );
    let dropped: usize = shares.iter().map(|share| share.dropped).sum();
    report.row("deletions that were dropped at the stop time", dropped);
    let uncounted: u64 = shares.iter().map(|share| share.gone.saturating_sub(share.counted)).sum();
    let affected = shares.iter().filter(|share| share.gone > share.counted).count();
    report.row(
        "keys deleted but not counted",
        format!("{} in {affected} hops", HumanCount(uncounted)),
    );
}

/// The times between hops.
fn pauses(shares: &[Share]) -> Spread {
    let pause =
        |two: &[Share]| two[1].invocation.begin.saturating_duration_since(two[0].invocation.end);
    Spread::of(shares.windows(2).map(pause))
}

fn describe_memory(report: &mut Report, shares: &[Share]) {
    let usages: Vec<Usage> = shares.iter().map(|share| share.invocation.usage).collect();
    let after =
        |tenth: usize| usages.get((usages.len() * tenth).div_ceil(10).saturating_sub(1)).copied();
    let tenths: Vec<String> = (1..=10).filter_map(after).map(|usage| mib(usage.rss_kib)).collect();
    report.row("memory (RSS) after each tenth of the hops, MiB", tenths.join(", "));
    report
        .row("the most at any time, MiB", mib(usages.last().copied().unwrap_or_default().peak_kib));
    // The trend of fewer hops would be random.
    if usages.len() >= 100 {
        let trend = 100.0 * slope(&settled(&usages));
        report.row("its trend after the first tenth, KiB for 100 hops", format!("{trend:+.0}"));
    }
}

/// Memory in KiB after each hop, but those of the first tenth.
fn settled(usages: &[Usage]) -> Vec<u64> {
    usages.iter().skip(usages.len() / 10).map(|usage| usage.rss_kib).collect()
}

fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1_024.0)
}

/// How much a series grows from one value to the next: least squares.
fn slope(values: &[u64]) -> f64 {
    let count = values.len() as f64;
    let points = || (0_u32..).map(f64::from).zip(values.iter().map(|value| *value as f64));
    let middle = (count - 1.0) / 2.0;
    let mean = points().map(|(_, value)| value).sum::<f64>() / count;
    let rise: f64 = points().map(|(at, value)| (at - middle) * (value - mean)).sum();
    let run: f64 = points().map(|(at, _)| (at - middle).powi(2)).sum();
    if run > 0.0 { rise / run } else { 0.0 }
}

fn all_hops(outcome: &Outcome) -> Vec<&Hop> {
    let mut hops: Vec<&Hop> = outcome.hops.values().flatten().collect();
    hops.sort_unstable_by_key(|hop| hop.hop);
    hops
}

fn check_erasure(report: &mut Report, world: &World, outcome: &Outcome, stored: u64) {
    let receipt = world.receipt(REQUEST).unwrap_or_default();
    let hops = all_hops(outcome);
    let last = hops.len().saturating_sub(1);
    let is_chain = hops.iter().enumerate().all(|(index, hop)| {
        hop.hop == index as u64 && hop.outcome == if index == last { "erased" } else { "continued" }
    });
    let is_chain = is_chain && receipt["hops"] == hops.len();
    report.check(
        is_chain,
        "one chain of hops without a gap, continued until erased, and a receipt of it",
    );
    let left = world.store.count(PHOTOS, &format!("{USER}/"));
    report.check(left == 0, format!("nothing is left ({left} objects)"));
    let neighbours = world.store.count(PHOTOS, NEIGHBOUR);
    report.check(neighbours == NEIGHBOURS_FILES, "other users' data is unchanged");
    let counted = receipt["objects"].as_u64().unwrap_or(0);
    let tally = format!("{} stored, {} counted", HumanCount(stored), HumanCount(counted));
    report.check(counted == stored, format!("the tally is exact: {tally}"));
    outcome.check_deliveries(report);
}

fn check_course(report: &mut Report, settings: &Settings, outcome: &Outcome, shares: &[Share]) {
    let whole: Vec<&Share> = shares.iter().filter(|share| share.is_continued).collect();
    // The pace lets the next batch through so much later, over the end of a hop, too; and a batch
    // that could not end in time is not begun.
    let rate = settings.keys_per_second();
    let between = Duration::from_secs_f64(f64::from(rate.min(1_000)) / f64::from(rate.max(1)));
    let longest_tail =
        between + settings.latency.deletion.mul_f64(1.0 + settings.latency.spread) + SLACK;
    let head = Spread::of(whole.iter().map(|share| share.head)).p95;
    let tail = Spread::of(whole.iter().map(|share| share.tail)).p95;
    let pause = pauses(shares).p95;
    let is_lost = head > between + LONGEST_HEAD || tail > longest_tail || pause > LONGEST_PAUSE;
    let ends = [head, tail, pause].map(seconds).join(", ");
    report.check(
        !is_lost,
        format!("no time is lost at the start of a hop, at its end and between two: {ends}"),
    );
    let memory =
        settled(&outcome.invocations.iter().map(|invocation| invocation.usage).collect::<Vec<_>>());
    let (first, most) =
        (memory.first().copied().unwrap_or(0), memory.iter().copied().max().unwrap_or(0));
    let text = format!(
        "memory stays: {} MiB after a tenth of the hops, {} MiB at most",
        mib(first),
        mib(most)
    );
    report.check(most <= first + DRIFT_KIB, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_trend() {
        assert!((slope(&[10, 12, 14, 16]) - 2.0).abs() < 1e-9);
        assert!(slope(&[5, 5, 5]).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }
}
