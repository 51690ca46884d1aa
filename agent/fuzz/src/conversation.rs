//! Conversations that begin as real ones have, and go on with anything: what holds for every protocol of framed messages.

use std::collections::HashSet;

use geophone::{
    conn::{Connection, Content, End, Ending, Gap, Piece, Update},
    event::{Direction, Role, Thread},
    protocol::{Note, Session, Side, Understanding},
};

use crate::connection;

/// Plays a script after the first `lines` calls of a captured conversation, as both sides see it, whole and with every call cut in two.
/// A script has steps of a tag, a length, and what they need.
///
/// # Panics
/// When what must hold does not.
pub fn converse(name: &'static str, captured: &str, lines: usize, script: &[u8]) {
    for server in [false, true] {
        for halves in [false, true] {
            let mut game = Game::new(server, halves);
            for line in captured.lines().filter(|line| !line.starts_with('#')).take(lines) {
                let (mark, digits) = line.split_once(' ').expect("a mark and digits");
                let bytes: Vec<u8> = digits.as_bytes().chunks_exact(2).map(byte).collect();
                game.bytes((mark == ">") == server, &bytes);
            }
            assert_eq!(game.session.understanding(), Understanding::Understood(name));
            game.script(script);
            game.check();
        }
    }
}

fn byte(digits: &[u8]) -> u8 {
    let text = std::str::from_utf8(digits).expect("digits");
    u8::from_str_radix(text, 16).expect("digits")
}

struct Game {
    session: Session,
    connection: Connection,
    out: Vec<Note>,
    offsets: [u64; 2],
    time: u64,
    halves: bool,
}

impl Game {
    fn new(server: bool, halves: bool) -> Self {
        let connection = connection(if server { Role::Accept } else { Role::Connect });
        Self { session: Session::default(), connection, out: Vec::new(), offsets: [0; 2], time: 1_000, halves }
    }

    fn bytes(&mut self, receive: bool, bytes: &[u8]) {
        let (first, second) = bytes.split_at(if self.halves { bytes.len() / 2 } else { bytes.len() });
        for part in [first, second] {
            if !part.is_empty() {
                self.piece(receive, Content::Bytes(part));
            }
        }
    }

    fn piece(&mut self, receive: bool, content: Content<'_>) {
        let [sent, received] = &mut self.offsets;
        let offset = if receive { received } else { sent };
        let piece = Piece { offset: *offset, joined: false, time: self.time, thread: Thread::default(), content };
        *offset += content.len();
        let direction = if receive { Direction::Receive } else { Direction::Send };
        self.session.update(&self.connection, &Update::Piece(direction, piece), &mut self.out);
        // Whatever it wants, it must be able to say.
        assert!(self.session.interest(direction).bytes <= 16 << 10);
    }

    fn script(&mut self, mut script: &[u8]) {
        while let [tag, length, rest @ ..] = script {
            self.time += u64::from(*tag >> 4) * 1_000_000 + 1;
            let receive = tag & 1 == 0;
            let direction = if receive { Direction::Receive } else { Direction::Send };
            script = rest;
            match (tag >> 1) & 7 {
                0..=3 => {
                    let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
                    script = rest;
                    self.bytes(receive, bytes);
                }
                4 => self.piece(receive, Content::Hole(u64::from(*length) + 1, Gap::NotCaptured)),
                5 => self.piece(receive, Content::Hole((u64::from(*length) << 7) + 1, Gap::Lost)),
                6 => {
                    let now = self.time + u64::from(*length) * 10_000_000;
                    self.session.update(&self.connection, &Update::Tick(now), &mut self.out);
                }
                _ => {
                    let how = match length % 3 {
                        0 => Ending::Closed,
                        1 => Ending::Reset(i32::from(*length)),
                        _ => Ending::Evicted,
                    };
                    let end = End { time: self.time, how };
                    self.session.update(&self.connection, &Update::End(direction, end), &mut self.out);
                    break;
                }
            }
        }
        for direction in [Direction::Receive, Direction::Send] {
            let end = End { time: self.time + 1, how: Ending::Closed };
            self.session.update(&self.connection, &Update::End(direction, end), &mut self.out);
        }
    }

    fn check(&self) {
        let mut asked = HashSet::new();
        for note in &self.out {
            match note {
                Note::Asked(request) => {
                    assert!(asked.insert((request.id, request.side == Side::Server)), "announced once");
                }
                Note::Done(exchange) => {
                    assert!(asked.remove(&(exchange.id, exchange.side == Side::Server)), "announced before it is told");
                    assert!(exchange.start <= exchange.end && exchange.start <= exchange.request_end);
                    let first = exchange.first_byte;
                    assert!(first.is_none_or(|first| exchange.start <= first && first <= exchange.end));
                    assert!(!exchange.name.is_empty());
                    let mut keys: Vec<_> = exchange.attributes.0.iter().map(|(key, _)| key).collect();
                    keys.sort_unstable();
                    assert!(keys.is_sorted_by(|a, b| a < b), "each attribute once: {:?}", exchange.attributes);
                }
                Note::Named(_) | Note::Answered(_) | Note::WentOn(_) => {}
            }
        }
        assert!(asked.is_empty(), "all that was announced is told");
    }
}
