//! Any updates of a connection that has been recognised as Cassandra: with segments and without.
#![no_main]

use libfuzzer_sys::fuzz_target;

const FRAMES: &str = include_str!("../../src/protocol/cassandra/v4.txt");
const SEGMENTS: &str = include_str!("../../src/protocol/cassandra/v5.txt");

fuzz_target!(|data: &[u8]| {
    let Some((which, script)) = data.split_first() else {
        return;
    };
    let (captured, lines) = [(FRAMES, 8), (SEGMENTS, 8)][usize::from(which % 2)];
    geophone_fuzz::converse("cassandra", captured, lines, script);
});
