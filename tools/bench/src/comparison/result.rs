//! What all runs of a scenario come to.

use local::{HumanCount, HumanFloatCount};

use crate::comparison::run::Run;
use crate::comparison::scenario::Scenario;
use crate::comparison::tool::Tool;

/// A scenario with all tools that took part.
#[derive(Debug)]
pub(crate) struct ScenarioResult {
    pub(crate) scenario: Scenario,
    pub(crate) entries: Vec<Entry>,
}

/// All runs of one tool.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) tool: Tool,
    pub(crate) keys: u64,
    pub(crate) runs: Vec<Run>,
}

impl Entry {
    /// The middle of something of all runs.
    pub(crate) fn middle(&self, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }

    /// The median of the times; `None`: it did not erase everything each time.
    pub(crate) fn seconds(&self) -> Option<f64> {
        let is_whole = !self.runs.is_empty() && self.runs.iter().all(Run::is_whole);
        is_whole.then(|| self.middle(|run| run.seconds))
    }

    /// The percentage of its requests that were rejected.
    pub(crate) fn refused_percent(&self) -> f64 {
        self.middle(|run| 100.0 * run.refused as f64 / run.requests.max(1) as f64)
    }

    pub(crate) fn cpu_per_million(&self) -> f64 {
        self.middle(|run| run.cpu) * 1e6 / self.keys.max(1) as f64
    }

    pub(crate) fn peak_mib(&self) -> f64 {
        self.middle(|run| run.peak_kib as f64) / 1_024.0
    }

    /// The run whose time is in the middle.
    pub(crate) fn typical(&self) -> Option<&Run> {
        let mut runs: Vec<&Run> = self.runs.iter().collect();
        runs.sort_by(|left, right| left.seconds.total_cmp(&right.seconds));
        runs.get(runs.len().saturating_sub(1) / 2).copied()
    }

    /// The part of its keys that the second client got while this tool ran, in percent.
    pub(crate) fn rival_percent(&self) -> Option<f64> {
        let passed = |(asked, went): &(u64, Vec<(f64, u64)>)| {
            let passed: u64 = went.iter().map(|(_, keys)| *keys).sum();
            100.0 * passed as f64 / (*asked).max(1) as f64
        };
        let percents: Vec<f64> =
            self.runs.iter().filter_map(|run| run.rival.as_ref()).map(passed).collect();
        (!percents.is_empty()).then(|| median(percents))
    }
}

impl ScenarioResult {
    pub(crate) fn entry(&self, tool: Tool) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tool == tool)
    }

    /// The best time of another tool with as many keys, which found out by itself what it may do.
    pub(crate) fn best_peer(&self) -> Option<f64> {
        let is_peer = |entry: &&Entry| !matches!(entry.tool, Tool::Ours | Tool::S3rmTold);
        let peers =
            self.entries.iter().filter(is_peer).filter(|entry| entry.keys == self.scenario.keys);
        peers.filter_map(Entry::seconds).min_by(f64::total_cmp)
    }

    /// The scenario's part of the report.
    pub(crate) fn table(&self) -> String {
        let Scenario { name, what, keys, .. } = &self.scenario;
        let mut text = format!("## `{name}`: {} keys, {what}\n\n", HumanCount(*keys));
        let bound = self.scenario.bound(*keys).map(|bound| format!("The bound is {bound:.2} s."));
        let best = self.best_peer().map(|best| format!("The best peer took {} s.", timed(best)));
        text.push_str(&[bound, best].into_iter().flatten().collect::<Vec<_>>().join(" "));
        text.push_str(
            "\n\n| tool | s, median | × bound | × best peer | keys/s | requests | listings, deletions | throttled ",
        );
        text.push_str("| CPU s | CPU s per million keys | peak RSS, MiB | left | |\n");
        text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n");
        for entry in &self.entries {
            text.push_str(&self.row(entry));
        }
        text
    }

    fn row(&self, entry: &Entry) -> String {
        let is_all = entry.keys == self.scenario.keys;
        let ratio = |whole: Option<f64>| match (entry.seconds(), whole) {
            (Some(seconds), Some(whole)) if is_all => format!("{:.3}", seconds / whole),
            _ => "–".to_owned(),
        };
        let name =
            if is_all { String::new() } else { format!(" ({} keys)", HumanCount(entry.keys)) };
        let cells = [
            format!("{}{name}", entry.tool.name()),
            entry.seconds().map_or_else(
                || format!("**fails** ({})", timed(entry.middle(|run| run.seconds))),
                timed,
            ),
            ratio(self.scenario.bound(entry.keys)),
            ratio(self.best_peer()),
            count(entry.middle(|run| (entry.keys - run.left) as f64 / run.seconds.max(1e-3))),
            count(entry.middle(|run| run.requests as f64)),
            [entry.middle(|run| run.kinds.0 as f64), entry.middle(|run| run.kinds.1 as f64)]
                .map(count)
                .join(" + "),
            format!(
                "{:.0} ({:.1} %)",
                entry.middle(|run| run.refused as f64),
                entry.refused_percent()
            ),
            format!("{:.2}", entry.middle(|run| run.cpu)),
            if entry.keys < 1_000 {
                "–".to_owned()
            } else {
                format!("{:.1}", entry.cpu_per_million())
            },
            format!("{:.1}", entry.peak_mib()),
            left(entry),
            notes(entry),
        ];
        format!("| {} |\n", cells.join(" | "))
    }
}

