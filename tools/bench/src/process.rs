//! What a process uses, as Linux reports it in `/proc`.

use std::time::Duration;

use procfs_core::FromRead;
use procfs_core::process::{Stat, Status};
use rustix::param::clock_ticks_per_second;

use crate::Error;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Memory that it holds now, in KiB.
    pub(crate) rss_kib: u64,
    /// The most that it ever held, in KiB.
    pub(crate) peak_kib: u64,
    /// CPU time, its own and the kernel's for it.
    pub(crate) cpu: Duration,
}

/// Fails where the system does not report it: zeros would pass every check of memory and CPU.
pub(crate) fn check() -> Result<(), Error> {
    if usage_of(std::process::id()).rss_kib > 0 {
        return Ok(());
    }
    Err(Error::Missing {
        what: "what a process uses, in /proc".to_owned(),
        remedy: "Only Linux reports it, and every check of CPU and memory needs it.".to_owned(),
    })
}

/// Reads what a process uses; zeros if it has ended.
pub(crate) fn usage_of(process_id: u32) -> Usage {
    let file = |name: &str| format!("/proc/{process_id}/{name}");
    let (Ok(status), Ok(stat)) = (Status::from_file(file("status")), Stat::from_file(file("stat")))
    else {
        return Usage::default();
    };
    let ticks = (stat.utime + stat.stime) as f64;
    Usage {
        rss_kib: status.vmrss.unwrap_or(0),
        peak_kib: status.vmhwm.unwrap_or(0),
        cpu: Duration::from_secs_f64(ticks / clock_ticks_per_second() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_and_fails_where_it_does_not() {
        assert_eq!(check().is_ok(), cfg!(target_os = "linux"));
    }
}
