//! A connection for tests: what `conn` would tell of one, without `conn`.

use std::sync::Arc;

use super::{Asked, Decoder, Exchange, Interest, Note, Session, Shared, Understanding, Value};
use crate::{
    conn::{Connection, Content, End, Ending, Gap, Piece, Update},
    event::{Direction, Endpoints, Nanos, Role, SocketId, Thread},
};

/// One side's view of one connection.
pub(crate) struct Wire {
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Session,
    pub(crate) connection: Connection,
    pub(crate) out: Vec<Exchange>,
    pub(crate) asked: Vec<Asked>,
    notes: Vec<Note>,
    pub(crate) now: Nanos,
    offsets: [u64; 2],
    joined: [bool; 2],
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self::with(Shared::default())
    }

    pub(crate) fn with(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        Self {
            session: Session::new(shared.clone()),
            shared,
            connection: Connection {
                socket: SocketId { sock: 1, born: 1 },
                endpoints: Some(Endpoints::Inet {
                    local: "10.0.0.1:8080".parse().unwrap(),
                    remote: "10.0.0.2:40000".parse().unwrap(),
                }),
                role: Role::Unknown,
                netns: 1,
                sequences: None,
                since: 0,
                decrypted: false,
                wire: None,
            },
            out: Vec::new(),
            asked: Vec::new(),
            notes: Vec::new(),
            now: 1_000,
            offsets: [0, 0],
            joined: [false, false],
        }
    }

    /// A connection of which it is known what it speaks.
    pub(crate) fn decoding(decoder: Box<dyn Decoder>) -> Self {
        let mut wire = Self::new();
        wire.session = Session::decoding(wire.shared.clone(), decoder);
        wire
    }

    /// The streams were older than the agent.
    pub(crate) fn joined_at(mut self, sent: u64, received: u64) -> Self {
        self.offsets = [sent, received];
        self
    }

    /// Whether the streams are older than the agent is not known.
    pub(crate) fn perhaps_joined(mut self) -> Self {
        self.joined = [true, true];
        self
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.put(Direction::Send, Content::Bytes(bytes.as_ref()))
    }

    pub(crate) fn receive(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.put(Direction::Receive, Content::Bytes(bytes.as_ref()))
    }

    pub(crate) fn hole(&mut self, direction: Direction, length: u64, gap: Gap) -> &mut Self {
        self.put(direction, Content::Hole(length, gap))
    }

    pub(crate) fn put(&mut self, direction: Direction, content: Content<'_>) -> &mut Self {
        self.now += 10;
        let i = usize::from(direction == Direction::Receive);
        let thread = Thread { tgid: 7, tid: 7 + u32::try_from(i).unwrap(), ..Thread::default() };
        let joined = std::mem::take(&mut self.joined[i]);
        let piece = Piece { offset: self.offsets[i], joined, time: self.now, thread, content };
        self.offsets[i] += content.len();
        self.session.update(&self.connection, &Update::Piece(direction, piece), &mut self.notes);
        self.keep()
    }

    pub(crate) fn end(&mut self, direction: Direction, how: Ending) -> &mut Self {
        self.now += 10;
        let end = End { time: self.now, how };
        self.session.update(&self.connection, &Update::End(direction, end), &mut self.notes);
        self.keep()
    }

    pub(crate) fn close(&mut self) -> &mut Self {
        self.end(Direction::Receive, Ending::Closed).end(Direction::Send, Ending::Closed)
    }

    pub(crate) fn tick(&mut self, after: Nanos) -> &mut Self {
        self.now += after;
        self.session.update(&self.connection, &Update::Tick(self.now), &mut self.notes);
        self.keep()
    }

    fn keep(&mut self) -> &mut Self {
        for note in self.notes.drain(..) {
            match note {
                Note::Done(exchange) => self.out.push(exchange),
                Note::Asked(asked) => self.asked.push(asked),
                Note::Named(_) | Note::Answered(_) | Note::WentOn(_) => {}
            }
        }
        self
    }

    pub(crate) fn interest(&self, direction: Direction) -> Interest {
        self.session.interest(direction)
    }

    pub(crate) fn understanding(&self) -> Understanding {
        self.session.understanding()
    }

    /// The counter of this name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.shared.counts.iter().find(|(n, _)| *n == name).unwrap().1
    }

    /// `name status`, and what is missing, of each exchange.
    pub(crate) fn summary(&self) -> Vec<String> {
        self.out.iter().map(summary).collect()
    }
}

