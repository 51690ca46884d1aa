//! Tests of the table as a whole, and what they share: events made easily, and a sink that writes down what it is told and
//! checks what every sink may rely on.

mod decrypted;
mod garbage;
mod life;
mod memory;
mod model;
mod streams;

use std::collections::HashMap;

use super::{Connection, Content, End, Ending, Gap, Limits, Table, Update};
use crate::event::{
    Change, Data, Direction, Endpoints, Event, Life, Nanos, Open, Process, Role, SocketId, State, Thread,
};

pub(super) const MS: Nanos = 1_000_000;
pub(super) const SECOND: Nanos = 1_000 * MS;
/// When tests begin.
pub(super) const START: Nanos = 1_000 * SECOND;

pub(super) const SEND: Direction = Direction::Send;
pub(super) const RECEIVE: Direction = Direction::Receive;

pub(super) fn socket(sock: u64) -> SocketId {
    SocketId { sock, born: 1 }
}

/// A call of process 7, captured whole.
pub(super) fn data(time: Nanos, sock: u64, direction: Direction, offset: u64, bytes: &[u8]) -> Data<'_> {
    Data {
        time: START + time,
        socket: socket(sock),
        thread: Thread { tgid: 7, tid: 8, ..Thread::default() },
        direction,
        offset,
        len: u32::try_from(bytes.len()).unwrap(),
        skipped: 0,
        bytes,
        relative: false,
        end: false,
        decrypted: false,
        wire: None,
    }
}

pub(super) fn end(time: Nanos, sock: u64, direction: Direction, offset: u64) -> Data<'static> {
    Data { end: true, ..data(time, sock, direction, offset, b"") }
}

pub(super) fn open(time: Nanos, sock: u64, role: Role) -> Event<'static> {
    Event::Open(Open {
        time: START + time,
        socket: socket(sock),
        thread: Thread { tgid: 7, tid: 8, ..Thread::default() },
        endpoints: Endpoints::Inet { local: "10.0.0.1:80".parse().unwrap(), remote: "10.0.0.2:40000".parse().unwrap() },
        role,
        netns: 1,
        sequences: None,
    })
}

pub(super) fn open_unix(time: Nanos, sock: u64, peer: u64, tgid: u32) -> Event<'static> {
    Event::Open(Open {
        time: START + time,
        socket: socket(sock),
        thread: Thread { tgid, tid: tgid, ..Thread::default() },
        endpoints: Endpoints::Unix { path: "/run/app.sock".into(), peer },
        role: Role::Unknown,
        netns: 0,
        sequences: None,
    })
}

pub(super) fn state(time: Nanos, sock: u64, change: Change, error: i32) -> Event<'static> {
    Event::State(State { time: START + time, socket: socket(sock), change, error })
}

pub(super) fn exit(time: Nanos, tgid: u32) -> Event<'static> {
    Event::Process(Process { time: START + time, tgid, parent: 1, what: Life::Exit, comm: "app".into() })
}

/// An update, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Bytes(Direction, u64, Vec<u8>),
    Hole(Direction, u64, u64, Gap),
    End(Direction, Nanos, Ending),
    Tick(Nanos),
}

/// Per connection: checks that pieces follow each other, that nothing follows an end, that `joined` says the truth.
#[derive(Default)]
pub(super) struct Checker {
    next: [Option<u64>; 2],
    ended: [bool; 2],
    decrypted: bool,
}

impl Checker {
    fn check(&mut self, connection: &Connection, update: &Update<'_>) {
        if connection.decrypted != self.decrypted {
            assert!(!self.decrypted, "what is decrypted stays so");
            *self = Self { ended: self.ended, decrypted: true, ..Self::default() };
        }
        match update {
            Update::Piece(direction, piece) => {
                let way = *direction as usize;
                assert!(!self.ended[way], "nothing follows an end");
                assert!(!piece.content.is_empty());
                match self.next[way] {
                    Some(next) => {
                        assert_eq!(piece.offset, next, "pieces follow each other");
                        assert!(!piece.joined, "only a first piece joins");
                    }
                    None => assert!(piece.joined || piece.offset == 0),
                }
                self.next[way] = Some(piece.offset + piece.content.len());
            }
            Update::End(direction, _) => {
                assert!(!self.ended[*direction as usize], "a direction ends once");
                self.ended[*direction as usize] = true;
            }
            Update::Tick(_) => {}
        }
    }
}

/// A table with a sink that checks and remembers.
pub(super) struct Bench {
    pub(super) table: Table<Checker>,
    said: HashMap<u64, Vec<Said>>,
    /// The last that was told of each connection.
    pub(super) known: HashMap<u64, Connection>,
}

impl Bench {
    pub(super) fn new(limits: Limits) -> Self {
        Self { table: Table::new(limits), said: HashMap::new(), known: HashMap::new() }
    }

    fn with(&mut self, act: impl FnOnce(&mut Table<Checker>, &mut dyn FnMut(&Connection, &mut Checker, &Update<'_>))) {
        let (said, known) = (&mut self.said, &mut self.known);
        act(&mut self.table, &mut |connection, checker, update| {
            checker.check(connection, update);
            known.insert(connection.socket.sock, connection.clone());
            said.entry(connection.socket.sock).or_default().push(match update {
                Update::Piece(direction, piece) => match piece.content {
                    Content::Bytes(bytes) => Said::Bytes(*direction, piece.offset, bytes.to_vec()),
                    Content::Hole(len, gap) => Said::Hole(*direction, piece.offset, len, gap),
                },
                Update::End(direction, End { time, how }) => Said::End(*direction, time.saturating_sub(START), *how),
                Update::Tick(time) => Said::Tick(time.saturating_sub(START)),
            });
        });
    }

    pub(super) fn event(&mut self, event: &Event<'_>) {
        self.with(|table, mut sink| table.event(event, &mut sink));
    }

    pub(super) fn data(&mut self, data: Data<'_>) {
        self.event(&Event::Data(data));
    }

    pub(super) fn tick(&mut self, time: Nanos) {
        self.with(|table, mut sink| table.tick(START + time, &mut sink));
    }

    pub(super) fn finish(&mut self, time: Nanos) {
        self.with(|table, mut sink| table.finish(START + time, &mut sink));
    }

    /// What was said of a connection since the last time.
    pub(super) fn said(&mut self, sock: u64) -> Vec<Said> {
        self.said.remove(&sock).unwrap_or_default()
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}
