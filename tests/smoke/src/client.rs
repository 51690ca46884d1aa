//! A client process: one connection, some exchanges on it.

use std::io::Write;

use anyhow::{Context, Result, ensure};

use crate::{
    calls::Way,
    conversation::{AFTER, BEFORE, EARLY, EXCHANGES, Exchange, path},
    http::Peer,
    net::Family,
};

/// Has all exchanges on one connection.
pub fn run(family: Family, address: &str, way: Way) -> Result<()> {
    let mut client = Client::connect(family, address, way, way.name())?;
    EXCHANGES.iter().try_for_each(|exchange| client.exchange(exchange))
}

/// Has one exchange, prints a line, and has another on the same connection when a line comes in.
pub fn run_early(family: Family, address: &str) -> Result<()> {
    let mut client = Client::connect(family, address, Way::Plain, EARLY)?;
    client.exchange(&BEFORE)?;
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    client.exchange(&AFTER)
}

struct Client<'a> {
    peer: Peer,
    family: Family,
    host: &'a str,
    connection: &'a str,
}

impl<'a> Client<'a> {
    fn connect(family: Family, address: &'a str, way: Way, connection: &'a str) -> Result<Self> {
        let socket = family.connect(address).with_context(|| format!("cannot connect to {address}"))?;
        let host = if family == Family::Unix { "localhost" } else { address };
        Ok(Self { peer: Peer::new(socket, way)?, family, host, connection })
    }

    fn exchange(&mut self, exchange: &Exchange) -> Result<()> {
        let path = path(self.family, self.connection, exchange);
        let mut head = format!("{} {path} HTTP/1.1\r\nHost: {}\r\n", exchange.method, self.host);
        if exchange.request_body > 0 {
            head.push_str(&format!("Content-Length: {}\r\n", exchange.request_body));
        }
        head.push_str("\r\n");
        self.peer.send(&head, &vec![b'q'; exchange.request_body])?;
        let answer = self.peer.head()?.context("the server closed")?;
        let expected = format!("HTTP/1.1 {} ", exchange.status);
        ensure!(answer.line.starts_with(&expected), "{path} was answered with {:?}", answer.line);
        self.peer.body(if exchange.method == "HEAD" { 0 } else { answer.length })
    }
}
