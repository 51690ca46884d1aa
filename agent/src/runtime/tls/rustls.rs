//! rustls: the functions of its ciphers, by their names. They are called through tables, so they are there in every program, however
//! it was optimised. Of all others it depends on the compiler whether they are.
//!
//! Known are the ciphers of rustls 0.21 to 0.23, of whichever provider. Those before 0.23 are given other arguments than those of 0.23, and in 0.22
//! have the same names.

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

/// Types that only 0.23 has; some of their functions are left in each program.
const NEWER: [&str; 4] = ["OutboundChunks", "PrefixedPayload", "InboundPlainMessage", "InboundOpaqueMessage"];

/// Types that only the versions before it have, as they are in symbols.
const OLDER: [&str; 2] = ["20BorrowedPlainMessage", "13OpaqueMessage"];

/// Whether the functions are those of the versions before 0.23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Older,
    Newer,
    /// The name is one that both have.
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Encrypt(Age),
    Decrypt(Age),
    /// What only the older, or only the newer versions have.
    Version(Age),
}

/// What the symbols of a file say.
#[derive(Debug, Default)]
struct Found {
    /// What encrypts, and what decrypts.
    functions: Vec<(bool, Age, u64)>,
    /// There are types that only 0.23 has.
    newer: bool,
    /// There are types that only 0.21 and 0.22 have.
    older: bool,
}

impl Found {
    fn add(&mut self, meaning: Meaning, address: u64) {
        match meaning {
            Meaning::Version(Age::Newer) => self.newer = true,
            Meaning::Version(_) => self.older = true,
            Meaning::Encrypt(_) | Meaning::Decrypt(_) if self.functions.len() == MOST => {}
            Meaning::Encrypt(age) => self.functions.push((true, age, address)),
            Meaning::Decrypt(age) => self.functions.push((false, age, address)),
        }
    }

    /// What the functions are whose names both have. `None`: that is not known.
    fn either(&self) -> Option<Age> {
        match (self.older, self.newer) {
            (true, false) => Some(Age::Older),
            (false, true) => Some(Age::Newer),
            // The older types are those of 0.21, whose functions have names of their own.
            (true, true) if self.functions.iter().any(|(_, age, _)| *age == Age::Older) => Some(Age::Newer),
            _ => None,
        }
    }

    /// The functions of which it is known what they are given. What reads first: what is answered is to be known when the answer is sent.
    fn known(mut self) -> Vec<(bool, Age, u64)> {
        let either = self.either();
        self.functions.retain_mut(|(_, age, _)| {
            if *age == Age::Either {
                *age = either.unwrap_or(Age::Either);
            }
            *age != Age::Either
        });
        self.functions.sort_unstable();
        self.functions.dedup();
        self.functions
    }
}

/// Looks for them. `None`: rustls is not in the file, or the names are not.
///
/// # Errors
/// When the file is malformed.
pub fn find(image: &Image) -> Result<Option<Library>, Refusal> {
    let mut found = Found::default();
    image.elf(|elf| {
        if !elf.mentions("MessageDecrypter")? {
            return Ok(());
        }
        let table = elf.sections.symbols(elf.endian, elf.data, SHT_SYMTAB)?;
        for symbol in table.iter() {
            if symbol.st_type() != STT_FUNC {
                continue;
            }
            if let Some(meaning) = symbol.name(elf.endian, table.strings()).ok().and_then(meaning) {
                found.add(meaning, symbol.st_value(elf.endian));
            }
        }
        Ok(())
    })?;
    let functions = found.known();
    let has = |wanted| functions.iter().any(|(encrypts, ..)| *encrypts == wanted);
    if !has(true) || !has(false) {
        return Ok(None);
    }
    let mut probes = Vec::new();
    for (encrypts, age, address) in functions {
        let offset = image.offset_of(address).ok_or(Refusal::Malformed("a function is not in the file"))?;
        // Of what reads, the return first: an entry without its return would be a call that never ends.
        let programs: &[&'static str] = match (encrypts, age) {
            (true, Age::Older) => &["rustls_older_encrypt_entry"],
            (false, Age::Older) => &["rustls_older_decrypt_return", "rustls_older_decrypt_entry"],
            (true, _) => &["rustls_encrypt_entry"],
            (false, _) => &["rustls_decrypt_return", "rustls_decrypt_entry"],
        };
        for program in programs {
            probes.push(Probe { program, file: Arc::clone(image.file()), id: image.id(), offset });
        }
    }
    Ok(Some(Library { probes }))
}

