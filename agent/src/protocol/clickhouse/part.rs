//! Parts of a direction: packets, and what blocks of data are made of; and those that are told apart without knowing what came before.

use super::{
    packet::{Stop, number, text},
    query::Query,
    shape::Shape,
};
use crate::protocol::cursor::Cursor;

/// Rows of a block, and bytes of a column, at most.
pub(super) const MAX_ROWS: u64 = 1 << 40;
/// Length of what comes before compressed data: a checksum, the method, and both lengths.
const COMPRESSED: usize = 25;
/// Of that, the checksum does not count as compressed data.
const CHECKSUM: usize = 16;
/// Longest compressed piece.
const MAX_COMPRESSED: u32 = 1 << 31;
/// A block goes on after a piece that was as long as this when it was not compressed, perhaps.
const FULL: u32 = 1 << 20;
/// Bytes of strings that are looked at in one go.
const MAX_LOOK: usize = 16 << 10;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// That does not show yet.
    More,
    /// Nothing that there is.
    Bad,
    /// Something that does not say where it ends.
    Endless,
    /// This part, of this length, of which so much is wanted.
    Is(Part, u64, usize),
}

/// A packet, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    ClientHello {
        revision: u64,
        database: Vec<u8>,
    },
    ServerHello {
        revision: u64,
    },
    Addendum {
        chunked: bool,
    },
    /// Up to its text, which begins so many bytes into it.
    Query(Query, usize),
    Parameters,
    Ping,
    Cancel,
    Pong,
    EndOfStream,
    Exception {
        code: i32,
    },
    Profile {
        rows: u64,
    },
    /// Nothing that matters.
    Other,
    /// What only servers say, and servers of other kinds understand.
    Foreign,
    /// A block, up to its columns.
    Block {
        columns: u64,
        rows: u64,
    },
    /// A block that comes in compressed pieces.
    Compressed,
    Piece {
        full: bool,
    },
    Column(Option<Shape>),
    Skip,
    Strings(u64),
    Total(u64),
    Index {
        width: u64,
        keys: bool,
    },
    Keys(u64),
    Indexes(u64),
}

/// A part that is wanted as a whole.
pub(super) fn whole(read: Result<Part, Stop>, bytes: &[u8], c: Cursor<'_>) -> Next {
    match read {
        Ok(part) => {
            let length = bytes.len() - c.len();
            Next::Is(part, length as u64, length)
        }
        Err(Stop::More) => Next::More,
        Err(Stop::Bad) => Next::Bad,
        Err(Stop::Unknown) => Next::Endless,
    }
}

/// The name of a type, which may be long.
pub(super) fn name_of_type<'a>(c: &mut Cursor<'a>) -> Result<&'a [u8], Stop> {
    let kind = text(c)?;
    if kind.first().is_some_and(u8::is_ascii_alphabetic) { Ok(kind) } else { Err(Stop::Bad) }
}

/// A compressed piece, by its header; `None` if it cannot be one.
pub(super) fn piece(bytes: &[u8]) -> Option<Next> {
    let mut c = Cursor::new(bytes.get(CHECKSUM..).unwrap_or_default());
    let method = c.u8().is_none_or(|method| matches!(method, 0x02 | 0x82 | 0x90..=0x9f));
    if !method {
        return None;
    }
    let (Some(compressed), Some(length)) = (c.u32_le(), c.u32_le()) else {
        return Some(Next::More);
    };
    let sane = (10..MAX_COMPRESSED).contains(&compressed)
        && (1..MAX_COMPRESSED).contains(&length)
        && compressed / 2 <= length.saturating_add(1 << 10);
    let total = CHECKSUM as u64 + u64::from(compressed);
    sane.then_some(Next::Is(Part::Piece { full: length >= FULL }, total, COMPRESSED))
}

/// As many strings as begin in these bytes. What is wanted ends with the last length, so that it shows again what it has shown now.
pub(super) fn strings(bytes: &[u8], left: u64) -> Next {
    let bytes = bytes.get(..MAX_LOOK).unwrap_or(bytes);
    let (mut some, mut end, mut want) = (0, 0_usize, 0);
    while some < left {
        let mut c = Cursor::new(bytes.get(end..).unwrap_or_default());
        let length = match number(&mut c) {
            Ok(length) if length <= MAX_ROWS => length,
            Err(Stop::More) if some == 0 => return Next::More,
            Err(Stop::More) => break,
            Ok(_) | Err(_) if some == 0 => return Next::Bad,
            Ok(_) | Err(_) => break,
        };
        want = bytes.len() - c.len();
        end = want.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        some += 1;
        if end >= bytes.len() {
            break;
        }
    }
    Next::Is(Part::Strings(some), end as u64, want)
}
