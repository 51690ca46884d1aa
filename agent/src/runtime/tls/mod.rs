//! TLS libraries of processes: which functions encrypt and decrypt, in shared libraries and in programs that have a library inside. A
//! library is looked at once, however many processes have it loaded. What is done at the functions is the kernel side's business.
//!
//! Go's own TLS is found with its runtime.

mod library;
mod mapped;
mod rustls;

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub use library::Library;
pub use mapped::{Mapped, mapped};

use super::{Image, Refusal};

/// Looks for TLS libraries in a file. `None`: it has none that has names. Of most files only what they export is looked at; `inside`: also what
/// they keep to themselves, which takes longer.
///
/// # Errors
/// When the file is malformed.
pub fn find(image: &Image, inside: bool) -> Result<Option<Library>, Refusal> {
    let library = library::find(image, inside)?;
    let rust = if inside { rustls::find(image)? } else { None };
    Ok(match (library, rust) {
        (Some(mut library), Some(rust)) => {
            library.probes.extend(rust.probes);
            Some(library)
        }
        (library, rust) => library.or(rust),
    })
}

/// Why TLS connections of a process cannot be read, as far as its libraries say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// It was not looked at.
    #[default]
    Unseen,
    /// It was not looked at yet: the agent was still looking at what ran when it was started.
    Early,
    /// Nobody wants to read what is encrypted.
    Off,
    /// Nothing that is known is in it.
    NoLibrary,
    /// As before, and it is a Java virtual machine.
    Java,
    /// As before, and it is a Go program whose tables say of no `crypto/tls`.
    Go,
    /// The kernel let no probes be attached.
    Failed,
    /// There are probes.
    Probed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unseen => "the process could not be looked at",
            Self::Early => "the agent had not yet looked at all that ran when it was started",
            Self::Off => "the agent was told not to (--no-tls)",
            Self::NoLibrary => "no TLS library with names that are known is in it",
            Self::Java => "Java's own TLS is compiled while it runs",
            Self::Go => "its TLS functions cannot be found in the Go program",
            Self::Failed => "no probes could be attached to its TLS library",
            Self::Probed => "nothing was read or written on them, or before the probes were there",
        })
    }
}

/// Where distributions keep shared libraries. What is there is looked at before anybody uses it, so that a program which lives for
/// milliseconds only is seen from its first byte.
const FOLDERS: [&str; 8] = [
    "/lib64",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// How the names of TLS libraries begin.
const NAMES: [&str; 2] = ["libssl.so", "libgnutls.so"];

/// The TLS libraries that the system has, whether used or not.
pub fn installed() -> impl Iterator<Item = PathBuf> {
    let entries = FOLDERS.iter().filter_map(|folder| std::fs::read_dir(Path::new(folder)).ok()).flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| NAMES.iter().any(|begin| name.starts_with(begin)))
        })
        .map(|entry| entry.path())
}
