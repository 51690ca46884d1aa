//! gRPC, in Go and in Python: unary and streaming calls, several at a time, good and failed. What a call does is in its name; see
//! `services/http2`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, Report};
use geophone_tests::child::Guard;
use geophone_tests::services::{Service, grpc_client, grpc_web_client};
use geophone_tests::span::Span;
use geophone_tests::wait;

use crate::support::{both, nothing_lost, port};

both!(go_calls_go, go_calls_python, python_calls_go, deadlines, connection_older_than_the_agent, web, goroutines);

/// What a call does.
#[derive(Clone, Debug)]
pub struct Call {
    kind: &'static str,
    messages: u64,
    answers: u64,
    size: usize,
    pub code: u32,
}

impl Call {
    pub fn method(&self, number: usize) -> String {
        let Self { kind, messages, answers, size, code } = self;
        format!("test.v1.Calls/{kind}_{messages}_{answers}_{size}_{code}_{number}")
    }
}

/// Every kind, with messages from none to some that need many frames.
pub fn calls() -> Vec<Call> {
    let mut calls = Vec::new();
    for size in [0, 40, 3_000, 100_000] {
        for code in [0, 5, 13] {
            let answers = u64::from(code == 0);
            calls.push(Call { kind: "unary", messages: 1, answers, size, code });
            // Streams of the client, of the server, and of both.
            calls.push(Call { kind: "stream", messages: 4, answers, size, code });
            calls.push(Call { kind: "stream", messages: 1, answers: 5, size, code });
            calls.push(Call { kind: "chat", messages: 3, answers: 3, size, code });
        }
    }
    calls
}

fn name(code: u32) -> &'static str {
    match code {
        0 => "OK",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        _ => "INTERNAL",
    }
}

/// A client that has made calls, and is ready for others.
pub struct Client(Guard, BufReader<std::process::ChildStdout>);

impl Client {
    pub fn start(go: bool, service: &Service) -> Result<Self> {
        Self::run(grpc_client(go, service.address)?)
    }

    fn run(mut command: Command) -> Result<Self> {
        let mut guard = Guard::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let output = guard.inner().stdout.take().context("no output")?;
        Ok(Self(guard, BufReader::new(output)))
    }

    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub fn send(&mut self, methods: &[String]) -> Result<()> {
        let input = self.0.inner().stdin.as_mut().context("no input")?;
        let mut lines = String::new();
        methods.iter().try_for_each(|method| writeln!(lines, "/{method}"))?;
        input.write_all(lines.as_bytes())?;
        Ok(input.flush()?)
    }

    /// What so many calls came to, by method.
    pub fn results(&mut self, count: usize) -> Result<HashMap<String, u32>> {
        let mut results = HashMap::new();
        for _ in 0..count {
            let mut line = String::new();
            self.1.read_line(&mut line)?;
            let (method, code) = line.trim().split_once(' ').with_context(|| format!("not a result: {line:?}"))?;
            results.insert(method.trim_start_matches('/').to_owned(), code.parse()?);
        }
        Ok(results)
    }

    pub fn no_more(&mut self) {
        self.0.inner().stdin = None;
    }
}

fn go_calls_go(capture: Capture) -> Result<()> {
    all(capture, &Service::go_grpc()?, true)
}

fn go_calls_python(capture: Capture) -> Result<()> {
    all(capture, &Service::python_grpc()?, true)
}

fn python_calls_go(capture: Capture) -> Result<()> {
    all(capture, &Service::go_grpc()?, false)
}

fn all(capture: Capture, service: &Service, go: bool) -> Result<()> {
    let _shared = wait::shared();
    let agent = Agent::start(capture, &port(service))?;
    let planned: Vec<(String, Call)> =
        calls().into_iter().enumerate().map(|(i, call)| (call.method(i), call)).collect();
    let methods: Vec<String> = planned.iter().map(|(method, _)| method.clone()).collect();
    let mut client = Client::start(go, service)?;
    client.send(&methods)?;
    client.no_more();
    let results = client.results(methods.len())?;
    agent.wait_spans(2 * methods.len());
    let report = agent.finish()?;
    let log = report.log.join("\n");
    ensure!(report.spans.len() == 2 * methods.len(), "{} spans of {}\n{log}", report.spans.len(), methods.len());
    for (method, call) in &planned {
        let result = results.get(method).with_context(|| format!("{method} was not made"))?;
        ensure!(*result == call.code, "{method} came to {result}");
        let [server, client] = ["SERVER", "CLIENT"].map(|kind| find(&report, kind, method));
        let (server, client) = (server?, client?);
        for span in [server, client] {
            says(span, method, call)?;
        }
        ensure!(server.parent_span_id == client.span_id, "another parent: {server:#?}, {client:#?}");
    }
    nothing_lost(&report)
}

