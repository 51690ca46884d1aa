//! The test itself: for each way to capture that this kernel has, one agent beside old and new connections. Prints a line
//! of JSON for each check, and fails when one of them failed.

use std::{io::Write, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    agent::Agent,
    calls::Way,
    expect::{Endpoint, Expected, expected, unexpected},
    net::Family,
    process::{self, Line, Process},
    profile,
};

/// How long anything may take that is not the agent's.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first kernel on which the tracepoints of sockets see every call: since then `sendfile` goes through them too.
const SOCKET_TRACEPOINTS: (u32, u32) = (6, 5);

/// Runs all checks on the agent at `program`.
pub fn run(program: &str) -> Result<()> {
    let mut report = Report::default();
    capture(&mut report, program, "syscalls");
    if kernel_release()? >= SOCKET_TRACEPOINTS {
        capture(&mut report, program, "sockets");
    } else {
        report.add("refusal/sockets", refused(program));
    }
    report.add("profile/stacks", own_program().and_then(|own| profile::check(program, &own)));
    report.add("doctor/status", doctor(program));
    ensure!(report.failed == 0, "{} checks failed", report.failed);
    Ok(())
}

#[derive(Default)]
struct Report {
    failed: u32,
}

impl Report {
    /// Prints the result of a check: what was seen, or what is wrong.
    fn add(&mut self, check: &str, result: Result<String>) {
        let (ok, detail) = match result {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        self.failed += u32::from(!ok);
        println!("{}", json!({ "check": check, "ok": ok, "detail": detail }));
    }
}

/// A server with its connection from before the agent.
struct Service {
    endpoint: Endpoint,
    address: String,
    early: Process,
    /// It serves as long as this value lives.
    _server: Process,
}

fn capture(report: &mut Report, program: &str, front: &str) {
    let check = |name: &str| format!("{front}/{name}");
    let services = Family::ALL.into_iter().map(start).collect::<Result<Vec<Service>>>();
    let mut services = match services {
        Ok(services) => services,
        Err(error) => return report.add(&check("start"), Err(error)),
    };
    let mut agent = match Agent::start(program, front) {
        Ok(agent) => agent,
        Err(error) => return report.add(&check("attach"), Err(error)),
    };
    report.add(&check("attach"), Ok(agent.said.join("; ")));
    for service in &mut services {
        if let Err(error) = converse(service) {
            report.add(&check("traffic"), Err(error));
        }
    }
    let wanted = expected();
    agent.read(PATIENCE, |spans| wanted.iter().all(|expected| expected.came(spans)));
    let stopped = agent.stop();

    let servers: Vec<Endpoint> = services.iter().map(|service| service.endpoint.clone()).collect();
    for family in Family::ALL {
        let of_family = |expected: &&Expected| expected.family == family && !expected.early;
        report.add(&check(family.name()), verdict(wanted.iter().filter(of_family), &agent, &servers));
    }
    let early = wanted.iter().filter(|expected| expected.early);
    report.add(&check("opened-before"), verdict(early, &agent, &servers));
    let strange: Vec<String> = unexpected(&agent.spans, &wanted).iter().map(|span| span.describe()).collect();
    report.add(&check("nothing-else"), clean(&strange, format!("{} spans", agent.spans.len())));
    report.add(&check("stop"), stopped.map(|took| format!("{} ms", took.as_millis())));
    report.add(&check("no-loss"), no_loss(&agent.said));
}

/// What the agent may count as missed although every span is there: where each tracepoint has two programs, the kernel says how often it
/// left out either, not how often both.
const PERHAPS: u64 = 5;

/// The agent's own account at the end must agree that nothing is missing.
fn no_loss(said: &[String]) -> Result<String> {
    let of = |name: &str| said.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let account: Vec<&str> =
        said.iter().skip_while(|line| !line.starts_with("captured:")).map(String::as_str).collect();
    let account = account.join("; ");
    let lost = of("lost:").unwrap_or_default();
    let perhaps = lost.split_once(": missed ").and_then(|(_, count)| count.parse::<u64>().ok());
    ensure!(lost == "0" || perhaps.is_some_and(|count| count <= PERHAPS), "{account}");
    ensure!(of("not understood:") == Some("0 connections"), "{account}");
    Ok(account)
}

/// Starts a server, and a client that has one exchange with it and then waits.
fn start(family: Family) -> Result<Service> {
    let server = Process::start(&own_program()?, &["serve", family.name()])?;
    let address = server.output(PATIENCE)?;
    let early = Process::start(&own_program()?, &["early", family.name(), &address])?;
    ensure!(early.output(PATIENCE)? == "ready", "the early client is not ready");
    let port = family.loopback().and_then(|_| address.rsplit(':').next()?.parse().ok());
    Ok(Service { endpoint: Endpoint { family, port, pid: server.id() }, address, early, _server: server })
}

/// The rest of the early client's work, then a client for each way.
fn converse(service: &mut Service) -> Result<()> {
    let mut input = service.early.input().context("no input")?;
    input.write_all(b"go\n")?;
    let (status, rest) = service.early.end(PATIENCE)?;
    ensure!(status.success(), "the early client failed: {rest:?}");
    for way in Way::ALL {
        let arguments = ["request", service.endpoint.family.name(), &service.address, way.name()];
        let (status, said) = process::run(&own_program()?, &arguments, PATIENCE)?;
        ensure!(status.success(), "the client failed ({}): {said:?}", way.name());
    }
    Ok(())
}

fn verdict<'a>(wanted: impl Iterator<Item = &'a Expected>, agent: &Agent, servers: &[Endpoint]) -> Result<String> {
    let wanted: Vec<&Expected> = wanted.collect();
    let faults: Vec<String> = wanted.iter().flat_map(|expected| expected.faults(&agent.spans, servers)).collect();
    clean(&faults, format!("{} spans", wanted.len()))
}

/// `seen` when there are no faults, else the first of them.
fn clean(faults: &[String], seen: String) -> Result<String> {
    let first: Vec<&str> = faults.iter().take(5).map(String::as_str).collect();
    ensure!(faults.is_empty(), "{} faults: {}", faults.len(), first.join("; "));
    Ok(seen)
}

/// Where the kernel has no socket tracepoints, asking for them is one clear sentence.
fn refused(program: &str) -> Result<String> {
    let arguments = ["run", "--capture", "sockets", "--duration", "1s"];
    let (status, said) = process::run(program, &arguments, PATIENCE)?;
    ensure!(!status.success(), "it ended with status 0");
    let complaint: Vec<String> = said
        .into_iter()
        .filter_map(|line| match line {
            Line::Err(text) if !text.is_empty() => Some(text),
            _ => None,
        })
        .collect();
    let complaint = complaint.join(" / ");
    ensure!(complaint.contains("--capture syscalls"), "it does not say what to do: {complaint}");
    Ok(complaint)
}

fn doctor(program: &str) -> Result<String> {
    let (status, said) = process::run(program, &["doctor"], PATIENCE)?;
    ensure!(status.success(), "it ended with {status}: {said:?}");
    Ok(format!("{} lines", said.len()))
}

fn kernel_release() -> Result<(u32, u32)> {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => anyhow::bail!("this kernel calls itself {release}"),
    }
}

fn own_program() -> Result<String> {
    Ok(std::env::current_exe()?.to_string_lossy().into_owned())
}
