//! Where threads wait: at each switch away from a thread that goes to sleep, its stack; when it runs again, for how long it has waited, if
//! that was long enough. Only `geophone profile --off-cpu` loads this.
//!
//! Whether a wait will be long is not known when it begins, and looking at a stack costs more than a short wait is worth. So each processor
//! looks at a bounded number of stacks a second: of threads whose last wait was long, and, apart from those, of others. Long waits whose
//! stacks were not looked at are counted.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    programs::RawTracePointContext,
};
use geophone_ebpf::{
    record::{Kind, SAMPLE_WAITS, Waited},
    stats::Counter,
};

use crate::{
    emit,
    kernel::read,
    maps::{BUDGETS, Budget, WAITS, Wait, config},
    process::Current,
    profile,
    unwind::KERNEL_THREAD,
};

/// `TASK_DEAD` of `include/linux/sched.h`.
const DEAD: u32 = 0x80;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// `sched_switch`: `prev` stops to run on this processor and `next` begins.
#[inline(always)]
pub fn switched(ctx: &RawTracePointContext) {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let next: u64 = ctx.arg(2);
    let tid = read::<u32>(next, config!(offsets.task_pid)).unwrap_or_default();
    if tid != 0 {
        ended(tid, now);
    }
    let preempted: u64 = ctx.arg(0);
    if preempted & 1 == 0 {
        began(ctx, now);
    }
}

/// The current thread stops to run by itself.
#[inline(always)]
fn began(ctx: &RawTracePointContext, now: u64) {
    let Some(who) = Current::traced() else {
        return;
    };
    let prev: u64 = ctx.arg(1);
    let state = read::<u32>(prev, config!(offsets.task_state)).unwrap_or_default();
    if state & DEAD != 0 {
        let _ = WAITS.remove(who.tid);
        return;
    }
    // What is ready to run does not wait. Threads of the kernel wait for work all the time.
    let flags = read::<u32>(prev, config!(offsets.task_flags)).unwrap_or(KERNEL_THREAD);
    if state == 0 || flags & KERNEL_THREAD != 0 {
        return;
    }
    // SAFETY: a copy is taken at once.
    let before = unsafe { WAITS.get(who.tid) }.copied().unwrap_or(Wait { since: 0, tgid: 0, flags: 0 });
    let was_long = before.flags & Wait::LONG;
    let mut wait = Wait { since: now, tgid: who.tgid, flags: was_long };
    if may_look(was_long != 0, now) {
        wait.flags |= Wait::SEEN;
    }
    if WAITS.insert(who.tid, wait, 0).is_err() {
        emit::count(Counter::MapFull);
        return;
    }
    if wait.flags & Wait::SEEN != 0 {
        profile::sample(ctx.as_ptr(), who, now, SAMPLE_WAITS);
    }
}

/// Whether there is time left for another stack in this second.
#[inline(always)]
fn may_look(was_long: bool, now: u64) -> bool {
    // SAFETY: the helper has no preconditions.
    let Some(budget) = BUDGETS.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) else {
        return false;
    };
    // SAFETY: only this processor uses it, and switches do not interrupt each other.
    let budget: &mut Budget = unsafe { &mut *budget };
    if now.wrapping_sub(budget.began) >= SECOND {
        budget.began = now;
        budget.long = 0;
        budget.short = 0;
    }
    let used = if was_long { &mut budget.long } else { &mut budget.short };
    if *used >= config!(wait_stacks) {
        return false;
    }
    *used += 1;
    true
}

/// A thread runs again.
#[inline(always)]
fn ended(tid: u32, now: u64) {
    let Some(wait) = WAITS.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: the map keeps it alive, and the thread is in one place at a time.
    let wait: &mut Wait = unsafe { &mut *wait };
    let since = wait.since;
    if since == 0 {
        return;
    }
    wait.since = 0;
    let took = now.saturating_sub(since);
    if took < u64::from(config!(wait_least)) * 1000 {
        wait.flags = 0;
        return;
    }
    if wait.flags & Wait::SEEN == 0 {
        wait.flags = Wait::LONG;
        emit::count(Counter::WaitsUnseen);
        emit::add(Counter::WaitsUnseenMicros, took / 1000);
        return;
    }
    wait.flags = Wait::LONG;
    let record = Waited { kind: Kind::Waited as u32, tgid: wait.tgid, time: now, since, tid, pad: 0 };
    emit::write((&raw const record).cast(), size_of::<Waited>() as u64, false);
}
