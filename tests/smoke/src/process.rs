//! A process of the test: what it prints is read while it runs, and it does not outlive the test.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A line of output.
#[derive(Debug)]
pub enum Line {
    /// From standard output.
    Out(String),
    /// From standard error.
    Err(String),
}

/// A running process.
pub struct Process {
    child: Child,
    lines: Receiver<Line>,
    name: String,
}

impl Process {
    /// Starts a process; its standard input is open.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let (sender, lines) = sync_channel(1024);
        read_lines(child.stdout.take().context("no standard output")?, sender.clone(), Line::Out);
        read_lines(child.stderr.take().context("no standard error")?, sender, Line::Err);
        Ok(Self { child, lines, name: [&[program], arguments].concat().join(" ") })
    }

    /// Its standard input; `None` when it was taken before.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line; `None` when `until` comes first, or when there will be no more.
    pub fn line(&self, until: Instant) -> Option<Line> {
        self.lines.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// The next line of standard output, at most `wait` from now.
    pub fn output(&self, wait: Duration) -> Result<String> {
        let until = Instant::now() + wait;
        let mut said = Vec::new();
        while let Some(line) = self.line(until) {
            match line {
                Line::Out(text) => return Ok(text),
                Line::Err(text) => said.push(text),
            }
        }
        bail!("{} printed nothing; it complained: {}", self.name, said.join("; "));
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("not a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the end, at most `wait`, and reads the rest of its output.
    pub fn end(&mut self, wait: Duration) -> Result<(ExitStatus, Vec<Line>)> {
        let until = Instant::now() + wait;
        let mut rest = Vec::new();
        // Both ends of output come with the end of the process, except when a child of it lives on.
        while let Some(line) = self.line(until) {
            rest.push(line);
        }
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, rest));
            }
            if Instant::now() >= until {
                bail!("{} did not end within {} s", self.name, wait.as_secs());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a process to its end: its status, and the lines that it printed.
pub fn run(program: &str, arguments: &[&str], wait: Duration) -> Result<(ExitStatus, Vec<Line>)> {
    let mut process = Process::start(program, arguments)?;
    drop(process.input());
    process.end(wait)
}

fn read_lines(from: impl Read + Send + 'static, to: SyncSender<Line>, kind: fn(String) -> Line) {
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            if to.send(kind(String::from_utf8_lossy(&line).into_owned())).is_err() {
                break;
            }
        }
    });
}
