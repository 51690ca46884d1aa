//! Samples added up by what they have in common: process, thread's name, request and both stacks. Memory is bounded; what finds no room is counted.

use std::hash::{Hash, Hasher};

use geophone_ebpf::record::RESULT_COMPLETE;
use hashbrown::{Equivalent, HashMap};

use super::{
    interpreters::Frame,
    model::Link,
    sample::{Comm, Sample},
};

/// Which program's memory the addresses are in: see [`super::spaces::Spaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId(pub u32);

/// Bytes that all stacks together may take.
const BYTES: usize = 64 << 20;
/// What one takes besides its addresses.
const OVERHEAD: usize = 160;

/// What samples have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Whose.
    pub space: SpaceId,
    /// The thread's name.
    pub comm: Comm,
    /// The request that it was at work for.
    pub link: Option<Link>,
    /// How both stacks ended.
    pub ends: Ends,
    /// How many of the words are an interpreter's.
    interpreted: usize,
    /// How many of the words are the kernel's.
    kernel: usize,
    /// The frames of an interpreter, the kernel's addresses, then those of the process, the innermost first.
    words: Box<[u64]>,
}

/// How the stacks of a sample ended, as far as the kernel side can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ends {
    /// One of them could not be read.
    pub failed: bool,
    /// One of them has as many frames as are looked at, at most.
    pub cut: bool,
    /// That of the process was walked to where it ends.
    pub complete: bool,
}

impl Stack {
    /// The frames of an interpreter, the innermost first.
    pub fn interpreted(&self) -> impl Iterator<Item = Frame> {
        Frame::all(self.words.get(..self.interpreted).unwrap_or_default())
    }

    /// The kernel's frames, the innermost first.
    #[must_use]
    pub fn kernel(&self) -> &[u64] {
        self.words.get(self.interpreted..self.interpreted + self.kernel).unwrap_or_default()
    }

    /// The frames of the process, the innermost first, and where those of the interpreter belong.
    #[must_use]
    pub fn user(&self) -> &[u64] {
        self.words.get(self.interpreted + self.kernel..).unwrap_or_default()
    }
}

impl Hash for Stack {
    fn hash<H: Hasher>(&self, state: &mut H) {
        View {
            space: self.space,
            comm: self.comm,
            link: self.link.as_ref(),
            ends: self.ends,
            interpreted: self.interpreted,
            kernel: self.kernel,
            words: &self.words,
        }
        .hash(state);
    }
}

/// A stack that is looked for.
#[derive(Hash)]
struct View<'a> {
    space: SpaceId,
    comm: Comm,
    link: Option<&'a Link>,
    ends: Ends,
    interpreted: usize,
    kernel: usize,
    words: &'a [u64],
}

impl Equivalent<Stack> for View<'_> {
    fn equivalent(&self, key: &Stack) -> bool {
        (self.space, self.comm, self.ends, self.interpreted, self.kernel)
            == (key.space, key.comm, key.ends, key.interpreted, key.kernel)
            && self.link == key.link.as_ref()
            && *self.words == *key.words
    }
}

/// What the samples of a stack come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// How many there are.
    pub count: u64,
    /// Nanoseconds that they stand for.
    pub nanos: u64,
}

impl Weight {
    fn add(&mut self, nanos: u64) {
        self.count += 1;
        self.nanos = self.nanos.saturating_add(nanos);
    }
}

/// All stacks, with how often each was seen.
#[derive(Debug)]
pub struct Stacks {
    weights: HashMap<Stack, Weight>,
    words: Vec<u64>,
    bytes: usize,
    limit: usize,
    dropped: u64,
}

impl Default for Stacks {
    fn default() -> Self {
        Self::new(BYTES)
    }
}

