//! Walks the stack of a process from caller to caller, by the rows that the agent has made of frame descriptions, and by frame pointers
//! where code has none (Go, code that a process has made). What it needs is in the work space of samples. The parts are global
//! functions: verified once and by themselves, not once for each frame.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_get_smp_processor_id};
use geophone_ebpf::{
    interpreter::ADDRESS,
    record::{
        RESULT_COMPLETE, RESULT_DISORDER, RESULT_FAULT, RESULT_FOREIGN, RESULT_KERNEL, RESULT_NO_MAPPING,
        RESULT_NO_ROW, RESULT_NONE, RESULT_POINTERS_END, RESULT_TRUNCATED, RESULT_UNSUPPORTED, USER_MAX,
        WALK_BY_POINTERS, WALK_NO_ROOM, WALK_TOO_EARLY,
    },
    unwind::{
        AT_FP, CHUNK, CHUNK_STEPS, END, FOREIGN, FP_AT_CFA, FP_AT_FP, FP_LOST, FROM_FP, FROM_SP, LOADING, NO_ROOM,
        NONE, PLT, RANGES_STEPS, Range, Rule, SIGNAL, Space, WITHOUT_ROWS, signal,
    },
};

use crate::{
    handover, interpreter,
    kernel::{copy_user, read},
    mapping::{self, FOUND, NOTHING},
    maps::{FRAMES, RANGES, ROWS, SAMPLES, SPACES, Walking, config},
};

/// `PF_KTHREAD` of `include/linux/sched.h`.
pub const KERNEL_THREAD: u32 = 0x0020_0000;
/// What a return address is stored below of the CFA.
const RETURN: u64 = 8;
/// A word.
const WORD: u64 = 8;

/// A walk goes on.
const ON: u64 = 0;
/// It is over: `result` says why.
const OVER: u64 = 1;

/// Walks the stack of the current thread. Its frames come behind the kernel's `first` ones.
#[inline(always)]
pub fn walk(walk: &mut Walking, tgid: u32, first: u64) {
    walk.count = 0;
    walk.first = first;
    walk.flags = 0;
    walk.mapped = 0;
    walk.exact = 1;
    walk.fp_lost = 0;
    walk.range = Range { start: 1, end: 0, base: 0, chunk: WITHOUT_ROWS, rows: 0 };
    walk.ruled = 0;
    walk.rule = Rule::plain(NONE);
    // SAFETY: a copy is taken at once.
    walk.space = unsafe { SPACES.get(tgid) }.copied().unwrap_or(Space { first: 0, count: 0 });
    walk.result = registers(walk);
    if walk.result != RESULT_KERNEL {
        return;
    }
    for _ in 0..=USER_MAX {
        if walk_step() != ON {
            return;
        }
    }
}

/// Takes over where the thread was in its own code when it was interrupted, or went into the kernel.
#[inline(always)]
fn registers(walk: &mut Walking) -> u32 {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    if read::<u32>(task, config!(offsets.task_flags)).unwrap_or(KERNEL_THREAD) & KERNEL_THREAD != 0 {
        return RESULT_NONE;
    }
    // Interrupts, too, leave them there when they come while the process itself runs.
    let registers = handover::registers();
    match (
        read::<u64>(registers, config!(offsets.regs_ip)),
        read::<u64>(registers, config!(offsets.regs_sp)),
        read::<u64>(registers, config!(regs_fp)),
    ) {
        (Some(ip), Some(sp), Some(fp)) => {
            walk.ip = ip;
            walk.sp = sp;
            walk.fp = fp;
            RESULT_KERNEL
        }
        _ => RESULT_FAULT,
    }
}

/// The walk of this processor's sample.
#[inline(always)]
pub fn work() -> Option<*mut Walking> {
    // SAFETY: the helper has no preconditions.
    let sample = SAMPLES.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })?;
    // SAFETY: the map keeps it alive.
    Some(unsafe { &raw mut (*sample).walk })
}

/// One frame: it is noted, and its caller looked for.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_step() -> u64 {
    let Some(walk) = work() else {
        return OVER;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let walk = unsafe { &mut *walk };
    walk.before = walk.sp;
    let goes_on = step(walk);
    if goes_on == ON {
        interpreter::interpreter_place();
    }
    goes_on
}

