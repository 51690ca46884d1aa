//! Calls by HTTP/2 in Node: many streams share a session, which sends for all of them what was asked for in turns of others.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::services::Service;
use geophone_tests::{child, paths, wait};

use crate::support::{both, nothing_lost, pids};

both!(calls_on_sessions_find_their_requests);

const REQUESTS: usize = 300;
/// What a loop has read has to prove itself first.
const PROVED: usize = 150;

fn calls_on_sessions_find_their_requests(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let last = Service::node_http2(None)?;
    let first = Service::node_http2(Some(last.address))?;
    let mut flags = pids([first.pid(), last.pid()]);
    flags.push("--no-value-links".to_owned());
    let agent = Agent::start(capture, &flags)?;
    let mut ask = Command::new(paths::program("node")?);
    ask.arg(paths::service("node/http2_chain.js")).arg("ask").arg(first.address.to_string());
    child::output(ask.arg(REQUESTS.to_string()), wait::PATIENCE)?;
    agent.wait_spans(7 * REQUESTS);
    let report = agent.finish()?;
    let mut found = 0;
    for call in report.spans.iter().filter(|span| span.kind == "CLIENT") {
        let target = call.target();
        let (_, id) = target.trim_start_matches('/').split_once('/').context("another target")?;
        match report.spans.iter().find(|span| span.span_id == call.parent_span_id) {
            Some(parent) => {
                ensure!(parent.target() == format!("/top/{id}"), "{target} hangs under {}", parent.target());
            }
            None => ensure!(id.parse::<usize>()? < PROVED, "{target} has no parent"),
        }
        found += 1;
    }
    ensure!(found == 3 * REQUESTS, "{found} calls");
    nothing_lost(&report)
}
