//! What another thread than the one that reads the rings may do to the kernel side: tell it of runtimes, and attach its programs to
//! functions of processes. Both take long at times; the rings must not wait.

use std::{fs::File, os::fd::AsRawFd as _};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
    programs::{
        Program, ProgramError, UProbe,
        uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope},
    },
};
use geophone_ebpf::config::{self, Runtime};
use thiserror::Error;

use super::detach;

/// A value of the map of runtimes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct RuntimeValue(Runtime);

// SAFETY: made of integers only, without padding.
unsafe impl aya::Pod for RuntimeValue {}

/// A key of the map of files that are run.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct FileKey(config::File);

// SAFETY: made of integers only, without padding.
unsafe impl aya::Pod for FileKey {}

/// Why a program could not be attached to a function.
#[derive(Debug, Error)]
pub enum AttachError {
    /// There is no such program, or the kernel did not accept it.
    #[error("the kernel has not accepted the program")]
    NoProgram,
    /// The kernel does not let it be attached.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// A program that is attached to a function, until this is dropped. Dropping it takes milliseconds.
#[derive(Debug)]
pub struct Attached {
    _link: UProbeLink,
}

/// See the module.
pub struct Hooks {
    ebpf: Ebpf,
    runtimes: HashMap<MapData, u32, RuntimeValue>,
    executed: HashMap<MapData, FileKey, u8>,
}

impl Hooks {
    pub(super) fn new(
        ebpf: Ebpf,
        runtimes: HashMap<MapData, u32, RuntimeValue>,
        executed: HashMap<MapData, FileKey, u8>,
    ) -> Self {
        Self { ebpf, runtimes, executed }
    }

    /// Tells how the tasks of a process are found. Forgotten when it ends or runs another program.
    ///
    /// # Errors
    /// When the kernel side's table is full.
    pub fn set_runtime(&mut self, tgid: u32, runtime: Runtime) -> Result<(), MapError> {
        self.runtimes.insert(tgid, RuntimeValue(runtime), 0)
    }

    /// Forgets how the tasks of a process are found.
    pub fn forget_runtime(&mut self, tgid: u32) {
        // It may be forgotten already.
        let _ = self.runtimes.remove(&tgid);
    }

    /// Lets the kernel side tell again when this file is run: it does so once for each file.
    pub fn tell_again(&mut self, device: u64, inode: u64) {
        const MINOR_BITS: u32 = 20;
        let dev = rustix::fs::major(device) << MINOR_BITS | rustix::fs::minor(device);
        // It may be forgotten already.
        let _ = self.executed.remove(&FileKey(config::File { ino: inode, dev, pad: 0 }));
    }

    /// Lets go of all probes that are dropped after this, without waiting until the kernel has detached them.
    pub fn detach_elsewhere() {
        detach::elsewhere();
    }

    /// Runs a program at an instruction of a file, in all processes that run it. Takes milliseconds, and stops nobody.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(&mut self, program: &str, file: &File, offset: u64) -> Result<Attached, AttachError> {
        let uprobe = self.ebpf.program_mut(program).and_then(|program| <&mut UProbe>::try_from(program).ok());
        let uprobe = uprobe.ok_or(AttachError::NoProgram)?;
        uprobe.fd().map_err(|_| AttachError::NoProgram)?;
        // By its descriptor, because its path may mean another file by now, or in another mount namespace.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let id = uprobe.attach(UProbeAttachLocation::AbsoluteOffset(offset), path, UProbeScope::AllProcesses)?;
        Ok(Attached { _link: uprobe.take_link(id)? })
    }
}

/// Loads the programs that are attached to functions of processes. One that the kernel does not accept costs what it is for, and no
/// more.
pub(super) fn load_probes(ebpf: &mut Ebpf) {
    for (name, program) in ebpf.programs_mut() {
        if let Program::UProbe(program) = program
            && let Err(error) = program.load()
        {
            log::info!(
                "the kernel does not accept the program {name}, and the tasks that it follows stay unknown: {error}"
            );
            log::debug!("{error:?}");
        }
    }
}
