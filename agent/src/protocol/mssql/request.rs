//! What a request asks for: the text of a batch, or the procedure that is called, and the text or the statement that it is given.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};

use super::{
    columns::{self, Column},
    packet::{Kind, wide, wide_lossy},
};
use crate::protocol::{
    cursor::Cursor,
    db::{Operation, sql},
};

/// Length of a request's headers, at most.
const MAX_HEADERS: u32 = 4096;
/// Longest name of a procedure: four parts of 128 characters.
const MAX_NAME: usize = 1050;
/// Procedures that have a number instead of a name.
const PROCEDURES: [&str; 16] = [
    "",
    "sp_cursor",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorexecute",
    "sp_cursorprepexec",
    "sp_cursorunprepare",
    "sp_cursorfetch",
    "sp_cursoroption",
    "sp_cursorclose",
    "sp_executesql",
    "sp_prepare",
    "sp_execute",
    "sp_prepexec",
    "sp_prepexecrpc",
    "sp_unprepare",
];

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) operation: Operation,
    /// The procedure that is called, unless it is one that only runs a text.
    pub(super) procedure: Option<CompactString>,
    /// The text that is being prepared.
    pub(super) prepares: Option<Arc<Operation>>,
    /// The statement that is executed.
    pub(super) executes: Option<i32>,
    /// The statement that is given up.
    pub(super) unprepares: Option<i32>,
    /// Not all of what matters was seen.
    pub(super) partly: bool,
}

/// Passes over a request's headers, which versions before 7.2 have not. `None` if they are cut. `all`: the request is all there.
pub(super) fn enter(payload: &[u8], old: bool, all: bool) -> Option<&[u8]> {
    // Total length, and length and kind of the first one.
    const BEGIN: usize = 10;
    if old {
        return Some(payload);
    }
    match headers(payload) {
        Some(length) => payload.get(length..),
        None if !all && payload.len() < BEGIN => None,
        None => Some(payload),
    }
}

/// Length of the headers with which these bytes begin: `None` if they begin with none.
pub(super) fn headers(payload: &[u8]) -> Option<usize> {
    let mut c = Cursor::new(payload);
    let total = c.u32_le().filter(|total| (10..=MAX_HEADERS).contains(total))?;
    let (length, kind) = (c.u32_le()?, c.u16_le()?);
    // Notifications, the transaction, and the trace of an activity.
    let known = matches!((kind, length), (1, 14..) | (2, 18) | (3, 26)) && length <= total - 4;
    known.then(|| usize::try_from(total).ok()).flatten()
}

/// Whether this may be a request of a version before 7.2, which has no headers: plain text, or a procedure's name or number. `whole`: all of it
/// is there; else it is enough that nothing speaks against it.
pub(super) fn may_be_old(kind: Kind, payload: &[u8], whole: bool) -> bool {
    /// Bytes of text that are looked at, and that there must be of a batch.
    const ENOUGH: usize = 16;
    let is_plain = |bytes: &[u8]| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        (!whole || rest.is_empty())
            && pairs.iter().all(|[low, high]| *high == 0 && matches!(low, b'\t' | b'\r' | b'\n' | b' '..=b'~'))
    };
    let is_name = |rest: &[u8], length: usize| {
        let mut c = Cursor::new(rest);
        match c.take(2 * length) {
            Some(name) => is_plain(name) && c.u16_le().map_or(!whole, |options| options < 8),
            None => !whole && is_plain(rest),
        }
    };
    match (kind, payload) {
        (Kind::Batch, _) => {
            (!whole || payload.len() >= ENOUGH) && is_plain(payload.get(..2 * ENOUGH).unwrap_or(payload))
        }
        // Options, of which three bits are in use, and a parameter: the length of its name, which may be 0.
        (Kind::Rpc, [0xff, 0xff, rest @ ..]) => match rest {
            [id, 0, options, 0, length, name @ ..] => {
                let name = name.get(..2 * usize::from(*length)).unwrap_or(name);
                (1..=15).contains(id) && *options < 8 && (name.is_empty() || name.starts_with(b"@") && is_plain(name))
            }
            _ => !whole,
        },
        (Kind::Rpc, [low, high, rest @ ..]) => {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            (2..=256).contains(&length) && is_name(rest, length)
        }
        _ => false,
    }
}

/// A batch. `whole`: all of its text is there.
pub(super) fn batch(text: &[u8], whole: bool) -> Asked {
    Asked { operation: read(text, whole), partly: !whole, ..Asked::default() }
}

