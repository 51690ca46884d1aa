//! Any updates of a connection that has been recognised as HTTP/2. Input: steps of a tag, a length, and what they need: bytes, or the
//! payload of a frame. Each script is played twice, once with every piece cut in two.
#![no_main]

use geophone_fuzz::play;
use libfuzzer_sys::fuzz_target;

/// The client's preface, and a request.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x05\x01\x05\0\0\0\x01\x82\x86\x84\x41\0";

fuzz_target!(|data: &[u8]| {
    let whole = play(PREFACE, data, false, frame);
    let halves = play(PREFACE, data, true, frame);
    for exchange in whole.iter().chain(&halves) {
        assert!(exchange.start <= exchange.end);
        assert!(exchange.first_byte.is_none_or(|first| exchange.start <= first && first <= exchange.end));
    }
});

/// Type, flags and stream, then the payload.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let [kind, flags, stream, payload @ ..] = bytes else {
        return bytes.to_vec();
    };
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind % 12, *flags, 0, 0, 0, *stream]);
    frame.extend(payload);
    frame
}
