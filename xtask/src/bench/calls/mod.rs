//! `bench calls`: what single system calls cost, on sockets and on what is none, with nothing loaded, with an agent that traces
//! another process, and with one that traces this one. After the harness that DeepFlow publishes: 100,000 calls of each kind, in ten
//! rounds, because a machine has slow and quick minutes.

pub mod worker;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context as _;

use super::{
    agent::{Agent, FRONT_ENDS},
    machine,
    process::{self, Owned},
    table::{self, lowest, thousands},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; in each, every state comes once
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Calls of each kind, in each state and round
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1000..))]
    calls: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { rounds: 10, calls: 10_000 }
    }
}

/// A state that calls are made in.
struct State {
    name: String,
    /// `None`: nothing is loaded.
    flags: Option<Vec<&'static str>>,
    traced: bool,
    times: BTreeMap<String, Vec<f64>>,
    spans: u64,
    calls: u64,
    lost: u64,
}

impl State {
    fn new(name: &str, flags: Option<Vec<&'static str>>, traced: bool) -> Self {
        Self { name: name.to_owned(), flags, traced, times: BTreeMap::new(), spans: 0, calls: 0, lost: 0 }
    }
}

pub fn run(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let mut worker = Worker::start()?;
    // Somebody who does nothing, to be traced instead.
    let mut bystander = Command::new("sleep");
    let bystander = Owned(bystander.arg("86400").spawn().context("sleep")?);
    let mut states = vec![State::new("nothing loaded", None, false)];
    for front_end in FRONT_ENDS {
        states.push(State::new(&format!("`{front_end}`: another process"), Some(vec!["--capture", front_end]), false));
        states.push(State::new(&format!("`{front_end}`: traced"), Some(vec!["--capture", front_end]), true));
    }
    let few = vec!["--capture", "sockets", "--capture-bytes", "64"];
    states.push(State::new("`sockets`: traced, 64 bytes", Some(few), true));
    worker.go(args.calls / 10)?;
    for _ in 0..args.rounds {
        for state in &mut states {
            let pid = if state.traced { worker.process.pid() } else { bystander.pid() };
            state.round(binary, &mut worker, pid, args.calls)?;
        }
    }
    report(&states, args);
    Ok(())
}

impl State {
    fn round(&mut self, binary: &Path, worker: &mut Worker, pid: u32, calls: u32) -> anyhow::Result<()> {
        let pid = pid.to_string();
        let agent = match &self.flags {
            Some(flags) => Some(Agent::start(binary, &[flags, &["--pid", &pid][..]].concat())?),
            None => None,
        };
        for (call, nanos) in worker.go(calls)? {
            self.times.entry(call).or_default().push(nanos);
        }
        if let Some(agent) = agent {
            let account = agent.stop()?;
            self.spans += account.spans;
            self.calls += account.calls;
            self.lost += account.lost;
            if account.lost > 0 {
                eprintln!("{}: lost {}", self.name, account.losses);
            }
        }
        Ok(())
    }
}

/// The process that makes the calls.
struct Worker {
    process: Owned,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> anyhow::Result<Self> {
        let mut command = process::command(machine::MEASURED, std::env::current_exe()?);
        command.args(["bench", "worker"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Owned(command.spawn().context("the worker")?);
        let orders = process.0.stdin.take().context("no standard input")?;
        let answers = BufReader::new(process.0.stdout.take().context("no standard output")?);
        Ok(Self { process, orders, answers })
    }

    /// Lets it make so many calls of each kind. Returns what one of each took, in nanoseconds.
    fn go(&mut self, calls: u32) -> anyhow::Result<BTreeMap<String, f64>> {
        writeln!(self.orders, "{calls}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("the worker has failed")
    }
}

fn report(states: &[State], args: &Args) {
    println!("### Per system call\n");
    println!(
        "{} calls of each kind in each state, in each of {} rounds of all states in turns. The process that makes the calls is alone on \
         processor 0. On sockets they carry HTTP requests and responses of 200 bytes. A figure is the lowest of the rounds' \
         medians over groups of 100 calls; those after the first are what is added, in ns.\n",
        thousands(args.calls.into()),
        args.rounds
    );
    let Some((base, others)) = states.split_first() else {
        return;
    };
    let mut figures = vec!["nothing loaded, ns"];
    figures.extend(others.iter().map(|state| state.name.as_str()));
    table::head(&["call"], &figures);
    for (call, times) in &base.times {
        let base = lowest(times);
        let mut cells = vec![call.clone(), format!("{base:.0}")];
        for state in others {
            let own = state.times.get(call).map_or(f64::NAN, |times| lowest(times));
            cells.push(format!("{:+.0}", own - base));
        }
        table::row(&cells);
    }
    println!("\nWhat the agents had to say for the traced process (both ends of each connection are its own):\n");
    table::head(&["state"], &["calls seen", "spans", "lost"]);
    for state in others {
        let counts = [state.calls, state.spans, state.lost].map(|count| thousands(count as f64));
        table::row(&[&[state.name.clone()][..], &counts].concat());
    }
    println!();
}
