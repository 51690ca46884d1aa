//! Contexts written into requests: what [`geophone_ebpf::http2`] decides is done here to messages of HTTP/2.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_msg_pop_data, bpf_msg_pull_data, bpf_msg_push_data},
    programs::SkMsgContext,
};
use geophone_ebpf::{
    config::MISSING,
    hpack::{self, WINDOW},
    http2::{FRAMES, Frames, HEADER, PUTS, Put, Step},
    inject::{FIELD, value},
    stats::Counter,
};

use crate::{
    capture::at_most,
    emit,
    inject::{SK_DROP, SK_PASS, announce, is_own, over, pull, socket},
    kernel::{copy_kernel, read},
    maps::{INJECT_NAMES, INJECT_STATES, INJECT_STREAMS, INJECT_UNWALKED, config},
    serving,
};

/// Something is about to be sent on a connection that has begun as HTTP/2.
#[inline(always)]
pub fn sending(ctx: &SkMsgContext) -> u32 {
    let sk = socket(ctx);
    let id = bpf_get_current_pid_tgid();
    let Some(state) = INJECT_STATES.get_ptr_mut(sk) else {
        return SK_PASS;
    };
    // SAFETY: the map keeps it alive while the program runs.
    let state = unsafe { &mut *state };
    let position = state.position;
    if position == 0 {
        begin(sk);
    }
    let Some(frames) = frames_of(sk) else {
        return over(sk, id, state, Counter::InjectLost);
    };
    frames.unsent(position);
    if !frames.begin(position, ctx.size()) {
        return over(sk, id, state, Counter::InjectLost);
    }
    let mut step = 0;
    while step < FRAMES {
        step += 1;
        // What is next goes through memory, where it is unknown to the verifier: all ways come together again before the next frame.
        seek_frame(sk);
        if is(frames, Step::Header) {
            frames.address = pull(ctx, frames.offset, frames.need);
            parse_frame(sk);
        }
        if is(frames, Step::Block) {
            frames.address = pull(ctx, frames.offset, frames.length);
            walk_block(sk);
        }
        if is(frames, Step::Put) {
            prepare_put(sk, id);
        }
        if is(frames, Step::Put) {
            put(ctx, frames);
        }
        if conclude(sk, id) != 0 {
            return if is(frames, Step::Broken) { SK_DROP } else { SK_PASS };
        }
    }
    over(sk, id, state, Counter::InjectLost)
}

#[inline(always)]
fn is(frames: &Frames, step: Step) -> bool {
    // SAFETY: it is valid.
    unsafe { core::ptr::read_volatile(&raw const frames.what) == step as u32 }
}

/// The frames of a socket that has sent nothing yet.
#[inline(always)]
fn begin(sk: u64) {
    let Some(blank) = INJECT_UNWALKED.get_ptr(0) else {
        return;
    };
    // SAFETY: the map keeps it alive, and nobody writes to it. Without room for it there are no frames, and it is left alone.
    let _ = INJECT_STREAMS.insert(sk, unsafe { &*blank }, 0);
    if let Some(frames) = frames_of(sk) {
        frames.start();
    }
}

/// Says what is next.
#[inline(always)]
fn set(frames: &mut Frames, step: Step) -> u64 {
    // SAFETY: it is valid.
    unsafe { core::ptr::write_volatile(&raw mut frames.what, step as u32) };
    0
}

/// The frames of a socket. The kernel holds its lock: nobody else uses them, but for what is to be reported.
#[inline(always)]
pub fn frames_of<'a>(sk: u64) -> Option<&'a mut Frames> {
    // SAFETY: the map keeps it alive while the program runs.
    INJECT_STREAMS.get_ptr_mut(sk).map(|frames| unsafe { &mut *frames })
}

/// Goes to the next frame. Global, as all that follow: verified by itself, and not again for each frame.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn seek_frame(sk: u64) -> u64 {
    let Some(frames) = frames_of(sk) else {
        return 0;
    };
    let step = frames.seek();
    set(frames, step)
}

/// Reads its header.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_frame(sk: u64) -> u64 {
    let Some(frames) = frames_of(sk) else {
        return 0;
    };
    let have = at_most::<{ HEADER as u64 }>(u64::from(frames.have));
    let need = at_most::<{ HEADER as u64 }>(u64::from(frames.need));
    // SAFETY: twice a header's length fits into it.
    if !unsafe { copy_kernel((&raw mut frames.header).cast::<u8>().add(have as usize), need, frames.address) } {
        return set(frames, Step::OverLost);
    }
    let step = frames.parse();
    set(frames, step)
}

