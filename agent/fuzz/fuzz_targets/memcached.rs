//! Any updates of a connection that has been recognised as Memcached: by text, by meta commands, by binary packets.
#![no_main]

use libfuzzer_sys::fuzz_target;

const TEXT: &str = include_str!("../../src/protocol/memcached/text.txt");
const META: &str = include_str!("../../src/protocol/memcached/meta.txt");
const BINARY: &str = include_str!("../../src/protocol/memcached/quiet.txt");

fuzz_target!(|data: &[u8]| {
    let Some((which, script)) = data.split_first() else {
        return;
    };
    let (captured, lines) = [(TEXT, 6), (META, 10), (BINARY, 4)][usize::from(which % 3)];
    geophone_fuzz::converse("memcached", captured, lines, script);
});
