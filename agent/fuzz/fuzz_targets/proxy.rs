//! Any bytes behind the beginning of a PROXY header, of either version, and a request behind those: however they are cut, the same client
//! is named, and all that was announced is told.

#![no_main]

use geophone::{
    conn::{Content, End, Ending, Piece, Update},
    event::{Direction, Role, Thread},
    protocol::{Note, Session, Value},
};
use libfuzzer_sys::fuzz_target;

const FIRST: &[u8] = b"PROXY ";
const SECOND: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REQUEST: &[u8] = b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    let [how, cut, rest @ ..] = data else { return };
    let begin = if how & 1 == 0 { FIRST } else { SECOND };
    let asked = [begin, rest, REQUEST].concat();
    let whole = play(&[&asked]);
    let (a, b) = asked.split_at(usize::from(*cut) % asked.len());
    let halves = play(&[a, b]);
    let bytes = play(&asked.chunks(1).collect::<Vec<_>>());
    for cut in [halves, bytes] {
        if let (Some(whole), Some(cut)) = (&whole, &cut) {
            assert_eq!(whole, cut, "however it is cut");
        }
    }
});

/// The client that the only request names; `None` where there is no such request, or no such client.
fn play(pieces: &[&[u8]]) -> Option<String> {
    let connection = geophone_fuzz::connection(Role::Accept);
    let (mut session, mut out, mut offset) = (Session::default(), Vec::new(), 0);
    let mut put = |direction, offset, bytes| {
        let content = Content::Bytes(bytes);
        let piece = Piece { offset, joined: false, time: 1_000, thread: Thread::default(), content };
        session.update(&connection, &Update::Piece(direction, piece), &mut out);
    };
    for bytes in pieces.iter().copied().filter(|bytes| !bytes.is_empty()) {
        put(Direction::Receive, offset, bytes);
        offset += bytes.len() as u64;
    }
    put(Direction::Send, 0, ANSWER);
    for direction in [Direction::Receive, Direction::Send] {
        let end = End { time: 2_000, how: Ending::Closed };
        session.update(&connection, &Update::End(direction, end), &mut out);
    }
    let asked = out.iter().filter(|note| matches!(note, Note::Asked(_))).count();
    let done = out.iter().filter_map(|note| match note {
        Note::Done(exchange) => Some(exchange),
        _ => None,
    });
    let done: Vec<_> = done.collect();
    assert_eq!(asked, done.len(), "all that was announced is told");
    let [exchange] = *done else { return None };
    match exchange.attributes.get("client.address") {
        Some(Value::Text(text)) => Some(text.to_string()),
        _ => None,
    }
}
