//! The client process: reads a plan, connects, says that it is ready, waits to be told to go, sends, and hands in its account.

use std::io::{self, BufRead as _, Write as _};
use std::thread;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Exchanged;
use super::connection::Connection;
use super::plan::{Plan, Style, Template};

/// What the client hands in.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Share {
    /// Sent before the client was told to go.
    pub warmup: Vec<Exchanged>,
    /// Sent afterwards.
    pub sent: Vec<Exchanged>,
}

/// The whole client process: a plan is read from standard input, one line; then `ready` is printed, a line is awaited, and
/// the account is printed as one line.
///
/// # Errors
/// When the server refuses, fails, or does not speak HTTP/1.x.
pub fn main() -> Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let plan: Plan = serde_json::from_str(&line).context("cannot read the plan")?;
    let mut share = Share::default();
    let mut workers: Vec<Worker> = split(plan.connections, plan.workers).map(Worker::new).collect();
    for worker in &mut workers {
        worker.open(&plan, &mut share.warmup)?;
    }
    writeln!(io::stdout(), "ready")?;
    line.clear();
    io::stdin().lock().read_line(&mut line)?;
    let shares = thread::scope(|scope| {
        let running: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(|| worker.run(&plan))).collect();
        running.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    for worker in shares {
        share.sent.extend(worker.ok().context("a worker has panicked")??);
    }
    serde_json::to_writer(io::stdout(), &share)?;
    writeln!(io::stdout())?;
    Ok(())
}

/// Ranges of connections, one for each worker.
fn split(connections: usize, workers: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let workers = workers.max(1);
    (0..workers).map(move |i| connections * i / workers..connections * (i + 1) / workers)
}

struct Worker {
    range: std::ops::Range<usize>,
    open: Vec<Option<Connection>>,
}

impl Worker {
    fn new(range: std::ops::Range<usize>) -> Self {
        Self { range, open: Vec::new() }
    }

    fn open(&mut self, plan: &Plan, warmup: &mut Vec<Exchanged>) -> Result<()> {
        for number in self.range.clone() {
            let mut slot = None;
            if plan.style != Style::NewConnection && !plan.late {
                slot = Some(Connection::open(&plan.address)?);
            }
            for (i, template) in plan.warmup.iter().enumerate() {
                warmup.push(single(plan, &mut slot, template, &format!("{}-c{number}-w{i}", plan.prefix))?);
            }
            self.open.push(slot);
        }
        Ok(())
    }

    fn run(&mut self, plan: &Plan) -> Result<Vec<Exchanged>> {
        let mut sent = Vec::new();
        for round in 0..plan.rounds {
            for (number, slot) in self.range.clone().zip(&mut self.open) {
                let id = |i: usize| format!("{}-c{number}-r{round}-{i}", plan.prefix);
                if plan.style == Style::Pipelined {
                    let connection = match slot {
                        Some(connection) => connection,
                        None => slot.insert(Connection::open(&plan.address)?),
                    };
                    let all = plan.requests.iter().enumerate().map(|(i, template)| (template, id(i)));
                    for pending in connection.send_all(plan, all)? {
                        sent.push(connection.answer(pending)?.0);
                    }
                    continue;
                }
                for (i, template) in plan.requests.iter().enumerate() {
                    sent.push(single(plan, slot, template, &id(i))?);
                }
            }
        }
        Ok(sent)
    }
}

/// Sends one request on the connection in `slot`, or on a new one when there is none; closes it when it is not to be used again.
fn single(plan: &Plan, slot: &mut Option<Connection>, template: &Template, id: &str) -> Result<Exchanged> {
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => Connection::open(&plan.address)?,
    };
    let alone = plan.style == Style::NewConnection;
    let closing;
    let template = if alone {
        closing = template.clone().header("Connection", "close");
        &closing
    } else {
        template
    };
    let (account, closed) = connection
        .exchange(plan, template, id)
        .with_context(|| format!("{} {} ({id})", template.method, template.target))?;
    if !closed && !alone {
        *slot = Some(connection);
    }
    Ok(account)
}
