//! What a direction brought too early: an answer may be seen slightly before its request, because a send is seen when it
//! returns. It is kept, for a short time, until the request has come.

use std::collections::VecDeque;

use crate::{
    conn::{Content, Gap},
    event::{Nanos, Thread},
};

/// Bytes that are kept.
const MAX_BYTES: usize = 16 << 10;
/// Pieces that are kept.
const MAX_PIECES: usize = 64;
/// How long anything is kept: far longer than a send takes to return, unless it blocks.
pub const PATIENCE: Nanos = 1_000_000_000;

/// Where the bytes at hand come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// When the call that moved them returned.
    pub time: Nanos,
    /// Who made it.
    pub thread: Thread,
    /// Stream offset of the first of them.
    pub offset: u64,
    /// Counts updates: which of two came first, whatever their times.
    pub seq: u64,
}

/// Pieces of one direction that wait for the other.
#[derive(Debug, Default)]
pub struct Waiting {
    pieces: VecDeque<(Origin, Kept)>,
    bytes: usize,
}

/// A piece's content, owned.
#[derive(Debug)]
pub enum Kept {
    /// Captured.
    Bytes(Box<[u8]>),
    /// Known by length only.
    Hole(u64, Gap),
}

impl Kept {
    /// As it came.
    pub fn content(&self) -> Content<'_> {
        match self {
            Self::Bytes(bytes) => Content::Bytes(bytes),
            Self::Hole(length, gap) => Content::Hole(*length, *gap),
        }
    }

    fn new(content: Content<'_>) -> Self {
        match content {
            Content::Bytes(bytes) => Self::Bytes(bytes.into()),
            Content::Hole(length, gap) => Self::Hole(length, gap),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Hole(..) => 0,
        }
    }
}

impl Waiting {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Keeps a piece that comes after all others.
    pub fn push(&mut self, origin: Origin, content: Content<'_>) {
        let kept = Kept::new(content);
        self.bytes += kept.len();
        self.pieces.push_back((origin, kept));
    }

    /// Keeps what is left of the piece that was taken last.
    pub fn push_front(&mut self, origin: Origin, content: Content<'_>) {
        let kept = Kept::new(content);
        self.bytes += kept.len();
        self.pieces.push_front((origin, kept));
    }

    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<(Origin, Kept)> {
        let piece = self.pieces.pop_front()?;
        self.bytes = self.bytes.saturating_sub(piece.1.len());
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
        Some(piece)
    }

    /// Whether there is no point, or no room, for waiting on.
    pub fn enough(&self, now: Nanos, patience: Nanos) -> bool {
        self.bytes > MAX_BYTES
            || self.pieces.len() > MAX_PIECES
            || self.pieces.front().is_some_and(|(origin, _)| now.saturating_sub(origin.time) > patience)
    }
}
