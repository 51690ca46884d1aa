//! Which rows are where in the memory of processes: what is mapped in a process, each file's rows made once, and told to the kernel side
//! as soon as they are there.

use std::{
    collections::BTreeMap,
    io,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use geophone_ebpf::unwind::{FOREIGN, FileKey, LOADING, NO_ROOM, WITHOUT_ROWS};
use hashbrown::{HashMap, HashSet};

use super::{
    CompileError,
    identity::{Key, Stamp, file_key, key, own_program, parent, stamp, vdso},
    loader::{Loader, Made, Source},
    places::{State, of_file, of_table, whole},
};
use crate::{
    bpf::{Part, Rows, Tables, Waker},
    profile::{
        files::Files,
        maps::{FileId, Mapped, Mapping},
    },
};

/// What is known of it, and of what.
#[derive(Debug)]
struct Known {
    state: State,
    /// When the file was written, and its size: another file may get its number later.
    stamp: Option<Stamp>,
    /// Processes that have it mapped.
    users: usize,
    /// When it was found in a process that is not among those, because nobody has read what is mapped in it.
    met: Option<Instant>,
}

/// How long after a file was found in a process that was not read it counts as used: programs that live for a moment come again.
const LASTS: Duration = Duration::from_secs(30);

/// All of them.
#[derive(Debug)]
pub struct Ranges {
    loader: Loader<Key>,
    /// The agent's own program.
    own: Option<FileId>,
    known: HashMap<Key, Known>,
    /// What rows are to be made of, by the bytes of the file and by when it was asked for: on a host that builds programs, rows of a compiler take
    /// seconds, in which those of a hundred others could be there.
    queue: BTreeMap<(u64, u64), (Key, Source)>,
    asked: u64,
    loading: usize,
    /// Rows that are to be taken away.
    given: Vec<Part>,
    /// Files that the kernel side is to forget before that.
    forgotten: Vec<FileKey>,
    /// Files whose rows were taken away, because others needed room.
    evicted: u64,
    /// What is mapped in processes that are known to the kernel side.
    placed: HashMap<u32, Vec<Key>>,
    /// What is mapped in processes some of whose rows are still to come.
    waiting: HashMap<u32, Vec<Mapping>>,
}

impl Ranges {
    /// None yet. Rows go to `rows`; `waker` is told when there is something for [`Self::advance`].
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn new(rows: Option<Rows>, waker: Option<Waker>) -> io::Result<Self> {
        Ok(Self {
            loader: Loader::start(rows, waker)?,
            own: own_program(),
            known: HashMap::new(),
            queue: BTreeMap::new(),
            asked: 0,
            loading: 0,
            given: Vec::new(),
            forgotten: Vec::new(),
            evicted: 0,
            placed: HashMap::new(),
            waiting: HashMap::new(),
        })
    }

    /// A process, what is mapped in it, and the files of it that could be opened.
    pub fn process(&mut self, tgid: u32, mappings: &[Mapping], files: &Files, tables: &mut Tables) {
        if self.is_copy(tgid, mappings) {
            return;
        }
        let mut keys: Vec<Key> = mappings.iter().filter_map(|mapping| key(&mapping.what)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            self.ask(*key, files);
        }
        self.count(&keys, 1);
        let before = self.placed.insert(tgid, keys).unwrap_or_default();
        self.count(&before, -1);
        self.send(tables);
        if self.place(tgid, mappings, tables) {
            self.waiting.insert(tgid, mappings.to_vec());
        } else {
            self.waiting.remove(&tgid);
        }
    }

    /// Whether a process is one that the agent has started, before it runs its own program. Rows of the agent's would keep those of that
    /// program waiting.
    fn is_copy(&self, tgid: u32, mappings: &[Mapping]) -> bool {
        let is_own = |mapping: &Mapping| matches!(&mapping.what, Mapped::File { id, .. } if Some(*id) == self.own);
        mappings.iter().any(is_own) && parent(tgid) == Some(std::process::id())
    }

    /// A process has ended, or runs another program.
    pub fn ended(&mut self, tgid: u32, tables: &mut Tables) {
        self.waiting.remove(&tgid);
        let before = self.placed.remove(&tgid).unwrap_or_default();
        self.count(&before, -1);
        tables.remove(tgid);
    }

    /// Takes what has been made since.
    pub fn advance(&mut self, tables: &mut Tables) {
        let mut came = HashSet::new();
        while let Some((key, made)) = self.loader.take() {
            self.loading = self.loading.saturating_sub(1);
            let state = match made {
                Made::Ready(table, parts) => State::Ready(table, parts),
                Made::NoRoom(source) if self.evict() => {
                    self.enqueue(key, source);
                    continue;
                }
                Made::NoRoom(_) => State::Without(NO_ROOM),
                Made::Failed(CompileError::Architecture) => State::Without(FOREIGN),
                Made::Empty | Made::Failed(CompileError::Malformed | CompileError::Nothing) => {
                    State::Without(WITHOUT_ROWS)
                }
            };
            came.insert(key);
            if let Some(known) = self.known.get_mut(&key) {
                known.state = state;
                if let Some(file) = file_key(key, known.stamp) {
                    tables.place_file(file, &of_file(&known.state));
                }
            }
        }
        self.send(tables);
        if came.is_empty() {
            return;
        }
        for (tgid, mappings) in std::mem::take(&mut self.waiting) {
            let concerns = |mapping: &Mapping| key(&mapping.what).is_some_and(|key| came.contains(&key));
            if !mappings.iter().any(concerns) || self.place(tgid, &mappings, tables) {
                self.waiting.insert(tgid, mappings);
            }
        }
    }

    /// The kernel side has found a file in a process by itself.
    pub fn met(&mut self, file: FileId, now: Instant) {
        if let Some(known) = self.known.get_mut(&Key::File(file)) {
            known.met = Some(now);
        }
    }

    /// Whether rows are being made.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.loading + self.queue.len() + self.given.len() != 0
    }

    fn ask(&mut self, key: Key, files: &Files) {
        let stamp = match key {
            Key::File(id) => files.get(id).and_then(stamp),
            Key::Vdso => None,
        };
        let (users, met) = match self.known.get(&key) {
            Some(known) if self.is_current(known, stamp) => return,
            Some(known) => (known.users, known.met),
            None => (0, None),
        };
        if let Some(before) = self.known.remove(&key) {
            self.forgotten.extend(file_key(key, before.stamp));
            if let State::Ready(_, parts) = before.state
                && users == 0
            {
                self.given.extend(parts);
            }
        }
        let source = match key {
            // It stays open, and this opens it another time.
            Key::File(id) => {
                files.get(id).map(|file| Source::File(format!("/proc/self/fd/{}", file.as_raw_fd()).into()))
            }
            Key::Vdso => vdso().map(Source::Bytes),
        };
        let state = if source.is_some() { State::Loading } else { State::Without(NO_ROOM) };
        self.known.insert(key, Known { state, stamp, users, met });
        if let Some(source) = source {
            self.enqueue(key, source);
        }
    }

    fn enqueue(&mut self, key: Key, source: Source) {
        let bytes = self.known.get(&key).and_then(|known| known.stamp).map_or(0, |(_, _, bytes)| bytes);
        self.asked += 1;
        self.queue.insert((bytes, self.asked), (key, source));
    }

    /// Whether what is known of a file is still to be used.
    fn is_current(&self, known: &Known, stamp: Option<Stamp>) -> bool {
        match known.state {
            State::Loading => true,
            // There may be room now.
            State::Without(NO_ROOM) => !self.known.values().any(Known::is_unused),
            // Where it could not be opened another time, it is the same as far as can be told.
            State::Ready(..) | State::Without(_) => stamp.is_none() || known.stamp == stamp,
        }
    }

    /// Processes have these mapped, or do no longer.
    fn count(&mut self, keys: &[Key], more: isize) {
        for key in keys {
            if let Some(known) = self.known.get_mut(key) {
                known.users = known.users.saturating_add_signed(more);
            }
        }
    }

    /// Takes the rows of all files away that no process has mapped now. Whether there were any.
    fn evict(&mut self) -> bool {
        let mut count = 0;
        for (key, known) in self.known.extract_if(|_, known| known.is_unused()) {
            self.forgotten.extend(file_key(key, known.stamp));
            if let State::Ready(_, parts) = known.state {
                self.given.extend(parts);
                count += 1;
            }
        }
        self.evicted += count;
        count != 0
    }

    /// Files whose rows were taken away, because others needed room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn send(&mut self, tables: &mut Tables) {
        self.forgotten.drain(..).for_each(|file| tables.remove_file(file));
        // Before what needs their room.
        if !self.given.is_empty()
            && let Err(parts) = self.loader.give(std::mem::take(&mut self.given))
        {
            self.given = parts;
            return;
        }
        while let Some((place, (key, source))) = self.queue.pop_first() {
            if let Err(job) = self.loader.ask(key, source) {
                self.queue.insert(place, job);
                return;
            }
            self.loading += 1;
        }
    }

    /// Tells the kernel side of a process. Returns whether some of its rows are still to come.
    fn place(&self, tgid: u32, mappings: &[Mapping], tables: &mut Tables) -> bool {
        let mut ranges = Vec::new();
        for mapping in mappings {
            match key(&mapping.what).and_then(|key| Some(&self.known.get(&key)?.state)) {
                Some(State::Ready(table, parts)) => of_table(mapping, table, parts, &mut ranges),
                Some(State::Loading) => ranges.push(whole(mapping, LOADING)),
                Some(State::Without(why)) => ranges.push(whole(mapping, *why)),
                None => ranges.push(whole(mapping, WITHOUT_ROWS)),
            }
        }
        if !tables.place(tgid, &ranges) {
            log::warn!("no room for what is mapped in process {tgid}: its stacks are walked by frame pointers");
        }
        ranges.iter().any(|range| range.chunk == LOADING)
    }
}

