//! Control packets: headers, what certainly is one, and properties.

use compact_str::CompactString;

use crate::protocol::{
    Verdict,
    cursor::Cursor,
    framed::Role,
    messaging::{Contexts, name},
};

/// `CONNECT`.
pub(super) const CONNECT: u8 = 1;
/// `CONNACK`.
pub(super) const CONNACK: u8 = 2;
/// `PUBLISH`.
pub(super) const PUBLISH: u8 = 3;
/// `PUBACK`.
pub(super) const PUBACK: u8 = 4;
/// `PUBREC`.
pub(super) const PUBREC: u8 = 5;
/// `PUBREL`.
pub(super) const PUBREL: u8 = 6;
/// `PUBCOMP`.
pub(super) const PUBCOMP: u8 = 7;
/// `SUBSCRIBE`.
pub(super) const SUBSCRIBE: u8 = 8;
/// `SUBACK`.
pub(super) const SUBACK: u8 = 9;
/// `UNSUBSCRIBE`.
pub(super) const UNSUBSCRIBE: u8 = 10;
/// `UNSUBACK`.
pub(super) const UNSUBACK: u8 = 11;

/// The version with properties.
pub(super) const VERSION_5: u8 = 5;

/// A packet's fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Bytes that follow.
    pub(super) remaining: u32,
}

/// What bytes begin with.
pub(super) enum Read {
    /// A packet with this header.
    Header(Header),
    /// Its header is not complete.
    More,
    /// None.
    Invalid,
}

impl Header {
    /// Quality of service of a `PUBLISH`.
    pub(super) fn qos(self) -> u8 {
        self.flags >> 1 & 3
    }

    /// Whether a packet of this kind goes this way and may have these flags.
    fn fits(self, role: Role) -> bool {
        let way = match self.kind {
            CONNECT | SUBSCRIBE | UNSUBSCRIBE | 12 => role == Role::Request,
            CONNACK | SUBACK | UNSUBACK | 13 => role == Role::Response,
            0 => false,
            _ => true,
        };
        let flags = match self.kind {
            PUBLISH => self.qos() < 3,
            PUBREL | SUBSCRIBE | UNSUBSCRIBE => self.flags == 2,
            _ => self.flags == 0,
        };
        way && flags
    }
}

/// Reads the fixed header that is next.
pub(super) fn header(c: &mut Cursor<'_>, role: Role) -> Read {
    let mut ahead = *c;
    let Some(first) = ahead.u8() else {
        return Read::More;
    };
    let mut header = Header { kind: first >> 4, flags: first & 15, remaining: 0 };
    if !header.fits(role) {
        return Read::Invalid;
    }
    for shift in [0, 7, 14, 21] {
        let Some(byte) = ahead.u8() else {
            return Read::More;
        };
        header.remaining |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            *c = ahead;
            return if sane(header) { Read::Header(header) } else { Read::Invalid };
        }
    }
    Read::Invalid
}

/// Whether a packet of this kind can have this length.
fn sane(header: Header) -> bool {
    match header.kind {
        CONNECT => header.remaining >= 10,
        CONNACK | PUBACK | PUBREC | PUBREL | PUBCOMP | UNSUBACK => header.remaining >= 2,
        PUBLISH => header.remaining >= 2 + 2 * u32::from(header.qos() > 0),
        SUBSCRIBE | UNSUBSCRIBE | SUBACK => header.remaining >= 3,
        12 | 13 => header.remaining == 0,
        _ => true,
    }
}

/// Whether the bytes begin with a `CONNECT`.
pub(super) fn is_connect(bytes: &[u8]) -> Verdict {
    if bytes.first().is_some_and(|first| *first != CONNECT << 4) {
        return Verdict::No;
    }
    let mut c = Cursor::new(bytes);
    match header(&mut c, Role::Request) {
        Read::Invalid => return Verdict::No,
        Read::More => return Verdict::More,
        Read::Header(header) if header.remaining > 1 << 20 => return Verdict::No,
        Read::Header(_) => {}
    }
    let known: [&[u8]; 3] = [b"\0\x04MQTT\x04", b"\0\x04MQTT\x05", b"\0\x06MQIsdp\x03"];
    let begins = |known: &&[u8]| known.iter().zip(c.rest()).all(|(a, b)| a == b);
    match known.iter().find(|known| begins(known)) {
        None => Verdict::No,
        Some(known) if c.len() < known.len() => Verdict::More,
        Some(_) => Verdict::Yes,
    }
}

/// Whether the bytes are packets that end where they do: likely only if they are.
pub(super) fn is_chain(bytes: &[u8], role: Role) -> bool {
    let mut c = Cursor::new(bytes);
    let mut any = false;
    while !c.is_empty() {
        let Read::Header(header) = header(&mut c, role) else {
            return false;
        };
        let Some(body) = c.take(header.remaining as usize) else {
            return false;
        };
        let mut body = Cursor::new(body);
        let fits = match header.kind {
            PUBLISH => body.prefixed_u16_be().is_some_and(is_topic),
            PUBACK | PUBREC | PUBREL | PUBCOMP | SUBSCRIBE | SUBACK | UNSUBSCRIBE | UNSUBACK => {
                body.u16_be().is_some_and(|id| id != 0)
            }
            _ => true,
        };
        if !fits {
            return false;
        }
        any = true;
    }
    any
}

fn is_topic(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && !bytes.iter().any(|b| matches!(b, b'#' | b'+' | 0..32 | 127))
        && std::str::from_utf8(bytes).is_ok()
}

/// What the properties of a `PUBLISH` say.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub(super) alias: Option<u16>,
    pub(super) correlation: Option<CompactString>,
    pub(super) contexts: Contexts,
}

/// Reads properties. `None` when they are cut, with what there is of them in `to`.
pub(super) fn properties(c: &mut Cursor<'_>, to: &mut Properties) -> Option<()> {
    let length = usize::try_from(c.varint()?).ok()?;
    let there = c.take_up_to(length);
    let whole = there.len() == length;
    let mut c = Cursor::new(there);
    while !c.is_empty() {
        match c.u8()? {
            0x23 => to.alias = Some(c.u16_be()?),
            0x26 => {
                let (key, value) = (c.prefixed_u16_be()?, c.prefixed_u16_be()?);
                to.contexts.add(key, value);
            }
            0x09 => {
                let data = c.prefixed_u16_be()?;
                let text = data.iter().all(u8::is_ascii_graphic);
                to.correlation = name(data).filter(|_| text);
            }
            0x03 | 0x08 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => drop(c.prefixed_u16_be()?),
            0x0b => drop(c.varint()?),
            0x02 | 0x11 | 0x18 | 0x27 => c.skip(4)?,
            0x13 | 0x21 | 0x22 => c.skip(2)?,
            _ => c.skip(1)?,
        }
    }
    whole.then_some(())
}
