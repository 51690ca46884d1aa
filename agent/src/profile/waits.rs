//! Threads that wait: their stacks, until it is known for how long they have waited. Memory is bounded; what finds no room is counted.

use hashbrown::HashMap;

use super::{
    model::{Location, Owner, Stack},
    sample::{self, Sample, Waited},
    stacks::SpaceId,
};
use crate::event::Nanos;

/// Bytes that all stacks together may take.
const BYTES: usize = 32 << 20;
/// What one takes besides.
const OVERHEAD: usize = 96;

/// The function that switches to another thread, and in which the stack is looked at.
const SWITCH: &str = "__schedule";
/// Frames at most that looking at it takes.
const PROBE: usize = 10;

/// Takes the frames off a stack that are there only because it was looked at: what is called by the function that switches threads.
pub fn without_probe(stack: &mut Stack, locations: &[Location]) {
    let is_switch = |index: &usize| {
        locations.get(*index).is_some_and(|place| place.owner == Owner::Kernel && *place.name == *SWITCH)
    };
    if let Some(at) = stack.frames.iter().take(PROBE).position(is_switch) {
        stack.frames.drain(..at);
    }
}

/// A thread that went to sleep.
#[derive(Debug)]
struct Wait {
    space: SpaceId,
    since: Nanos,
    /// The sample's record.
    record: Box<[u8]>,
}

/// The last wait of each thread, as far as it is not known to be over.
#[derive(Debug, Default)]
pub struct Waits {
    all: HashMap<u32, Wait>,
    bytes: usize,
    lost: u64,
}

/// A wait that is over, or as long as it can be followed.
#[derive(Debug)]
pub struct Over {
    /// Whose.
    pub space: SpaceId,
    /// Nanoseconds.
    pub nanos: u64,
    record: Box<[u8]>,
}

impl Over {
    /// Where the thread waited.
    #[must_use]
    pub fn sample(&self) -> Option<Sample<'_>> {
        sample::decode(&self.record).ok()
    }
}

impl Waits {
    /// A thread goes to sleep. What was its wait before was short.
    pub fn begin(&mut self, space: SpaceId, sample: &Sample<'_>, record: &[u8]) {
        self.remove(sample.tid);
        if self.bytes + OVERHEAD + record.len() > BYTES {
            self.lost += 1;
            return;
        }
        self.bytes += OVERHEAD + record.len();
        self.all.insert(sample.tid, Wait { space, since: sample.time, record: record.into() });
    }

    /// A thread runs again. `None` when its sample was lost.
    pub fn end(&mut self, waited: &Waited) -> Option<Over> {
        let wait = self.remove(waited.tid).filter(|wait| wait.since == waited.since);
        self.lost += u64::from(wait.is_none());
        wait.map(|wait| wait.over(waited.time))
    }

    /// The waits that still last, given since when each thread waits.
    pub fn still(&mut self, now: Nanos, since: impl Fn(u32) -> Option<Nanos>) -> Vec<Over> {
        self.bytes = 0;
        let all = self.all.drain();
        let lasting = all.filter(|(tid, wait)| since(*tid) == Some(wait.since));
        lasting.map(|(_, wait)| wait.over(now)).collect()
    }

    /// Waits whose stacks were lost, or found no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Spaces of threads that wait: they are needed.
    pub fn spaces(&self) -> impl Iterator<Item = SpaceId> {
        self.all.values().map(|wait| wait.space)
    }

    fn remove(&mut self, tid: u32) -> Option<Wait> {
        let wait = self.all.remove(&tid)?;
        self.bytes = self.bytes.saturating_sub(OVERHEAD + wait.record.len());
        Some(wait)
    }
}

impl Wait {
    fn over(self, at: Nanos) -> Over {
        Over { space: self.space, nanos: at.saturating_sub(self.since), record: self.record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{
        model::tests::example,
        sample::{decode, tests::record},
    };

    const SPACE: SpaceId = SpaceId(3);

    /// Thread 43 goes to sleep at 77.
    fn begin(waits: &mut Waits) {
        let record = record(42, "x", 0, &[1], &[2, 3]);
        waits.begin(SPACE, &decode(&record).unwrap(), &record);
    }

    #[test]
    fn a_wait_has_the_stack_of_its_beginning() {
        let mut waits = Waits::default();
        begin(&mut waits);
        let over = waits.end(&Waited { tgid: 42, tid: 43, since: 77, time: 177 }).unwrap();
        assert_eq!((over.space, over.nanos), (SPACE, 100));
        assert_eq!(over.sample().unwrap().user.addresses().collect::<Vec<_>>(), [2, 3]);
        assert_eq!((waits.bytes, waits.lost()), (0, 0));
    }

    #[test]
    fn another_wait_s_stack_is_none() {
        let mut waits = Waits::default();
        begin(&mut waits);
        assert!(waits.end(&Waited { tgid: 42, tid: 43, since: 99, time: 177 }).is_none());
        assert!(waits.end(&Waited { tgid: 42, tid: 44, since: 77, time: 177 }).is_none());
        assert_eq!((waits.lost(), waits.bytes), (2, 0));
    }

    #[test]
    fn only_what_still_lasts_is_counted_at_the_end() {
        for (since, count) in [(Some(77), 1), (Some(78), 0), (None, 0)] {
            let mut waits = Waits::default();
            begin(&mut waits);
            begin(&mut waits);
            let still = waits.still(1077, |tid| since.filter(|_| tid == 43));
            assert_eq!((still.len(), waits.bytes, waits.lost()), (count, 0, 0));
            assert!(still.iter().all(|over| over.nanos == 1000));
        }
    }

    #[test]
    fn the_probe_is_not_in_the_stack() {
        let mut profile = example();
        let frames = |profile: &mut crate::profile::Profile| {
            let mut stack = profile.stacks[1].clone();
            stack.frames = vec![2, 3, 1, 0];
            without_probe(&mut stack, &profile.locations);
            stack.frames
        };
        assert_eq!(frames(&mut profile), [2, 3, 1, 0], "there is no such function");
        profile.locations[3].name = SWITCH.into();
        assert_eq!(frames(&mut profile), [3, 1, 0]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut waits = Waits::default();
        let mut bytes = record(42, "x", 0, &[], &[7; 1024]);
        let most = BYTES / (bytes.len() + OVERHEAD);
        for tid in 0..most as u32 + 5 {
            bytes[16..20].copy_from_slice(&tid.to_ne_bytes());
            let sample = decode(&bytes).unwrap();
            waits.begin(SPACE, &sample, &bytes);
        }
        assert_eq!((waits.all.len(), waits.lost()), (most, 5));
    }
}
