//! Any bytes as a recording, replayed.

#![no_main]

use geophone::{recording::Reader, run::replay};
use geophone_fuzz::{check, pipeline};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::new(data) else { return };
    let _ = replay(&mut reader, &mut pipeline(), check);
});
