//! Contexts written into requests: a header is put behind the request line of what is sent over HTTP/1.
//!
//! Only where it is certain that a request begins: from the beginning of a connection on, heads say how long their bodies are, and so
//! where the next one begins. From the first one on that does not say, the connection is left as it is.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_msg_pop_data, bpf_msg_pull_data, bpf_msg_push_data},
    programs::SkMsgContext,
};
use geophone_ebpf::{
    inject::{HEADER, value},
    stats::Counter,
};

use crate::{
    capture::at_most,
    emit,
    head::{BLOCKS, EMPTY, HEAD_CONTEXT, HEAD_LOST, HEAD_OTHER, HEAD_SIGNED, LONGEST, is_request, scan_sending},
    inject::{SK_DROP, SK_PASS, announce, is_own, over, socket},
    kernel::{copy_kernel, read},
    maps::{BLOCK, INJECT_STATES, Injecting, config},
    serving,
};

/// Something is about to be sent on a socket that was enrolled, behind what is known to be a body.
#[inline(always)]
pub fn sending(ctx: &SkMsgContext) -> u32 {
    let sk = socket(ctx);
    let id = bpf_get_current_pid_tgid();
    let Some(state) = INJECT_STATES.get_ptr_mut(sk) else {
        return SK_PASS;
    };
    // SAFETY: the map keeps it alive while the program runs.
    let state = unsafe { &mut *state };
    let (position, size) = (state.position, u64::from(ctx.size()));
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
    } else if read::<u32>(sk, config!(offsets.tcp_snd_una)).unwrap_or_default() != state.sequence {
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
    if !is_own(id) {
        emit::count(reason);
    }
    SK_PASS
}

const UNTOUCHED: u32 = 0;
const WRITTEN: u32 = 1;
/// What was made room for could neither be filled nor given back: the message must not be sent.
const BROKEN: u32 = 2;

/// Tells the agent of a context, and writes it into the message at `at`.
#[inline(always)]
fn write(ctx: &SkMsgContext, sk: u64, id: u64, state: &mut Injecting, at: u32) -> u32 {
    let (trace, flags) = serving::trace(id);
    let span = serving::new_span();
    let place = state.position.wrapping_add(u64::from(at));
    if !announce(sk, id, state, place, (trace, span, flags)) {
        return UNTOUCHED;
    }
    let header = &mut state.header;
    header[..13].copy_from_slice(b"traceparent: ");
    header[68..70].copy_from_slice(b"\r\n");
    // SAFETY: it has room for so many.
    unsafe { value((&raw mut *header).cast::<u8>().add(13), trace, span, flags) };
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
