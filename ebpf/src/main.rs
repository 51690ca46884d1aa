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
#[path = "programs/carry.rs"]
mod carry;
#[path = "programs/connection.rs"]
mod connection;
#[path = "programs/cpython.rs"]
mod cpython;
#[path = "programs/datagram.rs"]
mod datagram;
#[path = "programs/emit.rs"]
mod emit;
#[path = "programs/go.rs"]
mod go;
#[path = "programs/greeting.rs"]
mod greeting;
#[path = "programs/handover.rs"]
mod handover;
#[path = "programs/head.rs"]
mod head;
#[path = "programs/http2.rs"]
mod http2;
#[path = "programs/inject.rs"]
mod inject;
#[path = "programs/inject_http1.rs"]
mod inject_http1;
#[path = "programs/inject_http2.rs"]
mod inject_http2;
#[path = "programs/inject_report.rs"]
mod inject_report;
#[path = "programs/interpreter.rs"]
mod interpreter;
#[path = "programs/java.rs"]
mod java;
#[path = "programs/kernel.rs"]
mod kernel;
#[path = "programs/life.rs"]
mod life;
#[path = "programs/log.rs"]
mod log;
#[path = "programs/mapping.rs"]
mod mapping;
#[path = "programs/maps.rs"]
mod maps;
#[path = "programs/node.rs"]
mod node;
#[path = "programs/preempt.rs"]
mod preempt;
#[path = "programs/process.rs"]
mod process;
#[path = "programs/profile.rs"]
mod profile;
#[path = "programs/python.rs"]
mod python;
#[path = "programs/rustls.rs"]
mod rustls;
#[path = "programs/serving.rs"]
mod serving;
#[path = "programs/sockets.rs"]
mod sockets;
#[path = "programs/syscalls.rs"]
mod syscalls;
#[path = "programs/task.rs"]
mod task;
#[path = "programs/tcp.rs"]
mod tcp;
#[path = "programs/tls.rs"]
mod tls;
#[path = "programs/tokio.rs"]
mod tokio;
#[path = "programs/twin.rs"]
mod twin;
#[path = "programs/unwind.rs"]
mod unwind;
#[path = "programs/usage.rs"]
mod usage;
#[path = "programs/waits.rs"]
mod waits;

use aya_ebpf::{
    macros::{perf_event, raw_tracepoint, sk_msg, sock_ops, uprobe, uretprobe},
    programs::{PerfEventContext, ProbeContext, RawTracePointContext, RetProbeContext, SkMsgContext, SockOpsContext},
};

