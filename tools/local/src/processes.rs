//! The processes that a server has started, and signals to them.

use std::fs;

use procfs_core::FromRead;
use procfs_core::process::Stat;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// The running children of a process whose program has this name.
pub(crate) fn children(parent: Pid, program: &str) -> Result<Vec<Pid>, Error> {
    let entries = fs::read_dir("/proc").map_err(|_error| Error::Missing {
        what: "the system's list of processes, /proc".to_owned(),
        remedy: "Only Linux has it.".to_owned(),
    })?;
    // A process that has ended since then cannot be read, and is no child any more.
    let stats = entries.flatten().filter_map(|it| Stat::from_file(it.path().join("stat")).ok());
    let parent = parent.as_raw_nonzero().get();
    let found = stats.filter(|it| it.comm == program && it.state != 'Z' && it.ppid == parent);
    Ok(found.filter_map(|stat| Pid::from_raw(stat.pid)).collect())
}

/// Sends a signal; `false` if the process has ended before.
pub fn signal(process: Pid, signal: Signal) -> Result<bool, Error> {
    match kill_process(process, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(Error::service("send a signal", error.to_string())),
    }
}
