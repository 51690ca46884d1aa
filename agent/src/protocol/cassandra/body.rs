//! Bodies of requests.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};

use super::{
    envelope::{Header, Opcode},
    result::error_name,
    statements::Statements,
};
use crate::protocol::{
    cursor::Cursor,
    db::{
        Operation,
        sql::{self, Dialect},
    },
};

/// Statements of a batch that are looked at.
const MAX_BATCH: u16 = 64;
/// Length of a prepared statement's id, which is an MD5 sum.
const ID: usize = 16;

/// What a request asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) operation: Arc<Operation>,
    /// `cassandra.consistency.level`.
    pub(super) consistency: Option<&'static str>,
    /// Statements of a batch, if it is one.
    pub(super) batch: Option<u16>,
    /// Something of what it is was not seen.
    pub(super) partly: bool,
    /// What is prepared.
    pub(super) prepares: Option<Arc<Operation>>,
    /// The algorithm of compression that is asked for.
    pub(super) compresses: bool,
}

/// Passes over a value: bytes after their length, of which a negative one means that there is none.
pub(super) fn value(c: &mut Cursor<'_>) -> Option<()> {
    let length = c.i32_be()?;
    match usize::try_from(length) {
        Ok(length) => c.skip(length),
        Err(_) => Some(()),
    }
}

/// Whether a body may be that of such a message; `None`: not enough of it is there.
pub(super) fn fits(header: &Header, mut c: Cursor<'_>) -> Option<bool> {
    let text = |bytes: &[u8]| bytes.iter().all(|b| *b >= b' ' || b.is_ascii_whitespace());
    let prefixed = |c: &mut Cursor<'_>| {
        let length = c.u32_be()?;
        if length == 0 || length > header.length {
            return Some(false);
        }
        let begin = c.take_up_to(length as usize);
        // A statement begins with a word, a bracket or a comment.
        let first = begin.first()?;
        Some(text(begin) && (first.is_ascii_alphabetic() || first.is_ascii_whitespace() || b"(/-{".contains(first)))
    };
    Some(match header.opcode {
        Opcode::Options | Opcode::Ready => header.length == 0 && c.is_empty(),
        Opcode::Startup => {
            let pairs = c.u16_be()?;
            let name = c.prefixed_u16_be()?;
            (1..32).contains(&pairs) && !name.is_empty() && name.iter().all(|b| b.is_ascii_uppercase() || *b == b'_')
        }
        Opcode::Query | Opcode::Prepare => prefixed(&mut c)?,
        Opcode::Execute => c.u16_be()? as usize == ID && header.length >= 21,
        Opcode::Register => {
            let count = c.u16_be()?;
            (1..16).contains(&count) && c.prefixed_u16_be()?.iter().all(|b| b.is_ascii_uppercase() || *b == b'_')
        }
        Opcode::Batch => {
            let (kind, count, first) = (c.u8()?, c.u16_be()?, c.u8()?);
            let id_or_text = if first == 1 { c.u16_be()? as usize == ID } else { first == 0 && prefixed(&mut c)? };
            kind <= 2 && count > 0 && id_or_text
        }
        Opcode::Error => {
            let code = c.i32_be()?;
            error_name(code).is_some() && usize::from(c.u16_be()?) + 6 <= header.length as usize
        }
        Opcode::Result => {
            let kind = c.i32_be()?;
            match kind {
                1 => header.length == 4,
                // Flags of the columns, and how many there are.
                2 => c.u32_be()? <= 0xf && c.u32_be()? <= 0xffff,
                3 => usize::from(c.u16_be()?) + 6 == header.length as usize,
                4 => c.u16_be()? as usize == ID,
                5 => matches!(c.prefixed_u16_be()?, b"CREATED" | b"UPDATED" | b"DROPPED"),
                _ => false,
            }
        }
        Opcode::Event => matches!(c.prefixed_u16_be()?, b"TOPOLOGY_CHANGE" | b"STATUS_CHANGE" | b"SCHEMA_CHANGE"),
        Opcode::Supported => (1..64).contains(&c.u16_be()?) && !c.prefixed_u16_be()?.is_empty(),
        Opcode::Authenticate => c.prefixed_u16_be()?.iter().all(u8::is_ascii_graphic) && header.length > 2,
        // Too little to be told by.
        Opcode::AuthChallenge | Opcode::AuthResponse | Opcode::AuthSuccess => false,
    })
}

