//! Where the frames of HTTP/2 are in a call. Their headers may be anywhere in it, each says how far the next one is, and the agent's advice
//! would come too late: what a header block says that was not seen stays unknown for as long as others refer to it. So the calls of a
//! connection that began as HTTP/2 are walked here, bodies are left out but for their beginnings, and all else is captured.
//!
//! Nothing depends on it: where the walk fails, calls are captured as those of any other connection.

use crate::{
    capture::{MOST, at_most, copy, prefix, report_piece},
    emit,
    kernel::read_user_or_zero,
    maps::{Frames, NO_FRAMES, SOURCE_NONE, SOURCE_VECTOR, Scratch, Walk},
};

/// Length of a frame's header.
const HEADER: u32 = 9;
/// Length of the client's preface.
const PREFACE: u64 = 24;
/// The longest first SETTINGS that is believed.
const MAX_SETTINGS: u64 = 1024;
/// A call that is not longer goes into one record, bodies and all: records cost more than bytes.
const SMALL: u64 = 2048;
/// Bytes of a DATA frame's payload that are captured: padding, and the length of the first message in it.
const BODY: u64 = 64;
/// `iovec`s that are left behind with each frame at most; servers use one or two for each.
const PLACES: u32 = 8;
/// Frames of a call that are looked at.
const FRAMES: u32 = 128;

/// Looks at the first bytes of a direction: the stream position of the first frame, or [`NO_FRAMES`].
#[inline(always)]
pub fn begins(scratch: *mut Scratch) -> u64 {
    // SAFETY: the work space is this program's while it runs.
    if unsafe { (*scratch).call.len } < HEADER || copy(scratch, 0, u64::from(HEADER)) < u64::from(HEADER) {
        return NO_FRAMES;
    }
    // SAFETY: as in `byte`.
    let word = u64::from_be(unsafe {
        let at = prefix(&(*scratch).call) as usize & 15;
        (&raw const (*scratch).bytes).cast::<u8>().add(at).cast::<u64>().read_unaligned()
    });
    if word == u64::from_be_bytes(*b"PRI * HT") {
        return PREFACE;
    }
    // Servers begin with SETTINGS: type 4, no flags, stream 0.
    let length = word >> 40;
    if word & 0xff_ffff_ffff == 0x04_0000_0000 && byte(scratch, 8) == 0 && length < MAX_SETTINGS && length % 6 == 0 {
        return 0;
    }
    NO_FRAMES
}

/// One of the first bytes that were copied.
#[inline(always)]
fn byte(scratch: *mut Scratch, at: u32) -> u8 {
    // SAFETY: the work space is this program's while it runs, and longer than what is looked at of it.
    unsafe { (*scratch).bytes[(prefix(&(*scratch).call) as usize + at as usize) & 31] }
}

/// Walks a call that begins at `start`, of which what is from `first` on is to be reported. Says whether that has been done; if not, it is to be reported
/// whole.
#[inline(always)]
pub fn walk(scratch: *mut Scratch, frames: &mut Frames, start: u64, first: u64, end: u64) -> bool {
    if first == end {
        return false;
    }
    // SAFETY: the work space is this program's while it runs, here and below.
    let (walk, call) = unsafe { (&mut (*scratch).walk, &mut (*scratch).call) };
    if call.source == SOURCE_NONE {
        if frames.next < end {
            frames.next = NO_FRAMES;
        }
        return false;
    }
    *walk = Walk {
        start,
        at: first,
        reported: first,
        end,
        report: u64::from(end.wrapping_sub(first) > SMALL),
        address: call.address,
        count: call.count,
        header: [0; 16],
        frames: *frames,
    };
    walk.header[..8].copy_from_slice(&frames.header);
    let mut step = 0;
    while step < FRAMES {
        step += 1;
        if walk_frame() == 0 {
            break;
        }
    }
    *frames = walk.frames;
    frames.header.copy_from_slice(&walk.header[..8]);
    let mut reported = walk.report != 0;
    if walk.at != end {
        frames.next = NO_FRAMES;
        reported = reported && walk.reported != first;
        if reported {
            report(scratch, end, MOST);
        }
    } else if reported && walk.reported != end {
        report(scratch, end, 0);
    }
    (call.address, call.count) = (walk.address, walk.count);
    reported
}

/// Walks to the end of the next frame, or of the call. 0: that was all, or the frames are lost. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_frame() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let (walk, call) = unsafe { (&mut (*scratch).walk, &mut (*scratch).call) };
    let mut done = 0;
    // What is behind is not looked at again for every frame.
    while done < PLACES && call.source == SOURCE_VECTOR && call.count > 1 {
        done += 1;
        let len = read_user_or_zero::<[u64; 2]>(call.address)[1];
        if len > walk.at.wrapping_sub(walk.start) {
            break;
        }
        walk.start = walk.start.wrapping_add(len);
        call.address += 16;
        call.count -= 1;
    }
    let (at, left) = (walk.at, walk.end.wrapping_sub(walk.at));
    let mut want = 0;
    if at >= walk.frames.next {
        let have = walk.frames.have;
        if at > walk.frames.next || have >= HEADER {
            return 0;
        }
        let need = u64::from(HEADER - have);
        let taken = at_most::<{ HEADER as u64 }>(left.min(need));
        if copy(scratch, at.wrapping_sub(walk.start), taken) < taken {
            return 0;
        }
        let mut i = 0;
        while i < HEADER {
            if u64::from(i) < taken {
                walk.header[(have + i) as usize & 15] = byte(scratch, i);
            }
            i += 1;
        }
        if taken < need {
            walk.frames.have = have + taken as u32;
            walk.frames.next = at.wrapping_add(taken);
            walk.frames.wanted = 1;
        } else {
            let header = &walk.header;
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let data = header[3] == 0;
            walk.frames.have = 0;
            walk.frames.next = at.wrapping_add(taken).wrapping_add(u64::from(length));
            walk.frames.wanted = u32::from(!data);
            want = if data { taken + BODY } else { MOST };
        }
    }
    if walk.frames.wanted != 0 {
        want = MOST;
    }
    let end = at.wrapping_add(left.min(walk.frames.next.wrapping_sub(at)));
    // What is not wanted goes with what comes behind it.
    if walk.report != 0 && want != 0 {
        report(scratch, end, want);
    }
    walk.at = end;
    u64::from(end != walk.end)
}

/// Reports the call up to `end`, with `want` bytes at most of those from where the walk is.
#[inline(always)]
fn report(scratch: *mut Scratch, end: u64, want: u64) {
    // SAFETY: the work space is this program's while it runs.
    let (walk, piece) = unsafe { (&mut (*scratch).walk, &mut (*scratch).piece) };
    piece.offset = walk.reported;
    piece.len = end.wrapping_sub(walk.reported) as u32;
    piece.skipped = walk.at.wrapping_sub(walk.reported) as u32;
    piece.from = walk.at.wrapping_sub(walk.start);
    piece.want = want.min(end.wrapping_sub(walk.at));
    walk.reported = end;
    report_piece();
}
