//! The command line.

use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};

use super::interrupt;
use super::measure::{Measurement, Task};
use super::report;
use super::running::{Running, Variant};
use super::stacks::{STACKS, Stack};
use crate::agent::{Capture, require_root};

/// How many requests of real services become whole traces
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask accuracy")]
struct Arguments {
    /// Stacks; by default all
    stacks: Vec<String>,
    /// Requests at a time
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: Vec<u16>,
    /// Requests of each measurement; by default 200 to 1500, the more at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    requests: Option<u64>,
    /// How the agent captures
    #[arg(long, value_enum, default_value = "sockets")]
    capture: Hooks,
    /// How the services differ from the plain ones; several may be given
    #[arg(long, value_enum, value_delimiter = ',')]
    variant: Vec<Difference>,
    /// One JSON object per measurement instead of a table
    #[arg(long)]
    json: bool,
    /// Describe so many requests of each measurement that are not right
    #[arg(long, value_name = "N", default_value_t = 0)]
    failures: usize,
    /// Fail when less than this share of the traces is right, in percent
    #[arg(long, value_name = "PERCENT")]
    min_traces: Option<f64>,
    /// Fail when more than this share of the parents is wrong, in percent
    #[arg(long, value_name = "PERCENT")]
    max_wrong: Option<f64>,
    /// Only see whether the services do what they should, without an agent
    #[arg(long)]
    no_agent: bool,
    /// Say which stacks there are
    #[arg(long)]
    list: bool,
    /// Say what has to be installed for the stacks, one word per line
    #[arg(long, hide = true)]
    kits: bool,
    /// Further flags of the agent
    #[arg(last = true)]
    agent: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hooks {
    Sockets,
    Syscalls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Difference {
    /// No calls at the same time
    Sequential,
    /// Up to 20 ms pass before each group of calls
    Think,
    /// Some requests are refused with 503, and made once more
    Retries,
    /// 8 connections to each service, for which calls have to wait
    FewConnections,
}

/// Runs the suite as its arguments say.
///
/// # Errors
/// When something could not run, or is not as good as was asked for.
pub fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let stacks: Vec<&Stack> = if arguments.stacks.is_empty() {
        STACKS.iter().collect()
    } else {
        let find = |name: &String| Stack::find(name).with_context(|| format!("there is no stack {name}: see --list"));
        arguments.stacks.iter().map(find).collect::<Result<_>>()?
    };
    if arguments.list {
        println!("{}", report::legend(&stacks));
        return Ok(());
    }
    if arguments.kits {
        let mut kits: Vec<_> = stacks.iter().flat_map(|stack| stack.kits()).collect();
        kits.sort_unstable();
        kits.dedup();
        kits.iter().for_each(|kit| println!("{}", kit.name()));
        return Ok(());
    }
    require_root()?;
    let interrupted = interrupt::watch()?;
    let mut done = Done::default();
    if !arguments.json && !arguments.no_agent {
        println!("{}", report::head());
    }
    for stack in stacks {
        if interrupted.load(Ordering::Relaxed) {
            done.broken.push("interrupted".to_owned());
            break;
        }
        if let Err(error) = arguments.measure(stack, &mut done) {
            done.broken.push(format!("{}: {error:#}", stack.name));
        }
    }
    if !arguments.json && !done.notes.is_empty() {
        println!("\n{}", done.notes.join("\n"));
    }
    ensure!(done.broken.is_empty(), "not everything could run:\n{}", done.broken.join("\n"));
    ensure!(done.bad.is_empty(), "not as good as asked for:\n{}", done.bad.join("\n"));
    Ok(())
}

#[derive(Debug, Default)]
struct Done {
    notes: Vec<String>,
    broken: Vec<String>,
    bad: Vec<String>,
}

impl Arguments {
    fn measure(&self, stack: &Stack, done: &mut Done) -> Result<()> {
        let is = |difference| self.variant.contains(&difference);
        let variant = Variant {
            sequential: is(Difference::Sequential),
            think: is(Difference::Think),
            retries: is(Difference::Retries),
            few: is(Difference::FewConnections),
        };
        let running = Running::start(stack, variant)?;
        for (round, &concurrency) in (1..).zip(&self.concurrency) {
            let first = round * 10_000_000;
            let task = Task {
                concurrency: concurrency.into(),
                requests: self.requests,
                capture: match self.capture {
                    Hooks::Sockets => Capture::Sockets,
                    Hooks::Syscalls => Capture::Syscalls,
                },
                agent: self.agent.clone(),
                failures: self.failures,
            };
            if self.no_agent {
                println!("{}, {concurrency} at once: {}", stack.name, task.try_services(&running, first)?);
                continue;
            }
            let measured =
                task.run(stack.name, &running, first).with_context(|| format!("{concurrency} requests at once"))?;
            if self.json {
                println!("{}", serde_json::to_string(&measured)?);
            } else {
                println!("{}", report::row(&measured));
            }
            done.notes.extend(report::notes(&measured));
            done.bad.extend(self.bad(&measured));
        }
        Ok(())
    }

    fn bad(&self, measured: &Measurement) -> Option<String> {
        let share = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
        let score = &measured.score;
        let traces = share(score.whole, score.requests);
        let wrong = share(score.wrong, score.parents());
        let bad =
            self.min_traces.is_some_and(|least| traces < least) || self.max_wrong.is_some_and(|most| wrong > most);
        bad.then(|| {
            format!(
                "{}, {} at once: {traces:.2} % of the traces right, {wrong:.2} % of the parents wrong",
                measured.stack, measured.concurrency
            )
        })
    }
}
