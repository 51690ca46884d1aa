//! Requests over TLS, by all libraries whose functions are known, on both sides of a connection: each has its spans, matched into one trace,
//! as if nothing were encrypted. Most run alone: probes of libraries are attached by one agent at a time.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::check::{Expected, check};
use geophone_tests::services::Service;
use geophone_tests::tls::{Certificate, Client, Kind, Request};
use geophone_tests::{child, paths, wait};

use crate::support::{both, compare, flags, port};

both!(
    openssl_with_sockets,
    openssl_fed_from_memory,
    node,
    go,
    nginx_and_curl,
    connections_from_before,
    what_cannot_be_read,
    switched_off
);

const ROUNDS: usize = 5;

const REQUESTS: [Request; 4] = [
    Request { method: "GET", target: "/echo/{id}", body: 0 },
    Request { method: "GET", target: "/bytes/1000000/{id}", body: 0 },
    Request { method: "POST", target: "/upload/{id}", body: 1_000_000 },
    Request { method: "GET", target: "/bytes/20000/{id}", body: 0 },
];

/// Traces a service's port, and says what is found out about processes.
fn agent(capture: Capture, service: &Service) -> Result<Agent> {
    let mut words = port(service);
    words.push("--debug-kernel".to_owned());
    let agent = Agent::start_on(None, capture, &words)?;
    looked_at(&agent, service.pid())?;
    Ok(agent)
}

/// Waits until a process has been looked at. What a program needs that has its library inside cannot be there before.
fn looked_at(agent: &Agent, pid: u32) -> Result<()> {
    let begin = format!("process {pid}: ");
    agent.wait_log(|line| line.contains(&begin) && line.contains("probes for TLS")).context("it is not looked at")
}

/// One server, and each kind of client.
fn all_clients(capture: Capture, kind: Kind) -> Result<()> {
    let certificate = Certificate::new()?;
    let service = Service::tls(kind, &certificate)?;
    for client in Kind::ALL {
        let agent = agent(capture, &service)?;
        let inside = matches!(client, Kind::Node | Kind::Go);
        let mut client = Client::start(client)?;
        if inside {
            looked_at(&agent, client.pid())?;
        }
        let side = client.side(&service);
        client.connect(&service, &REQUESTS, 0, ROUNDS)?;
        let sent = client.go()?;
        ensure!(sent.len() == 2 * ROUNDS * REQUESTS.len(), "{} requests", sent.len());
        let report = compare(agent, &sent, Some(service.side()), Some(side), None).context(format!("{kind:?}"))?;
        for span in &report.spans {
            ensure!(span.text("tls.protocol.name") == "tls", "{span:#?}");
            ensure!(span.text("tls.protocol.version") == "1.3", "{span:#?}");
            ensure!(span.text("tls.cipher").starts_with("TLS_"), "{span:#?}");
            let linked = span.text("geophone.link") == "socket";
            ensure!(linked == (span.kind == "SERVER"), "{span:#?}");
        }
        ensure!(!report.log.iter().any(|line| line.starts_with("unreadable TLS")), "{:?}", report.log);
    }
    Ok(())
}

fn openssl_with_sockets(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    all_clients(capture, Kind::Sockets)
}

fn openssl_fed_from_memory(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    all_clients(capture, Kind::Memory)
}

fn node(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    all_clients(capture, Kind::Node)
}

fn go(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    all_clients(capture, Kind::Go)
}

