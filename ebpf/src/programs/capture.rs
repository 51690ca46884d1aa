//! One call that moved bytes becomes a record: what the policy wants of it is copied out of the process's memory.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use geophone_ebpf::{
    config::{CAPTURE_MAX, NEVER, Policy, policy_slot},
    inject::{FIELD, HEADER},
    record::{DATAGRAM, DECRYPTED, Data, END, Ends, FAULT, Kind, NOWHERE, RELATIVE, SEND, UNREADABLE},
    stats::Counter,
};

use crate::{
    connection, datagram, emit, http2, inject_report,
    kernel::{copy_user, read_user, read_user_or_zero},
    maps::{
        CONNECTION_COUNTED, CONNECTION_DECRYPTED, CONNECTION_INJECT, CONNECTION_JOINED, CONNECTION_TLS, Connection,
        MOVED_DATAGRAM, MOVED_RAW, Moved, NO_FRAMES, POLICIES, PREFIX_MAX, Parts, Piece, SOURCE_BUFFER, SOURCE_KEPT,
        SOURCE_NONE, SOURCE_SIZED_MESSAGES, SOURCE_VECTOR, Scratch, config,
    },
    rustls, serving, task, tls, usage,
};

/// How many `iovec`s and messages of one call are looked at. What is behind them counts as not captured.
pub const STEPS: u32 = 128;

/// `struct iovec`
#[repr(C)]
#[derive(Clone, Copy)]
struct Iovec {
    base: u64,
    len: u64,
}

/// The tail of `struct mmsghdr` that matters, from `msg_iov` on.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    iov: u64,
    iovlen: u64,
    control: u64,
    controllen: u64,
    flags: u64,
    len: u32,
}
const MESSAGE_IOV: u64 = 16;
/// Offset of `msg_len` in a `struct mmsghdr`.
pub const MESSAGE_LEN: u64 = 56;
/// Size of a `struct mmsghdr`.
pub const MESSAGE_SIZE: u64 = 64;

/// Runs `f` with this processor's work space, unless an interrupted program uses it.
#[inline(always)]
pub fn with_scratch(f: impl FnOnce(*mut Scratch)) {
    let Some(scratch) = emit::scratch() else {
        emit::count(Counter::KernelFault);
        return;
    };
    // SAFETY: the map keeps it alive, and programs of one processor do not run at the same time, only inside each other.
    unsafe {
        if core::ptr::read_volatile(&raw const (*scratch).busy) != 0 {
            emit::count(Counter::Nested);
            return;
        }
        core::ptr::write_volatile(&raw mut (*scratch).busy, 1);
        f(scratch);
        core::ptr::write_volatile(&raw mut (*scratch).busy, 0);
    }
}

/// Reports a call. `call.len` 0 is the end of what can be received.
#[inline(always)]
pub fn report(call: Moved) {
    with_scratch(|scratch| {
        // SAFETY: the work space is this program's while it runs.
        unsafe { (*scratch).call = call };
        if config!(usage) != 0 {
            usage::tell();
        }
        // Not from within: on 5.10 all functions that are under way share 512 bytes of stack.
        let outcome = report_call();
        if outcome == NO_ENTRY {
            datagram::report_datagrams();
        } else if outcome == PARTS {
            inject_report::report_streams();
        }
        // Not from within: TLS libraries' probes would have to be verified with it.
        if (config!(inject) != 0 || config!(contexts) != 0) && outcome == TOLD {
            serving::note_moved();
        }
        rustls::sent(scratch);
    });
}

/// The socket has no entry: it may be one for datagrams.
const NO_ENTRY: u64 = 1;
/// What went through the socket was told: how much was captured of it is in the record.
const TOLD: u64 = 2;
/// Fields were written into what the call has sent: it is to be reported in parts.
const PARTS: u64 = 3;

