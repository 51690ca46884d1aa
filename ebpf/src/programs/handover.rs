//! Work that may pass from one thread or task to another: clones, and wake-ups inside of a process.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_task_pt_regs,
    },
    programs::RawTracePointContext,
};
use geophone_ebpf::{
    config::{Call, MISSING, OUTERMOST, REUSED},
    record::{HANDOVER_CLONE, HANDOVER_WAKE, Handover, Kind},
};

use crate::{
    emit,
    kernel::read,
    maps::{CALLS, RUNTIMES, config},
    process::{self, Current},
    task, usage,
};

/// The operations of a futex that wake (`include/uapi/linux/futex.h`): `FUTEX_WAKE`, `FUTEX_REQUEUE`, `FUTEX_CMP_REQUEUE`,
/// `FUTEX_WAKE_OP`, `FUTEX_UNLOCK_PI`, `FUTEX_WAKE_BITSET`; as bits.
const WAKING: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 10;
/// `FUTEX_CMD_MASK`, as far as those operations go.
const OPERATION: u64 = 0x1f;

/// `sched_waking`: some thread makes another one ready to run. Fires for every wake-up on the host.
#[inline(always)]
pub fn waking(ctx: &RawTracePointContext) {
    if config!(usage) != 0 {
        usage::woken(ctx.arg(0));
    }
    let id = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    if tgid == 0 {
        return;
    }
    let wakee: u64 = ctx.arg(0);
    if read::<u32>(wakee, config!(offsets.task_tgid)) != Some(tgid) {
        return;
    }
    if !process::is_known(tgid) {
        return;
    }
    // SAFETY: the map keeps the value alive while the program runs.
    let runtime = unsafe { RUNTIMES.get(tgid) };
    let no_wakes = runtime.map_or(0, |runtime| runtime.no_wakes);
    if no_wakes != 0 && no_wakes != REUSED {
        return;
    }
    // What interrupts a thread wakes others, too: only what the thread does by itself is its doing.
    let regs = registers();
    let number = read::<u32>(regs, config!(offsets.regs_call)).unwrap_or_default();
    let mut object = 0;
    if number == config!(futex_call) {
        let operation = read::<u64>(regs, config!(offsets.regs_args[1])).unwrap_or_default() & OPERATION;
        if WAKING >> operation & 1 == 0 {
            return;
        }
        object = read::<u64>(regs, config!(offsets.regs_args[0])).unwrap_or_default();
        if runtime.is_some_and(|runtime| object >= runtime.locks[0] && object < runtime.locks[1]) {
            return;
        }
    } else {
        // An eventfd, a pipe, a socket.
        let call = CALLS.get(number).copied().unwrap_or_default();
        if call != Call::Send as u8 && call != Call::SendVector as u8 {
            return;
        }
    }
    let to = read::<u32>(wakee, config!(offsets.task_pid)).unwrap_or_default();
    if to == tid {
        return;
    }
    if no_wakes == REUSED {
        // The stack ends at the thread pointer, but for what a C library keeps of the thread.
        let pointer = read::<u64>(wakee, config!(offsets.task_thread_pointer)).unwrap_or_default();
        if object != 0 && pointer.wrapping_sub(object) < OUTERMOST {
            tell(HANDOVER_CLONE, Current { tgid, tid }, (tgid, to, 0), 0);
        }
        return;
    }
    tell(HANDOVER_WAKE, Current { tgid, tid }, (tgid, to, 0), object);
}

/// `sched_process_fork`, in the thread that clones.
#[inline(always)]
pub fn cloned(tgid: u32, tid: u32, child: (u32, u32)) {
    tell(HANDOVER_CLONE, Current { tgid, tid }, (child.0, child.1, 0), 0);
}

/// Writes the record; `to`: process, thread, task.
#[inline(always)]
pub fn tell(what: u32, from: Current, to: (u32, u32, u64), object: u64) {
    let mut record = Handover {
        kind: Kind::Handover as u32,
        what,
        // SAFETY: the helper has no preconditions.
        time: unsafe { bpf_ktime_get_ns() },
        tgid: from.tgid,
        tid: from.tid,
        task: 0,
        task_parent: 0,
        to_tgid: to.0,
        to_tid: to.1,
        to_task: to.2,
        object,
    };
    task::current(from, &mut record.task, &mut record.task_parent);
    emit::write((&raw const record).cast(), size_of::<Handover>() as u64, false);
}

/// The user registers of the current thread, as they were at its system call.
#[inline(always)]
pub fn registers() -> u64 {
    let at = config!(offsets.stack_regs);
    if at == MISSING {
        // SAFETY: helpers without preconditions, which are there if the configuration says so.
        return unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    }
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    read::<u64>(task, config!(offsets.task_stack)).unwrap_or_default() + u64::from(at)
}
