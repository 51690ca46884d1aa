//! The rows that stacks are walked by, in chunks that both sides map.
//!
//! A new chunk is a change of a map of maps, for which the kernel waits until no program can be using what was there before
//! (`synchronize_rcu`): a few milliseconds, or seconds on a host whose processors are all busy. So whoever makes rows adds them, too, and
//! nobody who takes samples waits for that. Chunks are used again when all that was in them has been given back.

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
    room: Room,
}

impl Rows {
    pub(super) fn new(outer: ArrayOfMaps<MapData, MapData>) -> Self {
        Self { outer, chunks: Vec::new(), room: Room::new(CHUNKS) }
    }

    /// Adds rows that are sorted. Returns where they are; `None`: there is no room for them. Waits for the kernel.
    pub fn add(&mut self, mut rows: &[u64]) -> Option<Vec<Part>> {
        let places = self.room.take(rows.len())?;
        while self.chunks.len() < self.room.live.len() {
            match self.chunk() {
                Ok(chunk) => self.chunks.push(chunk),
                Err(error) => {
                    log::warn!("no room for unwinding: {error}");
                    places.into_iter().for_each(|place| self.room.give(place));
                    self.room.lose(self.chunks.len());
                    return None;
                }
            }
        }
        let mut parts = Vec::new();
        for Place { chunk, first, count } in places {
            let (now, later) = rows.split_at_checked(count)?;
            self.chunks.get_mut(chunk)?.write(first, now);
            let last = first + count - 1;
            parts.push(Part {
                from: now.first()? >> 32,
                chunk: chunk as u32,
                rows: first as u32 | (last as u32) << 16,
            });
            rows = later;
        }
        Some(parts)
    }

    /// Takes rows away that no process uses any more.
    pub fn give(&mut self, parts: &[Part]) {
        for part in parts {
            let (first, last) = (part.rows & 0xffff, part.rows >> 16);
            let count = (last - first + 1) as usize;
            self.room.give(Place { chunk: part.chunk as usize, first: first as usize, count });
        }
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

/// Some rows of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    chunk: usize,
    first: usize,
    count: usize,
}

/// Which rows of which chunks are in use.
#[derive(Debug)]
struct Room {
    /// Chunks at most.
    most: usize,
    /// How many rows of each chunk are needed.
    live: Vec<usize>,
    /// Chunks of which none is.
    free: Vec<usize>,
    /// The chunk that is being filled, and how far it is.
    current: Option<(usize, usize)>,
}

impl Room {
    fn new(most: usize) -> Self {
        Self { most, live: Vec::new(), free: Vec::new(), current: None }
    }

    /// Takes room for so many, which may be in several chunks; nothing when there is not enough.
    fn take(&mut self, mut count: usize) -> Option<Vec<Place>> {
        let rest = self.current.map_or(0, |(_, used)| CHUNK - used);
        let chunks = self.free.len() + self.most.saturating_sub(self.live.len());
        if count > rest + chunks * CHUNK {
            return None;
        }
        let mut places = Vec::new();
        while count > 0 {
            let (chunk, used) = self.current.filter(|(_, used)| *used < CHUNK).unwrap_or_else(|| (self.next(), 0));
            let now = count.min(CHUNK - used);
            *self.live.get_mut(chunk)? += now;
            places.push(Place { chunk, first: used, count: now });
            self.current = Some((chunk, used + now));
            count -= now;
        }
        Some(places)
    }

    fn next(&mut self) -> usize {
        if let Some((full, _)) = self.current.take()
            && self.live.get(full) == Some(&0)
        {
            self.free.push(full);
        }
        self.free.pop().unwrap_or_else(|| {
            self.live.push(0);
            self.live.len() - 1
        })
    }

    fn give(&mut self, place: Place) {
        let Some(live) = self.live.get_mut(place.chunk) else {
            return;
        };
        *live = live.saturating_sub(place.count);
        let is_current = self.current.is_some_and(|(current, _)| current == place.chunk);
        if *live == 0 && !is_current {
            self.free.push(place.chunk);
        }
    }

    /// There are only so many chunks, and there will be no more.
    fn lose(&mut self, chunks: usize) {
        self.most = chunks;
        self.live.truncate(chunks);
        self.free.retain(|chunk| *chunk < chunks);
        self.current = self.current.filter(|(chunk, _)| *chunk < chunks);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_given_back_is_used_again() {
        let mut room = Room::new(3);
        let first = room.take(CHUNK + 10).unwrap();
        assert_eq!(first.iter().map(|place| (place.chunk, place.count)).collect::<Vec<_>>(), [(0, CHUNK), (1, 10)]);
        let second = room.take(2 * CHUNK - 10).unwrap();
        assert!(room.take(1).is_none(), "it is full");
        first.iter().for_each(|place| room.give(*place));
        assert!(room.take(CHUNK + 1).is_none(), "a part of the second chunk is still needed");
        assert_eq!(room.take(CHUNK).unwrap(), [Place { chunk: 0, first: 0, count: CHUNK }]);
        second.iter().for_each(|place| room.give(*place));
        assert!(room.take(2 * CHUNK + 1).is_none() && room.take(2 * CHUNK).is_some());
    }

    #[test]
    fn where_the_kernel_gives_no_more_the_rest_is_used() {
        let mut room = Room::new(3);
        let places = room.take(2 * CHUNK).unwrap();
        places.iter().for_each(|place| room.give(*place));
        room.lose(1);
        assert!(room.take(CHUNK + 1).is_none() && room.take(CHUNK).is_some());
    }

    proptest! {
        #[test]
        fn no_row_is_used_twice(steps in proptest::collection::vec((any::<bool>(), 1..CHUNK * 2), 1..100)) {
            let mut room = Room::new(6);
            let mut used: Vec<Vec<Place>> = Vec::new();
            for (takes, count) in steps {
                if takes {
                    used.extend(room.take(count));
                } else if !used.is_empty() {
                    used.swap_remove(count % used.len()).into_iter().for_each(|place| room.give(place));
                }
                let mut all: Vec<_> = used.iter().flatten().collect();
                all.sort_by_key(|place| (place.chunk, place.first));
                for pair in all.windows(2) {
                    prop_assert!(pair[0].chunk != pair[1].chunk || pair[0].first + pair[0].count <= pair[1].first);
                }
                prop_assert!(all.iter().all(|place| place.chunk < 6 && place.first + place.count <= CHUNK));
            }
        }
    }
}