/// A span says all of a call.
pub fn says(span: &Span, method: &str, call: &Call) -> Result<()> {
    ensure!(span.name == method && span.text("rpc.system.name") == "grpc", "{span:#?}");
    ensure!(span.text("rpc.response.status_code") == name(call.code), "{span:#?}");
    ensure!(span.number("geophone.grpc.request.messages") == Some(call.messages), "{span:#?}");
    ensure!(span.number("geophone.grpc.response.messages") == Some(call.answers), "{span:#?}");
    ensure!(!span.attributes.contains_key("geophone.incomplete"), "{span:#?}");
    let message = if call.code == 0 { "" } else { "as asked: 100%" };
    ensure!(span.text("geophone.grpc.message") == message, "{span:#?}");
    // That there is no such thing is no failure of a server.
    let failed = call.code != 0 && (span.kind == "CLIENT" || call.code == 13);
    ensure!(span.status == if failed { "ERROR" } else { "UNSET" }, "{span:#?}");
    ensure!(span.text("error.type") == if failed { name(call.code) } else { "" }, "{span:#?}");
    Ok(())
}

pub fn find<'a>(report: &'a Report, kind: &str, method: &str) -> Result<&'a Span> {
    let path = format!("/{method}");
    let is = |span: &&Span| span.kind == kind && (span.text("rpc.method") == method || span.target() == path);
    let mut found = report.spans.iter().filter(is);
    let one = found.next().with_context(|| format!("no {kind} span of {method}\n{}", report.log.join("\n")))?;
    ensure!(found.next().is_none(), "several {kind} spans of {method}");
    Ok(one)
}

/// A server that never answers: the client gives up when its time is over, and the server says so or is told so.
fn deadlines(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go_grpc()?;
    let agent = Agent::start(capture, &port(&service))?;
    let method = Call { kind: "slow", messages: 1, answers: 2, size: 10, code: 0 }.method(0);
    let mut client = Client::start(true, &service)?;
    client.send(std::slice::from_ref(&method))?;
    let results = client.results(1)?;
    ensure!(results.get(&method) == Some(&4), "{results:?}");
    client.no_more();
    agent.wait_spans(2);
    let report = agent.finish()?;
    for kind in ["SERVER", "CLIENT"] {
        let span = find(&report, kind, &method)?;
        let timeout = span.attributes.get("geophone.grpc.timeout").and_then(serde_json::Value::as_f64);
        ensure!(timeout.is_some_and(|seconds| (0.1..=0.3).contains(&seconds)), "{span:#?}");
        let took = (span.end() - span.start()) / 1_000_000;
        ensure!((200..2_000).contains(&took), "{kind} took {took} ms: {span:#?}");
        // Whichever was first: the server's status, or the client's reset.
        let (status, error) = (span.text("rpc.response.status_code"), span.text("error.type"));
        let told = status == "DEADLINE_EXCEEDED" && error == status && span.status == "ERROR";
        let reset = status.is_empty() && if kind == "CLIENT" { error == "CANCEL" } else { error.is_empty() };
        ensure!(told || reset, "{span:#?}");
    }
    nothing_lost(&report)
}

/// What was said before is not known, and said to be unknown; what is said from now on is, and both ends find each other.
fn connection_older_than_the_agent(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go_grpc()?;
    let mut client = Client::start(true, &service)?;
    let call = Call { kind: "unary", messages: 1, answers: 1, size: 40, code: 0 };
    client.send(&[call.method(0), call.method(1)])?;
    client.results(2)?;
    let agent = Agent::start(capture, &port(&service))?;
    let methods: Vec<String> = (2..40).map(|i| call.method(i)).collect();
    client.send(&methods)?;
    client.results(methods.len())?;
    client.no_more();
    agent.wait_spans(2 * methods.len());
    let report = agent.finish()?;
    ensure!(report.spans.len() == 2 * methods.len(), "{} spans\n{}", report.spans.len(), report.log.join("\n"));
    for method in &methods {
        let (server, client) = (find(&report, "SERVER", method)?, find(&report, "CLIENT", method)?);
        for span in [server, client] {
            ensure!(span.number("http.response.status_code").is_none_or(|status| status == 200), "{span:#?}");
            ensure!(span.attributes.contains_key("geophone.incomplete"), "{span:#?}");
        }
        ensure!(server.parent_span_id == client.span_id, "another parent: {server:#?}, {client:#?}");
    }
    nothing_lost(&report)
}

