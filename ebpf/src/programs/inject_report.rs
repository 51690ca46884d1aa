//! What was written into requests, as a part of what was sent: a call into which something was put is told in pieces, as it went out.

use geophone_ebpf::{
    http2::{HEADER as FRAME_HEADER, PUTS, Put},
    inject::{FIELD, HEADER},
    record::{Data, NOWHERE, RELATIVE, SEND, UNREADABLE},
};

use crate::{
    capture::{MOST, report_piece},
    emit, http2,
    inject_http2::{frames_of, render},
    maps::{CONNECTIONS, INJECT_STATES, INJECT_STREAMS, NO_FRAMES, SOURCE_NONE, config},
};

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

/// How many frames were given a field in what was sent last, if that was not reported yet.
#[inline(always)]
pub fn fields(sk: u64) -> u32 {
    // SAFETY: the map keeps it alive while the program runs.
    INJECT_STREAMS.get_ptr(sk).map_or(0, |frames| unsafe { (*frames).count })
}

/// Forgets those that were written before the call which has sent `len` bytes of the process and ends at this position: a call that was not seen.
/// Returns where it begins. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settle_puts(sk: u64, end: u64, len: u64) -> u64 {
    let mut first = end.wrapping_sub(len);
    let Some(frames) = frames_of(sk) else {
        return first;
    };
    let mut kept = 0;
    let mut i = 0;
    while i < PUTS {
        let left = frames.count.wrapping_sub(i as u32 + 1);
        if left < PUTS as u32 {
            // SAFETY: inside of the array.
            let put = unsafe { &*(&raw const frames.puts).cast::<Put>().add(left as usize & (PUTS - 1)) };
            if put.frame >= first.wrapping_sub(FIELD as u64) && put.frame < end {
                first = first.wrapping_sub(FIELD as u64);
                kept += 1;
            }
        }
        i += 1;
    }
    frames.first = frames.count.wrapping_sub(kept);
    first
}

/// Reports a call that has sent such frames, from the position in the work space on: each with its new length and its field, as they went out, and what is
/// between them as that of any call. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report_streams() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (call, piece) = unsafe { (&(*scratch).call, &mut (*scratch).piece) };
    let Some(frames) = frames_of(call.sk) else {
        return 0;
    };
    if call.source == SOURCE_NONE {
        piece.flags |= u32::from(UNREADABLE);
    }
    // What was written is not in the process's memory: from one field to the next, the call seems to begin later.
    let (mut start, mut at) = (piece.offset, piece.offset);
    let mut i = 0;
    while i < PUTS as u32 {
        let index = frames.first.wrapping_add(i);
        if index >= frames.count {
            break;
        }
        // SAFETY: inside of the array.
        let frame = unsafe { (*(&raw const frames.puts).cast::<Put>().add(index as usize & (PUTS - 1))).frame };
        report_part(start, at, frame);
        at = report_put(u64::from(index), start);
        start = start.wrapping_add(FIELD as u64);
        i += 1;
    }
    frames.count = 0;
    report_part(start, at, start.wrapping_add(u64::from(call.len)))
}

/// Reports a frame that was given a field, up to the end of that. Returns where its rest begins.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn report_put(index: u64, start: u64) -> u64 {
    let Some(scratch) = emit::scratch() else {
        return start;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (sk, readable) = unsafe { ((*scratch).call.sk, (*scratch).call.source != SOURCE_NONE) };
    let (Some(frames), Some(entry)) = (INJECT_STREAMS.get_ptr(sk), CONNECTIONS.get_ptr_mut(sk)) else {
        return start;
    };
    // SAFETY: the map keeps it alive while the program runs; and inside of the array.
    let put = unsafe { &*(&raw const (*frames).puts).cast::<Put>().add(index as usize & (PUTS - 1)) };
    let len = put.at.wrapping_sub(put.frame);
    // SAFETY: the maps keep both alive; the work space is this program's while it runs.
    unsafe {
        let piece = &mut (*scratch).piece;
        piece.offset = put.frame;
        piece.len = len as u32;
        piece.skipped = 0;
        piece.from = put.frame.wrapping_sub(start);
        piece.want = if readable { len.min(MOST) } else { 0 };
        piece.frame = put.length;
        report_piece();
        (*scratch).piece.frame = 0;
        let data = &mut (*scratch).data;
        data.offset = put.at;
        data.len = FIELD as u32;
        data.captured = FIELD as u32;
        data.flags = 0;
        render(&mut *(&raw mut (*scratch).bytes).cast::<[u8; 72]>(), put);
        // What is behind it, if anything, is padding.
        let own = &mut (*entry).frames[usize::from(SEND)];
        own.next = put.frame.wrapping_add(u64::from(FRAME_HEADER) + u64::from(put.length));
        own.have = 0;
        own.wanted = 1;
    }
    // SAFETY: as above. The record's bytes follow it.
    emit::write(unsafe { (&raw const (*scratch).data).cast() }, (size_of::<Data>() + FIELD) as u64, false);
    put.at.wrapping_add(FIELD as u64)
}

/// Reports a part of a call as a call, in which nothing was written; `start` is where the call would begin if all that was written were before it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn report_part(start: u64, at: u64, end: u64) -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (sk, readable) = unsafe { ((*scratch).call.sk, (*scratch).call.source != SOURCE_NONE) };
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return 0;
    };
    if at >= end {
        return 0;
    }
    // SAFETY: the map keeps it alive while the program runs.
    let own = unsafe { &mut (*entry).frames[usize::from(SEND)] };
    if own.next != NO_FRAMES && http2::walk(scratch, own, start, at, end) {
        return 0;
    }
    let len = end.wrapping_sub(at);
    // SAFETY: the work space is this program's while it runs.
    let piece = unsafe { &mut (*scratch).piece };
    piece.offset = at;
    piece.len = len as u32;
    piece.skipped = 0;
    piece.from = at.wrapping_sub(start);
    piece.want = if readable { len.min(MOST) } else { 0 };
    report_piece();
    0
}
