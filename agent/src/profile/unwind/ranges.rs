//! Which rows are where in the memory of processes: what is mapped in a process, each file's rows made once, and told to the kernel side
//! as soon as they are there.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    time::{Duration, Instant},
};

use geophone_ebpf::unwind::{FOREIGN, FileKey, LOADING, NO_ROOM, Range, WITHOUT_ROWS};
use hashbrown::{HashMap, HashSet};

use super::{
    CompileError, Table,
    loader::{Loader, Made, Source},
};
use crate::{
    bpf::{Part, Rows, Tables, Waker},
    profile::{
        files::Files,
        maps::{self, FileId, Mapped, Mapping},
    },
};

/// Bytes of the code that the kernel puts into processes.
const VDSO: u64 = 1 << 20;

/// What rows can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    File(FileId),
    /// The same in all processes.
    Vdso,
}

/// What is known of it.
#[derive(Debug)]
enum State {
    /// Its rows are being made, or will be.
    Loading,
    /// They are in the kernel. Of the table, its rows are not kept.
    Ready(Table, Vec<Part>),
    /// It has none: one of the values that say why.
    Without(u32),
}

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

/// Seconds, nanoseconds, bytes.
type Stamp = (i64, i64, u64);

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

fn stamp(file: &File) -> Option<Stamp> {
    let metadata = file.metadata().ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

fn key(what: &Mapped) -> Option<Key> {
    match what {
        Mapped::File { id, .. } => Some(Key::File(*id)),
        Mapped::Kernel(name) if **name == *"[vdso]" => Some(Key::Vdso),
        Mapped::Kernel(_) | Mapped::Anonymous => None,
    }
}

/// What the kernel tells it by.
fn file_key(key: Key, stamp: Option<Stamp>) -> Option<FileKey> {
    let Key::File(id) = key else {
        return Some(FileKey::VDSO);
    };
    let (seconds, nanos, size) = stamp?;
    // As the kernel writes it.
    let device = ((id.device >> 32) as u32 & 0xfff) << 20 | id.device as u32 & 0xf_ffff;
    Some(FileKey { inode: id.inode, size, seconds, nanos: u32::try_from(nanos).ok()?, device })
}

/// Which rows are where in a file: as in a process that has each part of it mapped at the address which is its place.
fn of_file(state: &State) -> Vec<Range> {
    const PAGE: u64 = 4096;
    let everything = |chunk| vec![Range { start: 0, end: u64::MAX, base: 0, chunk, rows: 0 }];
    let (table, parts) = match state {
        State::Ready(table, parts) => (table, parts),
        State::Without(why) => return everything(*why),
        State::Loading => return everything(LOADING),
    };
    let mut ranges = Vec::new();
    let mut segments = table.segments().to_vec();
    segments.sort_by_key(|segment| segment.offset);
    let mut end = 0;
    for segment in segments {
        let start = (segment.offset & !(PAGE - 1)).max(end);
        end = segment.offset.saturating_add(segment.size).div_ceil(PAGE).saturating_mul(PAGE).max(start);
        of_table(&Mapping { start, end, offset: start, what: Mapped::Anonymous }, table, parts, &mut ranges);
    }
    ranges
}

fn whole(mapping: &Mapping, chunk: u32) -> Range {
    Range { start: mapping.start, end: mapping.end, base: 0, chunk, rows: 0 }
}

/// One range for each part of a table that a mapping has to do with.
fn of_table(mapping: &Mapping, table: &Table, parts: &[Part], ranges: &mut Vec<Range>) {
    let Some(base) = table.base(mapping.start, mapping.offset) else {
        ranges.push(whole(mapping, WITHOUT_ROWS));
        return;
    };
    let mut start = mapping.start;
    for (index, part) in parts.iter().enumerate() {
        // Where the next one begins.
        let end = parts.get(index + 1).map(|next| base.wrapping_add(next.from));
        let end = end.map_or(mapping.end, |end| end.clamp(start, mapping.end));
        if start < end {
            ranges.push(Range { start, end, base, chunk: part.chunk, rows: part.rows });
        }
        start = end;
    }
}

fn own_program() -> Option<FileId> {
    let path = fs::read_link("/proc/self/exe").ok()?;
    let mappings = maps::parse(&fs::read_to_string("/proc/self/maps").ok()?);
    mappings.into_iter().find_map(|mapping| match mapping.what {
        Mapped::File { id, path: mapped } if path.as_os_str() == &*mapped => Some(id),
        _ => None,
    })
}

fn parent(tgid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{tgid}/stat")).ok()?;
    // The name before may have anything in it: `PID (NAME) STATE PARENT`.
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// The code that the kernel has put into this process.
pub(super) fn vdso() -> Option<Vec<u8>> {
    let mappings = maps::parse(&fs::read_to_string("/proc/self/maps").ok()?);
    let vdso = mappings.iter().find(|mapping| key(&mapping.what) == Some(Key::Vdso))?;
    let len = vdso.end.checked_sub(vdso.start).filter(|len| *len <= VDSO)?;
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, vdso.start).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{super::compile, *};

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

    #[test]
    fn a_table_in_several_parts_becomes_ranges_without_gaps() {
        let table = compile(fs::read("/proc/self/exe").unwrap().as_slice());
        if cfg!(not(target_arch = "x86_64")) {
            assert_eq!(table, Err(CompileError::Architecture));
            return;
        }
        let table = table.unwrap();
        let segment = table.segments[0];
        let (start, size) = (0x7f00_0000_0000, 0x9000);
        let mapping = Mapping { start, end: start + size, offset: segment.offset & !0xfff, what: Mapped::Anonymous };
        let shift = segment.offset & 0xfff;
        let part = |from, chunk| Part { from, chunk, rows: 5 << 16 };
        let parts = [part(0x10, 3), part(0x1000, 4), part(0x5000, 5), part(0x10_0000, 6)];
        let mut ranges = Vec::new();
        of_table(&mapping, &table, &parts, &mut ranges);
        let bounds: Vec<_> = ranges.iter().map(|range| (range.start - start, range.end - start, range.chunk)).collect();
        assert_eq!(bounds, [(0, 0x1000 + shift, 3), (0x1000 + shift, 0x5000 + shift, 4), (0x5000 + shift, size, 5)]);
        assert!(ranges.iter().all(|range| range.base == start + shift), "{ranges:x?}");
    }

    #[test]
    fn ranges_of_a_file_are_of_places_in_it() {
        let table = compile(fs::read("/proc/self/exe").unwrap().as_slice());
        if cfg!(not(target_arch = "x86_64")) {
            assert_eq!(table, Err(CompileError::Architecture));
            return;
        }
        let table = table.unwrap();
        let segment = table.segments()[0];
        let (base, from) = (table.base(0x7000_0000_0000, segment.offset & !0xfff).unwrap(), segment.offset & !0xfff);
        let part = |from, chunk| Part { from, chunk, rows: 5 << 16 };
        let ranges = of_file(&State::Ready(table, vec![part(0x10, 3), part(0x1000, 4)]));
        let [first, second] = ranges[..] else { panic!("{ranges:x?}") };
        assert_eq!((first.start, first.end, first.chunk, second.chunk), (from, second.start, 3, 4));
        assert!(second.end >= segment.offset + segment.size && second.end % 0x1000 == 0);
        // As in a process that has it mapped somewhere else.
        assert_eq!(first.base.wrapping_add(0x7000_0000_0000).wrapping_sub(from), base);
        let Range { start, end, chunk, .. } = of_file(&State::Without(FOREIGN))[0];
        assert_eq!((start, end, chunk), (0, u64::MAX, FOREIGN));
    }

    #[test]
    fn files_are_told_by_what_the_kernel_knows() {
        let stamp = |file: &File| stamp(file).unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        let key = file_key(Key::File(own_program().unwrap()), Some(stamp(&file))).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!((key.inode, key.size, key.seconds), (metadata.ino(), metadata.len(), metadata.mtime()));
        let id = FileId { device: 254 << 32 | 7, inode: 1 };
        assert_eq!(file_key(Key::File(id), Some((1, 2, 3))).unwrap().device, 254 << 20 | 7);
        assert_eq!((file_key(Key::Vdso, None), file_key(Key::File(id), None)), (Some(FileKey::VDSO), None));
    }

    #[test]
    fn this_program_and_its_parent_are_found() {
        let own = own_program().unwrap();
        let metadata = fs::metadata("/proc/self/exe").unwrap();
        assert_eq!(own.inode, std::os::unix::fs::MetadataExt::ino(&metadata));
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent(u32::MAX), None);
    }

    #[test]
    fn the_kernels_own_code_has_rows() {
        if cfg!(target_arch = "x86_64") {
            let table = compile(vdso().unwrap().as_slice()).unwrap();
            assert!(table.rows().len() > 10);
        }
    }
}
