//! Contexts written into requests: which connections are enrolled for it, and where in its stream each of them is. What is sent on them is handed on to
//! the program that knows what they speak (`inject_http1.rs`, `inject_http2.rs`), so that each of these is verified by itself.
//!
//! The map of sockets is not used by the program that runs for them: it would keep itself alive.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_msg_pull_data},
    programs::{SkMsgContext, SockOpsContext},
};
use geophone_ebpf::{
    config::{INJECT_HTTP1, INJECT_HTTP2},
    http2::PREFACE,
    inject::word,
    record::{INJECT_DONE, INJECT_OVER, Inject, Kind, NOWHERE},
    stats::Counter,
};

use crate::{
    emit,
    kernel::read,
    maps::{
        CONNECTION_INJECT, CONNECTIONS, INJECT_BLANK, INJECT_PROCESSES, INJECT_PROGRAMS, INJECT_SOCKETS, INJECT_STATES,
        INJECT_STREAMS, Injecting, PORTS, config,
    },
    process::Current,
};

pub const SK_DROP: u32 = 0;
pub const SK_PASS: u32 = 1;
const ACTIVE_ESTABLISHED: u32 = 4;

/// Marks the connection that a process opens, if its requests are to be given contexts.
#[inline(always)]
pub fn mark(who: Option<Current>) -> u32 {
    if config!(inject) == 0 {
        return 0;
    }
    match who {
        Some(who) if is_chosen(who.tgid) => CONNECTION_INJECT,
        _ => 0,
    }
}

#[inline(always)]
pub fn is_chosen(tgid: u32) -> bool {
    // SAFETY: only whether there is an entry matters.
    unsafe { INJECT_PROCESSES.get(tgid) }.is_some()
}

/// A child is chosen as its parent is.
#[inline(always)]
pub fn forked(parent: u32, child: u32) {
    if config!(inject) != 0 && is_chosen(parent) && INJECT_PROCESSES.insert(child, 1, 0).is_err() {
        emit::count(Counter::MapFull);
    }
}

/// A process has ended, or runs another program, about which the agent has to decide.
#[inline(always)]
pub fn forget(tgid: u32) {
    if config!(inject) != 0 {
        let _ = INJECT_PROCESSES.remove(tgid);
    }
}

/// A connection is established that this side has opened.
#[inline(always)]
pub fn established(ctx: &SockOpsContext) {
    if ctx.op() != ACTIVE_ESTABLISHED {
        return;
    }
    let mut sk = read::<u64>(ctx.ops as u64, config!(offsets.sock_ops_sk)).unwrap_or_default();
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let flags = unsafe { &mut (*entry).flags };
    if *flags & CONNECTION_INJECT == 0 {
        return;
    }
    // Until it is enrolled: what is left of an earlier socket at this address says nothing of it.
    *flags &= !CONNECTION_INJECT;
    if config!(by_port) != 0 {
        let [remote, local] = read::<[u16; 2]>(sk, config!(offsets.sock_portpair)).unwrap_or_default();
        // SAFETY: only whether there is an entry matters.
        if unsafe { PORTS.get(local).is_none() && PORTS.get(u16::from_be(remote)).is_none() } {
            return;
        }
    }
    let ulp = read::<u64>(sk, config!(offsets.icsk_ulp)).unwrap_or(1);
    // More than the SYN was sent with it (TCP Fast Open).
    let acked = read::<u64>(sk, config!(offsets.tcp_bytes_acked)).unwrap_or(2);
    if ulp != 0 || acked > 1 || begin(sk).is_none() {
        emit::count(Counter::InjectRefused);
        return;
    }
    // SAFETY: the context is the program's.
    if INJECT_SOCKETS.update(&mut sk, unsafe { &mut *ctx.ops }, 0).is_err() {
        let _ = INJECT_STATES.remove(sk);
        emit::count(Counter::InjectRefused);
        return;
    }
    *flags |= CONNECTION_INJECT;
}

/// The state of a socket that has sent nothing yet.
#[inline(always)]
fn begin(sk: u64) -> Option<*mut Injecting> {
    // An earlier socket at this address may have left frames.
    let _ = INJECT_STREAMS.remove(sk);
    let blank = INJECT_BLANK.get_ptr(0)?;
    // SAFETY: the map keeps it alive, and nobody writes to it.
    INJECT_STATES.insert(sk, unsafe { &*blank }, 0).ok()?;
    let state = INJECT_STATES.get_ptr_mut(sk)?;
    let sequence = read(sk, config!(offsets.tcp_write_seq))?;
    // SAFETY: the map keeps it alive while the program runs.
    unsafe {
        (*state).sequence = sequence;
        (*state).pending = NOWHERE;
    }
    Some(state)
}

