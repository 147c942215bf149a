//! What was aimed at, and whether it was reached.

use std::fmt::Display;
use std::time::Duration;

use local::HumanCount;

use crate::Latency;
use crate::comparison::result::{Entry, ScenarioResult, median, timed};
use crate::comparison::scenario::{CLEAN, Scenario};
use crate::comparison::tool::Tool;
use crate::model::PAGE;
use crate::noise::{Noise, Noisy};

/// Whether a target is met, and a text about it.
type Check = (bool, String);

/// The scenarios in which no other tool may be faster.
const AHEAD: [&str; 9] = [
    "limit",
    "costly",
    "unknown",
    "perkey",
    "perkey-documented",
    "folders",
    "flat",
    "versions",
    "versions-unlimited",
];

/// How much longer than [`unavoidable`] few keys may take.
const NEAR: f64 = 1.3;

/// The list for the report; what was not measured is not in it.
pub(crate) fn checks(results: &[ScenarioResult], latency: Latency) -> Vec<Check> {
    let of = |name: &str| results.iter().find(|result| result.scenario.name == name);
    let mut checks: Vec<Check> = whole(results).into_iter().collect();
    checks.extend(of("limit").and_then(|result| bounded(result, 1.05, Some(1.0))));
    checks.extend(of("limit").and_then(in_one));
    checks.extend(of("hops").and_then(|result| bounded(result, 1.20, None)));
    checks.extend(of("growing").and_then(area));
    for name in ["unknown", "perkey"] {
        checks.extend(of(name).and_then(|result| bounded(result, 1.20, Some(10.0))));
    }
    for name in AHEAD {
        checks.extend(of(name).and_then(ahead));
    }
    for name in ["small", "small-flat"] {
        checks.extend(of(name).and_then(|result| proof(result, latency.listing.as_secs_f64())));
        checks.extend(of(name).and_then(|result| near(result, latency)));
    }
    checks.extend(of("user-10").zip(of("users-10")).and_then(|(one, ten)| together(one, ten)));
    checks.extend(of("user-0").and_then(start));
    checks.extend(of("shared").and_then(split));
    if let Some(clean) = of(CLEAN) {
        checks.extend(results.iter().filter_map(|result| noisy(clean, result)));
    }
    if let Some(result) = of("cpu") {
        checks.extend(cpu(result));
    }
    checks.extend(["limit", "cpu"].into_iter().filter_map(of).filter_map(memory));
    checks
}

fn ours(result: &ScenarioResult) -> Option<&Entry> {
    result.entry(Tool::Ours)
}

fn check(result: &ScenarioResult, is_met: bool, text: impl Display) -> Option<Check> {
    Some((is_met, format!("`{}`: {text}", result.scenario.name)))
}

fn left_or(seconds: Option<f64>, shown: impl Fn(f64) -> String) -> String {
    seconds.map_or_else(|| "keys are left".to_owned(), shown)
}

/// The only check that does not measure time.
fn whole(results: &[ScenarioResult]) -> Option<Check> {
    let runs = || results.iter().filter_map(ours).flat_map(|entry| &entry.runs);
    let (count, all) = (runs().filter(|run| run.is_whole()).count(), runs().count());
    let text = format!("in {count} of our {all} runs, everything was erased, and nothing else");
    (all > 0).then_some((count == all, text))
}

/// Near the bound, with few throttled requests.
fn bounded(result: &ScenarioResult, ratio: f64, refused: Option<f64>) -> Option<Check> {
    let (entry, bound) = (ours(result)?, result.scenario.bound(result.scenario.keys)?);
    let took = entry.seconds().map(|seconds| seconds / bound);
    let shown = left_or(took, |took| format!("{took:.3}, nothing left"));
    let percent = entry.refused_percent();
    let is_met = took.is_some_and(|took| took <= ratio);
    let is_met = is_met && refused.is_none_or(|most| percent <= most);
    let refusals = refused
        .map(|most| format!("; at most {most:.0} % of the requests throttled: {percent:.1} %"))
        .unwrap_or_default();
    check(result, is_met, format!("at most {ratio:.2} × the bound: {shown}{refusals}"))
}

