//! rustls: the functions of its ciphers, by their names. They are called through tables, so they are there in every program, however
//! it was optimised. Of all others it depends on the compiler whether they are.
//!
//! Known are the ciphers of rustls 0.23, of whichever provider. Those of 0.21 and 0.22 are given other arguments, and left out.

use std::sync::Arc;

use object::{
    elf::{SHT_SYMTAB, STT_FUNC},
    read::elf::Sym as _,
};

use super::{
    super::{Image, Probe, Refusal},
    Library,
};

/// Functions that are probed in a file: eight of each provider.
const MOST: usize = 64;

/// Types that no version but those that are known has; some of their functions are left in each program.
const VERSION: [&str; 4] = ["OutboundChunks", "PrefixedPayload", "InboundPlainMessage", "InboundOpaqueMessage"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Encrypt,
    Decrypt,
    /// What only the versions have that are known.
    Version,
}

/// Looks for them. `None`: rustls is not in the file, or the names are not.
///
/// # Errors
/// When the file is malformed.
pub fn find(image: &Image) -> Result<Option<Library>, Refusal> {
    let mut addresses: Vec<(Meaning, u64)> = Vec::new();
    let mut known = false;
    image.elf(|elf| {
        if !elf.mentions("MessageDecrypter")? {
            return Ok(());
        }
        let table = elf.sections.symbols(elf.endian, elf.data, SHT_SYMTAB)?;
        for symbol in table.iter() {
            if symbol.st_type() != STT_FUNC {
                continue;
            }
            let meaning = symbol.name(elf.endian, table.strings()).ok().and_then(meaning);
            match meaning {
                Some(Meaning::Version) => known = true,
                Some(meaning) if addresses.len() < MOST => addresses.push((meaning, symbol.st_value(elf.endian))),
                Some(_) | None => {}
            }
        }
        Ok(())
    })?;
    let has = |wanted| addresses.iter().any(|(meaning, _)| *meaning == wanted);
    if !known || !has(Meaning::Encrypt) || !has(Meaning::Decrypt) {
        return Ok(None);
    }
    // What reads first, and of that the return: an entry without its return would be a call that never ends.
    addresses.sort_unstable_by_key(|(meaning, address)| (*meaning == Meaning::Encrypt, *address));
    addresses.dedup();
    let mut probes = Vec::new();
    for (meaning, address) in addresses {
        let offset = image.offset_of(address).ok_or(Refusal::Malformed("a function is not in the file"))?;
        let programs: &[&'static str] = match meaning {
            Meaning::Encrypt => &["rustls_encrypt_entry"],
            Meaning::Decrypt | Meaning::Version => &["rustls_decrypt_return", "rustls_decrypt_entry"],
        };
        for program in programs {
            probes.push(Probe { program, file: Arc::clone(image.file()), id: image.id(), offset });
        }
    }
    Ok(Some(Library { probes }))
}

/// What a symbol's name means, mangled in the older way (`_ZN..17h..E`) or in the newer one (`_R..`).
fn meaning(name: &[u8]) -> Option<Meaning> {
    let name = std::str::from_utf8(name).ok().filter(|name| name.contains("Message") || name.contains("Outbound"))?;
    // In the older way `<A as B>` is one word; in the newer one the trait's name has its own length.
    let (encrypt, decrypt) = if name.starts_with("_R") {
        (name.contains("16MessageEncrypter7encrypt"), name.contains("16MessageDecrypter7decrypt"))
    } else {
        (
            name.contains("rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17h"),
            name.contains("rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17h"),
        )
    };
    if !name.contains("rustls") || name.contains("InvalidMessage") {
        None
    } else if encrypt {
        Some(Meaning::Encrypt)
    } else if decrypt {
        Some(Meaning::Decrypt)
    } else {
        VERSION.iter().any(|known| name.contains(known)).then_some(Meaning::Version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_both_ways() {
        let known = [
            (
                "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17hdac8bb67f648d351E",
                Meaning::Encrypt,
            ),
            (
                "_ZN109_$LT$rustls..crypto..ring..tls12..GcmMessageDecrypter$u20$as$u20$rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17h0bf4997458b99d8eE.llvm.123",
                Meaning::Decrypt,
            ),
            (
                "_RNvXs0_NtNtNtCsj_6rustls6crypto4ring5tls13NtB5_21Tls13MessageEncrypterNtNtB9_6cipher16MessageEncrypter7encrypt",
                Meaning::Encrypt,
            ),
            (
                "_RNvXs1_NtNtNtCsj_6rustls6crypto4ring5tls13NtB5_21Tls13MessageDecrypterNtNtB9_6cipher16MessageDecrypter7decrypt",
                Meaning::Decrypt,
            ),
            ("_ZN6rustls4msgs7message8outbound14OutboundChunks11copy_to_vec17h03a92763f70d6e27E", Meaning::Version),
        ];
        for (name, expected) in known {
            assert_eq!(meaning(name.as_bytes()), Some(expected), "{name}");
        }
        let others = [
            "_ZN108_$LT$rustls..crypto..cipher..InvalidMessageDecrypter$u20$as$u20$rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17h7ef5dae78fbafa16E",
            "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$21encrypted_payload_len17h5a433ffe24b061a0E",
            // 0.21
            "_ZN100_$LT$rustls..tls12..cipher..GcmMessageDecrypter$u20$as$u20$rustls..cipher..MessageDecrypter$GT$7decrypt17h7ef5dae78fbafa16E",
            "_ZN4core3ptr94drop_in_place$LT$alloc..boxed..Box$LT$dyn$u20$rustls..crypto..cipher..MessageDecrypter$GT$$GT$17h20e00d8d3c1a2f03E",
            "Message\u{fffd}",
        ];
        for name in others {
            assert_eq!(meaning(name.as_bytes()), None, "{name}");
        }
    }

    /// The tests' own client of OTLP has it, whatever the profile is that they were built with.
    #[test]
    fn a_program_that_has_it() {
        let own = Image::open(&std::env::current_exe().unwrap()).unwrap().unwrap();
        let library = find(&own).unwrap().unwrap();
        let programs: Vec<_> = library.probes.iter().map(|probe| probe.program).collect();
        for wanted in ["rustls_encrypt_entry", "rustls_decrypt_entry", "rustls_decrypt_return"] {
            assert!(programs.contains(&wanted), "{programs:?}");
        }
        assert_eq!(programs.first(), Some(&"rustls_decrypt_return"));
    }
}
