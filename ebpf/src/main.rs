//! The kernel programs: thin entry points here, one file per concept under `programs/`.
//!
//! Two front ends give the same records. *sockets* (Linux 6.5 and later) hooks the tracepoints `sock_send_length` and
//! `sock_recv_length`, which fire only for sockets. *syscalls* (from 5.10) hooks the return of every system call. The life of
//! connections and processes comes from tracepoints that both share.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(missing_docs, reason = "a binary: entry points are documented, their generated siblings cannot be")]

#[path = "programs/capture.rs"]
mod capture;
#[path = "programs/connection.rs"]
mod connection;
#[path = "programs/emit.rs"]
mod emit;
#[path = "programs/go.rs"]
mod go;
#[path = "programs/handover.rs"]
mod handover;
#[path = "programs/kernel.rs"]
mod kernel;
#[path = "programs/life.rs"]
mod life;
#[path = "programs/log.rs"]
mod log;
#[path = "programs/maps.rs"]
mod maps;
#[path = "programs/node.rs"]
mod node;
#[path = "programs/preempt.rs"]
mod preempt;
#[path = "programs/process.rs"]
mod process;
#[path = "programs/python.rs"]
mod python;
#[path = "programs/sockets.rs"]
mod sockets;
#[path = "programs/syscalls.rs"]
mod syscalls;
#[path = "programs/task.rs"]
mod task;
#[path = "programs/tokio.rs"]
mod tokio;

use aya_ebpf::{
    macros::{raw_tracepoint, uprobe},
    programs::{ProbeContext, RawTracePointContext},
};

/// Front end *sockets*: `sock_send_length(struct sock *sk, int ret, int flags)`.
#[raw_tracepoint]
pub fn sock_send(ctx: RawTracePointContext) -> i32 {
    preempt::without(|| sockets::moved(&ctx, geophone_ebpf::record::SEND));
    0
}

/// Front end *sockets*: `sock_recv_length(struct sock *sk, int ret, int flags)`.
#[raw_tracepoint]
pub fn sock_receive(ctx: RawTracePointContext) -> i32 {
    preempt::without(|| sockets::moved(&ctx, geophone_ebpf::record::RECEIVE));
    0
}

/// Front end *syscalls*: `sys_exit(struct pt_regs *regs, long ret)`.
#[raw_tracepoint]
pub fn syscall_exit(ctx: RawTracePointContext) -> i32 {
    preempt::without(|| syscalls::returned(&ctx));
    0
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
#[raw_tracepoint]
pub fn socket_state(ctx: RawTracePointContext) -> i32 {
    preempt::without(|| life::changed(&ctx));
    0
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`.
#[raw_tracepoint]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    preempt::without(|| process::forked(&ctx));
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[raw_tracepoint]
pub fn process_exec(_ctx: RawTracePointContext) -> i32 {
    preempt::without(|| process::executed());
    0
}

/// `sched_process_exit(struct task_struct *p, ...)`.
#[raw_tracepoint]
pub fn process_exit(_ctx: RawTracePointContext) -> i32 {
    preempt::without(|| process::exited());
    0
}

/// `sched_waking(struct task_struct *p)`.
#[raw_tracepoint]
pub fn thread_waking(ctx: RawTracePointContext) -> i32 {
    preempt::without(|| handover::waking(&ctx));
    0
}

/// `_asyncio.Task.__init__(self, ...)` of CPython.
#[uprobe]
pub fn python_task(ctx: ProbeContext) -> u32 {
    preempt::without(|| python::spawned(&ctx));
    0
}

/// Node.js: the entry of `node::Environment::RunTimers`.
#[uprobe]
pub fn node_timers(_ctx: ProbeContext) -> u32 {
    preempt::without(node::timers);
    0
}

/// Go: the entry of `net/http.(*persistConn).roundTrip`.
#[uprobe]
pub fn go_http_round_trip(ctx: ProbeContext) -> u32 {
    preempt::without(|| go::round_trip(&ctx));
    0
}

/// Go: the entry of `runtime.ready`.
#[uprobe]
pub fn go_ready(ctx: ProbeContext) -> u32 {
    preempt::without(|| go::readied(&ctx));
    0
}

/// tokio: the entry of a function that wakes a task.
#[uprobe]
pub fn tokio_wake(ctx: ProbeContext) -> u32 {
    preempt::without(|| tokio::woken(&ctx));
    0
}

/// tokio: the entry of a function that takes a new task.
#[uprobe]
pub fn tokio_spawn(ctx: ProbeContext) -> u32 {
    preempt::without(|| tokio::spawned(&ctx));
    0
}

/// The helpers that read kernel memory are offered to programs under a GPL-compatible licence only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the verifier refuses a program in which this can be reached.
    unsafe { core::hint::unreachable_unchecked() }
}
