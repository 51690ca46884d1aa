//! Front end *syscalls*: the return of every system call, on kernels without the socket tracepoints. The number says where the
//! socket and the bytes are; the registers still hold the arguments.

use aya_ebpf::{helpers::bpf_get_current_task, programs::RawTracePointContext};
use geophone_ebpf::{
    config::Call,
    record::{NOWHERE, RECEIVE, SEND},
    stats::Counter,
};

use crate::{
    capture, emit,
    kernel::read,
    life,
    maps::{
        CALLS, MOVED_RAW, Moved, SOURCE_BUFFER, SOURCE_MESSAGES, SOURCE_NONE, SOURCE_SIZED_MESSAGES, SOURCE_VECTOR,
        config,
    },
    process::Current,
    twin::{self, Occurrence},
};

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_TRUNC: u32 = 0x20;
const MSG_ERRQUEUE: u32 = 0x2000;
/// Receiving with one of these takes nothing out of the stream.
pub const NOT_STREAM: u32 = MSG_OOB | MSG_PEEK | MSG_ERRQUEUE;
/// Receiving with this leaves the buffer as it was.
pub const UNREADABLE_RECEIVE: u32 = MSG_TRUNC;

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// `sys_exit`.
#[inline(always)]
pub fn returned<const SECOND: bool>(ctx: &RawTracePointContext) {
    let regs: u64 = ctx.arg(0);
    let ret: i64 = ctx.arg(1);
    if ret < 0 && !life::is_end(ret) {
        return;
    }
    let Some(number) = read::<u32>(regs, config!(offsets.regs_call)) else {
        return;
    };
    let call = CALLS.get(number).copied().unwrap_or_default();
    if call == Call::None as u8 {
        return;
    }
    let Some(who) = Current::traced() else {
        return;
    };
    if !twin::is_mine::<SECOND>(Occurrence::Thread(who.tid)) {
        return;
    }
    // Numbers and structures of 32-bit calls are others.
    if config!(compat_mask) != 0 {
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_task() };
        if read::<u32>(task, config!(offsets.task_compat)).unwrap_or_default() & config!(compat_mask) != 0 {
            emit::count(Counter::Unreadable);
            return;
        }
    }
    handle(regs, ret, call, who);
}

#[inline(always)]
fn handle(regs: u64, ret: i64, number: u8, who: Current) {
    let is = |wanted: Call| number == wanted as u8;
    let arg = |offset: u32| read::<u64>(regs, offset).unwrap_or_default();
    let mut call = Moved {
        sk: 0,
        who,
        direction: u32::from(SEND),
        len: ret as u32,
        source: SOURCE_NONE,
        decrypted: MOVED_RAW,
        address: arg(config!(offsets.regs_args[1])),
        count: arg(config!(offsets.regs_args[2])),
        record: NOWHERE,
        regs,
    };
    if let Some(sk) = socket_of(arg(config!(offsets.regs_args[0])) as u32) {
        call.sk = sk;
    } else if is(Call::Splice)
        && let Some(sk) = socket_of(call.count as u32)
    {
        // A splice has its destination in the third argument.
        call.sk = sk;
        return unread(call, ret);
    } else {
        return;
    }
    if ret < 0 {
        return life::failed(call.sk, ret as i32);
    }
    let mut flags = 0;
    if is(Call::Send) || is(Call::SendTo) {
        call.source = SOURCE_BUFFER;
    } else if is(Call::SendVector) {
        call.source = SOURCE_VECTOR;
    } else if is(Call::SendMessage) {
        call.source = SOURCE_MESSAGES;
        call.count = 1;
    } else if is(Call::SendMessages) {
        call.source = SOURCE_SIZED_MESSAGES;
        call.count = ret as u64;
    } else if is(Call::SendFile) {
        return unread(call, ret);
    } else {
        call.direction = u32::from(RECEIVE);
        if is(Call::Receive) {
            call.source = SOURCE_BUFFER;
        } else if is(Call::ReceiveFrom) {
            call.source = SOURCE_BUFFER;
            flags = arg(config!(offsets.regs_args[3]));
        } else if is(Call::ReceiveVector) {
            call.source = SOURCE_VECTOR;
        } else if is(Call::ReceiveMessage) {
            call.source = SOURCE_MESSAGES;
            flags = call.count;
            call.count = 1;
        } else if is(Call::ReceiveMessages) {
            call.source = SOURCE_SIZED_MESSAGES;
            call.count = ret as u64;
            flags = arg(config!(offsets.regs_args[3]));
        } else {
            return unread(call, ret);
        }
    }
    if flags as u32 & NOT_STREAM != 0 {
        return;
    }
    if ret == 0 {
        if call.direction == u32::from(RECEIVE) {
            life::received_end(call.sk, who);
        }
        return;
    }
    if call.source == SOURCE_SIZED_MESSAGES {
        // What is returned is a number of messages.
        call.len = capture::messages_len(call.address, call.count) as u32;
    }
    if flags as u32 & UNREADABLE_RECEIVE != 0 {
        emit::count(Counter::Unreadable);
        call.source = SOURCE_NONE;
    }
    capture::report(call);
}

/// Bytes that went past the process's memory.
#[inline(always)]
fn unread(call: Moved, ret: i64) {
    if ret > 0 {
        emit::count(Counter::Unreadable);
        capture::report(call);
    }
}

/// The `struct sock` behind a descriptor of the current process.
#[inline(always)]
pub fn socket_of(fd: u32) -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = read(task, config!(offsets.task_files))?;
    let table: u64 = read(files, config!(offsets.files_fdt))?;
    if fd >= read::<u32>(table, config!(offsets.fdt_max))? {
        return None;
    }
    let list: u64 = read(table, config!(offsets.fdt_fd))?;
    let file: u64 = read(list.wrapping_add(u64::from(fd) * 8), 0)?;
    if file == 0 {
        return None;
    }
    let inode: u64 = read(file, config!(offsets.file_inode))?;
    if read::<u16>(inode, config!(offsets.inode_mode))? & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket: u64 = read(file, config!(offsets.file_private))?;
    let sk: u64 = read(socket, config!(offsets.socket_sk))?;
    (sk != 0).then_some(sk)
}
