//! The processes that a server has started, and what can be done to them.

use std::fs;
use std::process::Stdio;

use tokio::process::Command;

use crate::Error;

/// What can be done to a process from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ends it at once: it cannot do anything about it.
    Kill,
    /// Lets it stand still.
    Stop,
    /// Lets it go on.
    Continue,
}

/// The running children of a process whose program is called like this.
pub(crate) fn children(parent: u32, program: &str) -> Result<Vec<u32>, Error> {
    let entries = fs::read_dir("/proc").map_err(|_error| Error::Missing {
        what: "the system's list of processes, /proc".to_owned(),
        remedy: "Only Linux has it.".to_owned(),
    })?;
    let is_one = |stat: &str| {
        // 123 (name) S 45 …; a name may hold anything, a bracket too.
        let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
        let Some((name, rest)) = name else {
            return false;
        };
        let mut fields = rest.split_whitespace();
        let (state, its_parent) = (fields.next(), fields.next());
        name == program && state != Some("Z") && its_parent == Some(&parent.to_string())
    };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // One that has ended meanwhile cannot be read, and is no child any more.
    Ok(ids
        .filter(|id| fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| is_one(&stat)))
        .collect())
}

/// Sends a signal; `false` if the process has ended before.
pub async fn signal(process: u32, signal: Signal) -> Result<bool, Error> {
    let name = match signal {
        Signal::Kill => "KILL",
        Signal::Stop => "STOP",
        Signal::Continue => "CONT",
    };
    // The shell's own `kill`: not every system has it as a program.
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -s \"$1\" \"$2\" 2>/dev/null", "signal", name, &process.to_string()]);
    let status = kill.stdin(Stdio::null()).kill_on_drop(true).status().await;
    let status = status.map_err(|error| Error::service("send a signal", error.to_string()))?;
    Ok(status.success())
}
