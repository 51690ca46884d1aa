//! The memory of the processes that samples were taken in: what was mapped where, read when a process is first seen, because it may be
//! gone before its symbols are looked for. A process that runs another program gets another space.

use std::{fs::File, path::PathBuf, sync::Arc};

use hashbrown::HashMap;

use super::{
    files::{self, Files},
    maps::{self, Mapped, Mapping},
    stacks::SpaceId,
};
use crate::event::Nanos;

/// Spaces at most; samples in others are dropped and counted.
const MOST: usize = 8192;
/// How long after mappings were read they are not read again, although an address is in none of them.
const AGAIN: Nanos = 100_000_000;

/// One process while it runs one program.
#[derive(Debug)]
pub struct Space {
    /// The process.
    pub tgid: u32,
    /// What its spans have as `service.name`.
    pub service: Arc<str>,
    mappings: Vec<Mapping>,
    read: Nanos,
    perf_map: Option<File>,
}

impl Space {
    /// What is at an address.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        maps::find(&self.mappings, address)
    }

    /// Nothing is mapped: it is a thread of the kernel, or was gone before it could be read.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.mappings.is_empty()
    }

    /// What the process has written on the code that it makes itself.
    #[must_use]
    pub fn perf_map(&self) -> Option<&File> {
        self.perf_map.as_ref()
    }
}

/// All of them.
#[derive(Debug)]
pub struct Spaces {
    proc: PathBuf,
    all: Vec<Space>,
    /// Those of the processes that are alive, as far as is known.
    current: HashMap<u32, SpaceId>,
    files: Files,
    dropped: u64,
}

impl Spaces {
    /// Without processes; `proc` is where `/proc` is.
    #[must_use]
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into(), all: Vec::new(), current: HashMap::new(), files: Files::default(), dropped: 0 }
    }

    /// The space of a process. A new one is read at once. `None`: there are too many, and a sample is lost.
    pub fn of(&mut self, tgid: u32, now: Nanos, service: impl FnOnce() -> Arc<str>) -> Option<SpaceId> {
        if let Some(id) = self.current.get(&tgid) {
            return Some(*id);
        }
        if self.all.len() >= MOST {
            self.dropped += 1;
            return None;
        }
        let id = SpaceId(u32::try_from(self.all.len()).ok()?);
        let mappings = files::maps(&self.path(tgid)).map(|text| maps::parse(&text)).unwrap_or_default();
        self.all.push(Space { tgid, service: service(), mappings, read: now, perf_map: None });
        self.current.insert(tgid, id);
        Some(id)
    }

    /// A process has ended, or runs another program.
    pub fn ended(&mut self, tgid: u32) {
        self.current.remove(&tgid);
    }

    /// Makes sure that the symbols of these addresses can be found later.
    pub fn keep(&mut self, id: SpaceId, addresses: impl Iterator<Item = u64>, now: Nanos) {
        let index = id.0 as usize;
        for address in addresses {
            let Some(space) = self.all.get(index) else {
                return;
            };
            let path = self.path(space.tgid);
            if space.find(address).is_none()
                && now.saturating_sub(space.read) >= AGAIN
                && self.current.get(&space.tgid) == Some(&id)
            {
                // A library that was loaded since.
                let text = files::maps(&path);
                if let Some(space) = self.all.get_mut(index) {
                    space.read = now;
                    maps::merge(&mut space.mappings, text.map(|text| maps::parse(&text)).unwrap_or_default());
                }
            }
            let Some(space) = self.all.get_mut(index) else {
                return;
            };
            match maps::find(&space.mappings, address) {
                Some(mapping @ Mapping { what: Mapped::File { .. }, .. }) => self.files.open(&path, mapping),
                Some(Mapping { what: Mapped::Anonymous, .. }) if space.perf_map.is_none() => {
                    space.perf_map = files::perf_map(&path);
                }
                _ => {}
            }
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: SpaceId) -> Option<&Space> {
        self.all.get(id.0 as usize)
    }

    /// Files that samples were taken in.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Samples of processes for which there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn path(&self, tgid: u32) -> PathBuf {
        self.proc.join(tgid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Arc<str> {
        "test".into()
    }

    #[test]
    fn what_is_mapped_outlives_the_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let exe = std::fs::canonicalize("/proc/self/exe").unwrap();
        let mut spaces = Spaces::new("/proc");
        // Its program is only there when `exec` is through.
        while std::fs::read_link(format!("/proc/{}/exe", child.id())).is_ok_and(|path| path == exe) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let id = spaces.of(child.id(), 0, service).unwrap();
        let address = spaces.get(id).unwrap().mappings.first().unwrap().start;
        spaces.keep(id, [address].into_iter(), 0);
        child.kill().unwrap();
        child.wait().unwrap();
        let Mapped::File { id: file, path } = &spaces.get(id).unwrap().find(address).unwrap().what else {
            panic!("the executable is a file");
        };
        assert!(path.ends_with("sleep") || path.ends_with("coreutils"), "{path}");
        assert!(spaces.files().get(*file).is_some());
    }

    #[test]
    fn another_program_is_another_space() {
        let own = std::process::id();
        let mut spaces = Spaces::new("/proc");
        let first = spaces.of(own, 0, service).unwrap();
        assert_eq!(spaces.of(own, 1, service), Some(first));
        spaces.ended(own);
        assert_ne!(spaces.of(own, 2, service), Some(first));
        assert!(!spaces.get(first).unwrap().is_bare());
        let gone = spaces.of(u32::MAX, 3, service).unwrap();
        assert!(spaces.get(gone).unwrap().is_bare());
    }
}
