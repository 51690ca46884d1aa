//! CPython: the asyncio task that runs on the current thread, and new tasks; what threads of pools were given. How it is found is described at
//! [`geophone_ebpf::python`]; the agent finds the addresses and offsets in the process's memory.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns},
    programs::ProbeContext,
};
use geophone_ebpf::{
    config::{RUNTIME_PYTHON, Runtime},
    python::{self, NONE},
    record::{HANDOVER_SPAWN, HANDOVER_SUBMIT},
    stats::Counter,
};

use crate::{
    emit, handover,
    kernel::{copy, copy_user, read},
    maps::{PYTHON_WORKERS, PythonWorker, RUNTIMES, config},
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
    if read && *task == 0 && (runtime.at[python::ITEM_CODE] | runtime.at[python::FUTURE_CODE]) != 0 {
        *task = python_worker();
    }
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

/// What the current thread was given as one of a pool's: the item, or the task that waits for it; 0: nothing. Global, so that the verifier looks
/// at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn python_worker() -> u64 {
    let id = bpf_get_current_pid_tgid();
    // SAFETY: the map keeps the value alive while the program runs.
    let Some(runtime) = (unsafe { RUNTIMES.get((id >> 32) as u32) }) else {
        return 0;
    };
    let frame = worker_frame(runtime, id as u32);
    let mut code = frame;
    if frame == 0 || !follow(&mut code, runtime.at[python::FRAME_CODE]) {
        return 0;
    }
    let code = code & !python::FLAGS;
    let mut given = frame;
    if code == runtime.at[python::ITEM_CODE] {
        if !follow(&mut given, runtime.at[python::ITEM_LOCAL]) {
            return 0;
        }
        given &= !python::FLAGS;
        if is_of(given, runtime.at[python::ITEM_CLASS]) { given } else { 0 }
    } else if code == runtime.at[python::FUTURE_CODE] {
        if !follow(&mut given, runtime.at[python::FUTURE_LOCAL]) {
            return 0;
        }
        given &= !python::FLAGS;
        if given == 0 || !follow(&mut given, python::FUTURE_CALLBACK) || given == 0 {
            return 0;
        }
        for offset in python::WAKES {
            let mut task = given;
            if follow(&mut task, offset) && is_of(task, runtime.at[python::TASK_CLASS]) {
                return task;
            }
        }
        0
    } else {
        0
    }
}

#[inline(always)]
fn is_of(object: u64, class: u64) -> bool {
    let mut of = object;
    object != 0 && follow(&mut of, python::OBJECT_TYPE) && of == class
}

/// The frame of the current thread that holds what it was given, which is there as long as the thread, or nearly so; 0: it has none.
#[inline(always)]
fn worker_frame(runtime: &Runtime, tid: u32) -> u64 {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut wait = python::FIRST_LOOK;
    // SAFETY: the map keeps the value alive while the program runs; it is this thread's.
    if let Some(known) = unsafe { PYTHON_WORKERS.get(tid) } {
        if now < known.until {
            return known.frame;
        }
        wait = known.wait << 1;
        if wait > python::LAST_LOOK {
            wait = python::LAST_LOOK;
        }
    }
    let frame = find_worker_frame(runtime);
    if frame != 0 {
        wait = python::LAST_LOOK;
    }
    // An LRU map: an insertion makes room for itself.
    let _ = PYTHON_WORKERS.insert(tid, PythonWorker { frame, until: now.wrapping_add(wait), wait }, 0);
    frame
}

#[inline(always)]
fn find_worker_frame(runtime: &Runtime) -> u64 {
    let mut frame = 0;
    if !thread_state(runtime, &mut frame) || frame == 0 || !follow(&mut frame, runtime.at[python::FRAME_OF_STATE]) {
        return 0;
    }
    let chain = runtime.at[python::FRAME_OF_CHAIN];
    if chain != NONE && (frame == 0 || !follow(&mut frame, chain)) {
        return 0;
    }
    for _ in 0..python::FRAMES {
        let mut code = frame;
        if frame == 0 || !follow(&mut code, runtime.at[python::FRAME_CODE]) {
            return 0;
        }
        code &= !python::FLAGS;
        if code == runtime.at[python::ITEM_CODE] || code == runtime.at[python::FUTURE_CODE] {
            return frame;
        }
        for index in 0..python::LOOPS {
            if code == runtime.at[python::LOOP_CODE + index] {
                return 0;
            }
        }
        if !follow(&mut frame, runtime.at[python::FRAME_PREVIOUS]) {
            return 0;
        }
    }
    0
}

/// At the entry of `put(PyObject *self, PyObject **arguments, ...)` of a queue: a pool's, if an item of one is put in.
#[inline(always)]
pub fn submitted(ctx: &ProbeContext) {
    let Some(who) = Current::traced() else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let Some(runtime) = (unsafe { RUNTIMES.get(who.tgid) }) else {
        return;
    };
    if runtime.kind != RUNTIME_PYTHON || runtime.at[python::ITEM_CODE] == 0 {
        return;
    }
    let Some(mut item) = read::<u64>(ctx.as_ptr() as u64, runtime.at[python::SECOND_ARGUMENT] as u32) else {
        return emit::count(Counter::TaskFault);
    };
    if !follow(&mut item, 0) {
        return emit::count(Counter::TaskFault);
    }
    if is_of(item, runtime.at[python::ITEM_CLASS]) {
        handover::tell(HANDOVER_SUBMIT, who, (who.tgid, 0, item), 0);
    }
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
