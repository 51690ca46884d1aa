//! Which runtime a process has, and what the kernel side must know to find the tasks that run on its threads. Looks at files and at
//! the memory of processes, on a thread of its own that nobody waits for. What tasks mean for traces is none of its business.
//!
//! A runtime is one file (or folder) here, a [`Detector`], and one line in [`DETECTORS`]. It looks in two steps, because many
//! processes run the same file: once at each file that is run ([`Detector::file`]), and then, with what that gave, at each process
//! ([`Plan::process`]).

mod encryption;
mod file;
pub mod go;
mod java;
mod later;
mod maps;
pub mod memory;
mod node;
mod probes;
pub mod python;
mod ruby;
pub mod tls;
mod tokio;
mod watch;
mod worker;

use std::{fs::File, io, path::PathBuf, sync::Arc};

use geophone_ebpf::config;
use procfs::ProcError;
use thiserror::Error;

pub use file::{FileId, Image, Segment};
pub(crate) use later::Later;
pub use watch::{Counts, Watch};

/// What knows one runtime.
pub trait Detector: Sync {
    /// The runtime's name, for people.
    fn name(&self) -> &'static str;

    /// Looks at a file that some process runs. `None`: a process that runs it cannot have this runtime.
    ///
    /// # Errors
    /// When it is this runtime's, but cannot be understood. Said once for each file.
    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal>;
}

/// What is known of all processes that run a file.
pub trait Plan {
    /// The runtime's name, for people.
    fn runtime(&self) -> &'static str;

    /// Whether a process can be looked at before it uses a socket. It is then, each time that the file is run.
    fn early(&self) -> bool {
        false
    }

    /// Looks at one of them.
    ///
    /// # Errors
    /// When it has this runtime, but it cannot be understood. Said once for each file.
    fn process(&self, target: &Target) -> Result<Answer, Refusal>;
}

/// The runtimes that are known, one line each.
static DETECTORS: &[&dyn Detector] = &[&go::Go, &node::Node, &python::Python, &ruby::Ruby, &tokio::Tokio, &java::Java];

/// A process that is looked at.
#[derive(Debug)]
pub struct Target {
    /// Its id, in the agent's namespace.
    pub pid: u32,
    /// Its directory in `/proc`.
    pub proc: PathBuf,
}

/// What was found in a process.
#[derive(Debug)]
pub enum Answer {
    /// It has this runtime.
    Found(Found),
    /// It has this runtime, but not all of it is loaded: this counts until then. Asked again as after [`Answer::Later`].
    SoFar(Found),
    /// It has not.
    No,
    /// It may yet: ask again after a while. Asked a bounded number of times.
    Later,
}

/// How the tasks of a process are found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What the kernel side reads by.
    pub runtime: config::Runtime,
    /// Functions at whose entry a kernel program is to run.
    pub probes: Vec<Probe>,
    /// The same, where the process encrypts by itself.
    pub tls: Vec<Probe>,
    /// More of them, which cost too much where nothing depends on them: for processes in which tasks work that nobody is known to have
    /// given work.
    pub on_demand: Vec<Probe>,
    /// Which of `runtime.at` is to say since when all of them are in place; 0 until then.
    pub since: Option<usize>,
}

/// A place in a program at which a kernel program runs. It does so in every process that runs the file, and must return at once in
/// those that have no entry in the kernel side's `RUNTIMES`.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The kernel program.
    pub program: &'static str,
    /// The file, open.
    pub file: Arc<File>,
    /// Which file that is.
    pub id: FileId,
    /// Where the instruction is in the file, in bytes.
    pub offset: u64,
}

/// Why the tasks of a process cannot be read. All else that is known of it stays.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no proper ELF file of this machine.
    #[error("it is no ELF file that can be understood: {0}")]
    Elf(#[from] object::read::Error),
    /// The runtime is older or newer than those that are known.
    #[error("{0} is not known")]
    Version(String),
    /// Something that must be there is not, or is not what it should be.
    #[error("{0}")]
    Malformed(&'static str),
}

impl From<ProcError> for Refusal {
    fn from(error: ProcError) -> Self {
        match error {
            ProcError::Io(error, _) => error.into(),
            ProcError::NotFound(_) => io::Error::from(io::ErrorKind::NotFound).into(),
            ProcError::PermissionDenied(_) => io::Error::from(io::ErrorKind::PermissionDenied).into(),
            ProcError::Incomplete(_) | ProcError::Other(_) | ProcError::InternalError(_) => {
                Self::Malformed("its mappings cannot be understood")
            }
        }
    }
}
