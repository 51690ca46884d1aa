//! How long the protocol stage takes for an HTTP/1.1 exchange: detection aside, from two pieces to a finished exchange.
//! `cargo run --release --example http1_speed`

#![expect(clippy::indexing_slicing, reason = "an index that is 0 or 1")]

use geophone::{
    conn::{Connection, Content, Piece, Update},
    event::{Direction, Endpoints, Role, SocketId, Thread},
    protocol::{Note, Session},
};

const REQUEST: &[u8] =
    b"GET /api/users/4711/orders?page=2 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: wrk/4.2.0\r\n\
    Accept: */*\r\nAccept-Encoding: gzip\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nDate: Sat, 21 Nov 2026 15:10:00 GMT\r\n\
    Content-Type: text/html\r\nContent-Length: 615\r\nLast-Modified: Sat, 21 Nov 2026 15:00:00 GMT\r\n\
    Connection: keep-alive\r\nETag: \"692083a0-267\"\r\nAccept-Ranges: bytes\r\n\r\n";
const EXCHANGES: u64 = 2_000_000;

fn main() {
    for (name, asks) in [("server", Direction::Receive), ("client", Direction::Send)] {
        let connection = Connection {
            socket: SocketId { sock: 1, born: 1 },
            endpoints: Some(Endpoints::Inet {
                local: ([10, 0, 0, 1], 8080).into(),
                remote: ([10, 0, 0, 2], 40_000).into(),
            }),
            role: Role::Unknown,
            netns: 1,
            sequences: None,
            since: 0,
            decrypted: false,
            wire: None,
        };
        let body = vec![b'x'; 615];
        let response = [RESPONSE, &body].concat();
        let mut session = Session::default();
        let mut out = Vec::new();
        let mut offsets = [0_u64; 2];
        let mut done = 0;
        let start = on_cpu();
        for i in 0..EXCHANGES {
            for (direction, bytes, offset) in [(asks, REQUEST, 0), (asks.opposite(), &response[..], 1)] {
                let piece = Piece {
                    offset: offsets[offset],
                    joined: false,
                    time: i * 2 + offset as u64,
                    thread: Thread::default(),
                    content: Content::Bytes(bytes),
                };
                offsets[offset] += bytes.len() as u64;
                session.update(&connection, &Update::Piece(direction, piece), &mut out);
            }
            done += out.iter().filter(|note| matches!(note, Note::Done(_))).count();
            out.clear();
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let each = (on_cpu() - start) as f64 / EXCHANGES as f64;
        println!("{name}: {each:.0} ns an exchange, {done} of {EXCHANGES} exchanges");
    }
}

/// Nanoseconds that this thread has run, by the scheduler's account: other load does not count.
fn on_cpu() -> u64 {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    account.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default()
}