/// Walks its header block, and decides.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_block(sk: u64) -> u64 {
    let Some(frames) = frames_of(sk) else {
        return 0;
    };
    // What cannot be read is longer than anything.
    let first = read::<u8>(frames.address, 0).map_or(u32::MAX >> 1, u32::from);
    let found = frames.block(first);
    if found != Step::Next {
        return set(frames, found);
    }
    frames.address = frames.address.wrapping_add(u64::from(frames.begin));
    let mut what = u64::from(hpack::MORE);
    let mut step = 0;
    while step < hpack::STEPS {
        step += 1;
        what = walk_field(sk);
        if what != u64::from(hpack::MORE) {
            break;
        }
    }
    let step = frames.decide(what as u32);
    set(frames, step)
}

/// Walks a part of a field.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_field(sk: u64) -> u64 {
    let Some(frames) = frames_of(sk) else {
        return u64::from(hpack::BAD);
    };
    let (at, end) = (frames.fields.at, frames.fields.end);
    let window = (&raw mut frames.window).cast::<u8>();
    if at < end {
        let count = at_most::<{ WINDOW as u64 }>(u64::from(end - at));
        // SAFETY: a window has room for so many.
        if !unsafe { copy_kernel(window, count, frames.address.wrapping_add(u64::from(at))) } {
            return u64::from(hpack::BAD);
        }
    }
    // SAFETY: a copy is taken at once.
    let meaning = |hash: u64| unsafe { INJECT_NAMES.get(hash) }.copied().unwrap_or(0);
    // SAFETY: both are the map's.
    u64::from(unsafe { hpack::step(&raw mut frames.fields, window, meaning) })
}

/// Makes a context, tells the agent of it, and makes the field, if there is room for it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn prepare_put(sk: u64, id: u64) -> u64 {
    let (Some(frames), Some(state)) = (frames_of(sk), INJECT_STATES.get_ptr_mut(sk)) else {
        return 0;
    };
    if !has_room(sk, u64::from(frames.at) + FIELD as u64) {
        return set(frames, Step::Busy);
    }
    // SAFETY: the map keeps it alive while the program runs.
    let state = unsafe { &mut *state };
    // What several threads have sent may be sent by one of them for another.
    let (trace, flags) = if frames.is_of(id) { serving::trace(id) } else { serving::new_trace() };
    let span = serving::new_span();
    // SAFETY: inside of the array.
    let put = unsafe { &mut *(&raw mut frames.puts).cast::<Put>().add(frames.count as usize & (PUTS - 1)) };
    put.frame = frames.position.wrapping_add(u64::from(frames.from));
    put.at = frames.position.wrapping_add(u64::from(frames.at));
    put.length = frames.length;
    (put.trace, put.span, put.flags) = (trace, span, flags);
    render(&mut frames.field, put);
    if !announce(sk, id, state, put.at, (trace, span, flags)) {
        return set(frames, Step::Busy);
    }
    0
}

/// Writes the field. Room is made for it before the byte that it follows, because the kernel makes none behind a message.
#[inline(always)]
fn put(ctx: &SkMsgContext, frames: &mut Frames) {
    // SAFETY: the kernel checks what it is given.
    let step = unsafe {
        if bpf_msg_push_data(ctx.msg, frames.at.wrapping_sub(1), FIELD as u32, 0) != 0 {
            Step::Busy
        } else {
            let back = fill(ctx, frames);
            if back == 0 {
                Step::Written
            } else if bpf_msg_pop_data(ctx.msg, back, FIELD as u32, 0) == 0 {
                Step::Busy
            } else {
                Step::Broken
            }
        }
    };
    set(frames, step);
}

