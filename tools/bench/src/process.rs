//! What a process uses, as Linux tells in `/proc`.

use std::fs;
use std::time::Duration;

use crate::Error;

/// `getconf CLK_TCK` on every Linux that anybody uses.
const TICKS_PER_SECOND: u32 = 100;

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

/// Refuses where the system does not tell: zeros would pass every check of memory and CPU.
pub(crate) fn check() -> Result<(), Error> {
    if usage_of(std::process::id()).rss_kib > 0 { Ok(()) } else { Err(Error::NoUsage) }
}

/// Reads what a process uses; zeros if it is gone.
pub(crate) fn usage_of(process_id: u32) -> Usage {
    let read =
        |file: &str| fs::read_to_string(format!("/proc/{process_id}/{file}")).unwrap_or_default();
    parse(&read("status"), &read("stat"))
}

fn parse(status: &str, stat: &str) -> Usage {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    // After the program's name in brackets, which may hold anything: state, and then utime and
    // stime as 12th and 13th.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u32>().ok())
        .sum();
    Usage {
        rss_kib: kib("VmRSS:"),
        peak_kib: kib("VmHWM:"),
        cpu: Duration::from_secs(1) * ticks / TICKS_PER_SECOND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_tells() {
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        let usage = Usage { rss_kib: 1024, peak_kib: 2048, cpu: Duration::from_secs(2) };
        assert_eq!(parse(status, stat), usage);
    }

    #[test]
    fn knows_itself_and_refuses_where_it_does_not() {
        let is_linux = cfg!(target_os = "linux");
        assert_eq!(check().is_ok(), is_linux);
    }
}
