//! The PROXY protocol, versions 1 and 2: what a load balancer sends first, to say for whom it connects
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>). It is left out of the stream, so that whatever follows begins its own
//! stream; positions count from behind it on both ends. Of what it says only the client's address is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Exchange, Side, endpoints};
use crate::{
    conn::{Content, Piece},
    event::{Direction, Nanos, Thread},
};

/// The longest line of version 1, with its end.
const LINE: usize = 107;
/// How version 1 begins.
const FIRST: &[u8] = b"PROXY ";
/// How version 2 begins.
const SECOND: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses: that, version and command, family, length.
const FIXED: usize = 16;
/// Bytes of two addresses and ports of IPv6; what is longer is not looked at.
const ADDRESSES: usize = 36;

/// What the beginning of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    /// No header.
    None,
    /// Maybe one: more is needed.
    Short,
    /// A header of so many bytes, and whom it names as the client.
    Whole(u64, Option<SocketAddr>),
}

fn header(bytes: &[u8]) -> Header {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(FIRST) {
        first(bytes)
    } else if begins(SECOND) {
        second(bytes)
    } else {
        Header::None
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n`, or `PROXY UNKNOWN` and anything.
fn first(bytes: &[u8]) -> Header {
    let line = bytes.get(..LINE).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE && bytes.is_ascii() { Header::Short } else { Header::None };
    };
    let Some(text) = line.get(..end).and_then(|line| std::str::from_utf8(line).ok()) else {
        return Header::None;
    };
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    let mut address = || words.next().and_then(|word| word.parse::<IpAddr>().ok());
    let client = match family {
        Some("UNKNOWN") => None,
        Some("TCP4" | "TCP6") => {
            let (Some(client), Some(server)) = (address(), address()) else {
                return Header::None;
            };
            let mut port = || words.next().and_then(|word| word.parse::<u16>().ok());
            let (Some(from), Some(_)) = (port(), port()) else {
                return Header::None;
            };
            if client.is_ipv4() != server.is_ipv4() || client.is_ipv4() != (family == Some("TCP4")) {
                return Header::None;
            }
            Some(SocketAddr::new(client, from))
        }
        Some(_) | None => return Header::None,
    };
    Header::Whole(end as u64 + 2, client)
}

/// Version 2: fixed bytes, the addresses, and what else there may be up to the length.
fn second(bytes: &[u8]) -> Header {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Header::Short;
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Commands: LOCAL, of which the addresses mean nothing, and PROXY.
    if command != 0x20 && command != 0x21 {
        return Header::None;
    }
    if rest.len() < length.min(ADDRESSES) {
        return Header::Short;
    }
    let port = |bytes: Option<&[u8; 2]>| bytes.map(|bytes| u16::from_be_bytes(*bytes));
    let client = match family {
        // Two addresses and two ports.
        _ if command == 0x20 => None,
        0x11 if length >= 12 => {
            let address = rest.first_chunk::<4>().map(|bytes| IpAddr::from(Ipv4Addr::from(*bytes)));
            address.zip(port(rest.get(8..).and_then(<[u8]>::first_chunk)))
        }
        0x21 if length >= 36 => {
            let address = rest.first_chunk::<16>().map(|bytes| IpAddr::from(Ipv6Addr::from(*bytes)));
            address.zip(port(rest.get(32..).and_then(<[u8]>::first_chunk)))
        }
        0x11 | 0x21 => return Header::None,
        // Unix sockets, datagrams, or nothing that is known.
        _ => None,
    };
    Header::Whole(FIXED as u64 + length as u64, client.map(|(address, port)| SocketAddr::new(address, port)))
}

/// What is before the first byte of a connection's protocol.
#[derive(Debug, Default)]
pub(super) struct Preface {
    sent: Way,
    received: Way,
    client: Option<SocketAddr>,
}

#[derive(Debug, Default)]
enum Way {
    /// Nothing has come.
    #[default]
    New,
    /// What has come may be the beginning of a header.
    Held(Box<Held>),
    /// A header was recognised, of which so much is to come.
    Within { left: u64, shift: u64 },
    /// The stream begins behind a header of that length, or 0.
    Behind(u64),
}

/// A piece that is kept until it is known whether it is a header's.
#[derive(Debug)]
struct Held {
    offset: u64,
    joined: bool,
    time: Nanos,
    thread: Thread,
    bytes: Vec<u8>,
}

impl Preface {
    /// Takes the next piece of a direction, and hands on what is behind a header, at positions that count from there.
    pub(super) fn piece(
        &mut self,
        direction: Direction,
        piece: &Piece<'_>,
        mut then: impl FnMut(Option<SocketAddr>, &Piece<'_>),
    ) {
        let client = self.client;
        let way = match direction {
            Direction::Send => &mut self.sent,
            Direction::Receive => &mut self.received,
        };
        match way {
            Way::Behind(0) => then(client, piece),
            Way::Behind(shift) => then(client, &Piece { offset: piece.offset.saturating_sub(*shift), ..piece.clone() }),
            Way::Within { left, shift } => {
                let (length, shift) = (piece.content.len(), *shift);
                if length < *left {
                    *left -= length;
                    return;
                }
                let skipped = std::mem::replace(left, 0);
                *way = Way::Behind(shift);
                rest(piece, skipped, shift, |piece| then(client, piece));
            }
            Way::New => {
                let Content::Bytes(bytes) = piece.content else {
                    *way = Way::Behind(0);
                    return then(client, piece);
                };
                // A stream that was not seen from its beginning may be in the middle of anything.
                let found = if piece.offset == 0 || piece.joined { header(bytes) } else { Header::None };
                match found {
                    Header::None => {
                        *way = Way::Behind(0);
                        then(client, piece);
                    }
                    Header::Short => {
                        *way = Way::Held(Box::new(Held {
                            offset: piece.offset,
                            joined: piece.joined,
                            time: piece.time,
                            thread: piece.thread,
                            bytes: bytes.to_vec(),
                        }));
                    }
                    Header::Whole(length, client) => {
                        self.client = self.client.or(client);
                        let shift = length;
                        *way = Way::Within { left: length, shift };
                        self.piece(direction, piece, then);
                    }
                }
            }
            Way::Held(held) => {
                let before = held.bytes.len() as u64;
                let bytes = match piece.content {
                    Content::Bytes(bytes) => bytes,
                    Content::Hole(length, gap) => {
                        // Whatever it was, nothing can be made of its first bytes alone.
                        let content = Content::Hole(before.saturating_add(length), gap);
                        let whole = Piece { offset: held.offset, joined: held.joined, content, ..piece.clone() };
                        *way = Way::Behind(0);
                        return then(client, &whole);
                    }
                };
                held.bytes.extend_from_slice(bytes);
                match header(&held.bytes) {
                    Header::Short => {}
                    Header::Whole(length, client) => {
                        self.client = self.client.or(client);
                        *way = Way::Within { left: length.saturating_sub(before), shift: length };
                        self.piece(direction, piece, then);
                    }
                    Header::None => {
                        held.bytes.truncate(usize::try_from(before).unwrap_or_default());
                        self.end(direction, |piece| then(client, piece));
                        then(client, piece);
                    }
                }
            }
        }
    }

    /// Hands on what was held of a direction: nothing comes after it that could make a header of it.
    pub(super) fn end(&mut self, direction: Direction, mut then: impl FnMut(&Piece<'_>)) {
        let way = match direction {
            Direction::Send => &mut self.sent,
            Direction::Receive => &mut self.received,
        };
        if matches!(way, Way::Held(_))
            && let Way::Held(held) = std::mem::replace(way, Way::Behind(0))
        {
            let Held { offset, joined, time, thread, bytes } = *held;
            then(&Piece { offset, joined, time, thread, content: Content::Bytes(&bytes) });
        }
    }

    /// What is inside of TLS begins at its own beginning.
    pub(super) fn begin_anew(&mut self) {
        (self.sent, self.received) = (Way::Behind(0), Way::Behind(0));
    }

    /// Where the stream's beginning is on the connection.
    pub(super) fn shift(&self, direction: Direction) -> u64 {
        let way = match direction {
            Direction::Send => &self.sent,
            Direction::Receive => &self.received,
        };
        match way {
            Way::Behind(shift) | Way::Within { shift, .. } => *shift,
            Way::New | Way::Held(_) => 0,
        }
    }

    /// Whether pieces are handed on as they come.
    pub(super) fn is_over(&self) -> bool {
        matches!((&self.sent, &self.received), (Way::Behind(0), Way::Behind(0)))
    }
}

/// Says on a server's span for whom the proxy connected, unless a header of the request says so itself.
/// <https://opentelemetry.io/docs/specs/semconv/general/attributes/#client-attributes>
pub(super) fn describe(client: SocketAddr, exchange: &mut Exchange) {
    if exchange.side != Side::Server {
        return;
    }
    let attributes = &mut exchange.attributes;
    let address = attributes.get("client.address");
    if address.is_some() && address != attributes.get("network.peer.address") {
        return;
    }
    attributes.0.retain(|(key, _)| key != "client.address" && key != "client.port");
    attributes.push("client.address", endpoints::address(client.ip()));
    attributes.push("client.port", client.port());
}

/// Hands on what a piece has behind its first bytes, if anything.
fn rest(piece: &Piece<'_>, skipped: u64, shift: u64, mut then: impl FnMut(&Piece<'_>)) {
    let content = match piece.content {
        Content::Bytes(bytes) => {
            Content::Bytes(usize::try_from(skipped).ok().and_then(|skipped| bytes.get(skipped..)).unwrap_or_default())
        }
        Content::Hole(length, gap) => Content::Hole(length.saturating_sub(skipped), gap),
    };
    if !content.is_empty() {
        let offset = (piece.offset.saturating_add(skipped)).saturating_sub(shift);
        then(&Piece { offset, content, ..piece.clone() });
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
