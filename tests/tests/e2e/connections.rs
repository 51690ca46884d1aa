//! Many connections.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};

use anyhow::{Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::drive::{Body, Plan, Style, Template};
use geophone_tests::services::Service;
use geophone_tests::wait;

use crate::support::{both, flags, trace};

both!(a_new_connection_for_each_request, ten_thousand_at_once, where_others_were_ignored);

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

/// The kernel gives a new connection the memory of an old one. Nothing of one that nobody wanted to see may be left there, not even
/// when it was read once more after its close.
fn where_others_were_ignored(capture: Capture) -> Result<()> {
    const COUNT: usize = 300;
    let _alone = wait::alone();
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (ignored, traced) = (listen()?, listen()?);
    let agent = Agent::start(capture, &flags(&["--port", &traced.local_addr()?.port().to_string()]))?;
    let mut closed = Vec::new();
    for _ in 0..COUNT {
        let client = TcpStream::connect(ignored.local_addr()?)?;
        let (mut server, _) = ignored.accept()?;
        client.shutdown(Shutdown::Write)?;
        ensure!(server.read(&mut [0; 4])? == 0, "more than was sent");
        server.write_all(b"late")?;
        closed.push(client);
    }
    for mut client in closed {
        client.read_exact(&mut [0; 4])?;
    }
    let mut open = Vec::new();
    for _ in 0..COUNT {
        let mut client = TcpStream::connect(traced.local_addr()?)?;
        let (mut server, _) = traced.accept()?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
        ensure!(server.read(&mut [0; 64])? > 0, "no request");
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        ensure!(client.read(&mut [0; 64])? > 0, "no response");
        open.push((client, server));
    }
    agent.wait_spans(2 * COUNT);
    let spans = agent.finish()?.spans;
    let servers = spans.iter().filter(|span| span.kind == "SERVER").count();
    ensure!(servers == COUNT, "{servers} SERVER spans of {COUNT} connections");
    Ok(())
}
