//! What a connection speaks, found out by its bytes: never by ports, and asked again at the beginning of each piece, because a
//! connection may be joined anywhere. What is done with the answer is `session`'s.

use super::{
    Decoder, PROTOCOLS, Sample, Side, Verdict,
    detect::{Foreign, foreign},
};
use crate::{
    conn::{Content, Piece},
    event::{Direction, Nanos, Role, Thread},
};

/// Pieces of a direction that are looked at when the stream was seen from its beginning: it says early what it is.
const FRESH_PIECES: u32 = 8;
/// Pieces of a direction that are looked at when the connection was joined: it may be in the middle of a large body.
const JOINED_PIECES: u32 = 512;
/// Bytes of a direction, captured or not, after which it is not looked at any more.
const JOINED_BYTES: u64 = 256 << 20;
/// Bytes of undecided pieces that are kept.
const PENDING_BYTES: usize = 2048;
/// Undecided pieces that are kept.
const PENDING_PIECES: usize = 256;

/// Detection's state. Nothing is on the heap unless a piece was undecided.
#[derive(Default)]
pub(super) struct Probe {
    sent: Seen,
    received: Seen,
    pending: Vec<(Direction, Owned)>,
}

/// What of a direction has been looked at.
#[derive(Default)]
struct Seen {
    pieces: u32,
    bytes: u64,
    joined: bool,
}

impl Seen {
    fn limit(&self) -> u32 {
        if self.joined { JOINED_PIECES } else { FRESH_PIECES }
    }

    fn exhausted(&self) -> bool {
        self.pieces >= self.limit() || self.bytes >= JOINED_BYTES
    }

    /// Whether it has gone on for so long that the other direction's silence does not matter.
    fn hopeless(&self) -> bool {
        self.pieces >= self.limit().saturating_mul(8) || self.bytes >= JOINED_BYTES.saturating_mul(8)
    }
}

/// What a look at a piece has found.
pub(super) enum Found {
    /// Nothing yet.
    Nothing,
    /// The connection is to be left alone.
    Foreign(Foreign),
    /// A protocol, with what was undecided until now.
    Protocol(&'static str, Box<dyn Decoder>, Vec<(Direction, Owned)>),
}

impl Probe {
    /// Whether a direction has been looked at for long enough.
    pub(super) fn is_exhausted(&self, direction: Direction) -> bool {
        match direction {
            Direction::Send => self.sent.exhausted(),
            Direction::Receive => self.received.exhausted(),
        }
    }

    /// Whether the connection was joined after its beginning.
    pub(super) fn is_joined(&self) -> bool {
        self.sent.joined || self.received.joined
    }

    /// Takes back what was undecided, because the protocol that was found is not it.
    pub(super) fn take_back(&mut self, pending: Vec<(Direction, Owned)>) {
        self.pending = pending;
    }

    /// Looks at the next piece of a direction.
    pub(super) fn look(&mut self, role: Role, direction: Direction, piece: &Piece<'_>, excluded: u32) -> Found {
        let seen = match direction {
            Direction::Send => &mut self.sent,
            Direction::Receive => &mut self.received,
        };
        let exhausted = seen.exhausted();
        // Pieces that were kept do not count as such.
        seen.joined |= seen.bytes == 0 && (piece.joined || piece.offset > 0);
        seen.pieces = seen.pieces.saturating_add(1);
        seen.bytes = seen.bytes.saturating_add(piece.content.len());
        if !exhausted && let Content::Bytes(bytes) = piece.content {
            let found = self.bytes(role, direction, piece, bytes, excluded);
            if !matches!(found, Found::Nothing) {
                return found;
            }
        } else {
            self.forget(direction);
        }
        let both = self.sent.exhausted() && self.received.exhausted();
        if both || self.sent.hopeless() || self.received.hopeless() {
            return Found::Foreign(Foreign::Unknown);
        }
        Found::Nothing
    }

