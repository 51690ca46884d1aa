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
#[derive(Debug)]
struct Beginning {
    /// Where it is in the stream; `None`: where the next piece is.
    from: Option<u64>,
    bytes: Vec<u8>,
    over: bool,
}

impl Default for Beginning {
    fn default() -> Self {
        Self { from: Some(0), bytes: Vec::new(), over: false }
    }
}

impl Handshake {
    /// One that begins with the next piece of each direction, after what both ends have said before it (`STARTTLS`).
    pub(super) fn from_here() -> Self {
        let beginning = || Beginning { from: None, ..Beginning::default() };
        Self { sent: beginning(), received: beginning() }
    }

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
        let from = *self.from.get_or_insert(piece.offset);
        match piece.content {
            Content::Bytes(bytes) if !piece.joined && piece.offset == from.saturating_add(self.bytes.len() as u64) => {
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

#[cfg(test)]
mod tests {
    use crate::{
        event::{Direction, Role},
        protocol::{
            Foreign, Interest, Understanding,
            testing::{Wire, text},
        },
    };

    /// A server's hello: TLS 1.3 by `supported_versions`, AES-256.
    fn hello() -> Vec<u8> {
        let mut bytes = vec![0x16, 3, 3, 0, 50, 2, 0, 0, 46, 3, 3];
        bytes.extend([7; 32]);
        bytes.extend([0, 0x13, 0x02, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
        bytes
    }

    #[test]
    fn what_was_agreed_on_is_said_of_what_is_inside() {
        let mut wire = Wire::new();
        wire.receive(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03");
        // As OpenSSL reads it: the header first.
        let hello = hello();
        wire.send(&hello[..5]).send(&hello[5..]);
        assert_eq!(wire.understanding(), Understanding::Not(Foreign::Tls));
        assert_eq!(wire.interest(Direction::Send), Interest::NEVER);
        let mut wire = wire.joined_at(0, 0);
        wire.connection.decrypted = true;
        wire.receive("GET /a HTTP/1.1\r\nHost: shop\r\n\r\n");
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let [exchange] = wire.out.as_slice() else { panic!("{:?}", wire.out) };
        assert_eq!(text(exchange, "url.scheme"), "https");
        assert_eq!(text(exchange, "tls.protocol.version"), "1.3");
        assert_eq!(text(exchange, "tls.cipher"), "TLS_AES_256_GCM_SHA384");
        assert_eq!((wire.count("given_up_tls"), wire.count("tls_decrypted")), (1, 1));
    }

    /// What a mail server and its client say before TLS is nobody's protocol here; what comes then is TLS, and what was agreed on is known.
    #[test]
    fn after_starttls() {
        let client: &[&[u8]] = &[b"EHLO here\r\n", b"STARTTLS\r\n"];
        let server: &[&[u8]] = &[
            b"220 mail.example.org ESMTP\r\n",
            b"250-mail.example.org\r\n250-STARTTLS\r\n250 HELP\r\n",
            b"220 2.0.0 Ready to start TLS\r\n",
        ];
        for more in [0, 16, 400] {
            let mut wire = Wire::new();
            wire.connection.role = Role::Connect;
            wire.receive(server[0]).send(client[0]).receive(server[1]);
            for _ in 0..more {
                wire.send(b"NOOP\r\n").receive(b"250 OK\r\n");
            }
            wire.send(client[1]).receive(server[2]);
            wire.send(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03").receive(hello());
            assert_eq!(wire.understanding(), Understanding::Not(Foreign::Tls), "{more}");
            assert!(wire.out.is_empty() && wire.asked.is_empty());
            assert_eq!(wire.count("given_up_tls"), 1, "{more}");
            let mut wire = wire.joined_at(0, 0);
            wire.connection.decrypted = true;
            // Mail is not understood inside either. A protocol that is, would be.
            wire.send("GET /a HTTP/1.1\r\nHost: shop\r\n\r\n");
            wire.receive("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(text(&wire.out[0], "tls.protocol.version"), "1.3");
        }
    }
}