fn in_one(result: &ScenarioResult) -> Option<Check> {
    let most = ours(result)?.runs.iter().map(|run| run.invocations).max()?;
    check(result, most == 1, format!("one invocation: {most}"))
}

/// The part of the limit that was used.
fn area(result: &ScenarioResult) -> Option<Check> {
    let entry = ours(result)?;
    let percent = 100.0 * entry.keys as f64 / result.scenario.area(entry.seconds()?)?;
    let text = format!("at least 90 % of the area under the limit: {percent:.1} %");
    check(result, percent >= 90.0, text)
}

/// Faster than every other tool.
fn ahead(result: &ScenarioResult) -> Option<Check> {
    let (best, seconds) = (result.best_peer()?, ours(result)?.seconds());
    let shown = left_or(seconds, |seconds| format!("{} s", timed(seconds)));
    let text = format!("faster than the best peer ({} s): {shown}", timed(best));
    check(result, seconds.is_some_and(|seconds| seconds < best), text)
}

/// As fast as the best peer, and one more listing for the proof.
fn proof(result: &ScenarioResult, listing_seconds: f64) -> Option<Check> {
    let most = result.entry(Tool::S3rm)?.seconds()? + listing_seconds;
    let seconds = ours(result)?.seconds()?;
    let [most_shown, shown] = [most, seconds].map(timed);
    let text = format!("at most s3rm-rs and one listing ({most_shown} s): {shown} s");
    check(result, seconds <= most, text)
}

/// Little longer than the unavoidable latencies, proof included. The start of the process is left
/// out: the report has it elsewhere, and S3 has no part in it. Everything else that takes time is
/// in, from the first connection to the answer.
fn near(result: &ScenarioResult, latency: Latency) -> Option<Check> {
    let entry = ours(result)?;
    let chain = unavoidable(&result.scenario, latency);
    let sum: f64 = chain.iter().map(|(_, time)| time.as_secs_f64()).sum();
    let took =
        entry.seconds().map(|_| entry.middle(|run| run.seconds - run.cold_start.unwrap_or(0.0)));
    let parts = chain.iter().map(|(what, time)| format!("{what} {}", time.as_millis()));
    let parts = parts.collect::<Vec<_>>().join(" + ");
    let shown = left_or(took, |took| {
        let [ratio, sum, took] = [format!("{:.2}", took / sum), timed(sum), timed(took)];
        format!("{ratio} × the {sum} s ({parts} ms): {took} s")
    });
    let text = format!(
        "{} keys end within {NEAR} × the sum of the unavoidable latencies, proof included, \
         cold start left out: {shown}",
        HumanCount(result.scenario.keys),
    );
    check(result, took.is_some_and(|took| took <= NEAR * sum), text)
}

/// The latencies of a tool that erases everything in the least number of requests and proves it: the
/// requests each of which needs the answer to the one before it. A tool that sends smaller
/// requests, and more of them concurrently, can be faster.
///
/// - The first page. Before it, no tool knows what there is.
/// - In one folder, the other pages: their tokens come with the first, and so does all that is
///   known of where to split. They are listed concurrently. In folders they can be listed concurrently with the
///   first.
/// - A full batch, the last one. What was listed before is deleted meanwhile.
/// - The proof, three times as long as a request takes at least: the uploads, then the objects,
///   because an upload may become one, then the versioning, because it may have been switched on
///   during that listing.
/// - The receipt: it says when that was, so it cannot be stored before.
fn unavoidable(scenario: &Scenario, latency: Latency) -> Vec<(&'static str, Duration)> {
    let mut chain = vec![("first page", latency.of_listing(PAGE))];
    if scenario.folders == 0 {
        chain.push(("other pages", latency.of_listing(PAGE)));
    }
    chain.extend([
        ("deletion", latency.of_deletion(PAGE)),
        ("proof", 3 * latency.least),
        ("receipt", latency.least),
    ]);
    chain
}

/// Ten concurrent users take hardly longer than one.
fn together(one: &ScenarioResult, ten: &ScenarioResult) -> Option<Check> {
    let [single, seconds] = [ours(one)?.seconds()?, ours(ten)?.seconds()?];
    let text =
        format!("at most 1.5 × one such user ({} s): {:.2}", timed(single), seconds / single);
    check(ten, seconds <= 1.5 * single, text)
}