/// Counts what has come of a frame. Not 0: there is nothing more to look at.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conclude(sk: u64, id: u64) -> u64 {
    let (Some(frames), Some(state)) = (frames_of(sk), INJECT_STATES.get_ptr_mut(sk)) else {
        return 1;
    };
    let what = frames.what;
    let is = |step: Step| what == step as u32;
    if is(Step::Next) {
        return 0;
    }
    if is(Step::End) || is(Step::Broken) {
        return 1;
    }
    if is(Step::Written) {
        frames.written();
    }
    let (counter, goes_on) = if is(Step::Written) {
        (Counter::Injected, true)
    } else if is(Step::Signed) {
        (Counter::InjectSigned, true)
    } else if is(Step::Long) {
        (Counter::InjectIncomplete, true)
    } else if is(Step::Busy) {
        (Counter::InjectBusy, true)
    } else if is(Step::OverCarried) {
        (Counter::InjectCarried, false)
    } else if is(Step::OverSigned) {
        (Counter::InjectSigned, false)
    } else if is(Step::OverIncomplete) {
        (Counter::InjectIncomplete, false)
    } else if is(Step::OverOther) {
        (Counter::InjectOther, false)
    } else {
        (Counter::InjectLost, false)
    };
    if !goes_on {
        // SAFETY: the map keeps it alive while the program runs.
        over(sk, id, unsafe { &mut *state }, counter);
        return 1;
    }
    if !is_own(id) {
        emit::count(counter);
    }
    0
}

/// Writes the field where room was made for it; and last, the frame's new length. Not 0: that could not be done, and from there on as many bytes are
/// too many.
#[inline(always)]
fn fill(ctx: &SkMsgContext, frames: &Frames) -> u32 {
    let (at, offset, length) = (frames.at, frames.from, frames.length);
    // SAFETY: the kernel checks what it is given, and the verifier what is written to.
    unsafe {
        if bpf_msg_pull_data(ctx.msg, at.wrapping_sub(1), at.wrapping_add(FIELD as u32), 0) != 0 {
            return at.wrapping_sub(1);
        }
        let (data, end) = (ctx.data(), ctx.data_end());
        if data + FIELD + 1 > end {
            return at.wrapping_sub(1);
        }
        let to = data as *mut u8;
        let from = (&raw const frames.field).cast::<u8>();
        to.write(to.add(FIELD).read());
        let mut i = 0;
        while i < FIELD {
            to.add(1 + i).write(from.add(i).read());
            i += 1;
        }
        if bpf_msg_pull_data(ctx.msg, offset, offset.wrapping_add(3), 0) != 0 {
            return at;
        }
        let (data, end) = (ctx.data(), ctx.data_end());
        if data + 3 > end {
            return at;
        }
        let to = data as *mut u8;
        to.write((length >> 16) as u8);
        to.add(1).write((length >> 8) as u8);
        to.add(2).write(length as u8);
        0
    }
}

/// The field of a context: a literal without indexing, its name and its value as they are.
#[inline(always)]
pub fn render(to: &mut [u8; 72], put: &Put) {
    to[..14].copy_from_slice(b"\x00\x0btraceparent\x37");
    // SAFETY: it has room for so many.
    unsafe { value((&raw mut *to).cast::<u8>().add(FIELD - 55), put.trace, put.span, put.flags) };
}

/// Whether so many bytes can be sent without waiting. If a send fails half-way, the kernel reckons with what it was given by the process, and so what was
/// written must have gone by then.
#[inline(always)]
fn has_room(sk: u64, need: u64) -> bool {
    /// How much more than its bytes a small segment takes, at the most; and what any takes.
    const OVERHEAD: u64 = 8;
    const SEGMENT: u64 = 4096;
    macro_rules! field {
        ($t:ty, $at:expr, $field:ident) => {
            if config!(offsets.$field) == MISSING { None } else { read::<$t>($at, config!(offsets.$field)) }
        };
    }
    let (Some(queued), Some(room)) = (field!(u32, sk, sock_wmem_queued), field!(u32, sk, sock_sndbuf)) else {
        return false;
    };
    if u64::from(queued) + OVERHEAD * need + SEGMENT > u64::from(room) {
        return false;
    }
    let (Some(own), Some(net), Some(proto)) =
        (field!(u32, sk, tcp_notsent_lowat), field!(u64, sk, sock_net), field!(u64, sk, sock_prot))
    else {
        return false;
    };
    let (Some(usual), Some(pressure)) =
        (field!(u32, net, net_notsent_lowat), field!(u64, proto, proto_memory_pressure))
    else {
        return false;
    };
    let (Some(write), Some(next)) = (field!(u32, sk, tcp_write_seq), field!(u32, sk, tcp_snd_nxt)) else {
        return false;
    };
    let unsent = u64::from(write.wrapping_sub(next));
    let most = if own != 0 { own } else { usual };
    unsent + need < u64::from(most) && read::<u64>(pressure, 0) == Some(0)
}
