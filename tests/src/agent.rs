//! The agent under test: started with flags, read line by line, ended by a signal.

use std::io::{BufRead, BufReader};
use std::num::NonZero;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use crate::child::Guard;
use crate::netns::Namespace;
use crate::span::Span;
use crate::wait::PATIENCE;
use crate::{paths, wait};

/// How long the agent may take from a signal to its end.
pub const EXIT_LIMIT: Duration = Duration::from_secs(5);

/// How long the kernel may take to check and load its programs on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Which of the kernel's hooks the agent is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// The socket tracepoints of Linux 6.3 and later.
    Sockets,
    /// The system-call tracepoints.
    Syscalls,
}

impl Capture {
    /// The value of `--capture`.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Syscalls => "syscalls",
        }
    }
}

#[derive(Debug, Default)]
struct Output {
    spans: Vec<Span>,
    broken: Vec<String>,
    log: Vec<String>,
    closed: usize,
}

#[derive(Debug, Default)]
struct Shared {
    output: Mutex<Output>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Output)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    guard: Guard,
    shared: Arc<Shared>,
}

/// What an agent left behind.
#[derive(Debug)]
pub struct Report {
    /// Every span that it printed.
    pub spans: Vec<Span>,
    /// Its standard error, by lines.
    pub log: Vec<String>,
    /// How it ended.
    pub status: ExitStatus,
    /// How long it took to end after the signal.
    pub took: Duration,
}

impl Report {
    /// A count of the summary that it prints at its end: the number after or before the word.
    #[must_use]
    pub fn count(&self, word: &str) -> Option<u64> {
        self.log.iter().rev().find_map(|line| {
            let words: Vec<&str> =
                line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
            let at = words.iter().position(|found| *found == word)?;
            let number = |index: Option<usize>| words.get(index?)?.parse().ok();
            number(at.checked_add(1)).or_else(|| number(at.checked_sub(1)))
        })
    }
}

impl Agent {
    /// Starts `geophone run --output json --no-tls` and waits until all probes are attached. Without TLS, because the kernel detaches the
    /// probes of libraries one after the other, long after an agent's end, and keeps others from attaching theirs meanwhile: tests would
    /// wait for each other.
    ///
    /// # Errors
    /// When this is not root, there is no agent, or it ends early.
    pub fn start(capture: Capture, arguments: &[String]) -> Result<Self> {
        let arguments: Vec<String> = arguments.iter().cloned().chain(["--no-tls".to_owned()]).collect();
        Self::start_on(None, capture, &arguments)
    }

    /// The same with what goes through TLS, and in a network namespace, if there is one.
    ///
    /// # Errors
    /// When this is not root, there is no agent, or it ends early.
    pub fn start_on(namespace: Option<&Namespace>, capture: Capture, arguments: &[String]) -> Result<Self> {
        // Whoever reads the lines is not optimised, and the machine is busy: what is tested here is not how much fits into the
        // buffers.
        let mut flags: Vec<String> = ["--output", "json", "--export-queue", "200000"].map(Into::into).into();
        flags.extend_from_slice(arguments);
        Self::spawn(namespace, capture, &flags, &[])
    }

    /// The same with another output, and variables.
    ///
    /// # Errors
    /// When this is not root, there is no agent, or it ends early.
    pub fn start_with(capture: Capture, arguments: &[String], variables: &[(&str, &str)]) -> Result<Self> {
        Self::spawn(None, capture, arguments, variables)
    }

