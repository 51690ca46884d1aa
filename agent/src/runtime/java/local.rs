//! Where in a thread's own memory the address of its `JavaThread` is: a thread-local variable of `libjvm.so`, which is loaded when the
//! program runs already. How a C library keeps such memory is its own affair, so the place is searched for in the threads that there
//! are; it is the same in all.

use crate::runtime::memory::Memory;

/// A thread of the JVM.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// Its `JavaThread`.
    pub java: u64,
    /// What `pthread_self` gave, which on `x86_64` is the thread pointer.
    pub pointer: u64,
}

/// From the thread pointer to a `JavaThread`; wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its address is at this offset.
    Word(u64),
    /// In the memory of a module.
    Module {
        /// Where in the table of modules' memory the address of that is.
        module: u64,
        /// Where in that memory.
        word: u64,
    },
}

/// Where the address of the table of modules' memory is, in glibc and in musl.
pub const TABLE: u64 = 8;
/// Modules that are looked at; the first word of the table is no address.
const MODULES: usize = 256;
/// Words of a module's memory: libjvm.so has 14.
const WORDS: usize = 128;
/// Words before the thread pointer (memory of modules that are loaded at start, and of a few others), and from it on: glibc's
/// `struct pthread` has 2,304 bytes, with the first keys of pthreads, one of which HotSpot keeps the address under, too.
const BELOW: u64 = 4096;
const ABOVE: u64 = 2304 / 8;

/// Finds the place; `None` when it cannot be told (yet).
pub fn find(memory: &Memory, threads: &[Thread]) -> Option<Place> {
    let first = threads.first()?;
    let is_good = |place: &Place| threads.iter().all(|thread| place.of(memory, thread.pointer) == Some(thread.java));
    let (above, below) = (first.pointer, first.pointer.wrapping_sub(8 * BELOW));
    let near = [(above, ABOVE), (below, BELOW)].into_iter().flat_map(|(start, count)| {
        let offset = start.wrapping_sub(first.pointer);
        places(memory, start, count as usize, first.java)
            .into_iter()
            .map(move |at| Place::Word(offset.wrapping_add(at)))
    });
    let table = memory.word(first.pointer.wrapping_add(TABLE)).ok()?;
    let modules = memory.words(table, MODULES);
    let blocks = modules.iter().enumerate().skip(1).filter(|(_, block)| **block != 0 && **block % 8 == 0);
    let far = blocks.flat_map(|(index, block)| {
        let module = 8 * index as u64;
        places(memory, *block, WORDS, first.java).into_iter().map(move |word| Place::Module { module, word })
    });
    near.chain(far).find(is_good)
}

/// Offsets from an address of the words behind it that are `value`.
fn places(memory: &Memory, address: u64, count: usize, value: u64) -> Vec<u64> {
    let words = memory.words(address, count);
    words.iter().zip(0..).filter(|(word, _)| **word == value).map(|(_, index)| 8 * index).collect()
}

impl Place {
    fn of(self, memory: &Memory, pointer: u64) -> Option<u64> {
        match self {
            Self::Word(word) => memory.word(pointer.wrapping_add(word)).ok(),
            Self::Module { module, word } => {
                let table = memory.word(pointer.wrapping_add(TABLE)).ok()?;
                let block = memory.word(table.wrapping_add(module)).ok()?;
                memory.word(block.wrapping_add(word)).ok()
            }
        }
    }
}
