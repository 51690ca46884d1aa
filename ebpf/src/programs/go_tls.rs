//! Go's `crypto/tls`: what `(*Conn).Write` is given and `(*Conn).Read` returns. A goroutine may wake up on another thread in between, so
//! that a call is its goroutine's. Where a function returns, probes are at its return instructions: the stack, which Go moves, stays as
//! it is.

use aya_ebpf::{EbpfContext as _, programs::ProbeContext};
use geophone_ebpf::config::{
    RUNTIME_GO, Runtime,
    go::{TLS_READ, TLS_SINCE, TLS_WRITE},
};

use crate::{
    go,
    kernel::read,
    maps::{RUNTIMES, TLS_CALLS, TlsCall, TlsSession, config},
    process::Current,
    tls::{self, Entered, TLS_SEND},
};

/// `func (c *Conn) Read(b []byte) (int, error)`, or `Write`, is entered.
#[inline(always)]
pub fn entered(ctx: &ProbeContext, what: u32) {
    let Some(who) = Current::traced() else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let Some(runtime) = (unsafe { RUNTIMES.get(who.tgid) }) else {
        return;
    };
    if runtime.kind != RUNTIME_GO {
        return;
    }
    let caller = tls::caller(who);
    if caller.goroutine == 0 {
        return;
    }
    let regs = ctx.as_ptr() as u64;
    let session = read::<u64>(regs, config!(offsets.regs_go_first)).unwrap_or_default();
    let buffer = read::<u64>(regs, config!(offsets.regs_go_second)).unwrap_or_default();
    let length = if what == TLS_SEND {
        read::<u64>(regs, config!(offsets.regs_go_third)).unwrap_or_default().min(u64::from(u32::MAX))
    } else {
        0
    };
    let call = Entered { session, buffer, length, count: 0, stack: 0, what };
    tls::begin(caller, &call);
    if let Some(sk) = socket(ctx, runtime, session, what) {
        tls::learn(TlsSession { address: session, tgid: who.tgid, pad: 0 }, sk, true);
    }
    tls::tell(who, &call, runtime.at[TLS_SINCE]);
}

/// Where the connection encrypts for a TCP or Unix socket directly, that is known at once. Otherwise its own system calls tell.
#[inline(always)]
fn socket(ctx: &ProbeContext, runtime: &Runtime, session: u64, what: u32) -> Option<u64> {
    let at = if what == TLS_SEND { runtime.at[TLS_WRITE] } else { runtime.at[TLS_READ] };
    let here = read::<u64>(ctx.as_ptr() as u64, config!(offsets.regs_ip)).unwrap_or_default();
    go::socket_of_conn(runtime, session, here.wrapping_sub(at))
}

/// One of their return instructions is reached.
#[inline(always)]
pub fn returned(ctx: &ProbeContext) {
    let Some(who) = Current::traced() else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let Some(runtime) = (unsafe { RUNTIMES.get(who.tgid) }) else {
        return;
    };
    let Some(call) = TLS_CALLS.get_ptr_mut(tls::caller(who)) else {
        return;
    };
    // SAFETY: the map keeps the value alive; nobody else runs as this goroutine.
    let call: &mut TlsCall = unsafe { &mut *call };
    if call.session == 0 {
        return;
    }
    let count = read::<u64>(ctx.as_ptr() as u64, config!(offsets.regs_go_first)).unwrap_or_default();
    tls::complete(who, call, count as i64, runtime.at[TLS_SINCE]);
}
