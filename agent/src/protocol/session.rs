//! One connection's way from first bytes to exchanges: detecting (`probe`), then decoding, then perhaps left alone.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Decoder, Interest, Note, Over, Shared,
    detect::Foreign,
    probe::{Found, Probe, bit},
    proxy::{self, Preface},
    shared::count,
    tls::{Agreed, Handshake, Places},
};
use crate::{
    conn::{Connection, Piece, Update},
    event::Direction,
};

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
                    let whole = !probe.is_joined();
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
                probe.take_back(pending);
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
                bytes: if probe.is_exhausted(direction) { 0 } else { self.shared.capture },
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
