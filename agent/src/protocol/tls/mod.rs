//! TLS as it is seen on the socket: what was agreed on is read out of the handshake; all else is left alone. What a TLS library
//! encrypts and decrypts comes another way, as streams of the same connection ([`Connection::decrypted`](crate::conn::Connection)).

mod hello;
mod names;
mod places;

use crate::{
    conn::{Content, Piece},
    event::Direction,
};

pub(super) use self::places::Places;

use self::hello::{ENOUGH, Hello, ServerHello};
use super::Exchange;

/// A connection that is encrypted, while its handshake may still be under way.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    sent: Beginning,
    received: Beginning,
}

/// What the beginning of a direction tells.
#[derive(Debug, Default)]
struct Beginning {
    bytes: Vec<u8>,
    over: bool,
}

impl Handshake {
    /// Takes what comes next of a direction; what was agreed on, as soon as that is known.
    pub(super) fn piece(&mut self, direction: Direction, piece: &Piece<'_>) -> Option<Agreed> {
        let beginning = match direction {
            Direction::Send => &mut self.sent,
            Direction::Receive => &mut self.received,
        };
        beginning.piece(piece).map(Agreed)
    }

    /// Whether nothing is to be expected of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.sent.over && self.received.over
    }
}

impl Beginning {
    fn piece(&mut self, piece: &Piece<'_>) -> Option<ServerHello> {
        if self.over {
            return None;
        }
        match piece.content {
            Content::Bytes(bytes) if !piece.joined && piece.offset == self.bytes.len() as u64 => {
                let room = ENOUGH.saturating_sub(self.bytes.len()).min(bytes.len());
                self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
                match Hello::of(&self.bytes) {
                    Hello::Server(hello) => {
                        self.end();
                        return Some(hello);
                    }
                    Hello::Short if self.bytes.len() < ENOUGH => {}
                    Hello::Short | Hello::Other => self.end(),
                }
            }
            _ => self.end(),
        }
        None
    }

    fn end(&mut self) {
        self.over = true;
        self.bytes = Vec::new();
    }
}

/// What the two ends have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed(ServerHello);

impl Agreed {
    /// Says so on a span. <https://opentelemetry.io/docs/specs/semconv/registry/attributes/tls/>
    pub(super) fn describe(self, exchange: &mut Exchange) {
        if let Some((name, version)) = names::version(self.0.version) {
            exchange.attributes.push("tls.protocol.name", name);
            exchange.attributes.push("tls.protocol.version", version);
        }
        exchange.attributes.push("tls.cipher", names::cipher(self.0.cipher));
    }
}