/// A process that lives for milliseconds is seen from its first byte: the system's library is probed before anybody uses it.
fn nginx_and_curl(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let certificate = Certificate::new()?;
    let service = Service::nginx_tls(&certificate)?;
    let agent = agent(capture, &service)?;
    let curl = paths::program("curl")?;
    for (version, last) in [("1.2", "--tls-max"), ("1.3", "--tls-max")] {
        let mut command = Command::new(&curl);
        command.args(["--silent", "--insecure", "--http1.1", last, version]);
        for target in ["static/612", "static/100000", "fixed/x"] {
            command.args(["--output", "/dev/null"]).arg(format!("https://{}/{target}?{version}", service.address));
        }
        child::output(&mut command, wait::PATIENCE)?;
    }
    agent.wait_spans(12);
    let report = agent.finish()?;
    ensure!(report.spans.len() == 12, "{} spans of 6 requests: {:#?}", report.spans.len(), report.spans);
    for span in &report.spans {
        let target = span.target();
        let (path, version) = target.split_once('?').context("no query")?;
        ensure!(span.text("tls.protocol.version") == version, "{span:#?}");
        let size = match path {
            "/static/612" => 612,
            "/static/100000" => 100_000,
            _ => 6,
        };
        ensure!(span.number("http.response.body.size") == Some(size), "{span:#?}");
        ensure!(!span.attributes.contains_key("geophone.incomplete"), "{span:#?}");
        if span.kind == "SERVER" {
            let caller = report.spans.iter().find(|other| other.span_id == span.parent_span_id);
            ensure!(caller.is_some_and(|caller| caller.target() == target), "{span:#?}");
        } else {
            ensure!(span.text("url.full").starts_with("https://"), "{span:#?}");
        }
    }
    Ok(())
}

/// Connections that are older than the agent, of libraries that were loaded long ago: what was under way when the probes came may be missed, and
/// nothing after that.
fn connections_from_before(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let certificate = Certificate::new()?;
    for kind in Kind::ALL {
        let service = Service::tls(kind, &certificate)?;
        let mut client = Client::start(kind)?;
        client.connect(&service, &REQUESTS, 2, ROUNDS)?;
        let agent = agent(capture, &service)?;
        looked_at(&agent, client.pid())?;
        let side = client.side(&service);
        let first = |target: &str| target.contains("/id-0-");
        let sent: Vec<_> = client.go()?.into_iter().filter(|sent| !first(&sent.target)).collect();
        agent.wait_settled(2 * 2 * ROUNDS * REQUESTS.len(), Duration::from_secs(2));
        let mut report = agent.finish()?;
        report.spans.retain(|span| !first(&span.target()));
        let expected = Expected { sent: &sent, server: Some(service.side()), client: Some(side), unseen: None };
        check(&report.spans, &expected).context(format!("{kind:?}")).context(report.log.join("\n"))?;
    }
    Ok(())
}

/// A connection that stays encrypted is said, with the process and the reason.
fn what_cannot_be_read(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own = listener.local_addr()?;
    let agent = Agent::start_on(None, capture, &flags(&["--port", &own.port().to_string(), "--debug-kernel"]))?;
    let mut client = TcpStream::connect(own)?;
    let (mut server, _) = listener.accept()?;
    // The beginning of a client's hello. This process has no library that would have made it.
    client.write_all(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03abcdefgh")?;
    let mut begin = [0; 16];
    std::io::Read::read_exact(&mut server, &mut begin)?;
    looked_at(&agent, std::process::id())?;
    let report = agent.finish()?;
    let line = report.log.iter().find(|line| line.starts_with("unreadable TLS:")).context("nothing is said")?;
    ensure!(line.contains(" 2 connections of ") && line.contains("no TLS library"), "{line}");
    ensure!(report.count("tls") == Some(2), "{:?}", report.log);
    Ok(())
}

/// Who asks for no TLS gets none, and is told so.
fn switched_off(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::tls(Kind::Go, &Certificate::new()?)?;
    let agent = Agent::start(capture, &port(&service))?;
    let mut client = Client::start(Kind::Go)?;
    client.connect(&service, &REQUESTS, 0, ROUNDS)?;
    client.go()?;
    let report = agent.finish()?;
    ensure!(report.spans.is_empty(), "{:?}", report.spans);
    let told = |line: &String| line.starts_with("unreadable TLS:") && line.contains("--no-tls");
    ensure!(report.log.iter().any(told), "{:?}", report.log);
    Ok(())
}
