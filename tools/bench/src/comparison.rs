//! The function and its peers, in the same scenarios, one after the other and over again: who is
//! how fast at what cost.

mod plot;
mod result;
mod run;
mod scenario;
mod targets;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use local::HumanCount;

use crate::comparison::plot::{Line, Plot};
use crate::comparison::result::{Entry, ScenarioResult, timed};
use crate::comparison::run::{Run, Start};
use crate::comparison::scenario::{CLEAN, Scenario};
use crate::comparison::tool::Peers;
use crate::machine::{machine, today};
use crate::report::command_line;
use crate::{Error, Settings};

pub use crate::comparison::scenario::Sizes;
pub use crate::comparison::tool::Tool;

/// What is compared.
#[derive(Debug, Clone, Args)]
pub struct Comparison {
    /// Names of scenarios; a name also selects its family: user selects user-0 and so on. Without
    /// names, all of them run.
    #[arg(long, value_delimiter = ',', help = scenarios_help())]
    pub scenarios: Vec<String>,
    /// The tools that take part. Without names, all that are installed do.
    #[arg(long, value_delimiter = ',')]
    pub tools: Vec<Tool>,
    /// Runs of each tool in each scenario.
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// How many keys there are.
    #[command(flatten)]
    pub sizes: Sizes,
    /// The folder of the other tools.
    #[arg(long, default_value = ".local/peers")]
    pub peers: PathBuf,
    /// Seconds after which a run is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub longest: u64,
}

fn scenarios_help() -> String {
    format!(
        "Names of scenarios; a name also selects its family: user selects user-0 and so on [default: all of {}]",
        scenario_names().join(", ")
    )
}

/// What the comparison left.
#[derive(Debug)]
pub struct Summary {
    /// The report.
    pub path: PathBuf,
    /// Its list of targets.
    pub targets: String,
    /// Whether our function erased everything, and nothing else, in every run. How long it took is
    /// no matter here.
    pub is_good: bool,
}

/// The names of all scenarios, in the order of the report.
fn scenario_names() -> Vec<&'static str> {
    scenario::all(&Sizes::default()).iter().map(|scenario| scenario.name).collect()
}

/// Runs everything, and writes the report.
pub async fn run(settings: &Settings, comparison: &Comparison) -> Result<Summary, Error> {
    let scenarios = chosen(&comparison.scenarios, scenario::all(&comparison.sizes))?;
    let peers = Peers::of(&comparison.peers);
    let tools = installed(&comparison.tools, &peers).await;
    let mut results = Vec::new();
    for scenario in scenarios {
        results
            .push(Box::pin(run_scenario(settings, comparison, scenario, (&tools, &peers))).await?);
        // A reader who stops it after an hour has the report so far.
        write(settings, comparison, &results, &tools)?;
    }
    write(settings, comparison, &results, &tools)
}