/// Verified by itself, once, because it is global: not again for each way that leads here. What it is about is in the work space.
/// Returns [`NO_ENTRY`], [`TOLD`], [`PARTS`] or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report_call() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let call = unsafe { &(*scratch).call };
    let sk = call.sk;
    let Some(entry) = connection::find(sk, call.who) else {
        return NO_ENTRY;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let entry: &mut Connection = unsafe { &mut *entry };
    let (direction, len) = (call.direction as u8, call.len);
    let mut flags = 0;
    let (mut injected, mut puts) = (NOWHERE, 0);
    let offset = if call.decrypted == MOVED_RAW {
        let mut written = 0;
        if entry.flags & CONNECTION_INJECT != 0 && direction == SEND && len != 0 {
            injected = inject_report::pending(sk);
            puts = inject_report::fields(sk);
            written = if injected != NOWHERE { HEADER as u64 } else { u64::from(puts) * FIELD as u64 };
        }
        let all = u64::from(len) + written;
        let first = connection::advance(sk, entry, direction, all);
        let offset = if puts != 0 {
            inject_report::settle_puts(sk, first.wrapping_add(all), u64::from(len))
        } else if injected == NOWHERE || (injected >= first && injected - first <= u64::from(len)) {
            first
        } else {
            // It was put into what another call sent, which was not seen.
            injected = NOWHERE;
            first.wrapping_add(HEADER as u64)
        };
        if entry.flags & CONNECTION_TLS != 0 {
            tls::moved();
        }
        if entry.flags & CONNECTION_DECRYPTED == 0 {
            if entry.flags & CONNECTION_COUNTED != 0 {
                flags |= RELATIVE;
            }
            offset
        } else if len != 0 {
            return 0;
        } else {
            // Nothing more comes, decrypted or not.
            flags |= DECRYPTED;
            tls::position();
            // SAFETY: the work space is this program's while it runs.
            unsafe { (*scratch).offset }
        }
    } else {
        flags |= DECRYPTED;
        tls::position();
        // SAFETY: the work space is this program's while it runs.
        unsafe { (*scratch).offset }
    };
    if flags & DECRYPTED != 0 && entry.flags & CONNECTION_JOINED != 0 {
        flags |= RELATIVE;
    }
    let (from, mut limit) = policy(sk, entry.born, direction, u32::from(flags & DECRYPTED != 0));
    // SAFETY: as above.
    let piece = unsafe { &mut (*scratch).piece };
    *piece = Piece {
        offset,
        from: 0,
        want: 0,
        // SAFETY: the helper has no preconditions.
        time: unsafe { bpf_ktime_get_ns() },
        born: entry.born,
        len,
        skipped: 0,
        flags: u32::from(flags),
        frame: 0,
    };
    if injected != NOWHERE {
        inject_report::split(sk, injected);
        return 0;
    }
    let frames = &mut entry.frames[usize::from(direction & 1)];
    if offset == 0 && len != 0 && call.source != SOURCE_NONE {
        frames.next = http2::begins(scratch);
        frames.have = 0;
    }
    let end = offset.wrapping_add(u64::from(len));
    if puts != 0 {
        return PARTS;
    }
    if frames.next != NO_FRAMES {
        if from != NEVER && http2::walk(scratch, frames, offset, offset, end) {
            return 0;
        }
        limit = CAPTURE_MAX;
    }
    if end < from {
        emit::count(Counter::Skipped);
        return 0;
    }
    // `from` lies inside the call, or before it.
    let skipped = from.saturating_sub(offset);
    piece.skipped = skipped as u32;
    piece.from = skipped;
    if len == 0 {
        piece.flags |= u32::from(END);
    } else if call.source == SOURCE_NONE {
        piece.flags |= u32::from(UNREADABLE);
    } else {
        piece.want = u64::from(len).saturating_sub(skipped).min(u64::from(limit));
    }
    let captured = report_piece();
    if flags & DECRYPTED == 0 && entry.flags & CONNECTION_TLS == 0 && captured >= tls::HEADER {
        // SAFETY: the work space is this program's while it runs.
        let header = unsafe { &*(&raw const (*scratch).bytes).cast::<[u8; tls::HEADER as usize]>() };
        if tls::is_record(header) {
            entry.flags |= CONNECTION_TLS;
            tls::moved();
        }
    }
    if flags & DECRYPTED == 0 { TOLD } else { 0 }
}

