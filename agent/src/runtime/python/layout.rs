//! Where in CPython's structures is what. From 3.13 on the interpreter says it itself (`_Py_DebugOffsets`, at the beginning of
//! `_PyRuntime`); before, it is known by version, from the debugging information of 3.8.18, 3.9.18, 3.10.13, 3.11.7 and 3.12.1.

use std::{io, path::Path};

use crate::runtime::Refusal;
use crate::runtime::memory::{Memory, words};

/// The minor version of Python 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u8);

impl Version {
    /// The version in the name of the interpreter's file, or in that of a folder with its modules: `python3.9`, `libpython3.9.so`.
    pub fn from_path(path: &Path) -> Option<Self> {
        let (_, rest) = path.to_str()?.split_once("python3.")?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits)?.parse().ok().map(Self)
    }

    /// From `PY_VERSION_HEX`; `None` if that is not one of Python 3.
    pub fn from_hex(hex: u64) -> Option<Self> {
        (hex >> 24 == 3).then_some(Self((hex >> 16 & 0xff) as u8))
    }
}

/// How to get to the main interpreter's state from `_PyRuntime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Main {
    /// Its address is there.
    At(u64),
    /// It is the one with the number 0 in a list.
    Listed {
        /// Where the address of the first one is.
        head: u64,
        /// `PyInterpreterState.next`
        next: u64,
        /// `PyInterpreterState.id`
        id: u64,
    },
}

/// Interpreters in a process that are looked at.
const INTERPRETERS: usize = 256;

impl Main {
    /// The state of the main interpreter; `None` before there is one.
    ///
    /// # Errors
    /// When memory is not mapped that should be.
    pub fn find(self, memory: &Memory, runtime: u64) -> io::Result<Option<u64>> {
        let address = match self {
            Self::At(offset) => memory.word(runtime.wrapping_add(offset))?,
            Self::Listed { head, next, id } => {
                let mut state = memory.word(runtime.wrapping_add(head))?;
                for _ in 0..INTERPRETERS {
                    if state == 0 || memory.word(state.wrapping_add(id))? == 0 {
                        break;
                    }
                    state = memory.word(state.wrapping_add(next))?;
                }
                state
            }
        };
        Ok((address != 0).then_some(address))
    }
}

/// Offsets, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The version.
    pub version: Version,
    /// The main interpreter.
    pub main: Main,
    /// In its state: the dict of modules.
    pub modules: u64,
    /// In its state: the first thread's state.
    pub threads: u64,
    /// `PyThreadState.next`
    pub thread_next: u64,
    /// `PyThreadState.thread_id`: what `pthread_self` gave.
    pub thread_id: u64,
    /// `PyThreadState.context`; only before 3.14.
    pub context: u64,
    /// From a `str` to its text, if that is ASCII.
    pub text: u64,
    /// `PyTypeObject.tp_name`
    pub tp_name: u64,
}

/// From `tp_name` to `tp_basicsize`.
pub const BASIC_SIZE: u64 = 8;
/// From `tp_name` to `tp_dict`.
pub const MEMBERS: u64 = 240;
/// From `tp_name` to `tp_init`.
pub const INIT: u64 = 272;

/// What each object begins with: counter and type.
pub const OBJECT: u64 = 16;

/// No structure is larger.
const OFFSET_MOST: u64 = 16 << 20;

/// Bytes of `_PyRuntime` that are looked at.
pub const HEADER: usize = 108 * 8;

/// How `_Py_DebugOffsets` begins.
const COOKIE: &[u8; 8] = b"xdebugpy";

impl Layout {
    /// From the beginning of `_PyRuntime`, and the version as far as it is known otherwise.
    ///
    /// # Errors
    /// When the version is unknown, or is none of those that are understood.
    pub fn new(header: &[u8; HEADER], version: Option<Version>) -> Result<Self, Refusal> {
        if header.starts_with(COOKIE) {
            return Self::published(&words(header).collect::<Vec<_>>());
        }
        match version {
            Some(version) => Self::known(version).ok_or_else(|| Refusal::Version(format!("Python 3.{}", version.0))),
            None => Err(Refusal::Malformed("its version cannot be found out")),
        }
    }

