//! The agent under test: started with one way to capture, read line by line, stopped as a user would stop it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;

use crate::{
    expect::Span,
    process::{Line, Process},
};

/// How long the agent may take until all its probes are attached. An emulated processor verifies programs slowly.
const ATTACH: Duration = Duration::from_secs(120);

/// How long an agent that was told to stop may take.
const STOP: Duration = Duration::from_secs(5);

/// A running agent.
pub struct Agent {
    process: Process,
    /// What it wrote to standard output so far.
    pub spans: Vec<Span>,
    /// What it wrote to standard error so far, and what of standard output is not a span.
    pub said: Vec<String>,
}

impl Agent {
    /// Starts the agent, and waits until it captures.
    ///
    /// # Errors
    /// When it ends, or takes too long, before it has said so; the message has what it said instead.
    pub fn start(program: &str, capture: &str) -> Result<Self> {
        let process = Process::start(program, &["run", "--output", "json", "--capture", capture])?;
        let mut agent = Self { process, spans: Vec::new(), said: Vec::new() };
        let until = Instant::now() + ATTACH;
        loop {
            let Some(line) = agent.process.line(until) else {
                bail!("it does not capture: {}", agent.said.join("; "));
            };
            let capturing = matches!(&line, Line::Err(text) if text.starts_with("capturing"));
            agent.take(line);
            if capturing {
                return Ok(agent);
            }
        }
    }

    /// Reads spans until there are enough of them, at most `wait`.
    pub fn read(&mut self, wait: Duration, enough: impl Fn(&[Span]) -> bool) {
        let until = Instant::now() + wait;
        while !enough(&self.spans) {
            match self.process.line(until) {
                Some(line) => self.take(line),
                None => break,
            }
        }
    }

    /// Interrupts it as Ctrl-C does, and reads the rest. The time that it took to end with status 0.
    ///
    /// # Errors
    /// When it takes too long, or ends with another status.
    pub fn stop(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.process.signal(Signal::INT)?;
        let (status, rest) = self.process.end(STOP)?;
        let took = begin.elapsed();
        rest.into_iter().for_each(|line| self.take(line));
        if !status.success() {
            bail!("it ended with {status}: {}", self.said.join("; "));
        }
        Ok(took)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Err(text) => self.said.push(text),
            Line::Out(text) => match Span::read(&text) {
                Some(span) => self.spans.push(span),
                None => self.said.push(format!("not a span: {text}")),
            },
        }
    }
}
