//! One measurement: an agent, a number of requests, and how good its spans are.

use std::thread;
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
const QUIET: Duration = Duration::from_secs(7);

/// How long agents may take to find each other.
const MEET: Duration = Duration::from_secs(3);
/// How long an agent may take to end.
const END: Duration = Duration::from_secs(60);

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

    /// Sends the requests without an agent, and says what came of them.
    ///
    /// # Errors
    /// When a request is not answered as it should be.
    pub fn try_services(&self, stack: &Running, first: u64) -> Result<String> {
        let sent = load::send(&stack.plan, stack.entry, first..first + self.requests(), self.concurrency)?;
        ensure!(sent.failed == 0, "{} requests failed: {:?}\n{}", sent.failed, sent.reasons, stack.said());
        Ok(format!("{} requests, {:.0} per second", sent.ids.len(), sent.ids.len() as f64 / sent.took.as_secs_f64()))
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

        let agents = self.agents(stack)?;
        let mut begin = first + warm_up;
        if agents.len() > 1 {
            // Agents find each other when their services talk, and that takes a while; what came before is not judged.
            load::send(&stack.plan, stack.entry, begin..begin + warm_up, self.concurrency)?;
            thread::sleep(MEET);
            begin += warm_up;
        }
        let before = cpu(&agents)?;
        let sent = load::send(&stack.plan, stack.entry, begin..begin + self.requests(), self.concurrency)?;
        ensure!(!sent.ids.is_empty(), "no request was answered: {:?}\n{}", sent.reasons, stack.said());
        for (host, agent) in agents.iter().enumerate() {
            let here = |id: &u64| {
                let (hops, _) = stack.plan.hops(*id);
                hops.iter().filter(|hop| !hop.optional && stack.host(hop.process) == host).count()
            };
            agent.wait_settled(sent.ids.iter().map(here).sum(), QUIET);
        }
        let cpu = cpu(&agents)? - before;
        // Before its processes are gone.
        let pids = stack.pids();
        let (mut spans, mut lost) = (Vec::new(), 0);
        for agent in agents {
            let mut report = agent.finish_within(END)?;
            spans.append(&mut report.spans);
            lost += report.count("lost").context("the agent gives no account")?;
        }
        let sdk = sdk::read(&stack.sdk_file(), &pids)?;
        let seen = Seen { spans: &spans, sdk: &sdk, pids: &pids, ids: &sent.ids };
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
            lost,
        })
    }

    /// Starts an agent on each host; those of several hosts share a key, and find each other. In its further flags, `{address}` stands for the host's address and `{others}` for those of the
    /// others, with commas.
    fn agents(&self, stack: &Running) -> Result<Vec<Agent>> {
        let Some(hosts) = &stack.hosts else {
            return Ok(vec![Agent::start_on(None, self.capture, &self.flags(stack, 0, "127.0.0.1", ""))?]);
        };
        let start = |index| {
            let host = hosts.get(index).context("no such host")?;
            let others: Vec<String> = (0..hosts.count())
                .filter(|other| *other != index)
                .filter_map(|other| Some(hosts.get(other)?.address.to_string()))
                .collect();
            let mut flags = self.flags(stack, index, &host.address.to_string(), &others.join(","));
            flags.extend(["--peer-key-file".to_owned(), stack.key_file().display().to_string()]);
            Agent::start_on(Some(&host.namespace), self.capture, &flags)
        };
        (0..hosts.count()).map(start).collect()
    }

    fn flags(&self, stack: &Running, host: usize, address: &str, others: &str) -> Vec<String> {
        let pids = stack.leaders(host).into_iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]);
        let more = self.agent.iter().map(|flag| flag.replace("{address}", address).replace("{others}", others));
        // The requests' ids would be too easy: they are in all paths.
        ["--no-value-links".to_owned()].into_iter().chain(pids).chain(more).collect()
    }
}

/// Processor time of all agents, in microseconds.
fn cpu(agents: &[Agent]) -> Result<f64> {
    agents.iter().map(|agent| cpu_micros(agent.pid())).sum()
}
