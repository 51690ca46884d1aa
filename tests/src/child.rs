//! A child process that ends with its guard.

use std::fmt;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait;

/// A running child, leader of a process group of its own, so that what it forks ends with it.
pub struct Guard {
    child: Child,
    name: String,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.child.id())
    }
}

impl Guard {
    /// Starts a command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn inner(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.id()?, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it runs on beyond `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let (child, name) = (&mut self.child, &self.name);
        wait::until(limit, &format!("the end of {name}"), || child.try_wait().transpose())?
            .with_context(|| format!("cannot wait for {name}"))
    }

    /// Its process id and those of all its descendants.
    #[must_use]
    pub fn family(&self) -> Vec<u32> {
        let mut family = vec![self.pid()];
        let mut at = 0;
        while let Some(&pid) = family.get(at) {
            family.extend(children(pid));
            at += 1;
        }
        family
    }

    fn id(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id().cast_signed()).context("a process id of 0")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Ok(pid) = self.id() else { return };
        if matches!(self.child.try_wait(), Ok(None)) {
            // A server that cleans up after itself may do so; what does not is killed.
            let _ended = kill_process(pid, Signal::TERM);
            let _ended = self.wait(Duration::from_secs(2));
        }
        let _ended = kill_process_group(pid, Signal::KILL);
        let _reaped = self.child.wait();
    }
}

/// The children of a process, of all its threads.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started, fails or does not end within `limit`.
pub fn output(command: &mut Command, limit: Duration) -> Result<String> {
    let mut guard = Guard::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut pipe = guard.inner().stdout.take().context("no pipe")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let status = guard.wait(limit)?;
    drop(guard);
    let text = reader.join().ok().context("the reader of a pipe has panicked")??;
    anyhow::ensure!(status.success(), "{command:?}: {status}");
    Ok(text)
}
