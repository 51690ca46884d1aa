//! Writing records and counters.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ringbuf_output},
};
use geophone_ebpf::stats::Counter;

use crate::maps::{RINGS, SCRATCH, STATS, Scratch, config};

/// Adds one to a counter.
#[inline(always)]
pub fn count(counter: Counter) {
    add(counter, 1);
}

/// Adds to a counter.
#[inline(always)]
pub fn add(counter: Counter, more: u64) {
    if let Some(value) = STATS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-processor value that the map keeps alive.
        unsafe { *value = (*value).wrapping_add(more) };
    }
}

/// This processor's work space.
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    // SAFETY: the helper has no preconditions.
    SCRATCH.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })
}

/// Writes `len` bytes to this processor's ring. The agent is woken when `urgent`, or when enough has been written since it
/// last was; otherwise it looks by itself after a while.
#[inline(always)]
pub fn write(record: *const c_void, len: u64, urgent: bool) -> bool {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(ring) = RINGS.get(cpu) else {
        count(Counter::RingFull);
        return false;
    };
    let mut flags = u64::from(BPF_RB_NO_WAKEUP);
    if let Some(scratch) = SCRATCH.get_ptr_mut(cpu) {
        // SAFETY: a value that the map keeps alive; only this processor uses it.
        let unwoken = unsafe { &mut (*scratch).unwoken };
        *unwoken += len;
        if urgent || *unwoken >= u64::from(config!(wake_after)) {
            *unwoken = 0;
            flags = u64::from(BPF_RB_FORCE_WAKEUP);
        }
    }
    // SAFETY: the verifier checks that `record` has `len` bytes.
    let ret = unsafe { bpf_ringbuf_output(core::ptr::from_ref(ring).cast_mut().cast(), record.cast_mut(), len, flags) };
    count(if ret == 0 { Counter::Written } else { Counter::RingFull });
    ret == 0
}
