//! Where in a structure a short function of x86_64 code stores a word: its only such store. Knows that one kind of instruction, no more.

/// The segment of thread-local memory (`fs`), as a prefix.
const FS: u8 = 0x64;
/// `mov r/m64, r64`, after a prefix with its bit W.
const STORE: u8 = 0x89;

/// The offset at which `code` stores a word into a structure of `size` bytes, which is in thread-local memory, `structure` bytes from
/// the thread pointer. The structure's address may be in a register. `None` where there is no such store, or several.
pub fn stored(code: &[u8], structure: i64, size: u64) -> Option<u64> {
    let mut found = None;
    for at in 0..code.len() {
        let Some([wide @ 0x48..=0x4f, STORE, operands, rest @ ..]) = code.get(at..) else {
            continue;
        };
        let thread_local = at.checked_sub(1).and_then(|before| code.get(before)) == Some(&FS);
        let base = operands & 7;
        let word = |bytes: &[u8]| bytes.first_chunk().map(|bytes| i64::from(i32::from_le_bytes(*bytes)));
        let offset = match operands >> 6 {
            // No register at all: a place that is known, from the thread pointer.
            0 if base == 4 && thread_local && wide & 1 == 0 => {
                rest.strip_prefix(&[0x25]).and_then(word).map(|place| place.wrapping_sub(structure))
            }
            // Relative to the code, or by two registers.
            0 if base == 4 || base == 5 => None,
            0 => Some(0),
            // On the stack, or by two registers.
            1 | 2 if base == 4 => None,
            1 => rest.first().map(|byte| i64::from(byte.cast_signed())),
            2 => word(rest),
            // Between registers.
            _ => None,
        };
        let offset = offset.and_then(|offset| u64::try_from(offset).ok());
        let Some(offset) = offset.filter(|offset| offset % 8 == 0 && offset.saturating_add(8) <= size) else {
            continue;
        };
        if found.is_some_and(|other| other != offset) {
            return None;
        }
        found = Some(offset);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tokio 1.54, rustc 1.95: `TaskIdGuard::drop`, with the context 0x130 below the thread pointer and 80 bytes long.
    const DROP: &[u8] = &[
        0x41, 0x56, 0x53, 0x50, 0x48, 0x8b, 0x1f, 0x49, 0xc7, 0xc6, 0xd0, 0xfe, 0xff, 0xff, 0x64, 0x41, 0x0f, 0xb6,
        0x46, 0x48, 0x83, 0xf8, 0x01, 0x74, 0x2c, 0x83, 0xf8, 0x02, 0x75, 0x08, 0x48, 0x83, 0xc4, 0x08, 0x5b, 0x41,
        0x5e, 0xc3, 0x64, 0x48, 0x8b, 0x3c, 0x25, 0x00, 0x00, 0x00, 0x00, 0x4c, 0x01, 0xf7, 0x48, 0x8d, 0x35, 0x37,
        0xa2, 0xff, 0xff, 0xff, 0x15, 0xa1, 0x03, 0x02, 0x00, 0x64, 0x41, 0xc6, 0x46, 0x48, 0x01, 0x64, 0x49, 0x89,
        0x5e, 0x30, 0x48, 0x83, 0xc4, 0x08, 0x5b, 0x41, 0x5e, 0xc3,
    ];

    #[test]
    fn a_store_by_a_register() {
        assert_eq!(stored(DROP, -0x130, 80), Some(0x30));
        // It lies outside of a smaller one.
        assert_eq!(stored(DROP, -0x130, 0x30), None);
        assert_eq!(stored(&DROP[..DROP.len() - 20], -0x130, 80), None);
    }

    #[test]
    fn a_store_to_a_known_place() {
        // mov %rdi,%fs:0xffffffffffffff00
        let code = [0x64, 0x48, 0x89, 0x3c, 0x25, 0x00, 0xff, 0xff, 0xff, 0xc3];
        assert_eq!(stored(&code, -0x130, 80), Some(0x30));
        assert_eq!(stored(&code, -0x100, 80), Some(0));
        assert_eq!(stored(&code, -0xf0, 80), None);
        assert_eq!(stored(&code[..7], -0x130, 80), None);
    }

    #[test]
    fn two_stores_say_nothing() {
        // mov %rdi,0x10(%rax); mov %rdi,0x18(%rax)
        let code = [0x48, 0x89, 0x78, 0x10, 0x48, 0x89, 0x78, 0x18];
        assert_eq!(stored(&code, -0x130, 80), None);
        assert_eq!(stored(&code[..4], -0x130, 80), Some(0x10));
    }

    #[test]
    fn what_is_no_store() {
        // Into the stack, between registers, by two registers.
        for code in [&[0x48, 0x89, 0x7c, 0x24, 0x08][..], &[0x48, 0x89, 0xf8], &[0x48, 0x89, 0x04, 0xc8], &[0x48], &[]]
        {
            assert_eq!(stored(code, -0x130, 80), None);
        }
    }
}
