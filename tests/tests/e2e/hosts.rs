//! Hosts with an agent each, which tell each other which request caused which. Network namespaces play the hosts; as all agents see the
//! whole kernel, each is restricted to the processes of its own host.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, Report};
use geophone_tests::drive::{Driver, Plan, Template};
use geophone_tests::hosts::Hosts;
use geophone_tests::nat::Nat;
use geophone_tests::netns::Namespace;
use geophone_tests::relay::{Fate, Relay};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::wait;
use rustix::process::Signal;

use crate::support::{both, flags, pids};

both!(connections_older_than_the_agents, new_connections, three_hosts_with_a_proxy);

pub const KEY: &str = "correct horse battery staple, and more";

/// A file with a key.
fn key(text: &str) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// An agent of a host, which traces these processes.
pub fn agent(capture: Capture, namespace: &Namespace, traced: &[u32], secret: &str, more: &[&str]) -> Result<Agent> {
    let file = key(secret)?;
    let mut arguments = flags(&["--peer-key-file", file.path().to_str().context("not UTF-8")?]);
    arguments.extend(pids(traced.iter().copied()));
    arguments.extend(flags(more));
    Agent::start_on(Some(namespace), capture, &arguments)
}

/// What one agent says of requests and another of whose parents they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub right: usize,
    pub wrong: usize,
    pub missing: usize,
}

/// Compares what was served with what was asked: the parent of the one is the other.
pub fn tally(asked: &[Span], served: &[Span]) -> Tally {
    let client = |span: &&Span| span.kind == "CLIENT";
    let by_target: HashMap<String, &Span> = asked.iter().filter(client).map(|span| (span.target(), span)).collect();
    let mut tally = Tally::default();
    for span in served.iter().filter(|span| span.kind == "SERVER") {
        match by_target.get(&span.target()) {
            _ if span.parent_span_id.is_empty() => tally.missing += 1,
            Some(cause) if cause.span_id == span.parent_span_id && cause.trace_id == span.trace_id => tally.right += 1,
            _ => tally.wrong += 1,
        }
    }
    tally
}

pub fn said(reports: &[&Report]) -> String {
    reports.iter().map(|report| report.log.join("\n")).collect::<Vec<_>>().join("\n")
}

/// All that was asked was served, and has its parent.
pub fn all_right(asking: &Report, serving: &Report, count: usize) -> Result<()> {
    let found = tally(&asking.spans, &serving.spans);
    ensure!(found == Tally { right: count, ..Tally::default() }, "{found:?}\n{}", said(&[asking, serving]));
    ensure!(serving.count("late") == Some(0) && serving.count("forged") == Some(0), "{}", said(&[serving]));
    Ok(())
}

pub fn plan(address: SocketAddr, rounds: usize) -> Plan {
    let mut plan = Plan::tcp(address, vec![Template::get("/echo/{id}"), Template::get("/bytes/50000/{id}")]);
    (plan.connections, plan.workers, plan.rounds) = (4, 2, rounds);
    plan
}

/// Requests of one host to another, whose agents find each other by the addresses of the connections.
fn two(capture: Capture, late: bool) -> Result<()> {
    let _shared = wait::shared();
    let hosts = Hosts::new(2)?;
    let (one, two) = (hosts.get(0).context("no host")?, hosts.get(1).context("no host")?);
    let service = Service::go_everywhere_in(&two.namespace)?;
    let mut plan = plan(SocketAddr::new(two.address.into(), service.address.port()), 20);
    plan.late = late;
    let driver = Driver::start_in(&one.namespace, &plan)?;
    let asking = agent(capture, &one.namespace, &[driver.pid()], KEY, &[])?;
    let serving = agent(capture, &two.namespace, &[service.pid()], KEY, &[])?;
    let sent = driver.go()?.sent.len();
    asking.wait_spans(sent);
    serving.wait_spans(sent);
    let (asking, serving) = (asking.finish()?, serving.finish()?);
    all_right(&asking, &serving, sent)?;
    ensure!(serving.spans.iter().all(|span| span.text("geophone.link") == "peer"), "{}", said(&[&serving]));
    Ok(())
}

/// Where the kernel has counted the SYN of who asks, and nobody knows.
fn connections_older_than_the_agents(capture: Capture) -> Result<()> {
    two(capture, false)
}

