//! What was aimed at, and whether it was reached.

use std::time::Duration;

use local::HumanCount;

use crate::Latency;
use crate::comparison::result::{Entry, ScenarioResult, median, timed};
use crate::comparison::run::Run;
use crate::comparison::scenario::{CLEAN, Scenario};
use crate::comparison::tool::Tool;
use crate::model::PAGE;
use crate::noise::{Noise, Noisy};

/// Where nobody is to be faster.
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
pub(crate) fn checks(results: &[ScenarioResult], latency: Latency) -> Vec<(bool, String)> {
    let of = |name: &str| results.iter().find(|result| result.scenario.name == name);
    let mut checks: Vec<(bool, String)> = whole(results).into_iter().collect();
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

/// The one that has nothing to do with time.
fn whole(results: &[ScenarioResult]) -> Option<(bool, String)> {
    let runs: Vec<bool> =
        results.iter().filter_map(ours).flat_map(|entry| &entry.runs).map(Run::is_whole).collect();
    let count = runs.iter().filter(|is_whole| **is_whole).count();
    let text =
        format!("in {count} of our {} runs, everything was erased, and nothing else", runs.len());
    (!runs.is_empty()).then_some((count == runs.len(), text))
}

/// Near the bound, with few refusals.
fn bounded(result: &ScenarioResult, ratio: f64, refused: Option<f64>) -> Option<(bool, String)> {
    let (entry, bound) = (ours(result)?, result.scenario.bound(result.scenario.keys)?);
    let took = entry.seconds().map(|seconds| seconds / bound);
    let shown =
        took.map_or_else(|| "keys are left".to_owned(), |took| format!("{took:.3}, nothing left"));
    let mut text = format!("`{}`: at most {ratio:.2} × the bound: {shown}", result.scenario.name);
    let mut is_met = took.is_some_and(|took| took <= ratio);
    if let Some(most) = refused {
        let percent = entry.refused_percent();
        is_met &= percent <= most;
        text.push_str(&format!("; at most {most:.0} % of the requests refused: {percent:.1} %"));
    }
    Some((is_met, text))
}

fn in_one(result: &ScenarioResult) -> Option<(bool, String)> {
    let most = ours(result)?.runs.iter().map(|run| run.invocations).max()?;
    Some((most == 1, format!("`{}`: one invocation: {most}", result.scenario.name)))
}

/// How much of what the limit allowed was used.
fn area(result: &ScenarioResult) -> Option<(bool, String)> {
    let entry = ours(result)?;
    let seconds = entry.seconds()?;
    let percent = 100.0 * entry.keys as f64 / result.scenario.area(seconds)?;
    let text = format!(
        "`{}`: at least 90 % of the area under the limit: {percent:.1} %",
        result.scenario.name
    );
    Some((percent >= 90.0, text))
}

/// Faster than every other.
fn ahead(result: &ScenarioResult) -> Option<(bool, String)> {
    let best = result.best_peer()?;
    let seconds = ours(result)?.seconds();
    let shown = seconds
        .map_or_else(|| "keys are left".to_owned(), |seconds| format!("{} s", timed(seconds)));
    let text = format!(
        "`{}`: faster than the best peer ({} s): {shown}",
        result.scenario.name,
        timed(best)
    );
    Some((seconds.is_some_and(|seconds| seconds < best), text))
}

/// As fast as the best peer, and one listing more for the proof.
fn proof(result: &ScenarioResult, listing_seconds: f64) -> Option<(bool, String)> {
    let peer = result.entry(Tool::S3rm)?.seconds()?;
    let seconds = ours(result)?.seconds()?;
    let most = peer + listing_seconds;
    let name = result.scenario.name;
    let text = format!(
        "`{name}`: at most s3rm-rs and one listing ({} s): {} s",
        timed(most),
        timed(seconds)
    );
    Some((seconds <= most, text))
}

/// Little longer than what nobody can avoid, proof included. The start of the process is left out:
/// the report gives it apart, and S3 has no part in it. Everything else that takes time is in, from
/// the first connection to the answer.
fn near(result: &ScenarioResult, latency: Latency) -> Option<(bool, String)> {
    let entry = ours(result)?;
    let chain = unavoidable(&result.scenario, latency);
    let sum: f64 = chain.iter().map(|(_, time)| time.as_secs_f64()).sum();
    let took =
        entry.seconds().map(|_| entry.middle(|run| run.seconds - run.cold_start.unwrap_or(0.0)));
    let parts: Vec<String> = chain
        .iter()
        .map(|(what, time)| format!("{what} {:.0}", 1e3 * time.as_secs_f64()))
        .collect();
    let shown = took.map_or_else(
        || "keys are left".to_owned(),
        |took| {
            format!(
                "{:.2} × the {} s ({} ms): {} s",
                took / sum,
                timed(sum),
                parts.join(" + "),
                timed(took)
            )
        },
    );
    let text = format!(
        "`{}`: {} keys end within {NEAR} × the sum of the unavoidable latencies, proof included, cold start left out: \
         {shown}",
        result.scenario.name,
        HumanCount(result.scenario.keys),
    );
    Some((took.is_some_and(|took| took <= NEAR * sum), text))
}

/// What S3 takes of whoever erases everything in as few requests as there can be and proves it: the
/// requests each of which needs the answer to the one before it. Whoever sends smaller requests,
/// and more of them at once, can be faster.
///
/// - The first page. Before it, nobody knows what there is.
/// - In one folder, the other pages: their tokens come with the first, and so does all that is
///   known of where to split. They are listed at once. In folders they can be listed concurrently with the
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

/// Ten users at once take hardly longer than one.
fn together(one: &ScenarioResult, ten: &ScenarioResult) -> Option<(bool, String)> {
    let [one, ten] = [ours(one)?.seconds()?, ours(ten)?.seconds()?];
    let text =
        format!("`users-10`: at most 1.5 × one such user ({} s): {:.2}", timed(one), ten / one);
    Some((ten <= 1.5 * one, text))
}

/// From the process's start until it asks for an event.
fn start(result: &ScenarioResult) -> Option<(bool, String)> {
    let starts: Vec<f64> = ours(result)?.runs.iter().filter_map(|run| run.cold_start).collect();
    let (count, middle) = (starts.len(), 1e3 * median(starts));
    let text = format!(
        "`{}`: cold start at most 15 ms: {middle:.1}, median of {count}",
        result.scenario.name
    );
    (count > 0).then_some((middle <= 15.0, text))
}

/// Neither of two clients starves.
fn split(result: &ScenarioResult) -> Option<(bool, String)> {
    let entry = ours(result)?;
    let rival = entry.rival_percent()?;
    let rate = entry.keys as f64 / entry.seconds()?;
    let own = 100.0 * rate / result.scenario.room(Duration::ZERO)?;
    let text = format!(
        "`{}`: neither starves: the second client was given {rival:.1} % of its half, we took {own:.1} % of ours",
        result.scenario.name
    );
    Some((rival >= 50.0 && own >= 50.0, text))
}

/// What fails at random costs little more than the clean run of the same session.
fn noisy(clean: &ScenarioResult, result: &ScenarioResult) -> Option<(bool, String)> {
    let (clean, most) = (ours(clean)?.seconds()?, most_of_noise(result.scenario.noise?));
    let seconds = ours(result)?.seconds();
    let aim = most.map_or_else(
        || "no aim for so much".to_owned(),
        |most| format!("at most {most} × the clean run"),
    );
    let shown = seconds.map_or_else(
        || "keys are left".to_owned(),
        |seconds| format!("{:.2} ×, {} s", seconds / clean, timed(seconds)),
    );
    let text = format!(
        "`{}`: {}: {aim} ({} s): {shown}",
        result.scenario.name,
        result.scenario.what,
        timed(clean)
    );
    Some((seconds.is_some_and(|seconds| most.is_none_or(|most| seconds <= most * clean)), text))
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

fn cpu(result: &ScenarioResult) -> Vec<(bool, String)> {
    // Who stops early has used little.
    let Some(entry) = ours(result).filter(|entry| entry.seconds().is_some()) else {
        return Vec::new();
    };
    let own = entry.cpu_per_million();
    let mut checks =
        vec![(own <= 5.0, format!("`cpu`: at most 5 CPU seconds per million keys: {own:.1}"))];
    if let Some(peer) = result.entry(Tool::S3rm) {
        let half = peer.cpu_per_million() / 2.0;
        checks.push((
            own <= half,
            format!("`cpu`: at most half of the CPU of s3rm-rs ({half:.1} s): {own:.1} s"),
        ));
        let third = peer.peak_mib() / 3.0;
        let mib = entry.peak_mib();
        checks.push((
            mib <= third,
            format!("`cpu`: at most a third of the RSS of s3rm-rs ({third:.0} MiB): {mib:.0}"),
        ));
    }
    if let Some(peer) = result.entry(Tool::S5cmd) {
        let (mib, most) = (entry.peak_mib(), peer.peak_mib());
        checks
            .push((mib < most, format!("`cpu`: below the RSS of s5cmd ({most:.0} MiB): {mib:.0}")));
    }
    checks
}

fn memory(result: &ScenarioResult) -> Option<(bool, String)> {
    let entry = ours(result).filter(|entry| entry.seconds().is_some())?;
    let megabytes = entry.peak_mib() * 1.048_576;
    Some((
        megabytes <= 40.0,
        format!("`{}`: peak RSS at most 40 MB: {megabytes:.1}", result.scenario.name),
    ))
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