/// Something is about to be sent on a socket that was enrolled. The kernel holds the socket's lock: nobody else uses its state.
///
/// Nothing is called from here that is not a part of it: where kernels take tail calls from programs with functions differs by processor.
#[inline(always)]
pub fn sending(ctx: &SkMsgContext) -> u32 {
    let sk = socket(ctx);
    let id = bpf_get_current_pid_tgid();
    let state = match INJECT_STATES.get_ptr_mut(sk) {
        Some(state) => state,
        // The agent tests on sockets of its own whether all this works here.
        None if is_own(id) => match begin(sk) {
            Some(state) => state,
            None => return SK_PASS,
        },
        None => return SK_PASS,
    };
    // SAFETY: the map keeps it alive while the program runs.
    let state = unsafe { &mut *state };
    let sequence = read::<u32>(sk, config!(offsets.tcp_write_seq)).unwrap_or_default();
    state.position = state.position.wrapping_add(u64::from(sequence.wrapping_sub(state.sequence)));
    state.sequence = sequence;
    let position = state.position;
    if state.pending != NOWHERE && position <= state.pending {
        // That was not sent.
        state.pending = NOWHERE;
    }
    if state.over != 0 {
        return SK_PASS;
    }
    let size = ctx.size();
    if position == 0 && state.next == 0 && size >= PREFACE.len() as u32 {
        let first = read::<[u64; 3]>(pull(ctx, 0, PREFACE.len() as u32), 0);
        state.streams = u32::from(first.is_some_and(|words| words.map(u64::from_be) == PREFACE_WORDS));
    }
    // SAFETY: nothing here has to be dropped.
    unsafe {
        if state.streams != 0 {
            INJECT_PROGRAMS.tail_call(ctx, INJECT_HTTP2);
        } else if position.wrapping_add(u64::from(size)) <= state.next {
            return SK_PASS;
        } else {
            INJECT_PROGRAMS.tail_call(ctx, INJECT_HTTP1);
        }
    }
    // There is no such program on this kernel.
    over(sk, id, state, Counter::InjectOther)
}

/// The preface of HTTP/2 as numbers.
const PREFACE_WORDS: [u64; 3] =
    [word(PREFACE.split_at(8).0), word(PREFACE.split_at(16).0.split_at(8).1), word(PREFACE.split_at(16).1)];

/// The socket of a message.
#[inline(always)]
pub fn socket(ctx: &SkMsgContext) -> u64 {
    read::<u64>(ctx.msg as u64, config!(offsets.msg_sk)).unwrap_or_default()
}

/// Whether the agent itself sends.
#[inline(always)]
pub fn is_own(id: u64) -> bool {
    (id >> 32) as u32 == config!(agent_tgid)
}

/// Where so many bytes of a message are in memory; 0: they could not be had.
#[inline(always)]
pub fn pull(ctx: &SkMsgContext, offset: u32, len: u32) -> u64 {
    // SAFETY: the kernel checks what it is given.
    if unsafe { bpf_msg_pull_data(ctx.msg, offset, offset.wrapping_add(len), 0) } != 0 {
        return 0;
    }
    let [data, end] = read::<[u64; 2]>(ctx.msg as u64, config!(offsets.msg_data)).unwrap_or_default();
    if end.wrapping_sub(data) < u64::from(len) { 0 } else { data }
}

/// From here on, what is sent is left as it is.
#[inline(always)]
pub fn over(sk: u64, id: u64, state: &mut Injecting, why: Counter) -> u32 {
    state.over = 1;
    if !is_own(id) {
        emit::count(why);
        tell(sk, id, state, INJECT_OVER);
    }
    SK_PASS
}

/// Tells the agent of a context that is about to be written into what is sent, at a position: what it has not heard of must not be on the wire. Of its
/// own it knows.
#[inline(always)]
pub fn announce(sk: u64, id: u64, state: &mut Injecting, at: u64, context: ([u64; 2], u64, u32)) -> bool {
    let ([high, low], span, flags) = context;
    let record = &mut state.record;
    record.at = at;
    record.trace[..8].copy_from_slice(&high.to_be_bytes());
    record.trace[8..].copy_from_slice(&low.to_be_bytes());
    record.span = span.to_be_bytes();
    record.flags = flags;
    is_own(id) || tell(sk, id, state, INJECT_DONE)
}

/// Tells the agent what is in the state's record.
#[inline(always)]
fn tell(sk: u64, id: u64, state: &mut Injecting, what: u32) -> bool {
    let record = &mut state.record;
    record.kind = Kind::Inject as u32;
    record.what = what;
    // SAFETY: the helper has no preconditions.
    record.time = unsafe { bpf_ktime_get_ns() };
    record.sock = sk;
    record.tgid = (id >> 32) as u32;
    emit::write((&raw const *record).cast(), size_of::<Inject>() as u64, false)
}
