//! The tests' side of a client process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Plan, Share};
use crate::child::Guard;
use crate::{netns, paths};

/// A client process that is connected and waits to be told to go.
#[derive(Debug)]
pub struct Driver {
    guard: Guard,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts a client; it is connected, and has sent its warm-up requests, when this returns.
    ///
    /// # Errors
    /// When it fails.
    pub fn start(plan: &Plan) -> Result<Self> {
        Self::spawn(&mut Command::new(paths::helper("drive")?), plan)
    }

    /// The same in a network namespace.
    ///
    /// # Errors
    /// When it fails.
    pub fn start_in(namespace: &netns::Namespace, plan: &Plan) -> Result<Self> {
        Self::spawn(&mut namespace.command(&paths::helper("drive")?), plan)
    }

    fn spawn(command: &mut Command, plan: &Plan) -> Result<Self> {
        let mut guard = Guard::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut stdin = guard.inner().stdin.take().context("no pipe")?;
        let mut stdout = BufReader::new(guard.inner().stdout.take().context("no pipe")?);
        let mut line = serde_json::to_string(plan)?;
        line.push('\n');
        stdin.write_all(line.as_bytes())?;
        line.clear();
        stdout.read_line(&mut line)?;
        ensure!(line.trim_end() == "ready", "the client has failed before it was ready");
        Ok(Self { guard, stdin, stdout })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// Lets it send, and returns its account.
    ///
    /// # Errors
    /// When it fails.
    pub fn go(mut self) -> Result<Share> {
        self.stdin.write_all(b"go\n")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let status = self.guard.wait(Duration::from_secs(10))?;
        ensure!(status.success(), "the client has failed");
        serde_json::from_str(&line).context("cannot read the client's account")
    }
}
