//! Any updates of a connection that has been recognised as Kafka.
#![no_main]

use libfuzzer_sys::fuzz_target;

const CAPTURED: &str = include_str!("../../src/protocol/kafka/produce.txt");

fuzz_target!(|data: &[u8]| {
    geophone_fuzz::converse("kafka", CAPTURED, 4, data);
});
