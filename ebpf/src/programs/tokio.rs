//! tokio: which task runs on the current thread, which task is woken, and which one is started. Where they are is described at
//! [`geophone_ebpf::tokio`]; the agent finds the places in the program's symbols and code.

use aya_ebpf::{EbpfContext as _, helpers::bpf_get_current_task, programs::ProbeContext};
use geophone_ebpf::{
    config::{RUNTIME_TOKIO, Runtime},
    record::{HANDOVER_SPAWN, HANDOVER_WAKE},
    stats::Counter,
    tokio::{CURRENT, FIRST_ARGUMENT, HEADER_VTABLE, ID_MOST, SECOND_ARGUMENT, VTABLE_ID},
};

use crate::{
    emit, handover,
    kernel::{copy, copy_user, read},
    maps::{RUNTIMES, config},
    process::Current,
};

/// Ids are counted from 1 on: a million tasks a second for 34 years do not reach this, and addresses lie above.
const MOST: u64 = 1 << 40;

/// Finds the id of the task that is polled; 0: none is.
#[inline(always)]
pub fn current(runtime: &Runtime, task: &mut u64) {
    // SAFETY: the helper has no preconditions.
    let thread = unsafe { bpf_get_current_task() };
    let pointer = thread.wrapping_add(u64::from(config!(offsets.task_thread_pointer)));
    // SAFETY: `task` has room for it.
    if !unsafe { copy::<u64>(task, pointer) } || !follow(task, runtime.at[CURRENT]) {
        *task = 0;
        emit::count(Counter::TaskFault);
    } else if *task >= MOST {
        *task = 0;
        emit::count(Counter::ImplausibleTask);
    }
}

/// At the entry of a waker's function: `fn(header)`. What wakes while no task runs is the driver of timers and input, which does so
/// for nobody.
#[inline(always)]
pub fn woken(ctx: &ProbeContext) {
    let Some((who, runtime)) = runs() else {
        return;
    };
    let mut task = 0;
    current(runtime, &mut task);
    if task == 0 {
        return;
    }
    if let Some(woken) = id(ctx, runtime.at[FIRST_ARGUMENT])
        && woken != task
    {
        handover::tell(HANDOVER_WAKE, who, (who.tgid, 0, woken), 0);
    }
}

/// At the entry of a function that takes a new task: `fn(self, header, ...)`.
#[inline(always)]
pub fn spawned(ctx: &ProbeContext) {
    let Some((who, runtime)) = runs() else {
        return;
    };
    if let Some(task) = id(ctx, runtime.at[SECOND_ARGUMENT]) {
        handover::tell(HANDOVER_SPAWN, who, (who.tgid, 0, task), 0);
    }
}

#[inline(always)]
fn runs() -> Option<(Current, &'static Runtime)> {
    let who = Current::traced()?;
    // SAFETY: the map keeps the value alive while the program runs, and nothing keeps it for longer.
    let runtime = unsafe { RUNTIMES.get(who.tgid) }?;
    (runtime.kind == RUNTIME_TOKIO).then_some((who, runtime))
}

/// The id of the task whose header is an argument.
#[inline(always)]
fn id(ctx: &ProbeContext, argument: u64) -> Option<u64> {
    let header = read::<u64>(ctx.as_ptr() as u64, argument as u32)?;
    let mut id = header;
    if !follow(&mut id, HEADER_VTABLE) || !follow(&mut id, VTABLE_ID) {
        emit::count(Counter::TaskFault);
        return None;
    }
    if id >= ID_MOST {
        emit::count(Counter::ImplausibleTask);
        return None;
    }
    id = header.wrapping_add(id);
    if !follow(&mut id, 0) {
        emit::count(Counter::TaskFault);
        return None;
    }
    if id == 0 || id >= MOST {
        emit::count(Counter::ImplausibleTask);
        return None;
    }
    Some(id)
}

/// Replaces an address in the process by the word at an offset from there. Returns whether that could be read.
#[inline(always)]
fn follow(address: &mut u64, offset: u64) -> bool {
    let from = address.wrapping_add(offset);
    // SAFETY: there is room for it.
    unsafe { copy_user(core::ptr::from_mut(address).cast(), 8, from) }
}
