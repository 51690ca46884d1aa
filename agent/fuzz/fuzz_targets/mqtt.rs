//! Any updates of a connection that has been recognised as MQTT.
#![no_main]

use libfuzzer_sys::fuzz_target;

const CAPTURED: &str = include_str!("../../src/protocol/mqtt/version5.txt");

fuzz_target!(|data: &[u8]| {
    geophone_fuzz::converse("mqtt", CAPTURED, 4, data);
});
