//! Network namespaces, as containers have them.

use anyhow::Result;
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::drive::{Driver, Plan, Template};
use geophone_tests::netns::Namespace;
use geophone_tests::services::Service;
use geophone_tests::wait;

use crate::support::{both, client, compare, flags, port};

both!(made_before_the_agent, made_while_the_agent_runs, client_inside);

fn plan(service: &Service) -> Plan {
    let mut plan = Plan::tcp(service.address, vec![Template::get("/echo/{id}"), Template::get("/bytes/50000/{id}")]);
    plan.connections = 3;
    plan.rounds = 5;
    plan
}

/// A client of the host, a server in a namespace of its own.
fn made_before_the_agent(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let namespace = Namespace::new()?;
    let service = Service::go_in(&namespace)?;
    let agent = Agent::start(capture, &port(&service))?;
    let driver = Driver::start(&plan(&service))?;
    let mut server = service.side();
    server.peer.clone_from(&namespace.host);
    let side = client(&driver, &service);
    let sent = driver.go()?.sent;
    compare(agent, &sent, Some(server), Some(side), None)?;
    Ok(())
}

fn made_while_the_agent_runs(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    // The port is not known before; by the executable other tests' servers are traced too, so this runs alone.
    let agent = Agent::start(capture, &flags(&["--exe", "go-server"]))?;
    let namespace = Namespace::new()?;
    let service = Service::go_in(&namespace)?;
    let driver = Driver::start(&plan(&service))?;
    let mut server = service.side();
    server.peer.clone_from(&namespace.host);
    let sent = driver.go()?.sent;
    compare(agent, &sent, Some(server), None, None)?;
    Ok(())
}

/// Both in the namespace, on its own address.
fn client_inside(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let namespace = Namespace::new()?;
    let service = Service::go_in(&namespace)?;
    let agent = Agent::start(capture, &port(&service))?;
    let driver = Driver::start_in(&namespace, &plan(&service))?;
    let side = client(&driver, &service);
    let sent = driver.go()?.sent;
    compare(agent, &sent, Some(service.side()), Some(side), None)?;
    Ok(())
}