fn chosen(words: &[String], scenarios: Vec<Scenario>) -> Result<Vec<Scenario>, Error> {
    let is_of = |scenario: &Scenario, word: &str| {
        let rest = scenario.name.strip_prefix(word);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if let Some(word) =
        words.iter().find(|word| !scenarios.iter().any(|scenario| is_of(scenario, word)))
    {
        let names = scenario_names().join(", ");
        return Err(Error::service(
            "read the settings",
            format!("{word:?} is no scenario; there are {names}"),
        ));
    }
    let is_chosen =
        |scenario: &Scenario| words.is_empty() || words.iter().any(|word| is_of(scenario, word));
    // What fails at random is compared with the clean run of the same session.
    let needs_clean =
        scenarios.iter().any(|scenario| scenario.noise.is_some() && is_chosen(scenario));
    let is_needed =
        |scenario: &Scenario| is_chosen(scenario) || (needs_clean && scenario.name == CLEAN);
    Ok(scenarios.into_iter().filter(is_needed).collect())
}

/// The tools that are installed, with their versions.
async fn installed(tools: &[Tool], peers: &Peers) -> Vec<(Tool, String)> {
    let mut found = Vec::new();
    for tool in Tool::value_variants() {
        if !tools.is_empty() && !tools.contains(tool) {
            continue;
        }
        match tool.version(peers).await {
            Some(version) => found.push((*tool, version)),
            None => tell(&format!(
                "{} is left out: it is not there. `make bench TOOLS={}` installs it",
                tool.name(),
                tool.word()
            )),
        }
    }
    found
}

/// Makes all runs of a scenario. The tools take turns: what disturbs the machine for a while disturbs
/// all of them.
async fn run_scenario(
    settings: &Settings,
    comparison: &Comparison,
    scenario: Scenario,
    (tools, peers): (&[(Tool, String)], &Peers),
) -> Result<ScenarioResult, Error> {
    let taking_part =
        tools.iter().map(|(tool, _)| *tool).filter(|tool| scenario.tools.contains(tool));
    let entry = |tool: Tool| Entry { tool, keys: tool.share_of(scenario.keys), runs: Vec::new() };
    let mut entries: Vec<Entry> = taking_part.map(entry).collect();
    let longest = Duration::from_secs(comparison.longest);
    for number in 1..=comparison.runs {
        for entry in &mut entries {
            let start = Start { scenario: &scenario, tool: entry.tool, peers, longest };
            let run = Box::pin(run::run(settings, start)).await?;
            tell(&format!(
                "{} {number}/{}: {}: {}",
                scenario.name,
                comparison.runs,
                entry.tool.name(),
                said(&run)
            ));
            entry.runs.push(run);
        }
    }
    Ok(ScenarioResult { scenario, entries })
}

fn said(run: &Run) -> String {
    let Run { seconds, left, requests, refused, cpu, .. } = run;
    let (seconds, left) = (timed(*seconds), HumanCount(*left));
    let fault = run.fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default();
    format!(
        "{seconds} s, {left} left, {requests} requests, {refused} throttled, CPU {cpu:.2} s{fault}"
    )
}

#[expect(clippy::print_stderr, reason = "progress of a run of hours")]
fn tell(what: &str) {
    eprintln!("{what}");
}

fn write(
    settings: &Settings,
    comparison: &Comparison,
    results: &[ScenarioResult],
    tools: &[(Tool, String)],
) -> Result<Summary, Error> {
    fs::create_dir_all(&settings.folder).map_err(Error::file("make", &settings.folder))?;
    let checks = targets::checks(results, settings.latency);
    let line = |(is_met, what): &(bool, String)| {
        format!("- {} {what}\n", if *is_met { "yes:" } else { "**NO:**" })
    };
    let targets: String = checks.iter().map(line).collect();
    let mut text = head(settings, comparison, tools);
    if !targets.is_empty() {
        text.push_str(&format!("## Targets\n\n{targets}\n"));
    }
    for result in results {
        text.push_str(&result.table());
        if let Some(plot) = plot(result) {
            let file = format!("{}.svg", result.scenario.name);
            keep(&settings.folder.join(&file), &plot.svg())?;
            text.push_str(&format!("\n![Keys per second over time]({file})\n"));
        }
        text.push('\n');
    }
    let path = settings.folder.join("report.md");
    keep(&path, &text)?;
    let ours = results.iter().filter_map(|result| result.entry(Tool::Ours));
    let is_good = ours.flat_map(|entry| &entry.runs).all(Run::is_whole);
    Ok(Summary { path, targets, is_good })
}

fn keep(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("write", path))
}

