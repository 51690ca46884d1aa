//! FastCGI records: headers, what certainly is one, and the pairs of names and values in `FCGI_PARAMS`.

use crate::protocol::{Verdict, cursor::Cursor};

/// Length of a record's header.
pub(super) const HEADER: usize = 8;
/// Length of the bodies of `FCGI_BEGIN_REQUEST` and `FCGI_END_REQUEST`.
pub(super) const FIXED: usize = 8;

/// `FCGI_BEGIN_REQUEST`.
pub(super) const BEGIN_REQUEST: u8 = 1;
/// `FCGI_ABORT_REQUEST`.
pub(super) const ABORT_REQUEST: u8 = 2;
/// `FCGI_END_REQUEST`.
pub(super) const END_REQUEST: u8 = 3;
/// `FCGI_PARAMS`.
pub(super) const PARAMS: u8 = 4;
/// `FCGI_STDIN`.
pub(super) const STDIN: u8 = 5;
/// `FCGI_STDOUT`.
pub(super) const STDOUT: u8 = 6;
/// `FCGI_STDERR`.
pub(super) const STDERR: u8 = 7;
/// `FCGI_DATA`.
pub(super) const DATA: u8 = 8;
/// `FCGI_GET_VALUES`.
pub(super) const GET_VALUES: u8 = 9;
/// `FCGI_GET_VALUES_RESULT`.
pub(super) const GET_VALUES_RESULT: u8 = 10;
/// `FCGI_UNKNOWN_TYPE`.
pub(super) const UNKNOWN_TYPE: u8 = 11;

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) id: u16,
    pub(super) content: u16,
    pub(super) padding: u8,
    pub(super) reserved: u8,
}

impl Header {
    /// `None` when it is not complete.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(bytes);
        c.skip(1)?;
        let (kind, id, content) = (c.u8()?, c.u16_be()?, c.u16_be()?);
        Some(Self { kind, id, content, padding: c.u8()?, reserved: c.u8()? })
    }

    /// Length of the record.
    pub(super) fn length(&self) -> u64 {
        HEADER as u64 + u64::from(self.content) + u64::from(self.padding)
    }
}

/// What of a record's content is in these bytes, which begin with its header.
pub(super) fn content<'a>(header: &Header, bytes: &'a [u8]) -> &'a [u8] {
    let content = bytes.get(HEADER..).unwrap_or_default();
    content.get(..usize::from(header.content)).unwrap_or(content)
}

/// Whether the bytes begin with a whole `FCGI_BEGIN_REQUEST`.
pub(super) fn is_begin(bytes: &[u8]) -> Verdict {
    let fits = |(i, b): (usize, &u8)| match i {
        0 | 1 | 9 => *b == 1 || i == 9 && (1..=3).contains(b),
        4 | 7 | 8 | 11..=15 => *b == 0,
        5 => *b == 8,
        6 => *b < 8,
        10 => *b <= 1,
        _ => true,
    };
    let id = bytes.get(2..4).is_none_or(|id| id != [0, 0]);
    match bytes.iter().take(16).enumerate().all(fits) && id {
        false => Verdict::No,
        true if bytes.len() < 16 => Verdict::More,
        true => Verdict::Yes,
    }
}

/// Whether the bytes are for certain the beginning of an answer: a first `FCGI_STDOUT`, or an `FCGI_END_REQUEST`.
pub(super) fn is_answer(bytes: &[u8]) -> Verdict {
    if bytes.first().is_some_and(|b| *b != 1) || bytes.get(1).is_some_and(|b| *b != STDOUT && *b != END_REQUEST) {
        return Verdict::No;
    }
    let Some(header) = Header::read(bytes) else {
        return Verdict::More;
    };
    if header.id == 0 || header.reserved != 0 || header.padding >= 8 {
        return Verdict::No;
    }
    let text = content(&header, bytes);
    if header.kind == END_REQUEST {
        // What is reserved in it holds whatever was there before: PHP-FPM does not clear it.
        let fits = usize::from(header.content) == FIXED
            && text.iter().take(3).all(|b| *b == 0)
            && text.get(4).is_none_or(|status| *status <= 3);
        return match fits {
            false => Verdict::No,
            true if text.len() < FIXED => Verdict::More,
            true => Verdict::Yes,
        };
    }
    // A header field's name and its colon.
    let token = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
    let name = text.iter().take_while(|b| token(b)).count();
    match text.get(name) {
        Some(b':') if name >= 2 && text.first().is_some_and(u8::is_ascii_alphabetic) => Verdict::Yes,
        None if name < 64 && text.len() < usize::from(header.content) => Verdict::More,
        _ => Verdict::No,
    }
}

/// The next pair of a name and a value (section 3.4). `None` at the end, whole or not.
pub(super) fn pair<'a>(c: &mut Cursor<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mut ahead = *c;
    let (name, value) = (length(&mut ahead)?, length(&mut ahead)?);
    let pair = (ahead.take(name)?, ahead.take(value)?);
    *c = ahead;
    Some(pair)
}

/// A length of 1 byte, or of 4 with the highest bit set.
fn length(c: &mut Cursor<'_>) -> Option<usize> {
    match c.rest().first()? {
        0..=0x7f => c.u8().map(usize::from),
        _ => usize::try_from(c.u32_be()? & 0x7fff_ffff).ok(),
    }
}
