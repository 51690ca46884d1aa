//! Opening what a process has mapped, without trusting the process: by the kernel's own links where they can be used, else below the
//! root directory of the process, which no path leads out of.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

use hashbrown::{HashMap, HashSet};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::maps::{FileId, Mapped, Mapping};

/// Files that are kept open at a time. Functions of others have no names.
const OPEN: usize = 2048;
/// `/proc/PID/status`.
const STATUS: u64 = 16 << 10;

/// Files that samples were taken in, kept open: a process may end, and a file be replaced, before its symbols are read.
#[derive(Debug, Default)]
pub struct Files {
    /// Each with a path that some process has it by.
    open: HashMap<FileId, Option<(File, Arc<str>)>>,
}

impl Files {
    /// Opens what is mapped, unless that was tried before.
    pub fn open(&mut self, process: &Path, mapping: &Mapping) {
        let Mapped::File { id, path } = &mapping.what else {
            return;
        };
        if self.open.len() < OPEN && !self.open.contains_key(id) {
            let file = open(process, mapping, path).filter(|file| is_file(file, id.inode));
            self.open.insert(*id, file.map(|file| (file, Arc::clone(path))));
        }
    }

    /// Closes all files but those of some mappings.
    pub fn keep_only<'a>(&mut self, mappings: impl Iterator<Item = &'a Mapping>) {
        let file = |mapping: &Mapping| match &mapping.what {
            Mapped::File { id, .. } => Some(*id),
            Mapped::Anonymous | Mapped::Kernel(_) => None,
        };
        let wanted: HashSet<FileId> = mappings.filter_map(file).collect();
        self.open.retain(|id, _| wanted.contains(id));
    }

    /// A file that was opened.
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&File> {
        self.open.get(&id)?.as_ref().map(|(file, _)| file)
    }

    /// What a file that was opened is called.
    #[must_use]
    pub fn path(&self, id: FileId) -> Option<&Arc<str>> {
        self.open.get(&id)?.as_ref().map(|(_, path)| path)
    }
}

fn open(process: &Path, mapping: &Mapping, path: &str) -> Option<File> {
    let link = process.join("map_files").join(format!("{:x}-{:x}", mapping.start, mapping.end));
    // What is mapped is a regular file, so that opening it waits for nobody.
    File::open(link).ok().or_else(|| below_root(process, path))
}

/// Overlay file systems give a file other device numbers in different places, but its inode stays.
fn is_file(file: &File, inode: u64) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.ino() == inode)
}

/// Opens a file as the process would, by path.
pub(super) fn below_root(process: &Path, path: &str) -> Option<File> {
    let root = File::open(process.join("root")).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Some(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).ok()?.into())
}

/// Opens the perf map of a process: `/tmp/perf-PID.map` with its number in its own namespace. Only if it is the file of its own user or
/// of root, since anybody may make files in `/tmp`.
#[must_use]
pub fn perf_map(process: &Path) -> Option<File> {
    let mut status = String::new();
    File::open(process.join("status")).ok()?.take(STATUS).read_to_string(&mut status).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let user: u32 = field("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    let pid: u32 = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    let file = below_root(process, &format!("/tmp/perf-{pid}.map"))?;
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && (metadata.uid() == user || metadata.uid() == 0)).then_some(file)
}

/// The text of a process's mappings; `None` when it is gone or may not be read.
#[must_use]
pub fn maps(process: &Path) -> Option<String> {
    let text = fs::read(process.join("maps")).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
