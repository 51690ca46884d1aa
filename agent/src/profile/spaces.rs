//! The memory of the processes that samples were taken in: what was mapped where, read when a process is first seen, because it may be
//! gone before its symbols are looked for. A process that runs another program gets another space.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use geophone_ebpf::record;
use hashbrown::{HashMap, HashSet};

use super::{
    files::{self, Files},
    maps::{self, FileId, Mapped, Mapping},
    stacks::SpaceId,
};
use crate::{event::Nanos, trace::Resource};

/// Spaces at most; samples in others are dropped and counted.
const MOST: usize = 8192;
/// How long after mappings were read they are not read again, although an address is in none of them: at first, and at last.
const AGAIN: Nanos = 4_000_000;
const RARELY: Nanos = 5_000_000_000;
/// Samples of a process after which its mappings are read although all that they need is known: the kernel side is quicker with those.
const OFTEN: u32 = 16;
/// Addresses of one process that wait for its mappings to be read again.
const MISSING: usize = 256;

/// One process while it runs one program.
#[derive(Debug)]
pub struct Space {
    /// The process.
    pub tgid: u32,
    /// Tells it from all others, also of other times.
    pub serial: u64,
    /// What its spans say of it.
    pub resource: Arc<Resource>,
    mappings: Vec<Mapping>,
    /// Not all of them: those that samples were taken in, as the kernel side has told.
    is_part: bool,
    samples: u32,
    read: Nanos,
    /// After so long they may be read again.
    again: Nanos,
    /// Addresses that were in none of them.
    missing: Vec<u64>,
    perf_map: Option<File>,
}

impl Space {
    /// What is mapped as code, in order of addresses.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// What is at an address.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        maps::find(&self.mappings, address)
    }

    /// Nothing is mapped: it is a thread of the kernel, or was gone before it could be read.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.mappings.is_empty() && !self.is_part
    }

    /// Not all that is mapped is known: only what samples have said.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// Opens what is needed to name the code at an address. Whether anything is mapped there.
    fn keep(&mut self, path: &Path, address: u64, files: &mut Files) -> bool {
        match maps::find(&self.mappings, address) {
            Some(mapping @ Mapping { what: Mapped::File { .. }, .. }) => files.open(path, mapping),
            Some(Mapping { what: Mapped::Anonymous, .. }) if self.perf_map.is_none() => {
                self.perf_map = files::perf_map(path);
            }
            Some(_) => {}
            None => return false,
        }
        true
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
    /// By their ids. Nothing is where one was forgotten.
    all: Vec<Option<Space>>,
    /// Those of the processes that are alive, as far as is known.
    current: HashMap<u32, SpaceId>,
    free: Vec<SpaceId>,
    files: Files,
    /// Those whose mappings were read since somebody asked.
    read: Vec<SpaceId>,
    /// How many there were.
    serials: u64,
    dropped: u64,
}

