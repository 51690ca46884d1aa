//! What the sampling program walks stacks by: writing rows and ranges to maps that both sides map, so that it takes no system call for
//! each of them.

use std::{io, os::fd::AsFd as _, ptr, time::Instant};

use aya::{
    Ebpf, EbpfLoader,
    maps::{ArrayOfMaps, HashMap, Map, MapData, MapError},
};
use geophone_ebpf::{
    interpreter::Interpreter,
    unwind::{CHUNK, CHUNKS, RANGES, RANGES_OF_ONE, Range, SPACES},
};
use hashbrown::HashMap as Processes;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{
    LoadError,
    extents::{Extent, Extents},
    load::take,
};

/// Bytes of a chunk.
const BYTES: usize = CHUNK * size_of::<u64>();

/// Processes with interpreters.
const INTERPRETERS: u32 = 4096;

/// Rows that are in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Place of the first one: its upper half.
    pub from: u64,
    /// Which chunk.
    pub chunk: u32,
    /// The first one in it (lower half) and the last one (upper half).
    pub rows: u32,
}

/// The tables in the kernel.
pub struct Tables {
    outer: ArrayOfMaps<MapData, MapData>,
    chunks: Vec<Mapped>,
    /// Rows in the last chunk.
    used: usize,
    ranges: Mapped,
    extents: Extents,
    spaces: HashMap<MapData, u32, [u32; 2]>,
    placed: Processes<u32, Extent>,
    interpreters: HashMap<MapData, u32, InterpreterValue>,
}

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
            .map_max_entries("INTERPRETERS", INTERPRETERS);
    }

    /// Of a loaded object.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let Some(Map::Array(ranges)) = ebpf.take_map("RANGES") else {
            return Err(LoadError::Missing("RANGES"));
        };
        Ok(Self {
            outer: take(ebpf, "ROWS")?,
            chunks: Vec::new(),
            used: CHUNK,
            ranges: Mapped::new(ranges, RANGES * size_of::<Range>())?,
            extents: Extents::new(RANGES as u32),
            spaces: take(ebpf, "SPACES")?,
            placed: Processes::new(),
            interpreters: take(ebpf, "INTERPRETERS")?,
        })
    }

    /// Adds rows that are sorted, for good. Returns where they are; `None`: there is no room for them.
    pub fn add(&mut self, mut rows: &[u64]) -> Option<Vec<Part>> {
        let free = (CHUNKS - self.chunks.len()) * CHUNK + CHUNK - self.used;
        if rows.len() > free {
            return None;
        }
        let mut parts = Vec::new();
        while let Some(row) = rows.first() {
            if self.used >= CHUNK {
                let chunk = self.chunk().inspect_err(|error| log::warn!("no room for unwinding: {error}")).ok()?;
                self.chunks.push(chunk);
                self.used = 0;
            }
            let (now, later) = rows.split_at_checked(CHUNK - self.used).unwrap_or((rows, &[]));
            let chunk = self.chunks.last_mut()?;
            chunk.write(self.used, now);
            let (first, last) = (self.used as u32, (self.used + now.len() - 1) as u32);
            parts.push(Part { from: row >> 32, chunk: self.chunks.len() as u32 - 1, rows: first | last << 16 });
            self.used += now.len();
            rows = later;
        }
        Some(parts)
    }

    /// A new chunk, in its place.
    fn chunk(&mut self) -> Result<Mapped, LoadError> {
        let array = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
        let map = aya_obj::Map::new_from_params(array, 4, BYTES as u32, 1, aya_obj::generated::BPF_F_MMAPABLE);
        let map = MapData::create(map, "geophone_rows", None)?;
        self.outer.set(self.chunks.len() as u32, &map, 0)?;
        Ok(Mapped::new(map, BYTES)?)
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
struct Mapped {
    start: *mut u8,
    bytes: usize,
    /// Keeps the map alive.
    _map: MapData,
}

// SAFETY: the mapping belongs to this value alone; the kernel side only reads.
unsafe impl Send for Mapped {}

impl Mapped {
    fn new(map: MapData, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map.fd().as_fd(), 0)?
        };
        Ok(Self { start: start.cast(), bytes, _map: map })
    }

    /// Writes to entries from `first` on, as far as there is room. The kernel side is told of them later, by a system call.
    fn write<T: Entry>(&mut self, first: usize, values: &[T]) {
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
trait Entry: Copy {}
impl Entry for u64 {}
impl Entry for Range {}
