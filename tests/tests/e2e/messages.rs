//! How HTTP/1.x messages follow and divide: pipelining, split and long heads, interim answers, upgrades, old versions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::drive::{Body, Driver, Exchanged, Plan, Style, Template};
use geophone_tests::services::Service;
use geophone_tests::wait;

use crate::support::{both, client, compare, flags, pids, port, trace, trace_with};

both!(
    pipelined_requests,
    pipelined_requests_to_a_go_server,
    pipelined_long_answers,
    heads_in_single_bytes,
    heads_longer_than_what_is_captured,
    expectation_of_100_continue,
    incoming_traceparent_is_continued,
    close_delimited_answers_of_http_1_0,
    websocket_after_upgrade_is_left_alone,
    absolute_form_target,
    ipv6,
    time_is_right,
    connection_older_than_the_agent,
);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn pipelined_requests(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    pipelined(
        capture,
        &Service::nginx(None)?,
        &["/static/612?{id}", "/fixed/{id}", "/static/none?{id}", "/plain/612?{id}"],
    )
}

fn pipelined_requests_to_a_go_server(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    pipelined(capture, &Service::go(LOCAL)?, &["/echo/{id}", "/bytes/500/{id}", "/status/404/{id}", "/echo/{id}?again"])
}

/// Ten requests in one call, and their answers in as few as the client happens to need, ten times on each of two connections.
/// Messages in the middle of a call are seen as far as a call is captured, so that is set to the most.
fn pipelined(capture: Capture, service: &Service, targets: &[&str]) -> Result<()> {
    let requests = (0..10).zip(targets.iter().cycle()).map(|(_, target)| Template::get(target)).collect();
    let mut plan = Plan::tcp(service.address, requests);
    plan.style = Style::Pipelined;
    plan.connections = 2;
    plan.workers = 2;
    plan.rounds = 10;
    let mut arguments = port(service);
    arguments.extend(flags(&["--capture-bytes", "16384"]));
    let agent = Agent::start(capture, &arguments)?;
    let driver = Driver::start(&plan)?;
    let side = client(&driver, service);
    let sent = driver.go()?.sent;
    compare(agent, &sent, Some(service.side()), Some(side), None)?;
    Ok(())
}

/// The server's side sees every request of a call, and writes each long answer by calls of its own.
fn pipelined_long_answers(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::nginx(None)?;
    let requests = (0..5).flat_map(|_| ["/static/100000?{id}", "/plain/100000?{id}"]).map(Template::get).collect();
    let mut plan = Plan::tcp(service.address, requests);
    plan.style = Style::Pipelined;
    plan.connections = 2;
    plan.workers = 2;
    plan.rounds = 10;
    let agent = Agent::start(capture, &pids(service.pids()))?;
    let sent = Driver::start(&plan)?.go()?.sent;
    compare(agent, &sent, Some(service.side()), None, None)?;
    Ok(())
}

fn heads_in_single_bytes(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go(LOCAL)?;
    let requests = vec![Template::get("/echo/{id}"), Template::post("/upload/{id}", Body::Length(300))];
    let mut plan = Plan::tcp(service.address, requests);
    plan.split = 1;
    plan.rounds = 10;
    trace(capture, &service, &plan)?;
    Ok(())
}

fn heads_longer_than_what_is_captured(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::node()?;
    let long = "v".repeat(8_000);
    let requests = vec![
        Template::get("/echo/{id}").header("X-Long", &long),
        Template::get("/echo/{id}?short"),
        Template::get("/status/404/{id}").header("X-Long", &long),
    ];
    let mut plan = Plan::tcp(service.address, requests);
    plan.connections = 3;
    plan.rounds = 5;
    trace_with(capture, &service, &plan, Some(|_| true))?;
    Ok(())
}

fn expectation_of_100_continue(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    for service in [Service::go(LOCAL)?, Service::node()?, Service::python(LOCAL, &[])?] {
        let requests =
            vec![Template::post("/upload/{id}", Body::Length(2_000)).expecting_continue(), Template::get("/echo/{id}")];
        let mut plan = Plan::tcp(service.address, requests);
        plan.rounds = 5;
        trace(capture, &service, &plan)?;
    }
    Ok(())
}