fn new_connections(capture: Capture) -> Result<()> {
    two(capture, true)
}

/// The client's host, a proxy's host, and the server's: the proxy's own request follows from the one it serves.
fn three_hosts_with_a_proxy(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let hosts = Hosts::new(3)?;
    let [one, two, three] = [0, 1, 2].map(|index| hosts.get(index));
    let (one, two, three) = (one.context("no host")?, two.context("no host")?, three.context("no host")?);
    let server = Service::go_everywhere_in(&three.namespace)?;
    let behind = SocketAddr::new(three.address.into(), server.address.port());
    let proxy = Service::nginx_everywhere_in(&two.namespace, behind)?;
    let mut plan = plan(SocketAddr::new(two.address.into(), proxy.address.port()), 10);
    // One after the other, so that nobody has to tell which of the proxy's requests belongs to which.
    (plan.connections, plan.workers) = (1, 1);
    let driver = Driver::start_in(&one.namespace, &plan)?;
    let agents = [
        agent(capture, &one.namespace, &[driver.pid()], KEY, &[])?,
        agent(capture, &two.namespace, &proxy.pids(), KEY, &[])?,
        agent(capture, &three.namespace, &[server.pid()], KEY, &[])?,
    ];
    let sent = driver.go()?.sent.len();
    let [first, second, third] = agents;
    first.wait_spans(sent);
    second.wait_spans(2 * sent);
    third.wait_spans(sent);
    let (first, second, third) = (first.finish()?, second.finish()?, third.finish()?);
    all_right(&first, &second, sent)?;
    all_right(&second, &third, sent)?;
    let roots: HashMap<&str, usize> = first.spans.iter().map(|span| (span.trace_id.as_str(), 0)).collect();
    ensure!(roots.len() == sent, "{} traces of {sent} requests", roots.len());
    let strays = second.spans.iter().chain(&third.spans).filter(|span| !roots.contains_key(span.trace_id.as_str()));
    ensure!(strays.count() == 0, "a trace that begins on the way:\n{}", said(&[&first, &second, &third]));
    Ok(())
}

/// Neither knows the other's address, and the agent of who asks has been told where the other one is.
#[test]
fn through_address_translation() -> Result<()> {
    let _shared = wait::shared();
    let nat = Nat::new()?;
    let service = Service::go_everywhere_in(&nat.right)?;
    nat.pass(service.address.port())?;
    let driver = Driver::start_in(&nat.left, &plan(SocketAddr::new(nat.front.into(), service.address.port()), 20))?;
    let serving = agent(Capture::Sockets, &nat.right, &[service.pid()], KEY, &[])?;
    let hidden = nat.hidden.to_string();
    let asking = agent(Capture::Sockets, &nat.left, &[driver.pid()], KEY, &["--peer", &hidden])?;
    let sent = driver.go()?.sent.len();
    asking.wait_spans(sent);
    serving.wait_spans(sent);
    let (asking, serving) = (asking.finish()?, serving.finish()?);
    all_right(&asking, &serving, sent)?;
    let back = nat.back.to_string();
    ensure!(serving.spans.iter().all(|span| span.text("client.address") == back), "it is not translated");
    Ok(())
}

/// Nobody holds anything for an agent with another key, and nothing of it is believed.
#[test]
fn another_key() -> Result<()> {
    let _shared = wait::shared();
    let hosts = Hosts::new(2)?;
    let (one, two) = (hosts.get(0).context("no host")?, hosts.get(1).context("no host")?);
    let service = Service::go_everywhere_in(&two.namespace)?;
    let driver =
        Driver::start_in(&one.namespace, &plan(SocketAddr::new(two.address.into(), service.address.port()), 5))?;
    let asking = agent(Capture::Sockets, &one.namespace, &[driver.pid()], KEY, &[])?;
    let serving =
        agent(Capture::Sockets, &two.namespace, &[service.pid()], "another secret of its own, and long", &[])?;
    let sent = driver.go()?.sent.len();
    asking.wait_spans(sent);
    serving.wait_spans(sent);
    serving.wait_log(|line| line.contains("does an agent there have another key?"))?;
    let (asking, serving) = (asking.finish()?, serving.finish()?);
    let found = tally(&asking.spans, &serving.spans);
    ensure!(found == Tally { missing: sent, ..Tally::default() }, "{found:?}\n{}", said(&[&asking, &serving]));
    ensure!(serving.count("forged").is_some_and(|count| count >= 3), "{}", said(&[&serving]));
    ensure!(asking.count("told") == Some(0), "{}", said(&[&asking]));
    Ok(())
}

