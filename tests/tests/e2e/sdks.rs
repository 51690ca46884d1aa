//! A service with an OpenTelemetry SDK between two without: its spans, from a real Collector, and the agent's are one trace, and nothing is in it twice.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::receivers::Receiver;
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::{paths, wait};

use crate::support::pids;

const ABOVE: [&str; 2] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];

fn get(service: &Service, path: &str, header: Option<&str>) -> Result<()> {
    let mut curl = Command::new(paths::program("curl")?);
    curl.args(["--silent", "--fail", "--noproxy", "*"]).args(header.iter().flat_map(|header| ["--header", header]));
    let status = curl.arg(format!("http://{}{path}", service.address)).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "curl: {status}");
    Ok(())
}

/// The spans of one service whose path or URL ends so.
fn of<'a>(spans: &'a [Span], service: &Service, kind: &str, path: &str) -> Vec<&'a Span> {
    let is_it = |span: &&Span| span.pid() == service.pid() && span.kind == kind && span.target().ends_with(path);
    spans.iter().filter(is_it).collect()
}

#[test]
fn a_service_with_an_sdk_between_two_without() -> Result<()> {
    let collector = Receiver::collector()?;
    let start =
        |following: u16, http| Service::script("instrumented.py", "instrumented", &format!("{following},{http}"));
    let back = start(0, 0)?;
    let middle = start(back.address.port(), collector.http)?;
    let front = start(middle.address.port(), 0)?;
    let agent = Agent::start(Capture::Sockets, &pids([&back, &middle, &front].map(Service::pid)))?;
    // That the SDK's spans arrive somewhere has to be seen first.
    get(&front, "/first", None)?;
    wait::until(wait::PATIENCE, "the SDK's first spans", || (collector.written().ok()?.len() >= 2).then_some(()))?;
    get(&front, "/plain", None)?;
    let traceparent = format!("traceparent: 00-{}-{}-01", ABOVE[0], ABOVE[1]);
    get(&middle, "/continued", Some(&traceparent))?;
    let mut theirs = Vec::new();
    wait::until(wait::PATIENCE, "the SDK's spans", || {
        theirs = collector.written().ok()?;
        (theirs.len() >= 6).then_some(())
    })?;
    let report = agent.finish()?;
    let said = report.log.join("\n");
    let ours = &report.spans;
    let one = |service, kind, path| {
        let found = of(ours, service, kind, path);
        ensure!(found.len() == 1, "{} {kind} spans of {path}: {ours:#?}\n{said}", found.len());
        found.first().copied().context("none")
    };

    // The request came without a context: what the SDK has made of it hangs under nothing, so ours stays in its place.
    let (first, served, last) =
        (one(&front, "SERVER", "/plain")?, one(&middle, "SERVER", "/plain")?, one(&back, "SERVER", "/plain")?);
    let asked =
        theirs.iter().find(|span| span.kind == "CLIENT" && span.trace_id == first.trace_id).context("not one trace")?;
    ensure!(served.parent_span_id == one(&front, "CLIENT", "/plain")?.span_id, "{served:#?}");
    ensure!((&last.trace_id, &last.parent_span_id) == (&asked.trace_id, &asked.span_id), "{last:#?} under {asked:#?}");
    ensure!(of(ours, &middle, "CLIENT", "/plain").is_empty(), "twice: {ours:#?}");

    // It came with one: the SDK's two spans stand for ours.
    let last = one(&back, "SERVER", "/continued")?;
    let asked =
        theirs.iter().find(|span| span.span_id == last.parent_span_id).context("hangs under none of the SDK's")?;
    ensure!((asked.kind.as_str(), asked.trace_id.as_str()) == ("CLIENT", ABOVE[0]), "{asked:#?}");
    for kind in ["SERVER", "CLIENT"] {
        ensure!(of(ours, &middle, kind, "/continued").is_empty(), "twice: {ours:#?}\n{said}");
    }
    ensure!(report.count("left_to_sdks") == Some(3), "{said}");
    Ok(())
}
