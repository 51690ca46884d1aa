//! Frames of interpreted functions, as samples have them, and what the kernel side must know to find them.
//!
//! Interpreters keep frames of their own, apart from the stack of the thread. A C function of the interpreter evaluates a *run* of them: one,
//! or as many as call each other without leaving it. The sampling program first lists the runs, the innermost first, each with an *anchor*:
//! an address within the stack frame of that C function. Walking the stack, it then puts [`RUN`] in the place of each frame that the next
//! anchor lies in. Runs for which no such frame was met belong outside of all that was walked.
//!
//! A frame of an interpreter is two words. The first: which interpreter (upper 4 bits), [`LAST`], and the address of what describes the
//! function (56 bits). The second: where it is in the function (upper half, signed), and a [`check`] value.

/// Frames of interpreters in a sample at most.
pub const MOST: usize = 1024;
/// Words that those have.
pub const WORDS_MOST: usize = 2 * MOST;

/// In the place of an address: here was the function of the interpreter that evaluates the next run.
pub const RUN: u64 = 0xff << ADDRESS_BITS;
/// Bits of addresses in the memory of a process.
pub const ADDRESS_BITS: u32 = 56;
/// In the first word: this is the outermost frame of its run.
pub const LAST: u64 = 1 << 59;
/// Where in the first word the interpreter is: [`CPYTHON`].
pub const KIND_SHIFT: u32 = 60;
/// The address in a word.
pub const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;

/// CPython, as the kind of an interpreter: see [`python`].
pub const CPYTHON: u32 = 1;

/// How the frames of an interpreter are found: the values of the `INTERPRETERS` map, by thread group.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interpreter {
    /// Which.
    pub kind: u32,
    /// Zero.
    pub pad: u32,
    /// Offsets and addresses: what they are is said where each interpreter is.
    pub at: [u64; FIELDS],
    /// Code of the functions that evaluate one frame each, of interpreters that leave no address of theirs: two times first address and behind
    /// the last one.
    pub code: [u64; 4],
}

/// Numbers of an [`Interpreter`].
pub const FIELDS: usize = 16;

/// What two functions that are described at the same address, one after the other, hardly have in common.
#[inline(always)]
#[must_use]
pub const fn check(first_line: u32, name: u64) -> u32 {
    first_line.rotate_left(16) ^ (name >> 4) as u32
}

/// CPython 3.8 and later. What [`Interpreter::at`] holds.
pub mod python {
    /// An offset that does not apply.
    pub const NONE: u64 = u64::MAX;

    /// From the thread pointer to a word of thread-local memory.
    pub const THREAD_WORD: usize = 0;
    /// That word is the address of a table, in which the thread's state is at this offset; [`NONE`]: the word is the thread's state.
    pub const THREAD_TABLE: usize = 1;
    /// In the thread's state, the innermost frame; with [`CHAIN_FRAME`], not looked at.
    pub const STATE_FRAME: usize = 2;
    /// In the thread's state, the record of the innermost C function that evaluates frames (`CFrame`); such records are on the stack.
    /// [`NONE`]: there are none.
    pub const STATE_CHAIN: usize = 3;
    /// In such a record, that of the next one.
    pub const CHAIN_PREVIOUS: usize = 4;
    /// In such a record, the innermost frame; [`NONE`]: the thread's state has it.
    pub const CHAIN_FRAME: usize = 5;
    /// Bytes of a frame that are looked at, at most [`FRAME_BYTES_MOST`].
    pub const FRAME_BYTES: usize = 6;
    /// In a frame, its caller's.
    pub const FRAME_PREVIOUS: usize = 7;
    /// In a frame, the code object; the lowest bits may be flags.
    pub const FRAME_CODE: usize = 8;
    /// In a frame, the address of an instruction; without [`CODE_START`], its 32-bit index.
    pub const FRAME_POSITION: usize = 9;
    /// In a frame, the byte that says where runs end: see [`RUNS`].
    pub const FRAME_END: usize = 10;
    /// How runs are told: `RUNS_*`.
    pub const RUNS: usize = 11;
    /// In a code object, the first instruction, or [`NONE`].
    pub const CODE_START: usize = 12;
    /// In a code object, the 32-bit first line.
    pub const CODE_LINE: usize = 13;
    /// In a code object, the name.
    pub const CODE_NAME: usize = 14;

    /// Each frame is a run (to 3.10).
    pub const RUNS_OF_ONE: u64 = 0;
    /// The byte is not 0 in the last frame of a run (3.11).
    pub const RUNS_TO_FLAG: u64 = 1;
    /// Behind a run is a frame that stands for the C function, on its stack: its byte is at least [`OWNED_BY_C`] (from 3.12).
    pub const RUNS_TO_FRAME: u64 = 2;
    /// `FRAME_OWNED_BY_CSTACK` of 3.12 and 3.13, `FRAME_OWNED_BY_INTERPRETER` since.
    pub const OWNED_BY_C: u64 = 3;

    /// Bytes of a frame, or of a code object, that are looked at.
    pub const FRAME_BYTES_MOST: u64 = 128;
}
