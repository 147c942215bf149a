//! `docs/runbook.md` against the code: queries that find something in lines that the function
//! really wrote, and a word about everything that it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::Duration;

use erase_user_files::target::OutsidePrefix;
use local::{
    Fault, FaultProfile, FaultProxy, Hop, Lock, Ministack, Operation,
    create_bucket_with_object_lock, lift_legal_hold, lock_version, project_root, put_object,
};
use regex_lite::Regex;
use serde_json::Value;
use tokio::time::sleep;

use crate::deployed::Deployed;
use crate::objects::{USER, objects, plain_keys};
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(150);
const HOPS_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

const RUNBOOK: &str = "docs/runbook.md";

/// What Lambda writes of invocations that it ended, and of a start that failed. The local cloud
/// writes none.
/// <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>
const OF_LAMBDA: [&str; 4] = [
    r#"{"time":"2026-01-31T12:00:00.550Z","type":"platform.start","record":{"requestId":"6d67e385-053d-4622-a56f-b25bcef23083","version":"$LATEST"}}"#,
    r#"{"time":"2026-01-31T12:05:00.581Z","type":"platform.report","record":{"requestId":"6d67e385-053d-4622-a56f-b25bcef23083","metrics":{"durationMs":300000.0,"billedDurationMs":300000,"memorySizeMB":256,"maxMemoryUsedMB":94},"status":"timeout"}}"#,
    r#"{"time":"2026-01-31T12:06:00.581Z","type":"platform.report","record":{"requestId":"8286a188-ba32-4475-8077-530cd35c09a9","metrics":{"durationMs":800.1,"billedDurationMs":801,"memorySizeMB":256,"maxMemoryUsedMB":256},"status":"error","errorType":"Runtime.OutOfMemory"}}"#,
    r#"{"time":"2026-01-31T12:07:00.581Z","type":"platform.report","record":{"requestId":"79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36","metrics":{"durationMs":18.5,"billedDurationMs":19,"memorySizeMB":256,"maxMemoryUsedMB":94},"status":"success"}}"#,
];

/// What a query may begin with.
const COMMANDS: [&str; 3] = ["fields ", "filter ", "stats "];

/// The words of a query that are not names of fields: commands, operators and functions.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html>
const KEYWORDS: [&str; 23] = [
    "and",
    "as",
    "asc",
    "bin",
    "by",
    "count",
    "dedup",
    "desc",
    "display",
    "earliest",
    "fields",
    "filter",
    "in",
    "ispresent",
    "latest",
    "like",
    "limit",
    "max",
    "not",
    "or",
    "sort",
    "stats",
    "sum",
];

/// Logs Insights discovers no more fields than this in one line.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html>
const MAX_FIELDS: usize = 200;

/// The fields of a log line, as Logs Insights names them, and their values as text.
type Fields = BTreeMap<String, String>;

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(project_root().join(path))
        .map_err(|error| Failure(format!("{path}: {error}")))
}

/// The fenced blocks of a document: what they are said to be, and their text.
fn blocks(document: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            blocks.push((kind, text.join("\n")));
        }
    }
    blocks
}

/// The queries of a document: of its blocks of plain text, those that begin with a command.
fn queries(document: &str) -> Vec<String> {
    let mut blocks = blocks(document);
    blocks.retain(|(kind, text)| {
        *kind == "text" && COMMANDS.iter().any(|command| text.starts_with(command))
    });
    blocks.into_iter().map(|(_, text)| text).collect()
}

/// Those of the dashboard; the console takes the log group from their first command.
fn queries_of_dashboard(template: &str) -> Vec<String> {
    let starts = template.split("\"query\": \"SOURCE ").skip(1);
    let texts =
        starts.filter_map(|rest| Some(rest.split('"').next()?.split_once(" | ")?.1.to_owned()));
    texts.collect()
}

/// The fields that Logs Insights discovers in a line.
fn fields_of(line: &str) -> Fields {
    fn flatten(name: &str, value: &Value, fields: &mut Fields) {
        if let Some(object) = value.as_object() {
            for (key, value) in object {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, fields);
            }
        } else if !value.is_null() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            fields.insert(name.to_owned(), text);
        }
    }
    let mut fields = Fields::new();
    if let Ok(object @ Value::Object(_)) = serde_json::from_str(line) {
        flatten("", &object, &mut fields);
    }
    assert!(fields.len() <= MAX_FIELDS, "a line has {} fields: {line}", fields.len());
    fields.extend([("@timestamp".to_owned(), String::new()), ("@message".into(), line.into())]);
    fields
}

