//! Any updates of a connection that has been recognised as FastCGI.
#![no_main]

use libfuzzer_sys::fuzz_target;

const CAPTURED: &str = include_str!("../../src/protocol/fastcgi/captured.txt");

fuzz_target!(|data: &[u8]| {
    geophone_fuzz::converse("fastcgi", CAPTURED, 2, data);
});
