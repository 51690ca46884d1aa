//! Whether bytes are Memcached's, and whose; and where a message begins after a loss.

use super::{
    binary,
    text::{self, Answer, Read, Shape},
};
use crate::protocol::{
    Sample, Side, Verdict,
    framed::{Found, Role},
};

/// Who sent these bytes, if they are Memcached's; else why not. A line like `get a`, which other protocols may have, does not
/// convince: its answer does.
pub(super) fn sender(sample: &Sample<'_>) -> Result<Side, Verdict> {
    let bytes = sample.bytes;
    let mut verdict = Verdict::No;
    if sample.sender != Some(Side::Server) {
        match request(bytes) {
            (Found::At(_), true) => return Ok(Side::Client),
            (Found::No, _) => {}
            _ => verdict = Verdict::More,
        }
    }
    if sample.sender != Some(Side::Client) {
        match response(bytes) {
            Found::At(_) => return Ok(Side::Server),
            Found::More => verdict = Verdict::More,
            Found::No => {}
        }
    }
    Err(verdict)
}

/// Whether a message begins with these bytes.
pub(super) fn find(role: Role, bytes: &[u8]) -> Found {
    match role {
        Role::Request => request(bytes).0,
        Role::Response => response(bytes),
    }
}

/// Whether a command begins with these bytes, and whether that is enough to know the protocol.
fn request(bytes: &[u8]) -> (Found, bool) {
    match binary::begins(Role::Request, bytes) {
        Some(true) => return (Found::At(0), true),
        None => return (Found::More, false),
        Some(false) => {}
    }
    match text::command(bytes) {
        Read::Line(command, _) if command.sure => (Found::At(0), true),
        Read::Line(command, length) => {
            let keyed = command.keys > 0;
            let plain = match command.name {
                Some("get" | "delete" | "mg" | "me") => keyed,
                Some("stats" | "flush_all" | "verbosity") => true,
                Some("version" | "mn") => length <= b"version\r\n".len(),
                _ => false,
            };
            (if plain { Found::At(0) } else { Found::No }, false)
        }
        // The longest of what convinces: a word, a blank.
        Read::More if text::may_be_command(bytes) => (Found::More, false),
        Read::More | Read::Invalid => (Found::No, false),
    }
}

/// Whether an answer begins with these bytes.
fn response(bytes: &[u8]) -> Found {
    match binary::begins(Role::Response, bytes) {
        Some(true) => return Found::At(0),
        None => return Found::More,
        Some(false) => {}
    }
    match text::answer(bytes) {
        Read::Line(answer, length) => {
            // What is short must be all that there is.
            let whole = length == bytes.len();
            let sure = match answer {
                Answer::Value(_) => bytes.starts_with(b"VALUE "),
                Answer::Item => bytes.starts_with(b"STAT ") && text::fits(Shape::List, &answer),
                Answer::End => whole,
                Answer::Word(word) => match word {
                    b"STORED" | b"NOT_STORED" | b"DELETED" | b"TOUCHED" | b"EXISTS" | b"NOT_FOUND" => {
                        length == word.len() + 2
                    }
                    b"VERSION" => bytes.get(8).is_some_and(u8::is_ascii_digit),
                    _ => false,
                },
                Answer::Meta(meta) => meta.plain && (meta.data.is_some() || whole),
                Answer::Error(_) => false,
            };
            if sure { Found::At(0) } else { Found::No }
        }
        Read::More if text::may_be_answer(bytes) => Found::More,
        Read::More | Read::Invalid => Found::No,
    }
}
