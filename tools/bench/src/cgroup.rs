//! A share of a core for a process, as Lambda gives one to a small function: a whole core is for
//! 1,769 MB.
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// So that no pause is longer than 20 ms. Linux takes no quota below 1 ms of it: 5 % of a core.
const PERIOD_US: u32 = 20_000;

/// A control group. Dropping it removes it, if nothing runs in it any more.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes a group that gets so many percent of one core. Needs root, and Linux.
    pub(crate) fn of(percent: f64) -> Result<Self, Error> {
        let name = format!("erase-user-files-bench-{}", std::process::id());
        let quota = format!("{:.0}", f64::from(PERIOD_US) * percent / 100.0);
        let root = Path::new("/sys/fs/cgroup");
        let has_one_tree = root.join("cgroup.controllers").exists();
        let folder = if has_one_tree { root.join(name) } else { root.join("cpu").join(name) };
        fs::create_dir_all(&folder).map_err(Error::file("make the control group", &folder))?;
        let settings = if has_one_tree {
            vec![("cpu.max", format!("{quota} {PERIOD_US}"))]
        } else {
            vec![("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota)]
        };
        for (file, value) in settings {
            let path = folder.join(file);
            fs::write(&path, value).map_err(Error::file("set", &path))?;
        }
        Ok(Self(folder))
    }

    /// Puts a process in.
    pub(crate) fn hold(&self, process_id: u32) -> Result<(), Error> {
        let path = self.0.join("cgroup.procs");
        fs::write(&path, process_id.to_string()).map_err(Error::file("put a process into", &path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}
