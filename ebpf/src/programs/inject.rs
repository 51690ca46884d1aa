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
    config::{RUNTIME_GO, RUNTIME_TOKIO},
    inject::{HEADER, Meaning, NAME, name, trace_id},
    record::{Data, INJECT_DONE, INJECT_OVER, Inject, Kind, NOWHERE, RECEIVE, RELATIVE, ROLE_CONNECT},
    stats::Counter,
};

use crate::{
    capture::{at_most, report_piece},
    emit,
    kernel::{copy_kernel, read},
    maps::{
        BLOCK, CONNECTION_ASKED, CONNECTION_INJECT, CONNECTIONS, Connection, Head, INJECT_BLANK, INJECT_NAMES,
        INJECT_PROCESSES, INJECT_READERS, INJECT_SOCKETS, INJECT_STATES, INJECT_THREADS, Injecting, PORTS, RUNTIMES,
        SOURCE_NONE, Serving, config,
    },
    process::Current,
};

const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;
const ACTIVE_ESTABLISHED: u32 = 4;

/// Blocks of a head that are looked at: 8 KiB, as much as most servers take.
const BLOCKS: u32 = 32;
const LONGEST: u64 = BLOCKS as u64 * BLOCK as u64;
/// Blocks of a received head that are looked at.
const RECEIVED: u32 = 8;
/// How long a request may be open and still count.
const OPEN: u64 = 60_000_000_000;

// As `phase` of a `Head`.
const PHASE_TARGET: u32 = 0;
const PHASE_NAME: u32 = 1;
const PHASE_VALUE: u32 = 2;
const PHASE_DONE: u32 = 3;

