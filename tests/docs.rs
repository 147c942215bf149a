//! The prose of the project: a short README, links that resolve, no sentence in two places, and
//! none of the words that the glossary replaces.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex_lite::Regex;
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

/// The files of a folder and of those in it, as paths from the project's folder.
fn files_below(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect("a folder") {
        let entry = entry.expect("a readable folder");
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = if folder == "." { name.clone() } else { format!("{folder}/{name}") };
        if !entry.file_type().expect("a type").is_dir() {
            files.push(path);
        } else if folder != "." && name != "node_modules" && name != "target" {
            files.extend(files_below(&path));
        }
    }
    files.sort();
    files
}

/// Every Markdown page that a reader of the project meets.
fn pages() -> Vec<String> {
    let folders = [".", "docs", "examples", ".github", "src", "deploy"];
    let exist = folders.into_iter().filter(|folder| root().join(folder).is_dir());
    exist.flat_map(files_below).filter(|path| path.ends_with(".md")).collect()
}

/// A page without its fenced blocks.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let mut text = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Prose without what is between backticks: names of the wire, of settings and of commands.
fn without_code(text: &str) -> String {
    pattern("`[^`]*`").replace_all(text, "`code`").into_owned()
}

/// A heading's name in a link, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = pattern(r"\[([^\]]*)\]\([^)]*\)").replace_all(heading, "$1");
    let kept = text.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The names of all headings; a heading that occurs again gets a number.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    let text = prose(page);
    let headings = text.lines().filter(|line| {
        let level = line.len() - line.trim_start_matches('#').len();
        (1..=6).contains(&level) && line[level..].starts_with(' ')
    });
    let names = headings.map(|line| {
        let name = anchor(line.trim_start_matches('#').trim());
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}-{}", *count - 1) }
    });
    names.collect()
}

/// A path without its `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

#[test]
fn readme_fits_on_150_lines() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "README.md has {lines} lines");
}

