//! Whether sockets work as before when they are in a map of sockets, and whether a header that is put into what they send arrives:
//! tried on connections of this process to itself, before anybody else's are touched. Some kernels answer `FIONREAD` wrongly for such
//! sockets, or mix up what is sent.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _},
    thread,
    time::Duration,
};

use aya::maps::{MapData, MapError, SockHash};
use geophone_ebpf::{
    http2,
    inject::{FIELD, HEADER},
};
use rustix::event::{Timespec, epoll};
use thiserror::Error;

/// How long something that takes microseconds may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long nothing must come.
const QUIET: Duration = Duration::from_millis(5);
/// Bytes of what waits to be read.
const WAITING: usize = 1000;
/// Bytes of a large body: more than a socket's buffers hold.
const LARGE: usize = 8 << 20;

/// What does not work as it should.
#[derive(Debug, Error)]
pub enum Failure {
    /// `FIONREAD`.
    #[error("FIONREAD answers {found} on a socket in a map of sockets while {waiting} bytes wait")]
    Fionread {
        /// The answer.
        found: u64,
        /// What is right.
        waiting: u64,
    },
    /// `epoll`.
    #[error("epoll says that a socket in a map of sockets {0}")]
    Epoll(&'static str),
    /// Something else was received than was sent.
    #[error("a socket in a map of sockets {0}")]
    Garbled(&'static str),
    /// A request was not given a header.
    #[error("a header that is put into a request does not arrive as it should: {0}")]
    Header(String),
    /// The socket could not be put into the map.
    #[error("a socket cannot be put into a map of sockets: {0}")]
    Map(#[from] MapError),
    /// Testing itself failed.
    #[error("trying it on a connection of its own failed: {0}")]
    Io(#[from] io::Error),
}

impl Failure {
    /// Whether requests would be damaged, or nothing would come of it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Fionread { .. })
    }
}

/// A connection, the client's end of which is in the map.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
            end.set_nodelay(true)?;
        }
        Ok(Self { client, server })
    }
}

/// What was tried.
pub(super) struct Tested {
    /// The first thing that does not work; what makes it useless comes before what breaks others.
    pub http1: Result<(), Failure>,
    /// The same of what is only for HTTP/2.
    pub http2: Result<(), Failure>,
}

/// Tries everything. The program is attached to `sockets`.
pub(super) fn run(sockets: &mut SockHash<MapData, u64>, has_http2: bool) -> Tested {
    match Pair::new() {
        Ok(mut pair) => Tested {
            http1: http1(sockets, &mut pair),
            // While the other one is open: what the kernel side knows of a socket goes by its address.
            http2: if has_http2 { http2(sockets) } else { Ok(()) },
        },
        Err(error) => Tested { http1: Err(error.into()), http2: Ok(()) },
    }
}

fn http1(sockets: &mut SockHash<MapData, u64>, pair: &mut Pair) -> Result<(), Failure> {
    const KEY: u64 = 1;
    sockets.insert(KEY, pair.client.as_raw_fd(), 0)?;
    requests(pair)?;
    let after = answers(pair);
    sockets.remove(&KEY)?;
    // Out of the map, it works as any other.
    exchange(pair, b"GET /after HTTP/1.1\r\nHost: geophone\r\n\r\n", 0)?;
    after
}

fn http2(sockets: &mut SockHash<MapData, u64>) -> Result<(), Failure> {
    const KEY: u64 = 2;
    let mut pair = Pair::new()?;
    sockets.insert(KEY, pair.client.as_raw_fd(), 0)?;
    streams(&mut pair)?;
    Ok(sockets.remove(&KEY)?)
}

