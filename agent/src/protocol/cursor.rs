//! Reading fields out of bytes that may end anywhere: a message of which only the beginning was captured, or a hostile one. Every
//! read says `None` when the bytes do not suffice, and then takes nothing. Knows no protocol.

/// A place in a slice of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

/// Reads of fixed size.
macro_rules! integers {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty, $from:ident;)+) => {
        $($(#[doc = $doc])+ pub fn $name(&mut self) -> Option<$type> {
            self.array().map(<$type>::$from)
        })+
    };
}

impl<'a> Cursor<'a> {
    /// At the beginning of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Bytes that have not been read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    integers! {
        /// The next byte.
        u8: u8, from_be_bytes;
        /// The next byte, signed.
        i8: i8, from_be_bytes;
        /// 2 bytes, the most significant first.
        u16_be: u16, from_be_bytes;
        /// 2 bytes, the most significant first.
        i16_be: i16, from_be_bytes;
        /// 4 bytes, the most significant first.
        u32_be: u32, from_be_bytes;
        /// 4 bytes, the most significant first.
        i32_be: i32, from_be_bytes;
        /// 8 bytes, the most significant first.
        u64_be: u64, from_be_bytes;
        /// 8 bytes, the most significant first.
        i64_be: i64, from_be_bytes;
        /// 2 bytes, the least significant first.
        u16_le: u16, from_le_bytes;
        /// 4 bytes, the least significant first.
        u32_le: u32, from_le_bytes;
        /// 4 bytes, the least significant first.
        i32_le: i32, from_le_bytes;
        /// 8 bytes, the least significant first.
        u64_le: u64, from_le_bytes;
        /// 8 bytes, the least significant first.
        i64_le: i64, from_le_bytes;
        /// 8 bytes, the least significant first: IEEE 754.
        f64_le: f64, from_le_bytes;
    }

    /// 3 bytes, the least significant first.
    pub fn u24_le(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// 3 bytes, the most significant first.
    pub fn u24_be(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Little-endian base 128, unsigned, of at most 10 bytes: the varint of Protocol Buffers, and Kafka's unsigned one. `None` also when
    /// it does not fit into 64 bits.
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            let low = u64::from(byte & 0x7f);
            let shift = 7 * i;
            if low.checked_shl(u32::try_from(shift).ok()?)? >> shift != low {
                return None;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                self.skip(i + 1)?;
                return Some(value);
            }
        }
        None
    }

    /// A varint that holds a signed number in zigzag order.
    pub fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// The next bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `length` bytes, or as many of them as there are: for text of which the beginning is worth something.
    pub fn take_up_to(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Passes over `length` bytes.
    pub fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(|_| ())
    }

    /// The bytes before the next `end`, which is passed over.
    pub fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let length = self.rest.iter().position(|b| *b == end)?;
        let taken = self.take(length)?;
        self.skip(1)?;
        Some(taken)
    }

    /// A C string, without its zero byte.
    pub fn c_string(&mut self) -> Option<&'a [u8]> {
        self.until(0)
    }

    /// A C string, or what there is of one, and whether it is whole.
    pub fn c_string_up_to(&mut self) -> (&'a [u8], bool) {
        match self.c_string() {
            Some(whole) => (whole, true),
            None => (std::mem::take(&mut self.rest), false),
        }
    }

    /// A line without its `\r\n`, or `\n`.
    pub fn line(&mut self) -> Option<&'a [u8]> {
        let line = self.until(b'\n')?;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Bytes after their length in one byte.
    pub fn prefixed_u8(&mut self) -> Option<&'a [u8]> {
        self.whole(|c| c.u8().map(usize::from))
    }

    /// Bytes after their length in two bytes, the most significant first.
    pub fn prefixed_u16_be(&mut self) -> Option<&'a [u8]> {
        self.whole(|c| c.u16_be().map(usize::from))
    }

    /// Bytes after their length in four bytes, the most significant first. A negative length, which often means null, is `None`.
    pub fn prefixed_i32_be(&mut self) -> Option<&'a [u8]> {
        self.whole(|c| usize::try_from(c.i32_be()?).ok())
    }

    /// Bytes after the length that `length` reads.
    pub fn whole(&mut self, length: impl FnOnce(&mut Self) -> Option<usize>) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let length = length(&mut ahead)?;
        let taken = ahead.take(length)?;
        *self = ahead;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let c = || Cursor::new(&bytes);
        assert_eq!(c().u16_be(), Some(0x0102));
        assert_eq!(c().u16_le(), Some(0x0201));
        assert_eq!(c().u24_be(), Some(0x0001_0203));
        assert_eq!(c().u24_le(), Some(0x0003_0201));
        assert_eq!(c().u32_be(), Some(0x0102_0304));
        assert_eq!(c().u32_le(), Some(0x0403_0201));
        assert_eq!(c().u64_be(), Some(0x0102_0304_0506_0708));
        assert_eq!(Cursor::new(&[0xff; 4]).i32_be(), Some(-1));
        let mut short = Cursor::new(&bytes[..3]);
        assert_eq!(
            (short.u32_be(), short.len(), short.u16_be(), short.u8(), short.u8()),
            (None, 3, Some(258), Some(3), None)
        );
    }

    #[test]
    fn varints() {
        let read = |bytes: &[u8]| Cursor::new(bytes).varint();
        assert_eq!(read(&[0x96, 0x01]), Some(150));
        assert_eq!(read(&[0xff; 9]), None);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Some(u64::MAX));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
        assert_eq!(read(&[0x80; 11]), None);
        let zigzag = |bytes: &[u8]| Cursor::new(bytes).zigzag();
        assert_eq!((zigzag(&[0]), zigzag(&[1]), zigzag(&[2]), zigzag(&[3])), (Some(0), Some(-1), Some(1), Some(-2)));
    }

    #[test]
    fn texts() {
        let mut c = Cursor::new(b"ab\0cd\r\nef");
        assert_eq!(c.c_string(), Some(&b"ab"[..]));
        assert_eq!(c.line(), Some(&b"cd"[..]));
        assert_eq!(c.c_string(), None);
        assert_eq!(c.c_string_up_to(), (&b"ef"[..], false));
        assert!(c.is_empty());
        let mut c = Cursor::new(b"\0\x02abc\xff\xff\xff\xff");
        assert_eq!(c.prefixed_u16_be(), Some(&b"ab"[..]));
        assert_eq!((c.prefixed_u8(), c.len()), (None, 5));
        assert_eq!(c.take_up_to(1), b"c");
        assert_eq!((c.prefixed_i32_be(), c.take_up_to(9).len()), (None, 4));
    }

    proptest! {
        #[test]
        fn what_is_refused_takes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut c = Cursor::new(&bytes);
            prop_assert!(c.varint().is_some() || c.len() == bytes.len());
            let mut c = Cursor::new(&bytes);
            prop_assert!(c.prefixed_i32_be().is_some() || c.len() == bytes.len());
            let mut c = Cursor::new(&bytes);
            prop_assert!(c.line().is_some() || c.len() == bytes.len());
        }
    }
}
