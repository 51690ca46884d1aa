//! Lookups of names by UDP: the resolvers that programs have, and a server that many ask.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::netns::Namespace;
use geophone_tests::services::{self, Service};
use geophone_tests::span::Span;
use geophone_tests::{child, paths, wait};

use crate::support::{both, flags, parent};

both!(resolvers, under_a_request);

/// The spans of what this server was asked, sorted.
fn of(spans: Vec<Span>, server: &Service) -> Vec<Span> {
    let address = server.address.ip().to_string();
    let mut spans: Vec<Span> = spans.into_iter().filter(|span| span.text("server.address") == address).collect();
    spans.sort_by_key(|span| (span.text("dns.question.name").to_owned(), span.name.clone(), span.kind.clone()));
    spans
}

/// Each client's span, and under it the server's.
fn resolvers(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let namespace = Namespace::new()?;
    let server = Service::dnsmasq(&namespace)?;
    let agent = Agent::start(capture, &flags(&["--port", "53"]))?;
    let address = server.address.ip().to_string();
    let run = |command: &mut Command| child::output(command.stderr(Stdio::null()), wait::PATIENCE);

    // glibc: two queries in one call.
    let found = run(services::configured(&server)?.args(["getent", "ahosts", "glibc.example.org"]))?;
    ensure!(found.contains("192.0.2.1"), "{found}");
    let script = format!(
        "const dns = require('dns'); dns.setServers(['{address}']); dns.resolve4('node.example.org', console.log); \
         dns.resolve4('missing.example.org', error => console.log(error.code))"
    );
    let found = run(Command::new(paths::program("node")?).args(["-e", &script]))?;
    ensure!(found.contains("192.0.2.1") && found.contains("ENOTFOUND"), "{found}");
    let found = run(Command::new(paths::installed("go-lookup")?).args([&format!("{address}:53"), "go.example.org"]))?;
    ensure!(found.contains("192.0.2.1"), "{found}");
    run(services::lookups()?.args(["ask", &address, "53", "unconnected.example.org"]))?;

    agent.wait_spans(12);
    let report = agent.finish()?;
    ensure!(report.count("lost") == Some(0), "something was lost:\n{}", report.log.join("\n"));
    let spans = of(report.spans, &server);
    let told: Vec<_> = spans
        .iter()
        .map(|span| (&*span.kind, &*span.name, span.text("dns.question.name"), span.text("error.type")))
        .collect();
    let expected: Vec<_> = [
        ("QUERY A", "glibc.example.org", ""),
        ("QUERY AAAA", "glibc.example.org", ""),
        ("QUERY A", "go.example.org", ""),
        ("QUERY A", "missing.example.org", "NXDOMAIN"),
        ("QUERY A", "node.example.org", ""),
        ("QUERY A", "unconnected.example.org", ""),
    ]
    .into_iter()
    .flat_map(|(name, question, error)| ["CLIENT", "SERVER"].map(|kind| (kind, name, question, error)))
    .collect();
    ensure!(told == expected, "{told:#?}");
    for span in &spans {
        ensure!(span.text("network.transport") == "udp" && span.number("server.port") == Some(53), "{span:#?}");
        ensure!(!span.attributes.contains_key("geophone.incomplete"), "{span:#?}");
        let answered =
            span.attributes.get("dns.answers").is_some_and(|answers| answers.to_string().contains("192.0.2.1"));
        ensure!(answered == (span.name == "QUERY A" && span.text("error.type").is_empty()), "{span:#?}");
        // Whose socket is connected to nobody has no address that the server would know.
        if span.kind == "SERVER" && span.text("dns.question.name") != "unconnected.example.org" {
            let parent = parent(span, &spans)?;
            let same = |key: &str| parent.text(key) == span.text(key);
            ensure!(parent.kind == "CLIENT" && same("dns.question.name") && parent.name == span.name, "{span:#?}");
        }
    }
    Ok(())
}

/// What a service looks up for a request hangs under it.
fn under_a_request(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let namespace = Namespace::new()?;
    let server = Service::dnsmasq(&namespace)?;
    let service = Service::lookups(&server)?;
    let agent = Agent::start(capture, &flags(&["--port", &format!("53,{}", service.address.port())]))?;
    for i in 0..3 {
        let url = format!("http://{}/n{i}.example.org", service.address);
        let found = child::output(Command::new(paths::program("curl")?).args(["-s", &url]), wait::PATIENCE)?;
        ensure!(found == "192.0.2.1", "{found}");
    }
    agent.wait_spans(12);
    let spans = agent.finish()?.spans;
    for i in 0..3 {
        let name = format!("n{i}.example.org");
        let path = format!("/{name}");
        let request = spans.iter().find(|span| span.kind == "SERVER" && span.text("url.path") == path);
        let request = request.with_context(|| format!("no request for {name}: {spans:#?}"))?;
        let lookup = spans.iter().find(|span| span.kind == "CLIENT" && span.text("dns.question.name") == name);
        let lookup = lookup.with_context(|| format!("no lookup of {name}: {spans:#?}"))?;
        ensure!(lookup.parent_span_id == request.span_id, "{lookup:#?} is not under {request:#?}");
        let answer = spans.iter().find(|span| span.kind == "SERVER" && span.text("dns.question.name") == name);
        let answer = answer.with_context(|| format!("nobody was asked for {name}: {spans:#?}"))?;
        ensure!(answer.parent_span_id == lookup.span_id && answer.trace_id == request.trace_id, "{answer:#?}");
    }
    Ok(())
}
