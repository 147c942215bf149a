//! The function's log, readable.

use indicatif::{HumanBytes, HumanCount};
use local::{Hop, Stored, StoredKind, count};
use serde_json::Value;

/// One line about a hop: for people, the invocation of that number.
pub(crate) fn hop(hop: &Hop) -> String {
    let Hop {
        outcome, requests, throttles, retries, retained, refused, duration_ms, reason, ..
    } = hop;
    let others = [
        (throttles, "throttled"),
        (retries, "retried"),
        (retained, "retained"),
        (refused, "not deleted"),
    ];
    let others: String = others
        .into_iter()
        .filter(|(count, _)| **count > 0)
        .map(|(count, name)| format!(", {count} {name}"))
        .collect();
    format!(
        "  invocation {:<2} {outcome:<10} {:>5.2} s   {}, {}   {requests} requests{others}{}{reason}",
        hop.hop + 1,
        std::time::Duration::from_millis(*duration_ms).as_secs_f64(),
        kinds([hop.objects, hop.versions, hop.delete_markers, hop.uploads]),
        HumanBytes(hop.bytes),
        if reason.is_empty() { "" } else { "\n         " },
    )
}

/// Objects, versions, delete markers and uploads, as far as there are any.
pub(crate) fn kinds(counts: [u64; 4]) -> String {
    let names = ["objects", "versions", "delete markers", "uploads"];
    let some = counts.into_iter().zip(names).filter(|(count, _)| *count > 0);
    let parts: Vec<String> =
        some.map(|(count, name)| format!("{} {name}", HumanCount(count))).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// How much there is of each kind, in the order of [`kinds`].
pub(crate) fn counts(stored: &[Stored]) -> [u64; 4] {
    let kinds =
        [StoredKind::Object, StoredKind::Version, StoredKind::DeleteMarker, StoredKind::Upload];
    kinds.map(|kind| count(stored, kind) as u64)
}

/// One line about a warning or an error in the log; `None` for everything else.
pub(crate) fn trouble(line: &str) -> Option<String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        // Not JSON: Lambda's own lines, or a panic.
        let is_platform = ["START ", "END ", "REPORT "].iter().any(|start| line.starts_with(start));
        return (!is_platform && !line.is_empty()).then(|| format!("  | {line}"));
    };
    let level = fields.remove("level")?;
    let message = fields.remove("message")?;
    fields.remove("timestamp");
    let is_trouble = matches!(level.as_str()?, "WARN" | "ERROR");
    is_trouble.then(|| {
        format!(
            "  {} {} {}",
            level.as_str().unwrap_or(""),
            message.as_str().unwrap_or(""),
            Value::Object(fields)
        )
    })
}

/// The words of the line that a command of ours is run with.
pub(crate) fn program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| "local".into());
    let short = program.strip_prefix(&here).unwrap_or(&program);
    short.display().to_string()
}
