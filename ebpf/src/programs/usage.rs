//! What threads do with their time: on a processor, ready and waiting for one, or waiting for something, by what that is. Measured when
//! processors turn from one thread to another, for threads that were seen to move bytes, and told before each call that does. What a
//! thread waits for is said by the system call that it is in, and by the kernel's own mark of those that wait for a disk.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns},
    programs::RawTracePointContext,
};
use geophone_ebpf::{
    config::Wait,
    record::{
        Kind, USAGE_CPU, USAGE_DISK, USAGE_LOCK, USAGE_NETWORK, USAGE_RUN_QUEUE, USAGE_SLEEP, USAGES as WAYS, Usage,
    },
    stats::Counter,
};

use crate::{
    emit,
    handover::registers,
    kernel::read,
    maps::{OTHER, Ran, USAGES, WAIT_CALLS, config},
    syscalls::socket_of,
};

/// Places of [`Ran::nanos`], less one: a power of two less one, so that any number can be made a place.
const PLACES: u64 = 7;

/// Nanoseconds that a thread may take from being woken to going to sleep: it does not any more then.
const LATE: u64 = 1_000_000;

/// `sched_switch`: the current thread leaves its processor to another one.
#[inline(always)]
pub fn switched(ctx: &RawTracePointContext) {
    let tid = bpf_get_current_pid_tgid() as u32;
    let next = read::<u32>(ctx.arg(2), config!(offsets.task_pid)).unwrap_or_default();
    // Idle processors have no thread.
    if tid != 0
        && let Some(ran) = USAGES.get_ptr_mut(tid)
    {
        // SAFETY: the map keeps it alive; a thread is on one processor at a time.
        let ran = unsafe { &mut *ran };
        let now = now();
        let runtime = runtime(ctx.arg(1), ran);
        pass(ran, USAGE_CPU as u64, (runtime - ran.runtime).min(now.saturating_sub(ran.since)));
        ran.runtime = runtime;
        ran.since = now;
        ran.now = if ctx.arg::<u64>(0) & 0xff != 0 { USAGE_RUN_QUEUE as u64 } else { reason(ctx.arg(1)) };
    }
    if next != 0
        && let Some(ran) = USAGES.get_ptr_mut(next)
    {
        // SAFETY: as above.
        returned(unsafe { &mut *ran });
    }
}

/// The kernel's own count of a thread's processor time, without what a virtual machine's host took. It is behind by a tick at most while
/// the thread runs.
#[inline(always)]
fn runtime(task: u64, ran: &Ran) -> u64 {
    read::<u64>(task, config!(offsets.task_runtime)).unwrap_or_default().max(ran.runtime)
}

/// A thread has a processor again.
#[inline(always)]
fn returned(ran: &mut Ran) {
    let now = now();
    let waited = ran.since;
    let ready = if ran.now == USAGE_RUN_QUEUE as u64 {
        waited
    } else if ran.woken.wrapping_add(LATE) < waited {
        // Nobody saw who woke it.
        now
    } else {
        // Since it was woken it was ready. That may have been while it was still on its way to sleep.
        ran.woken.clamp(waited, now)
    };
    pass(ran, ran.now, ready.saturating_sub(waited));
    pass(ran, USAGE_RUN_QUEUE as u64, now.saturating_sub(ready));
    ran.since = now;
    ran.now = USAGE_CPU as u64;
}

/// Some time was spent in some way.
#[inline(always)]
fn pass(ran: &mut Ran, way: u64, nanos: u64) {
    let place = &mut ran.nanos[(way & PLACES) as usize];
    *place = place.wrapping_add(nanos);
}

/// What the current thread, which gives its processor up, is going to wait for.
#[inline(always)]
fn reason(task: u64) -> u64 {
    if read::<u32>(task, config!(offsets.task_state)).unwrap_or_default() == 0 {
        // It only lets others go first.
        return USAGE_RUN_QUEUE as u64;
    }
    let io = read::<u8>(task, config!(offsets.task_io_wait)).unwrap_or_default();
    if u32::from(io) & config!(offsets.task_io_wait_mask) != 0 {
        return USAGE_DISK as u64;
    }
    let registers = registers();
    // Outside of system calls it is a number that no call has.
    let number = read::<u32>(registers, config!(offsets.regs_call)).unwrap_or(u32::MAX);
    let wait = WAIT_CALLS.get(number).copied().unwrap_or_default();
    let argument = |at: u32| read::<u64>(registers, at).unwrap_or_default();
    let is = |wanted: Wait| wait == wanted as u8;
    let way = if is(Wait::Lock) {
        USAGE_LOCK
    } else if is(Wait::Disk) {
        USAGE_DISK
    } else if is(Wait::Network) {
        USAGE_NETWORK
    } else if is(Wait::Sleep) {
        USAGE_SLEEP
    } else if is(Wait::Descriptor) && socket_of(argument(config!(offsets.regs_args[0])) as u32).is_some() {
        USAGE_NETWORK
    } else if is(Wait::Poll) {
        if argument(config!(offsets.regs_args[1])) as u32 == 0 { USAGE_SLEEP } else { USAGE_NETWORK }
    } else if is(Wait::Select) {
        if argument(config!(offsets.regs_args[0])) as u32 == 0 { USAGE_SLEEP } else { USAGE_NETWORK }
    } else {
        OTHER as usize
    };
    way as u64
}

/// `sched_waking`: a thread is made ready to run.
#[inline(always)]
pub fn woken(task: u64) {
    let tid = read::<u32>(task, config!(offsets.task_pid)).unwrap_or_default();
    if let Some(ran) = USAGES.get_ptr_mut(tid) {
        // SAFETY: the map keeps it alive. What is on its way to sleep on another processor only sets other fields.
        unsafe { core::ptr::write_volatile(&raw mut (*ran).woken, now()) };
    }
}

/// Tells what the thread that makes the call in the work space has done with its time; from now on, if it was not looked at before.
/// Verified by itself, because it is global.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_usage() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (who, usage) = unsafe { ((*scratch).call.who, &mut (*scratch).usage) };
    let now = now();
    *usage = Usage {
        kind: Kind::Usage as u32,
        tgid: who.tgid,
        time: now,
        tid: who.tid,
        pad: 0,
        since: now,
        nanos: [0; WAYS],
    };
    if let Some(ran) = USAGES.get_ptr_mut(who.tid) {
        // SAFETY: the map keeps it alive; this is its thread.
        let ran = unsafe { &mut *ran };
        usage.since = ran.born;
        for way in 0..WAYS {
            usage.nanos[way] = ran.nanos[way];
        }
        // SAFETY: the helper has no preconditions.
        let runtime = runtime(unsafe { bpf_get_current_task() }, ran);
        let most = runtime - ran.runtime + u64::from(config!(tick));
        usage.nanos[USAGE_CPU] += now.saturating_sub(ran.since).min(most);
    } else {
        begin(who.tid, now);
    }
    emit::write((&raw const *usage).cast(), size_of::<Usage>() as u64, false);
    0
}

/// See [`tell_usage`].
#[inline(always)]
pub fn tell() {
    tell_usage();
}

#[inline(always)]
fn begin(tid: u32, now: u64) {
    let mut new = Ran { born: now, since: now, runtime: 0, woken: 0, now: USAGE_CPU as u64, nanos: [0; 8] };
    // SAFETY: the helper has no preconditions.
    new.runtime = runtime(unsafe { bpf_get_current_task() }, &new);
    if USAGES.insert(tid, new, 0).is_err() {
        emit::count(Counter::MapFull);
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}