/// A client that sends for some seconds, and its server, one on each host.
fn slow(hosts: &Hosts, rounds: usize) -> Result<(Service, Driver)> {
    let (one, two) = (hosts.get(0).context("no host")?, hosts.get(1).context("no host")?);
    let service = Service::go_everywhere_in(&two.namespace)?;
    let address = SocketAddr::new(two.address.into(), service.address.port());
    let mut plan = Plan::tcp(address, vec![Template::get("/slow/50/{id}")]);
    (plan.connections, plan.workers, plan.rounds) = (4, 4, rounds);
    let driver = Driver::start_in(&one.namespace, &plan)?;
    Ok((service, driver))
}

/// What was told the agent before is lost; what comes after is not.
#[test]
fn an_agent_that_is_started_again() -> Result<()> {
    let _shared = wait::shared();
    let hosts = Hosts::new(2)?;
    let (one, two) = (hosts.get(0).context("no host")?, hosts.get(1).context("no host")?);
    let (service, driver) = slow(&hosts, 120)?;
    let asking = agent(Capture::Sockets, &one.namespace, &[driver.pid()], KEY, &[])?;
    let before = agent(Capture::Sockets, &two.namespace, &[service.pid()], KEY, &[])?;
    let client = thread::spawn(move || driver.go());
    before.wait_spans(20);
    let before = before.finish()?;
    let after = agent(Capture::Sockets, &two.namespace, &[service.pid()], KEY, &[])?;
    let sent = client.join().ok().context("the client failed")??.sent.len();
    asking.wait_spans(sent);
    let end = asking.finish()?;
    // The agent of who asks has said good-bye, so nothing waits for it.
    let after = after.finish()?;
    let (first, second) = (tally(&end.spans, &before.spans), tally(&end.spans, &after.spans));
    let said = said(&[&end, &before, &after]);
    ensure!(first.wrong + second.wrong == 0, "{first:?} {second:?}\n{said}");
    // What was under way at either end of the first agent, and until the second one was found.
    ensure!(first.missing <= 8 && first.right >= 8, "{first:?}\n{said}");
    ensure!(second.missing <= 16 && second.right > 40, "{second:?}\n{said}");
    Ok(())
}

/// Requests are held for it no longer than a second, and after some seconds not at all.
#[test]
fn an_agent_that_dies() -> Result<()> {
    let _shared = wait::shared();
    let hosts = Hosts::new(2)?;
    let (one, two) = (hosts.get(0).context("no host")?, hosts.get(1).context("no host")?);
    let (service, driver) = slow(&hosts, 200)?;
    let asking = agent(Capture::Sockets, &one.namespace, &[driver.pid()], KEY, &[])?;
    let serving = agent(Capture::Sockets, &two.namespace, &[service.pid()], KEY, &[])?;
    let client = thread::spawn(move || driver.go());
    serving.wait_spans(40);
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(asking.pid())?).context("no process")?,
        Signal::KILL,
    )?;
    let sent = client.join().ok().context("the client failed")??.sent.len();
    serving.wait_spans(sent);
    let serving = serving.finish()?;
    drop(asking);
    let (mut linked, mut unlinked) = (0, 0);
    for span in serving.spans.iter().filter(|span| span.kind == "SERVER") {
        if span.parent_span_id.is_empty() { unlinked += 1 } else { linked += 1 }
    }
    let said = said(&[&serving]);
    ensure!(linked + unlinked == sent && linked >= 30 && unlinked >= 100, "{linked} {unlinked}\n{said}");
    ensure!(serving.count("gone") == Some(1), "{said}");
    let missed = serving.count("missed").context("nothing was held")?;
    ensure!((1..sent as u64).contains(&missed), "{said}");
    Ok(())
}

