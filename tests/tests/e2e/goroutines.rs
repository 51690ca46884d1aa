//! Which goroutine made a call, and for which one a request was sent. The service itself says what is right: its answers and the
//! requests that it sends have the numbers of goroutines, as Go's stack traces have them.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use geophone::{
    bpf::decode,
    event::{Direction, Event, How, Task},
    recording::{Frame, Reader},
    runtime::{Image, go},
};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::drive::{Driver, Plan, Template};
use geophone_tests::services::Service;
use geophone_tests::{paths, wait};

use crate::support::{both, pids};

both!(a_stripped_program, a_program_that_can_be_moved, a_program_with_c_inside, a_program_with_symbols, calls_by_tls,);

/// Calls for two requests: two by the handler, four by goroutines that it starts.
const CALLS: usize = 6;
const ROUNDS: usize = 20;

/// What a recording says of a service.
#[derive(Debug, Default)]
struct Seen {
    /// Tasks that sent an answer, with what the answer says of them.
    answers: Vec<(Task, Option<Task>)>,
    /// Tasks for which a request was sent, by the claim before it, with what the request says of them.
    calls: Vec<(Option<Task>, Task)>,
    /// Claims, each with its socket.
    claims: Vec<(u64, Task)>,
}

fn task(id: &str, parent: &str) -> Option<Task> {
    Some(Task { id: id.parse().ok()?, parent: parent.parse().ok()? })
}

/// The goroutine in `GET /leaf/ID/PARENT HTTP/1.1`.
fn caller(text: &str) -> Option<Task> {
    let mut parts = text.strip_prefix("GET /leaf/")?.split([' ', '/']);
    task(parts.next()?, parts.next()?)
}

/// The goroutine in the fields of an answer.
fn server(text: &str) -> Option<Task> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    task(field("X-Goroutine")?, field("X-Parent")?)
}

fn read(recording: &Path, pid: u32) -> Result<Seen> {
    let mut reader = Reader::new(File::open(recording)?)?;
    let mut seen = Seen::default();
    while let Some(frame) = reader.next()? {
        let Frame::Record(record) = frame else { continue };
        match decode::event(record).ok().context("a record cannot be decoded")? {
            Event::Data(data) if data.thread.tgid == pid && data.direction == Direction::Send => {
                let text = String::from_utf8_lossy(data.bytes);
                if let Some(caller) = caller(&text) {
                    let claim = seen.claims.iter().rev().find(|(sock, _)| *sock == data.socket.sock);
                    seen.calls.push((claim.map(|(_, task)| *task), caller));
                } else if text.starts_with("HTTP/1.1 ") {
                    seen.answers.push((data.thread.task, server(&text)));
                }
            }
            Event::Handover(handover) if handover.from.tgid == pid => match handover.how {
                How::Claim { sock, .. } => seen.claims.push((sock, handover.from.task)),
                How::Wake(_) => {
                    ensure!(handover.from.task.id == 0, "a wake-up by Go's scheduler was told: {handover:?}");
                }
                How::Clone
                | How::Spawn
                | How::Submit
                | How::Connect(_)
                | How::Idle
                | How::Delegate
                | How::Serve { .. }
                | How::Turn { .. }
                | How::Begin { .. }
                | How::Request { .. }
                | How::Respond { .. } => {}
            },
            _ => {}
        }
    }
    Ok(seen)
}

/// Runs a service under an agent that records it. Also says how many requests it was sent.
fn record(capture: Capture, service: &Service) -> Result<(Seen, usize)> {
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("calls.rec");
    let mut flags = pids([service.pid()]);
    flags.extend(["--record".into(), recording.display().to_string(), "--debug-kernel".into()]);
    let agent = Agent::start(capture, &flags)?;
    // The first request tells the agent that there is such a process.
    let plan = Plan::tcp(service.address, vec![Template::get("/leaf/0/0")]);
    Driver::start(&plan)?.go()?;
    let pid = format!("process {}:", service.pid());
    agent.wait_log(|line| line.contains(&pid) && line.contains("tasks of Go")).context("its runtime is not found")?;
    let mut plan = Plan::tcp(service.address, vec![Template::get("/work/self"), Template::get("/work/child")]);
    plan.connections = 4;
    plan.workers = 4;
    plan.rounds = ROUNDS;
    let sent = Driver::start(&plan)?.go()?.sent;
    ensure!(sent.iter().all(|sent| sent.status == 200), "{sent:?}");
    let report = agent.finish()?;
    ensure!(report.count("lost") == Some(0), "{:?}", report.log);
    ensure!(report.count("unclaimed").is_none(), "{:?}", report.log);
    ensure!(report.count("implausible_task").is_none(), "{:?}", report.log);
    Ok((read(&recording, service.pid())?, sent.len()))
}

/// Each answer was sent by the goroutine that says so, and each request for the one that says so.
fn right(capture: Capture, name: &'static str) -> Result<()> {
    let _shared = wait::shared();
    let (seen, works) = record(capture, &Service::go_calls(name, false)?)?;
    let named: Vec<_> = seen.answers.iter().filter_map(|(found, said)| Some((found, said.as_ref()?))).collect();
    ensure!(named.len() == works, "{} answers of {works}", named.len());
    for (found, said) in named {
        ensure!(found == said, "the answer of {said:?} was sent by {found:?}");
    }
    ensure!(seen.calls.len() == works / 2 * CALLS, "{} calls for {works} requests", seen.calls.len());
    for (found, said) in &seen.calls {
        ensure!(*found == Some(*said), "the request of {said:?} was sent for {found:?}");
    }
    Ok(())
}

fn a_stripped_program(capture: Capture) -> Result<()> {
    right(capture, "go-calls")
}

fn a_program_that_can_be_moved(capture: Capture) -> Result<()> {
    right(capture, "go-calls-pie")
}

fn a_program_with_c_inside(capture: Capture) -> Result<()> {
    right(capture, "go-calls-cgo")
}

fn a_program_with_symbols(capture: Capture) -> Result<()> {
    right(capture, "go-calls-whole")
}

/// What is sent is encrypted, so that only the number of claims and their goroutines can be compared.
fn calls_by_tls(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let (seen, works) = record(capture, &Service::go_calls("go-calls", true)?)?;
    let handlers: Vec<u64> = seen.answers.iter().filter_map(|(_, said)| Some(said.as_ref()?.id)).collect();
    ensure!(handlers.len() == works, "{} answers of {works}", handlers.len());
    // A goroutine whose stack has to grow just then enters the function twice, and its claim comes twice.
    let calls = works / 2 * CALLS;
    ensure!((calls..=calls + calls / 20).contains(&seen.claims.len()), "{} claims of {calls}", seen.claims.len());
    for (_, claim) in &seen.claims {
        ensure!(handlers.contains(&claim.id) || handlers.contains(&claim.parent), "{claim:?} is of no handler");
    }
    Ok(())
}

/// The table of structures is that of the compiler that is installed.
#[test]
fn structures_are_where_the_table_says() -> Result<()> {
    let image = Image::open(&paths::installed("go-calls-whole")?)?.context("no program of this machine")?;
    let layouts = go::layouts(&image)?.context("not made by Go")?;
    let (version, (table, debugging)) = (layouts.version, layouts.go);
    ensure!(debugging == Some(table), "{version}: the table says {table:?}, the program {debugging:?}");
    Ok(())
}
