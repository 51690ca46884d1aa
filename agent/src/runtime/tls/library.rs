//! The functions of a TLS library by their names: OpenSSL and what was made from it (LibreSSL, BoringSSL), and GnuTLS. In whichever file
//! they are: a shared library, one under another name (Python's wheels), a program with the library inside (Node.js).

use std::sync::Arc;

use super::super::{Image, Probe, Refusal};

/// What a file has of a TLS library.
#[derive(Clone, Debug)]
pub struct Library {
    /// Its functions, what reads and writes first: whoever sees a session begin sees all of it.
    pub probes: Vec<Probe>,
}

/// A function, and the kernel programs at its entry and its return.
struct Function {
    name: &'static str,
    entry: Option<&'static str>,
    back: &'static str,
    /// What a library must have to be one that can be read.
    moves: Option<Moves>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    In,
    Out,
}

const fn function(name: &'static str, entry: &'static str, moves: Option<Moves>) -> Function {
    Function { name, entry: Some(entry), back: "tls_return", moves }
}

/// In the order in which probes are attached.
const FUNCTIONS: [Function; 12] = [
    function("SSL_read", "tls_read", Some(Moves::In)),
    function("SSL_write", "tls_write", Some(Moves::Out)),
    function("SSL_read_ex", "tls_read_ex", None),
    function("SSL_write_ex", "tls_write_ex", None),
    function("SSL_sendfile", "tls_sendfile", None),
    function("SSL_do_handshake", "tls_handshake", None),
    function("gnutls_record_recv", "tls_read", Some(Moves::In)),
    function("gnutls_record_send", "tls_write", Some(Moves::Out)),
    function("gnutls_record_send2", "tls_write", None),
    function("gnutls_handshake", "tls_handshake", None),
    function("gnutls_init", "tls_make", None),
    Function { name: "SSL_new", entry: None, back: "tls_created", moves: None },
];

/// Looks for them. `None`: the file has no TLS library that has names. Of most libraries only what they export is looked at; `inside`: also what
/// they, or a program, keep to themselves, which takes longer.
///
/// # Errors
/// When the file is malformed.
pub fn find(image: &Image, inside: bool) -> Result<Option<Library>, Refusal> {
    let names = FUNCTIONS.each_ref().map(|function| function.name);
    let addresses = image.elf(|elf| {
        let exported = elf.exported(names)?;
        if exported.iter().any(Option::is_some) || !inside { Ok(exported) } else { elf.named(names) }
    })?;
    let has = |moves| FUNCTIONS.iter().zip(&addresses).any(|(f, address)| f.moves == Some(moves) && address.is_some());
    if !has(Moves::In) || !has(Moves::Out) {
        return Ok(None);
    }
    let mut probes = Vec::new();
    for (function, address) in FUNCTIONS.iter().zip(addresses) {
        let Some(address) = address else { continue };
        let offset = image.offset_of(address).ok_or(Refusal::Malformed("a function is not in the file"))?;
        // The return first: an entry without its return would be a call that never ends.
        for program in std::iter::once(function.back).chain(function.entry) {
            probes.push(Probe { program, file: Arc::clone(image.file()), id: image.id(), offset });
        }
    }
    Ok(Some(Library { probes }))
}

#[cfg(test)]
mod tests {
    use super::{super::installed, *};

    #[test]
    fn the_system_libraries_are_found() {
        let mut found = 0;
        for path in installed() {
            let Some(image) = Image::open(&path).unwrap() else { continue };
            let library = find(&image, false).unwrap().unwrap();
            let programs: Vec<_> = library.probes.iter().map(|probe| probe.program).collect();
            for wanted in ["tls_read", "tls_write", "tls_return"] {
                assert!(programs.contains(&wanted), "{}: {programs:?}", path.display());
            }
            assert!(["tls_created", "tls_make"].contains(programs.last().unwrap()), "{}: {programs:?}", path.display());
            found += 1;
        }
        assert!(found > 0, "no TLS library on this machine");
    }

    #[test]
    fn who_only_uses_one_has_none() {
        let own = Image::open(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert!(find(&own, true).unwrap().is_none());
    }
}
