//! What is mapped in a process: files by their names, and where they lie.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

use super::{Refusal, Segment, Target};

/// A process's mappings of files.
#[derive(Debug)]
pub struct Maps {
    all: Vec<Map>,
    exe: Option<PathBuf>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Map {
    start: u64,
    end: u64,
    offset: u64,
    execute: bool,
    path: PathBuf,
}

const PAGE: u64 = 4096;

impl Maps {
    /// Of a process.
    ///
    /// # Errors
    /// When it is gone, or may not be looked at.
    pub fn read(target: &Target) -> Result<Self, Refusal> {
        let process = Process::new_with_root(target.proc.clone())?;
        let all = process.maps()?.into_iter().filter_map(Map::new).collect();
        Ok(Self { all, exe: process.exe().ok() })
    }

    /// The lowest mapping of the executable.
    pub fn executable(&self) -> Option<&Map> {
        self.all.iter().find(|map| self.exe.as_ref() == Some(&map.path))
    }

    /// The lowest mapping of the first file whose name begins in this way; `libpython3.so` only leads to the library.
    pub fn named(&self, begin: &str) -> Option<&Map> {
        let is_wanted = |name: &str| name.starts_with(begin) && name != "libpython3.so";
        self.all.iter().find(|map| map.path.file_name().and_then(OsStr::to_str).is_some_and(is_wanted))
    }

    /// The code at an address.
    pub fn code(&self, address: u64) -> Option<&Map> {
        self.all.iter().find(|map| map.execute && map.start <= address && address < map.end)
    }

    /// The paths of the executable and of all that is mapped.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.exe.iter().chain(self.all.iter().map(|map| &map.path)).map(PathBuf::as_path)
    }
}

impl Map {
    fn new(map: MemoryMap) -> Option<Self> {
        let MMapPath::Path(path) = map.pathname else {
            return None;
        };
        let execute = map.perms.contains(MMPermissions::EXECUTE);
        Some(Self { start: map.address.0, end: map.address.1, offset: map.offset, execute, path })
    }

    /// A path to the file itself, in whatever mount namespace it is, and also when it has no name any more.
    pub fn file(&self, target: &Target) -> PathBuf {
        target.proc.join("map_files").join(format!("{:x}-{:x}", self.start, self.end))
    }

    /// Where in the file an address is.
    pub fn offset_of(&self, address: u64) -> u64 {
        address.wrapping_sub(self.start).wrapping_add(self.offset)
    }

    /// What has to be added to the file's addresses, wrapping; for the lowest mapping of a file.
    pub fn bias(&self, segments: &[Segment]) -> Option<u64> {
        let same = |segment: &&Segment| segment.offset / PAGE * PAGE == self.offset;
        let segment = segments.iter().find(same)?;
        Some(self.start.wrapping_sub(segment.address / PAGE * PAGE))
    }
}
