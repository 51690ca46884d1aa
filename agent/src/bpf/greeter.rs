//! Attaching the program by which agents find each other: to the root of the control groups, so that it sees every TCP connection of the
//! host, whatever network it is in. It ends with the agent, however that ends.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::{CgroupAttachMode, ProgramError, SockOps, sock_ops::SockOpsLink},
};
use geophone_ebpf::{config::Config, greeting};
use rustix::fs::{Mode, OFlags, openat};
use thiserror::Error;

use super::{groups, load::LoadError};

/// Why it cannot be attached.
#[derive(Debug, Error)]
pub enum GreetError {
    /// There are no control groups of version 2.
    #[error(
        "TCP options (--peer-discover option, --peer-context option) need the control groups of version 2, which are not mounted here and cannot be mounted ({0}); leave it out, \
         or mount them: mount -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    NoGroups(io::Error),
    /// There is no such group.
    #[error("--peer-cgroup {}: {error}", path.display())]
    Group {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The kernel does not let it be attached.
    #[error(
        "the kernel does not let the program be attached that writes TCP options (--peer-discover option, --peer-context option): {0}"
    )]
    Program(#[from] ProgramError),
    /// The object or a map is not as it should be.
    #[error(transparent)]
    Load(#[from] Box<LoadError>),
}

/// The option.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Greeting(greeting::Greeting);

// SAFETY: made of integers only, without padding.
unsafe impl aya::Pod for Greeting {}

/// Connections on which contexts are carried, of each direction.
const CARRYING: u32 = 16_384;

/// What the kernel side needs to be loaded for carrying contexts, too.
pub(super) fn configure(config: &mut Config, loader: &mut EbpfLoader<'_>) {
    config.contexts = 1;
    loader.map_max_entries("CARRYING", CARRYING).map_max_entries("CARRIED", CARRYING);
}

/// Loads it, while the maps that it shares with other programs are still there.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let name = "greet";
    let failed = |error| LoadError::Program { name, error };
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    <&mut SockOps>::try_from(program).and_then(SockOps::load).map_err(failed)
}

/// Attaches it: from here on the option is told on connections that begin in this group and those below, until what this returns
/// is dropped.
pub(super) fn attach(ebpf: &mut Ebpf, group: &Path, greeting: greeting::Greeting) -> Result<SockOpsLink, GreetError> {
    let group = open(group)?;
    let missing = || Box::new(LoadError::Missing("greet"));
    let map = ebpf.map_mut("GREETING").ok_or_else(missing)?;
    let set = Array::<&mut MapData, Greeting>::try_from(map).and_then(|mut map| map.set(0, Greeting(greeting), 0));
    set.map_err(|error| Box::new(LoadError::from(error)))?;
    let program: &mut SockOps = ebpf.program_mut("greet").ok_or_else(missing)?.try_into()?;
    // Others may have programs there too: a link is always one of several, and takes no other word.
    let id = program.attach(group, CgroupAttachMode::Single)?;
    Ok(program.take_link(id)?)
}

/// Opens a group, by its path from the root of the hierarchy.
fn open(group: &Path) -> Result<OwnedFd, GreetError> {
    let root = groups::root().map_err(GreetError::NoGroups)?;
    let inside = group.strip_prefix("/").unwrap_or(group);
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |error: rustix::io::Errno| GreetError::Group { path: group.to_owned(), error: error.into() };
    openat(root, inside, flags, Mode::empty()).map_err(failed)
}