/// How much was left, from the least to the most.
fn left(entry: &Entry) -> String {
    let mut all: Vec<u64> = entry.runs.iter().map(|run| run.left).collect();
    all.sort_unstable();
    let percent = |left: u64| 100.0 * left as f64 / entry.keys.max(1) as f64;
    match (all.first(), all.last()) {
        (_, Some(0)) | (None, _) | (_, None) => "0".to_owned(),
        (Some(least), Some(most)) if least == most => format!("{:.1} %", percent(*most)),
        (Some(least), Some(most)) => format!("{:.1} to {:.1} %", percent(*least), percent(*most)),
    }
}

fn notes(entry: &Entry) -> String {
    let mut notes = Vec::new();
    if entry.tool == Tool::Ours {
        let number = count(entry.middle(|run| run.invocations as f64));
        notes.push(format!("{number} invocation{}", if number == "1" { "" } else { "s" }));
        let starts: Vec<f64> = entry.runs.iter().filter_map(|run| run.cold_start).collect();
        if !starts.is_empty() {
            notes.push(format!("cold start {:.1} ms", 1e3 * median(starts)));
        }
    }
    if entry.runs.iter().any(|run| !run.is_clean) {
        notes.push("**took keys that were not the user's**".to_owned());
    }
    if let Some(percent) = entry.rival_percent() {
        notes.push(format!("the second client was given {percent:.1} % of what it asked for"));
    }
    let mut faults: Vec<&str> = entry.runs.iter().filter_map(|run| run.fault.as_deref()).collect();
    let (failed, all) = (faults.len(), entry.runs.len());
    faults.sort_unstable();
    faults.dedup();
    if failed > 0 {
        notes.push(format!("{} ({failed} of {all} runs)", faults.join(", ")));
    }
    let times = entry.runs.iter().map(|run| run.seconds);
    let (least, most) = (times.clone().fold(f64::INFINITY, f64::min), times.fold(0.0, f64::max));
    if all > 1 {
        notes.push(format!("{} to {} s", timed(least), timed(most)));
    }
    notes.join("; ")
}

fn count(number: f64) -> String {
    format!("{:.0}", HumanFloatCount(number))
}

/// Seconds, as exact as their size deserves.
pub(crate) fn timed(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{seconds:.3}"),
        ..10.0 => format!("{seconds:.2}"),
        _ => format!("{seconds:.1}"),
    }
}

/// The middle; of an even number, the middle between two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.len() % 2, values.get(half)) {
        (_, None) => 0.0,
        (1, Some(middle)) => *middle,
        (_, Some(upper)) => f64::midpoint(values[half - 1], *upper),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An entry of a tool that took so long each time, and left so much.
    pub(crate) fn entry(tool: Tool, keys: u64, runs: &[(f64, u64)]) -> Entry {
        let run = |(seconds, left): &(f64, u64)| Run {
            seconds: *seconds,
            left: *left,
            requests: 200,
            refused: 1,
            is_clean: true,
            invocations: 1,
            cpu: 0.5,
            peak_kib: 30 * 1_024,
            ..Run::default()
        };
        Entry { tool, keys, runs: runs.iter().map(run).collect() }
    }

    #[test]
    fn finds_the_middle() {
        assert_eq!(
            [median(vec![]), median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0, 2.0, 3.0])],
            [0.0, 2.0, 2.5]
        );
    }

    #[test]
    fn a_tool_that_leaves_something_has_no_time() {
        let scenario = crate::comparison::scenario::all(&crate::comparison::tests::SIZES).remove(0);
        let ours = entry(Tool::Ours, 100_000, &[(28.0, 0), (30.0, 0), (29.0, 0)]);
        let fast = entry(Tool::S3rm, 100_000, &[(10.0, 50_000), (28.0, 0)]);
        let slow = entry(Tool::S5cmd, 100_000, &[(40.0, 0)]);
        let few = entry(Tool::AwsCli, 5_000, &[(16.0, 0)]);
        let told = entry(Tool::S3rmTold, 100_000, &[(28.2, 0)]);
        let result = ScenarioResult { scenario, entries: vec![ours, fast, slow, few, told] };
        assert_eq!(result.best_peer(), Some(40.0));
        let table = result.table();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).collect();
        assert!(rows[1].starts_with("| erase-user-files | 29.0 | 1.052 | 0.725 |"), "{}", rows[1]);
        assert!(rows[2].contains("**fails**") && rows[2].contains("0.0 to 50.0 %"), "{}", rows[2]);
        assert!(rows[4].starts_with("| aws s3 rm (5,000 keys) | 16.0 | – | – |"), "{}", rows[4]);
    }
}
