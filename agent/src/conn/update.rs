//! What the protocol stage is told of a connection.

use crate::event::{Direction, Endpoints, Nanos, Role, Sequences, SocketId, Thread};

/// What is known of a connection whatever it speaks.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which one.
    pub socket: SocketId,
    /// Its addresses; `None` when the record that brought them was lost.
    pub endpoints: Option<Endpoints>,
    /// Who opened it.
    pub role: Role,
    /// Inode of its network namespace, 0 when not known.
    pub netns: u32,
    /// TCP: what names it on both of its ends.
    pub sequences: Option<Sequences>,
    /// When it was first seen, or established.
    pub since: Nanos,
    /// Its streams are what TLS protects, decrypted. When this turns true, both streams begin anew, and what was seen before was a
    /// handshake, encrypted, or led up to it.
    pub decrypted: bool,
    /// Of the call that is being handed on: its direction and offset in what is decrypted, and its place on the socket, where both ends
    /// know that ([`Data::wire`](crate::event::Data)).
    pub wire: Option<(Direction, u64, u64)>,
}

/// One thing that a connection's decoder is told.
#[derive(Clone, Debug)]
pub enum Update<'a> {
    /// The next part of one direction's stream.
    Piece(Direction, Piece<'a>),
    /// One direction is over: nothing follows in it.
    End(Direction, End),
    /// Time has passed without anything else: for time-outs.
    Tick(Nanos),
}

/// A part of one direction's stream. Pieces of a direction follow each other without a gap and without overlap: what is
/// missing is a piece of its own.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    /// Position of the piece's first byte. The first piece of a direction begins at 0 if and only if the stream was seen from
    /// its beginning; when that is not known (Unix sockets), `joined` is set.
    pub offset: u64,
    /// This is the direction's first piece, and there may have been bytes before it.
    pub joined: bool,
    /// When the call that moved it returned.
    pub time: Nanos,
    /// Who made that call.
    pub thread: Thread,
    /// What it is.
    pub content: Content<'a>,
}

/// Bytes, or how many are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Captured.
    Bytes(&'a [u8]),
    /// Known by length only.
    Hole(u64, Gap),
}

impl Content<'_> {
    /// Length in the stream.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Hole(len, _) => *len,
        }
    }

    /// Whether it has no length.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Beyond the capture limit, or in a call that cannot be read, or left out on advice: expected and harmless in a body.
    NotCaptured,
    /// The record was lost, or evicted: time and thread are those of what came after.
    Lost,
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub time: Nanos,
    /// In which way.
    pub how: Ending,
}

/// In which way a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Closed in order: FIN, or the end of a Unix socket.
    Closed,
    /// Broken off with this errno (`ECONNRESET`, `EPIPE`, `ETIMEDOUT`, ...).
    Reset(i32),
    /// The agent forgets it: memory bound, idle for too long, its process ended, or the agent stops.
    Evicted,
}
