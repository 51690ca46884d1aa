//! A recording that is the same on every machine: keep-alive connections on which small requests are answered, as the kernel side
//! would have written it.

use std::net::Ipv4Addr;

use geophone::{
    process::Facts,
    recording::{Header, Writer},
    trace::ClockSample,
};
use geophone_ebpf::record::{Data, Kind, Open, RECEIVE, ROLE_ACCEPT, ROLE_CONNECT, SEND, UNREADABLE};

use crate::Side;

const CONNECTIONS: u64 = 64;
/// Time between two requests of the whole recording: 50,000 a second.
const STEP: u64 = 20_000;
/// What is copied of a call by default.
const CAPTURE: usize = 1024;
const TGID: u32 = 4242;
const BODY: usize = 612;

/// Writes a recording of `exchanges` exchanges as `side` sees them.
pub fn recording(side: Side, exchanges: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let host = [("host.name", "bench"), ("host.id", "0af7651916cd43dd8448eb211c80319c"), ("host.arch", "amd64")];
    let header = Header {
        agent: "bench".to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        host: host.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
    };
    let mut writer = Writer::new(&mut bytes, &header)?;
    writer.clock(ClockSample { before: 1, wall: 1_700_000_000_000_000_000, after: 1 })?;
    writer.process(&Facts {
        tgid: TGID,
        parent: 1,
        start: 1,
        comm: "nginx".to_owned(),
        executable: Some("/usr/sbin/nginx".to_owned()),
        command: Some("nginx:".to_owned()),
        program: Some("nginx".to_owned()),
        ..Facts::default()
    })?;
    for connection in 0..CONNECTIONS {
        writer.record(&open(side, connection))?;
    }
    let mut ends = vec![(0u64, 0u64); usize::try_from(CONNECTIONS)?];
    for exchange in 0..exchanges {
        let connection = exchange % CONNECTIONS;
        let end = ends.get_mut(usize::try_from(connection)?).map(std::mem::take).unwrap_or_default();
        let time = 2_000_000 + exchange * STEP;
        let (requests, responses) = converse(side, connection, exchange, time, end, &mut writer)?;
        if let Some(end) = ends.get_mut(usize::try_from(connection)?) {
            *end = (requests, responses);
        }
    }
    writer.finish()?;
    Ok(bytes)
}

/// One request and its response, beginning at the given stream offsets; returns where they end.
fn converse(
    side: Side,
    connection: u64,
    exchange: u64,
    time: u64,
    (asked, answered): (u64, u64),
    writer: &mut Writer<&mut Vec<u8>>,
) -> anyhow::Result<(u64, u64)> {
    let request = format!(
        "GET /api/orders/{exchange}?page={} HTTP/1.1\r\nHost: shop.example.com:8080\r\nUser-Agent: shop-frontend/2.14.1\r\n\
         Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n",
        exchange % 10
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n\
         Content-Length: {BODY}\r\nLast-Modified: Sat, 21 Nov 2026 11:00:00 GMT\r\nConnection: keep-alive\r\n\
         ETag: \"655c8e10-264\"\r\nAccept-Ranges: bytes\r\n\r\n"
    );
    let mut call = |direction, offset, time, bytes: &[u8], len: usize| {
        let data = Data {
            kind: Kind::Data as u32,
            tgid: TGID,
            time,
            sock: sock(connection),
            born: born(connection),
            offset,
            len: u32::try_from(len)?,
            captured: u32::try_from(bytes.len())?,
            tid: TGID,
            direction,
            flags: if bytes.is_empty() { UNREADABLE } else { 0 },
            ..Data::default()
        };
        anyhow::Ok(writer.record(&data_bytes(&data, bytes))?)
    };
    match side {
        // As nginx does it: the head by `writev`, the file by `sendfile`.
        Side::Server => {
            call(RECEIVE, asked, time, request.as_bytes(), request.len())?;
            call(SEND, answered, time + 8_000, head.as_bytes(), head.len())?;
            call(SEND, answered + head.len() as u64, time + 10_000, &[], BODY)?;
        }
        Side::Client => {
            call(SEND, asked, time, request.as_bytes(), request.len())?;
            let mut response = head.clone().into_bytes();
            response.resize(head.len() + BODY, b'x');
            let captured = response.get(..CAPTURE).unwrap_or(&response);
            call(RECEIVE, answered, time + 12_000, captured, response.len())?;
        }
    }
    Ok((asked + request.len() as u64, answered + (head.len() + BODY) as u64))
}

fn sock(connection: u64) -> u64 {
    0xffff_8880_1234_0000 + connection * 2368
}

fn born(connection: u64) -> u64 {
    1_000_000 + connection
}

fn open(side: Side, connection: u64) -> Vec<u8> {
    let (here, there) = (Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped(), Ipv4Addr::new(10, 0, 3, 200).to_ipv6_mapped());
    let far = 40_000 + u16::try_from(connection).unwrap_or_default();
    let (local_port, remote_port, role) = match side {
        Side::Server => (8080, far, ROLE_ACCEPT),
        Side::Client => (far, 8080, ROLE_CONNECT),
    };
    open_bytes(&Open {
        kind: Kind::Open as u32,
        tgid: TGID,
        time: born(connection),
        sock: sock(connection),
        born: born(connection),
        local_addr: here.octets(),
        remote_addr: there.octets(),
        local_port,
        remote_port,
        family: 2,
        role,
        netns: 4_026_531_840,
        tid: TGID,
        ..Open::default()
    })
}

/// The bytes of a record's header. All fields are named, so that one that is added is not forgotten here.
macro_rules! bytes {
    ($header:ident as $type:ident { $($field:ident),+ $(,)? }) => {{
        let $type { $($field),+ } = *$header;
        let mut to = Vec::with_capacity(size_of::<$type>());
        $(Put::put($field, &mut to);)+
        debug_assert_eq!(to.len(), size_of::<$type>());
        to
    }};
}

/// A field of a header, in the byte order of the machine.
trait Put {
    fn put(self, to: &mut Vec<u8>);
}

macro_rules! put {
    ($($type:ty),+) => { $(impl Put for $type {
        fn put(self, to: &mut Vec<u8>) {
            to.extend_from_slice(&self.to_ne_bytes());
        }
    })+ };
}
put!(u8, u16, u32, u64);

impl<const N: usize> Put for [u8; N] {
    fn put(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self);
    }
}

fn data_bytes(data: &Data, captured: &[u8]) -> Vec<u8> {
    let mut to = bytes!(data as Data { kind, tgid, time, sock, born, offset, len, skipped, captured, tid, direction, flags, pad, task, task_parent });
    to.extend_from_slice(captured);
    to
}

fn open_bytes(open: &Open) -> Vec<u8> {
    bytes!(open as Open { kind, tgid, time, sock, born, local_addr, remote_addr, peer, local_port, remote_port, family, role, path_is_peers, netns, tid, first_send_seq, first_receive_seq, comm, path_len, pad })
}
