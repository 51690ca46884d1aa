//! Many connections.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use geophone_tests::agent::Capture;
use geophone_tests::drive::{Body, Plan, Style, Template};
use geophone_tests::services::Service;
use geophone_tests::wait;

use crate::support::{both, trace};

both!(a_new_connection_for_each_request, ten_thousand_at_once);

fn a_new_connection_for_each_request(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::hyper(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let requests = vec![Template::get("/echo/{id}"), Template::post("/upload/{id}", Body::Length(100))];
    let mut plan = Plan::tcp(service.address, requests);
    plan.style = Style::NewConnection;
    plan.connections = 4;
    plan.workers = 4;
    plan.rounds = 400;
    trace(capture, &service, &plan)?;
    Ok(())
}

/// All are open at the same time, and each is used twice.
fn ten_thousand_at_once(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let service = Service::nginx(None)?;
    let mut plan = Plan::tcp(service.address, vec![Template::get("/static/612?{id}")]);
    plan.connections = 10_000;
    plan.workers = 4;
    plan.rounds = 2;
    trace(capture, &service, &plan)?;
    Ok(())
}