/// Two hosts whose agents talk through a relay.
fn relayed(there: Fate, back: Fate) -> Result<(Report, Report, usize)> {
    let hosts = Hosts::new(2)?;
    let (one, two) = (hosts.get(0).context("no host")?, hosts.get(1).context("no host")?);
    let (service, driver) = slow(&hosts, 100)?;
    let relay = Relay::start(SocketAddr::new(two.outside.into(), 4419), there, back)?;
    let off = ["--peer-discover", "off"];
    let serving = agent(Capture::Sockets, &two.namespace, &[service.pid()], KEY, &off)?;
    let peer = format!("{}:{}", one.namespace.host, relay.port());
    let more = [&off[..], &["--peer", &peer]].concat();
    let asking = agent(Capture::Sockets, &one.namespace, &[driver.pid()], KEY, &more)?;
    asking.wait_log(|line| line.contains("found the agent"))?;
    let sent = driver.go()?.sent.len();
    asking.wait_spans(sent);
    serving.wait_spans(sent);
    let reports = (asking.finish()?, serving.finish()?, sent);
    relay.finish()?;
    Ok(reports)
}

#[test]
fn one_datagram_of_five_is_lost() -> Result<()> {
    let _shared = wait::shared();
    // Neither way loses the same, and neither in a regular way.
    let lossy = |mut state: u64| -> Fate {
        Box::new(move |_, bytes| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (state >> 33).is_multiple_of(5) { Vec::new() } else { vec![bytes.to_vec()] }
        })
    };
    let (asking, serving, sent) = relayed(lossy(1), lossy(2))?;
    let found = tally(&asking.spans, &serving.spans);
    let said = said(&[&asking, &serving]);
    ensure!(
        found.wrong == 0 && found.missing * 100 <= sent && found.right + found.missing == sent,
        "{found:?}\n{said}"
    );
    ensure!(asking.count("resent").is_some_and(|count| count > 10), "{said}");
    Ok(())
}

#[test]
fn datagrams_are_repeated_changed_and_forged() -> Result<()> {
    let _shared = wait::shared();
    let mut recorded: Vec<Vec<u8>> = Vec::new();
    let there: Fate = Box::new(move |number, bytes| {
        let mut changed = bytes.to_vec();
        if let Some(byte) = changed.get_mut(number as usize % bytes.len().max(1)) {
            *byte ^= 0x20;
        }
        let cut = bytes.get(..bytes.len() / 2).unwrap_or_default().to_vec();
        let old = recorded.get(number as usize / 2).cloned();
        recorded.push(bytes.to_vec());
        [bytes.to_vec(), bytes.to_vec(), changed, cut, vec![1, 9]].into_iter().chain(old).collect()
    });
    let back: Fate = Box::new(|_, bytes| vec![bytes.to_vec()]);
    let (asking, serving, sent) = relayed(there, back)?;
    let found = tally(&asking.spans, &serving.spans);
    let said = said(&[&asking, &serving]);
    ensure!(found == Tally { right: sent, ..Tally::default() }, "{found:?}\n{said}");
    for counter in ["replayed", "malformed", "forged"] {
        ensure!(serving.count(counter).is_some_and(|count| count > 10), "{counter}\n{said}");
    }
    Ok(())
}

/// What makes no sense is said before anything is loaded.
#[test]
fn bad_settings() -> Result<()> {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let listen = taken.local_addr()?.to_string();
    let file = key(KEY)?;
    let file = file.path().to_str().context("not UTF-8")?;
    let cases: [(&[&str], &str); 4] = [
        (&["--peer", "a"], "--peer needs a key"),
        (&["--peer-key-file", "/nowhere"], "--peer-key-file /nowhere: No such file"),
        (&["--peer-key-file", file, "--peer-listen", &listen], "another agent may run on this host"),
        (&["--peer-key-file", file, "--peer-listen", "192.0.2.1:4419"], "it is no address of this host"),
    ];
    for (words, expected) in cases {
        let mut command = std::process::Command::new(geophone_tests::paths::agent()?);
        command.arg("run").args(words);
        let said = geophone_tests::agent::say(&mut command)?;
        ensure!(!said.status.success() && said.stderr.contains(expected), "{words:?}: {}", said.stderr);
    }
    Ok(())
}
