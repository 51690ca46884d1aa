//! One measurement: an agent, a number of requests, and how good its spans are.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::account::cpu_micros;
use super::load::{self, Sent};
use super::running::Running;
use super::score::{Score, Seen, score};
use super::sdk;
use crate::agent::{Agent, Capture};

/// No new span for so long means that no more will come: longer than an agent holds any back.
const QUIET: Duration = Duration::from_secs(4);

/// What to do.
#[derive(Clone, Debug)]
pub struct Task {
    /// Requests at a time.
    pub concurrency: usize,
    /// Requests in all; by default as many as concurrency makes sensible.
    pub requests: Option<u64>,
    /// How the agent captures.
    pub capture: Capture,
    /// Further flags of the agent.
    pub agent: Vec<String>,
    /// How many requests that are not right are described.
    pub failures: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Measurement {
    /// The stack.
    pub stack: String,
    /// Requests at a time.
    pub concurrency: usize,
    /// How good the spans are.
    pub score: Score,
    /// Requests that were not answered as they should be; they are not judged.
    pub failed: u64,
    /// Why they failed, and how the first requests that are not right are wrong.
    pub said: Vec<String>,
    /// Requests per second.
    pub rate: f64,
    /// Processor time of the agent per request of the client, in microseconds.
    pub agent_micros: f64,
    /// The agent's account of what it lost.
    pub lost: u64,
}

impl Task {
    fn requests(&self) -> u64 {
        self.requests.unwrap_or(match self.concurrency {
            0..=3 => 200,
            4..=31 => 600,
            32..=127 => 1000,
            _ => 1500,
        })
    }

    /// Measures a stack that runs. Ids begin at `first`, so that nothing is left of an earlier measurement.
    ///
    /// # Errors
    /// When the agent does not run, or hardly any request is answered.
    pub fn run(&self, name: &str, stack: &Running, first: u64) -> Result<Measurement> {
        // What compiles while it runs, and opens connections, has done so before it is looked at.
        let warm_up = 40.max(self.concurrency as u64 * 2);
        let warm = load::send(&stack.plan, stack.entry, first..first + warm_up, self.concurrency)?;
        ensure!(warm.ids.len() as u64 * 2 > warm_up, "the services fail: {:?}\n{}", warm.reasons, stack.said());

        let mut flags = Vec::new();
        for pid in stack.leaders() {
            flags.extend(["--pid".to_owned(), pid.to_string()]);
        }
        flags.extend_from_slice(&self.agent);
        let agent = Agent::start(self.capture, &flags)?;
        let before = cpu_micros(agent.pid())?;
        let begin = first + warm_up;
        let sent = load::send(&stack.plan, stack.entry, begin..begin + self.requests(), self.concurrency)?;
        ensure!(!sent.ids.is_empty(), "no request was answered: {:?}\n{}", sent.reasons, stack.said());
        let expected: usize =
            sent.ids.iter().map(|id| stack.plan.hops(*id).0.iter().filter(|hop| !hop.optional).count()).sum();
        agent.wait_settled(expected, QUIET);
        let cpu = cpu_micros(agent.pid())? - before;
        // Before its processes are gone.
        let pids = stack.pids();
        let report = agent.finish()?;
        let sdk = sdk::read(&stack.sdk_file(), &pids)?;
        let seen = Seen { spans: &report.spans, sdk: &sdk, pids: &pids, ids: &sent.ids };
        let (score, described) = score(&stack.plan, &seen, self.failures);
        let Sent { ids, failed, mut reasons, took } = sent;
        reasons.extend(described);
        Ok(Measurement {
            stack: name.to_owned(),
            concurrency: self.concurrency,
            score,
            failed,
            said: reasons,
            rate: ids.len() as f64 / took.as_secs_f64(),
            agent_micros: cpu / ids.len() as f64,
            lost: report.count("lost").context("the agent gives no account")?,
        })
    }
}