/// From the process's start until it asks for an event.
fn start(result: &ScenarioResult) -> Option<Check> {
    let starts: Vec<f64> = ours(result)?.runs.iter().filter_map(|run| run.cold_start).collect();
    let (count, middle) = (starts.len(), 1e3 * median(starts));
    let text = format!("cold start at most 15 ms: {middle:.1}, median of {count}");
    check(result, middle <= 15.0, text).filter(|_| count > 0)
}

/// Neither of two clients starves.
fn split(result: &ScenarioResult) -> Option<Check> {
    let entry = ours(result)?;
    let rival = entry.rival_percent()?;
    let rate = entry.keys as f64 / entry.seconds()?;
    let own = 100.0 * rate / result.scenario.room(Duration::ZERO)?;
    let text = format!(
        "neither starves: the second client was given {rival:.1} % of its half, we took {own:.1} % of ours"
    );
    check(result, rival >= 50.0 && own >= 50.0, text)
}

/// What fails at random costs little more than the clean run of the same session.
fn noisy(clean: &ScenarioResult, result: &ScenarioResult) -> Option<Check> {
    let (clean, most) = (ours(clean)?.seconds()?, most_of_noise(result.scenario.noise?));
    let seconds = ours(result)?.seconds();
    let aim = most.map_or_else(
        || "no aim for so much".to_owned(),
        |most| format!("at most {most} × the clean run"),
    );
    let shown =
        left_or(seconds, |seconds| format!("{:.2} ×, {} s", seconds / clean, timed(seconds)));
    let text = format!("{}: {aim} ({} s): {shown}", result.scenario.what, timed(clean));
    let is_met = seconds.is_some_and(|seconds| most.is_none_or(|most| seconds <= most * clean));
    check(result, is_met, text)
}

/// How many times as long as the clean run it may take; `None`: so much is not aimed at.
fn most_of_noise(noise: Noise) -> Option<f64> {
    let aims: &[(f64, f64)] = match noise.what {
        Noisy::Keys { .. } => &[(0.001, 1.1), (0.01, 1.3), (0.05, 1.6)],
        Noisy::Deletions => &[(0.01, 1.1), (0.05, 2.0)],
        Noisy::Requests => &[(0.05, 1.2)],
    };
    aims.iter().find(|(share, _)| noise.share <= *share).map(|(_, most)| *most)
}

fn cpu(result: &ScenarioResult) -> Vec<Check> {
    // A tool that stops early has used little.
    let Some(entry) = ours(result).filter(|entry| entry.seconds().is_some()) else {
        return Vec::new();
    };
    let (own, mib) = (entry.cpu_per_million(), entry.peak_mib());
    let own_check = (own <= 5.0, format!("at most 5 CPU seconds per million keys: {own:.1}"));
    let s3rm = result.entry(Tool::S3rm).map(|peer| {
        let (half, third) = (peer.cpu_per_million() / 2.0, peer.peak_mib() / 3.0);
        let cpu = format!("at most half of the CPU of s3rm-rs ({half:.1} s): {own:.1} s");
        let rss = format!("at most a third of the RSS of s3rm-rs ({third:.0} MiB): {mib:.0}");
        [(own <= half, cpu), (mib <= third, rss)]
    });
    let s5cmd = result.entry(Tool::S5cmd).map(|peer| {
        let most = peer.peak_mib();
        (mib < most, format!("below the RSS of s5cmd ({most:.0} MiB): {mib:.0}"))
    });
    let checks = [own_check].into_iter().chain(s3rm.into_iter().flatten()).chain(s5cmd);
    checks.filter_map(|(is_met, text)| check(result, is_met, text)).collect()
}

