//! Any updates of a connection that has been recognised as ClickHouse: with blocks of data as they are, and compressed.
#![no_main]

use libfuzzer_sys::fuzz_target;

const PLAIN: &str = include_str!("../../src/protocol/clickhouse/new.txt");
const COMPRESSED: &str = include_str!("../../src/protocol/clickhouse/old_compressed.txt");

fuzz_target!(|data: &[u8]| {
    let Some((which, script)) = data.split_first() else {
        return;
    };
    let (captured, lines) = [(PLAIN, 5), (COMPRESSED, 5)][usize::from(which % 2)];
    geophone_fuzz::converse("clickhouse", captured, lines, script);
});
