//! Where a Go function returns. A probe on the return address, as it is usual for C, would break Go's stacks when they are moved; probes on
//! the return instructions themselves do not. Go's code has no data between its instructions, so that they can be told apart from the
//! function's begin on.

use super::super::{Image, Refusal};

/// The longest function that is looked at; those which are meant have some hundred bytes.
const LONGEST: u64 = 1 << 16;

/// The addresses of the return instructions of the function that begins at `begin` and ends before `end`.
///
/// # Errors
/// When there are none, or there is what is no instruction.
pub fn returns(image: &Image, begin: u64, end: u64) -> Result<Vec<u64>, Refusal> {
    let size = end.checked_sub(begin).filter(|size| *size <= LONGEST);
    let size = size.ok_or(Refusal::Malformed("a function has an impossible size"))?;
    let mut code = vec![0; usize::try_from(size).unwrap_or(0)];
    let offset = image.offset_of(begin).ok_or(Refusal::Malformed("a function is not in the file"))?;
    image.read_at(&mut code, offset)?;
    let found = scan(&code).ok_or(Refusal::Malformed("a function is not made of instructions"))?;
    if found.is_empty() {
        return Err(Refusal::Malformed("a function never returns"));
    }
    Ok(found.into_iter().map(|at| begin + at as u64).collect())
}

/// Where in a function its return instructions are; `None` when it is not made of instructions.
#[cfg(target_arch = "x86_64")]
fn scan(code: &[u8]) -> Option<Vec<usize>> {
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut found = Vec::new();
    while decoder.can_decode() {
        let at = decoder.position();
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        if instruction.mnemonic() == Mnemonic::Ret {
            found.push(at);
        }
    }
    Some(found)
}

/// As above. Each has four bytes; `ret` is `ret x30`.
#[cfg(target_arch = "aarch64")]
fn scan(code: &[u8]) -> Option<Vec<usize>> {
    const RET: [u8; 4] = [0xc0, 0x03, 0x5f, 0xd6];
    let words = code.chunks_exact(4).enumerate().filter(|(_, word)| *word == RET);
    Some(words.map(|(index, _)| index * 4).collect())
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_instructions_count() {
        // mov eax, 0xc3c3c3c3; add rsp, 8; pop rbp; ret; lea rax, [rip + 0xc3]; ret; int3 up to the next function
        let code = b"\xb8\xc3\xc3\xc3\xc3\x48\x83\xc4\x08\x5d\xc3\x48\x8d\x05\xc3\x00\x00\x00\xc3\xcc\xcc";
        assert_eq!(scan(code), Some(vec![10, 18]));
        // Cut off in an instruction.
        assert_eq!(scan(b"\xc3\x48\x8d\x05"), None);
        assert_eq!(scan(b""), Some(vec![]));
    }

    proptest! {
        #[test]
        fn what_is_found_is_a_return(code in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(found) = scan(&code) {
                for at in found {
                    // Perhaps after prefixes.
                    let (end, byte) = (at + 15, |b: &u8| matches!(b, 0xc3 | 0xc2));
                    prop_assert!(code[at..end.min(code.len())].iter().any(byte));
                }
            }
        }

        /// What comes before does not matter, as long as it is whole.
        #[test]
        fn each_return_is_found(blocks in proptest::collection::vec(0usize..5, 1..40)) {
            let known: [&[u8]; 5] = [b"\xc3", b"\x48\x89\xc3", b"\xc5\xf8\x77", b"\x0f\x1f\x84\x00\xc3\xc3\x00\x00", b"\xe8\xc3\x00\x00\x00"];
            let mut code = Vec::new();
            let mut expected = Vec::new();
            for block in blocks {
                if block == 0 {
                    expected.push(code.len());
                }
                code.extend(known[block]);
            }
            prop_assert_eq!(scan(&code), Some(expected));
        }
    }
}
