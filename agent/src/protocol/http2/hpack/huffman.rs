//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B). It is canonical: codes of one length follow each other in the
//! order of their symbols, so the lengths alone make the code.

use geophone_ebpf::huffman::LENGTHS;

/// The longest code.
const LONGEST: usize = 30;
/// The symbol that ends a string, which never stands in one.
const END: u16 = 256;

/// The code, made ready.
struct Code {
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// By length: the first code that is longer, in the upper bits of 32.
    limits: [u64; LONGEST + 1],
    /// By length: how far the index of a symbol lies above its code.
    bases: [i64; LONGEST + 1],
    /// By the next eight bits: the symbol and the length of its code; length 0 where that is longer.
    short: [(u8, u8); 256],
}

static CODE: Code = code();

#[expect(clippy::indexing_slicing, reason = "computed by the compiler, which refuses an index out of range")]
const fn code() -> Code {
    let mut code = Code { symbols: [0; 257], limits: [0; LONGEST + 1], bases: [0; LONGEST + 1], short: [(0, 0); 256] };
    let (mut next, mut index, mut length) = (0_u64, 0, 1);
    while length <= LONGEST {
        next <<= 1;
        code.bases[length] = index as i64 - next as i64;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[index] = symbol as u16;
                if length <= 8 {
                    let mut rest = 0;
                    while rest < 1 << (8 - length) {
                        code.short[((next as usize) << (8 - length)) + rest] = (symbol as u8, length as u8);
                        rest += 1;
                    }
                }
                next += 1;
                index += 1;
            }
            symbol += 1;
        }
        code.limits[length] = next << (32 - length);
        length += 1;
    }
    code
}

/// The string's bytes are no Huffman code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Huffman code")]
pub(super) struct Invalid;

/// Appends what is encoded. One byte of code gives less than two.
pub(super) fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let mut rest = encoded.iter();
    // What has been read and not used: the lowest `have` bits.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        while have <= 32 {
            let Some(byte) = rest.next() else {
                break;
            };
            bits = (bits << 8) | u64::from(*byte);
            have += 8;
        }
        if have == 0 {
            return Ok(());
        }
        // The next 32 bits, ones behind the end.
        let window = if have >= 32 {
            (bits >> (have - 32)) & 0xffff_ffff
        } else {
            ((bits << (32 - have)) | ((1 << (32 - have)) - 1)) & 0xffff_ffff
        };
        let (symbol, length) = match CODE.short.get((window >> 24) as usize) {
            Some(&(symbol, length)) if length > 0 => (u16::from(symbol), u32::from(length)),
            _ => long(window)?,
        };
        if length > have || symbol == END {
            // The end is padded with the beginning of the code of the end, less than a byte of it.
            let padding = have < 8 && window == 0xffff_ffff;
            return if padding { Ok(()) } else { Err(Invalid) };
        }
        have -= length;
        // The whole code is below 256.
        out.push(symbol as u8);
    }
}

/// The symbol whose code is longer than eight bits, and the length of that.
fn long(window: u64) -> Result<(u16, u32), Invalid> {
    let (length, limit) =
        CODE.limits.iter().enumerate().skip(9).find(|(_, limit)| window < **limit).unwrap_or((LONGEST, &u64::MAX));
    debug_assert!(window < *limit);
    let code = (window >> (32 - length)) as i64;
    let index = CODE.bases.get(length).map(|base| base + code);
    let symbol = index.and_then(|index| CODE.symbols.get(usize::try_from(index).ok()?));
    symbol.map(|symbol| (*symbol, length as u32)).ok_or(Invalid)
}

#[cfg(test)]
pub(in crate::protocol::http2) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut bits, mut have) = (Vec::new(), 0_u64, 0);
    for byte in text {
        let length = usize::from(LENGTHS[usize::from(*byte)]);
        let index = CODE.symbols.iter().position(|symbol| *symbol == u16::from(*byte)).unwrap();
        bits = (bits << length) | (index as i64 - CODE.bases[length]) as u64;
        have += length;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push(((bits << (8 - have)) | ((1 << (8 - have)) - 1)) as u8);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(encoded: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut out = Vec::new();
        decode(encoded, &mut out).map(|()| out)
    }

    #[test]
    fn examples() {
        let www = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(decoded(www).unwrap(), b"www.example.com");
        assert_eq!(encode(b"www.example.com"), www);
        assert_eq!(decoded(b"").unwrap(), b"");
    }

    #[test]
    fn padding() {
        // `a` is 00011; what follows must be ones, and less than eight.
        assert_eq!(decoded(b"\x1f").unwrap(), b"a");
        assert_eq!(decoded(b"\x1e"), Err(Invalid));
        assert_eq!(decoded(b"\x1f\xff"), Err(Invalid));
        assert_eq!(decoded(b"\xff"), Err(Invalid));
        assert_eq!(decoded(b"\xff\xff\xff\xff\xff"), Err(Invalid));
    }

    proptest! {
        #[test]
        fn there_and_back(text in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(decoded(&encode(&text)).unwrap(), text);
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut out = Vec::new();
            let _ = decode(&bytes, &mut out);
            prop_assert!(out.len() <= bytes.len() * 8 / 5);
        }
    }
}