/// The program of a tracepoint, and its second one for kernels that leave programs out: see `twin.rs`.
macro_rules! tracepoint {
    ($(#[$doc:meta])* $first:ident, $second:ident: $($work:ident)::+($($more:expr)?)) => {
        $(#[$doc])*
        #[raw_tracepoint]
        pub fn $first(ctx: RawTracePointContext) -> i32 {
            preempt::without(|| $($work)::+::<false>(&ctx $(, $more)?));
            0
        }

        $(#[$doc])*
        #[raw_tracepoint]
        pub fn $second(ctx: RawTracePointContext) -> i32 {
            preempt::without(|| $($work)::+::<true>(&ctx $(, $more)?));
            0
        }
    };
}

tracepoint! {
    /// Front end *sockets*: `sock_send_length(struct sock *sk, int ret, int flags)`.
    sock_send, sock_send_again: sockets::moved(geophone_ebpf::record::SEND)
}

tracepoint! {
    /// Front end *sockets*: `sock_recv_length(struct sock *sk, int ret, int flags)`.
    sock_receive, sock_receive_again: sockets::moved(geophone_ebpf::record::RECEIVE)
}

tracepoint! {
    /// Front end *syscalls*: `sys_exit(struct pt_regs *regs, long ret)`.
    syscall_exit, syscall_exit_again: syscalls::returned()
}

tracepoint! {
    /// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
    socket_state, socket_state_again: life::changed()
}

tracepoint! {
    /// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`.
    process_fork, process_fork_again: process::forked()
}

tracepoint! {
    /// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
    process_exec, process_exec_again: process::executed()
}

tracepoint! {
    /// `sched_process_exit(struct task_struct *p, ...)`.
    process_exit, process_exit_again: process::exited()
}

/// `sched_waking(struct task_struct *p)`.
#[raw_tracepoint]
pub fn thread_waking(ctx: RawTracePointContext) -> i32 {
    preempt::without(|| handover::waking(&ctx));
    0
}

/// `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...)`.
#[raw_tracepoint]
pub fn thread_switch(ctx: RawTracePointContext) -> i32 {
    preempt::without(|| usage::switched(&ctx));
    0
}

/// The same, for profiles of waits. Interrupts are off, so nothing preempts it.
#[raw_tracepoint]
pub fn thread_waits(ctx: RawTracePointContext) -> i32 {
    waits::switched(&ctx);
    0
}

/// A processor's clock ticks, so many times a second as was asked for.
#[perf_event]
pub fn profile_tick(ctx: PerfEventContext) -> u32 {
    profile::tick(&ctx);
    0
}

/// What TCP tells of its connections: agents find each other, and contexts are carried.
#[sock_ops]
pub fn greet(ctx: SockOpsContext) -> u32 {
    greeting::called(&ctx);
    1
}

/// `_asyncio.Task.__init__(self, ...)` of CPython.
#[uprobe]
pub fn python_task(ctx: ProbeContext) -> u32 {
    preempt::without(|| python::spawned(&ctx));
    0
}

/// `_queue.SimpleQueue.put(self, item, ...)` of CPython.
#[uprobe]
pub fn python_submit(ctx: ProbeContext) -> u32 {
    preempt::without(|| python::submitted(&ctx));
    0
}

/// Node.js: the entry of `node::Environment::RunTimers`.
#[uprobe]
pub fn node_timers(_ctx: ProbeContext) -> u32 {
    preempt::without(node::timers);
    0
}

/// Node.js: the entry of `node::http2::Http2Session::Http2Session`.
#[uprobe]
pub fn node_http2_session(ctx: ProbeContext) -> u32 {
    preempt::without(|| node::session(&ctx));
    0
}

/// Node.js: the entry of `node::http2::Http2Stream::Http2Stream`.
#[uprobe]
pub fn node_http2_stream(ctx: ProbeContext) -> u32 {
    preempt::without(|| node::stream(&ctx));
    0
}

/// Node.js: the entry of `node::http2::Http2Session::HandleHeadersFrame`, `HandleDataFrame` or `HandleSettingsFrame`.
#[uprobe]
pub fn node_http2_frame(ctx: ProbeContext) -> u32 {
    preempt::without(|| node::frame(&ctx));
    0
}

/// Node.js: the entry of `node::http2::Http2Session::OnDataChunkReceived`.
#[uprobe]
pub fn node_http2_chunk(ctx: ProbeContext) -> u32 {
    preempt::without(|| node::chunk(&ctx));
    0
}

/// Node.js: the entry of `node::http2::Http2Stream::SubmitResponse`.
#[uprobe]
pub fn node_http2_respond(ctx: ProbeContext) -> u32 {
    preempt::without(|| node::respond(&ctx));
    0
}

/// Go: the entry of `net/http.(*persistConn).roundTrip`.
#[uprobe]
pub fn go_http_round_trip(ctx: ProbeContext) -> u32 {
    preempt::without(|| go::round_trip(&ctx));
    0
}

/// Go: the entry of `google.golang.org/grpc/internal/transport.(*http2Client).write`, or `Write`.
#[uprobe]
pub fn go_grpc_write(ctx: ProbeContext) -> u32 {
    preempt::without(|| go::grpc_write(&ctx));
    0
}

/// Go: the entry of `google.golang.org/grpc.(*Server).handleStream`.
#[uprobe]
pub fn go_grpc_handle(ctx: ProbeContext) -> u32 {
    preempt::without(|| go::grpc_handle(&ctx));
    0
}

/// Go: the entry of `net/http.(*http2serverConn).runHandler`, since Go 1.27 `net/http/internal/http2.(*serverConn).runHandler`.
#[uprobe]
pub fn go_http2_serve(ctx: ProbeContext) -> u32 {
    preempt::without(|| go::http2_serve(&ctx));
    0
}

/// Go: the entry of `golang.org/x/net/http2.(*serverConn).runHandler`.
#[uprobe]
pub fn go_x_http2_serve(ctx: ProbeContext) -> u32 {
    preempt::without(|| go::x_http2_serve(&ctx));
    0
}

/// Go: the entry of `net/http.(*http2ClientConn).roundTrip`, since Go 1.27 `net/http/internal/http2.(*ClientConn).roundTrip`, or
/// `golang.org/x/net/http2.(*ClientConn).roundTrip`.
#[uprobe]
pub fn go_http2_round_trip(_ctx: ProbeContext) -> u32 {
    preempt::without(go::http2_round_trip);
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

/// `int SSL_read(SSL *, void *, int)`, `ssize_t gnutls_record_recv(gnutls_session_t, void *, size_t)`.
#[uprobe]
pub fn tls_read(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered(&ctx, tls::TLS_RECEIVE, false, true));
    0
}

/// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`.
#[uprobe]
pub fn tls_read_ex(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered(&ctx, tls::TLS_RECEIVE, true, true));
    0
}

/// `int SSL_write(SSL *, const void *, int)`, `ssize_t gnutls_record_send(gnutls_session_t, const void *, size_t)`.
#[uprobe]
pub fn tls_write(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered(&ctx, tls::TLS_SEND, false, true));
    0
}

/// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`.
#[uprobe]
pub fn tls_write_ex(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered(&ctx, tls::TLS_SEND, true, true));
    0
}

