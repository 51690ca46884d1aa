//! A server process: answers whatever the conversation knows, each connection on a thread of its own.

use std::{io::Write, os::fd::OwnedFd, thread};

use anyhow::{Context, Result};

use crate::{
    calls::Way,
    conversation::{exchange_of, way_of_connection},
    http::Peer,
    net::{Family, Listener},
};

/// Prints where it listens, and serves until it is killed.
pub fn run(family: Family) -> Result<()> {
    let (listener, address) = Listener::new(family)?;
    println!("{address}");
    std::io::stdout().flush()?;
    for index in 0.. {
        let socket = listener.accept()?;
        thread::spawn(move || {
            if let Err(error) = serve(socket, way_of_connection(index)) {
                eprintln!("server: connection {index}: {error:#}");
            }
        });
    }
    Ok(())
}

fn serve(socket: OwnedFd, way: Way) -> Result<()> {
    let mut peer = Peer::new(socket, way)?;
    while let Some(head) = peer.head()? {
        peer.body(head.length)?;
        let path = head.line.split(' ').nth(1).context("no path")?;
        let exchange = exchange_of(path).with_context(|| format!("unknown path {path}"))?;
        let answer = format!(
            "HTTP/1.1 {} Whatever\r\nServer: smoke\r\nContent-Length: {}\r\n\r\n",
            exchange.status, exchange.response_body
        );
        let body = if exchange.method == "HEAD" { Vec::new() } else { vec![b'r'; exchange.response_body] };
        peer.send(&answer, &body)?;
    }
    Ok(())
}
