//! Servers and clients over TLS: a certificate for them, and clients in several languages that do as they are told and keep account.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tempfile::TempDir;

use crate::check::Side;
use crate::child::{self, Guard};
use crate::drive::Exchanged;
use crate::paths;
use crate::services::Service;
use crate::wait::PATIENCE;

/// A certificate that nobody has signed, and its key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    _folder: TempDir,
}

impl Certificate {
    /// A new one, for this machine's loopback.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let folder = tempfile::tempdir()?;
        let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self { certificate, key, _folder: folder })
    }
}

/// By what a client encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OpenSSL, which is given the sockets: Python's `http.client`.
    Sockets,
    /// OpenSSL, which is fed from memory: Python's asyncio.
    Memory,
    /// OpenSSL inside of a program: Node.js.
    Node,
    /// OpenSSL 1.1.1 inside of Node.js 16.
    OldNode,
    /// Go's own: a stripped program.
    Go,
    /// rustls, below hyper and tokio: a program built for release.
    Rustls,
    /// The same on rustls 0.22.
    Rustls22,
    /// The same on rustls 0.21.
    Rustls21,
}

impl Kind {
    /// All libraries, in the version that is in use.
    pub const ALL: [Self; 6] = [Self::Sockets, Self::Memory, Self::Node, Self::OldNode, Self::Go, Self::Rustls];

    fn command(self) -> Result<Command> {
        let python = |way: &str| {
            let mut command = Command::new(paths::installed("venv/bin/python")?);
            command.arg(paths::service("python/tls_client.py")).arg(way);
            Ok(command)
        };
        match self {
            Self::Sockets => python("threads"),
            Self::Memory => python("asyncio"),
            Self::Node | Self::OldNode => {
                let mut command = self.node()?;
                command.arg(paths::service("node/tls_client.js"));
                Ok(command)
            }
            Self::Go => Ok(Command::new(paths::installed("go-tls-client")?)),
            Self::Rustls | Self::Rustls22 | Self::Rustls21 => {
                let mut command = Command::new(paths::installed(self.service())?);
                command.arg("client");
                Ok(command)
            }
        }
    }

    /// Node.js.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn node(self) -> Result<Command> {
        let program = match self {
            // The only binaries of this age that a registry has are in a package of Python's.
            Self::OldNode => paths::installed("nodejs16/nodejs/bin/node")?,
            _ => paths::program("node")?,
        };
        Ok(Command::new(program))
    }

    /// What its spans call the client's service.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::Go => "go-tls-client",
            Self::Rustls => "rustls-service",
            Self::Rustls22 => "rustls-22-service",
            Self::Rustls21 => "rustls-21-service",
            Self::Sockets | Self::Memory | Self::Node | Self::OldNode => "tls_client",
        }
    }
}

#[derive(Debug, Serialize)]
struct Plan<'a> {
    host: String,
    port: u16,
    warmup: usize,
    rounds: usize,
    requests: &'a [Request],
}

/// A request that is sent in each round on each of two connections; `{id}` in the target is its own.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Method.
    pub method: &'static str,
    /// Path.
    pub target: &'static str,
    /// Bytes of the body.
    pub body: usize,
}

/// A client process: two connections that it uses in turns, keep-alive.
#[derive(Debug)]
pub struct Client {
    guard: Guard,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    kind: Kind,
}

impl Client {
    /// Starts one, which does nothing yet.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(kind: Kind) -> Result<Self> {
        Self::run(kind, kind.command()?)
    }

    /// The same of rustls, without names in the program, which is put into this folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn stripped_rustls(folder: &Path) -> Result<Self> {
        let program = folder.join("rustls-service");
        child::output(
            Command::new("strip").arg("-o").arg(&program).arg(paths::installed("rustls-service")?),
            PATIENCE,
        )?;
        let mut command = Command::new(program);
        command.arg("client");
        Self::run(Kind::Rustls, command)
    }

    fn run(kind: Kind, mut command: Command) -> Result<Self> {
        let mut guard = Guard::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdin = guard.inner().stdin.take().context("no pipe")?;
        let stdout = BufReader::new(guard.inner().stdout.take().context("no pipe")?);
        Ok(Self { guard, stdin, stdout, kind })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// What its spans should say of it.
    #[must_use]
    pub fn side(&self, service: &Service) -> Side {
        let port = service.address.port();
        Side { pids: vec![self.pid()], service: self.kind.service().to_owned(), peer: String::new(), port, tls: true }
    }

    /// Lets it connect, and send `warmup` rounds.
    ///
    /// # Errors
    /// When it fails.
    pub fn connect(&mut self, service: &Service, requests: &[Request], warmup: usize, rounds: usize) -> Result<()> {
        let (host, port) = (service.address.ip().to_string(), service.address.port());
        let mut line = serde_json::to_string(&Plan { host, port, warmup, rounds, requests })?;
        line.push('\n');
        self.stdin.write_all(line.as_bytes())?;
        line.clear();
        self.stdout.read_line(&mut line)?;
        ensure!(line.trim_end() == "ready", "the client has failed before it was ready");
        Ok(())
    }

    /// Lets it send the rest, and returns its account.
    ///
    /// # Errors
    /// When it fails.
    pub fn go(mut self) -> Result<Vec<Exchanged>> {
        self.stdin.write_all(b"go\n")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let status = self.guard.wait(PATIENCE)?;
        ensure!(status.success(), "the client has failed");
        serde_json::from_str(&line).context("cannot read the client's account")
    }
}