    fn spawn(
        namespace: Option<&Namespace>,
        capture: Capture,
        arguments: &[String],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        require_root()?;
        let mut command = Command::new(paths::agent()?);
        command
            .args(["run", "--capture", capture.flag(), "--ring-size", &ring_size().to_string()])
            .args(arguments)
            .envs(variables.iter().copied());
        if let Some(namespace) = namespace {
            command = namespace.inside(&command);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guard = Guard::start(&mut command)?;
        let shared = Arc::new(Shared::default());
        let stdout = BufReader::new(guard.inner().stdout.take().context("no pipe")?);
        let stderr = BufReader::new(guard.inner().stderr.take().context("no pipe")?);
        read_lines(stdout, &shared, |output, line| match Span::parse(&line) {
            Ok(span) => output.spans.push(span),
            Err(_) => output.broken.push(line),
        });
        read_lines(stderr, &shared, |output, line| output.log.push(line));
        let agent = Self { guard, shared };
        agent
            .wait_log_for(START_LIMIT, |line| line.starts_with("capturing"))
            .context("the agent does not say that it captures")?;
        // It says so before. A busy machine takes its time, and what is encrypted until then is missing by right. A command that is traced
        // may be over by then.
        if agent.shared.lock().log.iter().any(|line| line.starts_with("still looking")) {
            let is_over = |line: &str| line == "what ran already is known now" || line.starts_with("captured:");
            agent.wait_log_for(START_LIMIT, is_over)?;
        }
        Ok(agent)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// Waits for a line on its standard error.
    ///
    /// # Errors
    /// When it ends, or says nothing of the kind for half a minute.
    pub fn wait_log(&self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        self.wait_log_for(PATIENCE, wanted)
    }

    fn wait_log_for(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let found = self.wait(limit, |output| output.log.iter().any(|line| wanted(line)) || output.closed == 2);
        let output = self.shared.lock();
        if !found || !output.log.iter().any(|line| wanted(line)) {
            bail!("it said:\n{}", output.log.join("\n"));
        }
        Ok(())
    }

    /// Waits until it has printed `count` spans; fewer are no error, for the comparison says more about what is missing.
    pub fn wait_spans(&self, count: usize) {
        self.wait(PATIENCE, |output| output.spans.len() >= count || output.closed == 2);
    }

    /// Waits until it has printed `count` spans, or none for as long as `quiet`.
    pub fn wait_settled(&self, count: usize, quiet: Duration) {
        let mut seen = 0;
        loop {
            let more = self.wait(quiet, |output| output.spans.len() > seen || output.closed == 2);
            let output = self.shared.lock();
            if !more || output.spans.len() >= count || output.closed == 2 {
                break;
            }
            seen = output.spans.len();
        }
    }

    /// Waits until a span fits.
    ///
    /// # Errors
    /// When none does within half a minute.
    pub fn wait_span(&self, what: &str, fits: impl Fn(&Span) -> bool) -> Result<Span> {
        self.wait(PATIENCE, |output| output.spans.iter().any(&fits) || output.closed == 2);
        self.shared.lock().spans.iter().find(|span| fits(span)).cloned().with_context(|| format!("no span of {what}"))
    }

    /// Ends it by SIGINT.
    ///
    /// # Errors
    /// When it does not end in time, not well, or has printed what is no span.
    pub fn finish(self) -> Result<Report> {
        self.finish_by(Signal::INT)
    }

    /// Ends it by SIGINT, on a machine that may be busier than a test's.
    ///
    /// # Errors
    /// When it does not end within `limit`, not well, or has printed what is no span.
    pub fn finish_within(self, limit: Duration) -> Result<Report> {
        self.guard.signal(Signal::INT)?;
        self.report(limit)
    }

    /// Ends it by a signal.
    ///
    /// # Errors
    /// When it does not end in time, not well, or has printed what is no span.
    pub fn finish_by(self, signal: Signal) -> Result<Report> {
        self.guard.signal(signal)?;
        self.report(EXIT_LIMIT)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not end within `limit`, not well, or has printed what is no span.
    pub fn report(mut self, limit: Duration) -> Result<Report> {
        let start = Instant::now();
        let ended = self.guard.wait(limit);
        let took = start.elapsed();
        if ended.is_err() {
            bail!("the agent has not ended after {limit:?}; it said:\n{}", self.shared.lock().log.join("\n"));
        }
        // What it has started may still hold its pipes, and must not.
        let closed = self.wait(PATIENCE, |output| output.closed == 2);
        ensure!(closed, "the agent has ended, but somebody still holds its output");
        let output = std::mem::take(&mut *self.shared.lock());
        let log = output.log.join("\n");
        ensure!(output.broken.is_empty(), "these lines are no spans: {:#?}", output.broken);
        let status = ended?;
        ensure!(status.success(), "the agent ended with {status}:\n{log}");
        Ok(Report { spans: output.spans, log: output.log, status, took })
    }

    fn wait(&self, limit: Duration, done: impl Fn(&Output) -> bool) -> bool {
        let output = self.shared.lock();
        let (_output, timeout) = self
            .shared
            .changed
            .wait_timeout_while(output, limit, |output| !done(output))
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }
}

/// Reads to the end, by a thread of its own.
fn read_lines<R>(pipe: R, shared: &Arc<Shared>, keep: fn(&mut Output, String))
where
    R: BufRead + Send + 'static,
{
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for line in pipe.lines().map_while(std::io::Result::ok) {
            shared.change(|output| keep(output, line));
        }
        shared.change(|output| output.closed += 1);
    });
}

/// What an agent says that is not meant to run for long.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the agent with any arguments to its end.
///
/// # Errors
/// When there is none, or it does not end within half a minute.
pub fn say(command: &mut Command) -> Result<Said> {
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    command.stdin(Stdio::null()).stdout(std::fs::File::create(&out)?).stderr(std::fs::File::create(&err)?);
    let status = Guard::start(command)?.wait(PATIENCE)?;
    Ok(Said { status, stdout: std::fs::read_to_string(out)?, stderr: std::fs::read_to_string(err)? })
}

/// KiB of one processor's ring: the fewer processors there are, the longer the agent may have to wait for one.
fn ring_size() -> usize {
    const ALL: usize = 128 << 10;
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    (ALL / processors).next_power_of_two().clamp(16 << 10, 64 << 10)
}

/// # Errors
/// When this process is not root.
pub fn require_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the end-to-end tests load programs into the kernel: run them as root"
    );
    Ok(())
}

/// The ids of the kernel programs and maps that a process holds.
#[must_use]
pub fn kernel_objects(pid: u32) -> Vec<(String, u32)> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for text in entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok()) {
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            if let ("prog_id" | "map_id" | "link_id", Ok(id)) = (name, value.trim().parse()) {
                found.push((name.trim_end_matches("_id").to_owned(), id));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Waits until none of the kernel objects exists any more.
///
/// # Errors
/// When some still do after half a minute.
pub fn wait_gone(objects: &[(String, u32)]) -> Result<()> {
    let bpftool = paths::program("bpftool")?;
    wait::until(PATIENCE, &format!("the end of {objects:?}"), || {
        let left = objects.iter().any(|(kind, id)| {
            let mut command = Command::new(&bpftool);
            command.args([kind.as_str(), "show", "id", &id.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        });
        (!left).then_some(())
    })
}
