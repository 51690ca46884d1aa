//! Places in a table of fixed size, each for several entries in a row. What was given back is used again only after a while, because a
//! program may still be reading it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long what was given back is left alone; a program is done within a millisecond.
const REST: Duration = Duration::from_millis(100);
/// Sizes are powers of two, from `1 << SMALLEST` entries on.
const SMALLEST: u32 = 3;
/// How many sizes there are.
const SIZES: usize = 16;

/// Some entries in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first one.
    pub first: u32,
    size: usize,
}

/// Which entries are free.
#[derive(Debug)]
pub struct Extents {
    count: u32,
    used: u32,
    free: [VecDeque<(Instant, u32)>; SIZES],
}

impl Extents {
    /// All of them.
    pub fn new(count: u32) -> Self {
        Self { count, used: 0, free: Default::default() }
    }

    /// Finds a place for so many. `None`: there is no room.
    pub fn take(&mut self, wanted: u32, now: Instant) -> Option<Extent> {
        let size = wanted.checked_next_power_of_two()?.trailing_zeros().saturating_sub(SMALLEST) as usize;
        let free = self.free.get_mut(size)?;
        if let Some((_, first)) = free.pop_front_if(|(since, _)| now.saturating_duration_since(*since) >= REST) {
            return Some(Extent { first, size });
        }
        let first = self.used;
        let end = first.checked_add(1 << (SMALLEST + size as u32)).filter(|end| *end <= self.count)?;
        self.used = end;
        Some(Extent { first, size })
    }

    /// Takes a place back.
    pub fn give(&mut self, extent: Extent, now: Instant) {
        if let Some(free) = self.free.get_mut(extent.size) {
            free.push_back((now, extent.first));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap_and_rest_before_they_are_used_again() {
        let now = Instant::now();
        let mut extents = Extents::new(64);
        let first = extents.take(1, now).unwrap();
        let second = extents.take(9, now).unwrap();
        let third = extents.take(32, now).unwrap();
        assert_eq!((first.first, second.first, third.first), (0, 8, 24));
        assert_eq!(extents.take(16, now), None, "56 of 64 are used");
        extents.give(second, now);
        assert_eq!(extents.take(16, now), None, "somebody may still read it");
        assert_eq!(extents.take(16, now + REST), Some(second));
        assert_eq!(extents.take(8, now + REST).unwrap().first, 56);
        assert_eq!(extents.take(u32::MAX, now), None);
    }
}
