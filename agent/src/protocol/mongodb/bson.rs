//! BSON documents, as far as they were captured. <https://bsonspec.org/spec.html>

use crate::protocol::cursor::Cursor;

/// A value. Of those that are not looked at, only the length is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Double(f64),
    Text(&'a [u8]),
    /// A document, or an array, whose keys are numbers.
    Document(Document<'a>),
    Bool(bool),
    Int(i64),
    Other,
}

/// The beginning of a document, or all of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Document<'a> {
    /// Its elements, without their length and end.
    elements: &'a [u8],
    /// All of them are there.
    whole: bool,
}

impl<'a> Document<'a> {
    /// The document at this place, which is passed over as far as it goes. `None` if that is none, or its length is not there.
    pub(super) fn read(c: &mut Cursor<'a>) -> Option<Self> {
        let length = usize::try_from(c.i32_le()?).ok().and_then(|length| length.checked_sub(4)).filter(|n| *n > 0)?;
        let bytes = c.take_up_to(length);
        let whole = bytes.len() == length;
        let elements = if whole { bytes.strip_suffix(b"\0")? } else { bytes };
        Some(Self { elements, whole })
    }

    /// Its elements, as far as they are there.
    pub(super) fn iter(&self) -> Elements<'a> {
        Elements { cursor: Cursor::new(self.elements), broken: false }
    }

    /// How many elements it has, if all of them are there.
    pub(super) fn len(&self) -> Option<u64> {
        let mut elements = self.iter();
        let count = elements.by_ref().count() as u64;
        (self.whole && elements.cursor.is_empty() && !elements.broken).then_some(count)
    }

    /// The first element of this name.
    pub(super) fn get(&self, name: &[u8]) -> Option<Value<'a>> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

/// The elements of a document: names and values.
pub(super) struct Elements<'a> {
    cursor: Cursor<'a>,
    broken: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.cursor.is_empty() {
            return None;
        }
        let element = element(&mut self.cursor);
        self.broken = element.is_none();
        element
    }
}

fn element<'a>(c: &mut Cursor<'a>) -> Option<(&'a [u8], Value<'a>)> {
    let kind = c.u8()?;
    let name = c.c_string()?;
    let value = match kind {
        0x01 => Value::Double(c.f64_le()?),
        0x02 | 0x0d | 0x0e => Value::Text(text(c)?),
        0x03 | 0x04 => Value::Document(Document::read(c)?),
        0x05 => {
            let length = usize::try_from(c.i32_le()?).ok()?;
            c.skip(length.checked_add(1)?)?;
            Value::Other
        }
        0x06 | 0x0a | 0x7f | 0xff => Value::Other,
        0x07 => c.skip(12).map(|()| Value::Other)?,
        0x08 => Value::Bool(c.u8()? != 0),
        0x09 | 0x11 => c.skip(8).map(|()| Value::Other)?,
        0x0b => {
            c.c_string()?;
            c.c_string()?;
            Value::Other
        }
        0x0c => {
            text(c)?;
            c.skip(12).map(|()| Value::Other)?
        }
        0x0f => {
            let length = usize::try_from(c.i32_le()?).ok()?;
            c.skip(length.checked_sub(4)?).map(|()| Value::Other)?
        }
        0x10 => Value::Int(c.i32_le()?.into()),
        0x12 => Value::Int(c.i64_le()?),
        0x13 => c.skip(16).map(|()| Value::Other)?,
        _ => return None,
    };
    Some((name, value))
}

/// A string with its length, without its end.
fn text<'a>(c: &mut Cursor<'a>) -> Option<&'a [u8]> {
    c.whole(|c| usize::try_from(c.i32_le()?).ok())?.strip_suffix(b"\0")
}
