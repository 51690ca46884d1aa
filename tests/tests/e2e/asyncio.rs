//! CPython's asyncio, and its pools of threads: what the kernel side says of tasks, against what the service says of itself. The interpreter of the virtual
//! environment, Debian's own, which is stripped, and those that `GEOPHONE_TEST_PYTHON` lists, separated by colons.

use std::collections::HashMap;
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

both!(calls_carry_their_task);

const CONNECTIONS: usize = 8;
const REQUESTS: usize = 25;

fn interpreters() -> Result<Vec<PathBuf>> {
    let mut found = vec![paths::installed("venv/bin/python")?];
    let debian = PathBuf::from("/usr/bin/python3");
    if debian.exists() {
        found.push(debian);
    }
    let more = env::var("GEOPHONE_TEST_PYTHON").unwrap_or_default();
    found.extend(more.split(':').filter(|path| !path.is_empty()).map(PathBuf::from));
    Ok(found)
}

fn calls_carry_their_task(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    for python in interpreters()? {
        check(capture, &python).with_context(|| python.display().to_string())?;
    }
    Ok(())
}

fn check(capture: Capture, python: &Path) -> Result<()> {
    let service = Service::python_script(python, "tasks.py", "tasks")?;
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("recording");
    let mut arguments = pids([service.pid()]);
    arguments.extend(flags(&["--record", recording.to_str().context("not UTF-8")?]));
    let agent = Agent::start(capture, &arguments)?;
    // The first bytes make the process known; what is told of it then takes a moment.
    talk(service.address, 1)?;
    thread::sleep(Duration::from_millis(1500));
    let address = service.address;
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| thread::spawn(move || talk(address, REQUESTS))).collect();
    for client in clients {
        client.join().map_err(|_| anyhow::anyhow!("a client failed"))??;
    }
    agent.wait_spans(3 * CONNECTIONS * REQUESTS);
    let log = agent.finish()?.log.join("\n");

    let records = Records::read(&recording)?;
    let mut parents: HashMap<u64, Vec<u64>> = HashMap::new();
    for spawn in &records.spawns {
        ensure!(spawn.tgid == service.pid(), "{spawn:?}");
        parents.entry(spawn.task).or_default().push(spawn.from);
    }
    let is_submitted = |task| records.spawns.iter().any(|spawn| spawn.is_submitted && spawn.task == task);
    let (mut with, mut without, mut received, mut early) = (0, 0, 0, true);
    for call in records.calls.iter().filter(|call| call.tgid == service.pid()) {
        let text = String::from_utf8_lossy(&call.bytes);
        if call.received {
            ensure!(call.task == 0 || is_submitted(call.task), "the loop received for a task: {call:?}");
            received += 1;
            continue;
        }
        // A pool's thread tells the loop that it is done.
        if text == "\0" {
            continue;
        }
        let task = number(&text, "task=").with_context(|| format!("{call:?}"))?;
        // Before the agent had looked at the process.
        early &= call.task == 0;
        if early && task != 0 {
            continue;
        }
        ensure!(call.task == task, "{call:?}\n{log}");
        match number(&text, "parent=") {
            Some(parent) => {
                let told = parents.get(&task);
                ensure!(told.is_some_and(|told| told.contains(&parent)), "{task} by {parent}: {told:?}\n{log}");
                with += 1;
            }
            None => without += 1,
        }
    }
    let all = CONNECTIONS * REQUESTS;
    // The answer, and those of two pools' threads.
    ensure!((3 * all..=3 * all + 3).contains(&with), "{with} calls with a task\n{log}");
    ensure!(without >= 4 * all && received >= 2 * all, "{without} without, {received} received");
    Ok(())
}

/// The number behind a word.
fn number(text: &str, word: &str) -> Option<u64> {
    let (_, rest) = text.split_once(word)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

/// Sends requests on one connection, one after the other.
fn talk(address: SocketAddr, requests: usize) -> Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(wait::PATIENCE))?;
    for _ in 0..requests {
        connection.write_all(b"GET / HTTP/1.1\r\nHost: tasks\r\n\r\n")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b";") {
            let mut bytes = [0; 1000];
            let length = connection.read(&mut bytes)?;
            ensure!(length > 0, "the service has closed the connection");
            answer.extend_from_slice(bytes.get(..length).unwrap_or_default());
        }
    }
    Ok(())
}