/// What a query names, and the log does not have: fields, and the values that it compares them
/// with. If the query asks for one `message`, only the lines with that message count.
fn unknown_names(query: &str, log: &[Fields]) -> Result<Vec<String>, Failure> {
    let message = Regex::new(r#"\bmessage = "([^"]*)""#)?;
    let message = message.captures(query).map(|found| found[1].to_owned());
    let lines: Vec<&Fields> = log
        .iter()
        .filter(|line| message.is_none() || line.get("message") == message.as_ref())
        .collect();
    let aliases: BTreeMap<String, String> = Regex::new(r"\(([\w.*]+)\) as (\w+)")?
        .captures_iter(query)
        .map(|found| (found[2].to_owned(), found[1].to_owned()))
        .collect();
    let mut unknown = Vec::new();

    let comparison =
        Regex::new(r#"([@\w.]+) (?:!?=|in|like) (?:/([^/]*)/|("[^"]*"|'[^']*'|\[[^\]]*\]))"#)?;
    let text = Regex::new(r#"["']([^"']*)["']"#)?;
    for found in comparison.captures_iter(query) {
        let field = aliases.get(&found[1]).map_or(&found[1], String::as_str);
        let has = |is_it: &dyn Fn(&str) -> bool| {
            lines.iter().filter_map(|line| line.get(field)).any(|value| is_it(value))
        };
        if let Some(pattern) = found.get(2) {
            let pattern = Regex::new(pattern.as_str())?;
            if !has(&|value| pattern.is_match(value)) {
                unknown.push(found[0].to_owned());
            }
        }
        let texts = found.get(3).map_or("", |list| list.as_str());
        for value in text.captures_iter(texts).map(|found| found[1].to_owned()) {
            let is_placeholder = value.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            if !is_placeholder && !has(&|found| found == value) {
                unknown.push(format!("{field} = {value}"));
            }
        }
    }

    let literal = Regex::new(r#""[^"]*"|'[^']*'|/[^/]*/"#)?;
    let is_known = |word: &str| {
        KEYWORDS.contains(&word)
            || aliases.contains_key(word)
            || word.starts_with(|c: char| c.is_ascii_digit())
            || lines.iter().any(|line| line.contains_key(word))
    };
    let names = literal.replace_all(query, "");
    let words = Regex::new(r"[@\w.]+")?;
    let words = words.find_iter(&names).map(|word| word.as_str());
    unknown.extend(words.filter(|word| !is_known(word)).map(str::to_owned));
    Ok(unknown)
}

/// Whether all has happened that the queries are about.
fn is_enough(hops: &[Hop]) -> bool {
    let has = |outcome: &str| hops.iter().any(|hop| hop.outcome == outcome);
    // Each of the three users is erased, and swept.
    let swept = hops.iter().filter(|hop| hop.outcome == "swept").count();
    has("continued")
        && has("incomplete")
        && has("erased")
        && swept == 3
        && hops.iter().any(|hop| hop.throttles > 0)
}

/// Lines of a function that had a bad day.
async fn lines_of_a_bad_day(cloud: &Ministack, proxy: &FaultProxy) -> Result<Vec<String>, Failure> {
    let s3 = cloud.s3();
    for bucket in ["photos", "receipts"] {
        cloud.create_bucket(bucket).await?;
    }
    create_bucket_with_object_lock(&s3, "vault").await?;
    cloud.put_objects("photos", objects(plain_keys("u1/", 900)), || {}).await?;
    let held = put_object(&s3, "vault", "held/file", b"secret").await?.unwrap_or_default();
    lock_version(&s3, "vault", "held/file", &held, Lock::LegalHold).await?;
    // Three seconds of work in each hop: u1 takes several.
    let parameters = [
        ("Target1Bucket", "photos"),
        ("Target2Bucket", "vault"),
        ("ReceiptsBucket", "receipts"),
        ("ReceiptHashKey", "only-for-these-tests"),
        ("MaxDeletesPerSecond", "200"),
        ("FunctionTimeout", "5"),
        ("HandoffReserveMs", "2000"),
        ("LateWriteSweepSeconds", "1"),
    ];
    let deployed = Deployed::new(cloud, &parameters).await?;
    let is_busy = |operation| {
        if operation == Operation::Delete { 1_000 } else { 0 }
    };
    proxy.set_profile(FaultProfile { faults: &[Fault::Busy], per_mille: is_busy });
    deployed.withdraw(USER).await?;
    while !proxy.counts().contains_key(&(Operation::Delete, Some(Fault::Busy))) {
        sleep(POLL).await;
    }
    proxy.set_profile(FaultProfile::NONE);
    deployed.send("no JSON").await?;
    deployed.withdraw("nobody").await?;
    deployed.withdraw("held").await?;
    let is_incomplete = |hops: &[Hop]| hops.iter().any(|hop| hop.outcome == "incomplete");
    deployed.hops_until("something that is held", HOPS_LIMIT, is_incomplete).await?;
    lift_legal_hold(&s3, "vault", "held/file", &held).await?;
    deployed.hops_until("three users who are erased and swept", HOPS_LIMIT, is_enough).await?;
    deployed.dead_letters(1, HOPS_LIMIT).await?;

    // Another one, without a key for its hashes, whose bucket is missing.
    let without_key = [("Target1Bucket", "missing-one"), ("ReceiptHashKey", "")];
    let failing = Deployed::new(cloud, &without_key).await?;
    failing.withdraw(USER).await?;
    failing
        .hops_until("a failure", HOPS_LIMIT, |hops| hops.iter().any(|hop| hop.outcome == "failed"))
        .await?;

    let dry = Deployed::new(cloud, &[("Target1Bucket", "photos"), ("DryRun", "true")]).await?;
    dry.withdraw(USER).await?;
    dry.hops_until("a dry run", HOPS_LIMIT, |hops| !hops.is_empty()).await?;

    let mut lines = Vec::new();
    for deployed in [&deployed, &failing, &dry] {
        lines.extend(cloud.function_log_lines(&deployed.stack).await?);
    }
    // The local cloud keeps nothing of a function that does not start.
    let not_started = Command::new(env!("CARGO_BIN_EXE_erase-user-files")).env_clear().output()?;
    lines.extend(String::from_utf8(not_started.stderr)?.lines().map(str::to_owned));
    lines.extend(OF_LAMBDA.map(str::to_owned));
    Ok(lines)
}

#[tokio::test]
async fn queries_name_only_fields_and_values_that_are_logged() -> Outcome {
    let mut queries_by_path = Vec::new();
    for path in [RUNBOOK, "docs/monitoring.md", "template.yaml"] {
        let text = read(path)?;
        let found =
            if path == "template.yaml" { queries_of_dashboard(&text) } else { queries(&text) };
        assert!(!found.is_empty(), "{path} has no query");
        queries_by_path.extend(found.into_iter().map(|query| (path, query)));
    }
    let proxy = FaultProxy::start(1).await?;
    let cloud = Ministack::start_behind(&proxy).await?;
    within(TEST_LIMIT, async {
        let lines = lines_of_a_bad_day(&cloud, &proxy).await?;
        let log: Vec<Fields> = lines.iter().map(|line| fields_of(line)).collect();
        let mut faults = Vec::new();
        for (path, query) in &queries_by_path {
            let unknown = unknown_names(query, &log)?;
            if !unknown.is_empty() {
                faults.push(format!("{path}: the log has no {unknown:?}\n{query}"));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Failure(faults.join("\n\n"))) }
    })
    .await
}

#[test]
fn unknown_fields_and_values_of_a_query_are_found() -> Outcome {
    let lines = [
        r#"{"message":"hop finished","outcome":"erased","span":{"id":1}}"#,
        r#"{"message":"other","hop":1}"#,
    ];
    let log = lines.map(fields_of);
    let cases: [(&str, &[&str]); 8] = [
        (r#"filter message = "hop finished" | stats count(*) as hops by outcome"#, &[]),
        (r#"filter message = "hop finished" and hop > 1"#, &["hop"]),
        ("filter hop > 1 | sort @timestamp desc", &[]),
        ("filter outcome in ['erased', 'lost']", &["outcome = lost"]),
        (
            r#"stats latest(outcome) as last by span.id | filter last != "lost""#,
            &["outcome = lost"],
        ),
        (r#"filter outcome = "ERASURE_ID""#, &[]),
        ("filter @message like /hop .inished/ | stats median(hop) as h", &["median"]),
        ("filter outcome like /lost|gone/", &["outcome like /lost|gone/"]),
    ];
    for (query, unknown) in cases {
        assert_eq!(unknown_names(query, &log)?, unknown, "{query}");
    }
    Ok(())
}

#[test]
fn every_code_block_is_a_query_or_a_command() -> Outcome {
    let runbook = read(RUNBOOK)?;
    let blocks = blocks(&runbook);
    let commands = blocks.iter().filter(|(kind, _)| *kind == "sh").count();
    assert_eq!(blocks.len(), commands + queries(&runbook).len(), "{blocks:#?}");
    Ok(())
}

/// What follows `opener` up to the parenthesis that closes it, each time: the texts in it,
/// unescaped.
fn texts_after(source: &str, opener: &str) -> Vec<Vec<String>> {
    let calls = source.split(opener).skip(1).map(|rest| {
        let (mut texts, mut depth, mut chars) = (Vec::new(), 1, rest.chars());
        while let Some(c) = chars.next() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                '"' => {
                    let mut text = String::new();
                    while let Some(c) = chars.next().filter(|c| *c != '"') {
                        let escaped = if c == '\\' { chars.next() } else { None };
                        if escaped == Some('\n') {
                            // The text continues on the next line.
                            chars = chars.as_str().trim_start().chars();
                        } else {
                            text.push(escaped.unwrap_or(c));
                        }
                    }
                    texts.push(text);
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        texts
    });
    calls.collect()
}

/// The longest part of a format string that is the same whatever is put into it.
fn fixed_part(format: &str) -> Result<String, Failure> {
    // Behind a brace that is meant, nothing is looked at.
    let parts = Regex::new(r"\{\{.*|\{[^{}]*\}")?;
    let longest = parts.split(format).max_by_key(|part| part.len()).unwrap_or_default();
    Ok(longest.trim().to_owned())
}

fn assert_tells_of(texts: &BTreeSet<String>, what: &str) -> Outcome {
    let runbook = read(RUNBOOK)?;
    let untold: Vec<&String> =
        texts.iter().filter(|text| !runbook.contains(text.as_str())).collect();
    assert!(untold.is_empty(), "{RUNBOOK} says nothing about {what}: {untold:#?}");
    Ok(())
}

#[test]
fn every_log_message_has_a_runbook_section() -> Outcome {
    let mut headings = BTreeSet::new();
    for source in sources(&["lambda"])?.into_iter().chain([read("src/main.rs")?]) {
        for opener in
            ["info!(", "warn!(", "error!(", "$level!(", "eprintln!(", "log_without_erasure("]
        {
            for texts in texts_after(&source, opener) {
                // The message is last; fields come before it.
                let message = fixed_part(texts.last().map_or("", String::as_str))?;
                headings.insert(format!("\n### {}\n", message.trim_end_matches(':')));
            }
        }
    }
    // Where the message is a parameter, and the parameter's own definition.
    headings.remove("\n### \n");
    assert!(headings.len() >= 11, "{headings:#?}");
    assert_tells_of(&headings, "log messages")
}

#[test]
fn every_error_reason_is_in_the_runbook() -> Outcome {
    let mut reasons = BTreeSet::from([OutsidePrefix.to_string()]);
    for source in sources(&["lambda", "message", "erasure", "ports"])? {
        for texts in texts_after(&source, "#[error(") {
            reasons.insert(fixed_part(texts.first().map_or("", String::as_str))?);
        }
    }
    reasons.retain(|reason| reason.len() > 3);
    assert!(reasons.len() >= 30, "{reasons:#?}");
    assert_tells_of(&reasons, "reasons")
}

/// The source files of these folders.
fn sources(folders: &[&str]) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| Failure(error.to_string());
    let mut sources = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(project_root().join("src").join(folder)).map_err(failed)? {
            sources.push(fs::read_to_string(entry.map_err(failed)?.path()).map_err(failed)?);
        }
    }
    Ok(sources)
}

/// The parts of a document below its headings of a level, by heading.
fn sections<'a>(document: &'a str, level: &str) -> BTreeMap<&'a str, &'a str> {
    let starts = document.split(level).skip(1);
    starts.filter_map(|rest| rest.split_once('\n')).collect()
}

#[test]
fn alarm_and_message_sections_have_three_parts() -> Outcome {
    let runbook = read(RUNBOOK)?;
    let chapters = sections(&runbook, "\n## ");
    let alarms = sections(chapters["Alarms"], "\n### ");
    for alarm in [
        "Dead-letter queue is not empty",
        "Oldest erasure is too old",
        "Function has errors",
        "Throttled for long",
        "No progress",
        "Erasures find nothing",
    ] {
        assert!(alarms.contains_key(alarm), "no section {alarm:?}: {:?}", alarms.keys());
    }
    let messages = sections(chapters["Log messages"], "\n### ");
    for (heading, text) in alarms.into_iter().chain(messages) {
        let parts: Vec<Option<usize>> =
            ["\n**Means.** ", "\n**Check.**", "\n**Do.**"].map(|part| text.find(part)).to_vec();
        assert!(parts.iter().all(Option::is_some) && parts.is_sorted(), "{heading}: {parts:?}");
    }
    Ok(())
}

/// A heading's name in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_to_runbook_headings_resolve() -> Outcome {
    let runbook = read(RUNBOOK)?;
    let is_code = |line: &&str| line.starts_with('#');
    let anchors: BTreeSet<String> = runbook
        .lines()
        .filter(is_code)
        .map(|line| anchor(line.trim_start_matches('#').trim_start()))
        .collect();
    let links = [
        (RUNBOOK, "](#"),
        ("template.yaml", "${RunbookUrl}#"),
        ("template.yaml", "${Runbook}#"),
        ("README.md", "runbook.md#"),
    ];
    for (path, start) in links {
        let text = read(path)?;
        let ends = |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_';
        for link in text.split(start).skip(1).filter_map(|rest| rest.split(ends).next()) {
            assert!(
                anchors.contains(link),
                "{path} links to #{link}, which is none of {anchors:#?}"
            );
        }
    }
    Ok(())
}

#[test]
fn named_parameters_and_outputs_exist_in_the_template() -> Outcome {
    let (runbook, template) = (read(RUNBOOK)?, read("template.yaml")?);
    let name = |rest: &str| {
        rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
    };
    let after = |start: &str| runbook.split(start).skip(1).map(name).collect::<Vec<_>>();
    let has = |chapter: &str, name: &str| {
        let text = template.split(&format!("\n{chapter}:\n")).nth(1).unwrap_or_default();
        let is_of_chapter = |line: &&str| line.is_empty() || line.starts_with([' ', '#']);
        text.lines().take_while(is_of_chapter).any(|line| line == format!("  {name}:"))
    };
    let outputs = after("$(output ");
    let how_to = sections(&runbook, "\n### ")["Change a setting"];
    let in_table = Regex::new("`([A-Z][A-Za-z0-9]+)`")?;
    let mut parameters: Vec<String> =
        in_table.captures_iter(how_to).map(|found| found[1].to_owned()).collect();
    parameters.extend([after("\nset_parameter "), after("--parameter-overrides ")].concat());
    assert!(outputs.len() >= 6 && parameters.len() >= 8, "{outputs:?} {parameters:?}");
    for output in outputs {
        assert!(has("Outputs", &output), "the template has no output {output}");
    }
    for parameter in parameters {
        assert!(has("Parameters", &parameter), "the template has no parameter {parameter}");
    }
    Ok(())
}

#[test]
fn helpers_parse_calls_and_blocks() -> Outcome {
    let source = r#"warn!(a = f(x), "one {b} two"); warn!(
        "three: \"four\" \
         five"
    ); warn!(message)"#;
    assert_eq!(
        texts_after(source, "warn!("),
        [vec!["one {b} two"], vec!["three: \"four\" five"], vec![]]
    );
    assert_eq!(fixed_part("a {x} longer {y:?} {{\"z\": the longest}}")?, "longer");
    assert_eq!(anchor("Lambda's own lines"), "lambdas-own-lines");
    assert_eq!(blocks("a\n```sh\nb\n\nc\n```\nd"), [("sh", "b\n\nc".to_owned())]);
    Ok(())
}
