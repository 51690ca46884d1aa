//! Whether bytes are MySQL's, and whose; and where a packet begins after a loss.

use super::packet::{self, HEADER, greeting, split};
use crate::protocol::{
    Sample, Side, Verdict,
    cursor::Cursor,
    framed::{Found, Role},
};

/// Words that statements begin with.
const STATEMENTS: &[&str] = &[
    "alter",
    "analyze",
    "begin",
    "call",
    "check",
    "checksum",
    "commit",
    "create",
    "deallocate",
    "delete",
    "desc",
    "describe",
    "do",
    "drop",
    "execute",
    "explain",
    "flush",
    "grant",
    "handler",
    "insert",
    "kill",
    "load",
    "lock",
    "optimize",
    "prepare",
    "release",
    "rename",
    "repair",
    "replace",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "select",
    "set",
    "show",
    "start",
    "table",
    "truncate",
    "unlock",
    "update",
    "use",
    "values",
    "with",
    "xa",
];

/// Who sent these bytes, if they are MySQL's; else why not.
pub(super) fn sender(sample: &Sample<'_>) -> Result<Side, Verdict> {
    let bytes = sample.bytes;
    let mut verdict = Verdict::No;
    if sample.sender != Some(Side::Client) {
        let hello = split(bytes).filter(|(number, payload)| *number == 0 && greeting(payload).is_some());
        if hello.is_some_and(|_| length(bytes) == Some(bytes.len())) || columns(bytes) {
            return Ok(Side::Server);
        }
        let begins = matches!(bytes, [_, 0, 0, 0, 10, b'0'..=b'9', ..] | [_, 0, 0, 0]);
        if begins && sample.first && length(bytes).is_none_or(|length| bytes.len() < length) {
            verdict = Verdict::More;
        }
    }
    if sample.sender != Some(Side::Server) {
        match find(Role::Request, bytes) {
            Found::At(_) if matches!(bytes.get(HEADER), Some(0x03 | 0x16 | 0x17)) => return Ok(Side::Client),
            // Commands without text are so short that other protocols' bytes look the same.
            Found::At(_) => {}
            Found::More => verdict = Verdict::More,
            Found::No => {}
        }
    }
    Err(verdict)
}

/// Length of the packet at hand, with its header.
fn length(bytes: &[u8]) -> Option<usize> {
    Some(Cursor::new(bytes).u24_le()? as usize + HEADER)
}

/// Where in these bytes a packet begins for certain.
pub(super) fn find(role: Role, bytes: &[u8]) -> Found {
    match role {
        Role::Request => request(bytes),
        Role::Response if columns(bytes) => Found::At(0),
        Role::Response => response(bytes),
    }
}

/// A command, in one packet that ends with the bytes or is longer than they.
fn request(bytes: &[u8]) -> Found {
    let (Some(length), Some((0, payload))) = (length(bytes), split(bytes)) else {
        return Found::No;
    };
    let Some((command, body)) = payload.split_first() else {
        return if length > HEADER { Found::More } else { Found::No };
    };
    let whole = bytes.len() == length;
    if bytes.len() > length && length > HEADER {
        // Commands in a row, as pipelining clients send them.
        let rest = bytes.get(length..).unwrap_or_default();
        return match request(bytes.get(..length).unwrap_or_default()) {
            Found::At(0) if request(rest) == Found::At(0) || rest.len() <= HEADER => Found::At(0),
            _ => Found::No,
        };
    }
    let certain = match (command, body.len()) {
        (0x03 | 0x16, 0) => return Found::More,
        (0x03 | 0x16, _) if !whole && may_become_sql(body) => return Found::More,
        (0x03 | 0x16, _) => is_sql(body),
        // Id, flags, and a count that is always 1.
        (0x17, 9..) => body.get(5..9) == Some(&[1, 0, 0, 0]),
        (0x17, _) if !whole => return Found::More,
        (0x0e | 0x1f, 0) => whole,
        (0x19 | 0x1a, 4) => whole,
        _ => false,
    };
    if certain { Found::At(0) } else { Found::No }
}

/// Whether this may be SQL: text that begins with a comment, a bracket, or one of the words that statements begin with.
fn is_sql(body: &[u8]) -> bool {
    let (text, word, rest) = first_word(body);
    let known = |known: &&str| known.as_bytes().eq_ignore_ascii_case(word);
    let begins = match word {
        b"" => matches!(rest, [b'/', b'*', ..] | [b'(' | b'#', ..] | [b'-', b'-', ..]),
        _ => STATEMENTS.iter().any(known),
    };
    begins && text.iter().take(64).all(|b| *b >= b' ' || matches!(b, b'\t' | b'\n' | b'\r'))
}

/// Whether no more than the first word has come, and perhaps not all of that.
fn may_become_sql(body: &[u8]) -> bool {
    let (_, word, rest) = first_word(body);
    let begun = word.to_ascii_lowercase();
    rest.is_empty() && STATEMENTS.iter().any(|known| known.as_bytes().starts_with(&begun))
}

/// The text of a query, its first word, and what follows that.
fn first_word(body: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let text = body.strip_prefix(&[0, 1]).unwrap_or(body).trim_ascii_start();
    let word = text.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let (word, rest) = text.split_at_checked(word).unwrap_or_default();
    (text, word, rest)
}

/// Whether a result begins here: the number of its columns, and the first of them.
fn columns(bytes: &[u8]) -> bool {
    matches!(bytes, [1 | 2, 0, 0, 1, 1..=250, rest @ ..] if {
        let rest = if bytes.first() == Some(&2) { rest.get(1..).unwrap_or_default() } else { rest };
        matches!(rest, [_, _, 0, 2, 3, b'd', b'e', b'f', ..])
    })
}

/// The end of rows, where a piece that was captured whole ends with it; or an outcome.
fn response(bytes: &[u8]) -> Found {
    if length(bytes) == Some(bytes.len())
        && let Some((1, payload)) = split(bytes)
    {
        let short = matches!(payload, [0, _, _, _, _, _, _, ..] | [0xff, _, _, b'#', ..]);
        return if short && payload.len() < 512 { Found::At(0) } else { Found::No };
    }
    for tail in [HEADER + 5, HEADER + 7] {
        let Some(at) = bytes.len().checked_sub(tail) else {
            continue;
        };
        let packet = bytes.get(at..).unwrap_or_default();
        let ends = length(packet) == Some(tail)
            && split(packet).is_some_and(|(number, payload)| {
                number > 1
                    && packet::end(payload, payload.len() as u64) != packet::Kind::Data
                    && payload.first() == Some(&0xfe)
            });
        // Warnings and flags are small numbers.
        if ends {
            return Found::At(at);
        }
    }
    Found::No
}
