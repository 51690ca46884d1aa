//! Applications behind nginx that it asks by FastCGI and uwsgi: one trace from the client to what the application calls, and every span says
//! what HTTP said.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::{child, paths, wait};

use crate::support::{both, flags};

both!(php, wsgi);

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
