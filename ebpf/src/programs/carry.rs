//! Contexts in TCP options: see `geophone_ebpf::carry`. On connections that traced processes open, and whose other end has said in its greeting
//! that it reads them. What sends a request is not seen before the request is on its way, so it is here that one is seen to begin: with the first
//! bytes that are sent, or the first ones since something was received. The context is assigned when its segment is written, for the
//! thread that has begun to send.
//!
//! Whether that is a request is not asked: the agent takes no context but one whose place is that of a request's first byte.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG,
    },
    helpers::{
        bpf_get_current_task, bpf_ktime_get_ns,
        generated::{bpf_load_hdr_opt, bpf_reserve_hdr_opt, bpf_store_hdr_opt},
    },
    programs::SockOpsContext,
};
use geophone_ebpf::{
    carry::{Carrier, LEN, SAMPLED, UNSAMPLED},
    record::{CARRIED_RECEIVED, CARRIED_SENT, Carried, Kind},
    stats::Counter,
};

use crate::{
    emit,
    kernel::read,
    maps::{CARRIED, CARRYING, CONNECTION_IGNORED, CONNECTIONS, Came, Carrying, PORTS, config},
    serving,
    tcp::{field, sequence, sock, wide},
};

/// Segments with a request's beginning that have its context: the first one, and the first that is sent again.
const TIMES: u32 = 2;
const TCP_CLOSE: u32 = 7;
const ENOMSG: i64 = -42;

// As `phase` of a `Carrying`.
/// The other end reads contexts.
const CARRY_AGREED: u32 = 1;
/// Something was sent, or is about to be.
const CARRY_BEGUN: u32 = 2;
/// A request begins at `begin`.
const CARRY_ASKS: u32 = 4;
/// Its context is assigned, and was sent.
const CARRY_ASSIGNED: u32 = 8;
/// There is room for it in the header that is written next.
const CARRY_ROOM: u32 = 16;

/// What becomes of a segment that is no SYN.
pub enum Room {
    /// It has a context, or nothing.
    Settled,
    /// No context; a greeting, if those are not over.
    Greeting,
    /// None of the segments from here on has anything.
    Over,
}

/// A connection is opened. Returns what the program has to be called for besides.
#[inline(always)]
pub fn opens(ctx: &SockOpsContext) -> u32 {
    if config!(contexts) == 0 {
        return 0;
    }
    let sk = sock(ctx);
    // Of an earlier connection at this address.
    let _ = CARRIED.remove(sk);
    let Some(entry) = CONNECTIONS.get_ptr(sk) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    if unsafe { (*entry).flags } & CONNECTION_IGNORED != 0 {
        return 0;
    }
    if config!(by_port) != 0 {
        let [remote, local] = read::<[u16; 2]>(sk, config!(offsets.sock_portpair)).unwrap_or_default();
        // SAFETY: only whether there is an entry matters.
        if unsafe { PORTS.get(local).is_none() && PORTS.get(u16::from_be(remote)).is_none() } {
            return 0;
        }
    }
    if CARRYING.insert(sk, EMPTY, 0).is_err() {
        emit::count(Counter::ContextsFull);
        return 0;
    }
    BPF_SOCK_OPS_STATE_CB_FLAG
}

const EMPTY: Carrying =
    Carrying { thread: 0, trace: [0; 2], span: 0, flags: 0, begin: 0, received: 0, phase: 0, times: 0, pad: 0 };

/// A connection has another state.
#[inline(always)]
pub fn changed(ctx: &SockOpsContext) {
    if field!(ctx, __bindgen_anon_1, 1) == TCP_CLOSE {
        let _ = CARRYING.remove(sock(ctx));
    }
}

/// The other end has said whether it reads contexts. Returns what the program has to be called for from now on.
#[inline(always)]
pub fn agreed(ctx: &SockOpsContext, reads: bool) -> u32 {
    let Some(state) = state(ctx) else {
        return 0;
    };
    if !reads {
        let _ = CARRYING.remove(sock(ctx));
        return 0;
    }
    // SAFETY: the map keeps the value alive while the program runs; the socket is locked.
    unsafe { (*state).phase |= CARRY_AGREED };
    BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG
}

/// What is known of a connection on which contexts may be sent.
#[inline(always)]
pub fn state(ctx: &SockOpsContext) -> Option<*mut Carrying> {
    if config!(contexts) == 0 {
        return None;
    }
    CARRYING.get_ptr_mut(sock(ctx))
}

