//! Contexts written into requests: a header is put behind the request line of what chosen processes send over plain HTTP/1.
//!
//! Only where it is certain that a request begins: from the beginning of a connection on, heads say how long their bodies are, and so
//! where the next one begins. From the first one on that does not say, the connection is left as it is. The map of sockets is not
//! used by the program that runs for them: it would keep itself alive.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_msg_pop_data, bpf_msg_pull_data,
        bpf_msg_push_data,
    },
    programs::{SkMsgContext, SockOpsContext},
};
use geophone_ebpf::{
    inject::HEADER,
    record::{Data, INJECT_DONE, INJECT_OVER, Inject, Kind, NOWHERE, RELATIVE},
    stats::Counter,
};

use crate::{
    capture::{at_most, report_piece},
    emit,
    head::{BLOCKS, EMPTY, HEAD_CONTEXT, HEAD_LOST, HEAD_OTHER, HEAD_SIGNED, LONGEST, is_request, scan_sending},
    kernel::{copy_kernel, read},
    maps::{
        BLOCK, CONNECTION_INJECT, CONNECTIONS, INJECT_BLANK, INJECT_PROCESSES, INJECT_SOCKETS, INJECT_STATES,
        Injecting, PORTS, SOURCE_NONE, config,
    },
    process::Current,
    serving,
};

const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;
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
    let Some(entry) = CONNECTIONS.get_ptr(sk) else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    if unsafe { (*entry).flags } & CONNECTION_INJECT == 0 {
        return;
    }
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
    }
}

