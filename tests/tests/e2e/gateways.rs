//! Applications behind nginx that it asks by FastCGI and uwsgi: one trace from the client to what the application calls, and every span says
//! what HTTP said.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::{child, paths, wait};

use crate::support::{both, flags, parent};

both!(php, wsgi, proxies_that_say_for_whom);

/// What is asked for, the status that comes, and whose spans there are, of which kinds.
type Request<'a> = (&'a str, u64, &'a [(&'a str, &'a str)]);

/// Sends requests to nginx, and checks that each is one trace.
fn traces(capture: Capture, ports: &[&Service], requests: &[Request<'_>]) -> Result<()> {
    let front = ports.first().context("no service")?;
    let numbers: Vec<String> = ports.iter().map(|service| service.address.port().to_string()).collect();
    let agent = Agent::start(capture, &flags(&["--port", &numbers.join(",")]))?;
    for (target, status, _) in requests {
        let mut curl = Command::new(paths::program("curl")?);
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--data-binary", "@-"]);
        curl.args(["--request", if target.contains("upload") { "POST" } else { "GET" }]);
        let said = child::output(curl.arg(format!("http://{}{target}", front.address)), wait::PATIENCE)?;
        ensure!(said == status.to_string(), "{target}: {said}");
    }
    agent.wait_spans(requests.iter().map(|(.., steps)| steps.len()).sum());
    let spans = agent.finish()?.spans;
    for (target, status, steps) in requests {
        let path = target.split('?').next().unwrap_or(target);
        let is_root = |span: &&Span| span.parent_span_id.is_empty() && span.target().starts_with(path);
        let mut span = spans.iter().find(is_root).with_context(|| format!("no span of {target}: {spans:#?}"))?;
        for (step, (service, kind)) in steps.iter().enumerate() {
            ensure!(span.service().starts_with(service) && span.kind == *kind, "{step}: {span:#?}");
            ensure!(span.number("http.response.status_code") == Some(*status), "{step}: {span:#?}");
            ensure!(!span.attributes.contains_key("geophone.incomplete"), "{step}: {span:#?}");
            let child = spans.iter().find(|child| child.parent_span_id == span.span_id);
            match child {
                Some(child) => {
                    ensure!(child.trace_id == span.trace_id, "{child:#?}");
                    span = child;
                }
                None => ensure!(step + 1 == steps.len(), "nothing hangs under {span:#?} of {spans:#?}"),
            }
        }
    }
    Ok(())
}

/// A trace of PHP does not end at the proxy.
fn php(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let (fpm, called) = (Service::php_fpm()?, Service::python("127.0.0.1".parse()?, &[])?);
    let nginx = Service::nginx_before("fastcgi", fpm.address)?;
    let short: &[_] = &[("curl", "CLIENT"), ("nginx", "SERVER"), ("nginx", "CLIENT"), ("php-fpm", "SERVER")];
    let long: &[_] = &[short, &[("php-fpm", "CLIENT"), ("server", "SERVER")]].concat();
    let call = format!("/call?call={}", called.address.port());
    let requests: &[Request<'_>] = &[
        ("/a", 200, short),
        ("/status/404", 404, short),
        ("/status/500", 500, short),
        ("/upload", 200, short),
        (&call, 200, long),
    ];
    traces(capture, &[&nginx, &fpm, &called], requests)
}

/// The same for Python behind uWSGI.
fn wsgi(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let uwsgi = Service::uwsgi()?;
    let nginx = Service::nginx_before("uwsgi", uwsgi.address)?;
    let steps: &[_] = &[("curl", "CLIENT"), ("nginx", "SERVER"), ("nginx", "CLIENT"), ("uwsgi", "SERVER")];
    let requests: &[(&str, u64, &[_])] =
        &[("/echo/a", 200, steps), ("/status/404", 404, steps), ("/status/500", 500, steps), ("/upload", 200, steps)];
    traces(capture, &[&nginx, &uwsgi], requests)
}

/// HAProxy in front of nginx says for whom it connects, by both versions of the PROXY protocol: nginx's span names that client, and
/// everything is one trace, although HAProxy has sent more than it was asked.
fn proxies_that_say_for_whom(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let nginx = Service::nginx_behind_proxies()?;
    let fronts = [Service::haproxy("send-proxy", nginx.address)?, Service::haproxy("send-proxy-v2", nginx.address)?];
    let ports = [&nginx, &fronts[0], &fronts[1]].map(|service| service.address.port().to_string()).join(",");
    let agent = Agent::start(capture, &flags(&["--port", &ports]))?;
    for front in &fronts {
        let mut curl = Command::new(paths::program("curl")?);
        // Two requests on one connection, from an address that nobody else has.
        curl.args(["--silent", "--interface", "127.0.0.9"]);
        for path in ["a", "b"] {
            curl.arg(format!("http://{}/fixed/{path}", front.address));
        }
        ensure!(child::output(&mut curl, wait::PATIENCE)? == "fixed\nfixed\n");
    }
    agent.wait_spans(16);
    let report = agent.finish()?;
    let spans = &report.spans;
    ensure!(spans.len() == 16, "{spans:#?}");
    let of_nginx: Vec<_> = spans.iter().filter(|span| span.service() == "nginx").collect();
    ensure!(of_nginx.len() == 4, "{of_nginx:#?}");
    for span in of_nginx {
        ensure!(span.text("client.address") == "127.0.0.9", "{span:#?}");
        ensure!(span.text("network.peer.address") == "127.0.0.1", "{span:#?}");
        ensure!(span.number("client.port") != span.number("network.peer.port"), "{span:#?}");
        let asks = parent(span, spans)?;
        ensure!((asks.service(), &*asks.kind) == ("haproxy", "CLIENT") && asks.target() == span.target(), "{asks:#?}");
        let asked = parent(asks, spans)?;
        ensure!((asked.service(), &*asked.kind) == ("haproxy", "SERVER"), "{asked:#?}");
        ensure!(asked.text("client.address") == "127.0.0.9", "{asked:#?}");
        ensure!(asked.number("client.port") == span.number("client.port"), "{asked:#?}");
    }
    ensure!(!spans.iter().any(|span| span.attributes.contains_key("geophone.incomplete")), "{spans:#?}");
    Ok(())
}
