//! Hosts whose agents know nothing of each other: requests carry their contexts in TCP options.

use std::collections::HashSet;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, kernel_objects, wait_gone};
use geophone_tests::drive::{Body, Driver, Template};
use geophone_tests::hosts::Hosts;
use geophone_tests::nat::Nat;
use geophone_tests::netns::Namespace;
use geophone_tests::services::Service;
use geophone_tests::wait;

use crate::hosts::{Tally, plan, said, tally};
use crate::support::{both, flags, pids};

both!(through_three_hosts);

/// Of the option.
const KIND: u8 = 253;

/// An agent of a host, which traces these processes.
fn agent(capture: Capture, host: &Namespace, traced: &[u32]) -> Result<Agent> {
    let group = format!("/{}", host.name());
    let mut arguments = flags(&["--no-tls", "--peer-context", "option", "--peer-cgroup", &group]);
    arguments.extend(pids(traced.iter().copied()));
    Agent::start_on(Some(host), capture, &arguments)
}

/// The client's host, a proxy's host, and the server's: the proxy's own request goes on with the trace that has come to it.
fn through_three_hosts(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let hosts = Hosts::in_groups(3)?;
    let [one, two, three] = [0, 1, 2].map(|index| hosts.get(index));
    let (one, two, three) = (one.context("no host")?, two.context("no host")?, three.context("no host")?);
    let server = Service::go_everywhere_in(&three.namespace)?;
    let proxy =
        Service::nginx_everywhere_in(&two.namespace, SocketAddr::new(three.address.into(), server.address.port()))?;
    let mut plan = plan(SocketAddr::new(two.address.into(), proxy.address.port()), 10);
    // One after the other: of which of several open ones the proxy's thread goes on with, the kernel side knows nothing.
    (plan.connections, plan.workers, plan.late) = (1, 1, true);
    let driver = Driver::start_in(&one.namespace, &plan)?;
    let agents = [
        agent(capture, &one.namespace, &[driver.pid()])?,
        agent(capture, &two.namespace, &proxy.pids())?,
        agent(capture, &three.namespace, &[server.pid()])?,
    ];
    let sent = driver.go()?.sent.len();
    let [first, second, third] = agents;
    first.wait_spans(sent);
    second.wait_spans(2 * sent);
    third.wait_spans(sent);
    let (first, second, third) = (first.finish()?, second.finish()?, third.finish()?);
    let said = said(&[&first, &second, &third]);
    let right = Tally { right: sent, ..Tally::default() };
    // The proxy listens since before the agents: nothing is known of it when the first request goes there.
    let (to_proxy, to_server) = (tally(&first.spans, &second.spans), tally(&second.spans, &third.spans));
    ensure!(to_proxy == right && to_server == right, "{to_proxy:?} {to_server:?}\n{said}");
    let served = second.spans.iter().chain(&third.spans).filter(|span| span.kind == "SERVER");
    ensure!(served.clone().all(|span| span.text("geophone.link") == "option"), "{said}");
    let roots: HashSet<&str> = first.spans.iter().map(|span| span.trace_id.as_str()).collect();
    ensure!(roots.len() == sent, "{} traces of {sent} requests", roots.len());
    let strays = second.spans.iter().chain(&third.spans).filter(|span| !roots.contains(span.trace_id.as_str()));
    ensure!(strays.count() == 0, "a trace that begins on the way:\n{said}");
    ensure!(second.count("injected_apart").is_none(), "{said}");
    for (report, given, taken) in [(&first, sent, 0), (&second, sent, sent), (&third, 0, sent)] {
        let count = |name| report.count(name).unwrap_or(0);
        ensure!(count("contexts_given") == given as u64 && count("contexts_taken") == taken as u64, "{said}");
        ensure!(count("contexts_failed") == 0 && count("contexts_malformed") == 0, "{said}");
    }
    Ok(())
}

