//! HTTP/2 without TLS: by prior knowledge and by upgrade, one stream and many; and whose calls are whose in Go, also with TLS.

use std::collections::HashMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, Report};
use geophone_tests::services::{Service, fan_client};
use geophone_tests::span::Span;
use geophone_tests::{child, paths, wait};

use crate::support::{both, nothing_lost, parent, pids, port};

both!(curl_with_prior_knowledge, curl_upgrades, many_streams_of_nginx, many_streams_of_go, goroutines);

/// The one span of a kind and target.
fn find<'a>(report: &'a Report, kind: &str, target: &str) -> Result<&'a Span> {
    let mut found = report.spans.iter().filter(|span| span.kind == kind && span.target() == target);
    let one = found.next().with_context(|| format!("no {kind} span of {target}: {:#?}", report.spans))?;
    ensure!(found.next().is_none(), "several {kind} spans of {target}");
    Ok(one)
}

/// Checks both spans of requests that curl has made: target, status, size of the answer, version of the request.
fn both_sides(report: &Report, sent: &[(&str, u64, u64, &str)]) -> Result<()> {
    let log = report.log.join("\n");
    ensure!(report.spans.len() == 2 * sent.len(), "{} spans of {} requests\n{log}", report.spans.len(), sent.len());
    for &(target, status, size, version) in sent {
        let (server, client) = (find(report, "SERVER", target)?, find(report, "CLIENT", target)?);
        for span in [server, client] {
            ensure!(span.text("http.request.method") == "GET", "{span:#?}");
            ensure!(span.number("http.response.status_code") == Some(status), "{span:#?}");
            ensure!(span.number("http.response.body.size") == Some(size), "{span:#?}");
            ensure!(span.text("network.protocol.version") == version, "{span:#?}");
            ensure!(!span.attributes.contains_key("geophone.incomplete"), "{span:#?}");
        }
        ensure!(server.parent_span_id == client.span_id, "{target} has another parent: {server:#?}, {client:#?}");
    }
    nothing_lost(report)
}

fn curl(arguments: &[&str]) -> Result<String> {
    child::output(
        Command::new(paths::program("curl")?).args(["--silent", "--fail-early"]).args(arguments),
        wait::PATIENCE,
    )
}

fn curl_with_prior_knowledge(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    for service in [Service::go_h2c()?, Service::nginx_http2()?] {
        let agent = Agent::start(capture, &port(&service))?;
        let targets: &[(&str, u64, u64)] = if service.name == "nginx" {
            &[("/static/612?a", 200, 612), ("/plain/100000?b", 200, 100_000), ("/fixed/c", 200, 6)]
        } else {
            &[("/echo/hello", 200, 5), ("/bytes/300000", 200, 300_000), ("/status/204", 204, 0), ("/trailer/x", 200, 4)]
        };
        for (target, ..) in targets {
            curl(&[
                "--http2-prior-knowledge",
                "--output",
                "/dev/null",
                &format!("http://{}{target}", service.address),
            ])?;
        }
        agent.wait_spans(2 * targets.len());
        let sent: Vec<_> = targets.iter().map(|&(target, status, size)| (target, status, size, "2")).collect();
        both_sides(&agent.finish()?, &sent).with_context(|| service.name)?;
    }
    Ok(())
}

/// The first request is HTTP/1.1, its answer is the first stream's; the others are HTTP/2.
fn curl_upgrades(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go_h2c()?;
    let agent = Agent::start(capture, &port(&service))?;
    let urls = ["/echo/first", "/bytes/700", "/status/404"].map(|target| format!("http://{}{target}", service.address));
    let [first, second, third] = &urls;
    let silent = ["--output", "/dev/null"];
    let all = [&["--http2", first][..], &silent, &[second], &silent, &[third], &silent].concat();
    curl(&all)?;
    agent.wait_spans(6);
    let sent = [("/echo/first", 200, 5, "1.1"), ("/bytes/700", 200, 700, "2"), ("/status/404", 404, 0, "2")];
    both_sides(&agent.finish()?, &sent)
}

