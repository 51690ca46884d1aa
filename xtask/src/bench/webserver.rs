//! nginx with one worker on a processor of its own, which serves a small file, and as `/small` the same bytes without one.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    machine,
    process::{self, Owned},
};

/// Size of the file, as nginx's own welcome page had for years.
const SIZE: usize = 612;

/// A server that runs.
pub struct WebServer {
    process: Owned,
    worker: u32,
    port: u16,
    _folder: TempDir,
}

/// What a server has done so far.
#[derive(Clone, Copy)]
pub struct Work {
    /// Processor time of its worker, in nanoseconds.
    pub cpu: f64,
    /// Requests that it has begun to handle, that for this figure included.
    pub requests: u64,
}

impl WebServer {
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // Free a moment ago.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        fs::write(folder.path().join("index.html"), "x".repeat(SIZE))?;
        let config = folder.path().join("nginx.conf");
        fs::write(&config, configuration(&folder.path().display().to_string(), port))?;
        let mut command = process::command(machine::MEASURED, "nginx");
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::inherit());
        let process = Owned(command.spawn().context("nginx (Debian: apt-get install nginx-light)")?);
        let mut server = Self { process, worker: 0, port, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(server.address()).is_err() {
            if server.process.0.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("nginx does not start");
            }
            thread::sleep(Duration::from_millis(10));
        }
        let master = server.process.pid();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        server.worker = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("no worker")?;
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// By which an agent tells it from other servers of this machine.
    pub fn port(&self) -> String {
        self.port.to_string()
    }

    pub fn url(&self) -> String {
        format!("http://{}/index.html", self.address())
    }

    /// Asks it. The request counts as one itself.
    pub fn work(&self) -> anyhow::Result<Work> {
        let mut connection = TcpStream::connect(self.address())?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let mut lines = answer.lines().skip_while(|line| !line.starts_with("server accepts handled requests"));
        let counts = lines.nth(1).context("nginx gives no status")?;
        let requests = counts.split_whitespace().nth(2).and_then(|n| n.parse().ok()).context("no count of requests")?;
        Ok(Work { cpu: process::cpu_time(self.worker)?, requests })
    }

    /// Ends it.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.process.end(Signal::TERM, Duration::from_secs(10))
    }
}

fn configuration(folder: &str, port: u16) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let body = "x".repeat(SIZE);
    let temporary = temporary.map(|kind| format!("{kind}_temp_path {folder}/{kind};")).join(" ");
    format!(
        "user root;
         daemon off;
         worker_processes 1;
         worker_rlimit_nofile 65536;
         pid {folder}/nginx.pid;
         error_log {folder}/error.log;
         events {{ worker_connections 20000; }}
         http {{
             access_log off;
             sendfile on;
             keepalive_requests 1000000000;
             keepalive_timeout 600;
             default_type text/html;
             {temporary}
             server {{
                 listen 127.0.0.1:{port} backlog=16384;
                 root {folder};
                 location = /status {{ stub_status; }}
                 location = /small {{ return 200 \"{body}\"; }}
             }}
         }}"
    )
}

/// What wrk reached.
pub struct Wrk {
    pub per_second: f64,
}

/// Saturates the server.
pub fn wrk(server: &WebServer, connections: u32, seconds: u32) -> anyhow::Result<Wrk> {
    let output = process::command(machine::client(), "wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), &server.url()])
        .output()
        .context("wrk (Debian: apt-get install wrk)")?;
    ensure!(output.status.success(), "wrk fails: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let find = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name));
    ensure!(find("Socket errors").is_none() && find("Non-2xx").is_none(), "requests failed:\n{text}");
    let per_second = find("Requests/sec:").and_then(|rate| rate.trim().parse().ok()).context("wrk reports no rate")?;
    Ok(Wrk { per_second })
}
