//! Types of values, and how long a value is.
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/cbe9c510-eae6-4b1f-9893-a098944d430a>

use crate::protocol::cursor::Cursor;

/// How the length of a value is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Always so many bytes.
    Fixed(u8),
    /// A length in one byte.
    Byte,
    /// A length in two bytes; `0xffff` is null.
    Short,
    /// A length in four bytes; negative is null.
    Long,
    /// `text`, `ntext` and `image`: a pointer comes before the length, except in parameters.
    Text,
    /// In chunks.
    Partial,
}

/// A type, and whether it is text in UTF-16 or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) kind: Type,
    /// The byte that stands for the type.
    pub(super) code: u8,
}

/// Why a value or a type was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// There are too few bytes.
    More,
    /// It cannot be what it should be, or is not known.
    Unknown,
}

impl Column {
    /// Reads a type.
    pub(super) fn read(c: &mut Cursor<'_>) -> Result<Self, Stop> {
        let code = c.u8().ok_or(Stop::More)?;
        let (kind, more) = match code {
            0x1f => (Type::Fixed(0), 0),
            0x30 | 0x32 => (Type::Fixed(1), 0),
            0x34 => (Type::Fixed(2), 0),
            0x38 | 0x3a | 0x3b | 0x7a => (Type::Fixed(4), 0),
            0x3c | 0x3d | 0x3e | 0x7f => (Type::Fixed(8), 0),
            0x28 => (Type::Byte, 0),
            0x24..=0x27 | 0x29..=0x2b | 0x2d | 0x2f | 0x68 | 0x6d | 0x6e | 0x6f => (Type::Byte, 1),
            0x37 | 0x3f | 0x6a | 0x6c => (Type::Byte, 3),
            0xa5 | 0xad => (Type::Short, 0),
            0xa7 | 0xaf | 0xe7 | 0xef => (Type::Short, 5),
            0x22 => (Type::Text, 4),
            0x23 | 0x63 => (Type::Text, 9),
            0x62 => (Type::Long, 4),
            0xf1 => {
                // A schema, which has a name in three parts.
                if c.u8().ok_or(Stop::More)? == 1 {
                    name(c)?;
                    name(c)?;
                    long_name(c)?;
                }
                (Type::Partial, 0)
            }
            0xf0 => {
                c.skip(2).ok_or(Stop::More)?;
                for _ in 0..3 {
                    name(c)?;
                }
                long_name(c)?;
                (Type::Partial, 0)
            }
            0xf4 => (Type::Partial, 0),
            _ => return Err(Stop::Unknown),
        };
        let kind = match kind {
            Type::Short => match c.u16_le().ok_or(Stop::More)? {
                0xffff => Type::Partial,
                _ => Type::Short,
            },
            kind => kind,
        };
        c.skip(more).ok_or(Stop::More)?;
        Ok(Self { kind, code })
    }

    /// Reads the description of a column, as it stands before rows. `old`: by a version older than 7.2.
    pub(super) fn described(c: &mut Cursor<'_>, old: bool) -> Result<Self, Stop> {
        c.skip(if old { 4 } else { 6 }).ok_or(Stop::More)?;
        let column = Self::read(c)?;
        if column.kind == Type::Text {
            // The table that it is from.
            let parts = if old { 1 } else { c.u8().ok_or(Stop::More)? };
            for _ in 0..parts {
                long_name(c)?;
            }
        }
        name(c)?;
        Ok(column)
    }

    /// Passes over a value in a row. Returns it where it is in one piece, and not null.
    pub(super) fn value<'a>(self, c: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Stop> {
        if self.kind == Type::Text {
            let pointer = c.u8().ok_or(Stop::More)?;
            if pointer == 0 {
                return Ok(None);
            }
            c.skip(usize::from(pointer) + 8).ok_or(Stop::More)?;
        }
        self.parameter(c)
    }

    /// Passes over a value that is a parameter. Returns it where it is in one piece, and not null.
    pub(super) fn parameter<'a>(self, c: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Stop> {
        let length = match self.kind {
            Type::Fixed(length) => Some(usize::from(length)),
            Type::Byte => Some(usize::from(c.u8().ok_or(Stop::More)?)).filter(|length| *length > 0),
            Type::Short => Some(c.u16_le().ok_or(Stop::More)?).filter(|length| *length != 0xffff).map(usize::from),
            Type::Long | Type::Text => usize::try_from(c.i32_le().ok_or(Stop::More)?).ok(),
            Type::Partial => return partial(c),
        };
        match length {
            Some(length) => c.take(length).map(Some).ok_or(Stop::More),
            None => Ok(None),
        }
    }

    /// Text at the beginning of a parameter, as much as there is of it, and whether that is all. `None` if it is none in UTF-16.
    pub(super) fn text<'a>(self, c: &mut Cursor<'a>) -> Option<(&'a [u8], bool)> {
        if !matches!(self.code, 0xe7 | 0xef | 0x63) {
            return None;
        }
        let length = match self.kind {
            Type::Short => usize::from(c.u16_le().filter(|length| *length != 0xffff)?),
            Type::Text => usize::try_from(c.i32_le()?).ok()?,
            Type::Partial => {
                let total = c.u64_le().filter(|total| *total != u64::MAX)?;
                let chunk = c.u32_le()?;
                let text = c.take_up_to(usize::try_from(chunk).ok()?);
                // How long all of it is may not be said; then the next chunk says it by its absence.
                let last = text.len() as u64 == u64::from(chunk) && c.u32_le() == Some(0);
                return Some((text, last || total == text.len() as u64));
            }
            Type::Fixed(_) | Type::Byte | Type::Long => return None,
        };
        let text = c.take_up_to(length);
        Some((text, text.len() == length))
    }
}

/// Passes over a value in chunks. Returns it where there is only one.
fn partial<'a>(c: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Stop> {
    if c.u64_le().ok_or(Stop::More)? == u64::MAX {
        return Ok(None);
    }
    let (mut chunks, mut first) = (0_u32, None);
    loop {
        let length = c.u32_le().ok_or(Stop::More)?;
        if length == 0 {
            return Ok(first.filter(|_| chunks == 1));
        }
        let chunk = c.take(usize::try_from(length).unwrap_or(usize::MAX)).ok_or(Stop::More)?;
        first.get_or_insert(chunk);
        chunks += 1;
    }
}

/// Passes over a name with its length in one byte.
pub(super) fn name<'a>(c: &mut Cursor<'a>) -> Result<&'a [u8], Stop> {
    c.whole(|c| c.u8().map(|length| 2 * usize::from(length))).ok_or(Stop::More)
}

fn long_name<'a>(c: &mut Cursor<'a>) -> Result<&'a [u8], Stop> {
    c.whole(|c| c.u16_le().map(|length| 2 * usize::from(length))).ok_or(Stop::More)
}