impl Spaces {
    /// Without processes; `proc` is where `/proc` is.
    #[must_use]
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
            all: Vec::new(),
            current: HashMap::new(),
            free: Vec::new(),
            files: Files::default(),
            read: Vec::new(),
            serials: 0,
            dropped: 0,
        }
    }

    /// The space of a process. A new one is read at once, unless `is_plain` says that its samples are likely to say all of it that matters.
    /// `None`: there are too many, and a sample is lost.
    pub fn of(
        &mut self,
        tgid: u32,
        now: Nanos,
        is_plain: impl FnOnce() -> bool,
        resource: impl FnOnce() -> Arc<Resource>,
    ) -> Option<SpaceId> {
        if let Some(id) = self.current.get(&tgid) {
            return Some(*id);
        }
        if self.free.is_empty() && self.all.len() >= MOST {
            self.dropped += 1;
            return None;
        }
        let is_part = is_plain();
        let text = if is_part { None } else { files::maps(&self.proc.join(tgid.to_string())) };
        let mappings = text.map(|text| maps::parse(&text)).unwrap_or_default();
        self.serials += 1;
        let space = Some(Space {
            tgid,
            serial: self.serials,
            resource: resource(),
            mappings,
            is_part,
            samples: 0,
            read: now,
            again: if is_part { 0 } else { AGAIN },
            missing: Vec::new(),
            perf_map: None,
        });
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.all.get_mut(id.0 as usize) {
                    *place = space;
                }
                id
            }
            None => {
                self.all.push(space);
                SpaceId(u32::try_from(self.all.len() - 1).ok()?)
            }
        };
        self.current.insert(tgid, id);
        if !is_part {
            self.read.push(id);
        }
        Some(id)
    }

    /// Takes over what the kernel side has found of a process that was not read, and says which files that is. What was sampled often is
    /// read, too.
    pub fn learn(&mut self, id: SpaceId, mapped: impl Iterator<Item = record::Mapped>, mut met: impl FnMut(FileId)) {
        let Some(Some(space)) = self.all.get_mut(id.0 as usize) else {
            return;
        };
        if !space.is_part {
            return;
        }
        space.samples += 1;
        if space.samples == OFTEN {
            // An address that is nowhere.
            space.missing.push(0);
        }
        for record::Mapped { start, end, offset, inode, device } in mapped {
            let id = FileId::of_kernel(device, inode);
            met(id);
            if let Some(path) = self.files.path(id)
                && maps::find(&space.mappings, start).is_none()
            {
                let what = Mapped::File { id, path: Arc::clone(path) };
                maps::merge(&mut space.mappings, vec![Mapping { start, end, offset, what }]);
            }
        }
    }

    /// A process has ended, or runs another program. Returns what it was.
    pub fn ended(&mut self, tgid: u32) -> Option<&Space> {
        let id = self.current.remove(&tgid)?;
        self.get(id)
    }

    /// The space of a process, if it was seen.
    #[must_use]
    pub fn current(&self, tgid: u32) -> Option<&Space> {
        self.get(*self.current.get(&tgid)?)
    }

    /// All that are known.
    pub fn all(&self) -> impl Iterator<Item = &Space> {
        self.all.iter().flatten()
    }

    /// Makes sure that the symbols of these addresses can be found later.
    pub fn keep(&mut self, id: SpaceId, addresses: impl Iterator<Item = u64>, now: Nanos) {
        let Some(Some(space)) = self.all.get_mut(id.0 as usize) else {
            return;
        };
        let path = self.proc.join(space.tgid.to_string());
        for address in addresses {
            if !space.keep(&path, address, &mut self.files) && space.missing.len() < MISSING {
                space.missing.push(address);
            }
        }
        self.look_again(id, now);
    }

    /// Reads the mappings of a process again, if an address was in none of them: of a library that was loaded since. Not at once, and
    /// more and more rarely if it does not help, because stacks that were walked by wrong frame pointers have any numbers in them.
    pub fn look_again(&mut self, id: SpaceId, now: Nanos) {
        let Some(Some(space)) = self.all.get_mut(id.0 as usize) else {
            return;
        };
        let is_due = !space.missing.is_empty() && now.saturating_sub(space.read) >= space.again;
        if !is_due || self.current.get(&space.tgid) != Some(&id) {
            return;
        }
        self.read.push(id);
        let path = self.proc.join(space.tgid.to_string());
        space.is_part = false;
        let text = files::maps(&path);
        maps::merge(&mut space.mappings, text.map(|text| maps::parse(&text)).unwrap_or_default());
        space.read = now;
        let before = space.missing.len();
        let missing = std::mem::take(&mut space.missing);
        space.missing = missing.into_iter().filter(|address| !space.keep(&path, *address, &mut self.files)).collect();
        space.again = if space.missing.len() < before { AGAIN } else { (space.again * 2).clamp(AGAIN, RARELY) };
        space.missing.clear();
    }

    /// The next one whose mappings were read, with all files that are code in it opened, if it still runs.
    pub fn next_read(&mut self) -> Option<(&Space, &Files)> {
        loop {
            let id = self.read.pop()?;
            let Some(Some(space)) = self.all.get(id.0 as usize) else {
                continue;
            };
            if self.current.get(&space.tgid) == Some(&id) {
                let path = self.proc.join(space.tgid.to_string());
                space.mappings.iter().for_each(|mapping| self.files.open(&path, mapping));
                return Some((space, &self.files));
            }
        }
    }

    /// Nobody asks which mappings were read.
    pub fn forget_read(&mut self) {
        self.read.clear();
    }

    /// Reads the mappings of all processes again that need it, for the last time.
    pub fn look_at_all(&mut self) {
        let current: Vec<SpaceId> = self.current.values().copied().collect();
        for id in current {
            self.look_again(id, Nanos::MAX);
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: SpaceId) -> Option<&Space> {
        self.all.get(id.0 as usize)?.as_ref()
    }

    /// Forgets the processes that have ended, and the files that are mapped in no other one. To be called when no samples of theirs
    /// are left, but for those in `needed`: their ids are given to others.
    pub fn forget_ended(&mut self, needed: impl Iterator<Item = SpaceId>) {
        let needed: HashSet<SpaceId> = needed.collect();
        for (index, place) in (0..).zip(&mut self.all) {
            let id = SpaceId(index);
            let is_over = |space: &mut Space| self.current.get(&space.tgid) != Some(&id) && !needed.contains(&id);
            if place.take_if(is_over).is_some() {
                self.free.push(id);
            }
        }
        let mapped = self.all.iter().flatten().flat_map(Space::mappings);
        self.files.keep_only(mapped);
    }

    /// Where `/proc` is.
    #[must_use]
    pub fn proc(&self) -> &Path {
        &self.proc
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> Arc<Resource> {
        Arc::default()
    }

    #[test]
    fn what_is_mapped_outlives_the_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut spaces = Spaces::new("/proc");
        // Its program is only there when `exec` is through.
        let is_there = |text: String| text.lines().any(|line| line.contains("r-xp") && line.contains("/bin/"));
        while !files::maps(Path::new(&format!("/proc/{}", child.id()))).is_some_and(is_there) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let id = spaces.of(child.id(), 0, || false, resource).unwrap();
        let address =
            spaces.get(id).unwrap().mappings.iter().find(|mapping| matches!(mapping.what, Mapped::File { .. }));
        let address = address.unwrap().start;
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
    fn what_is_mapped_later_is_found() {
        let own = std::process::id();
        let mut spaces = Spaces::new("/proc");
        let id = spaces.of(own, 0, || false, resource).unwrap();
        let all = std::mem::take(&mut spaces.all[0].as_mut().unwrap().mappings);
        let file = all.iter().find(|mapping| matches!(mapping.what, Mapped::File { .. })).unwrap();
        spaces.keep(id, [file.start].into_iter(), AGAIN - 1);
        assert!(spaces.get(id).unwrap().is_bare(), "too early");
        // A sample that is known already.
        spaces.look_again(id, AGAIN);
        let found = spaces.get(id).unwrap().find(file.start).unwrap();
        let Mapped::File { id: file, .. } = found.what else { panic!("{found:?}") };
        assert!(spaces.files().get(file).is_some());
        // What is nowhere is looked for less and less often.
        for (time, next) in [(AGAIN * 2, AGAIN * 2), (AGAIN * 4, AGAIN * 4), (AGAIN * 7, AGAIN * 4)] {
            spaces.keep(id, [8].into_iter(), time);
            assert_eq!(spaces.all[0].as_ref().unwrap().again, next, "{time}");
        }
    }

    #[test]
    fn another_program_is_another_space() {
        let own = std::process::id();
        let mut spaces = Spaces::new("/proc");
        let first = spaces.of(own, 0, || false, resource).unwrap();
        assert_eq!(spaces.of(own, 1, || false, resource), Some(first));
        spaces.ended(own);
        assert_ne!(spaces.of(own, 2, || false, resource), Some(first));
        assert!(!spaces.get(first).unwrap().is_bare());
        let gone = spaces.of(u32::MAX, 3, || false, resource).unwrap();
        assert!(spaces.get(gone).unwrap().is_bare());
    }

    #[test]
    fn what_has_ended_makes_room() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut spaces = Spaces::new("/proc");
        let own = spaces.of(std::process::id(), 0, || false, resource).unwrap();
        let ended = spaces.of(child.id(), 0, || false, resource).unwrap();
        while spaces.next_read().is_some() {}
        let files = |spaces: &Spaces| {
            spaces
                .all
                .iter()
                .flatten()
                .flat_map(Space::mappings)
                .filter(|mapping| matches!(mapping.what, Mapped::File { id, .. } if spaces.files().get(id).is_some()))
                .count()
        };
        assert!(files(&spaces) > 0);
        spaces.ended(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(spaces.get(ended).is_some(), "its samples are not named yet");
        spaces.forget_ended([ended].into_iter());
        assert!(spaces.get(ended).is_some(), "a thread of it seemed to sleep");
        spaces.forget_ended(std::iter::empty());
        assert!(spaces.get(ended).is_none() && spaces.get(own).is_some() && files(&spaces) > 0);
        assert_eq!(spaces.of(u32::MAX, 1, || false, resource), Some(ended), "the id is free again");
    }

    /// What the kernel side says of a process that is not read, because its program is known.
    #[test]
    fn what_samples_say_is_enough() {
        let own = std::process::id();
        let mut spaces = Spaces::new("/proc");
        let read = spaces.of(own, 0, || false, resource).unwrap();
        spaces.next_read().unwrap();
        let mapping =
            spaces.get(read).unwrap().mappings().iter().find(|m| matches!(m.what, Mapped::File { .. })).unwrap();
        let Mapped::File { id: file, .. } = mapping.what else { unreachable!() };
        let (start, end, offset) = (mapping.start, mapping.end, mapping.offset);
        let device = file.device >> 32 << 20 | file.device & 0xf_ffff;
        let told = record::Mapped { start, end, offset, inode: file.inode, device };
        // Nobody has this number, so that nothing can be read of it.
        let plain = spaces.of(u32::MAX, 0, || true, resource).unwrap();
        assert!(spaces.next_read().is_none() && !spaces.get(plain).unwrap().is_bare());
        let unknown = record::Mapped { inode: u64::MAX, start: 0x1000, end: 0x2000, ..told };
        spaces.learn(plain, [told, unknown, told].into_iter(), |_| {});
        let space = spaces.get(plain).unwrap();
        assert_eq!(space.mappings().len(), 1);
        let found = space.find(start).unwrap();
        assert!(
            (found.end, found.offset) == (end, offset) && matches!(found.what, Mapped::File { id, .. } if id == file)
        );
        // One that was read knows better.
        let before = spaces.get(read).unwrap().mappings().len();
        spaces.learn(read, std::iter::once(record::Mapped { start: 0x1000, end: 0x2000, ..told }), |_| {});
        assert_eq!(spaces.get(read).unwrap().mappings().len(), before);
    }

    /// What is sampled often, or where nobody knows of, is read after all.
    #[test]
    fn what_samples_do_not_say_is_read() {
        let own = std::process::id();
        for often in [false, true] {
            let mut spaces = Spaces::new("/proc");
            let id = spaces.of(own, 0, || true, resource).unwrap();
            for _ in 0..if often { OFTEN } else { 1 } {
                assert!(spaces.next_read().is_none());
                spaces.learn(id, std::iter::empty(), |_| {});
            }
            let addresses: &[u64] = if often { &[] } else { &[8] };
            spaces.keep(id, addresses.iter().copied(), 1);
            assert!(spaces.next_read().is_some_and(|(space, _)| !space.mappings().is_empty()), "{often}");
        }
    }
}
