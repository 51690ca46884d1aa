//! A connection for tests: what `conn` would tell of one, without `conn`.

use std::sync::Arc;

use super::{Exchange, Interest, Note, Session, Shared, Understanding, Value};
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
            notes: Vec::new(),
            now: 1_000,
            offsets: [0, 0],
            joined: [false, false],
        }
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
        self.out.extend(self.notes.drain(..).filter_map(|note| match note {
            Note::Done(exchange) => Some(exchange),
            Note::Asked(_) | Note::Answered(_) | Note::WentOn(_) => None,
        }));
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