    fn bytes(&mut self, role: Role, direction: Direction, piece: &Piece<'_>, bytes: &[u8], excluded: u32) -> Found {
        let sender = match (role, direction) {
            (Role::Unknown, _) => None,
            (Role::Connect, Direction::Send) | (Role::Accept, Direction::Receive) => Some(Side::Client),
            (Role::Connect, Direction::Receive) | (Role::Accept, Direction::Send) => Some(Side::Server),
        };
        let first = piece.offset == 0 && !piece.joined;
        let earlier: Vec<u8> =
            self.pending.iter().filter(|(d, _)| *d == direction).flat_map(|(_, p)| &p.bytes).copied().collect();
        if !earlier.is_empty() {
            let together = [&earlier, bytes].concat();
            let begin = self.pending.iter().find(|(d, _)| *d == direction);
            let first = begin.is_some_and(|(_, piece)| piece.offset == 0 && !piece.joined);
            match ask(&Sample { bytes: &together, direction, sender, first }, excluded) {
                Asked::Foreign(foreign) => return Found::Foreign(foreign),
                Asked::Protocol(name, decoder) => {
                    return Found::Protocol(name, decoder, std::mem::take(&mut self.pending));
                }
                Asked::More => {
                    self.keep(direction, piece, bytes);
                    return Found::Nothing;
                }
                // What was kept is nothing; these bytes alone may be something.
                Asked::No => self.forget(direction),
            }
        }
        match ask(&Sample { bytes, direction, sender, first }, excluded) {
            Asked::Foreign(foreign) => Found::Foreign(foreign),
            Asked::Protocol(name, decoder) => Found::Protocol(name, decoder, std::mem::take(&mut self.pending)),
            Asked::More => {
                self.keep(direction, piece, bytes);
                Found::Nothing
            }
            Asked::No => Found::Nothing,
        }
    }

    fn keep(&mut self, direction: Direction, piece: &Piece<'_>, bytes: &[u8]) {
        let kept: usize = self.pending.iter().map(|(_, p)| p.bytes.len()).sum();
        if self.pending.len() >= PENDING_PIECES || kept + bytes.len() > PENDING_BYTES {
            self.forget(direction);
            return;
        }
        let owned = Owned {
            offset: piece.offset,
            joined: piece.joined,
            time: piece.time,
            thread: piece.thread,
            bytes: bytes.into(),
        };
        self.pending.push((direction, owned));
        // Undecided is not unknown: a head that comes byte by byte does not use up the attempts.
        match direction {
            Direction::Send => self.sent.pieces = self.sent.pieces.saturating_sub(1),
            Direction::Receive => self.received.pieces = self.received.pieces.saturating_sub(1),
        }
    }

    fn forget(&mut self, direction: Direction) {
        self.pending.retain(|(d, _)| *d != direction);
    }
}

/// A protocol's bit in the set of those that a connection does not speak.
pub(super) fn bit(name: &str) -> u32 {
    PROTOCOLS.iter().position(|protocol| protocol.name == name).map_or(u32::MAX, |i| 1 << i)
}

enum Asked {
    Foreign(Foreign),
    Protocol(&'static str, Box<dyn Decoder>),
    More,
    No,
}

fn ask(sample: &Sample<'_>, excluded: u32) -> Asked {
    if let Some(foreign) = foreign(sample.bytes) {
        return Asked::Foreign(foreign);
    }
    let mut answer = Asked::No;
    for (i, protocol) in PROTOCOLS.iter().enumerate() {
        if excluded & (1 << i) != 0 {
            continue;
        }
        match (protocol.detect)(sample) {
            Verdict::Yes => {
                return Asked::Protocol(protocol.name, (protocol.decoder)(sample));
            }
            Verdict::More => answer = Asked::More,
            Verdict::No => {}
        }
    }
    answer
}

/// A piece that is kept for later.
pub(super) struct Owned {
    offset: u64,
    joined: bool,
    time: Nanos,
    thread: Thread,
    bytes: Box<[u8]>,
}

impl Owned {
    pub(super) fn borrow(&self) -> Piece<'_> {
        Piece {
            offset: self.offset,
            joined: self.joined,
            time: self.time,
            thread: self.thread,
            content: Content::Bytes(&self.bytes),
        }
    }
}
