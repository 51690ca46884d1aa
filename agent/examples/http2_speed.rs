//! How long the protocol stage takes for an exchange of HTTP/2, plain and gRPC: from four pieces to a finished exchange.
//! `cargo run --release --example http2_speed`

#![expect(clippy::indexing_slicing, reason = "an index that is 0 or 1")]

use geophone::{
    conn::{Connection, Content, Piece, Update},
    event::{Direction, Endpoints, Role, SocketId, Thread},
    protocol::{Note, Session},
};

const EXCHANGES: u64 = 1_000_000;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn main() {
    for (name, grpc) in [("plain", false), ("gRPC", true)] {
        for (side, asks) in [("server", Direction::Receive), ("client", Direction::Send)] {
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
            let mut session = Session::default();
            let mut out = Vec::new();
            let mut offsets = [0_u64; 2];
            let mut done = 0;
            let mut put = |session: &mut Session, out: &mut Vec<Note>, asked: bool, bytes: &[u8], time: u64| {
                let offset = &mut offsets[usize::from(asked)];
                let content = Content::Bytes(bytes);
                let piece = Piece { offset: *offset, joined: false, time, thread: Thread::default(), content };
                *offset += bytes.len() as u64;
                let direction = if asked { asks } else { asks.opposite() };
                session.update(&connection, &Update::Piece(direction, piece), out);
            };
            put(&mut session, &mut out, true, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 0);
            put(&mut session, &mut out, false, b"\0\0\0\x04\0\0\0\0\0", 0);
            let start = on_cpu();
            for i in 0..EXCHANGES {
                let stream = 1 + 2 * i as u32;
                let (request, response) = messages(grpc, i, stream);
                put(&mut session, &mut out, true, &request, i * 2 + 1);
                put(&mut session, &mut out, false, &response, i * 2 + 2);
                done += out.iter().filter(|note| matches!(note, Note::Done(_))).count();
                out.clear();
            }
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let each = (on_cpu() - start) as f64 / EXCHANGES as f64;
            println!("{name}, {side}: {each:.0} ns an exchange, {done} of {EXCHANGES} exchanges");
        }
    }
}

/// What both sides send for an exchange: the first adds its fields to the tables, the others refer to them. Ten of them have a path of
/// their own each time, as many as are new to a table in practice.
fn messages(grpc: bool, exchange: u64, stream: u32) -> (Vec<u8>, Vec<u8>) {
    let first = exchange == 0;
    let path = format!("/shop.v1.Cart/Item{:02}", exchange % 10);
    let mut request = vec![0x83, 0x86, 0x04];
    string(&mut request, &path);
    let mut response = vec![0x88];
    let mut trailers = Vec::new();
    if first {
        for (name, value) in [("content-type", "application/grpc"), ("user-agent", "speed/1.0"), ("te", "trailers")] {
            request.push(0x40);
            string(&mut request, if grpc || name != "content-type" { name } else { "accept" });
            string(&mut request, value);
        }
        response.push(0x40);
        string(&mut response, "content-type");
        string(&mut response, if grpc { "application/grpc" } else { "text/html" });
        trailers.push(0x40);
        string(&mut trailers, "grpc-status");
        string(&mut trailers, "0");
    } else {
        request.extend([0xc0, 0xbf, 0xbe]);
        response.push(if grpc { 0xbf } else { 0xbe });
        trailers.push(0xbe);
    }
    let mut body = vec![0, 0, 0, 0, 100];
    body.resize(105, b'x');
    let asked = [frame(1, END_HEADERS, stream, &request), frame(0, END_STREAM, stream, &body)].concat();
    let answered = if grpc {
        let ends = END_HEADERS | END_STREAM;
        [frame(1, END_HEADERS, stream, &response), frame(0, 0, stream, &body), frame(1, ends, stream, &trailers)]
            .concat()
    } else {
        [frame(1, END_HEADERS, stream, &response), frame(0, END_STREAM, stream, &body)].concat()
    };
    (asked, answered)
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend(text.as_bytes());
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Nanoseconds that this thread has spent on a processor.
fn on_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
