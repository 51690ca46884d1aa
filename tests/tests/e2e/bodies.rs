//! Bodies of 100 MB, both ways, however they are framed and sent.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use geophone_tests::agent::Capture;
use geophone_tests::drive::{Body, Plan, Template};
use geophone_tests::services::Service;
use geophone_tests::wait;

use crate::support::{both, trace_with};

both!(download_by_sendfile, download_and_upload_by_length, download_and_upload_in_chunks);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HUGE: u64 = 100_000_000;

/// Where chunk headers are not captured, sizes are unknown, and what follows on the connection is right but marked.
fn huge(capture: Capture, service: &Service, requests: Vec<Template>, unseen: bool) -> Result<()> {
    let mut plan = Plan::tcp(service.address, requests);
    plan.connections = 2;
    plan.workers = 2;
    trace_with(capture, service, &plan, unseen.then_some(|_| true))?;
    Ok(())
}

fn download_by_sendfile(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::nginx(None)?;
    let requests = ["/static/100000000?{id}", "/fixed/{id}", "/plain/100000000?{id}", "/fixed/{id}?2"];
    huge(capture, &service, requests.map(Template::get).to_vec(), false)
}

fn download_and_upload_by_length(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    for service in [Service::hyper(LOCAL)?, Service::go(LOCAL)?] {
        let requests = vec![
            Template::post("/upload/{id}", Body::Length(HUGE)),
            Template::get("/echo/{id}"),
            Template::get("/bytes/100000000/{id}"),
            Template::get("/echo/{id}?2"),
        ];
        huge(capture, &service, requests, false)?;
    }
    Ok(())
}

fn download_and_upload_in_chunks(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    for service in [Service::hyper(LOCAL)?, Service::go(LOCAL)?] {
        let requests = vec![
            Template::post("/upload/{id}?chunks", Body::Chunked(HUGE)),
            Template::get("/echo/{id}"),
            Template::get("/chunked/100000000/{id}"),
            Template::get("/echo/{id}?2"),
        ];
        huge(capture, &service, requests, true)?;
    }
    Ok(())
}
