//! Where in a thread's own memory its `PyThreadState` is found. The interpreter keeps it under a key of pthreads
//! (`_PyRuntime.autoTSSkey`), from 3.15 on in a thread-local variable. How a C library keeps such keys is its own affair, so the place
//! is searched for, in the threads that there are; it is the same in all.

use std::{collections::BTreeSet, io, thread, time::Duration};

use super::layout::{Layout, Version};
use crate::runtime::memory::Memory;

/// From the thread pointer to a thread's state; wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The address of the state is at this offset.
    Word(u64),
    /// The address of a table is at this offset, and in the table that of the state.
    Table(u64, u64),
}

/// A thread with a state.
#[derive(Clone, Copy, Debug)]
struct Thread {
    state: u64,
    /// What `pthread_self` gave, which on `x86_64` is the thread pointer.
    pointer: u64,
}

/// Threads that are looked at.
const THREADS: usize = 32;
/// Words from the thread pointer on that belong to the thread: glibc's `struct pthread` has 2,304 bytes, musl's 200.
const ABOVE: usize = 2304 / 8;
/// Words of a table of keys; musl has 128 keys, glibc 32 with two words each in a table.
const TABLE: usize = 128;
/// Words before the thread pointer: thread-local variables of what is loaded at start.
const BELOW: usize = 16 << 10 >> 3;
/// The first version that keeps the state in a thread-local variable.
const VARIABLE: Version = Version(15);
/// How often it is looked, and how long in between, until the variable can be told from another one that has the same value while the
/// thread runs Python code (`_Py_tss_tstate`).
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);
/// How often it is looked before: a thread that is just beginning or ending has not everything in its place.
const TRIES: u32 = 4;

/// Finds the place; `None` when it cannot be told (yet).
///
/// # Errors
/// When memory is not mapped that should be.
pub fn find(memory: &Memory, layout: &Layout, interpreter: u64) -> io::Result<Option<Place>> {
    let mut place = None;
    for _ in 0..if layout.version < VARIABLE { TRIES } else { 1 } {
        place = likely(memory, layout, interpreter)?.filter(|likely| likely.is_certain).map(|likely| likely.place);
        if place.is_some() {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(place)
}

/// Where a thread's state is found at least while it runs Python code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likely {
    /// There.
    pub place: Place,
    /// There at any time.
    pub is_certain: bool,
}

/// The same, with what cannot be told from it (yet).
///
/// # Errors
/// When memory is not mapped that should be.
pub fn likely(memory: &Memory, layout: &Layout, interpreter: u64) -> io::Result<Option<Likely>> {
    let certain = |place| Likely { place, is_certain: true };
    let threads = threads(memory, layout, interpreter)?;
    // The last one is the oldest: that with the most memory of its own around it, and the last to end.
    let Some(oldest) = threads.last() else {
        return Ok(None);
    };
    let one = |places: &mut dyn Iterator<Item = Place>| {
        let mut good = places.filter(|place| threads.iter().all(|thread| thread.is_at(memory, *place)));
        good.next()
    };
    let above = memory.words(oldest.pointer, ABOVE);
    if layout.version < VARIABLE {
        let mut words = offsets(&above, oldest.state).map(Place::Word);
        let place = one(&mut words).or_else(|| {
            let mut tables = above.iter().enumerate().flat_map(|(index, table)| {
                let found = offsets(&memory.words(*table, TABLE), oldest.state).collect::<Vec<_>>();
                found.into_iter().map(move |at| Place::Table(8 * index as u64, at))
            });
            one(&mut tables)
        });
        return Ok(place.map(certain));
    }
    Ok(variable(memory, &threads, oldest))
}

/// The thread-local variable: of those that hold the state, the one that always does.
fn variable(memory: &Memory, threads: &[Thread], oldest: &Thread) -> Option<Likely> {
    let mut left: Option<BTreeSet<Place>> = None;
    let mut likely = None;
    for _ in 0..LOOKS {
        let found: BTreeSet<Place> = below(memory, oldest).into_iter().map(Place::Word).collect();
        let both = match left {
            Some(left) => left.intersection(&found).copied().collect(),
            None => found,
        };
        let mut good = both.iter().filter(|place| threads.iter().all(|thread| thread.is_at(memory, **place)));
        likely = good.next().map(|place| Likely { place: *place, is_certain: good.next().is_none() });
        if likely.is_some_and(|likely| likely.is_certain) {
            break;
        }
        left = Some(both);
        thread::sleep(PAUSE);
    }
    likely
}

/// Offsets, before the thread pointer, of words that hold a thread's state.
fn below(memory: &Memory, thread: &Thread) -> Vec<u64> {
    const PAGE: u64 = 4096;
    let mut offsets_below = Vec::new();
    let lowest = thread.pointer.saturating_sub(8 * BELOW as u64);
    let mut end = thread.pointer;
    while end > lowest {
        let start = ((end - 1) / PAGE * PAGE).max(lowest);
        let words = memory.words(start, (end - start) as usize / 8);
        if words.is_empty() {
            break;
        }
        let base = start.wrapping_sub(thread.pointer);
        offsets_below.extend(offsets(&words, thread.state).map(|offset| base.wrapping_add(offset)));
        end = start;
    }
    offsets_below
}

/// Offsets of the words that are `value`.
fn offsets(words: &[u64], value: u64) -> impl Iterator<Item = u64> {
    words.iter().enumerate().filter(move |(_, word)| **word == value).map(|(index, _)| 8 * index as u64)
}

impl Thread {
    fn is_at(&self, memory: &Memory, place: Place) -> bool {
        let found = match place {
            Place::Word(offset) => memory.word(self.pointer.wrapping_add(offset)),
            Place::Table(offset, at) => {
                memory.word(self.pointer.wrapping_add(offset)).and_then(|table| memory.word(table.wrapping_add(at)))
            }
        };
        found.is_ok_and(|found| found == self.state)
    }
}

/// The threads that have a state, youngest first. One that is just beginning or ending may have no pointer yet.
fn threads(memory: &Memory, layout: &Layout, interpreter: u64) -> io::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    let mut state = memory.word(interpreter.wrapping_add(layout.threads))?;
    while state != 0 && threads.len() < THREADS {
        let pointer = memory.word(state.wrapping_add(layout.thread_id))?;
        if pointer != 0 {
            threads.push(Thread { state, pointer });
        }
        state = memory.word(state.wrapping_add(layout.thread_next))?;
    }
    Ok(threads)
}
