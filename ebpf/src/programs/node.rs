//! Node.js: its event loop turns from what it has read to timers, and which callback runs on it. How that is found is described at
//! [`geophone_ebpf::node`]. And what it does with streams of HTTP/2: many share a session, which writes in a turn of its own what was asked
//! for in others, and of which one read may bring something for several.

use aya_ebpf::{EbpfContext as _, programs::ProbeContext};
use geophone_ebpf::{
    config::{RUNTIME_NODE, Runtime},
    node::{IDS, pack, whole},
    record::{HANDOVER_BEGIN, HANDOVER_IDLE, HANDOVER_REQUEST, HANDOVER_RESPOND, HANDOVER_TURN},
    stats::Counter,
};

use crate::{
    emit, handover,
    kernel::{copy_user, read, read_user_or_zero},
    maps::{RUNTIMES, config},
    process::Current,
};

/// Where in `nghttp2_frame` the number of the stream is: behind the length, a `size_t`.
const FRAME_STREAM: u64 = 8;
/// `NGHTTP2_HCAT_REQUEST`: the stream begins with a request that was read.
const REQUEST: u32 = 0;

/// Finds out where the event loop is: only of the main thread, others have their own.
#[inline(always)]
pub fn current(runtime: &Runtime, who: Current, turn: &mut u64) {
    let ids = runtime.at[IDS];
    if ids == 0 || who.tid != who.tgid {
        return;
    }
    // What is on the way is read into where it will be: the stack is short.
    if !follow(turn, ids) {
        return;
    }
    let running = whole(*turn);
    if !follow(turn, ids.wrapping_add(16)) {
        return;
    }
    *turn = pack(running, whole(*turn));
}

#[inline(always)]
fn follow(word: &mut u64, address: u64) -> bool {
    // SAFETY: `word` has room for it.
    let read = unsafe { copy_user((&raw mut *word).cast(), 8, address) };
    if !read {
        *word = 0;
        emit::count(Counter::TaskFault);
    }
    read
}

/// At the entry of `node::Environment::RunTimers`.
#[inline(always)]
pub fn timers() {
    let Some(who) = Current::traced() else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    if unsafe { RUNTIMES.get(who.tgid) }.is_some_and(|runtime| runtime.kind == RUNTIME_NODE) {
        handover::tell(HANDOVER_IDLE, who, (who.tgid, who.tid, 0), 0);
    }
}

/// The main thread of a process whose callbacks' ids are known, if that is the current one; others have event loops of their own.
#[inline(always)]
fn main_thread() -> Option<Current> {
    let who = Current::traced()?;
    // SAFETY: the map keeps the value alive while the program runs.
    let runtime = unsafe { RUNTIMES.get(who.tgid) }?;
    (runtime.kind == RUNTIME_NODE && runtime.at[IDS] != 0 && who.tid == who.tgid).then_some(who)
}

#[inline(always)]
fn argument(ctx: &ProbeContext, index: usize) -> u64 {
    read::<u64>(ctx.as_ptr() as u64, config!(offsets.regs_function[index])).unwrap_or_default()
}

/// A client has begun the stream: its number is odd, and has 31 bits (RFC 9113, section 5.1.1).
#[inline(always)]
fn is_clients(stream: u32) -> bool {
    stream & 0x8000_0001 == 1
}

/// At the entry of `Http2Session::Http2Session(...)`: a connection is there, whatever was read before.
#[inline(always)]
pub fn session(ctx: &ProbeContext) {
    if let Some(who) = main_thread() {
        handover::tell(HANDOVER_BEGIN, who, (0, 0, 0), argument(ctx, 0));
    }
}

/// At the entry of `Http2Stream::Http2Stream(Http2Session*, Local<Object>, int32_t id, nghttp2_headers_category, int)`: a request is made,
/// or one was read.
#[inline(always)]
pub fn stream(ctx: &ProbeContext) {
    let Some(who) = main_thread() else {
        return;
    };
    let (session, id) = (argument(ctx, 1), argument(ctx, 3) as u32);
    if !is_clients(id) {
        return;
    }
    if argument(ctx, 4) as u32 == REQUEST {
        let stream = argument(ctx, 0);
        handover::tell(HANDOVER_BEGIN, who, (stream as u32, (stream >> 32) as u32, u64::from(id)), session);
    } else {
        handover::tell(HANDOVER_REQUEST, who, (who.tgid, who.tid, u64::from(id)), session);
    }
}

/// At the entry of `Http2Session::HandleHeadersFrame(const nghttp2_frame*)`, and of those for DATA and SETTINGS: what follows from that
/// frame runs before the next one is looked at.
#[inline(always)]
pub fn frame(ctx: &ProbeContext) {
    let Some(who) = main_thread() else {
        return;
    };
    let id: u32 = read_user_or_zero(argument(ctx, 1).wrapping_add(FRAME_STREAM));
    if id == 0 || is_clients(id) {
        handover::tell(HANDOVER_TURN, who, (who.tgid, who.tid, u64::from(id)), argument(ctx, 0));
    }
}

/// At the entry of `Http2Session::OnDataChunkReceived(nghttp2_session*, uint8_t, int32_t id, const uint8_t*, size_t, void* session)`: a part
/// of a body, which is handed on before its frame is.
#[inline(always)]
pub fn chunk(ctx: &ProbeContext) {
    let Some(who) = main_thread() else {
        return;
    };
    let id = argument(ctx, 2) as u32;
    if is_clients(id) {
        handover::tell(HANDOVER_TURN, who, (who.tgid, who.tid, u64::from(id)), argument(ctx, 5));
    }
}

/// At the entry of `Http2Stream::SubmitResponse(...)`.
#[inline(always)]
pub fn respond(ctx: &ProbeContext) {
    if let Some(who) = main_thread() {
        handover::tell(HANDOVER_RESPOND, who, (who.tgid, who.tid, 0), argument(ctx, 0));
    }
}
