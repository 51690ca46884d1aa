//! The client: so many connections, each with one request at a time.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::shape::{Plan, ROOT, path};
use crate::drive::Reader;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Failures that are kept in words.
const MOST: usize = 3;

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Sent {
    /// Requests that were answered as they should be.
    pub ids: HashSet<u64>,
    /// The others: how many, and some of the reasons.
    pub failed: u64,
    /// Why.
    pub reasons: Vec<String>,
    /// How long it all took.
    pub took: Duration,
}

/// Sends the requests `ids` over `concurrency` connections. Every answer is the number of requests that were served for it, which
/// must be what the plan says.
///
/// # Errors
/// When nobody listens.
pub fn send(plan: &Plan, entry: SocketAddr, ids: Range<u64>, concurrency: usize) -> Result<Sent> {
    drop(TcpStream::connect_timeout(&entry, LIMIT).with_context(|| format!("nobody listens on {entry}"))?);
    let next = AtomicU64::new(ids.start);
    let sent = Mutex::new(Sent::default());
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..concurrency {
            scope.spawn(|| {
                let mut connection = None;
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    if id >= ids.end {
                        break;
                    }
                    let answered = request(plan, &mut connection, entry, id);
                    let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                    match answered {
                        Ok(()) => {
                            sent.ids.insert(id);
                        }
                        Err(error) => {
                            connection = None;
                            sent.failed += 1;
                            if sent.reasons.len() < MOST {
                                sent.reasons.push(format!("request {id}: {error:#}"));
                            }
                        }
                    }
                }
            });
        }
    });
    let mut sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
    sent.took = start.elapsed();
    Ok(sent)
}

struct Connection {
    stream: TcpStream,
    reader: Reader,
}

impl Connection {
    fn new(entry: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&entry, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream, reader: Reader::default() })
    }
}

fn request(plan: &Plan, kept: &mut Option<Connection>, entry: SocketAddr, id: u64) -> Result<()> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::new(entry)?,
    };
    let head =
        format!("GET {} HTTP/1.1\r\nHost: {entry}\r\nUser-Agent: accuracy/1\r\nAccept: */*\r\n\r\n", path(0, id, ROOT));
    connection.stream.write_all(head.as_bytes())?;
    let response = connection.reader.response(&mut connection.stream, "GET")?;
    let text = String::from_utf8_lossy(&response.text).into_owned();
    ensure!(response.status == 200, "answered with {}: {text}", response.status);
    let expected = plan.hops(id).1;
    ensure!(text.trim().parse() == Ok(expected), "{text:?} instead of {expected} requests were served");
    if !response.closed {
        *kept = Some(connection);
    }
    Ok(())
}
