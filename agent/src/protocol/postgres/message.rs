//! PostgreSQL's messages: their lengths, and the fields that spans need.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use crate::protocol::{
    cursor::Cursor,
    framed::{Frame, Role},
};

/// Longest message: the server allows a GiB of data in one.
const MAX_LENGTH: u32 = (1 << 30) + 1024;
/// Longest message that begins a connection.
const MAX_STARTUP: u32 = 10_000;
/// Bytes of a statement's message that are looked at.
const STATEMENT: usize = 4096;

/// What begins a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Startup<'a> {
    /// A session of this version 3, with parameters.
    Session(&'a [u8]),
    /// A request for TLS or GSSAPI encryption.
    Encryption,
    /// A request to cancel what another connection does.
    Cancel,
}

/// Reads a message that begins a connection; `None` if it is none, or does not suffice.
pub(super) fn startup(bytes: &[u8]) -> Option<Startup<'_>> {
    let mut c = Cursor::new(bytes);
    let length = c.u32_be()?;
    match (c.u32_be()?, length) {
        (80_877_103 | 80_877_104, 8) => Some(Startup::Encryption),
        (80_877_102, 16..=268) => Some(Startup::Cancel),
        (0x0003_0000..=0x0003_ffff, 9..=MAX_STARTUP) => {
            // The first parameter's name; the list may be empty.
            let name = c.rest().first().copied()?;
            (name == 0 && length == 9 || name.is_ascii_alphabetic() || name == b'_').then(|| Startup::Session(c.rest()))
        }
        _ => None,
    }
}

/// The database of a session: that of the user's name if none is given.
pub(super) fn database(parameters: &[u8]) -> Option<&[u8]> {
    let mut c = Cursor::new(parameters);
    let mut user = None;
    while let Some(name) = c.c_string().filter(|name| !name.is_empty()) {
        let value = c.c_string()?;
        match name {
            b"database" => return Some(value),
            b"user" => user = Some(value),
            b"replication" => return None,
            _ => {}
        }
    }
    // Without the end of the list, the database may have followed.
    (c.is_empty() && parameters.ends_with(b"\0\0")).then_some(user).flatten()
}

/// How long the message is that begins with these bytes. `encrypting`: an answer to a request for encryption is due.
pub(super) fn frame(role: Role, bytes: &[u8], encrypting: bool) -> Frame {
    let mut c = Cursor::new(bytes);
    let Some(kind) = c.u8() else {
        return Frame::More;
    };
    if kind == 0 && role == Role::Request {
        return match Cursor::new(bytes).u32_be() {
            Some(8..=MAX_STARTUP) if bytes.len() < 9 && bytes.len() < length(bytes) => Frame::More,
            Some(length @ 8..=MAX_STARTUP) if startup(bytes).is_some() => {
                Frame::Message { length: length.into(), want: 1024 }
            }
            Some(_) => Frame::Malformed,
            None => Frame::More,
        };
    }
    if encrypting && role == Role::Response && matches!(kind, b'S' | b'N' | b'G') {
        return Frame::Message { length: 1, want: 1 };
    }
    let Some(range) = lengths(role, kind) else {
        return Frame::Malformed;
    };
    match c.u32_be() {
        None if bytes.get(1).is_some_and(|high| *high > 0x40) => Frame::Malformed,
        None => Frame::More,
        Some(length) if range.contains(&length) => {
            Frame::Message { length: u64::from(length) + 1, want: wanted(role, kind) }
        }
        Some(_) => Frame::Malformed,
    }
}

fn length(bytes: &[u8]) -> usize {
    Cursor::new(bytes).u32_be().and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX)
}

/// The lengths that a message of this type may have, without its type; `None` if there is no such type.
fn lengths(role: Role, kind: u8) -> Option<std::ops::RangeInclusive<u32>> {
    Some(match (role, kind) {
        (Role::Request, b'S' | b'H' | b'X' | b'c') => 4..=4,
        (Role::Request, b'Q') => 5..=MAX_LENGTH,
        (Role::Request, b'P') => 8..=MAX_LENGTH,
        (Role::Request, b'B') => 12..=MAX_LENGTH,
        (Role::Request, b'E') => 9..=MAX_LENGTH,
        (Role::Request, b'D' | b'C') => 6..=MAX_LENGTH,
        (Role::Request, b'F') => 14..=MAX_LENGTH,
        (Role::Request, b'd' | b'p') => 4..=MAX_LENGTH,
        (Role::Request, b'f') => 5..=MAX_LENGTH,
        (Role::Response, b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c') => 4..=4,
        (Role::Response, b'Z') => 5..=5,
        (Role::Response, b'K') => 8..=264,
        (Role::Response, b'R') => 8..=1 << 20,
        (Role::Response, b'S') => 6..=1 << 20,
        (Role::Response, b'C') => 5..=256,
        (Role::Response, b'E' | b'N') => 5..=1 << 24,
        (Role::Response, b'A') => 10..=1 << 20,
        (Role::Response, b'T' | b't' | b'D') => 6..=MAX_LENGTH,
        (Role::Response, b'G' | b'H' | b'W') => 7..=1 << 20,
        (Role::Response, b'd' | b'V') => 4..=MAX_LENGTH,
        (Role::Response, b'v') => 12..=1 << 20,
        _ => return None,
    })
}

fn wanted(role: Role, kind: u8) -> usize {
    match (role, kind) {
        (Role::Request, b'Q' | b'P') => STATEMENT,
        (Role::Request, b'B' | b'E' | b'D' | b'C') => 256,
        (Role::Response, b'E') => 512,
        (Role::Response, b'C') => 128,
        (Role::Response, b'Z') => 6,
        _ => 5,
    }
}

/// The SQLSTATE of an error's message.
pub(super) fn sql_state(body: &[u8]) -> Option<&str> {
    let mut c = Cursor::new(body);
    while let Some(field) = c.u8().filter(|field| *field != 0) {
        let value = c.c_string()?;
        if field == b'C' {
            return std::str::from_utf8(value).ok().filter(|state| state.len() == 5);
        }
    }
    None
}

/// Command and rows of a command's tag: `SELECT 5`, `INSERT 0 1`, `CREATE TABLE`.
pub(super) fn tag(body: &[u8]) -> Option<(&str, Option<u64>)> {
    let tag = std::str::from_utf8(Cursor::new(body).c_string()?).ok()?;
    let Some((command, rows)) = tag.rsplit_once(' ') else {
        return Some((tag, None));
    };
    match rows.parse() {
        Ok(rows) => Some((command.split(' ').next().unwrap_or(command), Some(rows))),
        Err(_) => Some((tag, None)),
    }
}
