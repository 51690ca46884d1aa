//! An agent that runs beside what is measured, and the account that it gives at the end.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use super::{
    machine,
    process::{self, Memory, Owned},
};

/// Where bytes are seen: the values of `--capture`.
pub const FRONT_ENDS: [&str; 2] = ["sockets", "syscalls"];

/// An agent that runs.
pub struct Agent {
    process: Owned,
    said: Arc<Mutex<Vec<String>>>,
}

/// What an agent has to say in the end.
#[derive(Debug, Default)]
pub struct Account {
    /// Spans made.
    pub spans: u64,
    /// Calls seen.
    pub calls: u64,
    /// What should have become a part of a span and did not.
    pub lost: u64,
    /// The same in words.
    pub losses: String,
    /// Spans that no receiver got.
    pub dropped: u64,
    /// Requests whose context left in a TCP option.
    pub contexts: u64,
    /// Processor time it used, in nanoseconds, without its end.
    pub cpu: f64,
    /// Its memory before its end.
    pub memory: Memory,
}

/// Builds the agent as users have it, and says where it is.
pub fn build() -> anyhow::Result<PathBuf> {
    let output = Command::new("cargo")
        .current_dir(crate::ebpf::root()?)
        .args(["build", "--quiet", "--release", "--locked", "--package", "geophone", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo build")?;
    ensure!(output.status.success(), "the agent does not build");
    let messages = String::from_utf8(output.stdout)?;
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        if let Some(path) = message.get("executable").and_then(serde_json::Value::as_str) {
            return Ok(path.into());
        }
    }
    bail!("cargo does not say where it put the agent")
}

impl Agent {
    /// Starts it, and waits until all is attached. It says nothing to anyone unless `args` name another output.
    pub fn start(binary: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let mut command = process::command(machine::agent(), binary);
        command.arg("run").args(args).stdout(Stdio::null()).stderr(Stdio::piped());
        if !args.contains(&"--output") {
            command.args(["--output", "none"]);
        }
        let mut process = Owned(command.spawn().context("the agent")?);
        let said = Arc::<Mutex<Vec<String>>>::default();
        let stderr = process.0.stderr.take().context("no standard error")?;
        let lines = Arc::clone(&said);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut agent = Self { process, said };
        // The kernel checks programs for long on a busy machine.
        let deadline = Instant::now() + Duration::from_secs(180);
        while !agent.said().iter().any(|line| line.starts_with("capturing")) {
            if agent.process.0.try_wait()?.is_some() || Instant::now() > deadline {
                thread::sleep(Duration::from_millis(50));
                bail!("the agent does not start: {}", agent.said().join("\n"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(agent)
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Processor time it has used so far, in nanoseconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        process::cpu_time(self.process.pid())
    }

    /// Its memory now.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        process::memory(self.process.pid())
    }

    /// Lets it take what is in its rings, then ends it.
    pub fn stop(mut self) -> anyhow::Result<Account> {
        thread::sleep(Duration::from_millis(150));
        let (cpu, memory) = (self.cpu()?, self.memory()?);
        self.process.end(Signal::TERM, Duration::from_secs(10))?;
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let said = self.said();
            match Account::read(&said) {
                Some(account) => return Ok(Account { cpu, memory, ..account }),
                None if Instant::now() > deadline => bail!("the agent gives no account: {}", said.join("\n")),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Account {
    fn read(lines: &[String]) -> Option<Self> {
        let find = |name: &str| lines.iter().find_map(|line| Some(line.strip_prefix(name)?.trim()));
        let number = |text: &str| text.split([' ', ':', ',']).next()?.parse().ok();
        let captured = find("captured:")?;
        let lost = find("lost:")?;
        let dropped = lines
            .iter()
            .filter_map(|line| line.split_once("; dropped: "))
            .filter_map(|(_, n)| n.split([',', ';']).next()?.trim().parse::<u64>().ok());
        Some(Self {
            spans: number(captured)?,
            calls: number(captured.split_once(" of ")?.1)?,
            lost: number(lost)?,
            losses: lost.to_owned(),
            dropped: dropped.sum(),
            contexts: find("notes:").and_then(|notes| number(notes.split_once("contexts_sent ")?.1)).unwrap_or(0),
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_account() {
        let text = "capturing by socket tracepoints\n\
                    captured:       5 spans of 10 calls on 2 connections\n\
                    exported:       3 spans to otlp; dropped: 2, queue_full 2\n\
                    lost:           3: lost_gaps 3\n\
                    notes:          contexts_sent 7, skipped 1\n";
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let account = Account::read(&lines).unwrap();
        assert_eq!((account.spans, account.calls, account.lost, account.dropped), (5, 10, 3, 2));
        assert_eq!((account.losses.as_str(), account.contexts), ("3: lost_gaps 3", 7));
        assert!(Account::read(&lines[..2]).is_none());
    }
}
