//! Messages: what is asked, and with which outcome it is answered.

use compact_str::{CompactString, format_compact};

use super::bson::{Document, Value};
use crate::protocol::{Verdict, cursor::Cursor, framed::Role};

/// Length of a header.
pub(super) const HEADER: usize = 16;
/// The longest message that is believed in: the server's limit is 48 MB.
const MAX_LENGTH: u32 = 64 << 20;
/// The longest name that is believed in.
const MAX_NAME: usize = 128;

/// `OP_REPLY`.
const REPLY: i32 = 1;
/// `OP_UPDATE`.
const UPDATE: i32 = 2001;
/// `OP_INSERT`.
const INSERT: i32 = 2002;
/// `OP_QUERY`.
const QUERY: i32 = 2004;
/// `OP_GET_MORE`.
const GET_MORE: i32 = 2005;
/// `OP_DELETE`.
const DELETE: i32 = 2006;
/// `OP_KILL_CURSORS`.
const KILL_CURSORS: i32 = 2007;
/// `OP_COMPRESSED`.
const COMPRESSED: i32 = 2012;
/// `OP_MSG`.
const MSG: i32 = 2013;

/// A flag of `OP_MSG`: nothing answers this message, or another one follows this answer.
const MORE_TO_COME: u32 = 1 << 1;
/// The flags of `OP_MSG` that there are: a checksum follows, [`MORE_TO_COME`], several answers are welcome.
const FLAGS: u32 = 1 | MORE_TO_COME | 1 << 16;

/// Commands whose value is the collection that they work on.
const ON_COLLECTION: &[&str] = &[
    "aggregate",
    "analyze",
    "collMod",
    "collStats",
    "compact",
    "convertToCapped",
    "count",
    "create",
    "createIndexes",
    "createSearchIndexes",
    "dataSize",
    "delete",
    "deleteIndexes",
    "distinct",
    "drop",
    "dropIndexes",
    "dropSearchIndex",
    "find",
    "findAndModify",
    "findandmodify",
    "geoSearch",
    "insert",
    "killCursors",
    "listIndexes",
    "mapReduce",
    "mapreduce",
    "reIndex",
    "update",
    "updateSearchIndex",
    "validate",
];

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) id: i32,
    pub(super) response_to: i32,
    opcode: i32,
}

/// What a request asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) command: Option<CompactString>,
    pub(super) collection: Option<CompactString>,
    pub(super) database: Option<CompactString>,
    /// Nothing will answer it.
    pub(super) silent: bool,
    /// Documents answer it, not what has become of a command.
    pub(super) plain: bool,
    pub(super) compressor: Option<&'static str>,
}

/// How a request was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// It failed: the error's number, if there is one, and its name, or else its number.
    pub(super) error: Option<(Option<CompactString>, CompactString)>,
    /// Whether it failed was seen.
    pub(super) known: bool,
    /// Documents in the batch.
    pub(super) rows: Option<u64>,
    /// Another answer follows.
    pub(super) more: bool,
    pub(super) compressor: Option<&'static str>,
}

/// Reads a header; `None` if it is not there, or cannot be one.
pub(super) fn header(role: Role, bytes: &[u8]) -> Option<Header> {
    let mut c = Cursor::new(bytes);
    let (length, id, response_to, opcode) = (c.u32_le()?, c.i32_le()?, c.i32_le()?, c.i32_le()?);
    let fits = match (role, opcode) {
        (_, MSG | COMPRESSED) => (response_to == 0) == (role == Role::Request),
        // Some old clients write -1 for nothing.
        (Role::Request, UPDATE | INSERT | QUERY | GET_MORE | DELETE | KILL_CURSORS) => matches!(response_to, 0 | -1),
        (Role::Response, REPLY) => true,
        _ => false,
    };
    (fits && (HEADER as u32 + 5..=MAX_LENGTH).contains(&length)).then_some(Header { length, id, response_to, opcode })
}

/// Whether a message begins with these bytes for certain.
pub(super) fn begins(role: Role, bytes: &[u8]) -> Verdict {
    /// What is looked at, at most: two flags' words, a section's kind, the length of a document and its first element.
    const ENOUGH: usize = 64;
    if bytes.len() < HEADER {
        // A length below 64 MiB; what answers nothing says so.
        let sane = bytes.get(3).is_none_or(|high| *high < 4);
        let answered = bytes.get(8..).unwrap_or_default();
        let answered = answered.get(..4).unwrap_or(answered);
        let answers = role == Role::Response || [0, 0xff].iter().any(|byte| answered.iter().all(|b| b == byte));
        return if sane && answers { Verdict::More } else { Verdict::No };
    }
    let Some(header) = header(role, bytes) else {
        return Verdict::No;
    };
    match is_content(header, bytes.get(HEADER..).unwrap_or_default()) {
        Some(true) => Verdict::Yes,
        Some(false) => Verdict::No,
        None if bytes.len() < ENOUGH && (bytes.len() as u64) < header.length.into() => Verdict::More,
        None => Verdict::No,
    }
}