    /// By version.
    fn known(version: Version) -> Option<Self> {
        let (main, modules, threads, thread_id, context) = match version.0 {
            8 => (40, 56, 8, 176, 240),
            9 | 10 => (40, 856, 8, 176, 240),
            11 => (48, 888, 16, 152, 224),
            12 => (48, 944, 72, 136, 208),
            _ => return None,
        };
        Some(Self {
            version,
            main: Main::At(main),
            modules,
            threads,
            thread_next: 8,
            thread_id,
            context,
            text: if version.0 < 12 { 48 } else { 40 },
            tp_name: 24,
        })
    }

    /// As the interpreter says.
    fn published(words: &[u64]) -> Result<Self, Refusal> {
        let word = |index: usize| words.get(index).copied().unwrap_or_default();
        let version = Version::from_hex(word(1)).ok_or(Refusal::Malformed("its version is not one of Python 3"))?;
        let free_threaded = word(2) != 0;
        let refused = || Refusal::Version(format!("Python 3.{}{}", version.0, if free_threaded { "t" } else { "" }));
        // Indices of the interpreter's modules, of a thread's next and id, of a type's name, of the size of an ASCII `str`.
        let [modules, next, id, name, text] = match version.0 {
            13 => [11, 21, 24, 47, 70],
            14 => [12, 24, 27, 53, 80],
            15 => [12, 24, 30, 61, 92],
            _ => return Err(refused()),
        };
        // Without a lock for the interpreter, objects and dicts have another layout.
        if free_threaded {
            return Err(refused());
        }
        let layout = Self {
            version,
            main: Main::Listed { head: word(5), next: word(8), id: word(7) },
            modules: word(modules),
            threads: word(9),
            thread_next: word(next),
            thread_id: word(id),
            context: 208,
            text: word(text),
            tp_name: word(name),
        };
        let offsets =
            [layout.modules, layout.threads, layout.thread_next, layout.thread_id, layout.text, layout.tp_name];
        if offsets.into_iter().any(|offset| offset > OFFSET_MOST) {
            return Err(Refusal::Malformed("the offsets that it publishes cannot be right"));
        }
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_names() {
        let version = |path| Version::from_path(Path::new(path));
        assert_eq!(version("/usr/bin/python3.9"), Some(Version(9)));
        assert_eq!(version("/usr/lib/libpython3.11.so.1.0"), Some(Version(11)));
        assert_eq!(version("/usr/lib/python3.8/lib-dynload/_asyncio.cpython-38-x86_64-linux-gnu.so"), Some(Version(8)));
        for none in ["/usr/bin/python3", "/usr/bin/python3.", "/opt/python3.x/bin/python", "/usr/bin/node"] {
            assert_eq!(version(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_published_is_checked() {
        let mut header = [0; HEADER];
        assert!(matches!(Layout::new(&header, None), Err(Refusal::Malformed(_))));
        assert!(matches!(Layout::new(&header, Some(Version(7))), Err(Refusal::Version(_))));
        assert_eq!(Layout::new(&header, Some(Version(8))).unwrap().context, 240);
        header[..8].copy_from_slice(COOKIE);
        assert!(matches!(Layout::new(&header, Some(Version(8))), Err(Refusal::Malformed(_))));
        header[8..16].copy_from_slice(&0x030e_01f0_u64.to_ne_bytes());
        assert_eq!(Layout::new(&header, None).unwrap().version, Version(14));
        header[12 * 8..13 * 8].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert!(matches!(Layout::new(&header, None), Err(Refusal::Malformed(_))));
        header[12 * 8..13 * 8].copy_from_slice(&8_u64.to_ne_bytes());
        header[16] = 1;
        let refusal = Layout::new(&header, None).unwrap_err().to_string();
        assert!(refusal.contains("3.14t"), "{refusal}");
        header[10] = 16;
        let refusal = Layout::new(&header, None).unwrap_err().to_string();
        assert!(refusal.contains("3.16t"), "{refusal}");
    }
}