fn read(text: &[u8], whole: bool) -> Operation {
    sql::read(wide_lossy(text).as_bytes(), sql::Dialect::TSql, whole).into()
}

/// A call of a procedure.
pub(super) fn call(bytes: &[u8]) -> Asked {
    let mut c = Cursor::new(bytes);
    let name = match c.u16_le() {
        Some(0xffff) => c.u16_le().and_then(|id| PROCEDURES.get(usize::from(id))).map(|name| (*name).into()),
        Some(length) if usize::from(length) <= MAX_NAME => c.take(2 * usize::from(length)).and_then(wide),
        _ => None,
    };
    let Some(name) = name.filter(|name: &CompactString| !name.is_empty()) else {
        return Asked { operation: Operation::of("EXECUTE"), partly: true, ..Asked::default() };
    };
    // Options.
    let parameters = c.skip(2).map(|()| c);
    let bare = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    // Where among the parameters the text is.
    let (verb, place) = match &*bare {
        "sp_executesql" => ("", 0),
        "sp_prepexec" => ("", 2),
        "sp_cursoropen" => ("OPEN", 1),
        "sp_cursorprepexec" => ("OPEN", 3),
        "sp_prepare" | "sp_cursorprepare" => ("PREPARE", 2),
        "sp_execute" | "sp_cursorexecute" => {
            let handle = parameters.and_then(|c| number(c, 0));
            let operation = Operation::of("EXECUTE");
            return Asked { operation, executes: handle, partly: true, ..Asked::default() };
        }
        "sp_unprepare" | "sp_cursorunprepare" => {
            let handle = parameters.and_then(|c| number(c, 0));
            return Asked { operation: Operation::of("DEALLOCATE"), unprepares: handle, ..Asked::default() };
        }
        "sp_cursorfetch" => return Asked { operation: Operation::of("FETCH"), ..Asked::default() },
        "sp_cursorclose" => return Asked { operation: Operation::of("CLOSE"), ..Asked::default() },
        _ => return procedure(name),
    };
    let Some((text, all)) = parameters.and_then(|c| text(c, place)) else {
        return procedure(name).partly();
    };
    let query = read(text, all);
    let mut asked = Asked { operation: query.clone(), partly: !all, ..Asked::default() };
    if !verb.is_empty() {
        asked.operation.name = Some(CompactString::new(verb));
        asked.operation.summary = match &*query.summary {
            "" => CompactString::new(verb),
            summary => format_compact!("{verb} {summary}"),
        };
    }
    // What was cut is not what would be executed later.
    if all && matches!(&*bare, "sp_prepexec" | "sp_prepare") {
        asked.prepares = Some(Arc::new(query));
    }
    asked
}

fn procedure(name: CompactString) -> Asked {
    let mut operation = Operation::of("EXECUTE");
    operation.summary = format_compact!("EXECUTE {name}");
    Asked { operation, procedure: Some(name), ..Asked::default() }
}

impl Asked {
    fn partly(self) -> Self {
        Self { partly: true, ..self }
    }
}

/// A request about a transaction.
pub(super) fn transaction(bytes: &[u8]) -> Asked {
    let name = match Cursor::new(bytes).u16_le() {
        Some(5) => "BEGIN TRANSACTION",
        Some(7) => "COMMIT TRANSACTION",
        Some(8) => "ROLLBACK TRANSACTION",
        Some(9) => "SAVE TRANSACTION",
        known => {
            let operation = Operation::of("TRANSACTION");
            return Asked { operation, partly: known.is_none(), ..Asked::default() };
        }
    };
    Asked { operation: Operation::of(name), ..Asked::default() }
}

/// Passes over so many parameters, and reads the type of the next.
fn nth(c: &mut Cursor<'_>, place: usize) -> Option<Column> {
    for at in 0..=place {
        columns::name(c).ok()?;
        c.skip(1)?;
        let column = Column::read(c).ok()?;
        if at == place {
            return Some(column);
        }
        column.parameter(c).ok()?;
    }
    None
}

/// The text of a parameter, as much as there is of it, and whether that is all.
fn text(mut c: Cursor<'_>, place: usize) -> Option<(&[u8], bool)> {
    nth(&mut c, place)?.text(&mut c)
}

/// The number that a parameter is.
fn number(mut c: Cursor<'_>, place: usize) -> Option<i32> {
    let value = nth(&mut c, place)?.parameter(&mut c).ok()??;
    Cursor::new(value).i32_le().filter(|_| value.len() == 4)
}
