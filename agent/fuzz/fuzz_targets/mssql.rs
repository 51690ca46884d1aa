//! Any updates of a connection that has been recognised as Microsoft SQL Server: batches and transactions, and prepared statements.
#![no_main]

use libfuzzer_sys::fuzz_target;

const PLAIN: &str = include_str!("../../src/protocol/mssql/pytds.txt");
const PREPARED: &str = include_str!("../../src/protocol/mssql/tedious.txt");

fuzz_target!(|data: &[u8]| {
    let Some((which, script)) = data.split_first() else {
        return;
    };
    let (captured, lines) = [(PLAIN, 8), (PREPARED, 8)][usize::from(which % 2)];
    geophone_fuzz::converse("mssql", captured, lines, script);
});
