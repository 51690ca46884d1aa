//! Real receivers: what Jaeger gives back and what the Collector writes is compared with what the client sent.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use geophone_tests::agent::{Agent, Capture, EXIT_LIMIT};
use geophone_tests::check::{Expected, check};
use geophone_tests::child::Guard;
use geophone_tests::drive::{Body, Driver, Exchanged, Plan, Template};
use geophone_tests::receivers::Receiver;
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::{paths, ports, wait};

use crate::support::{both, client, flags, port};

both!(jaeger_over_grpc, jaeger_over_http, collector_over_grpc, collector_over_http);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn plan(service: &Service) -> Plan {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let requests = vec![
        Template::get("/echo/{id}?a=b"),
        Template::post("/upload/{id}", Body::Length(1_000)),
        Template::get("/status/503/{id}"),
        Template::get("/echo/{id}").header("traceparent", traceparent).header("tracestate", "a=b"),
    ];
    let mut plan = Plan::tcp(service.address, requests);
    plan.connections = 4;
    plan.rounds = 25;
    plan
}

/// Sends requests under an agent that exports to `endpoint`, and reads the spans back by `read` until all have come.
fn export(capture: Capture, endpoint: &str, protocol: &str, read: impl Fn() -> Result<Vec<Span>>) -> Result<()> {
    let service = Service::hyper(LOCAL)?;
    let mut arguments = flags(&["--output", "otlp"]);
    arguments.extend(port(&service));
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
    let agent = Agent::start_with(capture, &arguments, &variables)?;
    let driver = Driver::start(&plan(&service))?;
    let side = client(&driver, &service);
    let sent: Vec<Exchanged> = driver.go()?.sent;
    let report = agent.finish()?;
    let said = report.log.join("\n");
    ensure!(report.spans.is_empty(), "spans on standard output, although they are exported");
    ensure!(report.count("exported") == Some(2 * sent.len() as u64), "{} requests, and it says:\n{said}", sent.len());
    let mut spans = Vec::new();
    let arrived = wait::until(wait::PATIENCE, "the spans", || {
        spans = read().ok()?;
        (spans.len() >= 2 * sent.len()).then_some(())
    });
    if arrived.is_err() {
        // Says why it cannot be read, if that is the reason; the comparison says what is missing.
        spans = read()?;
    }
    check(&spans, &Expected { sent: &sent, server: Some(service.side()), client: Some(side), unseen: None })?;
    ensure!(
        spans.iter().all(|span| (span.trace_state == "a=b") == span.trace_id.starts_with("0af765")),
        "no trace state"
    );
    Ok(())
}

fn jaeger(capture: Capture, protocol: &str) -> Result<()> {
    let receiver = Receiver::jaeger()?;
    let port = if protocol == "grpc" { receiver.grpc } else { receiver.http };
    let read = || {
        // A trace is given back whole, also when it is asked for by one of its services: the continued one comes twice.
        let mut spans = receiver.queried("hyper-server")?;
        spans.extend(receiver.queried("drive")?);
        spans.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        spans.dedup_by(|a, b| a.span_id == b.span_id);
        Ok(spans)
    };
    export(capture, &format!("http://127.0.0.1:{port}"), protocol, read)
}

fn jaeger_over_grpc(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    jaeger(capture, "grpc")
}

fn jaeger_over_http(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    jaeger(capture, "http/protobuf")
}

fn collector(capture: Capture, protocol: &str) -> Result<()> {
    let receiver = Receiver::collector()?;
    let port = if protocol == "grpc" { receiver.grpc } else { receiver.http };
    export(capture, &format!("http://127.0.0.1:{port}"), protocol, || receiver.written())
}

fn collector_over_grpc(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    collector(capture, "grpc")
}

fn collector_over_http(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    collector(capture, "http/protobuf")
}

/// Nobody listens there: the agent says so, captures on, ends in time, and counts what it could not deliver.
#[test]
fn receiver_that_refuses() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::hyper(LOCAL)?;
    let endpoint = format!("http://127.0.0.1:{}", ports::free()?);
    for protocol in ["grpc", "http/protobuf"] {
        let mut arguments = flags(&["--output", "otlp"]);
        arguments.extend(port(&service));
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let agent = Agent::start_with(Capture::Sockets, &arguments, &variables)?;
        let sent = Driver::start(&plan(&service))?.go()?.sent;
        agent.wait_log(|line| line.contains(&endpoint) || line.contains("127.0.0.1"))?;
        let report = agent.finish()?;
        let said = report.log.join("\n");
        ensure!(report.took < EXIT_LIMIT, "it took {:?}", report.took);
        ensure!(report.count("exported") == Some(0), "{said}");
        ensure!(
            report.count("dropped") == Some(2 * sent.len() as u64),
            "{} requests, and it says:\n{said}",
            sent.len()
        );
    }
    Ok(())
}

/// The agent's own requests to the receiver are nobody's.
#[test]
fn export_is_not_traced() -> Result<()> {
    let _alone = wait::alone();
    let receiver = Receiver::collector()?;
    let service = Service::hyper(LOCAL)?;
    for (protocol, to) in [("grpc", receiver.grpc), ("http/protobuf", receiver.http)] {
        let endpoint = format!("http://127.0.0.1:{to}");
        // One agent exports; another one watches the receiver's port as well as everything else.
        let mut command = Command::new(paths::agent()?);
        command.args(["run", "--output", "otlp", "--port", &service.address.port().to_string()]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let watcher = Agent::start(Capture::Sockets, &flags(&["--port", &to.to_string()]))?;
        let mut exporter = Guard::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        let before = receiver.written()?.len();
        // How far the exporter is cannot be seen from here, so requests are sent until it has exported some.
        wait::until(wait::PATIENCE, "an export", || {
            Driver::start(&plan(&service)).and_then(Driver::go).ok()?;
            (receiver.written().ok()?.len() > before).then_some(())
        })?;
        exporter.signal(rustix::process::Signal::INT)?;
        exporter.wait(EXIT_LIMIT)?;
        let report = watcher.finish()?;
        ensure!(report.spans.is_empty(), "export over {protocol} has spans: {:#?}", report.spans);
    }
    Ok(())
}
