//! Any updates of a connection that has been recognised as DNS over TCP.
#![no_main]

use libfuzzer_sys::fuzz_target;

const CAPTURED: &str = include_str!("../../src/protocol/dns/captured.txt");

fuzz_target!(|data: &[u8]| {
    geophone_fuzz::converse("dns", CAPTURED, 2, data);
});
