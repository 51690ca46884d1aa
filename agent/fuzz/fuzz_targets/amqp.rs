//! Any updates of a connection that has been recognised as AMQP 0-9-1.
#![no_main]

use libfuzzer_sys::fuzz_target;

const CAPTURED: &str = include_str!("../../src/protocol/amqp/captured.txt");

fuzz_target!(|data: &[u8]| {
    geophone_fuzz::converse("amqp", CAPTURED, 19, data);
});