/// Reports a part of a call, or all of it: what is in the work space. Returns how many bytes were captured. Global, as `report_call`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report_piece() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (call, piece, data) = unsafe { (&(*scratch).call, &(*scratch).piece, &mut (*scratch).data) };
    let mut flags = piece.flags as u8;
    let want = at_most::<MOST>(piece.want);
    let mut captured = 0;
    if want != 0 {
        captured = copy(scratch, piece.from, want);
        if captured < want {
            flags |= FAULT;
        }
        let frame = piece.frame;
        if frame != 0 {
            // SAFETY: the work space is this program's while it runs.
            let bytes = unsafe { &mut (*scratch).bytes };
            (bytes[0], bytes[1], bytes[2]) = ((frame >> 16) as u8, (frame >> 8) as u8, frame as u8);
        }
    }
    *data = Data {
        kind: Kind::Data as u32,
        tgid: call.who.tgid,
        time: piece.time,
        sock: call.sk,
        born: piece.born,
        offset: piece.offset,
        len: piece.len,
        skipped: piece.skipped,
        captured: captured as u32,
        tid: call.who.tid,
        direction: call.direction as u8,
        flags,
        pad: [0; 6],
        task: 0,
        task_parent: 0,
    };
    note_task();
    let captured = at_most::<MOST>(captured);
    let mut prefix = 0;
    if flags & DECRYPTED != 0 {
        prefix = PREFIX;
        // SAFETY: the work space is this program's while it runs; its bytes follow the header.
        unsafe {
            // Only where the call begins is it known which record that is.
            let begins = call.decrypted != MOVED_RAW && piece.offset == (*scratch).offset;
            (&raw mut (*scratch).bytes).cast::<u64>().write(if begins { call.record } else { NOWHERE });
        }
    } else if flags & DATAGRAM != 0 {
        // They are there.
        prefix = ENDS;
    }
    // Once more, because the verifier of 5.10 forgets the bounds of what lies on the stack meanwhile.
    let len = at_most::<{ size_of::<Data>() as u64 + ENDS + MOST }>(size_of::<Data>() as u64 + prefix + captured);
    emit::write((&raw const *data).cast(), len, false);
    captured
}

/// Notes which of its runtime's tasks made the call; global, as `report_call`, of whose stack it takes none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_task() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (call, data) = unsafe { (&(*scratch).call, &mut (*scratch).data) };
    task::current(call.who, &mut data.task, &mut data.task_parent);
    0
}

/// What the agent wants of a direction: from which position, and how many bytes of a call. `decrypted`: whether it is about decrypted
/// bytes.
#[inline(always)]
pub fn policy(sk: u64, born: u64, direction: u8, decrypted: u32) -> (u64, u32) {
    let usual = (0, config!(capture));
    let Some(slot) = POLICIES.get_ptr(policy_slot(sk, config!(policy_mask))) else {
        return usual;
    };
    // SAFETY: the map keeps it alive. The agent writes it meanwhile: volatile, and each field is good by itself.
    unsafe {
        let slot: *const Policy = slot;
        if core::ptr::read_volatile(&raw const (*slot).sock) != sk
            || core::ptr::read_volatile(&raw const (*slot).born) != born
            || core::ptr::read_volatile(&raw const (*slot).decrypted) != decrypted
        {
            return usual;
        }
        let d = usize::from(direction & 1);
        (
            core::ptr::read_volatile((&raw const (*slot).from).cast::<u64>().add(d)),
            core::ptr::read_volatile((&raw const (*slot).bytes).cast::<u32>().add(d)),
        )
    }
}

/// `value`, at most `MAX`. In assembly, because the verifier must see the comparison on the very register that is used afterwards,
/// and the compiler would make it on a copy, or leave it out.
#[inline(always)]
pub fn at_most<const MAX: u64>(mut value: u64) -> u64 {
    // SAFETY: touches its register only.
    unsafe {
        core::arch::asm!(
            "if {value} <= {max} goto 1f",
            "{value} = {max}",
            "1:",
            value = inout(reg) value,
            max = const MAX,
        );
    }
    value
}

/// The most bytes that go into one record.
pub const MOST: u64 = CAPTURE_MAX as u64;

/// Bytes before decrypted ones.
const PREFIX: u64 = 8;
/// Bytes before those of a datagram.
const ENDS: u64 = size_of::<Ends>() as u64;
const _: () = assert!(ENDS as usize <= PREFIX_MAX && PREFIX <= ENDS);

