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
/// Length of a [greeting](crate::greeting) that says nothing but that contexts are understood.
pub const OFFER: usize = 6;
/// What a greeting begins with, in the place of [`MAGIC`](crate::greeting::MAGIC), where contexts are understood.
pub const MAGIC: [u8; 4] = *b"geoc";

/// The option.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier {
    kind: u8,
    len: u8,
    magic: [u8; 2],
    high: [u8; 8],
    low: [u8; 8],
    span: [u8; 8],
}

const _: () = assert!(size_of::<Carrier>() == LEN);

impl Carrier {
    /// What the option is looked for by.
    #[inline(always)]
    #[must_use]
    pub const fn wanted(magic: [u8; 2]) -> Self {
        Self { kind: crate::greeting::KIND, len: 4, magic, high: [0; 8], low: [0; 8], span: [0; 8] }
    }

    /// The option with a context: both halves of the trace id, and the span id.
    #[inline(always)]
    #[must_use]
    pub const fn new([high, low]: [u64; 2], span: u64, sampled: bool) -> Self {
        let magic = if sampled { SAMPLED } else { UNSAMPLED };
        let (high, low, span) = (high.to_be_bytes(), low.to_be_bytes(), span.to_be_bytes());
        Self { len: LEN as u8, high, low, span, ..Self::wanted(magic) }
    }

    /// The same of one that was found among those of a segment, with the length that it has there; `None` for what is no context.
    #[inline(always)]
    #[must_use]
    pub const fn read(&self, len: i64) -> Option<([u64; 2], u64)> {
        let (high, low) = (u64::from_be_bytes(self.high), u64::from_be_bytes(self.low));
        let span = u64::from_be_bytes(self.span);
        if len == LEN as i64 && (high | low) != 0 && span != 0 { Some(([high, low], span)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let ids = ([0x0102_0304_0506_0708, 0x090a_0b0c_0d0e_0f10], 0x1112_1314_1516_1718);
        let option = Carrier::new(ids.0, ids.1, true);
        // SAFETY: made of bytes only.
        let bytes: [u8; LEN] = unsafe { core::mem::transmute(option) };
        assert_eq!(&bytes[..6], b"\xfd\x1cgc\x01\x02");
        assert_eq!(&bytes[18..], b"\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18");
        assert_eq!(option.read(28), Some(ids));
        assert_eq!(Carrier::new([1, 2], 3, false).magic, *b"gn");
    }

    #[test]
    fn what_is_no_context_is_not_taken_for_one() {
        let option = Carrier::new([1, 2], 3, true);
        // Longer ones, too, are given with an error for a length.
        for len in (-50..28).chain([29, 40]) {
            assert_eq!(option.read(len), None, "{len}");
        }
        assert_eq!(Carrier::new([0, 0], 3, true).read(28), None);
        assert_eq!(Carrier::new([1, 2], 0, true).read(28), None);
        assert_eq!(Carrier::new([1, 0], 3, true).read(28), Some(([1, 0], 3)));
        assert_eq!(Carrier::wanted(SAMPLED).read(28), None);
    }
}