/// Reads a request, as far as it is there. `whole`: all of it is.
pub(super) fn asked(header: &Header, mut c: Cursor<'_>, whole: bool, statements: &Statements) -> Asked {
    let mut asked = Asked::default();
    let known = match header.opcode {
        Opcode::Query => query(&mut asked, &mut c),
        Opcode::Prepare => prepare(&mut asked, &mut c),
        Opcode::Execute => execute(&mut asked, header, &mut c, statements),
        Opcode::Batch => batch(&mut asked, &mut c, statements),
        Opcode::Startup => {
            asked.operation = Arc::new(Operation::of(header.opcode.name()));
            startup(&mut asked, &mut c)
        }
        _ => Some(()),
    };
    asked.partly |= known.is_none() && !whole;
    if asked.operation.name.is_none() && asked.operation.summary.is_empty() {
        let mut operation = (*asked.operation).clone();
        operation.name = Some(CompactString::const_new(header.opcode.name()));
        asked.operation = Arc::new(operation);
    }
    asked
}

/// A text after its length, and whether it is whole.
fn text(c: &mut Cursor<'_>) -> Option<(Operation, bool)> {
    let length = usize::try_from(c.i32_be()?).ok()?;
    let text = c.take_up_to(length);
    let whole = text.len() == length;
    Some((sql::read(text, Dialect::Cql, whole).into(), whole))
}

fn query(asked: &mut Asked, c: &mut Cursor<'_>) -> Option<()> {
    let (operation, whole) = text(c)?;
    asked.operation = Arc::new(operation);
    asked.partly = !whole;
    asked.consistency = consistency(c.u16_be()?);
    Some(())
}

fn prepare(asked: &mut Asked, c: &mut Cursor<'_>) -> Option<()> {
    let (operation, whole) = text(c)?;
    asked.partly = !whole;
    let summary = match operation.summary.as_str() {
        "" => CompactString::const_new("PREPARE"),
        summary => format_compact!("PREPARE {summary}"),
    };
    let name = Some(CompactString::const_new("PREPARE"));
    asked.operation = Arc::new(Operation { name, summary, ..operation.clone() });
    asked.prepares = whole.then(|| Arc::new(operation));
    Some(())
}

fn execute(asked: &mut Asked, header: &Header, c: &mut Cursor<'_>, statements: &Statements) -> Option<()> {
    let id = c.prefixed_u16_be()?;
    match statements.get(id) {
        Some(operation) => asked.operation = operation,
        None => asked.partly = true,
    }
    if header.version >= 5 {
        c.prefixed_u16_be()?;
    }
    asked.consistency = consistency(c.u16_be()?);
    Some(())
}

/// A batch is what its statements are, if they are all alike.
fn batch(asked: &mut Asked, c: &mut Cursor<'_>, statements: &Statements) -> Option<()> {
    let mut operation = Operation::of("BATCH");
    operation.summary = CompactString::const_new("BATCH");
    c.u8()?;
    let count = c.u16_be()?;
    asked.batch = Some(count);
    asked.operation = Arc::new(operation.clone());
    let mut alike: Option<Arc<Operation>> = None;
    for _ in 0..count {
        let one = match c.u8()? {
            0 => Some(text(c).filter(|(_, whole)| *whole).map(|(operation, _)| Arc::new(operation))?),
            _ => statements.get(c.prefixed_u16_be()?),
        };
        for _ in 0..c.u16_be()? {
            value(c)?;
        }
        let Some(one) = one.filter(|_| count <= MAX_BATCH) else {
            asked.partly |= count <= MAX_BATCH;
            return None;
        };
        if alike.as_ref().is_some_and(|alike| alike.summary != one.summary) {
            return None;
        }
        alike = Some(one);
    }
    if let Some(alike) = alike {
        if !alike.summary.is_empty() {
            operation.summary = format_compact!("BATCH {}", alike.summary);
        }
        operation.name = alike.name.as_ref().map(|name| format_compact!("BATCH {name}")).or(operation.name);
        operation.collection.clone_from(&alike.collection);
        asked.operation = Arc::new(operation);
    }
    asked.consistency = consistency(c.u16_be()?);
    Some(())
}

/// Options of a connection: a map of texts.
fn startup(asked: &mut Asked, c: &mut Cursor<'_>) -> Option<()> {
    for _ in 0..c.u16_be()? {
        let (key, value) = (c.prefixed_u16_be()?, c.prefixed_u16_be()?);
        asked.compresses |= key == b"COMPRESSION" && !value.is_empty();
    }
    Some(())
}

/// A level of consistency, as OpenTelemetry writes it.
fn consistency(level: u16) -> Option<&'static str> {
    const LEVELS: [&str; 11] = [
        "any",
        "one",
        "two",
        "three",
        "quorum",
        "all",
        "local_quorum",
        "each_quorum",
        "serial",
        "local_serial",
        "local_one",
    ];
    LEVELS.get(usize::from(level)).copied()
}
