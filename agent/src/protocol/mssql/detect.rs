//! Whether bytes are TDS, and whose; and where a packet begins after a loss.

use super::{
    packet::{HEADER, Header, Kind, header, login, may_begin, prelogin, status},
    request, tokens,
};
use crate::protocol::{
    Sample, Side, Verdict,
    cursor::Cursor,
    framed::{Found, Role},
};

/// Who sent these bytes, if they are TDS; else why not.
pub(super) fn sender(sample: &Sample<'_>) -> Result<Side, Verdict> {
    let mut verdict = Verdict::No;
    for (side, role) in [(Side::Client, Role::Request), (Side::Server, Role::Response)] {
        if sample.sender.is_none_or(|sender| sender == side) {
            match find(role, sample.bytes) {
                Found::At(_) => return Ok(side),
                Found::More => verdict = Verdict::More,
                Found::No => {}
            }
        }
    }
    Err(verdict)
}

/// Whether a packet that cannot be anything else begins these bytes.
pub(super) fn find(role: Role, bytes: &[u8]) -> Found {
    let Some(header) = header(role, bytes) else {
        return if bytes.len() < HEADER && may_begin(role, bytes) { Found::More } else { Found::No };
    };
    let payload = bytes.get(HEADER..usize::from(header.length).min(bytes.len())).unwrap_or_default();
    let more = bytes.len() < usize::from(header.length);
    let sure = match role {
        Role::Request => request(&header, payload, more),
        Role::Response => response(&header, payload, bytes, more),
    };
    match sure {
        Some(true) => Found::At(0),
        Some(false) => Found::No,
        None => Found::More,
    }
}

/// Whether a request is certain; `None`: more is needed. `more`: the packet goes on.
fn request(header: &Header, payload: &[u8], more: bool) -> Option<bool> {
    let few = |length: usize| more && payload.len() < length;
    match header.kind {
        Kind::PreLogin if prelogin(payload).is_some() => Some(header.status == status::END),
        // The first option is always the same.
        Kind::PreLogin if few(128) && (payload.len() < 5 || payload.starts_with(&[0, 0])) => None,
        Kind::PreLogin => Some(false),
        Kind::Login(0x10) if few(8) => None,
        Kind::Login(0x10) => {
            let length = Cursor::new(payload).u32_le().map_or(0, |length| length as usize + HEADER);
            let fits = length == usize::from(header.length) || header.status & status::END == 0;
            Some(fits && login(payload).is_some())
        }
        Kind::Batch | Kind::Rpc | Kind::Transaction if few(10) => None,
        Kind::Batch | Kind::Rpc if more && request::headers(payload).is_none() => {
            // Older clients' have no headers: to be sure, all of it is needed.
            if request::may_be_old(header.kind, payload, false) { None } else { Some(false) }
        }
        Kind::Batch | Kind::Rpc => {
            let ends = header.status & status::END != 0;
            Some(request::headers(payload).is_some() || (ends && request::may_be_old(header.kind, payload, true)))
        }
        Kind::Transaction => Some(request::headers(payload).is_some()),
        Kind::Login(_) | Kind::Attention | Kind::Bulk | Kind::Result => Some(false),
    }
}

/// Whether an answer is certain: it is in one packet, which has all been seen, and says how it has ended; or it begins with the names of
/// columns, or with an error.
fn response(header: &Header, payload: &[u8], bytes: &[u8], more: bool) -> Option<bool> {
    if header.kind != Kind::Result {
        return Some(false);
    }
    let ends = header.status & status::END != 0;
    if ends && bytes.len() == usize::from(header.length) {
        return Some(tokens::last(payload, false).is_some() || prelogin(payload).is_some());
    }
    let mut c = Cursor::new(payload);
    let begins = match c.u8() {
        // Columns: one, a few; the first one's number and flags, and a type.
        Some(0x81) => {
            let count = c.u16_le();
            let fields = c.u32_le().zip(c.u16_le());
            count.is_some_and(|count| (1..=1024).contains(&count))
                && fields.is_some_and(|(user, _)| user < 0x1_0000)
                && super::columns::Column::read(&mut c).is_ok()
        }
        Some(0xaa | 0xab) => {
            let length = c.u16_le().map(usize::from);
            let number = c.skip(4).and_then(|()| c.u16_be());
            // State, class, and the length of a text, which fits.
            let text = c.u16_le().map(usize::from);
            number.is_some_and(|number| number & 0xff <= 25)
                && length.zip(text).is_some_and(|(length, text)| text > 0 && 2 * text + 8 < length)
        }
        _ => false,
    };
    if begins {
        return Some(true);
    }
    if more && payload.len() < 24 { None } else { Some(false) }
}
