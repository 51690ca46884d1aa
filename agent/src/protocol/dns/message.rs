//! DNS messages (RFC 1035): header, the question, addresses in the answer. Reads what it needs in place; names are followed through their
//! pointers for a bounded number of steps.

use std::net::{Ipv4Addr, Ipv6Addr};

use compact_str::{CompactString, ToCompactString, format_compact};

use crate::protocol::cursor::Cursor;

/// Length of a header.
pub const HEADER: usize = 12;
/// The longest name.
const MAX_NAME: usize = 255;
/// Pointers that are followed in one name.
const MAX_POINTERS: usize = 16;
/// Answers that are looked at.
const MAX_ANSWERS: u16 = 64;

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What response and query have in common.
    pub id: u16,
    /// Response, operation, and other flags.
    pub flags: u16,
    /// Numbers of questions, answers, authorities and additional records.
    pub counts: [u16; 4],
}

impl Header {
    /// Reads it.
    #[must_use]
    pub fn read(c: &mut Cursor<'_>) -> Option<Self> {
        let (id, flags) = (c.u16_be()?, c.u16_be()?);
        Some(Self { id, flags, counts: [c.u16_be()?, c.u16_be()?, c.u16_be()?, c.u16_be()?] })
    }

    /// Whether it is a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// The operation: 0 is a query.
    #[must_use]
    pub fn operation(&self) -> u16 {
        self.flags >> 11 & 15
    }

    /// The response's code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.flags & 15
    }

    /// Whether the rest of the response did not fit.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.is_response() && self.flags & 0x200 != 0
    }

    /// How many questions it has.
    #[must_use]
    pub fn questions(&self) -> u16 {
        let [questions, ..] = self.counts;
        questions
    }

    /// Whether it can be that of a message with one question: nothing is set that is reserved.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        let [questions, answers, authorities, additional] = self.counts;
        let query = answers == 0 && authorities == 0 && additional <= 2 && self.code() == 0;
        questions == 1
            && self.flags & 0x40 == 0
            && matches!(self.operation(), 0 | 4 | 5)
            && (query || self.is_response() && answers < 4096 && authorities < 512 && additional < 512)
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, without the dot at the end; `.` for the root.
    pub name: CompactString,
    /// The type of record.
    pub kind: u16,
    /// The class: usually 1, the Internet.
    pub class: u16,
}

impl Question {
    /// Whether it asks the same. Upper and lower case are the same in names.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.kind, self.class) == (other.kind, other.class) && self.name.eq_ignore_ascii_case(&other.name)
    }
}

/// The header and the first question of a datagram of `len` bytes, of which these were captured; `None` where it is no message of DNS.
#[must_use]
pub fn datagram(bytes: &[u8], len: u32) -> Option<(Header, Option<Question>)> {
    let header = Header::read(&mut Cursor::new(bytes))?;
    let [questions, answers, authorities, additional] = header.counts.map(u32::from);
    // A question has five bytes at least, a record eleven.
    let least = HEADER as u32 + 5 * questions + 11 * (answers + authorities + additional);
    if least > len || header.flags & 0x40 != 0 || !matches!(header.operation(), 0..=2 | 4..=6) {
        return None;
    }
    match question(bytes) {
        Some((question, _)) if questions > 0 => {
            let known = matches!(question.class & 0x7fff, 1 | 3 | 4 | 254 | 255);
            known.then_some((header, Some(question)))
        }
        // A server need not repeat what it could not read.
        _ if questions == 0 => (header.is_response() && header.code() != 0).then_some((header, None)),
        _ if (bytes.len() as u64) < u64::from(len) => Some((header, None)),
        _ => None,
    }
}

/// What follows the question of a response.
#[derive(Debug, Default)]
pub struct Records {
    /// See [`answers`].
    pub answers: Vec<CompactString>,
    /// The upper bits of the response's code (RFC 6891, section 6.1.3); 0 where they are not known.
    pub extended_code: u16,
}

