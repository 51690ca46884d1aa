//! Who is traced: by process and its children, executable, port, as a command, or everybody.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, Report, say};
use geophone_tests::drive::{Driver, Plan, Template};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::{paths, ports, wait};

use crate::support::{both, client, compare, flags, pids};

both!(
    by_port,
    by_process,
    by_process_with_children_born_later,
    by_executable,
    a_command,
    a_command_that_serves,
    everybody,
    unknown_protocols_are_counted,
);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn plan(service: &Service) -> Plan {
    let mut plan = Plan::tcp(service.address, vec![Template::get("/echo/{id}")]);
    plan.rounds = 20;
    plan
}

/// Two servers, of which one is selected; only its spans may come.
fn one_of_two(capture: Capture, select: impl FnOnce(&Service) -> Vec<String>, both_sides: bool) -> Result<()> {
    let (wanted, other) = (Service::go(LOCAL)?, Service::python(LOCAL, &[])?);
    let agent = Agent::start(capture, &select(&wanted))?;
    let (noise, driver) = (Driver::start(&plan(&other))?, Driver::start(&plan(&wanted))?);
    let side = both_sides.then(|| client(&driver, &wanted));
    noise.go()?;
    let sent = driver.go()?.sent;
    compare(agent, &sent, Some(wanted.side()), side, None)?;
    Ok(())
}

fn by_port(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    one_of_two(capture, |service| flags(&["--port", &service.address.port().to_string()]), true)
}

fn by_process(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    one_of_two(capture, |service| pids([service.pid()]), false)
}

/// By name other tests' servers are traced as well.
fn by_executable(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    one_of_two(capture, |_| flags(&["--exe", "go-server"]), false)
}

/// The workers exist already; a child for each connection does not.
fn by_process_with_children_born_later(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    for service in [Service::gunicorn(3, 1)?, Service::script("descriptors.py", "descriptors", "fork")?] {
        let agent = Agent::start(capture, &pids([service.pid()]))?;
        let mut plan = plan(&service);
        plan.connections = 4;
        plan.workers = 2;
        let sent = Driver::start(&plan)?.go()?.sent;
        let mut side = service.side();
        side.pids.clear();
        compare(agent, &sent, Some(side), None, None).with_context(|| service.name)?;
    }
    Ok(())
}

/// A client that the agent starts itself: not one of its requests is missed. The agent ends with it.
fn a_command(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go(LOCAL)?;
    let curl = paths::program("curl")?;
    let url = format!("http://{}/echo/[1-50]", service.address);
    let mut arguments = flags(&["--output", "json", "--"]);
    arguments.extend([
        curl.to_string_lossy().into_owned(),
        "--silent".into(),
        "--output".into(),
        "/dev/null".into(),
        url,
    ]);
    let report = Agent::start_with(capture, &arguments, &[])?.report(wait::PATIENCE)?;
    let mut targets: Vec<String> = report.spans.iter().map(Span::target).collect();
    targets.sort_by_key(|target| (target.len(), target.clone()));
    let wanted: Vec<String> = (1..=50).map(|i| format!("/echo/{i}")).collect();
    ensure!(targets == wanted, "{targets:?}");
    ensure!(report.spans.iter().all(|span| span.kind == "CLIENT" && span.service() == "curl"), "{:#?}", report.spans);
    Ok(())
}

/// A server that the agent starts, with children of its own; SIGINT ends both.
fn a_command_that_serves(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let port = ports::free()?;
    let mut arguments = flags(&["--output", "json", "--"]);
    let gunicorn = paths::installed("venv/bin/gunicorn")?.to_string_lossy().into_owned();
    arguments.extend([gunicorn, "--bind".into(), format!("127.0.0.1:{port}"), "--workers".into(), "2".into()]);
    arguments.extend(["--chdir".into(), paths::service("python").to_string_lossy().into_owned(), "wsgi:app".into()]);
    let agent = Agent::start_with(capture, &arguments, &[])?;
    wait::until(wait::PATIENCE, "gunicorn to listen", || std::net::TcpStream::connect((LOCAL, port)).ok())?;
    let mut plan = Plan::tcp((LOCAL, port).into(), vec![Template::get("/echo/{id}")]);
    plan.rounds = 20;
    let sent = Driver::start(&plan)?.go()?.sent;
    let side = geophone_tests::check::Side { service: "wsgi".into(), port, ..Default::default() };
    compare(agent, &sent, Some(side), None, None)?;
    let gone = || std::net::TcpStream::connect((LOCAL, port)).is_err().then_some(());
    wait::until(Duration::from_secs(10), "gunicorn to end with the agent", gone)
}

/// Without a selection; whatever else this machine does meanwhile may have spans too.
fn everybody(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let services = [Service::go(LOCAL)?, Service::node()?, Service::go_unix()?];
    let agent = Agent::start(capture, &[])?;
    let mut wanted = Vec::new();
    for (service, prefix) in services.iter().zip(["everybody-tcp", "everybody-node", "everybody-unix"]) {
        let requests = vec![Template::get("/echo/{id}")];
        let unix = service.address.port() == 0;
        let mut plan = if unix { Plan::unix(&service.path, requests) } else { Plan::tcp(service.address, requests) };
        plan.prefix = prefix.into();
        plan.rounds = 5;
        wanted.extend(Driver::start(&plan)?.go()?.sent.into_iter().map(|sent| sent.target));
    }
    let last = wanted.last().context("nothing was sent")?.clone();
    agent.wait_span("the last request's client", |span| span.kind == "CLIENT" && span.target() == last)?;
    agent.wait_span("the last request's server", |span| span.kind == "SERVER" && span.target() == last)?;
    let agent_pid = agent.pid();
    let Report { spans, log, .. } = agent.finish()?;
    for target in &wanted {
        for kind in ["SERVER", "CLIENT"] {
            let count = spans.iter().filter(|span| span.kind == kind && span.target() == *target).count();
            ensure!(count == 1, "{count} {kind} spans of {target}\n{}", log.join("\n"));
        }
    }
    ensure!(spans.iter().all(|span| span.pid() != agent_pid), "the agent traces itself");
    Ok(())
}

/// A protocol that nobody knows has no span, and is counted.
fn unknown_protocols_are_counted(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::script("noise.py", "noise", "serve")?;
    let port = service.address.port().to_string();
    let agent = Agent::start(capture, &flags(&["--port", &port]))?;
    for _ in 0..3 {
        let mut talk = Command::new(paths::installed("venv/bin/python")?);
        talk.arg(paths::service("python/noise.py")).args(["127.0.0.1", &port, "talk"]).stdout(Stdio::null());
        let said = say(&mut talk)?;
        ensure!(said.status.success(), "the client has failed: {}", said.stderr);
    }
    let report = agent.finish()?;
    let log = report.log.join("\n");
    ensure!(report.spans.is_empty(), "spans of noise: {:#?}", report.spans);
    let counted = report.count("understood").with_context(|| format!("no count of what is not understood:\n{log}"))?;
    // Three connections, each seen at both of its ends.
    ensure!(counted >= 3, "{counted} connections are counted as not understood\n{log}");
    Ok(())
}