#[inline(always)]
fn step(walk: &mut Walking) -> u64 {
    walk.at = walk.ip.wrapping_sub(1).wrapping_add(walk.exact);
    let (mut is_known, mut is_mapped) = (true, true);
    if walk_range() == 0 {
        // The agent does not know yet what is mapped there, or nothing is. The kernel does, where it can be asked.
        is_mapped = walk.space.count == 0;
        is_known = false;
        if config!(mappings.known) != 0 {
            let found = mapping::walk_mapping();
            is_known = found == FOUND;
            is_mapped = found != NOTHING;
        } else if walk.count == 0 {
            // Something runs there: a new program, or a new library.
            walk.space.count = 0;
        }
    }
    if !is_mapped && walk.count != 0 {
        // The agent looks whether something has been mapped there since.
        if walk.count < USER_MAX as u64 {
            note(walk);
        }
        return over(walk, RESULT_NO_MAPPING);
    }
    if walk.count >= USER_MAX as u64 {
        return over(walk, RESULT_TRUNCATED);
    }
    note(walk);
    if !is_known {
        walk.flags |= WALK_TOO_EARLY;
        return by_pointers(walk);
    }
    let chunk = walk.range.chunk;
    if chunk == FOREIGN {
        return over(walk, RESULT_FOREIGN);
    }
    if chunk == LOADING {
        walk.flags |= WALK_TOO_EARLY;
        return by_pointers(walk);
    }
    if chunk == NO_ROOM {
        walk.flags |= WALK_NO_ROOM;
        return by_pointers(walk);
    }
    if chunk == WITHOUT_ROWS {
        return by_pointers(walk);
    }
    if walk.at != walk.ruled {
        walk_rule();
        walk.ruled = walk.at;
    }
    by_rule(walk)
}

#[inline(always)]
fn over(walk: &mut Walking, result: u32) -> u64 {
    walk.result = result;
    OVER
}

/// Notes a frame: behind the instruction that is meant, but for the innermost.
#[inline(always)]
fn note(walk: &mut Walking) {
    // SAFETY: as in `work`.
    let Some(sample) = SAMPLES.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) else {
        return;
    };
    let address = if walk.count == 0 { walk.at } else { walk.at.wrapping_add(1) };
    let place = walk.first.wrapping_add(walk.count) & (FRAMES as u64 - 1);
    // No address in a process has more bits; what else a word can be is told by those.
    // SAFETY: there are so many frames.
    unsafe { *(&raw mut (*sample).frames).cast::<u64>().add(place as usize) = address & ADDRESS };
    walk.count += 1;
}

/// Finds the caller as code with frame pointers lets it be found. What looks like a frame pointer and leads nowhere is none.
#[inline(always)]
fn by_pointers(walk: &mut Walking) -> u64 {
    let fp = walk.fp;
    if walk.fp_lost != 0 {
        return over(walk, RESULT_NO_ROW);
    }
    if fp == 0 {
        return over(walk, RESULT_POINTERS_END);
    }
    if fp % WORD != 0 || fp < walk.sp {
        return over(walk, RESULT_NO_ROW);
    }
    walk.flags |= WALK_BY_POINTERS;
    if !fetch(&mut walk.word, fp.wrapping_add(WORD)) || !fetch(&mut walk.saved, fp) {
        return over(walk, RESULT_NO_ROW);
    }
    if walk.word == 0 {
        return over(walk, RESULT_POINTERS_END);
    }
    walk.ip = walk.word;
    walk.sp = fp.wrapping_add(2 * WORD);
    walk.fp = walk.saved;
    walk.exact = 0;
    ON
}

/// Finds the caller by a row.
#[inline(always)]
fn by_rule(walk: &mut Walking) -> u64 {
    let rule = walk.rule;
    let offset = rule.offset() as u64;
    let kind = rule.kind();
    if kind == NONE {
        return by_pointers(walk);
    }
    if kind == END {
        return over(walk, RESULT_COMPLETE);
    }
    if kind == SIGNAL {
        return interrupted(walk);
    }
    let cfa = if kind == FROM_SP {
        walk.sp.wrapping_add(offset)
    } else if kind == PLT {
        let threshold = offset / WORD;
        walk.sp.wrapping_add(WORD).wrapping_add(if walk.at & 15 >= threshold { WORD } else { 0 })
    } else if walk.fp_lost != 0 {
        return over(walk, RESULT_UNSUPPORTED);
    } else if kind == FROM_FP {
        walk.fp.wrapping_add(offset)
    } else if kind == AT_FP {
        if !fetch(&mut walk.word, walk.fp.wrapping_add(offset)) {
            return over(walk, RESULT_FAULT);
        }
        walk.word
    } else {
        return over(walk, RESULT_UNSUPPORTED);
    };
    if cfa <= walk.sp {
        return over(walk, RESULT_DISORDER);
    }
    let saved = match rule.fp() {
        FP_AT_CFA => cfa.wrapping_add(rule.fp_offset() as u64),
        FP_AT_FP => walk.fp.wrapping_add(rule.fp_offset() as u64),
        FP_LOST => {
            walk.fp_lost = 1;
            0
        }
        _ => 0,
    };
    if saved != 0 {
        if !fetch(&mut walk.saved, saved) {
            return over(walk, RESULT_FAULT);
        }
        walk.fp = walk.saved;
        walk.fp_lost = 0;
    }
    if !fetch(&mut walk.word, cfa.wrapping_sub(RETURN)) {
        return over(walk, RESULT_FAULT);
    }
    if walk.word == 0 {
        return over(walk, RESULT_COMPLETE);
    }
    walk.ip = walk.word;
    walk.sp = cfa;
    walk.exact = 0;
    ON
}