/// Whether what follows a header may be a message; `None`: not enough of it is there.
fn is_content(header: Header, bytes: &[u8]) -> Option<bool> {
    let mut c = Cursor::new(bytes);
    let left = header.length - HEADER as u32;
    match header.opcode {
        MSG => {
            let flags = c.u32_le()?;
            if flags & !FLAGS != 0 {
                return Some(false);
            }
            match c.u8()? {
                0 => is_document(&mut c, left.saturating_sub(5)),
                1 => {
                    let length = c.u32_le()?;
                    Some(length >= 5 && length <= left.saturating_sub(5) && is_name(c.c_string()?))
                }
                _ => Some(false),
            }
        }
        COMPRESSED => {
            let (original, size, compressor) = (c.i32_le()?, c.u32_le()?, c.u8()?);
            Some(matches!(original, MSG | QUERY | REPLY) && size <= MAX_LENGTH && compressor <= 3)
        }
        QUERY => {
            c.u32_le()?;
            let name = c.c_string()?;
            c.u64_le()?;
            let dotted = name.contains(&b'.') && is_name(name);
            if !dotted {
                return Some(false);
            }
            is_document(&mut c, left)
        }
        REPLY => {
            let (flags, _cursor, _from, count) = (c.u32_le()?, c.u64_le()?, c.u32_le()?, c.u32_le()?);
            if flags > 0xf || count > left {
                return Some(false);
            }
            if count == 0 { Some(left == 20 && header.response_to != 0) } else { is_document(&mut c, left) }
        }
        // Too old to be recognised by.
        _ => Some(false),
    }
}

/// Whether a document of at most this length may begin here.
fn is_document(c: &mut Cursor<'_>, most: u32) -> Option<bool> {
    let length = c.u32_le()?;
    if length < 5 || length > most {
        return Some(false);
    }
    let kind = c.u8()?;
    if length == 5 || kind == 0 {
        return Some(length == 5 && kind == 0);
    }
    Some(matches!(kind, 1..=0x13 | 0x7f | 0xff) && is_name(c.c_string()?))
}

/// Whether this can be the name of something: of a command, a database, a collection.
fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.iter().all(|b| *b > b' ' && *b != 0x7f)
}

fn name(bytes: &[u8]) -> Option<CompactString> {
    CompactString::from_utf8(bytes).ok().filter(|_| is_name(bytes))
}

fn compressor(id: u8) -> &'static str {
    match id {
        0 => "noop",
        1 => "snappy",
        2 => "zlib",
        3 => "zstd",
        _ => "unknown",
    }
}

/// With what the content is compressed, of a message that is.
fn compressed(header: Header, bytes: &[u8]) -> Option<&'static str> {
    (header.opcode == COMPRESSED).then(|| bytes.get(8).map_or("unknown", |id| compressor(*id)))
}

/// The body of an `OP_MSG`, which is a section of kind 0, and its flags.
fn body<'a>(header: Header, c: &mut Cursor<'a>) -> (u32, Option<Document<'a>>) {
    let (here, left) = (c.len(), (header.length as usize).saturating_sub(HEADER));
    let Some(flags) = c.u32_le() else { return (0, None) };
    loop {
        match c.u8() {
            Some(0) => {
                // It cannot be longer than the message.
                let length = Cursor::new(c.rest()).u32_le().unwrap_or(u32::MAX);
                let fits = length as usize <= left.saturating_sub(here.saturating_sub(c.len()));
                return (flags, if fits { Document::read(c) } else { None });
            }
            // A list of documents: its length counts itself.
            Some(1) => {
                let length = c.u32_le().and_then(|length| usize::try_from(length).ok()?.checked_sub(4));
                if length.and_then(|length| c.skip(length)).is_none() {
                    return (flags, None);
                }
            }
            _ => return (flags, None),
        }
    }
}

/// What a request asks, as far as its beginning says.
pub(super) fn asked(header: Header, bytes: &[u8]) -> Asked {
    let mut c = Cursor::new(bytes);
    let mut asked = Asked { compressor: compressed(header, bytes), ..Asked::default() };
    match header.opcode {
        MSG => {
            let (flags, body) = body(header, &mut c);
            asked.silent = flags & MORE_TO_COME != 0;
            if let Some(body) = body {
                command(&mut asked, &body);
                if let Some(Value::Text(database)) = body.get(b"$db") {
                    asked.database = name(database);
                }
            }
        }
        QUERY | INSERT | UPDATE | DELETE | GET_MORE => {
            asked.silent = !matches!(header.opcode, QUERY | GET_MORE);
            let legacy = match header.opcode {
                QUERY => "find",
                INSERT => "insert",
                UPDATE => "update",
                DELETE => "delete",
                _ => "getMore",
            };
            c.u32_le();
            let Some(full) = c.c_string() else { return asked };
            let dot = full.iter().position(|b| *b == b'.').unwrap_or(full.len());
            let collection = full.get(dot + 1..).unwrap_or_default();
            asked.database = full.get(..dot).and_then(name);
            if header.opcode == QUERY && collection == b"$cmd" {
                c.u64_le();
                if let Some(document) = Document::read(&mut c) {
                    let inner = match document.iter().next() {
                        Some((b"$query" | b"query", Value::Document(inner))) => inner,
                        _ => document,
                    };
                    command(&mut asked, &inner);
                }
            } else {
                asked.plain = true;
                asked.command = Some(CompactString::const_new(legacy));
                asked.collection = name(collection);
            }
        }
        KILL_CURSORS => {
            asked.silent = true;
            asked.command = Some(CompactString::const_new("killCursors"));
        }
        _ => {}
    }
    asked
}

