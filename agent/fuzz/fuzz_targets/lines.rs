//! Any bytes as a file with debug information: read in bounded time and memory, and what is said of a place is whole.

#![no_main]

use geophone::profile::lines::look_up;
use libfuzzer_sys::fuzz_target;

/// Where the seeds have their code; and what no file should have.
const ADDRESSES: [u64; 6] = [0, 0x40_1000, 0x40_1004, 0x40_1010, 0x40_1020, u64::MAX];

fuzz_target!(|data: &[u8]| {
    let Ok(lines) = look_up(data, &ADDRESSES) else { return };
    assert_eq!(lines.len(), ADDRESSES.len(), "each place is answered");
    for place in lines {
        assert!(place.inlined.len() <= 128 && place.inlined.iter().all(|inlined| inlined.name.len() <= 8192));
    }
});
