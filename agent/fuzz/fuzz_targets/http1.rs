//! Any updates of a connection that has been recognised as HTTP/1.x; see [`play`] for the input. Each script is played twice, once with
//! every piece cut in two.
#![no_main]

use geophone_fuzz::{bytes, play};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let preface = b"GET /p HTTP/1.1\r\nHost: x\r\n\r\n";
    let whole = play(preface, data, false, bytes);
    let halves = play(preface, data, true, bytes);
    for exchange in whole.iter().chain(&halves) {
        assert!(exchange.start <= exchange.end);
        assert!(exchange.first_byte.is_none_or(|first| exchange.start <= first && first <= exchange.end));
        assert_eq!(exchange.holes.no_response, exchange.attributes.get("http.response.status_code").is_none());
    }
});
