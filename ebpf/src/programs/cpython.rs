//! CPython's frames, from the state of the current thread on. What is where: [`geophone_ebpf::interpreter::python`].

use geophone_ebpf::{
    interpreter::{
        ADDRESS, CPYTHON, KIND_SHIFT, check,
        python::{
            CHAIN_FRAME, CHAIN_PREVIOUS, CODE_LINE, CODE_NAME, CODE_START, FRAME_BYTES, FRAME_BYTES_MOST, FRAME_CODE,
            FRAME_END, FRAME_POSITION, FRAME_PREVIOUS, NONE, OWNED_BY_C, RUNS, RUNS_TO_FLAG, RUNS_TO_FRAME,
            STATE_CHAIN, STATE_FRAME, THREAD_TABLE, THREAD_WORD,
        },
    },
    record::INTERPRETED_FAULT,
};

use crate::{
    capture::at_most,
    interpreter::{self, ON, OVER},
    kernel::copy_user,
    maps::{Runs, Stacks},
    python,
};

/// Flags in the address of a code object, since 3.14.
const FLAGS: u64 = 7;

/// Finds the innermost frame; false: memory could not be read.
#[inline(always)]
pub fn begin(runs: &mut Runs) -> bool {
    let at = runs.interpreter.at;
    runs.frame = 0;
    runs.chain = 0;
    let word = &mut runs.word;
    if !python::state_of_thread(at[THREAD_WORD], at[THREAD_TABLE], word) {
        return false;
    }
    let state = *word;
    if state == 0 {
        return true;
    }
    if at[STATE_CHAIN] != NONE {
        if !python::follow(word, at[STATE_CHAIN]) {
            return false;
        }
        runs.chain = *word;
        if *word == 0 {
            return true;
        }
    }
    let offset = if at[CHAIN_FRAME] != NONE {
        at[CHAIN_FRAME]
    } else {
        *word = state;
        at[STATE_FRAME]
    };
    let read = python::follow(word, offset);
    runs.frame = if read { *word } else { 0 };
    read
}

/// Takes a frame, and goes on to its caller's.
#[inline(always)]
pub fn step(sample: &mut Stacks) -> u64 {
    let runs = &mut sample.runs;
    let frame = runs.frame;
    if frame == 0 {
        return OVER;
    }
    let bytes = at_most::<FRAME_BYTES_MOST>(runs.interpreter.at[FRAME_BYTES]);
    // SAFETY: there is room for it.
    if !unsafe { copy_user((&raw mut runs.block).cast(), bytes, frame) } {
        return fault(runs);
    }
    let ends = word(&runs.block, runs.interpreter.at[FRAME_END]) & 0xff;
    let kind = runs.interpreter.at[RUNS];
    runs.frame = word(&runs.block, runs.interpreter.at[FRAME_PREVIOUS]);
    if kind == RUNS_TO_FRAME && ends >= OWNED_BY_C {
        interpreter::close(sample, frame);
        return ON;
    }
    let code = word(&runs.block, runs.interpreter.at[FRAME_CODE]) & ADDRESS & !FLAGS;
    // SAFETY: as above; code objects are longer.
    if !unsafe { copy_user((&raw mut runs.code).cast(), FRAME_BYTES_MOST, code) } {
        return fault(runs);
    }
    let name = word(&runs.code, runs.interpreter.at[CODE_NAME]);
    let line = word(&runs.code, runs.interpreter.at[CODE_LINE]) as u32;
    let start = runs.interpreter.at[CODE_START];
    let mut position = word(&runs.block, runs.interpreter.at[FRAME_POSITION]);
    if start != NONE {
        position = position.wrapping_sub(code.wrapping_add(start));
    }
    // What has no name is the interpreter's own.
    if name != 0 {
        let what = u64::from(CPYTHON) << KIND_SHIFT | code;
        interpreter::add(sample, what, position << 32 | u64::from(check(line, name)));
    }
    if kind == RUNS_TO_FRAME || (kind == RUNS_TO_FLAG && ends == 0) {
        return ON;
    }
    let chain = sample.runs.chain;
    interpreter::close(sample, chain);
    let runs = &mut sample.runs;
    // There are none to 3.9.
    if chain != 0 && !python::follow(&mut runs.chain, runs.interpreter.at[CHAIN_PREVIOUS]) {
        return fault(runs);
    }
    ON
}

#[inline(always)]
fn fault(runs: &mut Runs) -> u64 {
    runs.flags |= INTERPRETED_FAULT;
    OVER
}

/// What is at an offset, and behind that in its word.
#[inline(always)]
fn word(block: &[u64; 16], offset: u64) -> u64 {
    // SAFETY: any offset becomes one of them.
    let word = unsafe { *block.as_ptr().add((offset >> 3 & 15) as usize) };
    word >> ((offset & 7) * 8)
}
