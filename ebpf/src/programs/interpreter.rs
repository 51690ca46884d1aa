//! Frames of interpreters: lists them before the stack is walked, and puts them where they belong while it is. One file for each
//! interpreter; this one knows which a process has. See [`geophone_ebpf::interpreter`].

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use geophone_ebpf::{
    interpreter::{CPYTHON, LAST, MOST, RUN, WORDS_MOST},
    record::{INTERPRETED_CUT, INTERPRETED_FAULT},
};

use crate::{
    cpython,
    maps::{FRAMES, INTERPRETERS, Runs, SAMPLES, Stacks},
};

/// Listing goes on.
pub const ON: u64 = 0;
/// It is over.
pub const OVER: u64 = 1;

/// Frames that are looked at: behind the last one that is listed, only for where its run ends.
const STEPS: u32 = 4096;
/// Runs that are evaluated in one frame of the stack: more than one only where frame pointers have left some out.
const TOGETHER: u32 = 8;
/// No address on a stack.
const NOWHERE: u64 = u64::MAX;

/// Lists the frames of the current thread, at the beginning of the sample's.
#[inline(always)]
pub fn list(runs: &mut Runs, tgid: u32) {
    runs.words = 0;
    runs.count = 0;
    runs.placed = 0;
    runs.open = 0;
    runs.flags = 0;
    // SAFETY: a copy is taken at once.
    match unsafe { INTERPRETERS.get(tgid) } {
        Some(interpreter) => runs.interpreter = *interpreter,
        None => return,
    }
    if interpreter_begin() != ON {
        return;
    }
    for _ in 0..STEPS {
        if interpreter_step() != ON {
            break;
        }
    }
    // What ends without an anchor comes outside of all else.
    if runs.open != 0 {
        interpreter_close();
    }
}

/// The work space of this processor's sample.
#[inline(always)]
fn work() -> Option<&'static mut Stacks> {
    // SAFETY: the helper has no preconditions.
    let sample = SAMPLES.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })?;
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    Some(unsafe { &mut *sample })
}

/// Finds the innermost frame.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interpreter_begin() -> u64 {
    let Some(sample) = work() else {
        return OVER;
    };
    // One line for each interpreter.
    let begun = match sample.runs.interpreter.kind {
        CPYTHON => cpython::begin(&mut sample.runs),
        _ => return OVER,
    };
    if !begun {
        sample.runs.flags |= INTERPRETED_FAULT;
        return OVER;
    }
    ON
}

/// One frame.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interpreter_step() -> u64 {
    let Some(sample) = work() else {
        return OVER;
    };
    // One line for each interpreter.
    match sample.runs.interpreter.kind {
        CPYTHON => cpython::step(sample),
        _ => OVER,
    }
}

/// Ends a run whose anchor is nowhere.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interpreter_close() -> u64 {
    if let Some(sample) = work() {
        close(sample, NOWHERE);
    }
    0
}

/// Adds a frame to the run.
#[inline(always)]
pub fn add(sample: &mut Stacks, function: u64, position: u64) {
    let words = sample.runs.words;
    if words >= WORDS_MOST as u64 {
        sample.runs.flags |= INTERPRETED_CUT;
        return;
    }
    put(sample, words, function);
    put(sample, words + 1, position);
    sample.runs.words = words + 2;
    sample.runs.open = 1;
}

/// Ends the run, if there is one.
#[inline(always)]
pub fn close(sample: &mut Stacks, anchor: u64) {
    let runs = &mut sample.runs;
    if runs.open == 0 {
        return;
    }
    runs.open = 0;
    // SAFETY: any index becomes one of them.
    unsafe { *(&raw mut runs.anchors).cast::<u64>().add((runs.count & (MOST as u64 - 1)) as usize) = anchor };
    runs.count += 1;
    let last = (runs.words.wrapping_sub(2) & (FRAMES as u64 - 1)) as usize;
    // SAFETY: as above.
    unsafe { *(&raw mut sample.frames).cast::<u64>().add(last) |= LAST };
}

#[inline(always)]
fn put(sample: &mut Stacks, index: u64, word: u64) {
    // SAFETY: any index becomes one of them.
    unsafe { *(&raw mut sample.frames).cast::<u64>().add((index & (FRAMES as u64 - 1)) as usize) = word };
}

/// After a frame of the stack, from `before` to the stack pointer: puts the next run into its place, if it was evaluated there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn interpreter_place() -> u64 {
    let Some(sample) = work() else {
        return 0;
    };
    if sample.runs.placed >= sample.runs.count {
        return 0;
    }
    let walk = &sample.walk;
    let (before, size, noted) = (walk.before, walk.sp.wrapping_sub(walk.before), walk.count.wrapping_sub(1));
    let index = walk.first.wrapping_add(noted);
    let [from, to, cold_from, cold_to] = sample.runs.interpreter.code;
    let mut placed = 0;
    if to != 0 {
        let at = walk.at;
        placed = u64::from((from <= at && at < to) || (cold_from <= at && at < cold_to));
    } else {
        for _ in 0..TOGETHER {
            let next = sample.runs.placed + placed;
            // SAFETY: any index becomes one of them.
            let anchor =
                unsafe { *(&raw const sample.runs.anchors).cast::<u64>().add((next & (MOST as u64 - 1)) as usize) };
            if next >= sample.runs.count || anchor.wrapping_sub(before) >= size {
                break;
            }
            placed += 1;
        }
    }
    if placed != 0 {
        sample.runs.placed += placed;
        put(sample, index, RUN | placed);
    }
    0
}