/// gRPC-Web by HTTP/1.1. Where the trailers in the body are beyond what was captured, nothing is said of the outcome; else it is right.
fn web(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::go_grpc_web()?;
    let agent = Agent::start(capture, &port(&service))?;
    let mut planned = Vec::new();
    for size in [0, 40, 3_000, 100_000] {
        for code in [0, 5, 13] {
            planned.push(Call { kind: "unary", messages: 1, answers: u64::from(code == 0), size, code });
            planned.push(Call { kind: "stream", messages: 1, answers: 5, size, code });
        }
    }
    let methods: Vec<String> = planned.iter().enumerate().map(|(i, call)| call.method(i)).collect();
    let mut client = Client::run(grpc_web_client(service.address)?)?;
    client.send(&methods)?;
    client.no_more();
    let results = client.results(methods.len())?;
    agent.wait_spans(2 * methods.len());
    let report = agent.finish()?;
    ensure!(report.spans.len() == 2 * methods.len(), "{} spans\n{}", report.spans.len(), report.log.join("\n"));
    for (method, call) in methods.iter().zip(&planned) {
        ensure!(results.get(method) == Some(&call.code), "{method}: {results:?}");
        let (server, client) = (find(&report, "SERVER", method)?, find(&report, "CLIENT", method)?);
        for span in [server, client] {
            let seen = span.attributes.contains_key("rpc.response.status_code");
            if call.size <= 40 || (seen && span.number("geophone.grpc.request.messages").is_some()) {
                says(span, method, call)?;
            }
            ensure!(seen || (span.status == "UNSET" && span.text("rpc.method") == method), "{span:#?}");
            ensure!(span.text("network.protocol.version") == "1.1", "{span:#?}");
        }
        ensure!(server.parent_span_id == client.span_id, "another parent: {server:#?}, {client:#?}");
    }
    nothing_lost(&report)
}

/// Several calls at once on one connection, each of which makes others on another one, in two levels: whose each is, though it is sent by a
/// goroutine that sends all of them, and served by one that others have read it for. The program is stripped.
fn goroutines(capture: Capture) -> Result<()> {
    const FANS: std::ops::Range<usize> = 100..124;
    let _shared = wait::shared();
    let service = Service::go_grpc()?;
    let agent = Agent::start(capture, &port(&service))?;
    let mut client = Client::start(true, &service)?;
    let methods: Vec<String> =
        FANS.map(|i| Call { kind: "fan", messages: 1, answers: 1, size: 40, code: 1 }.method(i)).collect();
    client.send(&methods)?;
    client.no_more();
    let results = client.results(methods.len())?;
    ensure!(results.values().all(|result| *result == 0), "{results:?}");
    // Each call, three of its own, and three of each of two of those; at both ends.
    let expected = 2 * methods.len() * 10;
    agent.wait_spans(expected);
    let report = agent.finish()?;
    ensure!(report.spans.len() == expected, "{} spans of {expected}\n{}", report.spans.len(), report.log.join("\n"));
    let mut checked = 0;
    for span in report.spans.iter().filter(|span| span.kind == "CLIENT") {
        let (_, number) = span.name.rsplit_once('_').with_context(|| format!("{span:#?}"))?;
        let number: usize = number.parse()?;
        if number < FANS.end {
            continue;
        }
        let parent = report.spans.iter().find(|other| other.span_id == span.parent_span_id);
        let parent = parent.with_context(|| format!("no parent: {span:#?}"))?;
        let (_, above) = parent.name.rsplit_once('_').with_context(|| format!("{parent:#?}"))?;
        ensure!(
            parent.kind == "SERVER" && above.parse::<usize>()? == number / 10,
            "another parent: {span:#?}, {parent:#?}"
        );
        ensure!(span.text("geophone.link") == "task", "{span:#?}");
        checked += 1;
    }
    ensure!(checked == methods.len() * 9, "{checked} calls\n{}", report.log.join("\n"));
    nothing_lost(&report)
}
