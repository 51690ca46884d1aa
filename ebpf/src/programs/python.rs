//! CPython: the asyncio task that runs on the current thread, and new tasks. How it is found is described at
//! [`geophone_ebpf::python`]; the agent finds the addresses and offsets in the process's memory.

use aya_ebpf::{EbpfContext as _, helpers::bpf_get_current_task, programs::ProbeContext};
use geophone_ebpf::{
    config::{RUNTIME_PYTHON, Runtime},
    python::{self, NONE},
    record::HANDOVER_SPAWN,
    stats::Counter,
};

use crate::{
    emit, handover,
    kernel::{copy, copy_user, read},
    maps::{RUNTIMES, config},
    process::Current,
};

/// Finds the task's address; 0: none runs, in the loop's own callbacks for example. What is on the way is read into where it will be:
/// the stack is short.
#[inline(always)]
pub fn current(runtime: &Runtime, task: &mut u64) {
    let read = match (runtime.at[python::TASKS], runtime.at[python::RUNNING_TASK]) {
        (0, NONE) => true,
        (0, at) => thread_state(runtime, task) && (*task == 0 || follow(task, at)),
        (tasks, _) => by_loop(runtime, tasks, task),
    };
    if !read || (*task == 0 && runtime.at[python::STACK_CHUNK] != NONE && !greenlet(runtime, task)) {
        *task = 0;
        emit::count(Counter::TaskFault);
    }
}

/// Finds the lowest chunk of the current greenlet's stack; 0: Python does not run, or it is deeper than is looked at.
#[inline(always)]
fn greenlet(runtime: &Runtime, chunk: &mut u64) -> bool {
    if !thread_state(runtime, chunk) {
        return false;
    }
    if *chunk == 0 {
        return true;
    }
    if !follow(chunk, runtime.at[python::STACK_CHUNK]) {
        return false;
    }
    for _ in 0..python::CHUNKS {
        let last = *chunk;
        if last == 0 || !follow(chunk, 0) {
            return last == 0;
        }
        if *chunk == 0 {
            *chunk = last;
            return true;
        }
    }
    *chunk = 0;
    true
}

/// Before 3.14 a dict has it, by loop. The loop of the current thread is not looked for: a task runs in its own context (PEP 567), and
/// so it is on this thread if this thread's context is the task's.
#[inline(always)]
fn by_loop(runtime: &Runtime, tasks: u64, task: &mut u64) -> bool {
    *task = tasks;
    if !follow(task, python::DICT_USED) {
        return false;
    }
    if *task == 0 {
        return true;
    }
    if !thread_state(runtime, task) {
        return false;
    }
    if *task == 0 {
        return true;
    }
    if !follow(task, runtime.at[python::CONTEXT]) {
        return false;
    }
    let context = *task;
    if context == 0 {
        return true;
    }
    *task = tasks;
    if !follow(task, python::DICT_KEYS) {
        return false;
    }
    let keys = *task;
    let old = runtime.at[python::OLD_KEYS] != 0;
    if !follow(task, if old { python::OLD_KEYS_SIZE } else { python::KEYS_LOG2 }) {
        return false;
    }
    let first = if old {
        keys.wrapping_add(python::OLD_KEYS_HEADER).wrapping_add(*task)
    } else {
        // The second byte of that word.
        keys.wrapping_add(python::KEYS_HEADER).wrapping_add(1 << (*task >> 8 & 31))
    };
    *task = keys;
    if !follow(task, if old { python::OLD_KEYS_ENTRIES } else { python::KEYS_ENTRIES }) {
        return false;
    }
    // The newest entry is the last one; there are as many as loops run, and some that were deleted.
    let mut entry = first.wrapping_add(task.wrapping_mul(python::ENTRY_SIZE));
    for _ in 0..python::ENTRIES_SEARCHED {
        if entry <= first {
            break;
        }
        *task = entry;
        if !follow(task, python::ENTRY_VALUE.wrapping_sub(python::ENTRY_SIZE)) {
            return false;
        }
        let running = *task;
        if running != 0 {
            if !follow(task, runtime.at[python::TASK_CONTEXT]) {
                return false;
            }
            if *task == context {
                *task = running;
                return true;
            }
        }
        entry = entry.wrapping_sub(python::ENTRY_SIZE);
    }
    *task = 0;
    true
}

/// Finds the `PyThreadState` of the current thread; 0 where it has none.
#[inline(always)]
fn thread_state(runtime: &Runtime, state: &mut u64) -> bool {
    state_of_thread(runtime.at[python::THREAD_WORD], runtime.at[python::THREAD_TABLE], state)
}

/// The same, given where its address is in thread-local memory.
#[inline(always)]
pub fn state_of_thread(word: u64, table: u64, state: &mut u64) -> bool {
    // SAFETY: the helper has no preconditions.
    let thread = unsafe { bpf_get_current_task() };
    let pointer = thread.wrapping_add(u64::from(config!(offsets.task_thread_pointer)));
    // SAFETY: there is room for it.
    let read = unsafe { copy::<u64>(state, pointer) };
    if !read || !follow(state, word) {
        return false;
    }
    // A thread that has never used such keys has no table.
    table == NONE || *state == 0 || follow(state, table)
}

/// Replaces an address in the process by the word at an offset from there. Returns whether that could be read.
#[inline(always)]
pub fn follow(address: &mut u64, offset: u64) -> bool {
    let from = address.wrapping_add(offset);
    // SAFETY: there is room for it.
    unsafe { copy_user(core::ptr::from_mut(address).cast(), 8, from) }
}

/// At the entry of the function that initialises a task: `int init(PyObject *self, ...)`.
#[inline(always)]
pub fn spawned(ctx: &ProbeContext) {
    let Some(who) = Current::traced() else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let Some(runtime) = (unsafe { RUNTIMES.get(who.tgid) }) else {
        return;
    };
    if runtime.kind != RUNTIME_PYTHON {
        return;
    }
    match read::<u64>(ctx.as_ptr() as u64, runtime.at[python::FIRST_ARGUMENT] as u32) {
        Some(task) => handover::tell(HANDOVER_SPAWN, who, (who.tgid, 0, task), 0),
        None => emit::count(Counter::TaskFault),
    }
}