// As `flags` of a `Head`.
const HEAD_CONTEXT: u32 = 1;
const HEAD_SIGNED: u32 = 2;
const HEAD_LENGTH: u32 = 4;
const HEAD_LOST: u32 = 8;
const HEAD_OTHER: u32 = 16;

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
fn is_chosen(tgid: u32) -> bool {
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
    let ([high, low], flags) = trace(id);
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

/// The trace of the request that the thread serves, where that is certain; else a new one. With its flags.
#[inline(always)]
fn trace(id: u64) -> ([u64; 2], u32) {
    // SAFETY: the maps keep the values alive while the program runs.
    let (serving, runtime) = unsafe { (INJECT_THREADS.get(id), RUNTIMES.get((id >> 32) as u32)) };
    // Their threads take up one task after the other.
    let tasks = runtime.is_some_and(|runtime| runtime.kind == RUNTIME_GO || runtime.kind == RUNTIME_TOKIO);
    if let Some(serving) = serving
        && serving.open == 1
        && serving.mixed == 0
        && !tasks
    {
        return (serving.trace, serving.flags);
    }
    // SAFETY: the helper has no preconditions.
    let random = || unsafe { u64::from(bpf_get_prandom_u32()) << 32 | u64::from(bpf_get_prandom_u32()) };
    ([random(), random() | 1], 1)
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

/// A call moved bytes, of which the work space holds the first ones: takes note of requests that are received and answered.
#[inline(always)]
pub fn moved(entry: &mut Connection, captured: u64) {
    if entry.role == u32::from(ROLE_CONNECT) {
        return;
    }
    let Some(scratch) = emit::scratch() else {
        return;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (call, bytes) = unsafe { (&(*scratch).call, &*(&raw const (*scratch).bytes).cast::<[u8; BLOCK]>()) };
    if call.direction != u32::from(RECEIVE) {
        // An answer that only says that there will be one is none.
        if entry.flags & CONNECTION_ASKED != 0 && !(captured > 9 && bytes[9] == b'1') {
            entry.flags &= !CONNECTION_ASKED;
            answered(call.sk);
        }
        return;
    }
    if captured == 0 || entry.flags & CONNECTION_ASKED != 0 || !is_chosen(call.who.tgid) || !is_request(bytes, captured)
    {
        return;
    }
    entry.flags |= CONNECTION_ASKED;
    asked(entry.born, captured);
}

/// A thread has read a request.
#[inline(always)]
fn asked(born: u64, captured: u64) {
    let Some(scratch) = emit::scratch() else {
        return;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (call, piece, head) = unsafe { (&(*scratch).call, &(*scratch).piece, &mut (*scratch).head) };
    *head = EMPTY;
    let mut block = 0;
    while block < RECEIVED {
        let from = block * BLOCK as u32;
        if u64::from(from) >= captured {
            break;
        }
        head.base = from;
        head.count = (captured - u64::from(from)).min(BLOCK as u64) as u32;
        if scan_received() != 0 {
            break;
        }
        block += 1;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let id = u64::from(call.who.tgid) << 32 | u64::from(call.who.tid);
    let key = [config!(inject_key[0]), config!(inject_key[1]), config!(inject_key[2]), config!(inject_key[3])];
    let mut new =
        Serving { trace: trace_id(key, call.sk, born, piece.offset), since: now, flags: 1, open: 1, mixed: 0, pad: 0 };
    // SAFETY: the map keeps the value alive while the program runs.
    if let Some(before) = unsafe { INJECT_THREADS.get(id) }
        && before.open != 0
        && now.wrapping_sub(before.since) < OPEN
    {
        new.open = before.open + 1;
        new.mixed = 1;
    }
    if head.parent != 0 {
        // `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
        if u64::from(head.parent) + 55 > captured || parse(&mut new, u64::from(head.parent)) == 0 {
            new.mixed = 1;
        }
    } else if head.flags & HEAD_CONTEXT != 0 || head.end == 0 {
        // One of another kind, or the agent may see more of the head than is seen here.
        new.mixed = 1;
    }
    // LRU maps: an insertion makes room for itself.
    let _ = INJECT_THREADS.insert(id, new, 0);
    let _ = INJECT_READERS.insert(call.sk, id, 0);
}

/// Reads a `traceparent` among the bytes in the work space; 0: it is none.
#[inline(always)]
fn parse(to: &mut Serving, at: u64) -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    let at = at_most::<LONGEST>(at) as usize;
    // SAFETY: the work space is longer than that, and this program's while it runs.
    let byte = |i: usize| unsafe { (&raw const (*scratch).bytes).cast::<u8>().add(at + i).read() };
    let (mut high, mut low, mut bad) = (0u64, 0u64, 0u32);
    let mut i = 0;
    while i < 16 {
        let (a, b) = (digit(byte(3 + i)), digit(byte(19 + i)));
        high = high << 4 | u64::from(a & 15);
        low = low << 4 | u64::from(b & 15);
        bad |= u32::from(a | b) & 16;
        i += 1;
    }
    let flags = digit(byte(54));
    bad |= u32::from(flags) & 16;
    to.trace = [high, low];
    to.flags = u32::from(flags) & 1;
    u64::from(
        bad == 0 && byte(0) == b'0' && byte(1) == b'0' && byte(2) == b'-' && byte(35) == b'-' && (high | low) != 0,
    )
}

/// The value of a digit; 16: it is none.
#[inline(always)]
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => 16,
    }
}

/// The request on a socket is answered.
#[inline(always)]
fn answered(sk: u64) {
    // SAFETY: a copy is taken at once.
    let Some(id) = (unsafe { INJECT_READERS.get(sk) }).copied() else {
        return;
    };
    let _ = INJECT_READERS.remove(sk);
    let Some(serving) = INJECT_THREADS.get_ptr_mut(id) else {
        return;
    };
    // SAFETY: the map keeps it alive while the program runs. Several processors may answer at a time: a count that is wrong by that means
    // only that requests are given traces of their own.
    let serving = unsafe { &mut *serving };
    serving.open = serving.open.saturating_sub(1);
    if serving.open == 0 {
        let _ = INJECT_THREADS.remove(id);
    }
}

/// Whether bytes begin as a request does.
#[inline(always)]
fn is_request(bytes: &[u8; BLOCK], have: u64) -> bool {
    if have < 16 {
        return false;
    }
    let word = u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]);
    let begins = |method: &[u8]| {
        let (mut wanted, mut i) = (0, 0);
        while i < method.len() {
            wanted = wanted << 8 | method[i] as u64;
            i += 1;
        }
        word >> (64 - 8 * method.len()) == wanted
    };
    begins(b"GET ")
        || begins(b"POST ")
        || begins(b"PUT ")
        || begins(b"HEAD ")
        || begins(b"PATCH ")
        || begins(b"DELETE ")
        || begins(b"OPTIONS ")
}

const EMPTY: Head = Head {
    hash: 0,
    window: 0,
    length: 0,
    phase: PHASE_TARGET,
    what: 0,
    flags: 0,
    line: 0,
    end: 0,
    parent: 0,
    base: 0,
    count: 0,
};

/// Goes on with the head that is about to be sent on a socket. Not 0: it has come to its end. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_sending(sk: u64) -> u64 {
    let Some(state) = INJECT_STATES.get_ptr_mut(sk) else {
        return 1;
    };
    // SAFETY: the map keeps it alive while the program runs.
    unsafe { scan(&raw mut (*state).head, (&raw const (*state).block).cast()) }
}

/// The same for one that was received, in the work space.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_received() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 1;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs, and longer than what is looked at.
    unsafe {
        let base = at_most::<LONGEST>(u64::from((*scratch).head.base));
        scan(&raw mut (*scratch).head, (&raw const (*scratch).bytes).cast::<u8>().add(base as usize))
    }
}

