//! Envelopes, which are frames in the versions before 5: a header that is never compressed, and a body.

use super::body;
use crate::protocol::{Verdict, cursor::Cursor, framed::Role};

/// Length of a header.
pub(super) const HEADER: usize = 9;
/// The longest body that is believed in: the protocol's limit.
const MAX_BODY: u32 = 256 << 20;
/// The body is compressed.
const COMPRESSED: u8 = 1;
/// A tracing id comes first in an answer.
const TRACING: u8 = 1 << 1;
/// A map of bytes comes first, but for the two others.
const PAYLOAD: u8 = 1 << 2;
/// A list of warnings comes first in an answer, but for a tracing id.
const WARNINGS: u8 = 1 << 3;
/// All flags: the last is that of beta versions.
const FLAGS: u8 = 0x1f;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Error = 0x00,
    Startup = 0x01,
    Ready = 0x02,
    Authenticate = 0x03,
    Options = 0x05,
    Supported = 0x06,
    Query = 0x07,
    Result = 0x08,
    Prepare = 0x09,
    Execute = 0x0a,
    Register = 0x0b,
    Event = 0x0c,
    Batch = 0x0d,
    AuthChallenge = 0x0e,
    AuthResponse = 0x0f,
    AuthSuccess = 0x10,
}

impl Opcode {
    /// A request's opcode, or a response's.
    fn read(role: Role, code: u8) -> Option<Self> {
        Some(match (role, code) {
            (Role::Request, 0x01) => Self::Startup,
            (Role::Request, 0x05) => Self::Options,
            (Role::Request, 0x07) => Self::Query,
            (Role::Request, 0x09) => Self::Prepare,
            (Role::Request, 0x0a) => Self::Execute,
            (Role::Request, 0x0b) => Self::Register,
            (Role::Request, 0x0d) => Self::Batch,
            (Role::Request, 0x0f) => Self::AuthResponse,
            (Role::Response, 0x00) => Self::Error,
            (Role::Response, 0x02) => Self::Ready,
            (Role::Response, 0x03) => Self::Authenticate,
            (Role::Response, 0x06) => Self::Supported,
            (Role::Response, 0x08) => Self::Result,
            (Role::Response, 0x0c) => Self::Event,
            (Role::Response, 0x0e) => Self::AuthChallenge,
            (Role::Response, 0x10) => Self::AuthSuccess,
            _ => return None,
        })
    }

    /// The protocol's name of a request.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Startup => "STARTUP",
            Self::Options => "OPTIONS",
            Self::Query => "QUERY",
            Self::Prepare => "PREPARE",
            Self::Execute => "EXECUTE",
            Self::Register => "REGISTER",
            Self::Batch => "BATCH",
            Self::AuthResponse => "AUTH_RESPONSE",
            _ => "RESPONSE",
        }
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u8,
    flags: u8,
    pub(super) stream: i16,
    pub(super) opcode: Opcode,
    /// Length of the body.
    pub(super) length: u32,
}

impl Header {
    /// Length of the message.
    pub(super) fn size(&self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }

    /// Whether the body cannot be read.
    pub(super) fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }

    /// At what the message is about: passes over what may come before it.
    pub(super) fn enter(&self, role: Role, c: &mut Cursor<'_>) -> Option<()> {
        if role == Role::Response && self.flags & TRACING != 0 {
            c.skip(16)?;
        }
        if role == Role::Response && self.flags & WARNINGS != 0 {
            for _ in 0..c.u16_be()? {
                c.prefixed_u16_be()?;
            }
        }
        if self.flags & PAYLOAD != 0 {
            for _ in 0..c.u16_be()? {
                c.prefixed_u16_be()?;
                body::value(c)?;
            }
        }
        Some(())
    }
}

/// Reads a header; `None` if it is not there, or cannot be one.
pub(super) fn header(role: Role, bytes: &[u8]) -> Option<Header> {
    let mut c = Cursor::new(bytes);
    let (version, flags, stream, opcode, length) = (c.u8()?, c.u8()?, c.i16_be()?, c.u8()?, c.u32_be()?);
    let opcode = Opcode::read(role, opcode)?;
    let answers = version & 0x80 != 0;
    let ours = match role {
        Role::Request => !answers && stream >= 0,
        Role::Response => answers && (stream >= 0) != (opcode == Opcode::Event),
    };
    let version = version & 0x7f;
    (ours && (3..=5).contains(&version) && flags & !FLAGS == 0 && length <= MAX_BODY).then_some(Header {
        version,
        flags,
        stream,
        opcode,
        length,
    })
}

/// Whether these few bytes may become a header.
pub(super) fn may_begin(role: Role, bytes: &[u8]) -> bool {
    let version = if role == Role::Request { 3..=5 } else { 0x83..=0x85 };
    bytes.first().is_none_or(|first| version.contains(first)) && bytes.get(1).is_none_or(|flags| flags & !FLAGS == 0)
}

/// Whether a message begins with these bytes for certain.
pub(super) fn begins(role: Role, bytes: &[u8]) -> Verdict {
    if !may_begin(role, bytes) {
        return Verdict::No;
    }
    if bytes.len() < HEADER {
        return if bytes.is_empty() { Verdict::No } else { Verdict::More };
    }
    let Some(header) = header(role, bytes) else {
        return Verdict::No;
    };
    let rest = bytes.get(HEADER..).unwrap_or_default();
    let here = rest.len() as u64;
    if header.is_compressed() {
        // Nothing can be seen of it but its length.
        return if here == u64::from(header.length) && header.length > 0 { Verdict::Yes } else { Verdict::No };
    }
    let mut c = Cursor::new(rest);
    let fits = header.enter(role, &mut c).and_then(|()| body::fits(&header, c));
    match fits {
        Some(true) => Verdict::Yes,
        Some(false) => Verdict::No,
        None if here < u64::from(header.length) && here < 64 => Verdict::More,
        None => Verdict::No,
    }
}