#[test]
fn every_relative_link_resolves() {
    let link = pattern(r"\]\(([^)\s]+)\)");
    let mut dead = Vec::new();
    let mut known = BTreeMap::<PathBuf, BTreeSet<String>>::new();
    let mut count = 0;
    for path in pages() {
        let folder = Path::new(&path).parent().unwrap_or(Path::new("")).to_owned();
        for found in link.captures_iter(&without_code(&prose(&read(&path)))) {
            let target = &found[1];
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = if file.is_empty() { PathBuf::from(&path) } else { folder.join(file) };
            let linked = normal(&linked);
            let exists = root().join(&linked).exists();
            let headings = known.entry(linked.clone()).or_insert_with(|| {
                anchors(&fs::read_to_string(root().join(&linked)).unwrap_or_default())
            });
            if !exists || !(heading.is_empty() || headings.contains(heading)) {
                dead.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(count > 100, "only {count} links were found");
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn every_page_of_the_handbook_is_in_its_index() {
    let index = read("docs/README.md");
    for path in files_below("docs") {
        let name = path.trim_start_matches("docs/");
        let is_page = name.ends_with(".md") && name != "README.md";
        assert!(!is_page || index.contains(&format!("({name})")), "docs/README.md lacks {name}");
    }
}

/// The sentences of a page that say enough to be recognised: paragraphs, items and table cells.
fn sentences(page: &str) -> Vec<String> {
    let (mut blocks, mut block) = (Vec::new(), String::new());
    let start = pattern(r"^([-*>] |[0-9]+\. |#|\||$)");
    for line in prose(page).lines() {
        let line = line.trim();
        if start.is_match(line) {
            blocks.push(std::mem::take(&mut block));
        }
        if line.starts_with('|') {
            blocks.extend(line.split(" | ").map(str::to_owned));
        } else {
            block.push_str(line.trim_start_matches(['-', '*', '>', '#']).trim());
            block.push(' ');
        }
    }
    blocks.push(block);
    let link = pattern(r"\[([^\]]*)\]\([^)]*\)");
    let plain = |text: &str| {
        let text = link.replace_all(text, "$1");
        let kept = text.chars().filter(|c| !"`*|".contains(*c)).collect::<String>();
        kept.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
    };
    let ends = pattern(r"[.!?:;] ");
    let texts = blocks.iter().map(|block| plain(block)).collect::<Vec<_>>();
    let split = texts.iter().flat_map(|text| ends.split(text).map(str::to_owned));
    split
        .map(|text| text.trim_matches(['.', '!', '?', ':', ';', ' ']).to_owned())
        .filter(|text| text.split(' ').count() >= 8)
        .collect()
}

#[test]
fn no_sentence_is_in_two_places() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for path in pages().into_iter().filter(|path| path == "README.md" || path.starts_with("docs/"))
    {
        for sentence in sentences(&read(&path)) {
            places.entry(sentence).or_default().push(path.clone());
        }
    }
    assert!(places.len() > 500, "only {} sentences were found", places.len());
    places.retain(|_, pages| pages.len() > 1);
    assert!(places.is_empty(), "these are in more than one place: {places:#?}");
}

/// What the texts of this project do not say, and what they say instead. Words between backticks
/// are names, and are not looked at.
const REPLACED: [(&str, &str); 33] = [
    ("whoever|whomever", "the role: the operator, the sender, the deploying principal"),
    ("(some|no|every)body", "the role, \"no one\", \"all users\""),
    ("mend(s|ed|ing)?", "fix, resolve"),
    ("gone", "deleted, removed"),
    ("at once", "concurrently; immediately"),
    ("anew|afresh", "again"),
    ("beside", "besides, in addition to, next to"),
    ("g(i|a)ve(s|n)? back|giving back", "return to the queue"),
    ("g(i|a)ve(s|n)? up|giving up", "abandoned, moved to the dead-letter queue"),
    ("com(e|es|ing) again|came again", "is redelivered"),
    ("stands?|stood", "is, is stored, appears"),
    ("fuses?", "object limit"),
    ("refus(e|es|ed|ing|als?)", "throttled, denied, rejected, not started"),
    ("tells?|told|telling", "report, log, return, notify"),
    ("hears?|heard", "receive, be notified"),
    ("dead letters?", "dead-letter message"),
    ("letters? (that|which|has|have|is|are)", "dead-letter message"),
    ("work(s|ed)? off", "process"),
    ("hand(s|ed|ing)? (on|over)", "send the continuation"),
    ("let(s|ting)? go", "the lock expires, is removed"),
    ("strikes|deeds|tales?|vessels?", "injected faults, summary"),
    ("weather|storms?", "fault injection, without faults"),
    ("neighbours?", "other users' data"),
    ("by hand", "manually"),
    ("in clear", "in plain text"),
    ("but for|but what", "except"),
    ("as from", "starting at"),
    ("may go|would go|must go|goes away", "may be deleted"),
    ("withdrew|withdrawn user", "the user closed the account, requested erasure"),
    ("tour|sieve|lanes", "traversal, filter, key ranges"),
    ("stand-?stills?", "pause"),
    ("bookmarks?", "checkpoint"),
    ("long ago|of old|ere", "old"),
];

/// The texts of a template that its users read: descriptions and labels.
fn descriptions(template: &str) -> String {
    let mut text = String::new();
    let starts = pattern(r"^( *)(- )?([A-Za-z]*Description|Label):");
    let mut depth = None;
    for line in template.lines() {
        let indent = line.len() - line.trim_start().len();
        if starts.is_match(line) {
            depth = Some(indent);
        } else if depth.is_some_and(|depth| indent <= depth) || line.trim().is_empty() {
            depth = None;
        }
        if depth.is_some() {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The comments of a file in which they begin with `#` or `//`.
fn comments(text: &str) -> String {
    let comment = pattern(r"(?m)(?:^|[ \t])(?:#|//)(.*)$");
    without_code(&comment.captures_iter(text).fold(String::new(), |all, one| all + &one[1] + "\n"))
}

/// What the dashboard and the notification of a template show.
fn shown(template: &str) -> String {
    let text = pattern(r#""(?:label|title|markdown)": "([^"\n]*)"|'([^'\n]* [^'\n]*)'"#);
    text.find_iter(template).fold(String::new(), |all, one| all + one.as_str() + "\n")
}

/// The titles and descriptions of a schema.
fn schema_texts(schema: &Value) -> String {
    let mut text = String::new();
    for (name, value) in schema.as_object().into_iter().flatten() {
        match value.as_str().filter(|_| ["title", "description"].contains(&name.as_str())) {
            Some(words) => text.extend([words, "\n"]),
            None => text.push_str(&schema_texts(value)),
        }
    }
    text.extend(schema.as_array().into_iter().flatten().map(schema_texts));
    text
}

/// Every text that the words are held against, by file.
fn texts() -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for path in pages().into_iter().filter(|path| !path.starts_with("src/")) {
        texts.insert(path.clone(), without_code(&prose(&read(&path))));
    }
    for path in files_below("schemas") {
        let schema = serde_json::from_str(&read(&path)).expect("JSON");
        texts.insert(path, schema_texts(&schema));
    }
    let is_program = |path: &String| {
        [".py", ".ts", ".go", ".java", ".sh"].iter().any(|ending| path.ends_with(ending))
    };
    for path in files_below("examples").into_iter().filter(is_program) {
        texts.insert(path.clone(), without_code(&read(&path)));
    }
    let is_commented = |path: &String| [".js", ".tf"].iter().any(|ending| path.ends_with(ending));
    let names = ["Makefile", "Cargo.toml", "samconfig.example.toml", ".cfnlintrc", ".checkov.yaml"];
    let deployed = files_below("deploy").into_iter().filter(is_commented);
    for path in names.map(str::to_owned).into_iter().chain(deployed) {
        texts.insert(path.clone(), comments(&read(&path)));
    }
    for path in ["template.yaml", "alerts-slack.yaml"] {
        let text = read(path);
        let all = [descriptions(&text), comments(&text), shown(&text)].concat();
        texts.insert(path.to_owned(), all);
    }
    texts
}

/// The words of the old kind in a text, each with what replaces it.
fn old_words(text: &str) -> Vec<String> {
    let line_of = |at: usize| {
        let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        text[start..].lines().next().unwrap_or_default().trim()
    };
    let found = REPLACED.iter().flat_map(|(words, instead)| {
        let words = pattern(&format!(r"(?i)\b({words})\b"));
        let found: Vec<String> = words
            .find_iter(text)
            .map(|word| format!("{:?} ({instead}): {}", word.as_str(), line_of(word.start())))
            .collect();
        found
    });
    found.collect()
}

/// The names of a chapter of the template, such as its parameters.
fn names_of(chapter: &str) -> Vec<String> {
    let template = read("template.yaml");
    let (_, rest) = template.split_once(&format!("\n{chapter}:\n")).expect("a chapter");
    let name = pattern("^  ([A-Za-z0-9]+):");
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    lines.filter_map(|line| Some(name.captures(line)?[1].to_owned())).collect()
}

#[test]
fn every_setting_parameter_and_output_is_documented() {
    let template = read("template.yaml");
    let (_, variables) = template.split_once("      Environment:\n").expect("an environment");
    let variable = pattern("^ +([A-Z0-9_]+): ");
    let settings = read("docs/settings.md");
    let mut count = 0;
    for line in variables.lines().take_while(|line| line.starts_with("        ")) {
        if let Some(found) = variable.captures(line) {
            count += 1;
            let is_named = settings.contains(&format!("`{}`", &found[1]));
            assert!(is_named, "docs/settings.md lacks {}", &found[1]);
        }
    }
    assert!(count >= 15, "only {count} variables were found in template.yaml");
    let pages = pages().into_iter().filter(|path| path.starts_with("docs/"));
    let handbook = pages.map(|path| read(&path)).collect::<String>();
    let (parameters, outputs) = (names_of("Parameters"), names_of("Outputs"));
    assert!(parameters.len() >= 40 && outputs.len() >= 8, "{parameters:?} {outputs:?}");
    for name in [parameters, outputs].concat() {
        // Targets are numbered, and documented once.
        let name = pattern("[2-9](Bucket|Prefix|Pattern)$").replace(&name, "1$1");
        let is_named = pattern(&format!(r"\b{name}\b")).is_match(&handbook);
        assert!(is_named, "docs/ names {name} nowhere");
    }
}

#[test]
fn github_runs_what_ci_runs() {
    let (ci, workflow) = (read(".ci/run"), read(".github/workflows/ci.yml"));
    let command = pattern(r"(?m)^make (.+)$");
    let targets: Vec<String> =
        command.captures_iter(&ci).map(|found| found[1].to_owned()).collect();
    assert!(targets.len() >= 4, "{targets:?}");
    let matrix = workflow.lines().find(|line| line.contains("target: [")).unwrap_or_default();
    for target in targets {
        assert!(matrix.contains(&target), ".github/workflows/ci.yml lacks `make {target}`");
    }
}

#[test]
fn texts_use_the_words_of_the_glossary() {
    let mut faults = Vec::new();
    for (path, text) in texts() {
        let found = old_words(&text);
        if !found.is_empty() {
            faults.push(format!("{path}: {} found\n  {}", found.len(), found.join("\n  ")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn helpers_find_what_they_look_for() {
    assert_eq!(anchor("`make run`, step 3: Lambda's own"), "make-run-step-3-lambdas-own");
    let page = "# A b\n\n## A b\n```sh\n# no heading\n```\n";
    assert_eq!(anchors(page), ["a-b", "a-b-1"].map(str::to_owned).into());
    let page = "One two three four five six\nseven *eight*. Short.\n\n| a | `one` two three four five six seven eight |\n";
    let expected = ["one two three four five six seven eight"; 2];
    assert_eq!(sentences(page), expected);
    assert_eq!(old_words(&without_code("It is gone; `refused` is a name.")).len(), 1);
    let template = "A:\n  Description: >-\n    one\n    two\n  Type: three\n";
    assert_eq!(descriptions(template), "  Description: >-\n    one\n    two\n");
    assert_eq!(comments("a # b `c`\n// d\ne#f\n"), " b `code`\n d\n");
    let template = "{\"label\": \"a b\", \"stat\": \"Sum\"}\n'c d' & 'e'\n";
    assert_eq!(shown(template), "\"label\": \"a b\"\n'c d'\n");
    let schema = serde_json::json!({"title": "a", "items": [{"description": "b", "const": "c"}]});
    assert_eq!(schema_texts(&schema), "b\na\n");
}
