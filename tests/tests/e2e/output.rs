//! What the agent prints, and when.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, EXIT_LIMIT};
use geophone_tests::drive::{Driver, Plan, Template};
use geophone_tests::services::Service;
use geophone_tests::wait;
use rustix::process::Signal;

use crate::support::{both, compare, flags, port};

both!(visible_within_a_second, sigterm_flushes_what_was_just_seen, ends_after_its_duration);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A second is what is promised; a second more is what a busy machine may add.
fn visible_within_a_second(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let service = Service::go(LOCAL)?;
    let agent = Agent::start(capture, &port(&service))?;
    for prefix in ["first", "second", "third"] {
        let mut plan = Plan::tcp(service.address, vec![Template::get("/echo/{id}")]);
        plan.prefix = prefix.into();
        let driver = Driver::start(&plan)?;
        let sent = driver.go()?.sent;
        let answered = Instant::now();
        let target = &sent.first().context("nothing was sent")?.target;
        agent.wait_span("a request", |span| span.target() == *target && span.kind == "SERVER")?;
        let took = answered.elapsed();
        ensure!(took < Duration::from_secs(2), "the span of {target} came after {took:?}");
    }
    agent.finish()?;
    Ok(())
}

/// Nothing is waited for between the last answer and the signal.
fn sigterm_flushes_what_was_just_seen(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go(LOCAL)?;
    let agent = Agent::start(capture, &port(&service))?;
    let mut plan = Plan::tcp(service.address, vec![Template::get("/echo/{id}")]);
    plan.rounds = 500;
    let sent = Driver::start(&plan)?.go()?.sent;
    let report = agent.finish_by(Signal::TERM)?;
    ensure!(report.took < EXIT_LIMIT, "it took {:?}", report.took);
    ensure!(report.spans.len() == 2 * sent.len(), "{} spans of {} requests", report.spans.len(), sent.len());
    Ok(())
}

fn ends_after_its_duration(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go(LOCAL)?;
    let mut arguments = port(&service);
    arguments.extend(flags(&["--duration", "2s"]));
    let start = Instant::now();
    let agent = Agent::start(capture, &arguments)?;
    let sent = Driver::start(&Plan::tcp(service.address, vec![Template::get("/echo/{id}")]))?.go()?.sent;
    let report = agent.report(Duration::from_secs(2) + EXIT_LIMIT)?;
    ensure!(start.elapsed() >= Duration::from_secs(2), "it ended after {:?}", start.elapsed());
    ensure!(report.spans.len() == 2 * sent.len(), "{} spans of {} requests", report.spans.len(), sent.len());
    Ok(())
}

/// For scripts: spans and nothing else on standard output, everything else on standard error.
#[test]
fn text_is_one_line_a_span() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go(LOCAL)?;
    let mut plan = Plan::tcp(service.address, vec![Template::get("/echo/{id}")]);
    plan.rounds = 10;
    let mut arguments = port(&service);
    arguments.extend(flags(&["--output", "text", "--duration", "3s"]));
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut command = Command::new(geophone_tests::paths::agent()?);
    command.arg("run").args(&arguments).stdout(std::fs::File::create(&out)?).stderr(std::fs::File::create(&err)?);
    let mut guard = geophone_tests::child::Guard::start(&mut command)?;
    let said = || std::fs::read_to_string(&err).unwrap_or_default();
    wait::until(wait::PATIENCE, "the agent", || said().contains("capturing").then_some(()))?;
    let sent = Driver::start(&plan)?.go()?.sent;
    guard.wait(Duration::from_secs(3) + EXIT_LIMIT)?;
    let text = std::fs::read_to_string(&out)?;
    for one in &sent {
        for kind in ["SERVER", "CLIENT"] {
            let count = text.lines().filter(|line| line.contains(kind) && line.contains(&one.target)).count();
            ensure!(count == 1, "{count} lines of {kind} {}:\n{text}\n{}", one.target, said());
        }
    }
    ensure!(!text.contains('\x1b'), "colours, although this is no terminal:\n{text}");
    Ok(())
}

/// Two agents at the same time do not disturb each other.
#[test]
fn two_agents_at_once() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go(LOCAL)?;
    let agents = [Capture::Sockets, Capture::Syscalls].map(|capture| Agent::start(capture, &port(&service)));
    let mut plan = Plan::tcp(service.address, vec![Template::get("/echo/{id}")]);
    plan.rounds = 50;
    let driver = Driver::start(&plan)?;
    let side = crate::support::client(&driver, &service);
    let sent = driver.go()?.sent;
    for agent in agents {
        compare(agent?, &sent, Some(service.side()), Some(side.clone()), None)?;
    }
    Ok(())
}
