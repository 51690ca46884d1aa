//! Samples: the stacks of the current thread, at each tick of a processor's clock, or (`waits.rs`) when the thread goes to sleep. Loaded by
//! `geophone profile`, and by `geophone run --profile`, where a sample says which of the runtime's tasks ran, too. The kernel walks its own stack; that of the process is walked in `unwind.rs`, or, on processors that it does not know, by
//! the kernel too: by frame pointers.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_USER_STACK,
    helpers::{bpf_get_current_comm, bpf_get_smp_processor_id, bpf_ktime_get_ns, generated::bpf_get_stack},
    programs::PerfEventContext,
};
use geophone_ebpf::{
    interpreter::WORDS_MOST,
    record::{KERNEL_FAILED, Kind, MAPPED_MAX, Mapped, RESULT_KERNEL, STACK_MAX, Sample, USER_FAILED, USER_MAX},
    stats::Counter,
};

use crate::{
    capture::at_most,
    emit, interpreter, mapping,
    maps::{SAMPLES, Stacks, config},
    process::Current,
    task, unwind,
};

/// Bytes of a stack that the kernel walks, at most.
const STACK: u64 = STACK_MAX as u64 * 8;
/// Bytes of an interpreter's frames at most.
const INTERPRETED: u64 = WORDS_MOST as u64 * 8;
/// Bytes of all stacks at most.
const STACKS: u64 = INTERPRETED + STACK + USER_MAX as u64 * 8 + MAPPED;
/// Bytes of what is mapped in the process.
const MAPPED: u64 = (MAPPED_MAX * size_of::<Mapped>()) as u64;

/// A tick.
#[inline(always)]
pub fn tick(ctx: &PerfEventContext) {
    // Before anything is paid for: idle processors, the agent, and what was not selected.
    let Some(who) = Current::traced() else {
        return;
    };
    // SAFETY: the helper has no preconditions.
    let time = unsafe { bpf_ktime_get_ns() };
    sample(ctx.as_ptr(), who, time, 0);
}

/// Writes a record of what the current thread is doing.
#[inline(always)]
pub fn sample(ctx: *mut c_void, who: Current, time: u64, what: u32) {
    // The agent reads what is mapped where while the process is still there.
    let is_first = if config!(tracing) != 0 {
        who.is_first_sample()
    } else {
        who.introduce();
        false
    };
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(sample) = SAMPLES.get_ptr_mut(cpu) else {
        emit::count(Counter::KernelFault);
        return;
    };
    // SAFETY: the map keeps it alive, and neither ticks nor switches of one processor interrupt each other.
    let sample: &mut Stacks = unsafe { &mut *sample };
    let frames = (&raw mut sample.frames).cast::<u8>();
    let mut flags = what;
    let (mut interpreted, mut mapped) = (0, 0);
    if config!(unwind) != 0 {
        interpreter::list(&mut sample.runs, who.tgid);
        interpreted = at_most::<INTERPRETED>(sample.runs.words * 8);
    }
    // SAFETY: there is room for it.
    let behind = unsafe { frames.add(interpreted as usize) };
    let kernel = stack(ctx, behind, 0, &mut flags, KERNEL_FAILED);
    let mut result = RESULT_KERNEL;
    let user = if config!(unwind) != 0 {
        unwind::walk(&mut sample.walk, who.tgid, (interpreted + kernel) / 8);
        result = sample.walk.result;
        flags |= sample.walk.flags | sample.runs.flags;
        if config!(mappings.known) != 0 {
            sample.walk.entry = (interpreted + kernel) / 8 + sample.walk.count;
            mapped = at_most::<MAPPED>(mapping::walk_mapped() * size_of::<Mapped>() as u64);
        }
        sample.walk.count * 8
    } else {
        // SAFETY: there is room for two stacks, and the first is at most as long as one.
        let behind = unsafe { frames.add(kernel as usize) };
        stack(ctx, behind, u64::from(BPF_F_USER_STACK), &mut flags, USER_FAILED)
    };
    sample.head = Sample {
        kind: Kind::Sample as u32,
        tgid: who.tgid,
        time,
        tid: who.tid,
        flags,
        kernel: (kernel / 8) as u32,
        user: (user / 8) as u32,
        comm: bpf_get_current_comm().unwrap_or_default(),
        result,
        interpreted: (interpreted / 16) as u32,
        task: 0,
        task_parent: 0,
        mapped: (mapped / size_of::<Mapped>() as u64) as u32,
        pad: 0,
    };
    if config!(tracing) != 0 {
        sample_task();
    }
    let all = at_most::<STACKS>(interpreted + kernel + user + mapped);
    emit::write((&raw const *sample).cast(), size_of::<Sample>() as u64 + all, is_first);
}

/// Notes which of its runtime's tasks the thread ran; verified by itself, because it is global.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sample_task() -> u64 {
    // SAFETY: the helper has no preconditions.
    let Some(sample) = SAMPLES.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) else {
        return 0;
    };
    // SAFETY: the map keeps it alive, and ticks of one processor do not interrupt each other.
    let head = unsafe { &mut (*sample).head };
    let who = Current { tgid: head.tgid, tid: head.tid };
    task::current(who, &mut head.task, &mut head.task_parent);
    0
}

/// Copies a stack to `to`. Returns how many bytes it has.
#[inline(always)]
fn stack(ctx: *mut c_void, to: *mut u8, which: u64, flags: &mut u32, failed: u32) -> u64 {
    // SAFETY: the verifier checks that there is room.
    let bytes = unsafe { bpf_get_stack(ctx, to.cast::<c_void>(), STACK as u32, which) };
    if bytes < 0 {
        *flags |= failed;
        return 0;
    }
    at_most::<STACK>(bytes as u64)
}
