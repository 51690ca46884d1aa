//! Any updates of a connection that has been recognised as MongoDB.
#![no_main]

use libfuzzer_sys::fuzz_target;

const COMMANDS: &str = include_str!("../../src/protocol/mongodb/server.txt");
const WATCHING: &str = include_str!("../../src/protocol/mongodb/watching.txt");

fuzz_target!(|data: &[u8]| {
    let Some((which, script)) = data.split_first() else {
        return;
    };
    let (captured, lines) = [(COMMANDS, 5), (WATCHING, 5)][usize::from(which % 2)];
    geophone_fuzz::converse("mongodb", captured, lines, script);
});
