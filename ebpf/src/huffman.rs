//! The Huffman code of HPACK (RFC 7541, appendix B), four bits at a time: as a table, because the kernel programs can look into one and cannot
//! follow a tree of unknown depth.

/// Length of the code of each byte, and of the end of a string, in bits.
#[rustfmt::skip]
pub const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// Where a string begins, as the state of a [`step`].
pub const ROOT: u32 = 0;
/// Of what [`step`] returns: a symbol has come to its end, in the lowest byte.
pub const SYMBOL: u32 = 1 << 8;
/// Of what [`step`] returns: this is no code.
pub const INVALID: u32 = 1 << 9;
/// Of what [`step`] returns, shifted by so many bits: the next state.
pub const STATE: u32 = 16;

/// Reads four bits: what has come of it.
#[inline(always)]
#[must_use]
pub fn step(state: u32, four: u32) -> u32 {
    let (row, column) = ((state & 255) as usize * 16, (four & 15) as usize);
    // SAFETY: inside the table, which has an entry for each of 256 states and sixteen values. One after the other, because older verifiers know nothing
    // of what two numbers make together. Volatile, so that the kernel programs have no copy of it on their stack, and no check that they cannot fail.
    unsafe { core::ptr::read_volatile((&raw const TABLE).cast::<u32>().add(row).add(column)) }
}

/// Four bits make one symbol at most: the shortest code has five.
static TABLE: [u32; 4096] = table();

/// Codes of one length follow each other in the order of their symbols, so the lengths alone make the code.
#[expect(clippy::indexing_slicing, reason = "computed by the compiler, which refuses an index out of range")]
const fn table() -> [u32; 4096] {
    const LEAF: u16 = 1 << 15;
    // What follows each node by the next bit: a node, or a leaf with its symbol.
    let mut nodes = [[0u16; 2]; 256];
    let (mut count, mut code, mut length) = (1, 0u32, 1);
    while length <= 30 {
        code <<= 1;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as u32 == length {
                let (mut node, mut bit) = (0, length - 1);
                while bit > 0 {
                    let side = (code >> bit & 1) as usize;
                    if nodes[node][side] == 0 {
                        nodes[node][side] = count;
                        count += 1;
                    }
                    node = nodes[node][side] as usize;
                    bit -= 1;
                }
                nodes[node][(code & 1) as usize] = LEAF | symbol as u16;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    let mut table = [0; 4096];
    let mut at = 0;
    while at < table.len() {
        let (mut node, mut found, mut bit) = (at >> 4, 0, 4);
        while bit > 0 {
            bit -= 1;
            let next = nodes[node][at >> bit & 1];
            if next & LEAF == 0 {
                node = next as usize;
            } else {
                let symbol = (next & !LEAF) as u32;
                found = if symbol > 255 { INVALID } else { SYMBOL | symbol };
                node = 0;
            }
        }
        table[at] = found | (node as u32) << STATE;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut state, mut out) = (ROOT, Vec::new());
        for four in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            let found = step(state, u32::from(four));
            if found & INVALID != 0 {
                return None;
            }
            out.extend((found & SYMBOL != 0).then_some(found as u8));
            state = found >> STATE;
        }
        Some(out)
    }

    #[test]
    fn examples_of_the_standard() {
        assert_eq!(decode(b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff").unwrap(), b"www.example.com");
        assert_eq!(decode(b"\xa8\xeb\x10\x64\x9c\xbf").unwrap(), b"no-cache");
        let date = b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff";
        assert_eq!(decode(date).unwrap(), b"Mon, 21 Oct 2013 20:13:21 GMT");
        // The end of a string never stands in one.
        assert_eq!(decode(b"\xff\xff\xff\xff"), None);
    }
}