/// `ossl_ssize_t SSL_sendfile(SSL *, int, off_t, size_t, int)`.
#[uprobe]
pub fn tls_sendfile(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered(&ctx, tls::TLS_SEND, false, false));
    0
}

/// `int SSL_do_handshake(SSL *)`, `int gnutls_handshake(gnutls_session_t)`.
#[uprobe]
pub fn tls_handshake(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered(&ctx, tls::TLS_HANDSHAKE, false, false));
    0
}

/// `int gnutls_init(gnutls_session_t *, unsigned int)`.
#[uprobe]
pub fn tls_make(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered(&ctx, tls::TLS_MAKE, false, false));
    0
}

/// All of these return.
#[uretprobe]
pub fn tls_return(ctx: RetProbeContext) -> u32 {
    preempt::without(|| tls::returned(&ctx));
    0
}

/// `SSL *SSL_new(SSL_CTX *)` returns.
#[uretprobe]
pub fn tls_created(ctx: RetProbeContext) -> u32 {
    preempt::without(|| tls::created(&ctx));
    0
}

/// Go: the entry of `crypto/tls.(*Conn).Read`.
#[uprobe]
pub fn go_tls_read(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered_go(&ctx, tls::TLS_RECEIVE));
    0
}

/// Go: the entry of `crypto/tls.(*Conn).Write`.
#[uprobe]
pub fn go_tls_write(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::entered_go(&ctx, tls::TLS_SEND));
    0
}

/// Go: their return instructions.
#[uprobe]
pub fn go_tls_return(ctx: ProbeContext) -> u32 {
    preempt::without(|| tls::returned_go(&ctx));
    0
}

/// rustls: `encrypt` of a cipher.
#[uprobe]
pub fn rustls_encrypt_entry(ctx: ProbeContext) -> u32 {
    preempt::without(|| rustls::encrypt::<false>(&ctx));
    0
}

/// rustls: `decrypt` of a cipher.
#[uprobe]
pub fn rustls_decrypt_entry(ctx: ProbeContext) -> u32 {
    preempt::without(|| rustls::decrypt::<false>(&ctx));
    0
}

/// It returns.
#[uretprobe]
pub fn rustls_decrypt_return(ctx: RetProbeContext) -> u32 {
    preempt::without(|| rustls::decrypted::<false>(&ctx));
    0
}

/// rustls before 0.23: `encrypt` of a cipher.
#[uprobe]
pub fn rustls_older_encrypt_entry(ctx: ProbeContext) -> u32 {
    preempt::without(|| rustls::encrypt::<true>(&ctx));
    0
}

/// rustls before 0.23: `decrypt` of a cipher.
#[uprobe]
pub fn rustls_older_decrypt_entry(ctx: ProbeContext) -> u32 {
    preempt::without(|| rustls::decrypt::<true>(&ctx));
    0
}

/// It returns.
#[uretprobe]
pub fn rustls_older_decrypt_return(ctx: RetProbeContext) -> u32 {
    preempt::without(|| rustls::decrypted::<true>(&ctx));
    0
}

/// A connection of a process that was chosen is established.
#[sock_ops]
pub fn inject_enrol(ctx: SockOpsContext) -> u32 {
    inject::established(&ctx);
    1
}

/// What is sent on a socket that was enrolled.
#[sk_msg]
pub fn inject_sending(ctx: SkMsgContext) -> u32 {
    inject::sending(&ctx)
}

/// The same, where it is HTTP/1.
#[sk_msg]
pub fn inject_http1(ctx: SkMsgContext) -> u32 {
    inject_http1::sending(&ctx)
}

/// The same, where it is HTTP/2.
#[sk_msg]
pub fn inject_http2(ctx: SkMsgContext) -> u32 {
    inject_http2::sending(&ctx)
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
