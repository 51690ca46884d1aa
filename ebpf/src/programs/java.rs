//! Java: which virtual thread runs on the current thread. How it is found is described at [`geophone_ebpf::java`]; the agent finds the
//! offsets in the tables that the JVM publishes of itself.

use aya_ebpf::helpers::bpf_get_current_task;
use geophone_ebpf::{
    config::Runtime,
    java::{
        CLASS, CLASS_FUTURE, CLASS_MASK, CLASS_VIRTUAL, CONTAINER, CONTINUATION, ID, MODULE, MODULE_WORD, MOUNTED,
        NONE, OOP_BASE, OOP_MASK, OOP_SHIFT, OWNER, OWNER_ID, RUNS, TARGET, VTABLE, VTHREAD, WAITER, WAITERS, WORD,
    },
    stats::Counter,
};

use crate::{
    emit,
    kernel::{copy, copy_user},
    maps::config,
};

/// Ids are counted from 1 on, for all threads of a process: a million a second for 34 years do not reach this.
const MOST: u64 = 1 << 40;

/// Finds the virtual thread's id, and that of the virtual thread that waits for it; 0: none runs, none is known to wait. What is on
/// the way is read into where it will be: the stack is short.
#[inline(always)]
pub fn current(runtime: &Runtime, task: &mut u64, parent: &mut u64) {
    if !java_thread(runtime, task) {
        *task = 0;
        return;
    }
    if runtime.at[VTHREAD] == NONE {
        by_owner(runtime, task);
        return;
    }
    // The handle, and what is in it: nothing when the thread is just ending.
    if !follow(task, runtime.at[VTHREAD]) || *task != 0 && !follow(task, 0) {
        *task = 0;
        emit::count(Counter::TaskFault);
    }
    if *task == 0 {
        return;
    }
    let object = *task;
    id(runtime, task);
    if *task == 0 {
        return;
    }
    *parent = object;
    owner(runtime, parent);
    if *parent == 0 {
        *parent = object;
        waiter(runtime, parent);
    }
}

/// Replaces the address of a `JavaThread` by the id by which it owns locks, if a virtual thread runs on it; by 0 otherwise.
#[inline(always)]
fn by_owner(runtime: &Runtime, thread: &mut u64) {
    let address = *thread;
    let read = follow(thread, runtime.at[MOUNTED]);
    if read && *thread == 0 {
        return;
    }
    *thread = address;
    if !read || !follow(thread, runtime.at[OWNER_ID]) {
        *thread = 0;
        emit::count(Counter::TaskFault);
    } else if *thread >= MOST {
        *thread = 0;
        emit::count(Counter::ImplausibleTask);
    }
}

/// Replaces the address of a thread's object by its id, if it is a virtual thread; by 0 otherwise, or when it is moved just now.
#[inline(always)]
fn id(runtime: &Runtime, thread: &mut u64) {
    let object = *thread;
    if !is_a(runtime, thread, CLASS_VIRTUAL) {
        *thread = 0;
        return;
    }
    *thread = object;
    if !follow(thread, runtime.at[ID]) {
        *thread = 0;
        emit::count(Counter::TaskFault);
    } else if *thread >= MOST {
        *thread = 0;
        emit::count(Counter::ImplausibleTask);
    }
}

/// Replaces the address of a thread's object by the id of the virtual thread that owns the scope which it was started in; or by 0.
#[inline(always)]
fn owner(runtime: &Runtime, thread: &mut u64) {
    let known = runtime.at[CONTAINER] != NONE;
    if known && refer(runtime, thread, CONTAINER) && refer(runtime, thread, OWNER) {
        id(runtime, thread);
    } else {
        *thread = 0;
    }
}

/// Replaces the address of a thread's object by the id of the virtual thread that waits for the future which it computes; or by 0.
#[inline(always)]
fn waiter(runtime: &Runtime, thread: &mut u64) {
    let known = runtime.at[CONTINUATION] != NONE;
    if known
        && refer(runtime, thread, CONTINUATION)
        && refer(runtime, thread, TARGET)
        && refer(runtime, thread, RUNS)
        && keeps(runtime, thread, CLASS_FUTURE)
        && refer(runtime, thread, WAITERS)
        && refer(runtime, thread, WAITER)
    {
        id(runtime, thread);
    } else {
        *thread = 0;
    }
}

/// Replaces the address of an object by what one of its fields refers to. Returns whether it refers to anything.
#[inline(always)]
fn refer(runtime: &Runtime, object: &mut u64, field: usize) -> bool {
    if !follow(object, runtime.at[field]) {
        return false;
    }
    let reference = *object & runtime.at[OOP_MASK];
    *object = runtime.at[OOP_BASE].wrapping_add(reference << (runtime.at[OOP_SHIFT] & 7));
    reference != 0
}

/// Whether an object is of a class.
#[inline(always)]
fn keeps(runtime: &Runtime, object: &mut u64, class: usize) -> bool {
    let address = *object;
    let is = is_a(runtime, object, class);
    *object = address;
    is
}

/// The same, where the address is not needed any more.
#[inline(always)]
fn is_a(runtime: &Runtime, object: &mut u64, class: usize) -> bool {
    follow(object, runtime.at[CLASS]) && *object & runtime.at[CLASS_MASK] == runtime.at[class]
}

/// Finds the `JavaThread` of the current thread. Returns whether it has one.
#[inline(always)]
fn java_thread(runtime: &Runtime, address: &mut u64) -> bool {
    // SAFETY: the helper has no preconditions.
    let thread = unsafe { bpf_get_current_task() };
    let pointer = thread.wrapping_add(u64::from(config!(offsets.task_thread_pointer)));
    // SAFETY: there is room for it.
    if !unsafe { copy::<u64>(address, pointer) } || !follow(address, runtime.at[WORD]) {
        return false;
    }
    // A thread that the JVM does not know may have no such memory.
    if runtime.at[MODULE] != NONE && (!follow(address, runtime.at[MODULE]) || !follow(address, runtime.at[MODULE_WORD]))
    {
        return false;
    }
    let found = *address;
    if found == 0 || !follow(address, 0) || *address != runtime.at[VTABLE] {
        return false;
    }
    *address = found;
    true
}

/// Replaces an address in the process by the word at an offset from there. Returns whether that could be read.
#[inline(always)]
fn follow(address: &mut u64, offset: u64) -> bool {
    let from = address.wrapping_add(offset);
    // SAFETY: there is room for it.
    unsafe { copy_user(core::ptr::from_mut(address).cast(), 8, from) }
}