fn incoming_traceparent_is_continued(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::hyper(LOCAL)?;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let requests = vec![
        Template::get("/echo/{id}").header("traceparent", parent).header("tracestate", "shop=1,other=2"),
        Template::get("/echo/{id}?none"),
    ];
    let plan = Plan::tcp(service.address, requests);
    let agent = Agent::start(capture, &port(&service))?;
    let driver = Driver::start(&plan)?;
    let side = client(&driver, &service);
    let sent = driver.go()?.sent;
    let report = compare(agent, &sent, Some(service.side()), Some(side), None)?;
    let states = report.spans.iter().filter(|span| span.trace_state == "shop=1,other=2").count();
    ensure!(states == 2, "{states} spans have the incoming tracestate instead of 2");
    Ok(())
}

fn close_delimited_answers_of_http_1_0(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::python(LOCAL, &["--http10"])?;
    let requests = vec![Template::get("/close/5000/{id}"), Template::get("/close/0/{id}"), Template::get("/echo/{id}")];
    let mut plan = Plan::tcp(service.address, requests);
    plan.rounds = 10;
    trace(capture, &service, &plan)?;
    Ok(())
}

fn websocket_after_upgrade_is_left_alone(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::node()?;
    let upgrade = Template::get("/socket/{id}")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut plan = Plan::tcp(service.address, vec![Template::get("/echo/{id}"), upgrade]);
    plan.connections = 3;
    plan.rounds = 2;
    plan.after_upgrade = 1_000_000;
    let sent = trace(capture, &service, &plan)?;
    ensure!(sent.iter().filter(|sent| sent.status == 101).count() == 6, "the server has not upgraded");
    Ok(())
}

fn absolute_form_target(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::nginx(None)?;
    let agent = Agent::start(capture, &port(&service))?;
    let target = format!("http://{}/fixed/{{id}}?a=b", service.address);
    let driver = Driver::start(&Plan::tcp(service.address, vec![Template::get(&target)]))?;
    let side = client(&driver, &service);
    let mut sent = driver.go()?.sent;
    for one in &mut sent {
        let at = one.target.find("/fixed/").context("no path")?;
        one.target = one.target.split_off(at);
    }
    compare(agent, &sent, Some(service.side()), Some(side), None)?;
    Ok(())
}

fn ipv6(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let host = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for service in [Service::go(host)?, Service::python(host, &[])?] {
        let requests = vec![Template::get("/echo/{id}"), Template::post("/upload/{id}", Body::Length(5_000))];
        let mut plan = Plan::tcp(service.address, requests);
        plan.connections = 2;
        plan.rounds = 5;
        trace(capture, &service, &plan)?;
    }
    Ok(())
}

/// A slow answer lasts as long as it did, and its first byte is late; a quick one is not.
fn time_is_right(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::hyper(LOCAL)?;
    let plan = Plan::tcp(service.address, vec![Template::get("/slow/700/{id}"), Template::get("/slow/0/{id}")]);
    let agent = Agent::start(capture, &port(&service))?;
    let driver = Driver::start(&plan)?;
    let side = client(&driver, &service);
    let sent = driver.go()?.sent;
    let report = compare(agent, &sent, Some(service.side()), Some(side), None)?;
    for span in &report.spans {
        let took = (span.end() - span.start()) / 1_000_000;
        let slow = span.target().starts_with("/slow/700/");
        let truth = sent.iter().find(|s| s.target == span.target()).map_or(0, |s| (s.end - s.start) / 1_000_000);
        // Timers may end a little early, and a busy machine may be late, with which the client's own time is.
        let right = if slow { (690..=truth + 50).contains(&took) } else { took <= truth + 50 };
        ensure!(right, "{} {} lasted {took} ms, for the client {truth} ms", span.kind, span.target());
    }
    Ok(())
}

/// The client was connected, and had sent requests, before the agent started: it is traced from the next request on.
fn connection_older_than_the_agent(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    for service in [Service::go(LOCAL)?, Service::gunicorn(1, 4)?, Service::nginx(None)?] {
        let target = if service.name == "nginx" { "/fixed/{id}" } else { "/echo/{id}" };
        let requests = vec![Template::get(target), Template::new("HEAD", &format!("{target}?head"))];
        let mut plan = Plan::tcp(service.address, requests);
        plan.warmup = vec![Template::get(target), Template::get(target)];
        plan.connections = 3;
        plan.rounds = 10;
        let driver = Driver::start(&plan)?;
        let agent = Agent::start(capture, &port(&service))?;
        let side = client(&driver, &service);
        let sent: Vec<Exchanged> = driver.go()?.sent;
        compare(agent, &sent, Some(service.side()), Some(side), None).with_context(|| service.name)?;
    }
    Ok(())
}