/// Through address translation, to who listens since before the agents and to who listens since later; long requests, whose first segment is one of
/// several with the option. Then segments are lost. When the agents have stopped, connections go on, and nothing is left of it.
#[test]
fn through_address_translation() -> Result<()> {
    let _shared = wait::shared();
    let mut nat = Nat::new()?;
    nat.left.group()?;
    nat.right.group()?;
    nat.count(KIND)?;
    let old = Service::go_everywhere_in(&nat.right)?;
    let everything_on = |host: &Namespace| {
        let group = format!("/{}", host.name());
        let more = [
            "--no-tls",
            "--capture-bytes",
            "4096",
            "--peer-context",
            "option",
            "--peer-cgroup",
            &group,
            "--cgroup",
            &group,
        ];
        Agent::start_on(Some(host), Capture::Sockets, &flags(&more))
    };
    let serving = everything_on(&nat.right)?;
    let new = Service::go_everywhere_in(&nat.right)?;
    // Each asks for what no other asks for.
    let client = |service: &Service, word: &str, rounds| {
        let mut plan = plan(SocketAddr::new(nat.front.into(), service.address.port()), rounds);
        let upload = Template::post(&format!("/upload/{{id}}?of={word}"), Body::Length(200_000));
        let long = Template::get(&format!("/echo/{{id}}?of={word}&{}", "long".repeat(700)));
        plan.requests = vec![upload, long, Template::get(&format!("/echo/{{id}}?of={word}"))];
        plan.late = word != "last";
        plan.warmup = if plan.late { Vec::new() } else { vec![Template::get("/echo/{id}?of=warm")] };
        Driver::start_in(&nat.left, &plan)
    };
    nat.pass(old.address.port())?;
    nat.pass(new.address.port())?;
    let asking = everything_on(&nat.left)?;
    let (drivers, lossy) = ([client(&old, "old", 10)?, client(&new, "new", 10)?], client(&new, "lossy", 20)?);
    let mut sent = 0;
    for driver in drivers {
        sent += driver.go()?.sent.len();
    }
    let [syn, _, later] = nat.counted()?;
    ensure!(syn >= 8 && later as usize >= sent, "{syn} SYNs and {later} others have an option");
    nat.lose(20)?;
    let lossy = lossy.go()?.sent.len();
    nat.lose(0)?;
    // Its four connections are open and have sent a request when the agents stop.
    let last = client(&new, "last", 1)?;
    asking.wait_spans(sent + lossy + 4);
    serving.wait_spans(sent + lossy + 4);
    let objects = [kernel_objects(asking.pid()), kernel_objects(serving.pid())].concat();
    let (asking, serving) = (asking.finish()?, serving.finish()?);
    let said = said(&[&asking, &serving]);
    let (lost, kept): (Vec<_>, Vec<_>) = serving
        .spans
        .iter()
        .filter(|span| span.kind == "SERVER" && !span.target().contains("of=warm"))
        .cloned()
        .partition(|span| span.target().contains("of=lossy"));
    let kept = tally(&asking.spans, &kept);
    // To who has not said that it reads contexts, only the first request of each connection could have one; it says so with its answer.
    ensure!(kept == Tally { right: sent, ..Tally::default() }, "{kept:?}\n{said}");
    let lost = tally(&asking.spans, &lost);
    // A segment that has to wait, because others were lost, may leave after its request was told: it has no context then.
    ensure!(lost.wrong == 0 && lost.right * 2 > lossy, "{lost:?}\n{said}");
    ensure!(lost.right + lost.missing == lossy, "{lost:?}\n{said}");

    ensure!(objects.iter().any(|(kind, _)| kind == "link"), "no link was there at all");
    wait_gone(&objects)?;
    nat.count(KIND)?;
    let last = last.go()?.sent.len();
    ensure!(last > 0 && nat.counted()? == [0; 3], "an option is left on the wire: {:?}", nat.counted()?);
    Ok(())
}
