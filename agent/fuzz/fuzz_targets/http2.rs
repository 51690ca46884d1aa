//! Any updates of a connection that has been recognised as HTTP/2. Input: steps of a tag, a length, and what they need: bytes, or the
//! payload of a frame. Each script is played twice, once with every piece cut in two.
#![no_main]

use geophone::{
    conn::{Connection, Content, End, Ending, Gap, Piece, Update},
    event::{Direction, Endpoints, Role, SocketId, Thread},
    protocol::{Exchange, Note, Session},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = play(data, false);
    let halves = play(data, true);
    for exchange in whole.iter().chain(&halves) {
        assert!(exchange.start <= exchange.end);
        assert!(exchange.first_byte.is_none_or(|first| exchange.start <= first && first <= exchange.end));
    }
});

fn play(mut data: &[u8], halves: bool) -> Vec<Exchange> {
    let connection = Connection {
        socket: SocketId { sock: 1, born: 1 },
        endpoints: Some(Endpoints::Inet {
            local: ([127, 0, 0, 1], 80).into(),
            remote: ([127, 0, 0, 1], 40_000).into(),
        }),
        role: Role::Unknown,
        netns: 1,
        sequences: None,
        since: 0,
    };
    let mut session = Session::default();
    let mut out = Vec::new();
    let mut offsets = [0_u64; 2];
    let mut time = 1_000;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x05\x01\x05\0\0\0\x01\x82\x86\x84\x41\0";
    let mut piece = |session: &mut Session, out: &mut Vec<Note>, receive: bool, content: Content<'_>, time| {
        let offset = &mut offsets[usize::from(receive)];
        let piece = Piece { offset: *offset, joined: false, time, thread: Thread::default(), content };
        *offset += content.len();
        let direction = if receive { Direction::Receive } else { Direction::Send };
        session.update(&connection, &Update::Piece(direction, piece), out);
        // Whatever it wants, it must be able to say.
        let interest = session.interest(direction);
        assert!(interest.bytes <= 16 << 10);
    };
    piece(&mut session, &mut out, true, Content::Bytes(preface), time);
    while let [tag, length, rest @ ..] = data {
        time += u64::from(*tag >> 4) * 1_000_000 + 1;
        let receive = tag & 1 == 0;
        let direction = if receive { Direction::Receive } else { Direction::Send };
        data = rest;
        match (tag >> 1) & 7 {
            kind @ 0..=3 => {
                let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
                data = rest;
                let bytes = if kind == 0 { bytes.to_vec() } else { frame(bytes) };
                let (first, second) = bytes.split_at(if halves { bytes.len() / 2 } else { bytes.len() });
                for part in [first, second] {
                    if !part.is_empty() {
                        piece(&mut session, &mut out, receive, Content::Bytes(part), time);
                    }
                }
            }
            4 => piece(&mut session, &mut out, receive, Content::Hole(u64::from(*length), Gap::NotCaptured), time),
            5 => piece(&mut session, &mut out, receive, Content::Hole(u64::from(*length) << 7, Gap::Lost), time),
            6 => session.update(&connection, &Update::Tick(time + u64::from(*length) * 10_000_000), &mut out),
            _ => {
                let how = match length % 3 {
                    0 => Ending::Closed,
                    1 => Ending::Reset(i32::from(*length)),
                    _ => Ending::Evicted,
                };
                session.update(&connection, &Update::End(direction, End { time, how }), &mut out);
                return done(out);
            }
        }
    }
    for direction in [Direction::Receive, Direction::Send] {
        let end = End { time: time + 1, how: Ending::Closed };
        session.update(&connection, &Update::End(direction, end), &mut out);
    }
    done(out)
}

/// Type, flags and stream, then the payload.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let [kind, flags, stream, payload @ ..] = bytes else {
        return bytes.to_vec();
    };
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind % 12, *flags, 0, 0, 0, *stream]);
    frame.extend(payload);
    frame
}

fn done(notes: Vec<Note>) -> Vec<Exchange> {
    let done = notes.into_iter().filter_map(|note| match note {
        Note::Done(exchange) => Some(exchange),
        Note::Asked(_) | Note::Answered(_) | Note::WentOn(_) => None,
    });
    done.collect()
}
