//! Any updates of a connection that has been recognised as uwsgi.
#![no_main]

use libfuzzer_sys::fuzz_target;

const CAPTURED: &str = include_str!("../../src/protocol/uwsgi/get.txt");

fuzz_target!(|data: &[u8]| {
    geophone_fuzz::converse("uwsgi", CAPTURED, 1, data);
});
