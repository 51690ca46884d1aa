//! Any header blocks, one after the other, of which some are cut off: bounded, and never a panic. Input: blocks of a length, whose highest
//! bit says that it is cut off, and so many bytes.
#![no_main]

use geophone::protocol::hpack::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::default();
    let mut data = data;
    while let [length, rest @ ..] = data {
        let (block, rest) = rest.split_at(usize::from(length & 0x7f).min(rest.len()));
        data = rest;
        let mut size = 0;
        decoder.decode(block, length & 0x80 == 0, &mut |field| {
            size += 32 + field.name.map_or(0, <[u8]>::len) + field.value.map_or(0, <[u8]>::len);
        });
        assert!(size <= 64 << 10);
    }
});