/// The state of a socket that has sent nothing yet.
#[inline(always)]
fn begin(sk: u64) -> Option<*mut Injecting> {
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
#[inline(always)]
pub fn sending(ctx: &SkMsgContext) -> u32 {
    let sk = read::<u64>(ctx.msg as u64, config!(offsets.msg_sk)).unwrap_or_default();
    let id = bpf_get_current_pid_tgid();
    // The agent tests on sockets of its own whether all this works here.
    let own = (id >> 32) as u32 == config!(agent_tgid);
    let state = match INJECT_STATES.get_ptr_mut(sk) {
        Some(state) => state,
        None if own => match begin(sk) {
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
    let size = u64::from(ctx.size());
    if state.over != 0 || position.wrapping_add(size) <= state.next {
        return SK_PASS;
    }
    if position != state.next {
        return over(sk, id, state, Counter::InjectLost);
    }
    if read::<u64>(sk, config!(offsets.icsk_ulp)).unwrap_or(1) != 0 {
        return over(sk, id, state, Counter::InjectOther);
    }
    let wanted = size.min(LONGEST);
    let [mut data, mut end] = read::<[u64; 2]>(ctx.msg as u64, config!(offsets.msg_data)).unwrap_or_default();
    if end.wrapping_sub(data) < wanted {
        // SAFETY: the kernel checks what it is given.
        if unsafe { bpf_msg_pull_data(ctx.msg, 0, wanted as u32, 0) } != 0 {
            return over(sk, id, state, Counter::InjectBusy);
        }
        [data, end] = read::<[u64; 2]>(ctx.msg as u64, config!(offsets.msg_data)).unwrap_or_default();
    }
    let have = end.wrapping_sub(data).min(wanted);
    state.head = EMPTY;
    let mut block = 0;
    while block < BLOCKS {
        let from = u64::from(block) * BLOCK as u64;
        if from >= have {
            break;
        }
        let count = at_most::<{ BLOCK as u64 }>(have - from);
        // SAFETY: a block has room for so many.
        if !unsafe { copy_kernel((&raw mut state.block).cast(), count, data.wrapping_add(from)) } {
            break;
        }
        if block == 0 && !is_request(&state.block, have) {
            return over(sk, id, state, Counter::InjectOther);
        }
        state.head.base = from as u32;
        state.head.count = count as u32;
        if scan_sending(sk) != 0 {
            break;
        }
        block += 1;
    }
    let (flags, at) = (state.head.flags, state.head.line);
    if flags & HEAD_OTHER != 0 {
        return over(sk, id, state, Counter::InjectOther);
    }
    if state.head.end == 0 || at == 0 {
        return over(sk, id, state, Counter::InjectIncomplete);
    }
    state.next = position.wrapping_add(u64::from(state.head.end)).wrapping_add(state.head.length);
    let reason = if flags & HEAD_CONTEXT != 0 {
        Counter::InjectCarried
    } else if flags & HEAD_SIGNED != 0 {
        Counter::InjectSigned
    } else if read::<u32>(sk, config!(offsets.tcp_snd_una)).unwrap_or_default() != sequence {
        // If the send fails half-way, the kernel reckons with what it was given by the process.
        Counter::InjectBusy
    } else {
        match write(ctx, sk, id, state, at) {
            WRITTEN => {
                state.next = state.next.wrapping_add(HEADER as u64);
                state.pending = position.wrapping_add(u64::from(at));
                Counter::Injected
            }
            BROKEN => return SK_DROP,
            _ => Counter::InjectBusy,
        }
    };
    if flags & HEAD_LOST != 0 {
        over(sk, id, state, Counter::InjectLost);
    }
    if !own {
        emit::count(reason);
    }
    SK_PASS
}

/// From here on, what is sent is left as it is.
#[inline(always)]
fn over(sk: u64, id: u64, state: &mut Injecting, why: Counter) -> u32 {
    state.over = 1;
    if (id >> 32) as u32 != config!(agent_tgid) {
        emit::count(why);
        tell(sk, id, state, INJECT_OVER);
    }
    SK_PASS
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

const UNTOUCHED: u32 = 0;
const WRITTEN: u32 = 1;
/// What was made room for could neither be filled nor given back: the message must not be sent.
const BROKEN: u32 = 2;

/// Tells the agent of a context, and writes it into the message at `at`.
#[inline(always)]
fn write(ctx: &SkMsgContext, sk: u64, id: u64, state: &mut Injecting, at: u32) -> u32 {
    let ([high, low], flags) = serving::trace(id);
    // SAFETY: the helper has no preconditions.
    let (a, b) = unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32()) };
    let span = u64::from(a) << 32 | u64::from(b | 1);
    let record = &mut state.record;
    record.at = state.position.wrapping_add(u64::from(at));
    record.trace[..8].copy_from_slice(&high.to_be_bytes());
    record.trace[8..].copy_from_slice(&low.to_be_bytes());
    record.span = span.to_be_bytes();
    record.flags = flags;
    // What the agent has not heard of must not be on the wire.
    if (id >> 32) as u32 != config!(agent_tgid) && !tell(sk, id, state, INJECT_DONE) {
        return UNTOUCHED;
    }
    let header = &mut state.header;
    header[..16].copy_from_slice(b"traceparent: 00-");
    hex(header, 16, high);
    hex(header, 32, low);
    header[48] = b'-';
    hex(header, 49, span);
    header[65..70].copy_from_slice(b"-00\r\n");
    header[67] = if flags & 1 != 0 { b'1' } else { b'0' };
    // SAFETY: the kernel checks what it is given.
    unsafe {
        if bpf_msg_push_data(ctx.msg, at, HEADER as u32, 0) != 0 {
            return UNTOUCHED;
        }
        if bpf_msg_pull_data(ctx.msg, at, at + HEADER as u32, 0) == 0 {
            let (data, end) = (ctx.data(), ctx.data_end());
            if data + HEADER <= end {
                let to = data as *mut u8;
                let from = (&raw const state.header).cast::<u8>();
                let mut i = 0;
                while i < HEADER {
                    to.add(i).write(from.add(i).read());
                    i += 1;
                }
                return WRITTEN;
            }
        }
        if bpf_msg_pop_data(ctx.msg, at, HEADER as u32, 0) == 0 { UNTOUCHED } else { BROKEN }
    }
}

/// The digits of a number.
#[inline(always)]
fn hex(to: &mut [u8; 72], from: usize, value: u64) {
    let mut i = 0;
    while i < 16 {
        let digit = (value >> (60 - 4 * i)) as u8 & 15;
        to[from + i] = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        i += 1;
    }
}

/// Where a header was put into what was sent last, if that was not told yet; else `NOWHERE`.
#[inline(always)]
pub fn pending(sk: u64) -> u64 {
    let Some(state) = INJECT_STATES.get_ptr_mut(sk) else {
        return NOWHERE;
    };
    // SAFETY: the map keeps it alive while the program runs.
    unsafe { core::mem::replace(&mut (*state).pending, NOWHERE) }
}

/// Reports a call into which a header was put, as the three pieces that went out: what is in the work space, the header in the middle.
#[inline(always)]
pub fn split(sk: u64, at: u64) {
    let (Some(scratch), Some(state)) = (emit::scratch(), INJECT_STATES.get_ptr(sk)) else {
        return;
    };
    // SAFETY: the maps keep both alive; the work space is this program's while it runs.
    let (call, piece) = unsafe { (&(*scratch).call, &mut (*scratch).piece) };
    let readable = call.source != SOURCE_NONE;
    let (len, first) = (call.len, at.wrapping_sub(piece.offset) as u32);
    let most = u64::from(config!(capture));
    piece.len = first;
    piece.want = if readable { u64::from(first).min(most) } else { 0 };
    report_piece();
    // SAFETY: as above. The record's bytes follow it.
    unsafe {
        let data = &mut (*scratch).data;
        data.offset = at;
        data.len = HEADER as u32;
        data.captured = HEADER as u32;
        data.flags = piece.flags as u8 & RELATIVE;
        (&raw mut (*scratch).bytes)
            .cast::<[u8; HEADER]>()
            .write((&raw const (*state).header).cast::<[u8; HEADER]>().read());
    }
    emit::write(unsafe { (&raw const (*scratch).data).cast() }, (size_of::<Data>() + HEADER) as u64, false);
    piece.offset = at.wrapping_add(HEADER as u64);
    piece.len = len.wrapping_sub(first);
    piece.from = u64::from(first);
    piece.want = if readable { u64::from(piece.len).min(most) } else { 0 };
    if piece.len != 0 {
        report_piece();
    }
}
