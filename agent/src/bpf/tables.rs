//! What the sampling program walks stacks by: writing ranges to a map that both sides map, so that it takes no system call for each of
//! them. Rows are `rows`'s.

use std::{io, os::fd::AsFd as _, ptr, time::Instant};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, MapError},
};
use geophone_ebpf::{
    interpreter::Interpreter,
    unwind::{FILES, FileKey, RANGES, RANGES_OF_ONE, Range, SPACES},
};
use hashbrown::HashMap as Processes;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{
    LoadError,
    extents::{Extent, Extents},
    load::take,
    rows::Rows,
};

/// Processes with interpreters.
const INTERPRETERS: u32 = 4096;

/// The tables in the kernel.
pub struct Tables {
    rows: Option<Rows>,
    ranges: Mapped,
    extents: Extents,
    spaces: HashMap<MapData, u32, [u32; 2]>,
    placed: Processes<u32, Extent>,
    files: HashMap<MapData, FileKeyValue, [u32; 2]>,
    placed_files: Processes<FileKey, Extent>,
    asks_kernel: bool,
    interpreters: HashMap<MapData, u32, InterpreterValue>,
}

/// A key of the map of files.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct FileKeyValue(FileKey);

// SAFETY: made of integers only, without padding.
unsafe impl aya::Pod for FileKeyValue {}

/// A value of the map of interpreters.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct InterpreterValue(Interpreter);

// SAFETY: made of integers only, without padding.
unsafe impl aya::Pod for InterpreterValue {}

impl Tables {
    /// Makes room for them in an object that is to be loaded.
    pub(super) fn size(loader: &mut EbpfLoader<'_>) {
        loader
            .map_max_entries("RANGES", RANGES as u32)
            .map_max_entries("SPACES", SPACES as u32)
            .map_max_entries("FILES", FILES as u32)
            .map_max_entries("INTERPRETERS", INTERPRETERS);
    }

    /// Of a loaded object. `asks_kernel`: see [`Self::asks_kernel`].
    pub(super) fn new(ebpf: &mut Ebpf, asks_kernel: bool) -> Result<Self, LoadError> {
        let Some(Map::Array(ranges)) = ebpf.take_map("RANGES") else {
            return Err(LoadError::Missing("RANGES"));
        };
        Ok(Self {
            rows: Some(Rows::new(take(ebpf, "ROWS")?)),
            ranges: Mapped::new(ranges, RANGES * size_of::<Range>())?,
            extents: Extents::new(RANGES as u32),
            spaces: take(ebpf, "SPACES")?,
            placed: Processes::new(),
            files: take(ebpf, "FILES")?,
            placed_files: Processes::new(),
            asks_kernel,
            interpreters: take(ebpf, "INTERPRETERS")?,
        })
    }

    /// The rows, for whoever makes them; `None` when they were taken before.
    pub fn take_rows(&mut self) -> Option<Rows> {
        self.rows.take()
    }

    /// Whether stacks of processes are walked, too, that were never placed, because the kernel says which files are mapped in them.
    #[must_use]
    pub fn asks_kernel(&self) -> bool {
        self.asks_kernel
    }

    /// Says which rows are where in a process: ranges in order of their addresses, which do not overlap. Returns whether there was room
    /// for them.
    pub fn place(&mut self, tgid: u32, ranges: &[Range]) -> bool {
        let now = Instant::now();
        let count = ranges.len() as u32;
        let extent = if count <= RANGES_OF_ONE { self.extents.take(count.max(1), now) } else { None };
        let Some(extent) = extent else {
            self.remove(tgid);
            return false;
        };
        self.ranges.write(extent.first as usize, ranges);
        if self.spaces.insert(tgid, [extent.first, count], 0).is_err() {
            self.extents.give(extent, now);
            self.remove(tgid);
            return false;
        }
        if let Some(old) = self.placed.insert(tgid, extent) {
            self.extents.give(old, now);
        }
        true
    }

    /// Says which rows are where in a file: ranges of places in it, as [`Self::place`] has them of addresses. Where there is no room for them,
    /// only those processes have them that they are placed in.
    pub fn place_file(&mut self, key: FileKey, ranges: &[Range]) {
        self.remove_file(key);
        let now = Instant::now();
        let count = ranges.len() as u32;
        let Some(extent) = self.extents.take(count.max(1), now).filter(|_| count <= RANGES_OF_ONE) else {
            return;
        };
        self.ranges.write(extent.first as usize, ranges);
        if self.files.insert(FileKeyValue(key), [extent.first, count], 0).is_err() {
            return self.extents.give(extent, now);
        }
        self.placed_files.insert(key, extent);
    }

    /// Forgets the ranges of a file.
    pub fn remove_file(&mut self, key: FileKey) {
        if let Some(extent) = self.placed_files.remove(&key) {
            // It is there.
            let _ = self.files.remove(&FileKeyValue(key));
            self.extents.give(extent, Instant::now());
        }
    }

    /// Says how the frames of a process's interpreter are found.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_interpreter(&mut self, tgid: u32, interpreter: Interpreter) -> Result<(), MapError> {
        self.interpreters.insert(tgid, InterpreterValue(interpreter), 0)
    }

    /// Forgets a process's interpreter: it has ended, or runs another program. The kernel side does, too, but may have been told since.
    pub fn remove_interpreter(&mut self, tgid: u32) {
        // There need not be any.
        let _ = self.interpreters.remove(&tgid);
    }

    /// Forgets a process's ranges.
    pub fn remove(&mut self, tgid: u32) {
        if let Some(extent) = self.placed.remove(&tgid) {
            // It is there.
            let _ = self.spaces.remove(&tgid);
            self.extents.give(extent, Instant::now());
        }
    }
}

/// An array that is mapped into this process.
pub(super) struct Mapped {
    start: *mut u8,
    bytes: usize,
    /// Keeps the map alive.
    _map: MapData,
}

// SAFETY: the mapping belongs to this value alone; the kernel side only reads.
unsafe impl Send for Mapped {}

impl Mapped {
    pub(super) fn new(map: MapData, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map.fd().as_fd(), 0)?
        };
        Ok(Self { start: start.cast(), bytes, _map: map })
    }

    /// Writes to entries from `first` on, as far as there is room. The kernel side is told of them later, by a system call.
    pub(super) fn write<T: Entry>(&mut self, first: usize, values: &[T]) {
        let room = (self.bytes / size_of::<T>()).saturating_sub(first);
        for (index, value) in (first..).zip(values).take(room) {
            // SAFETY: there is room for so many, and entries are aligned as the mapping is.
            unsafe { ptr::write_volatile(self.start.cast::<T>().add(index), *value) };
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: nothing else points into the mapping. That it cannot be unmapped is no reason to fail.
        let _ = unsafe { munmap(self.start.cast(), self.bytes) };
    }
}

/// What arrays hold: plain numbers.
pub(super) trait Entry: Copy {}
impl Entry for u64 {}
impl Entry for Range {}