fn many_streams_of_nginx(capture: Capture) -> Result<()> {
    many_streams(capture, &Service::nginx_http2()?, "/static/612", 612)
}

fn many_streams_of_go(capture: Capture) -> Result<()> {
    many_streams(capture, &Service::go_h2c()?, "/bytes/3000", 3_000)
}

/// Four connections with ten streams at a time each. Requests are all alike: what is compared is how many of each there are, and that each
/// has the caller that it came from.
fn many_streams(capture: Capture, service: &Service, target: &str, size: u64) -> Result<()> {
    let _alone = wait::alone();
    let agent = Agent::start(capture, &port(service))?;
    let requests = 1_000;
    let mut load = Command::new(paths::program("h2load")?);
    load.args(["--requests", &requests.to_string(), "--clients", "4", "--max-concurrent-streams", "10"]);
    let said = child::output(load.arg(format!("http://{}{target}", service.address)), wait::PATIENCE)?;
    ensure!(said.contains(&format!("{requests} succeeded, 0 failed")), "h2load was not served:\n{said}");
    agent.wait_spans(2 * requests);
    let report = agent.finish()?;
    let log = report.log.join("\n");
    let wrong = report.spans.iter().find(|span| {
        span.target() != target
            || span.number("http.response.status_code") != Some(200)
            || span.number("http.response.body.size") != Some(size)
            || span.attributes.contains_key("geophone.incomplete")
    });
    ensure!(wrong.is_none(), "{wrong:#?}\n{log}");
    let mut clients: HashMap<&str, &Span> =
        report.spans.iter().filter(|span| span.kind == "CLIENT").map(|span| (&*span.span_id, span)).collect();
    let servers: Vec<&Span> = report.spans.iter().filter(|span| span.kind == "SERVER").collect();
    ensure!((servers.len(), clients.len()) == (requests, requests), "{} and {}\n{log}", servers.len(), clients.len());
    for server in servers {
        let client = clients.remove(&*server.parent_span_id).with_context(|| format!("no caller: {server:#?}"))?;
        ensure!(client.number("network.local.port") == server.number("network.peer.port"), "{client:#?}, {server:#?}");
        ensure!(client.start() <= server.start() + 1_000_000, "{client:#?}, {server:#?}");
    }
    nothing_lost(&report)
}

/// Requests at once on one connection, each of which makes calls in two levels, from goroutines of its own as from the handler: whose each is,
/// though it is sent by one goroutine, for another one, and served by one for which others have read it. Servers of `golang.org/x/net` and
/// `net/http`, without TLS and with it, and clients of both. The program is stripped.
fn goroutines(capture: Capture) -> Result<()> {
    const NUMBERS: std::ops::Range<usize> = 100..116;
    let _shared = wait::shared();
    let service = Service::go_fan()?;
    let agent = Agent::start_on(None, capture, &pids([service.pid()]))?;
    child::output(&mut fan_client(service.address, &NUMBERS)?, wait::PATIENCE)?;
    // Each request, three of its own, and three of each of those; all but the first at both ends.
    let expected = NUMBERS.len() * (1 + 2 * 12);
    agent.wait_spans(expected);
    let report = agent.finish()?;
    let log = report.log.join("\n");
    ensure!(report.spans.len() == expected, "{} spans of {expected}\n{log}", report.spans.len());
    let number = |span: &Span| -> Result<usize> {
        let target = span.target();
        let (_, number) = target.rsplit_once('/').with_context(|| format!("{span:#?}"))?;
        Ok(number.parse()?)
    };
    for span in report.spans.iter().filter(|span| span.kind == "CLIENT") {
        let above = parent(span, &report.spans)?;
        ensure!(
            above.kind == "SERVER" && number(above)? == number(span)? / 10,
            "another parent: {span:#?}, {above:#?}"
        );
        ensure!(span.text("geophone.link") == "task", "{span:#?}");
    }
    ensure!(report.count("unclaimed").is_none(), "{log}");
    nothing_lost(&report)
}
