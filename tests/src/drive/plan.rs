//! What the client is to send.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where the server listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// None.
    #[default]
    None,
    /// So many bytes, with `Content-Length`.
    Length(u64),
    /// So many bytes, in chunks of up to 16 KiB.
    Chunked(u64),
}

/// A request to be sent, many times perhaps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Template {
    /// Method.
    pub method: String,
    /// Path and query; `{id}` stands for the request's own id.
    pub target: String,
    /// Headers besides `Host` and those of the body.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Body,
    /// Sends `Expect: 100-continue` and waits for the answer to it before it sends the body.
    pub expect_continue: bool,
}

impl Template {
    /// A request without a body.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            headers: Vec::new(),
            body: Body::None,
            expect_continue: false,
        }
    }

    /// A GET request.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST request.
    #[must_use]
    pub fn post(target: &str, body: Body) -> Self {
        Self { body, ..Self::new("POST", target) }
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with `Expect: 100-continue`.
    #[must_use]
    pub fn expecting_continue(mut self) -> Self {
        self.expect_continue = true;
        self
    }
}

/// How connections are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Style {
    /// One request after the other on each connection.
    #[default]
    KeepAlive,
    /// All requests of a round at once, then all answers.
    Pipelined,
    /// Each request on a connection of its own, with `Connection: close`.
    NewConnection,
}

/// All that one client process sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// To whom.
    pub address: Address,
    /// The `Host` header.
    pub host: String,
    /// Connections, open at the same time; opened before the client is told to go, unless `late`.
    pub connections: usize,
    /// Threads that the connections are divided among.
    pub workers: usize,
    /// How often each connection sends all `requests`.
    pub rounds: usize,
    /// What is sent.
    pub requests: Vec<Template>,
    /// Sent on each connection before the client is told to go.
    pub warmup: Vec<Template>,
    /// How connections are used.
    pub style: Style,
    /// Request heads are written so many bytes at a time; 0: in one call.
    pub split: usize,
    /// After a 101 answer, so many bytes go each way before the connection is closed.
    pub after_upgrade: usize,
    /// Connections are opened when they are needed, not before the client is told to go.
    pub late: bool,
    /// Begins the ids, so that those of several clients differ.
    pub prefix: String,
}

impl Plan {
    /// One connection that sends `requests` once, one after the other, to a TCP server.
    #[must_use]
    pub fn tcp(address: SocketAddr, requests: Vec<Template>) -> Self {
        Self::new(Address::Tcp(address), address.to_string(), requests)
    }

    /// The same to a Unix socket.
    #[must_use]
    pub fn unix(path: &Path, requests: Vec<Template>) -> Self {
        Self::new(Address::Unix(path.to_path_buf()), "localhost".into(), requests)
    }

    fn new(address: Address, host: String, requests: Vec<Template>) -> Self {
        Self {
            address,
            host,
            connections: 1,
            workers: 1,
            rounds: 1,
            requests,
            warmup: Vec::new(),
            style: Style::KeepAlive,
            split: 0,
            after_upgrade: 0,
            late: false,
            prefix: "id".into(),
        }
    }

    /// How many requests it sends once it is told to go.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections * self.rounds * self.requests.len()
    }
}