/// The command is the first key of its document.
fn command(asked: &mut Asked, body: &Document<'_>) {
    let Some((key, value)) = body.iter().next() else {
        return;
    };
    let plain = key.len() <= 64 && key.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'));
    asked.command = name(key).filter(|_| plain);
    let on_collection = |key: &[u8]| ON_COLLECTION.iter().any(|known| known.as_bytes() == key);
    asked.collection = match value {
        Value::Text(collection) if on_collection(key) => name(collection),
        Value::Int(_) if key == b"getMore" => match body.get(b"collection") {
            Some(Value::Text(collection)) => name(collection),
            _ => None,
        },
        Value::Document(inner) if key == b"explain" => match inner.iter().next() {
            Some((key, Value::Text(collection))) if on_collection(key) => name(collection),
            _ => None,
        },
        _ => None,
    };
}

/// How a request was answered, as far as the answer's beginning says. `plain`: see [`Asked::plain`].
pub(super) fn outcome(header: Header, bytes: &[u8], plain: bool) -> Outcome {
    let mut c = Cursor::new(bytes);
    let mut outcome = Outcome { compressor: compressed(header, bytes), ..Outcome::default() };
    match header.opcode {
        MSG => {
            let (flags, body) = body(header, &mut c);
            outcome.more = flags & MORE_TO_COME != 0;
            if let Some(body) = body {
                read(&mut outcome, &body);
            }
        }
        REPLY => {
            let (flags, _cursor, _from, count) = (c.u32_le(), c.u64_le(), c.u32_le(), c.u32_le());
            let document = Document::read(&mut c);
            match flags {
                None => {}
                Some(flags) if flags & 3 != 0 => {
                    outcome.known = true;
                    let code = document.and_then(|document| document.get(b"code"));
                    let fallback = if flags & 1 != 0 { "CursorNotFound" } else { "QueryFailure" };
                    outcome.error = Some(error(code, None, fallback));
                }
                Some(_) if plain => {
                    outcome.known = true;
                    outcome.rows = count.map(u64::from);
                }
                Some(_) => {
                    if let Some(document) = document {
                        read(&mut outcome, &document);
                    }
                }
            }
        }
        _ => {}
    }
    outcome
}

fn read(outcome: &mut Outcome, body: &Document<'_>) {
    let (mut code, mut code_name, mut failed) = (None, None, false);
    for (i, (key, value)) in body.iter().enumerate() {
        match (key, value) {
            (b"ok", Value::Double(ok)) => (failed, outcome.known) = (ok == 0.0, true),
            (b"ok", Value::Int(ok)) => (failed, outcome.known) = (ok == 0, true),
            (b"ok", Value::Bool(ok)) => (failed, outcome.known) = (!ok, true),
            (b"code", Value::Int(_)) => code = Some(value),
            (b"codeName", Value::Text(text)) => code_name = Some(text),
            (b"cursor", Value::Document(cursor)) => {
                // There is none where there is an error.
                outcome.known |= i == 0;
                for (key, value) in cursor.iter() {
                    if let (b"firstBatch" | b"nextBatch", Value::Document(batch)) = (key, value) {
                        outcome.rows = batch.len();
                    }
                }
            }
            (b"writeErrors", Value::Document(errors)) => {
                if let Some((_, Value::Document(first))) = errors.iter().next() {
                    outcome.error = Some(error(first.get(b"code"), None, "WriteError"));
                    outcome.known = true;
                }
            }
            (b"writeConcernError", Value::Document(concern)) if outcome.error.is_none() => {
                let name = match concern.get(b"codeName") {
                    Some(Value::Text(name)) => Some(name),
                    _ => None,
                };
                outcome.error = Some(error(concern.get(b"code"), name, "WriteConcernError"));
                outcome.known = true;
            }
            _ => {}
        }
    }
    if failed {
        outcome.error = Some(error(code, code_name, "_OTHER"));
    }
}

/// An error by its number and name; never its message, which quotes values.
fn error(
    code: Option<Value<'_>>,
    code_name: Option<&[u8]>,
    fallback: &'static str,
) -> (Option<CompactString>, CompactString) {
    let code = match code {
        Some(Value::Int(code)) => Some(format_compact!("{code}")),
        _ => None,
    };
    let plain = |name: &&[u8]| name.iter().all(u8::is_ascii_alphanumeric);
    let name = code_name.filter(plain).and_then(name).or_else(|| code.clone());
    (code, name.unwrap_or_else(|| CompactString::const_new(fallback)))
}
