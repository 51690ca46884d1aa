//! Which request a thread serves, as far as the kernel can tell, and so which trace belongs to what the thread asks of others.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use geophone_ebpf::{
    config::{RUNTIME_GO, RUNTIME_TOKIO},
    inject::trace_id,
    record::{RECEIVE, RELATIVE, ROLE_CONNECT},
};

use crate::{
    capture::at_most,
    carry, emit,
    head::{EMPTY, HEAD_CONTEXT, LONGEST, is_request, scan_received},
    inject::is_chosen,
    maps::{
        BLOCK, CONNECTION_ASKED, CONNECTIONS, Connection, INJECT_READERS, INJECT_THREADS, RUNTIMES, Serving, config,
    },
};

/// Blocks of a received head that are looked at.
const RECEIVED: u32 = 8;
/// How long a request may be open and still count.
const OPEN: u64 = 60_000_000_000;

/// The trace of the request that the thread serves, where that is certain; else a new one. With its flags.
#[inline(always)]
pub fn trace(id: u64) -> ([u64; 2], u32) {
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
    new_trace()
}

/// The id of a span that begins: not zero.
#[inline(always)]
pub fn new_span() -> u64 {
    random() | 1
}

#[inline(always)]
fn random() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { u64::from(bpf_get_prandom_u32()) << 32 | u64::from(bpf_get_prandom_u32()) }
}

/// A trace that begins here.
#[inline(always)]
pub fn new_trace() -> ([u64; 2], u32) {
    ([random(), random() | 1], 1)
}

/// As [`moved`], in a frame of its own: what calls it has no room for another one's on its stack. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_moved() -> u64 {
    if config!(inject) != 0 || config!(contexts) != 0 {
        moved();
    }
    0
}

/// A call moved bytes, of which the work space holds the first ones: takes note of requests that are received and answered.
#[inline(always)]
fn moved() {
    let Some(scratch) = emit::scratch() else {
        return;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (sk, captured) = unsafe { ((*scratch).call.sk, u64::from((*scratch).data.captured)) };
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let entry: &mut Connection = unsafe { &mut *entry };
    if entry.role == u32::from(ROLE_CONNECT) {
        return;
    }
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
    let is_asked = captured == 0 || entry.flags & CONNECTION_ASKED != 0;
    if is_asked || (config!(contexts) == 0 && !is_chosen(call.who.tgid)) || !is_request(bytes, captured) {
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
    } else if piece.flags & u32::from(RELATIVE) == 0
        && let Some(came) = carry::came_with(call.sk, piece.offset)
    {
        new.trace = came.trace;
        new.flags = came.flags;
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