/// Looks at a block of a head. What it has found so far is kept in memory, where numbers are unknown to the verifier.
///
/// # Safety
/// `block` must have [`BLOCK`] bytes; the verifier checks it too.
#[inline(always)]
unsafe fn scan(head: *mut Head, block: *const u8) -> u64 {
    macro_rules! get {
        ($field:ident) => {
            // SAFETY: the caller's promise; volatile, so that the verifier does not know what was written.
            unsafe { core::ptr::read_volatile(&raw const (*head).$field) }
        };
    }
    macro_rules! set {
        ($field:ident = $value:expr) => {{
            let value = $value;
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(&raw mut (*head).$field, value) };
        }};
    }
    let count = get!(count);
    let mut i = 0u32;
    while i < BLOCK as u32 {
        if i >= count {
            return 0;
        }
        // SAFETY: the caller's promise.
        let byte = unsafe { core::ptr::read_volatile(block.add(i as usize)) };
        let lower = if byte.wrapping_sub(b'A') < 26 { byte | 0x20 } else { byte };
        let before = get!(window);
        let window = before << 8 | u64::from(lower);
        set!(window = window);
        let phase = get!(phase);
        if byte == b'\n' {
            if phase == PHASE_TARGET {
                let version = before & 0xff_ffff_ffff_ffff;
                if version != word(b"tp/1.1\r") && version != word(b"tp/1.0\r") {
                    set!(flags = get!(flags) | HEAD_OTHER);
                    return 1;
                }
                set!(line = get!(base) + i + 1);
            } else if phase == PHASE_NAME && get!(hash) == NAME {
                set!(end = get!(base) + i + 1);
                set!(phase = PHASE_DONE);
                return 1;
            }
            set!(phase = PHASE_NAME);
            set!(hash = NAME);
        } else if phase == PHASE_NAME {
            if byte == b':' {
                let hash = get!(hash);
                // SAFETY: a copy is taken at once.
                let what = unsafe { INJECT_NAMES.get(hash) }.copied().unwrap_or(0);
                set!(phase = PHASE_VALUE);
                set!(what = what);
                if what == Meaning::Context as u32 || what == Meaning::TraceParent as u32 {
                    set!(flags = get!(flags) | HEAD_CONTEXT);
                } else if what == Meaning::Signature as u32 {
                    set!(flags = get!(flags) | HEAD_SIGNED);
                } else if what == Meaning::Lost as u32 {
                    set!(flags = get!(flags) | HEAD_LOST);
                } else if what == Meaning::Length as u32 {
                    let flags = get!(flags);
                    set!(flags = flags | HEAD_LENGTH | if flags & HEAD_LENGTH != 0 { HEAD_LOST } else { 0 });
                } else if what == Meaning::Credentials as u32 {
                    set!(hash = name(hash, b':'));
                }
            } else if byte != b'\r' {
                set!(hash = name(get!(hash), lower));
            }
        } else if phase == PHASE_VALUE {
            let what = get!(what);
            let space = byte == b' ' || byte == b'\t' || byte == b'\r';
            if what == Meaning::Length as u32 {
                let digit = byte.wrapping_sub(b'0');
                let length = get!(length);
                if digit < 10 && length < 1 << 48 {
                    set!(length = length * 10 + u64::from(digit));
                } else if !space {
                    set!(flags = get!(flags) | HEAD_LOST);
                }
            } else if what == Meaning::Credentials as u32 {
                let hash = get!(hash);
                if !space {
                    set!(hash = name(hash, lower));
                } else if byte == b'\r' || hash != CREDENTIALS {
                    // SAFETY: a copy is taken at once.
                    if unsafe { INJECT_NAMES.get(hash) }.copied().unwrap_or(0) != Meaning::Plain as u32 {
                        set!(flags = get!(flags) | HEAD_SIGNED);
                    }
                    set!(what = 0);
                }
            } else if what == Meaning::TraceParent as u32 && !space {
                // Two of them are none.
                set!(parent = if get!(parent) == 0 { get!(base) + i } else { u32::MAX });
                set!(what = 0);
            }
        } else if window == word(b"gnature=")
            || window & 0xff_ffff_ffff == word(b"&sig=")
            || window & 0xff_ffff_ffff == word(b"?sig=")
        {
            set!(flags = get!(flags) | HEAD_SIGNED);
        }
        i += 1;
    }
    0
}

/// The [`name`] of credentials before their scheme.
const CREDENTIALS: u64 = geophone_ebpf::inject::named("authorization:");

/// Bytes as the number that they make, the last one lowest.
const fn word(text: &[u8]) -> u64 {
    let (mut value, mut i) = (0, 0);
    while i < text.len() {
        value = value << 8 | text[i] as u64;
        i += 1;
    }
    value
}
