//! The process that makes the calls. It reads how many from its standard input, line by line, and answers with what one of each kind took.
//!
//! Calls are timed in groups, and the median of the groups counts, so that an interruption does not. Now and then it rests, so
//! that an agent can keep up: what is measured is a call, not a queue.

use std::{
    collections::BTreeMap,
    fs::File,
    hint::black_box,
    io::{IoSlice, IoSliceMut, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::bench::table::median;

/// Bytes of a call.
const SIZE: usize = 200;
/// Calls of a group: less than what any socket holds.
const GROUP: usize = 100;
/// Groups of each kind between two rests.
const BURST: usize = 10;
const REST: Duration = Duration::from_millis(4);

/// A way to move bytes, in both directions.
#[derive(Clone, Copy)]
enum Way {
    ReadWrite,
    SendReceive,
    Messages,
    Vectors,
}

const WAYS: [(Way, &str, &str); 4] = [
    (Way::ReadWrite, "write", "read"),
    (Way::SendReceive, "sendto", "recvfrom"),
    (Way::Messages, "sendmsg", "recvmsg"),
    (Way::Vectors, "writev", "readv"),
];

/// The process.
pub fn run() -> anyhow::Result<()> {
    let messages = Messages {
        request: padded("GET /bench HTTP/1.1\r\nHost: localhost\r\nX-Padding: ", "\r\n\r\n")?,
        response: response()?,
    };
    for line in std::io::stdin().lines() {
        let calls: usize = line?.trim().parse()?;
        let mut times = BTreeMap::new();
        for (way, sending, receiving) in WAYS {
            for (socket, ends) in [("TCP, loopback", tcp()?), ("Unix", unix()?)] {
                let (sent, received) = converse(way, &ends, &messages, calls.div_ceil(GROUP))?;
                times.insert(format!("`{sending}`, {socket}"), sent);
                times.insert(format!("`{receiving}`, {socket}"), received);
            }
        }
        others(calls.div_ceil(GROUP), &mut times)?;
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &times)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

struct Messages {
    request: [u8; SIZE],
    response: [u8; SIZE],
}

/// `before` and `after` with something between them that makes it [`SIZE`] bytes.
fn padded(before: &str, after: &str) -> anyhow::Result<[u8; SIZE]> {
    let pad = SIZE.checked_sub(before.len() + after.len()).context("the message is too long")?;
    let text = format!("{before}{}{after}", "x".repeat(pad));
    text.into_bytes().try_into().ok().context("the message has another length")
}

fn response() -> anyhow::Result<[u8; SIZE]> {
    const BODY: usize = 100;
    padded(
        &format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\nX-Padding: "),
        &format!("\r\n\r\n{}", "x".repeat(BODY)),
    )
}

fn tcp() -> anyhow::Result<[OwnedFd; 2]> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok([near.into(), far.into()])
}

fn unix() -> anyhow::Result<[OwnedFd; 2]> {
    let (near, far) = UnixStream::pair()?;
    Ok([near.into(), far.into()])
}

/// Requests one way, responses the other way, in groups. Returns what a call that sends and one that receives took.
fn converse(way: Way, [near, far]: &[OwnedFd; 2], messages: &Messages, groups: usize) -> anyhow::Result<(f64, f64)> {
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let mut buffer = [0; SIZE];
    for group in 0..groups {
        let (from, to, message) =
            if group % 2 == 0 { (near, far, &messages.request) } else { (far, near, &messages.response) };
        sent.push(timed(|| send(way, from.as_fd(), message))?);
        received.push(timed(|| receive(way, to.as_fd(), &mut buffer))?);
        ensure!(buffer == *message, "something else was received");
        if group % BURST == BURST - 1 {
            thread::sleep(REST);
        }
    }
    Ok((median(&sent), median(&received)))
}

/// Calls that move no socket bytes.
fn others(groups: usize, times: &mut BTreeMap<String, f64>) -> anyhow::Result<()> {
    let mut null = File::options().write(true).open("/dev/null")?;
    let mut zero = File::open("/dev/zero")?;
    let mut buffer = [0; SIZE];
    let (mut written, mut read, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..groups {
        written.push(timed(|| Ok(null.write(&buffer)?))?);
        read.push(timed(|| Ok(zero.read(&mut buffer)?))?);
        asked.push(timed(|| {
            black_box(rustix::process::getppid());
            Ok(SIZE)
        })?);
    }
    times.insert("`write`, /dev/null".to_owned(), median(&written));
    times.insert("`read`, /dev/zero".to_owned(), median(&read));
    times.insert("`getppid`".to_owned(), median(&asked));
    Ok(())
}

/// What one call of a group took, in nanoseconds.
fn timed(mut call: impl FnMut() -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    let began = Instant::now();
    for _ in 0..GROUP {
        let moved = call()?;
        ensure!(moved == SIZE, "a call moved {moved} bytes");
    }
    Ok(began.elapsed().as_secs_f64() * 1e9 / GROUP as f64)
}

#[inline]
fn send(way: Way, socket: BorrowedFd<'_>, bytes: &[u8]) -> anyhow::Result<usize> {
    Ok(match way {
        Way::ReadWrite => rustix::io::write(socket, bytes)?,
        Way::SendReceive => rustix::net::send(socket, bytes, SendFlags::empty())?,
        Way::Messages => {
            let nothing = &mut SendAncillaryBuffer::default();
            rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], nothing, SendFlags::empty())?
        }
        Way::Vectors => rustix::io::writev(socket, &[IoSlice::new(bytes)])?,
    })
}

#[inline]
fn receive(way: Way, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> anyhow::Result<usize> {
    Ok(match way {
        Way::ReadWrite => rustix::io::read(socket, buffer)?,
        Way::SendReceive => rustix::net::recv(socket, buffer, RecvFlags::empty())?.0,
        Way::Messages => {
            let nothing = &mut RecvAncillaryBuffer::default();
            rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], nothing, RecvFlags::empty())?.bytes
        }
        Way::Vectors => rustix::io::readv(socket, &mut [IoSliceMut::new(buffer)])?,
    })
}