impl Known {
    fn is_unused(&self) -> bool {
        let is_met = self.met.is_some_and(|met| met.elapsed() < LASTS);
        self.users == 0 && !is_met && matches!(self.state, State::Ready(..))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Write as _,
        os::unix::fs::MetadataExt as _,
    };

    use super::{super::Table, *};

    /// A file whose number another one gets, as after it was deleted.
    #[test]
    fn another_file_with_the_same_number_is_another_file() {
        let path = tempfile::NamedTempFile::new().unwrap();
        fs::copy("/proc/self/exe", path.path()).unwrap();
        let id = FileId { device: 7, inode: fs::metadata(path.path()).unwrap().ino() };
        let mapping =
            |path: &str| Mapping { start: 0, end: 1, offset: 0, what: Mapped::File { id, path: path.into() } };
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("root")).unwrap();
        let open = || {
            let mut files = Files::default();
            fs::rename(path.path(), root.path().join("root/x")).unwrap();
            files.open(root.path(), &mapping("/x"));
            assert!(files.get(id).is_some());
            files
        };
        let mut ranges = Ranges::new(None, None).unwrap();
        let files = open();
        ranges.ask(Key::File(id), &files);
        assert!(matches!(ranges.known[&Key::File(id)].state, State::Loading));
        let part = Part { from: 0, chunk: 0, rows: 0 };
        ranges.known.get_mut(&Key::File(id)).unwrap().state = State::Ready(Table::default(), vec![part]);
        ranges.ask(Key::File(id), &files);
        assert!(matches!(ranges.known[&Key::File(id)].state, State::Ready(..)), "it is the same");
        File::options().append(true).open(root.path().join("root/x")).unwrap().write_all(b"more").unwrap();
        ranges.ask(Key::File(id), &files);
        assert!(matches!(ranges.known[&Key::File(id)].state, State::Loading), "it is another one");
        assert_eq!(ranges.given, [part]);
        assert_eq!(ranges.queue.len(), 2);
    }

    #[test]
    fn small_files_come_first() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("root")).unwrap();
        let mut ranges = Ranges::new(None, None).unwrap();
        let mut files = Files::default();
        let mut keys = Vec::new();
        for (name, bytes) in [("middle", 200), ("large", 300), ("small", 100), ("also-small", 100)] {
            let path = folder.path().join("root").join(name);
            fs::write(&path, vec![0; bytes]).unwrap();
            let id = FileId { device: 7, inode: fs::metadata(&path).unwrap().ino() };
            let what = Mapped::File { id, path: format!("/{name}").into() };
            files.open(folder.path(), &Mapping { start: 0, end: 1, offset: 0, what });
            keys.push(Key::File(id));
            ranges.ask(Key::File(id), &files);
        }
        let order: Vec<Key> = std::iter::from_fn(|| Some(ranges.queue.pop_first()?.1.0)).collect();
        assert_eq!(order, [2, 3, 0, 1].map(|index| keys[index]));
    }

    #[test]
    fn rows_that_no_process_needs_make_room() {
        let mut ranges = Ranges::new(None, None).unwrap();
        let (used, unused) = (Key::Vdso, Key::File(FileId { device: 1, inode: 1 }));
        for (key, users) in [(used, 1), (unused, 1)] {
            let state = State::Ready(Table::default(), vec![Part { from: 0, chunk: users as u32, rows: 0 }]);
            ranges.known.insert(key, Known { state, stamp: None, users, met: None });
        }
        assert!(!ranges.evict() && ranges.evicted() == 0);
        ranges.count(&[unused], -1);
        let Key::File(file) = unused else { panic!() };
        ranges.met(file, Instant::now());
        assert!(!ranges.evict(), "it was found in a process that nobody has read");
        ranges.known.get_mut(&unused).unwrap().met = Instant::now().checked_sub(LASTS);
        assert!(ranges.evict() && ranges.evicted() == 1);
        assert!(ranges.known.contains_key(&used) && !ranges.known.contains_key(&unused) && ranges.given.len() == 1);
    }
}
