//! Packets, and the messages that come before the first request.
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/e5ea8520-1ea3-4a75-a2a9-c17e63e9ee19>

use compact_str::CompactString;

use crate::protocol::{
    cursor::Cursor,
    framed::{Frame, Role},
};

/// Length of a packet's header.
pub(super) const HEADER: usize = 8;
/// Longest packet that both sides can agree on.
pub(super) const MAX_PACKET: u16 = 32767;
/// Bytes of a request's first packet that are looked at.
const WANT_REQUEST: usize = HEADER + 4096;

/// What a packet is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// SQL text.
    Batch,
    /// A call of a procedure.
    Rpc,
    /// Whatever the server says.
    Result,
    /// A request to stop what is being answered.
    Attention,
    /// Rows for an `INSERT BULK`.
    Bulk,
    /// A request about a transaction.
    Transaction,
    /// A token, a login, or what follows a login.
    Login(u8),
    /// What both sides can do; and the handshake of TLS.
    PreLogin,
}

/// The header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bits of [`status`].
    pub(super) status: u8,
    /// Length, header included.
    pub(super) length: u16,
}

/// Bits of a packet's status.
pub(super) mod status {
    /// It is the last one of its message.
    pub(in super::super) const END: u8 = 1;
    /// The message is to be ignored: the client has changed its mind.
    pub(in super::super) const IGNORE: u8 = 2;
    /// All that exist.
    pub(super) const ALL: u8 = END | IGNORE | 8 | 16;
}

/// Reads a header; `None` if there is none, or it cannot be one.
pub(super) fn header(role: Role, bytes: &[u8]) -> Option<Header> {
    let mut c = Cursor::new(bytes);
    let kind = kind(role, c.u8()?)?;
    let status = c.u8().filter(|status| status & !status::ALL == 0)?;
    let length = c.u16_be().filter(|length| (HEADER as u16..=MAX_PACKET).contains(length))?;
    // Session, number, and a window that nobody uses.
    c.skip(3)?;
    (c.u8()? == 0).then_some(Header { kind, status, length })
}

/// Whether a header may begin with these bytes, which are fewer than one has.
pub(super) fn may_begin(role: Role, bytes: &[u8]) -> bool {
    let length = || Cursor::new(bytes.get(2..).unwrap_or_default()).u16_be();
    bytes.first().is_none_or(|first| kind(role, *first).is_some())
        && bytes.get(1).is_none_or(|status| status & !status::ALL == 0)
        && length().is_none_or(|length| (HEADER as u16..=MAX_PACKET).contains(&length))
}

fn kind(role: Role, byte: u8) -> Option<Kind> {
    Some(match (role, byte) {
        (_, 0x12) => Kind::PreLogin,
        (Role::Response, 0x04) => Kind::Result,
        (Role::Response, _) => return None,
        (Role::Request, 0x01) => Kind::Batch,
        (Role::Request, 0x03) => Kind::Rpc,
        (Role::Request, 0x06) => Kind::Attention,
        (Role::Request, 0x07) => Kind::Bulk,
        (Role::Request, 0x08 | 0x10 | 0x11) => Kind::Login(byte),
        (Role::Request, 0x0e) => Kind::Transaction,
        (Role::Request, _) => return None,
    })
}

/// How long the packet is that begins with these bytes. `encrypting`: a record of TLS may come instead.
pub(super) fn frame(role: Role, bytes: &[u8], encrypting: bool) -> Frame {
    if encrypting && is_record(bytes) {
        return match Cursor::new(bytes.get(3..).unwrap_or_default()).u16_be() {
            Some(length) => Frame::Message { length: 5 + u64::from(length), want: 5 },
            None => Frame::More,
        };
    }
    match header(role, bytes) {
        Some(header) => {
            let want = match header.kind {
                Kind::Bulk | Kind::Attention => HEADER,
                Kind::Result => usize::from(MAX_PACKET),
                _ => WANT_REQUEST,
            };
            Frame::Message { length: header.length.into(), want }
        }
        None if bytes.len() < HEADER && may_begin(role, bytes) => Frame::More,
        None => Frame::Malformed,
    }
}

/// Whether bytes are a record of TLS: its type and version.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|kind| (20..=23).contains(kind)) && bytes.get(1).is_none_or(|major| *major == 3)
}

/// What a side says of encryption before the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Of the login only.
    Off,
    /// Of all.
    On,
    /// None.
    NotSupported,
    /// Not understood.
    Unknown,
}

/// What a PRELOGIN, or the answer to one, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PreLogin {
    pub(super) encryption: Encryption,
    /// Several sessions share the connection, if both sides want that: MARS.
    pub(super) mars: bool,
}

/// Reads the options of a PRELOGIN, or of the answer to one; `None` if they are none, or not there.
pub(super) fn prelogin(payload: &[u8]) -> Option<PreLogin> {
    let mut c = Cursor::new(payload);
    let mut said = PreLogin { encryption: Encryption::Unknown, mars: false };
    let mut first = true;
    loop {
        let option = c.u8()?;
        if option == 0xff {
            return (!first).then_some(said);
        }
        let (at, length) = (usize::from(c.u16_be()?), usize::from(c.u16_be()?));
        // The version comes first, and what the options say comes after their list.
        if first && (option != 0 || length != 6) || option > 0x10 || at < 6 {
            return None;
        }
        first = false;
        match option {
            1 => {
                said.encryption = match payload.get(at) {
                    Some(0) => Encryption::Off,
                    Some(1 | 3) => Encryption::On,
                    Some(2) => Encryption::NotSupported,
                    _ => Encryption::Unknown,
                };
            }
            4 => said.mars = length > 0 && payload.get(at) == Some(&1),
            _ => {}
        }
    }
}

/// What is kept of a LOGIN7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// The version is older than 7.2: numbers of rows are shorter, and requests have no headers.
    pub(super) old: bool,
    /// The database that is asked for.
    pub(super) database: Option<CompactString>,
}

/// Reads a LOGIN7; `None` if it is none.
pub(super) fn login(payload: &[u8]) -> Option<Login> {
    /// Where the place of the database's name stands.
    const DATABASE: usize = 68;
    let mut c = Cursor::new(payload);
    c.u32_le().filter(|length| (86..=128 << 10).contains(length))?;
    let version = c.u32_le().filter(|version| matches!(version >> 24, 0x70..=0x74))?;
    let mut c = Cursor::new(payload.get(DATABASE..).unwrap_or_default());
    let database = (c.u16_le(), c.u16_le());
    let database = match database {
        (Some(at), Some(length)) if length > 0 && length <= 128 => {
            let (at, length) = (usize::from(at), 2 * usize::from(length));
            payload.get(at..at + length).and_then(wide)
        }
        _ => None,
    };
    Some(Login { old: version >> 24 < 0x72, database })
}

/// Text in UTF-16; `None` if it is cut within a character, or is none.
pub(super) fn wide(bytes: &[u8]) -> Option<CompactString> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    if !rest.is_empty() {
        return None;
    }
    char::decode_utf16(units).collect::<Result<CompactString, _>>().ok()
}

/// As much text as there is in UTF-16, what is no character replaced.
pub(super) fn wide_lossy(bytes: &[u8]) -> String {
    let (units, _) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
