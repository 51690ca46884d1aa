//! MySQL's packets, and the fields that spans need.

use compact_str::CompactString;

use crate::protocol::{
    cursor::Cursor,
    framed::{Frame, Role},
};

/// Length and number.
pub(super) const HEADER: usize = 4;
/// A packet of this length goes on in the next one.
pub(super) const MAX_PAYLOAD: u64 = 0xff_ffff;
/// Bytes of a command that are looked at.
const COMMAND: usize = 4096;
/// Bytes of an answer's packet that are looked at.
const ANSWER: usize = 32;

/// What a client and a server can do, as both say when they meet.
pub(super) mod capability {
    pub(in super::super) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(in super::super) const COMPRESS: u32 = 1 << 5;
    pub(in super::super) const PROTOCOL_41: u32 = 1 << 9;
    pub(in super::super) const SSL: u32 = 1 << 11;
    pub(in super::super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(in super::super) const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    pub(in super::super) const DEPRECATE_EOF: u32 = 1 << 24;
    pub(in super::super) const ZSTD: u32 = 1 << 26;
    pub(in super::super) const QUERY_ATTRIBUTES: u32 = 1 << 27;
    /// MariaDB's own, in a field that MySQL leaves empty: the columns of a prepared statement are not sent again.
    pub(in super::super) const CACHE_METADATA: u32 = 1 << 4;
}

/// Flags of a result's end.
pub(super) mod status {
    /// Another result follows.
    pub(in super::super) const MORE_RESULTS: u16 = 1 << 3;
    /// The rows are to be fetched.
    pub(in super::super) const CURSOR: u16 = 1 << 6;
}

/// How long the packet is that begins with these bytes.
pub(super) fn frame(role: Role, bytes: &[u8]) -> Frame {
    let Some(payload) = Cursor::new(bytes).u24_le() else {
        return Frame::More;
    };
    if bytes.len() < HEADER {
        return Frame::More;
    }
    let want = if role == Role::Request { COMMAND } else { ANSWER };
    // The greeting names the server.
    let greets = role == Role::Response && bytes.get(3) == Some(&0);
    Frame::Message { length: u64::from(payload) + HEADER as u64, want: if greets { 256 } else { want } }
}

/// A packet's number and payload, as much of it as there is.
pub(super) fn split(bytes: &[u8]) -> Option<(u8, &[u8])> {
    Some((*bytes.get(3)?, bytes.get(HEADER..)?))
}

/// What a server says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) mariadb: bool,
    pub(super) capabilities: u32,
    pub(super) extended: u32,
}

/// Reads a greeting.
pub(super) fn greeting(payload: &[u8]) -> Option<Greeting> {
    let mut c = Cursor::new(payload);
    if c.u8()? != 10 {
        return None;
    }
    let version = c.c_string()?;
    let plain = version.first().is_some_and(u8::is_ascii_digit) && version.iter().all(|b| (b' '..0x7f).contains(b));
    if !plain || version.len() > 128 || !version.contains(&b'.') {
        return None;
    }
    c.skip(4 + 8)?;
    if c.u8()? != 0 {
        return None;
    }
    let low = c.u16_le()?;
    let (mut high, mut extended) = (0, 0);
    if c.skip(1 + 2).is_some() {
        high = c.u16_le().unwrap_or_default();
        if c.skip(1 + 6).is_some() {
            extended = c.u32_le().unwrap_or_default();
        }
    }
    let capabilities = u32::from(low) | u32::from(high) << 16;
    // MariaDB's own flags are there where a flag that every MySQL has is not set.
    let extended = if capabilities & 1 == 0 { extended } else { 0 };
    Some(Greeting { mariadb: version.windows(7).any(|w| w == b"MariaDB"), capabilities, extended })
}

/// What a client answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) capabilities: u32,
    pub(super) extended: u32,
    /// It goes on encrypted.
    pub(super) encrypts: bool,
    pub(super) database: Option<CompactString>,
}

/// Reads a client's answer to the greeting. `length`: of the whole payload.
pub(super) fn login(payload: &[u8], length: u64) -> Option<Login> {
    let mut c = Cursor::new(payload);
    let capabilities = c.u32_le()?;
    if capabilities & capability::PROTOCOL_41 == 0 {
        return None;
    }
    c.skip(4 + 1 + 19)?;
    let extended = c.u32_le()?;
    let extended = if capabilities & 1 == 0 { extended } else { 0 };
    let encrypts = capabilities & capability::SSL != 0 && length == 32;
    let mut login = Login { capabilities, extended, encrypts, database: None };
    if !encrypts {
        login.database = database(&mut c, capabilities);
    }
    Some(login)
}

fn database(c: &mut Cursor<'_>, capabilities: u32) -> Option<CompactString> {
    c.c_string()?;
    if capabilities & capability::PLUGIN_AUTH_LENENC != 0 {
        let length = usize::try_from(length_encoded(c)?).ok()?;
        c.skip(length)?;
    } else if capabilities & capability::SECURE_CONNECTION != 0 {
        c.prefixed_u8()?;
    } else {
        c.c_string()?;
    }
    if capabilities & capability::CONNECT_WITH_DB == 0 {
        return None;
    }
    c.c_string().map(CompactString::from_utf8_lossy)
}

/// A length-encoded integer.
pub(super) fn length_encoded(c: &mut Cursor<'_>) -> Option<u64> {
    let mut ahead = *c;
    let value = match ahead.u8()? {
        0xfc => ahead.u16_le()?.into(),
        0xfd => ahead.u24_le()?.into(),
        0xfe => ahead.u64_le()?,
        small @ ..=0xfa => small.into(),
        0xfb | 0xff => return None,
    };
    *c = ahead;
    Some(value)
}

/// What a packet of an answer is, by its first byte and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Done; with status flags, where they were captured.
    Ok(u16),
    /// The end of columns or rows, in the older protocol; with status flags.
    Eof(u16),
    /// An error: its code, where it was captured.
    Error(Option<u16>),
    /// Anything else.
    Data,
}

/// Reads the end of rows: it begins with 0xfe and is short. A row that begins so is longer than 16 MiB.
pub(super) fn end(payload: &[u8], length: u64) -> Kind {
    let mut c = Cursor::new(payload);
    match (c.u8(), length) {
        (Some(0xfe), 5) => {
            let flags = c.skip(2).and_then(|()| c.u16_le());
            Kind::Eof(flags.unwrap_or_default())
        }
        (Some(0xfe), 7..MAX_PAYLOAD) => Kind::Ok(flags(&mut c)),
        (Some(0xff), 3..) => Kind::Error(c.u16_le()),
        _ => Kind::Data,
    }
}

/// Reads the first packet of an answer, where no data come first.
pub(super) fn outcome(payload: &[u8], length: u64) -> Kind {
    let mut c = Cursor::new(payload);
    match c.u8() {
        Some(0) => Kind::Ok(flags(&mut c)),
        _ => end(payload, length),
    }
}

/// Status flags after rows affected and last id.
fn flags(c: &mut Cursor<'_>) -> u16 {
    length_encoded(c).and_then(|_| length_encoded(c)).and_then(|_| c.u16_le()).unwrap_or_default()
}
