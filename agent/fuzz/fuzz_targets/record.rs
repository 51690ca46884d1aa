//! Any bytes as a record of the kernel side.

#![no_main]

use geophone::{bpf::decode, event::Event};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match decode::event(data) {
        Ok(event) => {
            assert_eq!(event.time(), decode::time(data), "a record's time is found without decoding it");
            if let Event::Data(call) = event {
                assert!(call.bytes.len() as u64 + u64::from(call.skipped) <= u64::from(call.len), "no more than moved");
            }
        }
        Err(_) => {
            let _ = decode::time(data);
        }
    }
});
