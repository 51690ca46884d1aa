//! Kafka's primitive types, in their old encodings and the compact ones.

use crate::protocol::cursor::Cursor;

/// The most elements that an array is believed to have.
const MAX_ELEMENTS: u64 = 1 << 20;

/// The id of a topic.
pub(super) type TopicId = [u8; 16];

/// Fields that follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) c: Cursor<'a>,
    flexible: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(c: Cursor<'a>, flexible: bool) -> Self {
        Self { c, flexible }
    }

    pub(super) fn i8(&mut self) -> Option<i8> {
        self.c.i8()
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.c.i16_be()
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.c.i32_be()
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.c.i64_be()
    }

    pub(super) fn skip(&mut self, length: usize) -> Option<()> {
        self.c.skip(length)
    }

    pub(super) fn id(&mut self) -> Option<TopicId> {
        self.c.array()
    }

    /// A text; null is empty.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let length = if self.flexible { self.compact()? } else { u64::try_from(self.c.i16_be()?).unwrap_or(0) };
        self.c.take(usize::try_from(length).ok()?)
    }

    /// The length of a list; that of null is 0.
    pub(super) fn list(&mut self) -> Option<u64> {
        self.length().filter(|length| *length <= MAX_ELEMENTS)
    }

    /// The length of some bytes; that of null is 0.
    pub(super) fn length(&mut self) -> Option<u64> {
        if self.flexible { self.compact() } else { Some(u64::try_from(self.c.i32_be()?).unwrap_or(0)) }
    }

    /// Bytes, as many of them as there are, and whether that is all.
    pub(super) fn bytes_up_to(&mut self) -> Option<(&'a [u8], bool)> {
        let length = usize::try_from(self.length()?).ok()?;
        let bytes = self.c.take_up_to(length);
        Some((bytes, bytes.len() == length))
    }

    /// Passes over tagged fields, where there are any.
    pub(super) fn tags(&mut self) -> Option<()> {
        if !self.flexible {
            return Some(());
        }
        for _ in 0..self.c.varint().filter(|count| *count <= MAX_ELEMENTS)? {
            self.c.varint()?;
            let length = self.c.varint()?;
            self.c.skip(usize::try_from(length).ok()?)?;
        }
        Some(())
    }

    /// A length plus one; 0 is null.
    fn compact(&mut self) -> Option<u64> {
        self.c.varint().map(|length| length.saturating_sub(1))
    }
}