/// A segment that is no SYN is about to be sent, or it is asked how long one may be (`measured`), which is so before anything is sent.
#[inline(always)]
pub fn reserve(ctx: &SockOpsContext, state: *mut Carrying, measured: bool) -> Room {
    // SAFETY: the map keeps the value alive while the program runs; the socket is locked.
    let state = unsafe { &mut *state };
    let agreed = state.phase & CARRY_AGREED != 0;
    if !agreed && field!(ctx, data_segs_out) != 0 {
        // Who has not said by now that it reads them is sent none: not the first one again either.
        return Room::Over;
    }
    let nothing = if agreed { Room::Settled } else { Room::Greeting };
    let next = field!(ctx, snd_nxt);
    if measured {
        if !begins(ctx, state, next) {
            return nothing;
        }
        // SAFETY: the context is the kernel's.
        unsafe { bpf_reserve_hdr_opt(ctx.ops, LEN as u32, 0) };
        return Room::Settled;
    }
    let len = field!(ctx, skb_len);
    if len == 0 || state.phase & CARRY_ASKS == 0 {
        return nothing;
    }
    let again = state.phase & CARRY_ASSIGNED != 0;
    let is_over = if again { (field!(ctx, snd_una).wrapping_sub(state.begin) as i32) > 0 } else { next != state.begin };
    if is_over || first_byte(ctx) != Some(state.begin) {
        return nothing;
    }
    if again && (state.times >= TIMES || len + LEN as u32 > field!(ctx, mss_cache)) {
        emit::count(Counter::ContextsWithheld);
        if state.times >= TIMES {
            let _ = CARRYING.remove(sock(ctx));
            return Room::Over;
        }
        return nothing;
    }
    // SAFETY: as above.
    if unsafe { bpf_reserve_hdr_opt(ctx.ops, LEN as u32, 0) } == 0 {
        state.phase |= CARRY_ROOM;
    } else {
        emit::count(Counter::ContextsNoRoom);
        state.phase &= !CARRY_ASKS;
    }
    Room::Settled
}

/// Whether what is sent next begins a request, as far as TCP can tell. If so, and as long as nothing of it was written to the socket, it is the
/// thread at hand that does.
#[inline(always)]
fn begins(ctx: &SockOpsContext, state: &mut Carrying, next: u32) -> bool {
    let written = read::<u32>(sock(ctx), config!(offsets.tcp_write_seq)).unwrap_or_default();
    if state.phase & (CARRY_ASKS | CARRY_ASSIGNED) == CARRY_ASKS && state.begin == next {
        if written == next {
            state.thread = current();
        }
        return true;
    }
    let received = field!(ctx, rcv_nxt);
    if written != next || state.phase & CARRY_BEGUN != 0 && received == state.received {
        return false;
    }
    state.phase = state.phase & CARRY_AGREED | CARRY_BEGUN | CARRY_ASKS;
    state.begin = next;
    state.received = received;
    state.times = 0;
    state.thread = current();
    true
}

/// The thread that runs. There is a helper for that, but not for these programs, and not on 5.10.
#[inline(always)]
fn current() -> u64 {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let tgid = read::<u32>(task, config!(offsets.task_tgid)).unwrap_or_default();
    let tid = read::<u32>(task, config!(offsets.task_pid)).unwrap_or_default();
    u64::from(tgid) << 32 | u64::from(tid)
}

/// Sequence number of the first byte of the segment at hand, which has no header yet.
#[inline(always)]
fn first_byte(ctx: &SockOpsContext) -> Option<u32> {
    let skb = read::<u64>(ctx.ops as u64, config!(offsets.sock_ops_skb))?;
    read(skb, config!(offsets.skb_seq))
}

/// The header of a segment is written. Whether the room in it was reserved for a context.
#[inline(always)]
pub fn write(ctx: &SockOpsContext) -> bool {
    let Some(state) = state(ctx) else {
        return false;
    };
    // SAFETY: the map keeps the value alive while the program runs; the socket is locked.
    let state = unsafe { &mut *state };
    if state.phase & CARRY_ROOM == 0 {
        return false;
    }
    state.phase &= !CARRY_ROOM;
    if sequence(ctx) != Some(state.begin) {
        emit::count(Counter::ContextsFailed);
        return true;
    }
    if state.phase & CARRY_ASSIGNED == 0 {
        // A segment that has had to wait leaves when its request may have been told already, without what is in it.
        let late = current() != state.thread;
        if late {
            emit::count(Counter::ContextsWithheld);
        }
        // What the agent has not heard of must not be on the wire.
        if late || !assign(ctx, state) {
            state.phase &= !CARRY_ASKS;
            return true;
        }
    }
    state.times += 1;
    let option = Carrier::new(state.trace, state.span, state.flags & 1 != 0);
    // SAFETY: the option has so many bytes.
    let ret = unsafe { bpf_store_hdr_opt(ctx.ops, (&raw const option).cast(), LEN as u32, 0) };
    if ret != 0 {
        emit::count(Counter::ContextsFailed);
    } else if state.times == 1 {
        emit::count(Counter::ContextsSent);
    }
    true
}

