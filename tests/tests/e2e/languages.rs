//! Servers in many languages, each with all kinds of requests on several connections at once.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::check::{Expected, Side, check};
use geophone_tests::drive::{Body, Driver, Exchanged, Plan, Template};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::wait;

use crate::support::{both, client, trace, trace_with};

both!(nginx, nginx_as_proxy, python, gunicorn_with_processes, gunicorn_with_threads, node, go, java, hyper);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One of each kind.
fn mix() -> Vec<Template> {
    vec![
        Template::get("/echo/{id}"),
        Template::get("/echo/{id}?page=2&sort=up"),
        Template::new("HEAD", "/echo/{id}"),
        Template::new("PUT", "/echo/{id}"),
        Template::new("DELETE", "/echo/{id}"),
        Template::get("/status/204/{id}"),
        Template::get("/status/304/{id}"),
        Template::get("/status/404/{id}"),
        Template::get("/status/503/{id}"),
        Template::get("/bytes/0/{id}"),
        Template::get("/bytes/100000/{id}"),
        Template::get("/chunked/500/{id}"),
        Template::get("/chunked/100000/{id}"),
        Template::post("/upload/{id}", Body::Length(10)),
        Template::post("/upload/{id}", Body::Length(100_000)),
        Template::post("/upload/{id}", Body::Chunked(10)),
        Template::post("/upload/long/{id}", Body::Chunked(100_000)),
        Template::get("/slow/100/{id}"),
    ]
}

/// The sizes of these are in chunk headers deep inside of calls, where nothing is captured. What follows the last of them on a
/// connection is right, but marked: nothing after it shows that no request was hidden among those bytes.
fn long_chunks(sent: &Exchanged) -> bool {
    ["/chunked/100000/", "/upload/long/", "/slow/"].iter().any(|begin| sent.target.starts_with(begin))
}

/// The servers and the client's account agree: a test of the tests, without an agent.
#[test]
fn servers_do_what_they_are_asked() -> Result<()> {
    let _shared = wait::shared();
    let behind = Service::go(LOCAL)?;
    for service in [
        Service::python(LOCAL, &[])?,
        Service::gunicorn(2, 1)?,
        Service::gunicorn(1, 4)?,
        Service::node()?,
        Service::go(LOCAL)?,
        Service::java()?,
        Service::hyper(LOCAL)?,
        Service::nginx(Some(behind.address))?,
    ] {
        let mut plan = Plan::tcp(service.address, mix());
        plan.connections = 2;
        plan.rounds = 2;
        let sent = Driver::start(&plan)?.go()?.sent;
        ensure!(sent.len() == plan.count(), "{} requests of {}", sent.len(), plan.count());
        for one in &sent {
            let words: Vec<&str> = one.target.split(['/', '?']).collect();
            let number = || words[2].parse::<u64>();
            let (status, size) = match words[1] {
                "status" => (number()?, if words[2] == "204" || words[2] == "304" { 0 } else { 6 }),
                "bytes" | "chunked" => (200, number()?),
                "upload" => (200, one.request_body.to_string().len() as u64),
                "slow" => (200, 4),
                _ if one.method == "HEAD" => (200, 0),
                _ => (200, words[2].len() as u64),
            };
            ensure!((u64::from(one.status), one.response_body) == (status, size), "{}: {one:?}", service.name);
            ensure!(words[1] != "upload" || one.response_text == one.request_body.to_string(), "{one:?}");
            ensure!(words[1] != "slow" || one.end - one.start >= 99_000_000, "{one:?}");
        }
    }
    Ok(())
}

fn all_kinds(capture: Capture, service: &Service) -> Result<()> {
    let mut plan = Plan::tcp(service.address, mix());
    plan.connections = 4;
    plan.workers = 4;
    plan.rounds = 3;
    trace_with(capture, service, &plan, Some(long_chunks))?;
    Ok(())
}

fn nginx(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::nginx(None)?;
    let requests = vec![
        Template::get("/static/612?{id}"),
        Template::get("/static/100000?{id}"),
        Template::get("/plain/612?{id}"),
        Template::get("/plain/100000?{id}"),
        Template::new("HEAD", "/static/100000?{id}"),
        Template::get("/static/612?range-{id}").header("Range", "bytes=100-199"),
        Template::get("/static/none?{id}"),
        Template::get("/fixed/{id}"),
        Template::new("DELETE", "/static/612?{id}"),
    ];
    let mut plan = Plan::tcp(service.address, requests);
    plan.connections = 8;
    plan.workers = 4;
    plan.rounds = 10;
    trace(capture, &service, &plan)?;
    Ok(())
}

/// nginx is a server to the client and a client to the service behind it: each has its spans.
fn nginx_as_proxy(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let behind = Service::go(LOCAL)?;
    let service = Service::nginx(Some(behind.address))?;
    let mut plan = Plan::tcp(service.address, vec![Template::get("/echo/{id}"), Template::get("/status/503/{id}")]);
    plan.connections = 4;
    plan.rounds = 10;

    let ports = [&service, &behind].map(|s| s.address.port().to_string());
    let agent = Agent::start(capture, &["--port", &ports[0], "--port", &ports[1]].map(str::to_owned))?;
    let driver = Driver::start(&plan)?;
    let outer = client(&driver, &service);
    let sent = driver.go()?.sent;
    agent.wait_spans(4 * sent.len());
    let report = agent.finish()?;

    let (front, back): (Vec<_>, Vec<_>) =
        report.spans.into_iter().partition(|span| span.number("server.port") == Some(service.address.port().into()));
    let said = report.log.join("\n");
    let expected = Expected { sent: &sent, server: Some(service.side()), client: Some(outer), unseen: None };
    check(&front, &expected).context("before the proxy").context(said.clone())?;

    // What goes on behind the proxy hangs under what came in before it, as if the proxy had been told so in a header.
    let mut sent = sent;
    for request in &mut sent {
        let is = |span: &&Span| span.kind == "SERVER" && span.target() == request.target;
        let above = front.iter().find(is).context("no span before the proxy")?;
        request.traceparent = format!("00-{}-{}-01", above.trace_id, above.span_id);
    }
    // The proxy's own connections have ports that the client does not know, and its own Host.
    let server = Side { peer: String::new(), port: 0, ..behind.side() };
    let client = Side { peer: String::new(), port: 0, ..service.side() };
    let expected = Expected { sent: &sent, server: Some(server), client: Some(client), unseen: None };
    check(&back, &expected).context("behind the proxy").context(said)
}

fn python(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    all_kinds(capture, &Service::python(LOCAL, &[])?)
}

fn gunicorn_with_processes(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    all_kinds(capture, &Service::gunicorn(4, 1)?)
}

fn gunicorn_with_threads(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    all_kinds(capture, &Service::gunicorn(2, 4)?)
}

fn node(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    all_kinds(capture, &Service::node()?)
}

fn go(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    all_kinds(capture, &Service::go(LOCAL)?)
}

fn java(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    all_kinds(capture, &Service::java()?)
}

fn hyper(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    all_kinds(capture, &Service::hyper(LOCAL)?)
}