fn head(settings: &Settings, comparison: &Comparison, tools: &[(Tool, String)]) -> String {
    let [listing, deletion, least] =
        [settings.latency.listing, settings.latency.deletion, settings.latency.least]
            .map(|time| time.as_millis().to_string());
    let named = tools.iter().filter(|(tool, _)| *tool != Tool::Ours);
    let peers: Vec<String> =
        named.map(|(tool, version)| format!("{} ({version})", tool.name())).collect();
    let peers = if peers.is_empty() { "none".to_owned() } else { peers.join(", ") };
    format!(
        "# The comparison\n\n{}, {} UTC; runs of each: {}, the tools taking turns.\n\n\
         The model of S3, on the same machine, takes {listing} ms for a page of 1,000 keys, {deletion} ms for a \
         DeleteObjects of 1,000, {least} ms at least, and counts every key against the limit of its partition, with one \
         second's worth in store. The bound is the least time that this limit allows. Every tool has its defaults, \
         except the one that is told the rate, which is no peer to be beaten; where there is no limit, ours has its \
         ceilings lifted.\n\n\
         Peers: {peers}.\n\n`{}`\n\n",
        machine(),
        today(),
        comparison.runs,
        command_line(),
    )
}

/// Where there is a limit, how it was used; of each tool, the run that took a middling time.
fn plot(result: &ScenarioResult) -> Option<Plot> {
    let limit = result.scenario.limit.as_ref()?;
    let steps = limit.steps.iter().map(|(from, keys)| (from.as_secs_f64(), f64::from(*keys)));
    let all = result.entries.iter().filter(|entry| entry.keys == result.scenario.keys);
    let line = |entry: &Entry| {
        let run = entry.typical()?;
        let end = if entry.seconds().is_some() { "" } else { " (fails)" };
        Some((format!("{}{end}", entry.tool.name()), run.seconds, run.went.clone()))
    };
    let mut lines: Vec<Line> = all.filter_map(line).collect();
    let ours = result.entry(Tool::Ours).and_then(Entry::typical);
    if let Some((seconds, (_, went))) = ours.and_then(|run| Some((run.seconds, run.rival.clone()?)))
    {
        lines.push(("second client during ours".to_owned(), seconds, went));
    }
    let title = format!("{} keys, {}", HumanCount(result.scenario.keys), result.scenario.what);
    (!lines.is_empty()).then(|| Plot { title, lines, limit: steps.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const SIZES: Sizes = Sizes {
        keys: 100_000,
        unknown: 40_000,
        growing: 1_000_000,
        cpu: 1_000_000,
        noise: 20_000,
        noise_share: 0.01,
    };

    #[test]
    fn chooses_scenarios_by_name_and_family() {
        let names = |words: &str| {
            let words: Vec<String> = words.split_terminator(',').map(str::to_owned).collect();
            let chosen = chosen(&words, scenario::all(&SIZES)).unwrap();
            chosen.iter().map(|scenario| scenario.name).collect::<Vec<_>>()
        };
        assert_eq!(names("perkey,limit"), ["limit", "perkey", "perkey-documented"]);
        assert_eq!(names("user"), ["user-0", "user-1", "user-10", "user-300"]);
        assert_eq!(names("small-flat"), ["small-flat"]);
        assert_eq!(names("noise-keys"), [CLEAN, "noise-keys", "noise-keys-slowdown"]);
        assert_eq!(names("").len(), scenario::all(&SIZES).len());
        assert!(chosen(&["lim".to_owned()], scenario::all(&SIZES)).is_err());
    }

    #[tokio::test]
    async fn leaves_out_what_is_not_installed() {
        let nowhere = Peers::of(Path::new("/nonexistent"));
        let tools = installed(&[], &nowhere).await;
        assert_eq!(tools, [(Tool::Ours, String::new())]);
    }

    #[test]
    fn draws_who_had_all_keys() {
        let scenario = chosen(&["limit".to_owned()], scenario::all(&SIZES)).unwrap().remove(0);
        let entries = [(Tool::Ours, 100_000), (Tool::AwsCli, 5_000)];
        let entries =
            entries.map(|(tool, keys)| result::tests::entry(tool, keys, &[(28.0, 0)])).into();
        let plot = plot(&ScenarioResult { scenario, entries }).unwrap();
        assert_eq!(plot.lines.len(), 1);
        assert_eq!(plot.limit, [(0.0, 3_500.0)]);
    }
}