/// Where a call's bytes begin in the work space.
#[inline(always)]
pub fn prefix(call: &Moved) -> u64 {
    if call.decrypted == MOVED_RAW {
        0
    } else if call.decrypted == MOVED_DATAGRAM {
        ENDS
    } else {
        PREFIX
    }
}

/// Copies `want` bytes, leaving out the first `skip`. Returns how many could be copied.
#[inline(always)]
pub fn copy(scratch: *mut Scratch, skip: u64, want: u64) -> u64 {
    // SAFETY: the work space is this program's while it runs.
    let (call, parts, to) =
        unsafe { (&(*scratch).call, &mut (*scratch).parts, (&raw mut (*scratch).bytes).cast::<u8>()) };
    if call.source == SOURCE_BUFFER {
        let to = to.wrapping_add(prefix(call) as usize);
        // SAFETY: `want` is at most CAPTURE_MAX, the space twice that.
        if unsafe { copy_user(to, want, call.address + skip) } {
            return want;
        }
        emit::count(Counter::ReadFault);
        return 0;
    }
    if call.source == SOURCE_KEPT {
        return rustls::copy_kept(to.wrapping_add(prefix(call) as usize), skip, want, call);
    }
    *parts = Parts { iov: 0, iovs: 0, message: 0, messages: 0, left: u64::MAX, skip, want, filled: 0 };
    if call.source == SOURCE_VECTOR {
        parts.iov = call.address;
        parts.iovs = call.count;
    } else {
        parts.message = call.address;
        parts.messages = call.count;
    }
    copy_parts();
    at_most::<MOST>(parts.filled)
}

/// Copies from several places; global, as `report_call`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_parts() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (source, parts, to) =
        unsafe { ((*scratch).call.source, &mut (*scratch).parts, (&raw mut (*scratch).bytes).cast::<u8>()) };
    // SAFETY: as above.
    let to = to.wrapping_add(prefix(unsafe { &(*scratch).call }) as usize);
    let mut step = 0;
    while step < STEPS && parts.filled < parts.want {
        step += 1;
        if parts.iovs == 0 {
            if parts.messages == 0 {
                break;
            }
            let Some(next) = read_user::<Message>(parts.message + MESSAGE_IOV) else {
                emit::count(Counter::ReadFault);
                break;
            };
            parts.iov = next.iov;
            parts.iovs = next.iovlen;
            if source == SOURCE_SIZED_MESSAGES {
                parts.left = u64::from(next.len);
            }
            parts.message += MESSAGE_SIZE;
            parts.messages -= 1;
            continue;
        }
        let Some(Iovec { base, len }) = read_user::<Iovec>(parts.iov) else {
            emit::count(Counter::ReadFault);
            break;
        };
        parts.iov += size_of::<Iovec>() as u64;
        parts.iovs -= 1;
        let len = len.min(parts.left);
        parts.left -= len;
        if parts.skip >= len {
            parts.skip -= len;
            continue;
        }
        let n = at_most::<MOST>((len - parts.skip).min(parts.want - parts.filled));
        let at = at_most::<{ MOST - 1 }>(parts.filled);
        // SAFETY: the space is twice CAPTURE_MAX, and what may come before.
        if !unsafe { copy_user(to.add(at as usize), n, base + parts.skip) } {
            emit::count(Counter::ReadFault);
            break;
        }
        parts.skip = 0;
        parts.filled = at + n;
    }
    0
}

/// Whether the message at `first` (a `msghdr`) is longer than `len` bytes; no for one of very many parts.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_longer(first: u64, len: u64) -> u64 {
    const PARTS: u64 = 16;
    let message = read_user_or_zero::<Message>(first + MESSAGE_IOV);
    let mut total = 0;
    let mut i = 0;
    while i < PARTS && i < message.iovlen {
        total += read_user_or_zero::<Iovec>(message.iov + i * size_of::<Iovec>() as u64).len;
        i += 1;
    }
    u64::from(total > len)
}

/// How many bytes the first `count` messages of a vector moved, by their `msg_len`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn messages_len(first: u64, count: u64) -> u64 {
    let mut total = 0;
    let mut i = 0;
    while i < u64::from(STEPS) && i < count {
        total += u64::from(read_user_or_zero::<Message>(first + i * MESSAGE_SIZE + MESSAGE_IOV).len);
        i += 1;
    }
    total
}
