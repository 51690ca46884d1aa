//! A connection is not its descriptor: it is inherited, passed along and duplicated.

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::drive::{Driver, Plan, Template};
use geophone_tests::services::Service;
use geophone_tests::wait;

use crate::support::{both, client, compare, port};

both!(forked_for_a_connection, forked_for_a_request, passed_to_another_process, duplicated);

/// The answers say which process wrote them; the SERVER span may be of that one or of the one that read the request.
fn served(capture: Capture, mode: &str, by_the_first: bool) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::script("descriptors.py", "descriptors", mode)?;
    let mut plan = Plan::tcp(service.address, vec![Template::get("/process/{id}"), Template::get("/process/{id}?2")]);
    plan.connections = 5;
    plan.rounds = 4;
    let agent = Agent::start(capture, &port(&service))?;
    let driver = Driver::start(&plan)?;
    let side = client(&driver, &service);
    let sent = driver.go()?.sent;
    let mut server = service.side();
    server.pids.clear();
    let report = compare(agent, &sent, Some(server), Some(side), None)?;
    for one in &sent {
        let span = report.spans.iter().find(|span| span.kind == "SERVER" && span.target() == one.target);
        let found = span.context("no span")?.pid().to_string();
        let writer = one.response_text == found;
        let first = service.pid().to_string() == found;
        ensure!(
            writer || (by_the_first && first),
            "the span of {} is of process {found}, {} has answered it",
            one.target,
            one.response_text
        );
        ensure!((one.response_text == service.pid().to_string()) == (mode == "dup"), "the server does not do `{mode}`");
    }
    Ok(())
}

fn forked_for_a_connection(capture: Capture) -> Result<()> {
    served(capture, "fork", false)
}

fn forked_for_a_request(capture: Capture) -> Result<()> {
    served(capture, "late", true)
}

fn passed_to_another_process(capture: Capture) -> Result<()> {
    served(capture, "pass", false)
}

fn duplicated(capture: Capture) -> Result<()> {
    served(capture, "dup", true)
}
