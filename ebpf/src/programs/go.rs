//! Go: which goroutine runs on the current thread, and who has a request sent by another goroutine.
//!
//! A goroutine is a `runtime.g`. Each thread has the address of its own: on x86_64 in thread-local memory, also while it runs C;
//! on arm64 in a register, while it runs Go. It is the goroutine's, or one that the runtime keeps for itself (`g0`, for signals),
//! which has number 0; from there `g.m.curg` leads to the goroutine.

use aya_ebpf::{EbpfContext as _, helpers::bpf_get_current_task, programs::ProbeContext};
use geophone_ebpf::{
    config::{
        RUNTIME_GO, Runtime,
        go::{
            CLOSE_TCP, CLOSE_UNIX, G_ID, G_M, G_PARENT, GRPC_CLIENT_CONN, GRPC_HANDLE, GRPC_POINTS, GRPC_SERVER_CONN,
            GRPC_STREAM_ID, GRPC_WRITE, HTTP2_CONN, HTTP2_SERVE, M_CURG, PERSIST_CONN, SYSFD, TLS, X_HTTP2_CONN,
            X_HTTP2_SERVE,
        },
    },
    record::{HANDOVER_CLAIM, HANDOVER_DELEGATE, HANDOVER_SERVE, HANDOVER_WAKE},
    stats::Counter,
};

use crate::{
    emit,
    handover::{self, registers},
    kernel::{copy, copy_user, read, read_user_or_zero},
    maps::{RUNTIMES, config},
    process::Current,
    syscalls::socket_of,
};

/// Numbers are given in blocks of 16 to each processor, from 1 on: a thousand a second for 17 years do not reach this. Addresses in
/// Go's heap (from 0xc0_0000_0000 on) lie above.
const MOST: u64 = 1 << 39;

/// Where in an `itab` its first method is (`abi.ITab.Fun`), which for a `net.Conn` is `Close`.
const ITAB_CLOSE: u64 = 24;

/// How often a connection may be wrapped: by TLS, and that by gRPC, and what it encrypts by a listener's own type.
const WRAPPED: u32 = 4;

/// A value of the type `net.Conn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Interface {
    itab: u64,
    data: u64,
}

/// How `http2stream` of `net/http` begins, and `stream` of `golang.org/x/net/http2`: the same since 2020.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stream {
    connection: u64,
    id: u32,
}

/// Finds the goroutine's number, and that of the one that started it. What is on the way is read into where they will be: the stack
/// is short.
#[inline(always)]
pub fn current(runtime: &Runtime, task: &mut u64, parent: &mut u64) {
    if runtime.at[TLS] == 0 {
        *task = read(registers(), config!(offsets.regs_go_g)).unwrap_or_default();
    } else {
        // SAFETY: the helper has no preconditions.
        let thread = unsafe { bpf_get_current_task() };
        let pointer = thread.wrapping_add(u64::from(config!(offsets.task_thread_pointer)));
        // SAFETY: `task` has room for it. When it fails, the helper writes zeroes.
        unsafe { copy::<u64>(task, pointer) };
        follow(task, runtime.at[TLS]);
    }
    let mut g = *task;
    follow(task, runtime.at[G_ID]);
    if *task == 0 && g != 0 {
        *task = g;
        follow(task, runtime.at[G_M]);
        follow(task, runtime.at[M_CURG]);
        g = *task;
        if g == 0 {
            // None: the runtime works for itself.
            return;
        }
        follow(task, runtime.at[G_ID]);
    }
    if *task >= MOST {
        *task = 0;
        emit::count(Counter::ImplausibleTask);
        return;
    }
    if *task != 0 && runtime.at[G_PARENT] != 0 {
        *parent = g;
        follow(parent, runtime.at[G_PARENT]);
    }
}

/// Replaces an address in the process by the word at an offset from there; by 0 when it cannot be read.
#[inline(always)]
fn follow(address: &mut u64, offset: u64) {
    let from = address.wrapping_add(offset);
    // SAFETY: there is room for it. When it fails, the helper writes zeroes.
    unsafe { copy_user(core::ptr::from_mut(address).cast(), 8, from) };
}

/// The current process, if it is traced and its goroutines are known.
#[inline(always)]
fn traced() -> Option<(Current, &'static Runtime)> {
    let who = Current::traced()?;
    // SAFETY: the map keeps the value alive while the program runs.
    let runtime = unsafe { RUNTIMES.get(who.tgid) }?;
    (runtime.kind == RUNTIME_GO).then_some((who, runtime))
}

