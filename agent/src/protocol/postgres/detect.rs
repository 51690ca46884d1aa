//! Whether bytes are PostgreSQL's, and whose; and where messages begin after a loss.

use super::message::{Startup, frame, startup};
use crate::protocol::{
    Sample, Side, Verdict,
    cursor::Cursor,
    framed::{Found, Frame, Role},
};

/// How far before the end of an answer its tag is looked for.
const TAG: usize = 300;
/// Longest message of a client by which PostgreSQL is recognised. Other protocols' headers read like longer ones.
const MAX_RECOGNISED: usize = 1 << 24;
/// The message that ends an answer, but for its last byte.
const READY: &[u8] = b"Z\0\0\0\x05";

/// Who sent these bytes, if they are PostgreSQL's; else why not.
pub(super) fn sender(sample: &Sample<'_>) -> Result<Side, Verdict> {
    let bytes = sample.bytes;
    let mut verdict = Verdict::No;
    if sample.sender != Some(Side::Server) {
        match startup(bytes) {
            Some(Startup::Session(parameters)) if sample.first || is_named(parameters) => return Ok(Side::Client),
            Some(Startup::Encryption | Startup::Cancel) => return Ok(Side::Client),
            Some(Startup::Session(_)) => {}
            None if bytes.len() < 9 && begins_startup(bytes) => verdict = Verdict::More,
            None => {}
        }
        match find(Role::Request, bytes) {
            Found::At(0) => return Ok(Side::Client),
            Found::More => verdict = Verdict::More,
            Found::At(_) | Found::No => {}
        }
    }
    if sample.sender != Some(Side::Client) {
        match find(Role::Response, bytes) {
            Found::At(0) => return Ok(Side::Server),
            Found::More => verdict = Verdict::More,
            // The end of a long answer.
            Found::At(_) if !sample.first && is_whole(bytes) => return Ok(Side::Server),
            Found::At(_) | Found::No => {}
        }
    }
    Err(verdict)
}

/// Whether parameters begin with a name and a value: small numbers and a letter are in many a stream.
fn is_named(parameters: &[u8]) -> bool {
    let mut c = Cursor::new(parameters);
    let is_name =
        |name: &[u8]| name.len() > 3 && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    c.c_string().is_some_and(is_name) && c.u8().is_some_and(|first| first >= b' ')
}

/// Whether these few bytes may be the beginning of a connection.
fn begins_startup(bytes: &[u8]) -> bool {
    let high = bytes.iter().zip([0, 0]).all(|(byte, zero)| *byte == zero);
    let code = bytes.get(4..).unwrap_or_default();
    high && (code.iter().zip([0, 3]).all(|(a, b)| *a == b) || code.iter().zip([0x04, 0xd2, 0x16]).all(|(a, b)| *a == b))
}

/// Where in these bytes a message begins for certain.
pub(super) fn find(role: Role, bytes: &[u8]) -> Found {
    match chain(role, bytes) {
        Chain::Sure => return Found::At(0),
        Chain::Maybe if bytes.len() < 64 => return Found::More,
        Chain::Maybe | Chain::None => {}
    }
    if role == Role::Response && is_whole(bytes) {
        let ready = bytes.len() - READY.len() - 1;
        let tags = (ready.saturating_sub(TAG)..ready).rev();
        let ends_there = |at: &usize| {
            let mut c = Cursor::new(bytes.get(*at..ready).unwrap_or_default());
            matches!(c.u8(), Some(b'C' | b'E' | b's' | b'I'))
                && c.u32_be().is_some_and(|n| n as usize == ready - at - 1)
        };
        return Found::At(tags.into_iter().find(ends_there).unwrap_or(ready));
    }
    Found::No
}

/// Whether an answer ends with these bytes: in a piece that was captured whole, that is no accident.
fn is_whole(bytes: &[u8]) -> bool {
    let ready = bytes.len().checked_sub(READY.len() + 1).and_then(|at| bytes.get(at..));
    ready.is_some_and(|ready| ready.starts_with(READY) && matches!(ready.last(), Some(b'I' | b'T' | b'E')))
}

enum Chain {
    Sure,
    Maybe,
    None,
}

/// Whether one message after the other follows, until the bytes end.
fn chain(role: Role, mut bytes: &[u8]) -> Chain {
    let (mut messages, mut sure) = (0_u32, false);
    while !bytes.is_empty() && messages < 64 {
        let Frame::Message { length, .. } = frame(role, bytes, false) else {
            return match frame(role, bytes, false) {
                Frame::More if sure || messages > 1 => Chain::Sure,
                Frame::More => Chain::Maybe,
                _ => Chain::None,
            };
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (message, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        match role {
            Role::Request => match request(message, length) {
                Some(certain) => sure |= certain,
                None => return Chain::None,
            },
            Role::Response => match response(message, length) {
                Some(certain) => sure |= certain,
                None => return Chain::None,
            },
        }
        messages += 1;
        bytes = rest;
    }
    if sure || messages > 1 && role == Role::Response { Chain::Sure } else { Chain::Maybe }
}

/// Whether a request message is certain by its content; `None` if it cannot be one.
fn request(message: &[u8], length: usize) -> Option<bool> {
    let whole = message.len() == length;
    let (kind, body) = (message.first()?, message.get(5..).unwrap_or_default());
    match kind {
        _ if length >= MAX_RECOGNISED => None,
        0 => startup(message).map(|said| match said {
            Startup::Session(parameters) => is_named(parameters),
            Startup::Encryption | Startup::Cancel => true,
        }),
        b'Q' => {
            let text = if whole { body.strip_suffix(b"\0")? } else { body };
            is_text(text).then_some(!text.is_empty())
        }
        b'P' => {
            let mut c = Cursor::new(body);
            let (name, ended) = c.c_string_up_to();
            let (text, _) = c.c_string_up_to();
            (is_text(name) && is_text(text)).then_some(ended && !text.is_empty())
        }
        b'B' => {
            let mut c = Cursor::new(body);
            let ((portal, one), (statement, two)) = (c.c_string_up_to(), c.c_string_up_to());
            (is_text(portal) && is_text(statement)).then_some(one && two && c.u16_be().is_some_and(|n| n < 1024))
        }
        b'D' | b'C' => matches!(body.first(), None | Some(b'S' | b'P')).then_some(false),
        b'S' | b'H' | b'X' | b'E' | b'F' | b'c' | b'f' | b'd' | b'p' => Some(false),
        _ => None,
    }
}

/// Whether a response message is certain by its content; `None` if it cannot be one.
fn response(message: &[u8], length: usize) -> Option<bool> {
    let whole = message.len() == length;
    let (kind, body) = (message.first()?, message.get(5..).unwrap_or_default());
    match kind {
        b'Z' => match body {
            [b'I' | b'T' | b'E'] | [] => Some(whole),
            _ => None,
        },
        b'C' if whole => {
            super::message::tag(body).filter(|(tag, _)| tag.starts_with(|c: char| c.is_ascii_uppercase())).map(|_| true)
        }
        b'E' | b'N' => (!whole || body.ends_with(b"\0")).then(|| super::message::sql_state(body).is_some()),
        b'R' => Cursor::new(body).u32_be().is_none_or(|code| code <= 12).then_some(false),
        b'G' | b'H' | b'W' => matches!(body.first(), None | Some(0 | 1)).then_some(false),
        _ => Some(false),
    }
}

/// Whether bytes are a query's text, or a name: no control characters.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b >= b' ' && *b != 0x7f || matches!(b, b'\t' | b'\n' | b'\r'))
}
