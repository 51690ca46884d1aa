//! What the server answers: tokens, one after the other, over all packets of a message. Rows have no length of their own; they are walked
//! value by value, by the types of their columns. What is not captured ends that: then, only the very last token is known to be where it is.
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/67b6113c-d722-42d1-902c-3f6e8de09173>

use compact_str::CompactString;

use super::{
    columns::{self, Column, Stop},
    packet::wide,
};
use crate::protocol::cursor::Cursor;

/// The most that is kept of a token that goes on in the next packet.
const MAX_KEPT: usize = 32 << 10;
/// Columns of a result, at most.
const MAX_COLUMNS: u16 = 4096;

/// Bits of how a statement has ended.
mod done {
    pub(super) const MORE: u16 = 1;
    pub(super) const ERROR: u16 = 2;
    pub(super) const COUNT: u16 = 0x10;
    pub(super) const ATTENTION: u16 = 0x20;
    pub(super) const SERVER_ERROR: u16 = 0x100;
    /// All that exist: in a transaction, among others.
    pub(super) const ALL: u16 = MORE | ERROR | 4 | COUNT | ATTENTION | SERVER_ERROR;
}
/// The command of a SELECT.
const SELECT: u16 = 0xc1;

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Number of the first error.
    pub(super) error: Option<i32>,
    /// A statement has failed.
    pub(super) failed: bool,
    /// It was stopped because the client asked for that.
    pub(super) attention: bool,
    /// Rows of all SELECTs.
    pub(super) rows: Option<u64>,
    /// The database, from now on.
    pub(super) database: Option<CompactString>,
    /// The statement that was prepared: the first number that the procedure returns.
    pub(super) handle: Option<i32>,
}

/// An answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// The beginning of a token.
    kept: Vec<u8>,
    columns: Option<Vec<Column>>,
    pub(super) said: Said,
    /// Something of it was not seen, or not understood: there may be more to say.
    pub(super) lost: bool,
    over: bool,
}

impl Tokens {
    /// Takes what is in the next packet. `last`: it ends the message; `cut`: a part of it is missing.
    pub(super) fn packet(&mut self, payload: &[u8], last: bool, cut: bool, old: bool) {
        if !self.lost {
            let kept = std::mem::take(&mut self.kept);
            if kept.is_empty() {
                self.walk(payload, old);
            } else {
                self.walk(&[&kept, payload].concat(), old);
            }
        }
        self.lost |= cut || last && !self.over;
        if self.lost {
            self.kept = Vec::new();
            if last && !cut {
                self.last(payload, old);
            }
        }
    }

