//! Clients that people really use: curl and wrk.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::{child, paths, wait};

use crate::support::{both, flags, nothing_lost, port};

both!(curl, wrk);

fn curl(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let agent = Agent::start(capture, &port(&service))?;
    let base = format!("http://{}", service.address);
    let program = paths::program("curl")?;
    let run = |words: &[&str], url: &str| {
        let mut curl = Command::new(&program);
        child::output(curl.arg("--silent").args(words).arg(format!("{base}{url}")), wait::PATIENCE)
    };
    // Long enough for curl to ask for 100-continue first.
    let body = "b".repeat(2_000_000);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("body");
    std::fs::write(&file, &body)?;
    let data = format!("@{}", file.display());
    ensure!(run(&[], "/echo/one?token=x")? == "one", "curl got something else");
    ensure!(run(&["--http1.0"], "/echo/two")? == "two", "curl got something else");
    ensure!(run(&["--data-binary", &data], "/upload/three")? == body.len().to_string(), "curl got something else");
    run(&["--head"], "/echo/four")?;
    run(&["--user", "name:secret", "--user-agent", "my-curl/1"], "/status/500/five")?;
    agent.wait_spans(10);
    let spans = agent.finish()?.spans;
    ensure!(spans.len() == 10, "{} spans of 5 requests: {spans:#?}", spans.len());
    let find = |kind: &str, path: &str| {
        let fits = |target: &str| target.split('?').next() == Some(path);
        let found = spans.iter().find(|span| span.kind == kind && fits(&span.target()));
        found.with_context(|| format!("no {kind} span of {path}: {spans:#?}"))
    };
    for kind in ["SERVER", "CLIENT"] {
        let one = find(kind, "/echo/one")?;
        ensure!(one.number("http.response.body.size") == Some(3), "{one:#?}");
        ensure!(find(kind, "/echo/two")?.text("network.protocol.version") == "1.0", "{kind}: not HTTP/1.0");
        let three = find(kind, "/upload/three")?;
        ensure!(three.text("http.request.method") == "POST", "{three:#?}");
        ensure!(three.number("http.request.body.size") == Some(body.len() as u64), "{three:#?}");
        ensure!(find(kind, "/echo/four")?.text("http.request.method") == "HEAD", "{kind}: not HEAD");
        let five = find(kind, "/status/500/five")?;
        ensure!(five.status == "ERROR" && five.text("error.type") == "500", "{five:#?}");
        ensure!(!format!("{five:?}").contains("secret"), "a password in {five:#?}");
        ensure!(kind == "CLIENT" || five.text("user_agent.original") == "my-curl/1", "{five:#?}");
        ensure!(kind == "SERVER" || five.service() == "curl", "curl is called {}", five.service());
    }
    Ok(())
}

/// wrk says how many answers it got; when it stops, one request on each connection may be under way.
fn wrk(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let service = Service::nginx(None)?;
    // Only the server's side: the agent has to write every span as text, on the same two processors.
    let agent = Agent::start(capture, &flags(&["--exe", "nginx", "--port", &service.address.port().to_string()]))?;
    let connections = 32_usize;
    let mut wrk = Command::new(paths::program("wrk")?);
    wrk.args(["--threads", "1", "--connections", &connections.to_string(), "--duration", "2s"]);
    let said = child::output(wrk.arg(format!("http://{}/static/612", service.address)), wait::PATIENCE)?;
    let line = said.lines().find(|line| line.contains(" requests in ")).context("wrk does not say what it did")?;
    let sent: usize = line.split_whitespace().next().context("no number")?.parse()?;
    ensure!(sent > 1_000 && !said.contains("Non-2xx"), "wrk was not served:\n{said}");
    agent.wait_spans(sent);
    let report = agent.finish()?;
    let servers = report.spans.iter().filter(|span| span.kind == "SERVER").count();
    let log = report.log.join("\n");
    ensure!((sent..=sent + connections).contains(&servers), "{servers} SERVER spans of {sent} requests\n{log}");
    // What was under way has no answer, or not all of it.
    let cut = |span: &&Span| span.attributes.contains_key("geophone.incomplete");
    let cut_off = report.spans.iter().filter(cut).count();
    ensure!(cut_off <= servers - sent, "{cut_off} of {servers} SERVER spans of {sent} requests are incomplete\n{log}");
    let wrong = report.spans.iter().filter(|span| !cut(span)).find(|span| {
        span.text("url.path") != "/static/612"
            || span.number("http.response.body.size") != Some(612)
            || span.number("http.response.status_code") != Some(200)
            || span.end() < span.start()
    });
    ensure!(wrong.is_none(), "{wrong:#?}");
    nothing_lost(&report)
}
