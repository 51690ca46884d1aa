//! Whether bytes are RESP, and whose; and where a value begins after a loss.

use super::{
    command,
    element::{Element, Nesting, Parsed, parse, text},
};
use crate::protocol::{
    Sample, Side, Verdict,
    framed::{Found, Role},
};

/// Who sent these bytes, if they are RESP; else why not. Lines like `+OK` or `PING`, which other protocols know, too, do not convince.
pub(super) fn sender(sample: &Sample<'_>) -> Result<Side, Verdict> {
    let mut verdict = Verdict::No;
    if sample.sender != Some(Side::Server) {
        match find(Role::Request, sample.bytes) {
            Found::At(_) => return Ok(Side::Client),
            Found::More => verdict = Verdict::More,
            Found::No => {}
        }
    }
    if sample.sender != Some(Side::Client) {
        let begins = |text: &[u8]| sample.bytes.starts_with(text);
        let lines: [&[u8]; 6] =
            [b"+PONG\r\n", b"+QUEUED\r\n", b"-WRONGTYPE ", b"-NOAUTH ", b"-NOSCRIPT ", b"-LOADING "];
        let collections = matches!(sample.bytes.first(), Some(b'*' | b'$' | b'%' | b'>'));
        if lines.into_iter().any(begins) || collections && find(Role::Response, sample.bytes) == Found::At(0) {
            return Ok(Side::Server);
        }
    }
    Err(verdict)
}

/// Where in these bytes a value begins for certain.
pub(super) fn find(role: Role, bytes: &[u8]) -> Found {
    match role {
        Role::Request => request(bytes),
        Role::Response => response(bytes),
    }
}

/// `*2\r\n$3\r\nGET`: a collection of strings, the first of them a command's name.
fn request(bytes: &[u8]) -> Found {
    if bytes.first() != Some(&b'*') {
        return Found::No;
    }
    let name = match parse(bytes) {
        Parsed::Element(Element::Collection(1..), size) => bytes.get(usize::try_from(size).unwrap_or(usize::MAX)..),
        Parsed::More => return Found::More,
        _ => return Found::No,
    };
    let name = name.unwrap_or_default();
    match parse(name) {
        Parsed::More => Found::More,
        Parsed::Element(Element::Text { head, length: length @ 1..=32 }, size) => {
            if !name.starts_with(b"$") {
                return Found::No;
            }
            let seen = text(name, head, length);
            if !seen.is_empty() && !command::is_name(seen) {
                return Found::No;
            }
            // An answer's first string may be a word as well, but not its length with a zero.
            if (name.len() as u64) < size { Found::More } else { Found::At(0) }
        }
        _ => Found::No,
    }
}

/// One whole value, or the beginning of one that is longer: several in a row may as well be the elements of one whose beginning was missed.
fn response(bytes: &[u8]) -> Found {
    let (mut rest, mut nesting) = (bytes, Nesting::default());
    loop {
        let (element, size) = match parse(rest) {
            Parsed::Element(element, size) => (element, size),
            Parsed::More if rest.len() < bytes.len() => return Found::At(0),
            Parsed::More => return Found::More,
            Parsed::Invalid => return Found::No,
        };
        let Some((now, later)) = usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size)) else {
            return Found::At(0);
        };
        if matches!(element, Element::Text { .. }) && !now.ends_with(b"\r\n") {
            return Found::No;
        }
        match nesting.complete(element) {
            None => return Found::No,
            Some(true) => return if later.is_empty() { Found::At(0) } else { Found::No },
            Some(false) => rest = later,
        }
    }
}