fn memory(result: &ScenarioResult) -> Option<Check> {
    let entry = ours(result).filter(|entry| entry.seconds().is_some())?;
    let megabytes = entry.peak_mib() * 1.048_576;
    check(result, megabytes <= 40.0, format!("peak RSS at most 40 MB: {megabytes:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::result::tests::entry;
    use crate::comparison::scenario::all;
    use crate::comparison::tests::SIZES;

    const LATENCY: Latency = Latency {
        listing: Duration::from_millis(60),
        deletion: Duration::from_millis(250),
        least: Duration::from_millis(20),
        spread: 0.5,
    };

    fn result(name: &str, entries: Vec<Entry>) -> ScenarioResult {
        let scenario = all(&SIZES).into_iter().find(|scenario| scenario.name == name).unwrap();
        ScenarioResult { scenario, entries }
    }

    #[test]
    fn checks_what_was_measured() {
        let limit = |seconds| result("limit", vec![entry(Tool::Ours, 100_000, &[(seconds, 0)])]);
        let met = |result| {
            checks(&[result], LATENCY).into_iter().map(|(is_met, _)| is_met).collect::<Vec<_>>()
        };
        assert_eq!(met(limit(28.5)), [true, true, true, true]);
        assert_eq!(met(limit(29.5)), [true, false, true, true], "1.07 times the bound");
        let left = result("limit", vec![entry(Tool::Ours, 100_000, &[(28.0, 1)])]);
        assert_eq!(met(left), [false, false, true], "a key is left");
        assert!(checks(&[], LATENCY).is_empty());
    }

    #[test]
    fn compares_with_peers() {
        let both = |keys, seconds| {
            let peer = entry(Tool::S3rm, keys, &[(0.40, 0)]);
            vec![entry(Tool::Ours, keys, &[(seconds, 0)]), peer]
        };
        assert!(checks(&[result("small", both(5_000, 0.45))], LATENCY)[1].0);
        assert!(!checks(&[result("small", both(5_000, 0.47))], LATENCY)[1].0);
        assert!(checks(&[result("flat", both(100_000, 0.3))], LATENCY)[1].0, "ahead");
        let cpu = vec![
            entry(Tool::Ours, 1_000_000, &[(9.0, 0)]),
            entry(Tool::S3rm, 1_000_000, &[(9.0, 0)]),
        ];
        let met: Vec<bool> =
            checks(&[result("cpu", cpu)], LATENCY).into_iter().map(|(is_met, _)| is_met).collect();
        assert_eq!(met, [true, true, false, false, true], "both have the same CPU and memory");
    }

    #[test]
    fn compares_noise_with_the_clean_run() {
        let check = |name, seconds, left| {
            let [clean, noisy] = [(CLEAN, (5.0, 0)), (name, (seconds, left))]
                .map(|(name, run)| result(name, vec![entry(Tool::Ours, 20_000, &[run])]));
            checks(&[clean, noisy], LATENCY).remove(1)
        };
        let (is_met, text) = check("noise-keys", 6.0, 0);
        assert!(
            is_met && text.ends_with("once: at most 1.3 × the clean run (5.00 s): 1.20 ×, 6.00 s"),
            "{text}"
        );
        assert!(!check("noise-keys", 6.6, 0).0);
        assert!(!check("noise-keys", 6.0, 1).0, "a key is left");
        assert!(!check("noise-requests", 6.0, 0).0, "1.2 times the clean run");
        assert_eq!(most_of_noise(Noise { what: Noisy::Deletions, share: 0.06 }), None);
    }

    #[test]
    fn adds_up_what_nobody_can_avoid() {
        let sum = |name: &str| {
            let chain = unavoidable(&result(name, Vec::new()).scenario, LATENCY);
            chain.iter().map(|(_, time)| time.as_secs_f64() * 1e3).sum::<f64>()
        };
        assert_eq!([sum("small"), sum("small-flat")].map(f64::round), [390.0, 450.0]);
    }

    #[test]
    fn few_keys_end_soon_but_for_the_cold_start() {
        let check = |seconds, left, cold_start| {
            let mut ours = entry(Tool::Ours, 5_000, &[(seconds, left)]);
            ours.runs[0].cold_start = cold_start;
            checks(&[result("small", vec![ours])], LATENCY).remove(1)
        };
        let (is_met, text) = check(0.5, 0, None);
        assert!(is_met && text.starts_with("`small`: 5,000 keys end within 1.3 × "), "{text}");
        let shown = ": 1.28 × the 0.390 s (first page 60 + deletion 250 + proof 60 + receipt 20 ms): 0.500 s";
        assert!(text.ends_with(shown), "{text}");
        assert!(!check(0.51, 0, None).0);
        assert!(check(0.51, 0, Some(0.01)).0);
        assert!(!check(0.5, 1, None).0, "a key is left");
    }
}