/// Reads the records that follow the question, as far as they are there.
#[must_use]
pub fn records<'a>(message: &'a [u8], mut c: Cursor<'a>, header: &Header) -> Records {
    const OPT: u16 = 41;
    let [questions, answers, authorities, additional] = header.counts;
    let mut found = Records::default();
    for _ in 1..questions.min(MAX_ANSWERS) {
        if name(message, &mut c).is_none() || c.skip(4).is_none() {
            return found;
        }
    }
    found.answers = self::answers(message, c, answers);
    for _ in 0..answers.saturating_add(authorities).saturating_add(additional).min(4 * MAX_ANSWERS) {
        let mut record = || {
            name(message, &mut c)?;
            let kind = c.u16_be()?;
            c.skip(2)?;
            let extended = c.u8()?;
            c.skip(3)?;
            c.prefixed_u16_be()?;
            Some((kind, extended))
        };
        match record() {
            None => break,
            Some((OPT, extended)) => found.extended_code = extended.into(),
            Some(_) => {}
        }
    }
    found
}

/// Reads the question after the header of this message.
#[must_use]
pub fn question(message: &[u8]) -> Option<(Question, Cursor<'_>)> {
    let mut c = Cursor::new(message.get(HEADER..)?);
    let name = name(message, &mut c)?;
    Some((Question { name, kind: c.u16_be()?, class: c.u16_be()? }, c))
}

/// The addresses, and the names that stand for others, in the answers that follow.
#[must_use]
pub fn answers<'a>(message: &'a [u8], mut c: Cursor<'a>, count: u16) -> Vec<CompactString> {
    let mut found = Vec::new();
    for _ in 0..count.min(MAX_ANSWERS) {
        match answer(message, &mut c) {
            None => break,
            Some(text) => found.extend(text),
        }
    }
    found
}

#[expect(clippy::option_option, reason = "whether the record is whole, and whether it says anything")]
fn answer<'a>(message: &'a [u8], c: &mut Cursor<'a>) -> Option<Option<CompactString>> {
    name(message, c)?;
    let kind = c.u16_be()?;
    c.skip(6)?;
    let mut data = Cursor::new(c.prefixed_u16_be()?);
    Some(match kind {
        1 => data.array::<4>().map(|octets| Ipv4Addr::from(octets).to_compact_string()),
        28 => data.array::<16>().map(|octets| Ipv6Addr::from(octets).to_compact_string()),
        5 => name(message, &mut data),
        _ => None,
    })
}

/// Reads a name, and passes over it.
fn name<'a>(message: &'a [u8], c: &mut Cursor<'a>) -> Option<CompactString> {
    let mut text = CompactString::default();
    let mut ahead = *c;
    let mut passed = false;
    let mut pointers = 0;
    loop {
        let length = ahead.u8()?;
        match length {
            0 => break,
            1..=63 => {
                if !text.is_empty() {
                    text.push('.');
                }
                for byte in ahead.take(length.into())? {
                    match byte {
                        b'.' => text.push_str("\\."),
                        b'!'..=b'~' => text.push(char::from(*byte)),
                        other => text.push_str(&format_compact!("\\{other:03}")),
                    }
                }
                if text.len() > 4 * MAX_NAME {
                    return None;
                }
            }
            0xc0.. => {
                let low = ahead.u8()?;
                if !std::mem::replace(&mut passed, true) {
                    *c = ahead;
                }
                pointers += 1;
                if pointers > MAX_POINTERS {
                    return None;
                }
                ahead = Cursor::new(message.get(usize::from(length & 0x3f) << 8 | usize::from(low)..)?);
            }
            _ => return None,
        }
    }
    if !passed {
        *c = ahead;
    }
    Some(if text.is_empty() { CompactString::const_new(".") } else { text })
}

/// Name of a type of record, or its number as RFC 3597 has it.
#[must_use]
pub fn kind(kind: u16) -> CompactString {
    CompactString::const_new(match kind {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        46 => "RRSIG",
        48 => "DNSKEY",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        other => return format_compact!("TYPE{other}"),
    })
}

/// Name of a response's code; `None` for success.
#[must_use]
pub fn error(code: u16) -> Option<&'static str> {
    Some(match code {
        0 => return None,
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        _ => "_OTHER",
    })
}
