//! What most tests do: start an agent, let a client send, compare.

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, Report};
use geophone_tests::check::{Expected, Side, check};
use geophone_tests::drive::{Driver, Exchanged, Plan};
use geophone_tests::services::Service;
use geophone_tests::span::Span;

/// Makes a test of each function for each of the agent's two ways to capture.
macro_rules! both {
    ($($name:ident),+ $(,)?) => {
        mod sockets {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                super::$name(geophone_tests::agent::Capture::Sockets)
            })+
        }
        mod syscalls {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                super::$name(geophone_tests::agent::Capture::Syscalls)
            })+
        }
    };
}
pub(crate) use both;

/// Flags from words.
pub fn flags(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The span that another one hangs under.
pub fn parent<'a>(span: &Span, spans: &'a [Span]) -> Result<&'a Span> {
    let parent = spans.iter().find(|parent| parent.span_id == span.parent_span_id);
    parent.with_context(|| format!("{span:#?} has no parent"))
}

/// A span hangs under the other end of the same, which is of this kind.
pub fn hangs_under(span: &Span, kind: &str, spans: &[Span]) -> Result<()> {
    let parent = parent(span, spans)?;
    ensure!((&*parent.kind, &parent.name) == (kind, &span.name), "{span:#?} hangs under {parent:#?}");
    Ok(())
}

/// `--port` of a service.
pub fn port(service: &Service) -> Vec<String> {
    flags(&["--port", &service.address.port().to_string()])
}

/// `--pid` for each of some processes.
pub fn pids(pids: impl IntoIterator<Item = u32>) -> Vec<String> {
    pids.into_iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]).collect()
}

/// Sends a plan under an agent that traces the service's port, and checks both sides' spans.
pub fn trace(capture: Capture, service: &Service, plan: &Plan) -> Result<Vec<Exchanged>> {
    trace_with(capture, service, plan, None)
}

/// The same, where some requests have what the agent cannot see.
pub fn trace_with(
    capture: Capture,
    service: &Service,
    plan: &Plan,
    unseen: Option<fn(&Exchanged) -> bool>,
) -> Result<Vec<Exchanged>> {
    let agent = Agent::start(capture, &port(service))?;
    let driver = Driver::start(plan)?;
    ensure!(plan.warmup.is_empty(), "what is sent before the client is told to go is not expected here");
    let client = client(&driver, service);
    let sent = driver.go()?.sent;
    compare(agent, &sent, Some(service.side()), Some(client), unseen)?;
    Ok(sent)
}

/// The same for a server on a Unix socket, where the two processes are selected.
pub fn trace_unix(capture: Capture, service: &Service, mut plan: Plan) -> Result<Vec<Exchanged>> {
    plan.late = true;
    let driver = Driver::start(&plan)?;
    let agent = Agent::start(capture, &pids([service.pid(), driver.pid()]))?;
    let client = client(&driver, service);
    let sent = driver.go()?.sent;
    compare(agent, &sent, Some(service.side()), Some(client), None)?;
    Ok(sent)
}

/// What the client's spans should say of it.
pub fn client(driver: &Driver, service: &Service) -> Side {
    Side {
        pids: vec![driver.pid()],
        service: "drive".into(),
        peer: String::new(),
        port: service.address.port(),
        tls: false,
    }
}

/// Ends the agent and compares its spans with what was sent; nothing may be lost.
pub fn compare(
    agent: Agent,
    sent: &[Exchanged],
    server: Option<Side>,
    client: Option<Side>,
    unseen: Option<fn(&Exchanged) -> bool>,
) -> Result<Report> {
    let sides = usize::from(server.is_some()) + usize::from(client.is_some());
    agent.wait_spans(sides * sent.len());
    let report = agent.finish()?;
    let said = || report.log.join("\n");
    check(&report.spans, &Expected { sent, server, client, unseen }).with_context(said)?;
    ensure!(report.count("lost") == Some(0), "something was lost:\n{}", said());
    Ok(report)
}

/// The summary says that nothing was lost in capture, nor dropped on the way out.
pub fn nothing_lost(report: &Report) -> Result<()> {
    let (lost, dropped) = (report.count("lost"), report.count("dropped").unwrap_or(0));
    ensure!((lost, dropped) == (Some(0), 0), "something was lost:\n{}", report.log.join("\n"));
    Ok(())
}
