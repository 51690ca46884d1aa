//! Unix stream sockets.

use std::process::Command;

use anyhow::{Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::drive::{Body, Plan, Template};
use geophone_tests::services::Service;
use geophone_tests::{child, paths, wait};

use crate::support::{both, pids, trace_unix};

both!(nginx, gunicorn, go, curl);

fn nginx(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::nginx_unix()?;
    let requests = ["/static/612?{id}", "/static/100000?{id}", "/fixed/{id}", "/static/none?{id}"];
    let mut plan = Plan::unix(&service.path, requests.map(Template::get).to_vec());
    plan.connections = 4;
    plan.rounds = 5;
    trace_unix(capture, &service, plan)?;
    Ok(())
}

fn routes(service: &Service) -> Plan {
    let requests = vec![
        Template::get("/echo/{id}"),
        Template::get("/bytes/200000/{id}"),
        Template::post("/upload/{id}", Body::Length(300_000)),
        Template::get("/status/503/{id}"),
    ];
    let mut plan = Plan::unix(&service.path, requests);
    plan.connections = 4;
    plan.workers = 2;
    plan.rounds = 5;
    plan
}

fn gunicorn(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::gunicorn_unix()?;
    trace_unix(capture, &service, routes(&service))?;
    Ok(())
}

fn go(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go_unix()?;
    trace_unix(capture, &service, routes(&service))?;
    Ok(())
}

/// Docker's and systemd's way to be asked.
fn curl(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go_unix()?;
    let agent = Agent::start(capture, &pids([service.pid()]))?;
    let mut curl = Command::new(paths::program("curl")?);
    curl.args(["--silent", "--unix-socket"]).arg(&service.path).arg("http://shop/echo/by-curl");
    let answer = child::output(&mut curl, wait::PATIENCE)?;
    ensure!(answer == "by-curl", "curl got {answer:?}");
    let span = agent.wait_span("curl's request", |span| span.target() == "/echo/by-curl")?;
    ensure!(span.kind == "SERVER" && span.pid() == service.pid(), "{span:#?}");
    ensure!(agent.finish()?.spans.len() == 1, "more than one span of one request");
    Ok(())
}
