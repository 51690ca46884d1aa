//! No file makes the compiler panic, or gives rows that a search cannot use: whatever is broken in it.

use proptest::prelude::*;

use super::{Table, compile};

/// Rows are sorted, each place is there once, and neighbours differ.
fn is_sound(table: &Table) -> bool {
    table.rows().windows(2).all(|pair| pair[0] >> 32 < pair[1] >> 32 && pair[0] as u32 != pair[1] as u32)
}

/// A small library with all that matters in it: the code that the kernel puts into this process.
fn sample() -> Vec<u8> {
    super::identity::vdso().unwrap()
}

#[test]
fn a_sound_file_has_sound_rows() {
    if cfg!(target_arch = "x86_64") {
        let table = compile(sample().as_slice()).unwrap();
        assert!(is_sound(&table) && table.rows().len() > 10 && table.malformed() == 0);
    }
}

proptest! {
    #[test]
    fn broken_files_do_not_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        length in proptest::option::of(any::<prop::sample::Index>()),
        in_frames in any::<bool>(),
    ) {
        let mut bytes = sample();
        // In the descriptions, or anywhere.
        let from = bytes.windows(4).position(|part| part == b"\x01zR\0").filter(|_| in_frames).unwrap_or_default();
        for (index, value) in changes {
            let at = from + index.index((bytes.len() - from).min(if in_frames { 1024 } else { usize::MAX }));
            bytes[at] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(table) = compile(bytes.as_slice()) {
            prop_assert!(is_sound(&table));
            let _ = table.base(0x1000, 0);
            let _ = table.find(0x1000);
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
        bytes.splice(..bytes.len().min(head.len()), head.iter().copied());
        if let Ok(table) = compile(bytes.as_slice()) {
            prop_assert!(is_sound(&table));
        }
    }
}
