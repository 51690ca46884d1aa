//! CPython: the asyncio task that runs on the current thread, and new tasks. How it is found is described at
//! [`geophone_ebpf::python`]; the agent finds the addresses and offsets in the process's memory.

use aya_ebpf::{EbpfContext, helpers::bpf_get_current_pid_tgid, helpers::bpf_get_current_task, programs::ProbeContext};
use geophone_ebpf::{
    config::{RUNTIME_PYTHON, Runtime},
    python::{self, NONE},
    record::HANDOVER_SPAWN,
    stats::Counter,
};

use crate::{
    emit, handover,
    kernel::{read, read_user},
    maps::{RUNTIMES, config},
    process::Current,
};

/// The task's address, or 0: none runs, in the loop's own callbacks for example.
#[inline(always)]
pub fn task(runtime: &Runtime) -> u64 {
    let found = match runtime.at[python::TASKS] {
        0 => by_thread(runtime),
        tasks => by_loop(runtime, tasks),
    };
    match found {
        Some(task) => task,
        None => {
            emit::count(Counter::TaskFault);
            0
        }
    }
}

/// From 3.14 on, each thread's state has it.
#[inline(always)]
fn by_thread(runtime: &Runtime) -> Option<u64> {
    match runtime.at[python::RUNNING_TASK] {
        NONE => Some(0),
        at => match thread_state(runtime)? {
            0 => Some(0),
            state => read_user(state.wrapping_add(at)),
        },
    }
}

/// Before, a dict has it, by loop. The loop of the current thread is not looked for: a task runs in its own context (PEP 567), and so
/// it is on this thread if this thread's context is the task's.
#[inline(always)]
fn by_loop(runtime: &Runtime, tasks: u64) -> Option<u64> {
    if read_user::<u64>(tasks.wrapping_add(python::DICT_USED))? == 0 {
        return Some(0);
    }
    let state = thread_state(runtime)?;
    if state == 0 {
        return Some(0);
    }
    let context = read_user::<u64>(state.wrapping_add(runtime.at[python::CONTEXT]))?;
    if context == 0 {
        return Some(0);
    }
    let keys = read_user::<u64>(tasks.wrapping_add(python::DICT_KEYS))?;
    let (indices, entries, header) = if runtime.at[python::OLD_KEYS] == 0 {
        let log2 = read_user::<u8>(keys.wrapping_add(python::KEYS_LOG2_INDEX_BYTES))?;
        (1 << (log2 & 31), read_user::<u64>(keys.wrapping_add(python::KEYS_ENTRIES))?, python::KEYS_SIZE)
    } else {
        let size = read_user::<u64>(keys.wrapping_add(python::OLD_KEYS_SIZE))?;
        (size, read_user::<u64>(keys.wrapping_add(python::OLD_KEYS_ENTRIES))?, python::OLD_KEYS_HEADER)
    };
    // The newest entry is the last one; there are as many as loops run, and some that were deleted.
    let first = keys.wrapping_add(header).wrapping_add(indices);
    let mut entry = first.wrapping_add(entries.wrapping_mul(python::ENTRY_SIZE));
    for _ in 0..python::ENTRIES_SEARCHED {
        if entry <= first {
            break;
        }
        entry -= python::ENTRY_SIZE;
        let task = read_user::<u64>(entry.wrapping_add(python::ENTRY_VALUE))?;
        if task != 0 && read_user::<u64>(task.wrapping_add(runtime.at[python::TASK_CONTEXT]))? == context {
            return Some(task);
        }
    }
    Some(0)
}

/// The `PyThreadState` of the current thread; 0 where it has none.
#[inline(always)]
fn thread_state(runtime: &Runtime) -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let current = unsafe { bpf_get_current_task() };
    let pointer = read::<u64>(current, config!(offsets.task_thread_pointer))?;
    let word = read_user::<u64>(pointer.wrapping_add(runtime.at[python::THREAD_WORD]))?;
    match runtime.at[python::THREAD_TABLE] {
        NONE => Some(word),
        // A thread that has never used such keys has no table.
        _ if word == 0 => Some(0),
        at => read_user(word.wrapping_add(at)),
    }
}

/// At the entry of the function that initialises a task: `int init(PyObject *self, ...)`.
#[inline(always)]
pub fn spawned(ctx: &ProbeContext) {
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    // SAFETY: the map keeps the value alive while the program runs.
    let Some(runtime) = (unsafe { RUNTIMES.get(tgid) }) else {
        return;
    };
    if runtime.kind != RUNTIME_PYTHON {
        return;
    }
    match read::<u64>(ctx.as_ptr() as u64, runtime.at[python::FIRST_ARGUMENT] as u32) {
        Some(task) => handover::tell(HANDOVER_SPAWN, Current { tgid, tid }, (tgid, 0, task), 0),
        None => emit::count(Counter::TaskFault),
    }
}