/// What a symbol's name means, mangled in the older way (`_ZN..17h..E`) or in the newer one (`_R..`).
fn meaning(name: &[u8]) -> Option<Meaning> {
    let name = std::str::from_utf8(name).ok()?;
    if !name.contains("rustls") || name.contains("InvalidMessage") {
        return None;
    }
    // In the older way `<A as B>` is one word; in the newer one the trait's name has its own length, and what it is in may be said by a number.
    let (function, age) = if name.starts_with("_R") {
        let at = name.find("16MessageEncrypter7encrypt").or_else(|| name.find("16MessageDecrypter7decrypt"));
        (at.and_then(|at| name.get(at + 2..)).unwrap_or_default(), Age::Either)
    } else if let Some((_, function)) = name.split_once("$u20$as$u20$rustls..crypto..cipher..") {
        (function, Age::Either)
    } else if let Some((_, function)) = name.split_once("$u20$as$u20$rustls..cipher..") {
        (function, Age::Older)
    } else {
        ("", Age::Either)
    };
    if function.starts_with("MessageEncrypter7encrypt") || function.starts_with("MessageEncrypter$GT$7encrypt17h") {
        Some(Meaning::Encrypt(age))
    } else if function.starts_with("MessageDecrypter7decrypt")
        || function.starts_with("MessageDecrypter$GT$7decrypt17h")
    {
        Some(Meaning::Decrypt(age))
    } else if NEWER.iter().any(|known| name.contains(known)) {
        Some(Meaning::Version(Age::Newer))
    } else {
        OLDER.iter().any(|known| name.contains(known)).then_some(Meaning::Version(Age::Older))
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
                Meaning::Encrypt(Age::Either),
            ),
            (
                "_ZN109_$LT$rustls..crypto..ring..tls12..GcmMessageDecrypter$u20$as$u20$rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17h0bf4997458b99d8eE.llvm.123",
                Meaning::Decrypt(Age::Either),
            ),
            (
                "_RNvXs0_NtNtNtCsj_6rustls6crypto4ring5tls13NtB5_21Tls13MessageEncrypterNtNtB9_6cipher16MessageEncrypter7encrypt",
                Meaning::Encrypt(Age::Either),
            ),
            (
                "_RNvXs1_NtNtNtCsj_6rustls6crypto4ring5tls13NtB5_21Tls13MessageDecrypterNtNtB9_6cipher16MessageDecrypter7decrypt",
                Meaning::Decrypt(Age::Either),
            ),
            (
                "_ZN6rustls4msgs7message8outbound14OutboundChunks11copy_to_vec17h03a92763f70d6e27E",
                Meaning::Version(Age::Newer),
            ),
            (
                "_ZN6rustls3msgs7message20BorrowedPlainMessage20to_unencrypted_opaque17h1234567890abcdefE",
                Meaning::Version(Age::Older),
            ),
            ("_RNvMs_NtNtCsj_6rustls4msgs7messageNtB4_13OpaqueMessage6encode", Meaning::Version(Age::Older)),
            (
                "_ZN100_$LT$rustls..tls12..cipher..GcmMessageDecrypter$u20$as$u20$rustls..cipher..MessageDecrypter$GT$7decrypt17h7ef5dae78fbafa16E",
                Meaning::Decrypt(Age::Older),
            ),
        ];
        for (name, expected) in known {
            assert_eq!(meaning(name.as_bytes()), Some(expected), "{name}");
        }
        let others = [
            "_ZN108_$LT$rustls..crypto..cipher..InvalidMessageDecrypter$u20$as$u20$rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17h7ef5dae78fbafa16E",
            "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$21encrypted_payload_len17h5a433ffe24b061a0E",
            "_ZN4core3ptr94drop_in_place$LT$alloc..boxed..Box$LT$dyn$u20$rustls..crypto..cipher..MessageDecrypter$GT$$GT$17h20e00d8d3c1a2f03E",
            "Message\u{fffd}",
        ];
        for name in others {
            assert_eq!(meaning(name.as_bytes()), None, "{name}");
        }
    }

    /// Programs may have several versions inside. Names that two versions share are taken only if it is certain whose they are.
    #[test]
    fn several_versions() {
        let found = |older, newer, functions: &[(bool, Age, u64)]| {
            Found { functions: functions.to_vec(), newer, older }.known()
        };
        let (both, old) = ((false, Age::Either, 1), (true, Age::Older, 2));
        assert_eq!(found(false, true, &[both]), [(false, Age::Newer, 1)]);
        assert_eq!(found(true, false, &[both]), [(false, Age::Older, 1)]);
        assert_eq!(found(true, true, &[old, both]), [(false, Age::Newer, 1), old]);
        assert_eq!(found(true, true, &[both]), []);
        assert_eq!(found(false, false, &[old, both]), [old]);
        let mut many = Found::default();
        for address in 0..=MOST as u64 {
            many.add(Meaning::Encrypt(Age::Older), address);
        }
        assert_eq!(many.known().len(), MOST);
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
