//! The binary protocol's packets: a header of 24 bytes, extras, key, value.

use crate::protocol::{cursor::Cursor, framed::Role};

/// Length of a header.
pub(super) const HEADER: usize = 24;
/// First byte of a request.
pub(super) const REQUEST: u8 = 0x80;
/// First byte of a response.
pub(super) const RESPONSE: u8 = 0x81;
/// Longest key.
pub(super) const MAX_KEY: usize = 250;
/// Longest body: an item of the largest size that the server can be told to take.
const MAX_BODY: u32 = 1 << 30;

/// `Stat`: answered by many packets, the last of them empty.
pub(super) const STAT: u8 = 0x10;
/// `QuitQ`, which nothing answers.
pub(super) const QUIT_QUIETLY: u8 = 0x17;

/// Opcodes: name, length of a request's extras at least and at most, whether it is a quiet one.
const OPCODES: &[(u8, &str, u8, u8, bool)] = &[
    (0x00, "get", 0, 0, false),
    (0x01, "set", 8, 8, false),
    (0x02, "add", 8, 8, false),
    (0x03, "replace", 8, 8, false),
    (0x04, "delete", 0, 0, false),
    (0x05, "increment", 20, 20, false),
    (0x06, "decrement", 20, 20, false),
    (0x07, "quit", 0, 0, false),
    (0x08, "flush", 0, 4, false),
    (0x09, "getq", 0, 0, true),
    (0x0a, "noop", 0, 0, false),
    (0x0b, "version", 0, 0, false),
    (0x0c, "getk", 0, 0, false),
    (0x0d, "getkq", 0, 0, true),
    (0x0e, "append", 0, 0, false),
    (0x0f, "prepend", 0, 0, false),
    (STAT, "stat", 0, 0, false),
    (0x11, "setq", 8, 8, true),
    (0x12, "addq", 8, 8, true),
    (0x13, "replaceq", 8, 8, true),
    (0x14, "deleteq", 0, 0, true),
    (0x15, "incrementq", 20, 20, true),
    (0x16, "decrementq", 20, 20, true),
    (QUIT_QUIETLY, "quitq", 0, 0, true),
    (0x18, "flushq", 0, 4, true),
    (0x19, "appendq", 0, 0, true),
    (0x1a, "prependq", 0, 0, true),
    (0x1b, "verbosity", 4, 4, false),
    (0x1c, "touch", 4, 4, false),
    (0x1d, "gat", 4, 4, false),
    (0x1e, "gatq", 4, 4, true),
    (0x20, "sasl_list_mechs", 0, 0, false),
    (0x21, "sasl_auth", 0, 0, false),
    (0x22, "sasl_step", 0, 0, false),
    (0x23, "gatk", 4, 4, false),
    (0x24, "gatkq", 4, 4, true),
];

/// Statuses that a server may answer with.
const STATUSES: &[u16] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x20, 0x21, 0x22, 0x23, 0x24, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86];

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: u8,
    pub(super) key: usize,
    pub(super) extras: usize,
    /// Of a response; of a request, it is 0, except to Couchbase.
    pub(super) status: u16,
    /// Length of extras, key and value.
    pub(super) body: u32,
    pub(super) opaque: u32,
}

/// What an opcode is called, and whether it is quiet: answered by misfortune only, or, in case of a get, by good fortune.
pub(super) fn opcode(opcode: u8) -> Option<(&'static str, bool)> {
    OPCODES.iter().find(|(known, ..)| *known == opcode).map(|(_, name, .., quiet)| (*name, *quiet))
}

/// Whether a value is what is asked for.
pub(super) fn gets(opcode: u8) -> bool {
    matches!(opcode, 0x00 | 0x09 | 0x0c | 0x0d | 0x1d | 0x1e | 0x23 | 0x24)
}

/// Whether it is asked for together with its key.
pub(super) fn returns_key(opcode: u8) -> bool {
    matches!(opcode, 0x0c | 0x0d | 0x23 | 0x24)
}

/// Whether a status means that the command was not done because something is wrong; that there is no such key, or that there is one, is
/// what was asked for.
pub(super) fn is_error(status: u16) -> bool {
    !matches!(status, 0 | 1 | 2 | 5 | 0x21)
}

/// Reads the header of a packet: `None` if there is none or it cannot be one.
pub(super) fn header(role: Role, bytes: &[u8]) -> Option<Header> {
    let mut c = Cursor::new(bytes);
    let magic = if role == Role::Request { REQUEST } else { RESPONSE };
    if c.u8()? != magic {
        return None;
    }
    let (opcode, key, extras) = (c.u8()?, c.u16_be()?, c.u8()?);
    let (data_type, status, body, opaque, _cas) = (c.u8()?, c.u16_be()?, c.u32_be()?, c.u32_be()?, c.u64_be()?);
    let (key, extras) = (usize::from(key), usize::from(extras));
    let fits = key <= MAX_KEY && u64::from(body) >= (key + extras) as u64 && body <= MAX_BODY && data_type == 0;
    fits.then_some(Header { opcode, key, extras, status, body, opaque })
}

/// Whether a packet begins with these bytes for certain; `None`: perhaps, as far as it shows.
pub(super) fn begins(role: Role, bytes: &[u8]) -> Option<bool> {
    let magic = if role == Role::Request { REQUEST } else { RESPONSE };
    if bytes.first() != Some(&magic) {
        return Some(false);
    }
    let code = bytes.get(1)?;
    let Some((_, _, least, most, _)) = OPCODES.iter().find(|(known, ..)| known == code) else {
        return Some(false);
    };
    let Some(header) = header(role, bytes) else {
        return if bytes.len() >= HEADER || bytes.get(5).is_some_and(|kind| *kind != 0) { Some(false) } else { None };
    };
    Some(match role {
        Role::Request => {
            let keyed = !matches!(header.opcode, 0x07 | 0x08 | 0x0a | 0x0b | STAT | 0x17 | 0x18 | 0x1b | 0x20);
            let extras = header.extras == usize::from(*least) || header.extras == usize::from(*most);
            extras && header.status == 0 && (!keyed || header.key > 0)
        }
        Role::Response => STATUSES.contains(&header.status) && matches!(header.extras, 0 | 4),
    })
}

/// The key of a packet, if all of it is there.
pub(super) fn key<'a>(header: &Header, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let mut c = Cursor::new(bytes);
    c.skip(HEADER + header.extras)?;
    c.take(header.key).filter(|key| !key.is_empty())
}
