//! The rows that stacks are walked by, in chunks that both sides map.
//!
//! A new chunk is a change of a map of maps, for which the kernel waits until no program can be using what was there before
//! (`synchronize_rcu`): a few milliseconds, or seconds on a host whose processors are all busy. So whoever makes rows adds them, too, and
//! nobody who takes samples waits for that.

use aya::maps::{ArrayOfMaps, MapData};
use geophone_ebpf::unwind::{CHUNK, CHUNKS};

use super::{LoadError, tables::Mapped};

/// Bytes of a chunk.
const BYTES: usize = CHUNK * size_of::<u64>();

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

/// See the module.
pub struct Rows {
    outer: ArrayOfMaps<MapData, MapData>,
    chunks: Vec<Mapped>,
    /// Rows in the last chunk.
    used: usize,
}

impl Rows {
    pub(super) fn new(outer: ArrayOfMaps<MapData, MapData>) -> Self {
        Self { outer, chunks: Vec::new(), used: CHUNK }
    }

    /// Adds rows that are sorted, for good. Returns where they are; `None`: there is no room for them. Waits for the kernel.
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
}