/// Goes back to what a signal has interrupted, which may be on another stack.
#[inline(always)]
fn interrupted(walk: &mut Walking) -> u64 {
    let frame = walk.sp;
    if !fetch(&mut walk.ip, frame.wrapping_add(signal::IP))
        || !fetch(&mut walk.sp, frame.wrapping_add(signal::SP))
        || !fetch(&mut walk.fp, frame.wrapping_add(signal::FP))
    {
        return over(walk, RESULT_FAULT);
    }
    walk.fp_lost = 0;
    walk.exact = 1;
    ON
}

/// Reads a word of the process's memory.
#[inline(always)]
fn fetch(to: &mut u64, from: u64) -> bool {
    // SAFETY: there is room for it.
    unsafe { copy_user(core::ptr::from_mut(to).cast(), WORD, from) }
}

/// Finds the range that `at` is in, unless the last one is it. Returns 0 when it is in none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_range() -> u64 {
    let Some(walk) = work() else {
        return 0;
    };
    // SAFETY: as in `walk_step`.
    let walk = unsafe { &mut *walk };
    let at = walk.at;
    if at >= walk.range.start && at < walk.range.end {
        return 1;
    }
    u64::from(search(walk, walk.space, at))
}

/// Makes the one of some ranges that a place is in the walk's. Returns false when it is in none.
#[inline(always)]
pub fn search(walk: &mut Walking, space: Space, at: u64) -> bool {
    let first = u64::from(space.first);
    put(&mut walk.low, first);
    put(&mut walk.high, first + u64::from(space.count));
    for _ in 0..RANGES_STEPS {
        let (low, high) = (take(&walk.low), take(&walk.high));
        if low >= high {
            return false;
        }
        let middle = (low + high) / 2;
        let Some(range) = RANGES.get(middle as u32) else {
            return false;
        };
        if at < range.start {
            put(&mut walk.high, middle);
        } else if at >= range.end {
            put(&mut walk.low, middle + 1);
        } else {
            walk.range = *range;
            return true;
        }
    }
    false
}

/// Finds the rule for `at` in its range.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_rule() -> u64 {
    let Some(walk) = work() else {
        return 0;
    };
    // SAFETY: as in `walk_step`.
    let walk = unsafe { &mut *walk };
    walk.rule = Rule::plain(NONE);
    let place = walk.at.wrapping_sub(walk.range.base);
    // On the stack: a constant would be in a map of its own.
    let only = 0;
    let Some(rows) = ROWS.get_value(walk.range.chunk, &only) else {
        return 0;
    };
    let rows = core::ptr::from_ref(rows).cast::<u64>();
    // SAFETY: any index becomes one of a chunk's.
    let row = |index: u64| unsafe { core::ptr::read_volatile(rows.add((index & (CHUNK as u64 - 1)) as usize)) };
    put(&mut walk.low, u64::from(walk.range.rows & 0xffff));
    put(&mut walk.high, u64::from(walk.range.rows >> 16));
    for _ in 0..CHUNK_STEPS {
        let (low, high) = (take(&walk.low), take(&walk.high));
        if low >= high {
            break;
        }
        let middle = (low + high + 1) / 2;
        if row(middle) >> 32 <= place {
            put(&mut walk.low, middle);
        } else {
            put(&mut walk.high, middle - 1);
        }
    }
    let found = row(take(&walk.low));
    if found >> 32 <= place {
        walk.rule = Rule(found as u32);
    }
    0
}

/// Writes to the work space, and not to a register: the verifier would follow a search with all the ways that it can take.
#[inline(always)]
pub fn put(to: &mut u64, value: u64) {
    // SAFETY: a reference.
    unsafe { core::ptr::write_volatile(to, value) };
}

/// Reads from the work space: see [`put`].
#[inline(always)]
pub fn take(from: &u64) -> u64 {
    // SAFETY: a reference.
    unsafe { core::ptr::read_volatile(from) }
}
