//! Any updates of a connection that has been recognised as NATS.
#![no_main]

use libfuzzer_sys::fuzz_target;

const CAPTURED: &str = include_str!("../../src/protocol/nats/captured.txt");

fuzz_target!(|data: &[u8]| {
    geophone_fuzz::converse("nats", CAPTURED, 6, data);
});
