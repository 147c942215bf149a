//! The function's log, readable.

use indicatif::{HumanBytes, HumanCount};
use local::Hop;
use serde_json::Value;

/// One line about a hop.
pub(crate) fn hop(hop: &Hop) -> String {
    let Hop { outcome, objects, bytes, requests, throttles, retries, refused, duration_ms, reason, .. } = hop;
    format!(
        "  hop {:<2} {outcome:<10} {:>6} objects {:>10}   {:>5.2} s   \
         requests {requests}, throttles {throttles}, retries {retries}, refused {refused}{}{reason}",
        hop.hop,
        HumanCount(*objects).to_string(),
        HumanBytes(*bytes).to_string(),
        std::time::Duration::from_millis(*duration_ms).as_secs_f64(),
        if reason.is_empty() { "" } else { "\n         " },
    )
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
        format!("  {} {} {}", level.as_str().unwrap_or(""), message.as_str().unwrap_or(""), Value::Object(fields))
    })
}

/// The words of the line that a command of ours is run with.
pub(crate) fn program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| "local".into());
    let short = program.strip_prefix(&here).unwrap_or(&program);
    short.display().to_string()
}