fn summary(exchange: &Exchange) -> String {
    let status = match exchange.attributes.get("http.response.status_code") {
        Some(Value::Int(status)) => status.to_string(),
        _ => "-".into(),
    };
    let holes = exchange.holes;
    let holes: String = [
        (holes.request_head, " request_head"),
        (holes.response_head, " response_head"),
        (holes.length, " length"),
        (holes.no_response, " no_response"),
        (holes.pairing, " pairing"),
    ]
    .iter()
    .filter_map(|(set, name)| set.then_some(*name))
    .collect();
    let name = match exchange.attributes.get("url.path") {
        Some(Value::Text(path)) => path.to_string(),
        _ => exchange.name.to_string(),
    };
    format!("{name} {status}{holes}")
}

/// An attribute's text.
pub(crate) fn text<'a>(exchange: &'a Exchange, key: &str) -> &'a str {
    match exchange.attributes.get(key) {
        Some(Value::Text(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

/// An attribute's number.
pub(crate) fn int(exchange: &Exchange, key: &str) -> Option<i64> {
    match exchange.attributes.get(key) {
        Some(Value::Int(value)) => Some(*value),
        None => None,
        other => panic!("{key} is {other:?}"),
    }
}

/// One call of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Whether it goes to the server.
    pub(crate) request: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Cuts a conversation into calls of these lengths, again and again. Bytes of different directions are never in one call.
pub(crate) fn cut(turns: &[Part], lengths: &[usize]) -> Vec<Part> {
    let mut lengths = lengths.iter().copied().cycle();
    let mut parts = Vec::new();
    for turn in turns {
        let mut rest = &turn.bytes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(lengths.next().unwrap().clamp(1, rest.len()));
            parts.push(Part { request: turn.request, bytes: now.to_vec() });
            rest = later;
        }
    }
    parts
}

/// Plays calls as `conn` would hand them on: of each, `limit` bytes are captured, and lost ones become holes before their direction's
/// next call, or its end. The n-th call is seen at `1_010 + 10 * n`.
pub(crate) fn play(wire: &mut Wire, parts: &[Part], server: bool, limit: usize, lost: &dyn Fn(usize) -> bool) {
    let way = |request: bool| if request == server { Direction::Receive } else { Direction::Send };
    let mut missing = [0, 0];
    for (i, part) in parts.iter().enumerate() {
        let missing = &mut missing[usize::from(part.request)];
        if lost(i) {
            *missing += part.bytes.len() as u64;
            continue;
        }
        let mut put = |content: Content<'_>| {
            wire.now = 1_000 + 10 * i as u64;
            wire.put(way(part.request), content);
        };
        if *missing > 0 {
            put(Content::Hole(std::mem::take(missing), Gap::Lost));
        }
        let (seen, unseen) = part.bytes.split_at(limit.min(part.bytes.len()));
        if !seen.is_empty() {
            put(Content::Bytes(seen));
        }
        if !unseen.is_empty() {
            put(Content::Hole(unseen.len() as u64, Gap::NotCaptured));
        }
    }
    wire.now = 1_000 + 10 * parts.len() as u64;
    for (request, missing) in [false, true].into_iter().zip(missing).filter(|(_, missing)| *missing > 0) {
        wire.put(way(request), Content::Hole(missing, Gap::Lost));
    }
    wire.close();
}
