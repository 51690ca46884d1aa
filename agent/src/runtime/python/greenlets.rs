//! Greenlets, where gevent or eventlet switches between them: each has a stack of its own for its frames, whose lowest chunk names it.
//! Where a thread's state has the current chunk differs by version, and is found by what a chunk looks like. Before Python 3.11 there are
//! no such stacks, and greenlets stay unknown. Who has started a greenlet is not looked for.

use std::io;

use geophone_ebpf::{
    config::Runtime,
    python::{NONE, STACK_CHUNK},
};

use super::{Located, asyncio::Process, layout::Layout, layout::Version, set, set_threads};
use crate::runtime::{Refusal, memory::Memory};

/// The first version with such stacks.
const FIRST: Version = Version(11);
/// Modules of those that switch. `greenlet` alone is imported by programs that have one greenlet in each thread.
const SWITCHES: [&str; 2] = ["gevent.hub", "eventlet.hubs.hub"];
/// Words of a thread's state that are looked at.
const WORDS: usize = 128;
/// Threads that are looked at.
const THREADS: usize = 32;
/// Bytes of a chunk: the smallest, and more than any.
const SIZES: std::ops::RangeInclusive<u64> = 4096..=1 << 30;

/// Fills in what there is.
pub fn find(process: &Process<'_>, located: &Located, runtime: &mut Runtime) -> Result<(), Refusal> {
    if process.layout.version < FIRST {
        return Ok(());
    }
    let Some(interpreter) = located.main()? else {
        return Ok(());
    };
    let mut switches = false;
    for name in SWITCHES {
        switches |= process.module(interpreter, name)?.is_some();
    }
    if !switches {
        return Ok(());
    }
    if let Some(place) = located.threads(interpreter)?
        && let Some(chunk) = chunk(process.memory, process.layout, interpreter)?
    {
        set_threads(runtime, place);
        set(runtime, STACK_CHUNK, chunk);
    } else {
        set(runtime, STACK_CHUNK, NONE);
    }
    Ok(())
}

/// Where in a thread's state the address of its current chunk is: the same in all threads that have one.
fn chunk(memory: &Memory, layout: &Layout, interpreter: u64) -> io::Result<Option<u64>> {
    let mut found: Option<Vec<u64>> = None;
    let mut state = memory.word(interpreter.wrapping_add(layout.threads))?;
    for _ in 0..THREADS {
        if state == 0 {
            break;
        }
        let words = memory.words(state, WORDS);
        let here = words.windows(3).zip(0..).filter(|(words, _)| is_chunk(memory, words)).map(|(_, index)| 8 * index);
        let here: Vec<u64> = here.collect();
        // A thread that runs no Python code has none.
        if !here.is_empty() {
            found = Some(match found {
                Some(found) => found.into_iter().filter(|offset| here.contains(offset)).collect(),
                None => here,
            });
        }
        state = memory.word(state.wrapping_add(layout.thread_next))?;
    }
    Ok(found.and_then(|found| <[u64; 1]>::try_from(found).ok()).map(|[offset]| offset))
}

/// Whether three words are a chunk, the top of what is used of it, and its end: which it says itself by its size.
fn is_chunk(memory: &Memory, words: &[u64]) -> bool {
    let [chunk, top, end] = *words else {
        return false;
    };
    let is_inside = chunk != 0 && chunk % 8 == 0 && chunk < top && top <= end && SIZES.contains(&(end - chunk));
    is_inside && memory.words(chunk, 2).get(1).is_some_and(|size| chunk.wrapping_add(*size) == end)
}
