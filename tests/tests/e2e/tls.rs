//! Requests over TLS, by all libraries whose functions are known, on both sides of a connection: each has its spans, matched into one trace,
//! as if nothing were encrypted. Most run alone: probes of libraries are attached by one agent at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::check::{Expected, check};
use geophone_tests::child::Guard;
use geophone_tests::services::Service;
use geophone_tests::tls::{Certificate, Client, Kind, Request};
use geophone_tests::{child, paths, wait};

use crate::support::{both, compare, flags, port};

both!(
    openssl_with_sockets,
    openssl_fed_from_memory,
    node,
    openssl_before_3,
    boringssl,
    go,
    rustls,
    nginx_and_curl,
    connections_from_before,
    what_cannot_be_read,
    java,
    stripped_rustls,
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
    clients(capture, kind, &Kind::ALL)
}

/// One server, and some kinds of clients.
fn clients(capture: Capture, kind: Kind, clients: &[Kind]) -> Result<()> {
    let certificate = Certificate::new()?;
    let service = Service::tls(kind, &certificate)?;
    for client in clients.iter().copied() {
        let agent = agent(capture, &service)?;
        let inside = !matches!(client, Kind::Sockets | Kind::Memory);
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

/// A library of the previous generation, inside of a program: `SSL_read` and `SSL_write`, where the newer one is asked by `SSL_read_ex`.
fn openssl_before_3(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    all_clients(capture, Kind::OldNode)
}

/// BoringSSL inside of a module of another name: it is looked for there once the process is seen to use TLS, so that the first request may be missed.
fn boringssl(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let service = Service::nginx_tls(&Certificate::new()?)?;
    let agent = agent(capture, &service)?;
    let mut command = Command::new(paths::installed("venv/bin/python")?);
    command.arg(paths::service("python/boringssl_client.py"));
    command.args(["first", "1", "2", "3"].map(|query| format!("https://{}/fixed/x?{query}", service.address)));
    let mut client = Guard::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let begin = format!("process {}: ", client.pid());
    agent
        .wait_log(|line| line.contains(&begin) && line.ends_with("in all of its files"))
        .context("it is not looked at")?;
    let mut ready = String::new();
    BufReader::new(client.inner().stdout.take().context("no pipe")?).read_line(&mut ready)?;
    client.inner().stdin.take().context("no pipe")?.write_all(b"go\n")?;
    ensure!(client.wait(wait::PATIENCE)?.success(), "the client has failed");
    agent.wait_spans(7);
    let report = agent.finish()?;
    for query in ["1", "2", "3"] {
        let target = format!("/fixed/x?{query}");
        let spans: Vec<_> = report.spans.iter().filter(|span| span.target() == target).collect();
        let of = |kind: &str| spans.iter().find(|span| span.kind == kind).context("a span is missing");
        let (asks, answers) = (of("CLIENT")?, of("SERVER")?);
        ensure!(spans.len() == 2 && answers.parent_span_id == asks.span_id, "{spans:#?}");
    }
    Ok(())
}

fn go(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    all_clients(capture, Kind::Go)
}

fn rustls(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    all_clients(capture, Kind::Rustls)?;
    // Its functions had other arguments before 0.23.
    clients(capture, Kind::Rustls21, &[Kind::Rustls21])?;
    clients(capture, Kind::Rustls22, &[Kind::Rustls22])
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
    // The beginning of a client's hello. The process has no library that would have made it.
    let script = format!(
        "import socket, sys; client = socket.create_connection(('127.0.0.1', {})); \
         client.sendall(bytes.fromhex('16030100c8010000c40303') + b'abcdefgh'); sys.stdin.read()",
        own.port()
    );
    let mut command = Command::new(paths::program("python3")?);
    let client = Guard::start(command.args(["-c", &script]).stdin(Stdio::piped()))?;
    let (mut server, _) = listener.accept()?;
    let mut begin = [0; 16];
    std::io::Read::read_exact(&mut server, &mut begin)?;
    looked_at(&agent, client.pid())?;
    let report = agent.finish()?;
    let mut lines = report.log.iter().filter(|line| line.starts_with("unreadable TLS:"));
    let told = |line: &String| line.contains(": 1 connections of ") && line.contains("no TLS library");
    ensure!(lines.any(told), "{:?}", report.log);
    ensure!(report.count("tls") == Some(2), "{:?}", report.log);
    Ok(())
}

/// Java's own TLS cannot be read, and that is said; what it asks is seen where it is answered.
fn java(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let service = Service::nginx_tls(&Certificate::new()?)?;
    let agent = agent(capture, &service)?;
    let mut command = Command::new(paths::program("java")?);
    command.arg("-cp").arg(paths::installed("java")?).arg("TlsClient");
    command.args(["static/612", "fixed/x"].map(|target| format!("https://{}/{target}", service.address)));
    let client = Guard::start(command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
    looked_at(&agent, client.pid())?;
    agent.wait_spans(2);
    let report = agent.finish()?;
    ensure!(report.spans.len() == 2, "{} spans of 2 requests: {:#?}", report.spans.len(), report.spans);
    ensure!(report.spans.iter().all(|span| span.kind == "SERVER"), "{:#?}", report.spans);
    let told = |line: &String| {
        let said = line.strip_prefix("unreadable TLS: ").unwrap_or_default();
        said.contains("connections of ") && said.ends_with(": Java's own TLS is compiled while it runs")
    };
    ensure!(report.log.iter().any(told), "{:?}", report.log);
    Ok(())
}

/// Without names, nothing of rustls is found, and that is said; what it asks is seen where it is answered.
fn stripped_rustls(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let service = Service::nginx_tls(&Certificate::new()?)?;
    let agent = agent(capture, &service)?;
    let folder = tempfile::tempdir()?;
    let mut client = Client::stripped_rustls(folder.path())?;
    client.connect(&service, &[Request { method: "GET", target: "/fixed/x?{id}", body: 0 }], 0, 2)?;
    looked_at(&agent, client.pid())?;
    let sent = client.go()?.len();
    agent.wait_spans(sent);
    let report = agent.finish()?;
    ensure!(report.spans.len() == sent && sent > 0, "{} spans of {sent} requests", report.spans.len());
    ensure!(report.spans.iter().all(|span| span.kind == "SERVER"), "{:#?}", report.spans);
    let told = "unreadable TLS: 2 connections of rustls-service: no TLS library with names that are known is in it";
    ensure!(report.log.iter().any(|line| line == told), "{:?}", report.log);
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
