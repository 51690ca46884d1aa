//! Control groups that the tests make.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::wait;

/// How long the kernel may take to see that a group's last process has ended.
const END: Duration = Duration::from_secs(2);

/// A control group of version 2, directly below the root; removed when dropped, if nothing runs in it any more.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes one.
    ///
    /// # Errors
    /// When the groups are not mounted.
    pub fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then_some(path)
        });
        let path = Path::new(root.context("no control groups of version 2 are mounted")?).join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// The file to write a process to that is to be in it.
    #[must_use]
    pub fn members(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _gone = wait::until(END, "the end of a control group", || fs::remove_dir(&self.path).ok());
    }
}
