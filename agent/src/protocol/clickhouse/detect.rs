//! Whether bytes are ClickHouse's, and whose; and where a packet begins after a loss.

use super::{
    packet::{self, Revision, Stop},
    part::{Next, Part, piece},
    query,
    way::Way,
};
use crate::protocol::{
    Sample, Side, Verdict,
    cursor::Cursor,
    framed::{Found, Role},
};

/// What a packet of data begins with that is not compressed, after its number: no table, and what such a block is.
const BLOCK: &[u8] = &[0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0];
/// How far before the end of a piece the end of an answer is looked for.
const TAIL: usize = 1024;

/// Who sent these bytes, if they are ClickHouse's; else why not.
pub(super) fn sender(sample: &Sample<'_>) -> Result<Side, Verdict> {
    let mut verdict = Verdict::No;
    let unknown = Way::default();
    for (side, role) in [(Side::Client, Role::Request), (Side::Server, Role::Response)] {
        if sample.sender.is_none_or(|sender| sender == side) {
            match begins(role, sample.bytes, &unknown) {
                Found::At(_) => return Ok(side),
                Found::More => verdict = Verdict::More,
                Found::No => {}
            }
        }
    }
    Err(verdict)
}

/// Where in these bytes a packet begins for certain.
pub(super) fn find(role: Role, bytes: &[u8], way: &Way) -> Found {
    match begins(role, bytes, way) {
        Found::No if role == Role::Response => tail(bytes, way),
        found => found,
    }
}

fn begins(role: Role, bytes: &[u8], way: &Way) -> Found {
    let Some((kind, rest)) = bytes.split_first() else {
        return Found::More;
    };
    let sure = match (role, kind) {
        (Role::Request, 0) => hello(packet::client_hello(&mut Cursor::new(rest)).map(|_| true), rest),
        (Role::Request, 1) => match way.next(role, bytes) {
            Next::Is(Part::Query(query, at), ..) => {
                let text = bytes.get(at..).unwrap_or_default();
                let enough = text.len() as u64 >= query.length.min(query::ENOUGH);
                enough.then(|| query::is_text(text, query.length))
            }
            // The beginning of a query: its name, and that of who asks.
            Next::More => begins_query(rest),
            _ => Some(false),
        },
        (Role::Response, 0) => {
            // Without the client's revision, only the beginning of it is certain.
            let mut c = Cursor::new(rest);
            hello(packet::server_hello(&mut c, 0).map(|_| rest.starts_with(b"\x0aClickHouse")), rest)
        }
        (Role::Response, 1 | 7 | 8 | 10 | 14) => match block(rest) {
            Some(false) if way.compressed && rest.first() == Some(&0) => match piece(rest.get(1..).unwrap_or_default())
            {
                Some(Next::Is(..)) => Some(true),
                Some(_) => None,
                None => Some(false),
            },
            sure => sure,
        },
        (Role::Response, 2) if rest.len() < 18 && (rest.len() < 5 || rest.get(4) == Some(&13)) => None,
        (Role::Response, 2) => Some(packet::is_exception(rest)),
        _ => Some(false),
    };
    match sure {
        Some(true) => Found::At(0),
        Some(false) => Found::No,
        None => Found::More,
    }
}

/// Whether a block begins here that is not compressed, and has the columns or the end that one has.
fn block(rest: &[u8]) -> Option<bool> {
    if rest.len() < BLOCK.len() + 2 {
        return if BLOCK.starts_with(rest.get(..BLOCK.len()).unwrap_or(rest)) { None } else { Some(false) };
    }
    Some(rest.starts_with(BLOCK))
}

/// A greeting; `None`: there may be more of it.
fn hello(read: Result<bool, Stop>, rest: &[u8]) -> Option<bool> {
    match read {
        Ok(sure) => Some(sure),
        // Its name is text of some length.
        Err(Stop::More) if rest.first().is_none_or(|length| (4..=128).contains(length)) && rest.len() < 512 => {
            if rest.get(1..).unwrap_or_default().first().is_none_or(u8::is_ascii_alphabetic) {
                None
            } else {
                Some(false)
            }
        }
        Err(_) => Some(false),
    }
}

fn begins_query(rest: &[u8]) -> Option<bool> {
    let id = rest.first().copied().unwrap_or_default();
    let kind = rest.get(1 + usize::from(id));
    if (id == 0 || id >= 8) && id <= 64 && kind.is_none_or(|kind| matches!(kind, 1 | 2)) { None } else { Some(false) }
}

/// The last packets of an answer, where they end with the piece: from an empty block on, or from what a query has given.
fn tail(bytes: &[u8], way: &Way) -> Found {
    let from = bytes.len().saturating_sub(TAIL);
    let mut at = from;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() > BLOCK.len() + 3) {
        let plain = rest.get(1..).is_some_and(|rest| rest.starts_with(BLOCK));
        let compressed = || way.compressed && matches!(rest.get(2..).and_then(piece), Some(Next::Is(..)));
        let begins = matches!(rest, [1 | 7 | 8 | 10 | 14, 0, ..]) && (plain || compressed());
        if begins && way.revision.is_some_and(|revision| revision.all().any(|revision| ends(rest, way, revision))) {
            return Found::At(at);
        }
        at += 1;
    }
    Found::No
}

/// Whether packets follow each other from here to the end, and the last one ends an answer.
fn ends(mut bytes: &[u8], way: &Way, revision: Revision) -> bool {
    let mut way = way.clone();
    way.lose();
    way.revision = Some(revision);
    while !bytes.is_empty() {
        let Next::Is(part, length, _) = way.next(Role::Response, bytes) else {
            return false;
        };
        let Some(rest) = usize::try_from(length).ok().and_then(|length| bytes.get(length..)) else {
            return false;
        };
        way.take(&part);
        if rest.is_empty() {
            return matches!(part, Part::EndOfStream | Part::Exception { .. });
        }
        bytes = rest;
    }
    false
}
