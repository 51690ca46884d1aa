//! A client that sends requests at a constant rate over many connections, one at a time on each. It does not wait for answers before
//! it sends the next request elsewhere, so a slow server does not slow it down as long as a connection is free. Runs as a process of its own.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::{
    event::{Timespec, epoll},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde::{Deserialize, Serialize};

use super::{
    machine,
    process::{self, Owned},
};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server
    #[arg(long)]
    pub address: SocketAddr,
    #[arg(long)]
    pub connections: usize,
    /// Requests a second
    #[arg(long)]
    pub rate: f64,
    #[arg(long)]
    pub seconds: f64,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Requests that were sent and answered: all of them.
    pub requests: u64,
    /// How many that is a second.
    pub per_second: f64,
}

/// A client that runs.
pub struct Client(Owned);

impl Client {
    /// Starts it beside the server.
    pub fn start(args: &Args) -> anyhow::Result<Self> {
        let mut command: Command = process::command(machine::MEASURED, std::env::current_exe()?);
        command.args(["bench", "client", "--address", &args.address.to_string()]);
        command.args(["--connections", &args.connections.to_string(), "--rate", &args.rate.to_string()]);
        command.args(["--seconds", &args.seconds.to_string()]).stdout(Stdio::piped());
        Ok(Self(Owned(command.spawn().context("the client")?)))
    }

    /// Waits for its end.
    pub fn wait(mut self) -> anyhow::Result<Report> {
        let mut text = String::new();
        self.0.0.stdout.take().context("no standard output")?.read_to_string(&mut text)?;
        ensure!(self.0.0.wait()?.success(), "the client failed");
        Ok(serde_json::from_str(&text)?)
    }
}

const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: localhost\r\nUser-Agent: geophone-bench/1\r\nAccept: */*\r\n\r\n";
/// Longest time asleep: the rate is kept in steps of it.
const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };

struct Connection {
    stream: TcpStream,
    /// Bytes of the answer that have come.
    got: usize,
}

/// The process.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(args.connections);
    for index in 0..args.connections {
        let stream = TcpStream::connect(args.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&poll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        connections.push(Connection { stream, got: 0 });
    }
    let mut idle: VecDeque<usize> = (0..args.connections).collect();
    let mut buffer = vec![0; 64 * 1024];
    let mut events = Vec::with_capacity(1024);
    // All answers are of one length, which the first one tells.
    let mut answer = 0;
    let (mut sent, mut answered) = (0u64, 0u64);
    let began = Instant::now();
    let limit = Duration::from_secs_f64(args.seconds);
    let mut end = None;
    loop {
        let now = began.elapsed();
        if now < limit {
            while (sent as f64) < now.as_secs_f64() * args.rate
                && let Some(index) = idle.pop_front()
            {
                let connection = connections.get_mut(index).context("no such connection")?;
                connection.stream.write_all(REQUEST)?;
                sent += 1;
            }
        } else {
            let end = *end.get_or_insert(now);
            if answered == sent {
                let report = Report { requests: answered, per_second: answered as f64 / end.as_secs_f64() };
                println!("{}", serde_json::to_string(&report)?);
                return Ok(());
            }
            ensure!(now < limit + Duration::from_secs(10), "{} requests are not answered", sent - answered);
        }
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&STEP)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let index = usize::try_from(event.data.u64())?;
            let connection = connections.get_mut(index).context("no such connection")?;
            let got = match connection.stream.read(&mut buffer) {
                Ok(0) => bail!("the server has closed a connection"),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            if answer == 0 {
                answer = length(buffer.get(..got).unwrap_or_default())?;
            }
            connection.got += got;
            if connection.got >= answer {
                ensure!(connection.got == answer, "an answer is longer than the first one");
                connection.got = 0;
                answered += 1;
                idle.push_back(index);
            }
        }
    }
}

/// Length of an answer, from its head.
fn length(answer: &[u8]) -> anyhow::Result<usize> {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n").context("the first answer's head comes in parts")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "the server refuses: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
    Ok(head.len() + 4 + length.context("the answer has no length")?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn length_of_an_answer() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 612\r\nServer: x";
        assert_eq!(super::length(format!("{head}\r\n\r\nabc").as_bytes()).unwrap(), head.len() + 4 + 612);
        assert!(super::length(b"HTTP/1.1 503 Busy\r\n\r\n").is_err());
        assert!(super::length(b"HTTP/1.1 200 OK\r\n").is_err());
    }
}
