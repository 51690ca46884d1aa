//! Keeps a program on its processor until it is done.
//!
//! Since Linux 7.0 a task can be preempted in the middle of a program on a raw tracepoint, and the kernel leaves out a program that is
//! still under way on the same processor: what another task moves meanwhile would not be seen at all. The agent makes these calls do
//! nothing on other kernels.

use core::arch::asm;

use geophone_ebpf::config::{PREEMPT_DISABLE, PREEMPT_ENABLE};

/// Runs `f` without preemption.
#[inline(always)]
pub fn without(f: impl FnOnce()) {
    call::<PREEMPT_DISABLE>();
    f();
    call::<PREEMPT_ENABLE>();
}

#[inline(always)]
fn call<const FUNCTION: u32>() {
    // SAFETY: neither function has arguments or preconditions; a call leaves the registers from r0 to r5 undefined.
    unsafe {
        asm!(
            "call {function}",
            function = const FUNCTION,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
}
