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
use tokio::time::sleep;

use crate::deployed::Deployed;
use crate::insights::{Query, Row, discover};
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

/// What stands in queries for a value, and the fields that have such values.
const PLACEHOLDERS: [(&str, &[&str]); 3] = [
    ("ERASURE_ID", &["erasure", "message_id"]),
    ("USER_HASH", &["user"]),
    ("REQUEST_ID", &["span.requestId"]),
];

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

/// Runs a query, once for each value of its placeholder, and says what is wrong with it.
fn fault_of(text: &str, log: &[Row]) -> Option<String> {
    let placeholder = PLACEHOLDERS.iter().find(|(placeholder, _)| text.contains(placeholder));
    let texts: Vec<String> = match placeholder {
        None => vec![text.to_owned()],
        Some((placeholder, fields)) => {
            let values = log
                .iter()
                .flat_map(|row| fields.iter().filter_map(|field| row.get(*field)?.as_str()));
            values
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|value| text.replace(placeholder, value))
                .collect()
        }
    };
    let (mut rows, mut missing): (usize, Option<BTreeSet<String>>) = (0, None);
    for text in texts {
        let found = match Query::parse(&text) {
            Ok(query) => query.run(log),
            Err(error) => return Some(error),
        };
        rows += found.rows.len();
        // Of the values, one is enough.
        missing = Some(match missing {
            None => found.missing,
            Some(missing) => missing.intersection(&found.missing).cloned().collect(),
        });
    }
    match missing {
        None => Some("nothing in the log has a value for its placeholder".to_owned()),
        Some(missing) if !missing.is_empty() => {
            Some(format!("no line that it finds has {missing:?}"))
        }
        Some(_) if rows == 0 => Some("it finds nothing".to_owned()),
        Some(_) => None,
    }
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
    let failing = Deployed::new(cloud, &[("Target1Bucket", "missing-one")]).await?;
    failing.withdraw(USER).await?;
    failing
        .hops_until("a failure", HOPS_LIMIT, |hops| hops.iter().any(|hop| hop.outcome == "failed"))
        .await?;

    let mut lines = cloud.function_log_lines(&deployed.stack).await?;
    lines.extend(cloud.function_log_lines(&failing.stack).await?);
    // The local cloud keeps nothing of a function that does not start.
    let not_started = Command::new(env!("CARGO_BIN_EXE_erase-user-files")).env_clear().output()?;
    lines.extend(String::from_utf8(not_started.stderr)?.lines().map(str::to_owned));
    lines.extend(OF_LAMBDA.map(str::to_owned));
    Ok(lines)
}

#[tokio::test]
async fn every_query_finds_something_in_lines_that_the_function_wrote() -> Outcome {
    let documents =
        [RUNBOOK, "README.md", "template.yaml"].map(|path| read(path).map(|text| (path, text)));
    let mut all = Vec::new();
    for document in documents {
        let (path, text) = document?;
        let of_document =
            if path == "template.yaml" { queries_of_dashboard(&text) } else { queries(&text) };
        assert!(!of_document.is_empty(), "{path} has no query");
        all.extend(of_document.into_iter().map(|query| (path, query)));
    }
    let proxy = FaultProxy::start(1).await?;
    let cloud = Ministack::start_behind(&proxy).await?;
    within(TEST_LIMIT, async {
        let log = discover(&lines_of_a_bad_day(&cloud, &proxy).await?).map_err(Failure)?;
        let check = |(path, query): &(&str, String)| {
            Some(format!("{path}: {}\n{query}", fault_of(query, &log)?))
        };
        let faults: Vec<String> = all.iter().filter_map(check).collect();
        if faults.is_empty() { Ok(()) } else { Err(Failure(faults.join("\n\n"))) }
    })
    .await
}

#[test]
fn every_block_is_a_query_or_a_command() -> Outcome {
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
                        text.extend(if c == '\\' { chars.next() } else { Some(c) });
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
fn every_log_message_has_a_section() -> Outcome {
    let mut headings = BTreeSet::new();
    for source in sources(&["lambda"])?.into_iter().chain([read("src/main.rs")?]) {
        for opener in
            ["info!(", "warn!(", "error!(", "$level!(", "eprintln!(", "log_without_erasure("]
        {
            for texts in texts_after(&source, opener) {
                // The message stands last; fields come before it.
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
fn every_reason_stands_in_it() -> Outcome {
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
fn alarms_and_messages_have_the_same_three_parts() -> Outcome {
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
fn every_link_to_a_heading_leads_there() -> Outcome {
    let runbook = read(RUNBOOK)?;
    let is_code = |line: &&str| line.starts_with('#');
    let anchors: BTreeSet<String> = runbook
        .lines()
        .filter(is_code)
        .map(|line| anchor(line.trim_start_matches('#').trim_start()))
        .collect();
    let links =
        [(RUNBOOK, "](#"), ("template.yaml", "${RunbookUrl}#"), ("README.md", "runbook.md#")];
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
fn every_parameter_and_output_that_it_names_is_the_templates() -> Outcome {
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
fn reads_the_texts_of_calls() -> Outcome {
    let source = r#"warn!(a = f(x), "one {b} two"); warn!(
        "three: \"four\""
    ); warn!(message)"#;
    assert_eq!(
        texts_after(source, "warn!("),
        [vec!["one {b} two"], vec!["three: \"four\""], vec![]]
    );
    assert_eq!(fixed_part("a {x} longer {y:?} {{\"z\": the longest}}")?, "longer");
    assert_eq!(anchor("Lambda's own lines"), "lambdas-own-lines");
    assert_eq!(blocks("a\n```sh\nb\n\nc\n```\nd"), [("sh", "b\n\nc".to_owned())]);
    Ok(())
}
