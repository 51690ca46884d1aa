//! Front end *sockets*: the tracepoints that fire when bytes were moved on a socket. The socket comes with them; where the
//! bytes are is in the caller's registers.

use aya_ebpf::{
    helpers::{bpf_get_current_task_btf, bpf_task_pt_regs},
    programs::RawTracePointContext,
};
use geophone_ebpf::{
    config::{Call, MISSING},
    record::{NOWHERE, RECEIVE, SEND},
    stats::Counter,
};

use crate::{
    capture, datagram, emit, life,
    maps::{
        CALLS, MOVED_RAW, Moved, SOURCE_BUFFER, SOURCE_MESSAGES, SOURCE_NONE, SOURCE_VECTOR, VECTORS, Vector, config,
    },
    process::Current,
    syscalls::{self, UNREADABLE_RECEIVE},
    twin::{self, Occurrence},
};

/// `PF_IO_WORKER | PF_KTHREAD` of `include/linux/sched.h`: there is no system call to look at.
const WORKERS: u32 = 0x10 | 0x0020_0000;

/// `sock_send_length` and `sock_recv_length`.
#[inline(always)]
pub fn moved<const SECOND: bool>(ctx: &RawTracePointContext, direction: u8) {
    let sk: u64 = ctx.arg(0);
    let ret: i32 = ctx.arg(1);
    let flags: u32 = ctx.arg(2);
    if direction == RECEIVE && flags & syscalls::NOT_STREAM != 0 {
        return;
    }
    let Some(who) = Current::traced() else {
        return;
    };
    if !twin::is_mine::<SECOND>(Occurrence::Thread(who.tid)) {
        return;
    }
    if ret == 0 && datagram::is_one(sk) {
        // Nothing is in it, and the vector goes on.
        return skip(who.tid);
    }
    if ret <= 0 {
        // Whatever vector this thread was in, it is over.
        let _ = VECTORS.remove(who.tid);
        if ret < 0 {
            life::failed(sk, ret);
        } else if direction == RECEIVE {
            life::received_end(sk, who);
        }
        return;
    }
    let mut call = Moved {
        sk,
        who,
        direction: u32::from(direction),
        len: ret as u32,
        source: SOURCE_NONE,
        decrypted: MOVED_RAW,
        address: 0,
        count: 0,
        record: NOWHERE,
        regs: 0,
    };
    if direction == SEND || flags & UNREADABLE_RECEIVE == 0 {
        locate(&mut call, direction);
    } else {
        emit::count(Counter::Unreadable);
    }
    capture::report(call);
}

/// Finds where the bytes of the current system call are.
#[inline(always)]
fn locate(call: &mut Moved, direction: u8) {
    let (flags_at, io_uring_at) = (config!(offsets.task_flags) as usize, config!(offsets.task_io_uring));
    // SAFETY: helpers without preconditions; the pointers that they return are checked by the verifier, which lets fields be
    // read directly because the configured offsets are constants to it.
    let (task_flags, io_uring, regs) = unsafe {
        let task = bpf_get_current_task_btf();
        let at = |offset: usize| task.cast::<u8>().add(offset);
        (
            core::ptr::read_volatile(at(flags_at).cast::<u32>()),
            if io_uring_at == MISSING { 0 } else { core::ptr::read_volatile(at(io_uring_at as usize).cast::<u64>()) },
            bpf_task_pt_regs(task) as *const u8,
        )
    };
    if task_flags & WORKERS != 0 {
        emit::count(Counter::IoUring);
        return;
    }
    // SAFETY: as above.
    let register = |offset: u32| unsafe { core::ptr::read_volatile(regs.add(offset as usize).cast::<u64>()) };
    let number_at = config!(offsets.regs_call) as usize;
    // SAFETY: as above.
    let number = unsafe { core::ptr::read_volatile(regs.add(number_at).cast::<u32>()) };
    let address = register(config!(offsets.regs_args[1]));
    let count = register(config!(offsets.regs_args[2]));
    // A process with io_uring may complete its requests on the way out of any system call: believe the registers only when they
    // mean this socket.
    if io_uring != 0 && syscalls::socket_of(register(config!(offsets.regs_args[0])) as u32) != Some(call.sk) {
        emit::count(Counter::IoUring);
        return;
    }
    let number = CALLS.get(number).copied().unwrap_or_default();
    let is = |sending: Call, receiving: Call| number == if direction == SEND { sending } else { receiving } as u8;
    call.address = address;
    call.count = count;
    call.regs = regs as u64;
    if is(Call::Send, Call::Receive) || is(Call::SendTo, Call::ReceiveFrom) {
        call.source = SOURCE_BUFFER;
    } else if is(Call::SendVector, Call::ReceiveVector) {
        call.source = SOURCE_VECTOR;
    } else if is(Call::SendMessage, Call::ReceiveMessage) {
        call.source = SOURCE_MESSAGES;
        call.count = 1;
    } else if is(Call::SendMessages, Call::ReceiveMessages) {
        call.source = SOURCE_MESSAGES;
        call.count = 1;
        call.address = message(call, address, count as u32, direction);
    } else {
        emit::count(Counter::Unreadable);
    }
}

/// Which message of a vector it is. The tracepoint fires for each in turn, and once more, with an error, when the kernel stops
/// before the end of the vector; only a send that was cut short ends it without that.
#[inline(always)]
fn message(call: &Moved, vector: u64, len: u32, direction: u8) -> u64 {
    // SAFETY: a copy is taken at once.
    let before = unsafe { VECTORS.get(call.who.tid) }.copied();
    let index = match before {
        Some(v) if v.vector == vector && v.len == len && v.next < len => v.next,
        _ => 0,
    };
    let first = vector + capture::MESSAGE_SIZE * u64::from(index);
    let short = direction == SEND && capture::is_longer(first, u64::from(call.len)) != 0;
    if index + 1 >= len || short {
        let _ = VECTORS.remove(call.who.tid);
    } else if VECTORS.insert(call.who.tid, Vector { vector, len, next: index + 1 }, 0).is_err() {
        emit::count(Counter::MapFull);
    }
    first
}

/// The next message of the vector that a thread is in, if any, is done with.
#[inline(always)]
fn skip(tid: u32) {
    if let Some(vector) = VECTORS.get_ptr_mut(tid) {
        // SAFETY: the map keeps the value alive while the program runs; only this thread uses it.
        unsafe { (*vector).next += 1 };
    }
}
