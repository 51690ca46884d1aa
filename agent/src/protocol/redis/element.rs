//! RESP's elements: a value that is no collection, or a collection's head. Each is a message of its own for the framed layer; what belongs
//! together is counted.

use crate::protocol::{cursor::Cursor, framed::Frame};

/// Longest string: Redis allows 512 MiB unless it is told otherwise.
const MAX_STRING: u64 = 4 << 30;
/// Most elements of a collection.
const MAX_ELEMENTS: u64 = u32::MAX as u64;
/// Longest head of an element: a type, a number, a line's end.
const MAX_HEAD: usize = 24;
/// Longest line: an error, or an inline command.
const MAX_LINE: usize = 8 << 10;
/// Collections in collections that are followed.
const MAX_DEPTH: usize = 32;

/// An element's type and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A line: simple string, error, number, boolean, null.
    Line,
    /// A string of this length, after its head.
    Text {
        /// Length of the head.
        head: usize,
        /// Length of the string.
        length: u64,
    },
    /// A collection of so many elements, those of a map counted twice.
    Collection(u64),
}

/// What the bytes begin with.
pub(super) enum Parsed {
    /// An element; and how many bytes of it there are, or will be.
    Element(Element, u64),
    /// Not known yet.
    More,
    /// None.
    Invalid,
}

/// Reads the element at the beginning of these bytes.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let Some(kind) = bytes.first().copied() else {
        return Parsed::More;
    };
    let limit = match kind {
        b'+' | b'-' | b',' | b'(' => MAX_LINE,
        b':' | b'#' | b'_' | b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|' => MAX_HEAD,
        _ => return Parsed::Invalid,
    };
    let Some(line) = line(bytes, limit) else {
        return if bytes.len() >= limit || !is_line(bytes) { Parsed::Invalid } else { Parsed::More };
    };
    let size = line as u64;
    let content = bytes.get(1..line - 2).unwrap_or_default();
    let count = || number(content);
    let element = match kind {
        b'+' | b'-' => Element::Line,
        b':' | b',' | b'(' => {
            if !content.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.')) {
                return Parsed::Invalid;
            }
            Element::Line
        }
        b'#' => {
            if matches!(content, b"t" | b"f") {
                Element::Line
            } else {
                return Parsed::Invalid;
            }
        }
        b'_' => {
            if content.is_empty() {
                Element::Line
            } else {
                return Parsed::Invalid;
            }
        }
        // Null, in the older version.
        b'$' | b'*' if content == b"-1" => Element::Line,
        b'$' | b'=' | b'!' => match count() {
            Some(length) if length <= MAX_STRING => {
                return Parsed::Element(Element::Text { head: line, length }, size + length + 2);
            }
            _ => return Parsed::Invalid,
        },
        _ => match count() {
            Some(count) if count <= MAX_ELEMENTS => {
                Element::Collection(if matches!(kind, b'%' | b'|') { count * 2 } else { count })
            }
            _ => return Parsed::Invalid,
        },
    };
    Parsed::Element(element, size)
}

/// How the framed layer sees the element at the beginning of these bytes; `want` bytes of a string are looked at.
pub(super) fn frame(bytes: &[u8], want: usize) -> Frame {
    match parse(bytes) {
        Parsed::Element(Element::Text { head, .. }, length) => Frame::Message { length, want: head + want },
        Parsed::Element(_, length) => Frame::Message { length, want: usize::try_from(length).unwrap_or(usize::MAX) },
        Parsed::More => Frame::More,
        Parsed::Invalid => Frame::Malformed,
    }
}

/// Length of an inline command with its line's end; `None` if there is no end yet.
pub(super) fn inline(bytes: &[u8]) -> Frame {
    let printable = |b: &u8| *b >= b' ' && *b != 0x7f || *b == b'\t';
    match bytes.iter().take(MAX_LINE).position(|b| *b == b'\n') {
        Some(end) => {
            let line = bytes.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.iter().all(printable) {
                Frame::Message { length: end as u64 + 1, want: end + 1 }
            } else {
                Frame::Malformed
            }
        }
        None if bytes.len() >= MAX_LINE || !bytes.iter().all(|b| printable(b) || *b == b'\r') => Frame::Malformed,
        None => Frame::More,
    }
}

/// The string in an element's beginning, as much of it as there is.
pub(super) fn text(bytes: &[u8], head: usize, length: u64) -> &[u8] {
    let mut c = Cursor::new(bytes.get(head..).unwrap_or_default());
    c.take_up_to(usize::try_from(length).unwrap_or(usize::MAX))
}

/// Length of a line with its end.
fn line(bytes: &[u8], limit: usize) -> Option<usize> {
    let end = bytes.iter().take(limit).position(|b| *b == b'\n')?;
    (end > 0 && bytes.get(end - 1) == Some(&b'\r') && end >= 2).then_some(end + 1)
}

/// Whether bytes may be the beginning of a line: no control characters before its end.
fn is_line(bytes: &[u8]) -> bool {
    let text = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    text.iter().all(|b| *b >= b' ' || *b == b'\t')
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.len() < 20 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// Which elements belong together.
#[derive(Clone, Debug, Default)]
pub(super) struct Nesting(Vec<u64>);

impl Nesting {
    /// Whether the next element begins a value of its own.
    pub(super) fn is_outside(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the next element is the first of the outermost collection, which has `count` elements.
    pub(super) fn is_first_of(&self, count: u64) -> bool {
        self.0.as_slice() == [count]
    }

    /// An element is complete. Returns whether a value of its own is, with it; `None` when collections are nested too deeply.
    pub(super) fn complete(&mut self, element: Element) -> Option<bool> {
        if let Element::Collection(count @ 1..) = element {
            if self.0.len() >= MAX_DEPTH {
                return None;
            }
            self.0.push(count);
            return Some(false);
        }
        while let Some(left) = self.0.last_mut() {
            *left -= 1;
            if *left > 0 {
                return Some(false);
            }
            self.0.pop();
        }
        Some(true)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
