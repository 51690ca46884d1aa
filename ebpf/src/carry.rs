//! The TCP option that carries a request's context, for hosts whose agents cannot reach each other: its bytes.
//!
//! ```text
//!  0      1     2           4           20         28
//!  | 253  | 28  | 'g' 'c'   | trace id  | span id  |
//! ```
//!
//! An experimental option with a 16-bit identifier (RFC 6994): `gc`, or `gn` for a trace that is not sampled. Beside timestamps, 28 bytes are all the
//! room that there is. It is on the first segment of a request, and speaks of the request that begins with the segment's first byte.

/// Its length.
pub const LEN: usize = 28;
/// What tells it from other experiments, where the trace is sampled.
pub const SAMPLED: [u8; 2] = *b"gc";
/// The same, where it is not.
pub const UNSAMPLED: [u8; 2] = *b"gn";
/// Where the trace id is.
pub const TRACE: usize = 4;
/// Where the span id is.
pub const SPAN: usize = 20;

/// Length of a [greeting](crate::greeting) that says nothing but that contexts are understood.
pub const OFFER: usize = 6;
/// What a greeting begins with, in the place of [`MAGIC`](crate::greeting::MAGIC), where contexts are understood.
pub const MAGIC: [u8; 4] = *b"geoc";

/// An option that was found among those of a segment: the trace id's halves and the span id; `None` for what is no context.
#[inline(always)]
#[must_use]
pub fn read(option: &[u8; LEN], len: i64) -> Option<([u64; 2], u64)> {
    let (high, low, span) = (word(option, TRACE), word(option, TRACE + 8), word(option, SPAN));
    let is_one = len == LEN as i64 && (high | low) != 0 && span != 0;
    is_one.then_some(([high, low], span))
}

/// The option's bytes.
#[inline(always)]
#[must_use]
pub fn write([high, low]: [u64; 2], span: u64, sampled: bool) -> [u8; LEN] {
    let mut option = wanted(if sampled { SAMPLED } else { UNSAMPLED });
    option[1] = LEN as u8;
    put(&mut option, TRACE, high);
    put(&mut option, TRACE + 8, low);
    put(&mut option, SPAN, span);
    option
}

/// What the option is looked for by.
#[inline(always)]
#[must_use]
pub const fn wanted(magic: [u8; 2]) -> [u8; LEN] {
    let mut option = [0; LEN];
    option[0] = crate::greeting::KIND;
    option[1] = 4;
    option[2] = magic[0];
    option[3] = magic[1];
    option
}

#[inline(always)]
fn word(option: &[u8; LEN], at: usize) -> u64 {
    let mut word = 0;
    let mut i = 0;
    while i < 8 {
        word = word << 8 | option[at + i] as u64;
        i += 1;
    }
    word
}

#[inline(always)]
fn put(option: &mut [u8; LEN], at: usize, word: u64) {
    let bytes = word.to_be_bytes();
    let mut i = 0;
    while i < 8 {
        option[at + i] = bytes[i];
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let option = write([0x0102_0304_0506_0708, 0x090a_0b0c_0d0e_0f10], 0x1112_1314_1516_1718, true);
        assert_eq!(&option[..6], b"\xfd\x1cgc\x01\x02");
        assert_eq!(&option[18..], b"\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18");
        assert_eq!(read(&option, 28), Some(([0x0102_0304_0506_0708, 0x090a_0b0c_0d0e_0f10], 0x1112_1314_1516_1718)));
        assert_eq!(&write([1, 2], 3, false)[..4], b"\xfd\x1cgn");
    }

    #[test]
    fn what_is_no_context_is_not_taken_for_one() {
        let option = write([1, 2], 3, true);
        // Longer ones, too, are given with an error for a length.
        for len in (-50..28).chain([29, 40]) {
            assert_eq!(read(&option, len), None, "{len}");
        }
        assert_eq!(read(&write([0, 0], 3, true), 28), None);
        assert_eq!(read(&write([1, 2], 0, true), 28), None);
        assert_eq!(read(&write([1, 0], 3, true), 28), Some(([1, 0], 3)));
    }
}
