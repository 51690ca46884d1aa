//! One connection's way from first bytes to exchanges: detecting, then decoding, then perhaps left alone. Detection looks at
//! bytes only, never at ports, and asks again at the beginning of each piece, because a connection may be joined anywhere.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Decoder, Interest, Note, Over, PROTOCOLS, Sample, Shared, Side, Verdict,
    detect::{Foreign, foreign},
    proxy::{self, Preface},
    shared::count,
    tls::{Agreed, Handshake, Places},
};
use crate::{
    conn::{Connection, Content, Piece, Update},
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

/// What is known of what a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Understanding {
    /// Not known yet.
    Detecting,
    /// This protocol.
    Understood(&'static str),
    /// It was understood until its protocol was switched.
    Switched(&'static str),
    /// The agent's own export.
    Own,
    /// It is left alone.
    Not(Foreign),
}

/// A connection as the protocol stage sees it.
pub struct Session {
    shared: Arc<Shared>,
    /// Protocols that this connection has turned out not to be, as bits by index in [`PROTOCOLS`].
    excluded: u32,
    /// What it tells is what TLS protects: see [`Connection::decrypted`].
    decrypted: bool,
    /// What was agreed on in its handshake, if that was seen.
    agreed: Option<Agreed>,
    /// Where what is inside of TLS is on the socket.
    places: Places,
    /// What a proxy says before all else.
    preface: Preface,
    /// For whom a proxy has connected, as it says.
    proxied: Option<SocketAddr>,
    /// What goes on inside of TLS, if that has begun before it.
    within: Option<(&'static str, Box<dyn Decoder>)>,
    /// It does: nothing of it has been missed between the two.
    goes_on: bool,
    stage: Stage,
}

enum Stage {
    Detecting(Probe),
    Decoding(&'static str, Box<dyn Decoder>),
    /// TLS, whose handshake may tell something.
    Encrypted(Box<Handshake>),
    Over(Understanding),
}

impl Default for Session {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("understanding", &self.understanding()).finish_non_exhaustive()
    }
}

impl Session {
    /// A connection of which nothing is known yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            excluded: 0,
            decrypted: false,
            agreed: None,
            places: Places::default(),
            preface: Preface::default(),
            proxied: None,
            within: None,
            goes_on: false,
            stage: Stage::Detecting(Probe::default()),
        }
    }

    /// A connection of which it is known what it speaks.
    #[cfg(test)]
    pub(super) fn decoding(shared: Arc<Shared>, decoder: Box<dyn Decoder>) -> Self {
        Self { stage: Stage::Decoding("test", decoder), ..Self::new(shared) }
    }

    /// Takes the next update of the connection; pushes what it makes known.
    pub fn update(&mut self, connection: &Connection, update: &Update<'_>, out: &mut Vec<Note>) {
        if connection.decrypted != self.decrypted {
            self.begin_anew();
        }
        if self.decrypted {
            self.places.note(connection, update);
        }
        if self.preface.is_over() {
            return self.behind(connection, update, out);
        }
        let mut preface = std::mem::take(&mut self.preface);
        match update {
            Update::Piece(direction, piece) => preface.piece(*direction, piece, |client, piece| {
                self.proxied = self.proxied.or(client);
                self.behind(connection, &Update::Piece(*direction, piece.clone()), out);
            }),
            Update::End(direction, _) => {
                preface.end(*direction, |piece| {
                    self.behind(connection, &Update::Piece(*direction, piece.clone()), out);
                });
                self.behind(connection, update, out);
            }
            Update::Tick(_) => self.behind(connection, update, out),
        }
        self.preface = preface;
    }

    /// Takes what comes next behind what a proxy says.
    fn behind(&mut self, connection: &Connection, update: &Update<'_>, out: &mut Vec<Note>) {
        let whole;
        let update = match update {
            Update::Piece(direction, piece) if self.goes_on && piece.joined && piece.offset == 0 => {
                whole = Update::Piece(*direction, Piece { joined: false, ..piece.clone() });
                &whole
            }
            _ => update,
        };
        let before = out.len();
        match &mut self.stage {
            Stage::Decoding(_, decoder) => decoder.update(&self.shared, connection, update, out),
            Stage::Encrypted(handshake) => {
                if let Update::Piece(direction, piece) = update {
                    self.agreed = handshake.piece(*direction, piece).or(self.agreed);
                    if self.agreed.is_some() || handshake.is_over() {
                        self.stage = Stage::Over(Understanding::Not(Foreign::Tls));
                    }
                }
                return;
            }
            Stage::Detecting(_) => {
                let Update::Piece(direction, piece) = update else {
                    return;
                };
                self.detect(connection, *direction, piece, out);
            }
            Stage::Over(_) => return,
        }
        if self.decrypted {
            for note in out.get_mut(before..).unwrap_or_default() {
                match note {
                    Note::Asked(asked) => self.places.place(asked),
                    Note::Done(exchange) => {
                        if let Some(agreed) = self.agreed {
                            agreed.describe(exchange);
                        }
                    }
                    _ => {}
                }
            }
        }
        if let Some(client) = self.proxied {
            for note in out.get_mut(before..).unwrap_or_default() {
                if let Note::Done(exchange) = note {
                    proxy::describe(client, exchange);
                }
            }
        }
        self.leave();
    }

    /// Looks at the next piece, and again if it turns out at once that the guess was wrong.
    fn detect(&mut self, connection: &Connection, direction: Direction, piece: &Piece<'_>, out: &mut Vec<Note>) {
        loop {
            let Stage::Detecting(probe) = &mut self.stage else {
                return;
            };
            let (name, mut decoder, pending) = match probe.look(connection.role, direction, piece, self.excluded) {
                Found::Nothing => return,
                Found::Foreign(Foreign::Tls) if !self.decrypted => {
                    count(&self.shared.counts.given_up_tls);
                    // What comes before TLS (`STARTTLS`) was seen, or it is known not to be.
                    let whole = !probe.sent.joined && !probe.received.joined;
                    let mut handshake = Box::new(if whole { Handshake::from_here() } else { Handshake::default() });
                    self.agreed = handshake.piece(direction, piece);
                    self.stage = Stage::Encrypted(handshake);
                    return;
                }
                Found::Foreign(foreign) => return self.give_up(foreign),
                Found::Protocol(name, decoder, pending) => (name, decoder, pending),
            };
            for (direction, piece) in &pending {
                decoder.update(&self.shared, connection, &Update::Piece(*direction, piece.borrow()), out);
            }
            decoder.update(&self.shared, connection, &Update::Piece(direction, piece.clone()), out);
            if decoder.over() != Some(Over::NotMine) {
                self.stage = Stage::Decoding(name, decoder);
                return;
            }
            count(&self.shared.counts.redetected);
            self.excluded |= bit(name);
            if let Stage::Detecting(probe) = &mut self.stage {
                probe.pending = pending;
            }
        }
    }

    /// What comes now is what TLS protects. What was said before, such as a request to begin with TLS, is over.
    fn begin_anew(&mut self) {
        self.preface.begin_anew();
        if self.is_encrypted() {
            count(&self.shared.counts.tls_decrypted);
        }
        self.decrypted = true;
        self.excluded = 0;
        self.stage = match self.within.take() {
            Some((name, decoder)) => {
                self.goes_on = true;
                Stage::Decoding(name, decoder)
            }
            None => Stage::Detecting(Probe::default()),
        };
    }

    /// Whether it is TLS, and what is inside is not known.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self.stage, Stage::Encrypted(_) | Stage::Over(Understanding::Not(Foreign::Tls)))
    }

    /// What to capture next of a direction. Changes only with [`Session::update`].
    #[must_use]
    pub fn interest(&self, direction: Direction) -> Interest {
        let interest = self.interest_behind(direction);
        Interest { from: interest.from.saturating_add(self.preface.shift(direction)), ..interest }
    }

    /// The same, in positions behind what a proxy says.
    fn interest_behind(&self, direction: Direction) -> Interest {
        match &self.stage {
            Stage::Detecting(probe) => Interest {
                from: 0,
                bytes: if probe.of(direction).exhausted() { 0 } else { self.shared.capture },
                never: false,
            },
            Stage::Decoding(_, decoder) => decoder.interest(&self.shared, direction),
            Stage::Encrypted(_) => Interest { from: 0, bytes: self.shared.capture, never: false },
            Stage::Over(_) => Interest::NEVER,
        }
    }

    /// What the connection speaks, as far as that is known.
    #[must_use]
    pub fn understanding(&self) -> Understanding {
        match &self.stage {
            Stage::Detecting(_) => Understanding::Detecting,
            Stage::Decoding(name, _) => Understanding::Understood(name),
            Stage::Encrypted(_) => Understanding::Not(Foreign::Tls),
            Stage::Over(understanding) => *understanding,
        }
    }

    /// Leaves the connection alone if its decoder has finished with it.
    fn leave(&mut self) {
        let Stage::Decoding(name, decoder) = &self.stage else {
            return;
        };
        let counts = &self.shared.counts;
        match decoder.over() {
            None => {}
            Some(Over::Switched) => {
                count(&counts.switched);
                self.stage = Stage::Over(Understanding::Switched(name));
            }
            Some(Over::Encrypted) => {
                count(&counts.given_up_tls);
                self.within = decoder.within().map(|decoder| (*name, decoder));
                self.stage = Stage::Encrypted(Box::new(Handshake::from_here()));
            }
            Some(Over::Own) => {
                count(&counts.own);
                self.stage = Stage::Over(Understanding::Own);
            }
            Some(Over::Malformed) => self.give_up(Foreign::Malformed),
            Some(Over::NotMine) => {
                count(&counts.redetected);
                self.excluded |= bit(name);
                self.stage = Stage::Detecting(Probe::default());
            }
        }
    }

    fn give_up(&mut self, foreign: Foreign) {
        let counts = &self.shared.counts;
        count(match foreign {
            Foreign::Tls => &counts.given_up_tls,
            Foreign::Unknown => &counts.given_up_unknown,
            Foreign::Malformed => &counts.given_up_malformed,
        });
        self.stage = Stage::Over(Understanding::Not(foreign));
    }
}

/// Detection's state. Nothing is on the heap unless a piece was undecided.
#[derive(Default)]
struct Probe {
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

enum Found {
    Nothing,
    Foreign(Foreign),
    /// With what was undecided until now.
    Protocol(&'static str, Box<dyn Decoder>, Vec<(Direction, Owned)>),
}

impl Probe {
    fn of(&self, direction: Direction) -> &Seen {
        match direction {
            Direction::Send => &self.sent,
            Direction::Receive => &self.received,
        }
    }

    fn look(&mut self, role: Role, direction: Direction, piece: &Piece<'_>, excluded: u32) -> Found {
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
fn bit(name: &str) -> u32 {
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
struct Owned {
    offset: u64,
    joined: bool,
    time: Nanos,
    thread: Thread,
    bytes: Box<[u8]>,
}

impl Owned {
    fn borrow(&self) -> Piece<'_> {
        Piece {
            offset: self.offset,
            joined: self.joined,
            time: self.time,
            thread: self.thread,
            content: Content::Bytes(&self.bytes),
        }
    }
}