/// `func (pc *persistConn) roundTrip(req *transportRequest)` is entered. The request will be written, and its answer read, by the
/// connection's own two goroutines: only here is it seen whose it is.
#[inline(always)]
pub fn round_trip(ctx: &ProbeContext) {
    let Some((who, runtime)) = traced() else {
        return;
    };
    let regs = ctx.as_ptr() as u64;
    let here = read::<u64>(regs, config!(offsets.regs_ip)).unwrap_or_default();
    let receiver = read::<u64>(regs, config!(offsets.regs_go_first)).unwrap_or_default();
    match socket_of_conn(runtime, receiver.wrapping_add(runtime.at[PERSIST_CONN]), here) {
        Some(sk) => handover::tell(HANDOVER_CLAIM, who, (who.tgid, 0, 0), sk),
        None => emit::count(Counter::Unclaimed),
    }
}

/// `func (t *http2Client) write(s *ClientStream, ...)` is entered, in old versions `Write(s *Stream, ...)`. The call's headers and its
/// messages will be written by the connection's own goroutine; here the stream has its number, and runs whoever made the call.
#[inline(always)]
pub fn grpc_write(ctx: &ProbeContext) {
    let Some((who, runtime)) = traced() else {
        return;
    };
    let regs = ctx.as_ptr() as u64;
    let transport = read::<u64>(regs, config!(offsets.regs_go_first)).unwrap_or_default();
    let stream = read::<u64>(regs, config!(offsets.regs_go_second)).unwrap_or_default();
    let conn = transport.wrapping_add(runtime.at[GRPC_CLIENT_CONN]);
    let anchor = anchor(regs, runtime.at[GRPC_WRITE]);
    tell_stream(HANDOVER_CLAIM, (who, runtime), (conn, grpc_stream(runtime, stream)), anchor);
}

/// `func (s *Server) handleStream(t transport.ServerTransport, stream *transport.ServerStream)` is entered, in the goroutine that will
/// run the handler; the request was read by the connection's own, which reads all of them.
#[inline(always)]
pub fn grpc_handle(ctx: &ProbeContext) {
    let Some((who, runtime)) = traced() else {
        return;
    };
    let regs = ctx.as_ptr() as u64;
    // The second and third argument are the interface.
    let transport = read::<u64>(regs, config!(offsets.regs_go_third)).unwrap_or_default();
    let stream = read::<u64>(regs, config!(offsets.regs_go_fourth)).unwrap_or_default();
    let conn = transport.wrapping_add(runtime.at[GRPC_SERVER_CONN]);
    let anchor = anchor(regs, runtime.at[GRPC_HANDLE]);
    tell_stream(HANDOVER_SERVE, (who, runtime), (conn, grpc_stream(runtime, stream)), anchor);
}

/// The number of gRPC's stream at an address.
#[inline(always)]
fn grpc_stream(runtime: &Runtime, stream: u64) -> u32 {
    let stream = if runtime.at[GRPC_POINTS] == 0 { stream } else { read_user_or_zero(stream) };
    read_user_or_zero(stream.wrapping_add(runtime.at[GRPC_STREAM_ID]))
}

/// `func (sc *http2serverConn) runHandler(rw *http2responseWriter, ...)` is entered, in the goroutine that will run the handler; the
/// request was read by one of the connection's own, which reads all of them.
#[inline(always)]
pub fn http2_serve(ctx: &ProbeContext) {
    if let Some((who, runtime)) = traced() {
        serve(ctx, (who, runtime), runtime.at[HTTP2_CONN], runtime.at[HTTP2_SERVE]);
    }
}

/// As [`http2_serve`], of `golang.org/x/net/http2`.
#[inline(always)]
pub fn x_http2_serve(ctx: &ProbeContext) {
    if let Some((who, runtime)) = traced() {
        serve(ctx, (who, runtime), runtime.at[X_HTTP2_CONN], runtime.at[X_HTTP2_SERVE]);
    }
}