impl Stacks {
    /// That take at most so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { weights: HashMap::new(), words: Vec::new(), bytes: 0, limit, dropped: 0 }
    }

    /// Adds a sample that stands for so many nanoseconds, taken while the thread was at work for a request, or for none. Whether it is
    /// the first with this stack.
    pub fn add(&mut self, space: SpaceId, sample: &Sample<'_>, link: Option<&Link>, nanos: u64) -> bool {
        self.words.clear();
        self.words.extend(sample.interpreted.words().chain(sample.kernel.words()).chain(sample.user.words()));
        let ends = Ends {
            failed: sample.kernel.failed || sample.user.failed,
            cut: sample.is_cut(),
            complete: sample.result == RESULT_COMPLETE,
        };
        let (interpreted, kernel) = (sample.interpreted.len(), sample.kernel.len());
        let view = View { space, comm: sample.comm, link, ends, interpreted, kernel, words: &self.words };
        if let Some(weight) = self.weights.get_mut(&view) {
            weight.add(nanos);
            return false;
        }
        let bytes = OVERHEAD + size_of_val(self.words.as_slice());
        if self.bytes + bytes > self.limit {
            // Better without its request than not at all.
            if link.is_some() {
                return self.add(space, sample, None, nanos);
            }
            self.dropped += 1;
            return false;
        }
        self.bytes += bytes;
        let words = self.words.as_slice().into();
        let link = link.cloned();
        let weight = Weight { count: 1, nanos };
        self.weights.insert(Stack { space, comm: sample.comm, link, ends, interpreted, kernel, words }, weight);
        true
    }

    /// The stacks with what their samples come to.
    pub fn iter(&self) -> impl Iterator<Item = (&Stack, Weight)> {
        self.weights.iter().map(|(stack, weight)| (stack, *weight))
    }

    /// All that was added so far, and begins anew with as much room.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.limit))
    }

    /// Samples for which there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::sample::{decode, tests::record};

    #[test]
    fn equal_samples_are_one_stack() {
        let mut stacks = Stacks::default();
        let mut add = |space, bytes: &[u8]| stacks.add(SpaceId(space), &decode(bytes).unwrap(), None, 5);
        assert!(add(0, &record(1, "a", 0, &[1], &[2, 3])));
        assert!(!add(0, &record(1, "a", 0, &[1], &[2, 3])));
        assert!(add(1, &record(1, "a", 0, &[1], &[2, 3])), "another process");
        assert!(add(0, &record(1, "b", 0, &[1], &[2, 3])), "another thread");
        assert!(add(0, &record(1, "a", 0, &[1, 2], &[3])), "the kernel's part is another");
        assert!(add(0, &record(1, "a", 1, &[1], &[2, 3])), "another end");
        let link = Link { trace_id: 1u128.into(), span_id: 2u64.into(), endpoint: "GET /".into() };
        let sample = record(1, "a", 0, &[1], &[2, 3]);
        let sample = decode(&sample).unwrap();
        assert!(stacks.add(SpaceId(0), &sample, Some(&link), 7), "for a request");
        assert!(!stacks.add(SpaceId(0), &sample, Some(&link), 7));
        let of_link = stacks.iter().find(|(stack, _)| stack.link.is_some()).unwrap();
        assert_eq!((of_link.0.link.as_ref(), of_link.1), (Some(&link), Weight { count: 2, nanos: 14 }));
        assert_eq!(stacks.iter().map(|(_, weight)| weight.count).sum::<u64>(), 8);
        let twice = |weight| weight == Weight { count: 2, nanos: 10 };
        let (stack, _) = stacks.iter().find(|(_, weight)| twice(*weight)).unwrap();
        assert_eq!((stack.kernel(), stack.user()), ([1].as_slice(), [2, 3].as_slice()));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut stacks = Stacks::new(3 * (OVERHEAD + 8));
        for round in 0..2 {
            for address in 0..5 {
                let bytes = record(1, "a", 0, &[], &[address]);
                let is_new = stacks.add(SpaceId(0), &decode(&bytes).unwrap(), None, 1);
                assert_eq!(is_new, round == 0 && address < 3);
            }
        }
        assert_eq!(stacks.iter().map(|(_, weight)| weight.count).sum::<u64>(), 6);
        assert_eq!(stacks.dropped(), 4);
        let taken = stacks.take();
        assert_eq!((taken.iter().count(), stacks.iter().count(), stacks.dropped()), (3, 0, 0));
        let bytes = record(1, "a", 0, &[], &[9]);
        assert!(stacks.add(SpaceId(0), &decode(&bytes).unwrap(), None, 1), "there is room again");
    }
}
