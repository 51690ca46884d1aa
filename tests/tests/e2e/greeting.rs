//! Agents that find each other by a TCP option, where nobody has told them anything.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use geophone_tests::agent::{Capture, kernel_objects, wait_gone};
use geophone_tests::drive::{Body, Driver, Template};
use geophone_tests::nat::Nat;
use geophone_tests::services::Service;
use geophone_tests::wait;

use crate::hosts::{KEY, agent, all_right, plan, said};

/// Of the option.
const KIND: u8 = 253;

/// Neither knows the other's address, and no flag says it; one service listens since before the agents came, another one since later. When the
/// agents have stopped, nothing is left of it.
#[test]
fn found_through_address_translation() -> Result<()> {
    let _shared = wait::shared();
    let mut nat = Nat::new()?;
    nat.left.group()?;
    nat.right.group()?;
    nat.count(KIND)?;
    let (left, right) = (format!("/{}", nat.left.name()), format!("/{}", nat.right.name()));
    let old = Service::go_everywhere_in(&nat.right)?;
    let at = format!("{}:4419", nat.hidden);
    let discover = ["--no-tls", "--peer-discover", "option"];
    let more = [&discover[..], &["--peer-cgroup", &right, "--cgroup", &right, "--peer-advertise", &at]].concat();
    let serving = agent(Capture::Sockets, &nat.right, &[], KEY, &more)?;
    let new = Service::go_everywhere_in(&nat.right)?;
    // Each asks for what no other asks for.
    let client = |service: &Service, word: &str, rounds| {
        let mut plan = plan(SocketAddr::new(nat.front.into(), service.address.port()), rounds);
        // The first segment with data is a full one, and has the option where SYN-ACKs do not.
        let upload = Template::post(&format!("/upload/{{id}}?of={word}"), Body::Length(200_000));
        plan.requests = vec![upload, Template::get(&format!("/echo/{{id}}?of={word}"))];
        plan.late = true;
        Driver::start_in(&nat.left, &plan)
    };
    nat.pass(old.address.port())?;
    nat.pass(new.address.port())?;
    let drivers = [client(&old, "old", 20)?, client(&new, "new", 20)?];
    let last = client(&new, "last", 1)?;
    let pids: Vec<u32> = drivers.iter().map(Driver::pid).collect();
    let asking = agent(Capture::Sockets, &nat.left, &pids, KEY, &[&discover[..], &["--peer-cgroup", &left]].concat())?;
    let mut sent = 0;
    for driver in drivers {
        sent += driver.go()?.sent.len();
    }
    asking.wait_spans(sent);
    serving.wait_spans(sent);
    let [syn, syn_ack, later] = nat.counted()?;
    let objects = [kernel_objects(asking.pid()), kernel_objects(serving.pid())].concat();
    let (asking, serving) = (asking.finish()?, serving.finish()?);
    all_right(&asking, &serving, sent)?;
    let said = said(&[&asking, &serving]);
    // Four connections to each: with who listens since before, SYN-ACKs have no option, and what comes next has.
    ensure!(syn >= 8 && syn_ack >= 4 && later >= 8, "{syn} SYNs, {syn_ack} SYN-ACKs, {later} others\n{said}");
    ensure!(asking.count("greeted") == Some(8) && serving.count("greeted") == Some(8), "{said}");
    ensure!(asking.count("rewritten").is_none() && serving.count("rewritten").is_none(), "{said}");
    ensure!(asking.count("broadcast").is_none() && asking.count("not_mine").is_none(), "told more than one: {said}");
    ensure!(asking.count("options_failed").is_none() && asking.count("options_no_room").is_none(), "{said}");

    ensure!(objects.iter().any(|(kind, _)| kind == "link"), "no link was there at all");
    wait_gone(&objects)?;
    nat.count(KIND)?;
    last.go()?;
    ensure!(nat.counted()? == [0; 3], "an option is left on the wire: {:?}", nat.counted()?);
    Ok(())
}
