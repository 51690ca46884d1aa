//! Any updates of a connection that has been recognised as MySQL; see [`play`] for the input. Each script is played twice, once with every
//! piece cut in two.
#![no_main]

use geophone_fuzz::{bytes, play};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let preface = b"\x09\x00\x00\x00\x03SELECT 1";
    for exchange in play(preface, data, false, bytes).iter().chain(&play(preface, data, true, bytes)) {
        assert!(exchange.start <= exchange.end);
        assert!(exchange.first_byte.is_none_or(|first| exchange.start <= first && first <= exchange.end));
        assert!(!exchange.name.is_empty() && exchange.name.len() <= 1024);
    }
});