/// Makes a context, and tells the agent.
#[inline(always)]
fn assign(ctx: &SockOpsContext, state: &mut Carrying) -> bool {
    let (trace, flags) = serving::trace(state.thread);
    state.trace = trace;
    state.flags = flags;
    state.span = serving::new_span();
    state.phase |= CARRY_ASSIGNED;
    // What this side has received; its SYN is not among that.
    let answers = field!(ctx, rcv_nxt).wrapping_sub(wide!(ctx, bytes_received, u64) as u32);
    tell(CARRIED_SENT, answers, state.begin, (trace, state.span, flags))
}

#[inline(always)]
fn tell(what: u32, answers: u32, request: u32, ([high, low], span, flags): ([u64; 2], u64, u32)) -> bool {
    let [high, low] = [high.to_be_bytes(), low.to_be_bytes()];
    let record = Carried {
        kind: Kind::Carried as u32,
        what,
        // SAFETY: the helper has no preconditions.
        time: unsafe { bpf_ktime_get_ns() },
        answers,
        request,
        // SAFETY: as many bytes.
        trace: unsafe { core::mem::transmute::<[[u8; 8]; 2], [u8; 16]>([high, low]) },
        span: span.to_be_bytes(),
        flags,
        pad: 0,
    };
    emit::write((&raw const record).cast(), size_of::<Carried>() as u64, false)
}

/// A connection was accepted whose other end sends contexts. Returns what the program has to be called for from now on.
#[inline(always)]
pub fn accepted(ctx: &SockOpsContext) -> u32 {
    if config!(contexts) == 0 {
        return 0;
    }
    let none = Came { trace: [0; 2], span: 0, flags: 0, sequence: 0, place: 0, pad: 0 };
    // An LRU map: an insertion makes room for itself.
    let _ = CARRIED.insert(sock(ctx), none, 0);
    // It may be there already.
    came(ctx);
    BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG
}

/// Whether a connection was accepted from who sends contexts.
#[inline(always)]
pub fn is_accepted(ctx: &SockOpsContext) -> bool {
    // SAFETY: only whether there is an entry matters.
    config!(contexts) != 0 && unsafe { CARRIED.get(sock(ctx)) }.is_some()
}

/// A segment has come. Whether there was something like a context on it.
#[inline(always)]
pub fn came(ctx: &SockOpsContext) -> bool {
    if config!(contexts) == 0 {
        return false;
    }
    let mut flags = 1;
    let mut option = Carrier::wanted(SAMPLED);
    // SAFETY: the option has room for so many.
    let mut len = unsafe { bpf_load_hdr_opt(ctx.ops, (&raw mut option).cast(), LEN as u32, 0) };
    if len == ENOMSG {
        flags = 0;
        option = Carrier::wanted(UNSAMPLED);
        // SAFETY: as above.
        len = unsafe { bpf_load_hdr_opt(ctx.ops, (&raw mut option).cast(), LEN as u32, 0) };
        if len == ENOMSG {
            return false;
        }
    }
    let (Some((trace, span)), Some(sequence)) = (option.read(len), sequence(ctx)) else {
        emit::count(Counter::ContextsMalformed);
        return true;
    };
    let sk = sock(ctx);
    // SAFETY: the map keeps the value alive while the program runs.
    if let Some(last) = unsafe { CARRIED.get(sk) }
        && last.span == span
        && last.trace[1] == trace[1]
        && (sequence.wrapping_sub(last.sequence) as i32) >= 0
    {
        // The same again, or on what came out of one long segment with it.
        return true;
    }
    let received = wide!(ctx, bytes_received, u64) as u32;
    let place = received.wrapping_add(sequence.wrapping_sub(field!(ctx, rcv_nxt)));
    let _ = CARRIED.insert(sk, Came { trace, span, flags, sequence, place, pad: 0 }, 0);
    let answers = field!(ctx, snd_una).wrapping_sub(wide!(ctx, bytes_acked, u64) as u32);
    emit::count(Counter::ContextsReceived);
    tell(CARRIED_RECEIVED, answers, sequence, (trace, span, flags));
    true
}

/// The context that came with the request at this position of what a socket receives.
#[inline(always)]
pub fn came_with(sk: u64, place: u64) -> Option<Came> {
    if config!(contexts) == 0 {
        return None;
    }
    // SAFETY: a copy is taken at once.
    let came = unsafe { CARRIED.get(sk) }.copied()?;
    (came.span != 0 && came.place == place as u32).then_some(came)
}
