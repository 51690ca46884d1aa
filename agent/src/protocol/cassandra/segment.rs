//! The segments of version 5, in which envelopes come: a length in 17 bits, whether nothing of an envelope is in another segment, a
//! checksum of that, the envelopes, and a checksum of them, which is not checked: they may not have been captured whole.

use super::envelope;
use crate::protocol::{Verdict, cursor::Cursor, framed::Role};

/// Length of a header.
pub(super) const HEADER: usize = 6;
/// Length of the checksum at the end.
pub(super) const TRAILER: u32 = 4;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Length of what is in it.
    pub(super) length: u32,
    /// What is in it are whole envelopes.
    pub(super) whole: bool,
}

/// Reads a header; `None` if it is not there, or its checksum is wrong.
pub(super) fn header(bytes: &[u8]) -> Option<Segment> {
    let mut c = Cursor::new(bytes);
    let fields: [u8; 3] = c.array()?;
    let value = Cursor::new(&fields).u24_le()?;
    (c.u24_le()? == crc24(fields) && value >> 18 == 0)
        .then_some(Segment { length: value & 0x1_ffff, whole: value & 1 << 17 != 0 })
}

/// Whether a segment begins with these bytes that is full of whole envelopes. Another one may be anything.
pub(super) fn begins(role: Role, bytes: &[u8]) -> Verdict {
    if bytes.len() < HEADER {
        return if bytes.get(2).is_none_or(|high| high >> 2 == 0) { Verdict::More } else { Verdict::No };
    }
    let Some(segment) = header(bytes).filter(|segment| segment.whole) else {
        return Verdict::No;
    };
    let inner = bytes.get(HEADER..).unwrap_or_default();
    match envelope::header(role, inner) {
        Some(envelope) if envelope.version == 5 && envelope.size() <= segment.length.into() => Verdict::Yes,
        None if inner.len() < envelope::HEADER && envelope::may_begin(role, inner) => Verdict::More,
        _ => Verdict::No,
    }
}

/// The checksum of a header.
fn crc24(bytes: [u8; 3]) -> u32 {
    const INITIAL: u32 = 0x0087_5060;
    const POLYNOMIAL: u32 = 0x0197_4f0b;
    bytes.into_iter().fold(INITIAL, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte) << 16, |crc, _| {
            let crc = crc << 1;
            if crc & 0x0100_0000 == 0 { crc } else { crc ^ POLYNOMIAL }
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A segment with a checksum at its end that nobody looks at.
    pub(in super::super) fn segment(bytes: &[u8], whole: bool) -> Vec<u8> {
        let value = u32::try_from(bytes.len()).unwrap() | u32::from(whole) << 17;
        let [a, b, c, _] = value.to_le_bytes();
        [&[a, b, c][..], &crc24([a, b, c]).to_le_bytes()[..3], bytes, &[0; 4]].concat()
    }

    #[test]
    fn headers_that_cassandra_has_sent() {
        let header = |bytes: &[u8]| header(bytes).map(|segment| (segment.length, segment.whole));
        assert_eq!(header(b"\x3a\x00\x02sa\x83"), Some((58, true)));
        assert_eq!(header(b"\x09\x00\x02\xa4\xc8\xc1"), Some((9, true)));
        assert_eq!(header(b"\x09\x00\x02\xa4\xc8\xc0"), None);
        assert_eq!(header(b"\x09\x00\x02\xa4"), None);
    }
}
