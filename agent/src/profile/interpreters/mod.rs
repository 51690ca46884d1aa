//! Interpreters: the functions that a program in an interpreted language is made of, in the place of the interpreter's own function that
//! evaluates them. What the kernel side does of it is described at `geophone_ebpf::interpreter`.
//!
//! An interpreter is a [`Language`]: a folder (or file) here and one line in [`LANGUAGES`]. It finds out how the kernel side gets at the frames in
//! a process, and reads what describes a function from the process's memory. That is done on a thread of its own (`worker`): a process's
//! memory may take as long to be read as the process likes. [`functions`] keeps what came of it.

mod function;
mod functions;
pub mod python;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;

use geophone_ebpf::interpreter::{self, ADDRESS, LAST};

pub use function::{Function, Lines};
pub use functions::{Counts, Functions};

use crate::runtime::{Image, Refusal, Target};

/// An interpreted language.
pub trait Language: Sync {
    /// What it is called, for people.
    fn name(&self) -> &'static str;

    /// Looks at a file that some process runs. `None`: no process that runs it can have this interpreter.
    ///
    /// # Errors
    /// When it is this interpreter's, but cannot be understood. Said once for each file.
    fn file(&self, image: &Image) -> Result<Option<Box<dyn Program>>, Refusal>;

    /// What the names of its libraries begin with.
    fn library(&self) -> &'static str;
}

/// What is known of all processes that run a file.
pub trait Program {
    /// Whether the interpreter is in a library, so that it can only be in processes that have one mapped.
    fn is_shared(&self) -> bool;

    /// Looks at one of them.
    ///
    /// # Errors
    /// When it has this interpreter, but it cannot be understood. Said once for each file.
    fn process(&self, target: &Target) -> Result<Answer, Refusal>;
}

/// What was found in a process.
pub enum Answer {
    /// How the kernel side finds its frames, and what reads its functions.
    Found(Box<interpreter::Interpreter>, Box<dyn Reader>),
    /// The same, but more will be known later: this counts until then. Asked again as after [`Answer::Later`].
    SoFar(Box<interpreter::Interpreter>, Box<dyn Reader>),
    /// It may have this interpreter yet: ask again after a while. Asked a bounded number of times.
    Later,
}

/// Reads what describes a function.
pub trait Reader: Send {
    /// What is described at an address; `None` when that is something else than what was sampled (by its check value: see
    /// [`interpreter::check`]), or cannot be read.
    fn function(&mut self, id: Id) -> Option<Function>;
}

/// The languages that are known, one line each.
static LANGUAGES: &[&dyn Language] = &[&python::Python];

/// Whether a file that is mapped may be the library of an interpreter.
#[must_use]
pub fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    LANGUAGES.iter().any(|language| name.starts_with(language.library()))
}

/// A function, while it is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// Where in the process it is described.
    pub address: u64,
    /// What tells it from another one that is described there later.
    pub check: u32,
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.address, self.check)
    }
}

/// A frame, as a sample has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function.
    pub function: Id,
    /// Where in it, as the interpreter counts that.
    pub position: i32,
    /// It is the outermost one of its run.
    pub is_last: bool,
}

impl Frame {
    /// From its two words.
    #[must_use]
    pub fn new([what, place]: [u64; 2]) -> Self {
        Self {
            function: Id { address: what & ADDRESS, check: place as u32 },
            position: (place >> 32) as u32 as i32,
            is_last: what & LAST != 0,
        }
    }

    /// Those that some words hold.
    pub fn all(words: &[u64]) -> impl Iterator<Item = Self> {
        words.as_chunks::<2>().0.iter().map(|words| Self::new(*words))
    }
}