/// Of either; with the offset of the connection, and where the function is.
#[inline(always)]
fn serve(ctx: &ProbeContext, whose: (Current, &Runtime), conn: u64, distance: u64) {
    let regs = ctx.as_ptr() as u64;
    let connection = read::<u64>(regs, config!(offsets.regs_go_first)).unwrap_or_default();
    let writer = read::<u64>(regs, config!(offsets.regs_go_second)).unwrap_or_default();
    // It is a pointer to what begins with a pointer to the stream.
    let state: u64 = read_user_or_zero(writer);
    let at: u64 = read_user_or_zero(state);
    let stream: Stream = read_user_or_zero(at);
    let id = if stream.connection == connection { stream.id } else { 0 };
    tell_stream(HANDOVER_SERVE, whose, (connection.wrapping_add(conn), id), anchor(regs, distance));
}

/// `func (cc *http2ClientConn) roundTrip(req *Request, ...)` is entered: it starts a goroutine that sends the request. What is seen of
/// that one names this one, but not who has started this one.
#[inline(always)]
pub fn http2_round_trip() {
    if let Some((who, _)) = traced() {
        handover::tell(HANDOVER_DELEGATE, who, (who.tgid, 0, 0), 0);
    }
}

/// Tells of the stream with this number, on the connection that is kept at this address.
#[inline(always)]
fn tell_stream(what: u32, (who, runtime): (Current, &Runtime), (conn, id): (u64, u32), anchor: u64) {
    // Clients' streams have odd numbers of 31 bits (RFC 9113, section 5.1.1).
    let is_likely = id & 0x8000_0001 == 1;
    match socket_of_conn(runtime, conn, anchor) {
        Some(sk) if is_likely => handover::tell(what, who, (who.tgid, 0, u64::from(id)), sk),
        _ => emit::count(Counter::Unclaimed),
    }
}

/// Where the function is from which all distances are counted, in this process; this one is so far from it.
#[inline(always)]
fn anchor(regs: u64, distance: u64) -> u64 {
    read::<u64>(regs, config!(offsets.regs_ip)).unwrap_or_default().wrapping_sub(distance)
}

/// The socket of the `net.Conn` at an address: one of TCP or Unix sockets, or of a type that begins with one of them, or with another such
/// type. So do those of TLS, gRPC and `h2c`, and nearly all that programs wrap around their connections. What type it is tells the address
/// of its methods: seen from `here`, it is the same wherever the program was loaded.
#[inline(always)]
pub fn socket_of_conn(runtime: &Runtime, at: u64, here: u64) -> Option<u64> {
    let mut conn: Interface = read_user_or_zero(at);
    let mut wrapped = 0;
    loop {
        let close = close_of(conn, here);
        if close != 0 && (close == runtime.at[CLOSE_TCP] || close == runtime.at[CLOSE_UNIX]) {
            break;
        }
        if wrapped == WRAPPED {
            return None;
        }
        conn = read_user_or_zero(conn.data);
        wrapped += 1;
    }
    // `TCPConn` and `UnixConn` are a pointer to their `netFD`.
    let descriptor: u64 = read_user_or_zero(conn.data);
    let fd: u64 = read_user_or_zero(descriptor.wrapping_add(runtime.at[SYSFD]));
    socket_of(fd as u32)
}

/// `func ready(gp *g, traceskip int, next bool)` is entered: a goroutine makes another one ready to run, for a channel or a lock. Where
/// none runs, the runtime's poller and timers do so, for nobody.
#[inline(always)]
pub fn readied(ctx: &ProbeContext) {
    let Some((who, runtime)) = traced() else {
        return;
    };
    let (mut task, mut parent) = (0, 0);
    current(runtime, &mut task, &mut parent);
    if task == 0 {
        return;
    }
    let g = read::<u64>(ctx.as_ptr() as u64, config!(offsets.regs_go_first)).unwrap_or_default();
    let mut woken = g;
    follow(&mut woken, runtime.at[G_ID]);
    if woken == 0 || woken == task || woken >= MOST {
        return;
    }
    parent = 0;
    if runtime.at[G_PARENT] != 0 {
        parent = g;
        follow(&mut parent, runtime.at[G_PARENT]);
    }
    handover::tell(HANDOVER_WAKE, who, (who.tgid, 0, woken), parent);
}

/// From `here` to a connection's `Close`.
#[inline(always)]
fn close_of(conn: Interface, here: u64) -> u64 {
    read_user_or_zero::<u64>(conn.itab.wrapping_add(ITAB_CLOSE)).wrapping_sub(here)
}
