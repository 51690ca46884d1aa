//! Contexts that are written into requests: what arrives, what is left alone, and that spans have the ids that were on the wire. The client
//! is this process, so that every byte is known.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, Report};
use geophone_tests::{paths, wait};

use crate::support::{both, flags};

both!(contexts_are_written_and_exported);

/// `traceparent: 00-TRACE-SPAN-01` and the end of the line.
const HEADER: usize = 70;
/// A trace that comes from elsewhere.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

const ANSWER: &[u8; 40] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A connection of this process to itself, whose server says what has arrived.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(wait::PATIENCE))?;
            end.set_nodelay(true)?;
        }
        Ok(Self { client, server })
    }

    /// Sends a request in these pieces, answers it on another thread, and returns what has arrived.
    fn ask(&mut self, pieces: &[&str], more: usize) -> Result<String> {
        let mut arrived = vec![0; pieces.iter().map(|piece| piece.len()).sum::<usize>() + more];
        let Self { client, server } = self;
        thread::scope(|scope| -> Result<()> {
            let answers = scope.spawn(|| {
                server.read_exact(&mut arrived)?;
                server.write_all(ANSWER)
            });
            for piece in pieces {
                client.write_all(piece.as_bytes())?;
                // So that nothing is under way when the next one is sent.
                thread::sleep(Duration::from_millis(20));
            }
            let mut answer = [0; ANSWER.len()];
            client.read_exact(&mut answer)?;
            ensure!(answer == *ANSWER, "another answer");
            answers.join().ok().context("the server failed")?.context("the server")
        })?;
        Ok(String::from_utf8(arrived)?)
    }

    /// Sends a request that is given a header, and returns its trace and span.
    fn injected(&mut self, pieces: &[&str]) -> Result<(String, String)> {
        let mut arrived = self.ask(pieces, HEADER)?;
        let line = arrived.find('\n').context("no line")? + 1;
        let header: String = arrived.drain(line..line + HEADER).collect();
        ensure!(arrived == pieces.concat(), "{arrived:?} has arrived");
        let value = header.strip_prefix("traceparent: 00-").and_then(|rest| rest.strip_suffix("-01\r\n"));
        let (trace, span) = value.and_then(|value| value.split_once('-')).with_context(|| format!("{header:?}"))?;
        Ok((trace.to_owned(), span.to_owned()))
    }

    /// Sends a request that is left as it is.
    fn untouched(&mut self, pieces: &[&str]) -> Result<()> {
        let arrived = self.ask(pieces, 0)?;
        ensure!(arrived == pieces.concat(), "{arrived:?} has arrived");
        Ok(())
    }
}

/// Serves one request on a thread of its own, and makes two calls meanwhile: their traces and spans.
fn serve(head: &'static str) -> Result<Vec<(String, String)>> {
    let Pair { mut client, server } = Pair::new()?;
    let (say, heard) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let served = || -> Result<_> {
            let mut front = server;
            let mut request = vec![0; head.len() + if head.contains("traceparent") { 0 } else { HEADER }];
            front.read_exact(&mut request)?;
            let calls = ["GET /first HTTP/1.1\r\nHost: a\r\n\r\n", "GET /second HTTP/1.1\r\nHost: a\r\n\r\n"];
            let calls = calls.map(|call| Pair::new().and_then(|mut pair| pair.injected(&[call])));
            front.write_all(ANSWER)?;
            calls.into_iter().collect()
        };
        // Whoever waits for it has given up.
        let _ = say.send(served());
    });
    client.write_all(head.as_bytes())?;
    client.read_exact(&mut [0; ANSWER.len()])?;
    heard.recv_timeout(wait::PATIENCE)?
}

fn start(capture: Capture) -> Result<Agent> {
    let own = std::process::id();
    let arguments = format!("--pid {own} --inject-headers pid={own} --inject-unsafe");
    Agent::start(capture, &flags(&arguments.split(' ').collect::<Vec<_>>()))
}

