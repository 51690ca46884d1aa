//! A connection's updates out of arbitrary bytes, as the connection stage would tell of them.

use geophone::{
    conn::{Content, End, Ending, Gap, Piece, Update},
    event::{Direction, Role, Thread},
    protocol::{Exchange, Note, Session},
};

use crate::connection;

/// Plays a script on a connection that begins with `preface`, which a server receives. The script: steps of a tag, a length, and what they
/// need. `halves`: every piece is cut in two. `framed` makes a frame of the protocol out of the bytes of most steps; see [`bytes`].
///
/// # Panics
/// When a decoder wants what nobody can give.
#[must_use]
pub fn play(preface: &[u8], mut data: &[u8], halves: bool, framed: fn(&[u8]) -> Vec<u8>) -> Vec<Exchange> {
    let connection = connection(Role::Unknown);
    let mut session = Session::default();
    let mut out = Vec::new();
    let mut offsets = [0_u64; 2];
    let mut time = 1_000;
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
                let bytes = if kind == 0 { bytes.to_vec() } else { framed(bytes) };
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

/// For [`play`]: the bytes as they are.
#[must_use]
pub fn bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn done(notes: Vec<Note>) -> Vec<Exchange> {
    let done = notes.into_iter().filter_map(|note| match note {
        Note::Done(exchange) => Some(exchange),
        Note::Asked(_) | Note::Named(_) | Note::Answered(_) | Note::WentOn(_) => None,
    });
    done.collect()
}
