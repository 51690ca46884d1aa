//! Contexts that are written into requests of HTTP/2, sent by real clients: nothing is damaged, spans have the ids that were on the wire, and
//! what carries a context of its own is left alone.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, Report};
use geophone_tests::child::Guard;
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::{paths, wait};

use crate::grpc::{self, Client};
use crate::support::{both, flags, nothing_lost, pids};

both!(contexts_are_written_into_http2);

/// A trace that comes from elsewhere.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A client that waits to be told what to ask for.
struct Node(Guard);

impl Node {
    fn start(service: &Service) -> Result<Self> {
        let mut command = Command::new(paths::program("node")?);
        command.arg(paths::service("node/http2_client.js")).arg(service.address.to_string());
        Ok(Self(Guard::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?))
    }

    /// Asks for targets, one after the other and on one connection, each with a header or without; says how long the answers are.
    fn ask(mut self, targets: &[(&str, &str)]) -> Result<Vec<usize>> {
        let mut input = self.0.inner().stdin.take().context("no input")?;
        for (target, header) in targets {
            writeln!(input, "{target}{header}")?;
        }
        drop(input);
        let mut answers = String::new();
        self.0.inner().stdout.take().context("no output")?.read_to_string(&mut answers)?;
        ensure!(self.0.wait(wait::PATIENCE)?.success(), "node failed: {answers}");
        Ok(answers.lines().map(str::parse).collect::<Result<_, _>>()?)
    }
}

fn contexts_are_written_into_http2(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let (calls, web) = (Service::go_grpc()?, Service::go_h2c()?);
    // None of them is connected yet.
    let mut clients = [Client::start(true, &calls)?, Client::start(false, &calls)?];
    let node = Node::start(&web)?;
    let asking = [clients[0].pid(), clients[1].pid(), node.0.pid()];
    let mut arguments = pids(asking.into_iter().chain([calls.pid(), web.pid()]));
    arguments.extend(asking.iter().flat_map(|pid| flags(&["--inject-headers", &format!("pid={pid}")])));
    arguments.extend(flags(&["--inject-unsafe"]));
    let agent = Agent::start(capture, &arguments)?;

    // Several at a time, with bodies that are many times as long as a frame; twice the same ones, so that heads are short.
    let planned: Vec<_> = grpc::calls().into_iter().enumerate().map(|(i, call)| (call.method(i), call)).collect();
    let methods =
        |client: usize| planned.iter().map(move |(method, _)| format!("{method}{client}")).collect::<Vec<_>>();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(&methods(i))?;
    }
    // It begins when it has been told all.
    clients[1].no_more();
    let carries = format!("\ttraceparent\t00-{TRACE}-{PARENT}-01");
    let asked = [
        ("/echo/first", ""),
        ("/bytes/300000", ""),
        ("/echo/token", "\tauthorization\tBearer abc"),
        ("/echo/carries", &carries),
        ("/echo/last", ""),
    ];
    let lengths = node.ask(&asked)?;
    ensure!(lengths == [5, 300_000, 5, 7, 4], "{lengths:?}");
    for (i, client) in clients.iter_mut().enumerate() {
        came_to(client, &methods(i), &planned)?;
    }
    agent.wait_spans(2 * (clients.len() * planned.len() + asked.len()));
    let report = agent.finish()?;
    // Connections go on without the agent.
    clients[0].send(&methods(0))?;
    came_to(&mut clients[0], &methods(0), &planned)?;
    for i in 0..clients.len() {
        for (method, (_, call)) in methods(i).iter().zip(&planned) {
            let (client, server) = (grpc::find(&report, "CLIENT", method)?, grpc::find(&report, "SERVER", method)?);
            grpc::says(client, method, call)?;
            grpc::says(server, method, call)?;
            is_joined(client, server)?;
        }
    }
    let written = clients.len() * planned.len() + 3;
    // What cannot be sent at once is left alone.
    let (injected, busy) = (report.count("injected").unwrap_or(0), report.count("inject_busy").unwrap_or(0));
    ensure!(injected + busy == written as u64 && injected > busy, "{written}: {:#?}", report.log);
    ensure!(report.count("inject_carried") == Some(1), "{:#?}", report.log);
    for (target, header) in &asked {
        let (client, server) = (find(&report, "CLIENT", target)?, find(&report, "SERVER", target)?);
        is_joined(client, server)?;
        let is_carried = header.contains(TRACE);
        ensure!(is_carried == (client.trace_id == TRACE), "{client:#?}");
    }
    nothing_lost(&report)
}

/// As many calls as were planned have come to what was planned.
fn came_to(client: &mut Client, methods: &[String], planned: &[(String, grpc::Call)]) -> Result<()> {
    let results = client.results(methods.len())?;
    for (method, (_, call)) in methods.iter().zip(planned) {
        ensure!(results.get(method) == Some(&call.code), "{method} came to {:?}", results.get(method));
    }
    Ok(())
}

fn find<'a>(report: &'a Report, kind: &str, target: &str) -> Result<&'a Span> {
    let mut found = report.spans.iter().filter(|span| span.kind == kind && span.target() == target);
    let one = found.next().with_context(|| format!("no {kind} span of {target}: {:#?}", report.log))?;
    ensure!(found.next().is_none(), "several {kind} spans of {target}");
    Ok(one)
}

/// What was on the wire is what comes out: the server knows the client by its header.
fn is_joined(client: &Span, server: &Span) -> Result<()> {
    ensure!(server.parent_span_id == client.span_id && server.trace_id == client.trace_id, "{client:#?}, {server:#?}");
    Ok(())
}