/// What is sent arrives, with a header where it belongs and nowhere else.
fn requests(pair: &mut Pair) -> Result<(), Failure> {
    // The second one comes in pieces, and its body looks like a request.
    exchange(pair, b"GET /test HTTP/1.1\r\nHost: geophone\r\n\r\n", HEADER)?;
    exchange(pair, b"POST /test HTTP/1.1\r\nHost: geophone\r\nContent-Length: 27\r\n\r\n", HEADER)?;
    exchange(pair, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", 0)?;
    exchange(pair, b"GET /carries HTTP/1.1\r\nB3: 0\r\n\r\n", 0)?;
    let head = format!("PUT /test HTTP/1.1\r\nContent-Length: {LARGE}\r\n\r\n");
    let mut all = head.into_bytes();
    all.extend((0..LARGE).map(|i| (i % 251) as u8));
    exchange(pair, &all, HEADER)
}

/// Sends something; `more`: what it is longer by when it arrives.
fn exchange(pair: &mut Pair, sent: &[u8], more: usize) -> Result<(), Failure> {
    let mut received = deliver(pair, sent, more)?;
    let line = received.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let header: Vec<u8> = if more == 0 { Vec::new() } else { received.splice(line..line + more, []).collect() };
    if more != 0 && !is_header(&header, b": ", b"\r\n") {
        return Err(Failure::Header(String::from_utf8_lossy(&header).escape_debug().to_string()));
    }
    if received != sent {
        return Err(Failure::Garbled("sends something else than was given to it"));
    }
    Ok(())
}

/// The same of HTTP/2: a field where the request begins, and the rest of what other streams send as it is.
fn streams(pair: &mut Pair) -> Result<(), Failure> {
    // `GET /` of `geophone`, and the frame of another kind that follows, which comes in two pieces.
    const BLOCK: &[u8] = b"\x82\x84\x86\x41\x08geophone";
    let block = BLOCK.len() as u8;
    let settings: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let ping: &[u8] = b"\0\0\x08\x06\0\0\0\0\0geophone";
    let frame = |len: u8, stream: u8, block: &[u8]| [&[0, 0, len, 1, 5, 0, 0, 0, stream], block].concat();
    let first = [http2::PREFACE, settings, &frame(block, 1, BLOCK)].concat();
    let second = [&*frame(block, 3, BLOCK), ping.split_at(5).0].concat();
    for (sent, at) in [(first, http2::PREFACE.len() + settings.len()), (second, 0)] {
        let mut received = deliver(pair, &sent, FIELD)?;
        let end = at + 9 + BLOCK.len();
        let field: Vec<u8> = received.splice(end..end + FIELD, []).collect();
        if !is_header(field.strip_prefix(b"\0\x0b").unwrap_or_default(), b"\x37", b"") {
            return Err(Failure::Header(field.escape_ascii().to_string()));
        }
        let length = received.get_mut(at + 2).map_or(0, |length| std::mem::replace(length, block));
        if usize::from(length) != BLOCK.len() + FIELD || received != sent {
            return Err(Failure::Garbled("sends other frames of HTTP/2 than were given to it"));
        }
    }
    let carries = b"\x82\x84\x86\0\x02b3\x01\x30";
    let rest = [ping.split_at(5).1, &frame(carries.len() as u8, 5, carries), &frame(block, 7, BLOCK)].concat();
    if deliver(pair, &rest, 0)? == rest {
        Ok(())
    } else {
        Err(Failure::Garbled("sends other frames of HTTP/2 than were given to it"))
    }
}

/// Sends something, and receives it; it is longer by so much when it arrives.
fn deliver(pair: &mut Pair, sent: &[u8], more: usize) -> Result<Vec<u8>, Failure> {
    let mut received = vec![0; sent.len() + more];
    let Pair { client, server } = pair;
    thread::scope(|scope| -> Result<(), Failure> {
        let sender = scope.spawn(|| client.write_all(sent));
        server.read_exact(&mut received).map_err(|error| match (error.kind(), more) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, 0) => {
                Failure::Garbled("sends less than was given to it")
            }
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, _) => {
                Failure::Header("the request is too short".into())
            }
            _ => error.into(),
        })?;
        sender.join().map_err(|_| io::Error::other("the sender failed"))??;
        Ok(())
    })?;
    server.set_read_timeout(Some(QUIET))?;
    let more = server.read(&mut [0]);
    server.set_read_timeout(Some(PATIENCE))?;
    if more.is_ok() {
        return Err(Failure::Garbled("sends more than was given to it"));
    }
    Ok(received)
}

/// Whether this is what is written into requests.
fn is_header(header: &[u8], colon: &[u8], end: &[u8]) -> bool {
    let value = header.strip_prefix(b"traceparent").and_then(|rest| rest.strip_prefix(colon)?.strip_suffix(end));
    let Some(value) = value else {
        return false;
    };
    std::str::from_utf8(value).is_ok_and(|value| crate::trace::headers::TraceParent::parse(value).is_some())
}

/// What is received can be waited for, counted and read.
fn answers(pair: &mut Pair) -> Result<(), Failure> {
    let Pair { client, server } = pair;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
    epoll::add(&epoll, &*client, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(io::Error::from)?;
    if ready(&epoll, QUIET)? {
        return Err(Failure::Epoll("can be read when nothing has come"));
    }
    let sent: Vec<u8> = (0..WAITING).map(|i| (i % 250) as u8).collect();
    server.write_all(&sent)?;
    if !ready(&epoll, PATIENCE)? {
        return Err(Failure::Epoll("cannot be read when something has come"));
    }
    let before = fionread(client, WAITING);
    let (mut received, part) = (vec![0; WAITING], 300);
    let (first, rest) = received.split_at_mut(part);
    client.read_exact(first)?;
    if !ready(&epoll, PATIENCE)? {
        return Err(Failure::Epoll("cannot be read when there is more"));
    }
    let between = fionread(client, WAITING - part);
    client.read_exact(rest)?;
    if received != sent {
        return Err(Failure::Garbled("receives something else than was sent to it"));
    }
    if ready(&epoll, QUIET)? {
        return Err(Failure::Epoll("can be read when everything was read"));
    }
    before.and(between).and(fionread(client, 0))
}

fn ready(epoll: &impl std::os::fd::AsFd, timeout: Duration) -> Result<bool, Failure> {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 1];
    let count = epoll::wait(epoll.as_fd(), &mut events, Some(&timeout)).map_err(io::Error::from)?;
    Ok(count != 0)
}

fn fionread(socket: &TcpStream, waiting: usize) -> Result<(), Failure> {
    let found = rustix::io::ioctl_fionread(socket.as_fd()).map_err(io::Error::from)?;
    let waiting = waiting as u64;
    if found == waiting { Ok(()) } else { Err(Failure::Fionread { found, waiting }) }
}