fn contexts_are_written_and_exported(capture: Capture) -> Result<()> {
    // Other tests are threads of this process, which is chosen as a whole.
    let _alone = wait::alone();
    let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut before = Pair::new()?;
    before.untouched(&[get])?;
    let agent = start(capture)?;
    before.untouched(&[get])?;
    let mut pair = Pair::new()?;
    let mut sent = vec![
        pair.injected(&[get])?,
        // A body that looks like a request, and comes by itself.
        pair.injected(&["POST /b HTTP/1.1\r\nContent-Length: 27\r\n\r\n", "GET / HTTP/1.1\r\nHost: b\r\n\r\n"])?,
    ];
    pair.untouched(&["GET /carries HTTP/1.1\r\nX-B3-TraceId: 1\r\n\r\n"])?;
    pair.untouched(&["GET /signed HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a\r\n\r\n"])?;
    pair.untouched(&["GET /signed?X-Amz-Signature=a HTTP/1.1\r\nHost: a\r\n\r\n"])?;
    sent.push(pair.injected(&["GET /token HTTP/1.1\r\nAuthorization: Bearer a\r\n\r\n"])?);
    // From here on it is not known where requests begin.
    let mut chunked = Pair::new()?;
    sent.push(chunked.injected(&["PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n"])?);
    chunked.untouched(&[get])?;
    let mut other = Pair::new()?;
    other.untouched(&["SSH-2.0-something that is no request\r\n"])?;
    other.untouched(&[get])?;
    // Served with a context, and without.
    let continued =
        serve("GET /in HTTP/1.1\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n")?;
    ensure!(continued.iter().all(|(trace, _)| trace == TRACE), "{continued:?}");
    let begun = serve("GET /in HTTP/1.1\r\nHost: a\r\n\r\n")?;
    let [(first, _), (second, _)] = &*begun else { anyhow::bail!("{begun:?}") };
    ensure!(first == second && first != TRACE, "{begun:?}");
    sent.extend(continued.into_iter().chain(begun));
    let report = agent.finish()?;
    for pair in [&mut before, &mut pair] {
        pair.untouched(&[get])?;
    }
    exported(&report, &sent)
}

/// What was on the wire is what comes out.
fn exported(report: &Report, sent: &[(String, String)]) -> Result<()> {
    for (trace, span) in sent {
        let mut found = report.spans.iter().filter(|s| s.span_id == *span);
        let client = found.next().with_context(|| format!("no span {span} of {sent:?}: {:#?}", report.log))?;
        ensure!((&*client.kind, &client.trace_id) == ("CLIENT", trace) && found.next().is_none(), "{client:#?}");
        let server = report.spans.iter().find(|s| s.parent_span_id == *span && s.kind == "SERVER");
        let server = server.with_context(|| format!("nothing hangs under {client:#?}"))?;
        ensure!(server.trace_id == *trace, "{server:#?}");
    }
    // Those that were made for a request hang under it.
    let calls: Vec<_> = report.spans.iter().filter(|s| s.text("url.full").ends_with("/first")).collect();
    ensure!(calls.len() == 2, "{calls:#?}");
    for call in calls {
        let request = report.spans.iter().find(|s| s.span_id == call.parent_span_id);
        let request = request.with_context(|| format!("{call:#?} has no parent"))?;
        ensure!(
            (&*request.kind, &*request.name, &request.trace_id) == ("SERVER", "GET /in", &call.trace_id),
            "{request:#?}"
        );
    }
    // The request that was served without a context was sent with one that was written, too.
    ensure!(report.count("injected") == Some(sent.len() as u64 + 1), "{:#?}", report.log);
    ensure!(report.count("inject_carried") == Some(2) && report.count("inject_signed") == Some(2), "{:#?}", report.log);
    Ok(())
}

/// Either the kernel is as it should be, or it is said what it breaks; `doctor` says the same.
#[test]
fn kernels_that_break_sockets_are_refused() -> Result<()> {
    let _shared = wait::shared();
    let mut agent = Command::new(paths::agent()?);
    let flags = ["run", "--duration", "100ms", "--output", "none", "--no-tls", "--inject-headers", "exe=nobody"];
    let run = agent.args(flags).output()?;
    let said = String::from_utf8(run.stderr)?;
    let doctor = Command::new(paths::agent()?).args(["doctor", "--json", "--inject-headers"]).output()?;
    let doctor = String::from_utf8(doctor.stdout)?;
    if run.status.success() {
        ensure!(doctor.contains("sockets work as before"), "{doctor}");
    } else {
        ensure!(said.contains("--inject-headers is refused: on this kernel (") && said.contains("FIONREAD"), "{said}");
        ensure!(doctor.contains("refused: sockets would break"), "{doctor}");
    }
    Ok(())
}
