//! Any bytes as a file with frame descriptions.

#![no_main]

use geophone::profile::unwind::compile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(table) = compile(data) else { return };
    let is_sound =
        table.rows().windows(2).all(|pair| pair[0] >> 32 < pair[1] >> 32 && pair[0] as u32 != pair[1] as u32);
    assert!(is_sound, "rows are sorted, and neighbours differ");
    let _ = table.base(0x7f00_0000_0000, 0x1000);
});