    /// A part of it was missed.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.kept = Vec::new();
    }

    fn walk(&mut self, bytes: &[u8], old: bool) {
        let mut c = Cursor::new(bytes);
        while !c.is_empty() && !self.lost {
            let before = c;
            match self.token(&mut c, old) {
                Ok(()) => {}
                Err(Stop::More) if before.len() < MAX_KEPT => {
                    self.kept = before.rest().to_vec();
                    return;
                }
                Err(_) => self.lost = true,
            }
        }
    }

    fn token(&mut self, c: &mut Cursor<'_>, old: bool) -> Result<(), Stop> {
        let kind = c.u8().ok_or(Stop::More)?;
        if self.over {
            return Err(Stop::Unknown);
        }
        match kind {
            0x81 => {
                let count = c.u16_le().ok_or(Stop::More)?;
                self.columns = match count {
                    0xffff => None,
                    0..=MAX_COLUMNS => {
                        let columns: Result<Vec<_>, _> = (0..count).map(|_| Column::described(c, old)).collect();
                        Some(columns?)
                    }
                    _ => return Err(Stop::Unknown),
                };
            }
            0xd1 => {
                for column in self.columns.as_ref().ok_or(Stop::Unknown)? {
                    column.value(c)?;
                }
            }
            0xd2 => {
                let columns = self.columns.as_ref().ok_or(Stop::Unknown)?;
                let nulls = c.take(columns.len().div_ceil(8)).ok_or(Stop::More)?;
                for (i, column) in columns.iter().enumerate() {
                    if nulls.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 0) {
                        column.value(c)?;
                    }
                }
            }
            0xfd..=0xff => {
                let (status, command, count) = ended(c, old)?;
                self.ended(status, command, count);
                self.over = status & done::MORE == 0;
            }
            0xaa => {
                let mut body = Cursor::new(sized(c)?);
                self.said.error = self.said.error.or(body.i32_le());
            }
            0xe3 => {
                let mut body = Cursor::new(sized(c)?);
                if body.u8() == Some(1) {
                    self.said.database = columns::name(&mut body).ok().and_then(wide);
                }
            }
            0xac => self.returned(c, old)?,
            0x79 | 0x78 => c.skip(4).ok_or(Stop::More)?,
            // Messages, the login, what columns belong to, and so on.
            0xab | 0xad | 0xed | 0xa4 | 0xa5 | 0xa9 => sized(c).map(|_| ())?,
            0xe4 | 0xee => {
                c.whole(|c| c.u32_le().and_then(|length| usize::try_from(length).ok())).ok_or(Stop::More)?;
            }
            0xae => {
                while c.u8().ok_or(Stop::More)? != 0xff {
                    c.whole(|c| c.u32_le().and_then(|length| usize::try_from(length).ok())).ok_or(Stop::More)?;
                }
            }
            _ => return Err(Stop::Unknown),
        }
        Ok(())
    }

    fn returned(&mut self, c: &mut Cursor<'_>, old: bool) -> Result<(), Stop> {
        c.skip(2).ok_or(Stop::More)?;
        columns::name(c)?;
        c.skip(if old { 5 } else { 7 }).ok_or(Stop::More)?;
        let column = Column::read(c)?;
        if column.code == 0xf0 {
            return Err(Stop::Unknown);
        }
        let value = column.parameter(c)?;
        // A number of four bytes.
        if matches!(column.code, 0x26 | 0x38) && self.said.handle.is_none() {
            self.said.handle = value.filter(|value| value.len() == 4).and_then(|value| Cursor::new(value).i32_le());
        }
        Ok(())
    }

    fn ended(&mut self, status: u16, command: u16, count: u64) {
        self.said.failed |= status & (done::ERROR | done::SERVER_ERROR) != 0;
        self.said.attention |= status & done::ATTENTION != 0;
        if status & done::COUNT != 0 && command == SELECT {
            self.said.rows = Some(self.said.rows.unwrap_or(0).saturating_add(count));
        }
    }

    /// Looks at the last token of a message, which always says how it has ended.
    fn last(&mut self, payload: &[u8], old: bool) {
        if let Some((status, command, _)) = last(payload, old) {
            // Rows that were counted before are not known.
            self.ended(status & !done::COUNT, command, 0);
        }
    }
}

/// How a message ends that ends with these bytes: status, command, rows.
pub(super) fn last(payload: &[u8], old: bool) -> Option<(u16, u16, u64)> {
    let at = payload.len().checked_sub(if old { 9 } else { 13 })?;
    let mut c = Cursor::new(payload.get(at..)?);
    // Nothing ends with the end of a statement within a procedure.
    matches!(c.u8()?, 0xfd | 0xfe).then(|| ended(&mut c, old).ok()).flatten().filter(|end| end.0 & done::MORE == 0)
}

fn ended(c: &mut Cursor<'_>, old: bool) -> Result<(u16, u16, u64), Stop> {
    let (status, command) = (c.u16_le().ok_or(Stop::More)?, c.u16_le().ok_or(Stop::More)?);
    let count = if old { c.u32_le().map(u64::from) } else { c.u64_le() };
    if status & !done::ALL != 0 {
        return Err(Stop::Unknown);
    }
    Ok((status, command, count.ok_or(Stop::More)?))
}

fn sized<'a>(c: &mut Cursor<'a>) -> Result<&'a [u8], Stop> {
    c.whole(|c| c.u16_le().map(usize::from)).ok_or(Stop::More)
}
