//! The records that travel through the ring buffers. Every record begins with its [`Kind`]; all times are
//! nanoseconds of `CLOCK_MONOTONIC`; all integers are in the byte order of the machine.

/// What a record is: its first four bytes.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Data`]
    Data = 1,
    /// [`Open`]
    Open = 2,
    /// [`State`]
    State = 3,
    /// [`Process`]
    Process = 4,
    /// [`Handover`]
    Handover = 5,
    /// [`Sample`]
    Sample = 6,
    /// [`Usage`]
    Usage = 7,
    /// [`Waited`]
    Waited = 8,
    /// [`Greeted`]
    Greeted = 9,
    /// [`Inject`]
    Inject = 10,
    /// [`Carried`]
    Carried = 11,
}

/// Bytes left the process.
pub const SEND: u8 = 0;
/// Bytes reached the process.
pub const RECEIVE: u8 = 1;

/// The bytes of this call cannot be read (sendfile, splice, io_uring, an unknown system call): only its length is known.
pub const UNREADABLE: u8 = 1 << 0;
/// Reading the process's memory failed; what follows the captured bytes is missing.
pub const FAULT: u8 = 1 << 1;
/// The peer has closed its direction: a receive that returned 0. The record has no bytes.
pub const END: u8 = 1 << 2;
/// `offset` counts from when the socket was first seen, not from the beginning of its stream.
pub const RELATIVE: u8 = 1 << 3;
/// What a TLS library has decrypted, or is about to encrypt; `offset` counts such bytes. From the first such record on, nothing else is
/// told of what the connection moves. Before the bytes comes a number of eight bytes: the position on the socket where the TLS record
/// begins of which they are the first bytes, or [`NOWHERE`].
pub const DECRYPTED: u8 = 1 << 4;

/// A datagram, whole: `offset` is 0, and `born` is [`DATAGRAM_BORN`] and the socket's own port. Before the bytes come its [`Ends`]. There is no [`Open`]
/// of such a socket.
pub const DATAGRAM: u8 = 1 << 5;
/// Marks a `born` that is no time.
pub const DATAGRAM_BORN: u64 = 1 << 63;

/// Where a datagram comes from and goes to, as the socket's side names it. An address of zeroes is not known, or any of this host's; a
/// remote port of 0 is not known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// Local address, IPv4 as IPv6 maps it.
    pub local_addr: [u8; 16],
    /// Remote address.
    pub remote_addr: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// Inode of the network namespace.
    pub netns: u32,
}

/// A position that is not known.
pub const NOWHERE: u64 = u64::MAX;

/// One call that moved bytes on a socket, followed by `captured` bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Data {
    /// [`Kind::Data`]
    pub kind: u32,
    /// Thread group (process) that made the call, in the agent's process namespace.
    pub tgid: u32,
    /// When the call returned.
    pub time: u64,
    /// Address of the `struct sock`.
    pub sock: u64,
    /// When this socket was first seen: tells it from an earlier one at the same address.
    pub born: u64,
    /// Position in the stream of the first byte moved by this call.
    pub offset: u64,
    /// Bytes moved by the call.
    pub len: u32,
    /// Bytes at the beginning of the call that were left out on the agent's advice.
    pub skipped: u32,
    /// Bytes that follow this header; they begin at `offset + skipped`.
    pub captured: u32,
    /// Thread that made the call.
    pub tid: u32,
    /// [`SEND`] or [`RECEIVE`].
    pub direction: u8,
    /// [`UNREADABLE`], [`FAULT`], [`END`], [`RELATIVE`], [`DECRYPTED`], [`DATAGRAM`].
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 6],
    /// The runtime's own task that ran on the thread (goroutine id, address of an asyncio task), or 0.
    pub task: u64,
    /// The task that started it, where the runtime keeps that, or 0. Where there is no task: what [`node::pack`](crate::node::pack) tells, or 0.
    pub task_parent: u64,
}

/// The role is not known: the connection is older than the agent.
pub const ROLE_UNKNOWN: u8 = 0;
/// This side connected.
pub const ROLE_CONNECT: u8 = 1;
/// This side accepted.
pub const ROLE_ACCEPT: u8 = 2;

/// A socket that is seen for the first time, followed by `path_len` bytes of the socket's path (Unix sockets only).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Open {
    /// [`Kind::Open`]
    pub kind: u32,
    /// Process that made the call in which the socket was first seen; 0 when that was no call.
    pub tgid: u32,
    /// When.
    pub time: u64,
    /// Address of the `struct sock`.
    pub sock: u64,
    /// Identity, as in [`Data`].
    pub born: u64,
    /// Local address, IPv4 in the first four bytes.
    pub local_addr: [u8; 16],
    /// Remote address.
    pub remote_addr: [u8; 16],
    /// Unix sockets: address of the peer's `struct sock`.
    pub peer: u64,
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// `AF_INET`, `AF_INET6`, `AF_UNIX`.
    pub family: u16,
    /// [`ROLE_UNKNOWN`], [`ROLE_CONNECT`], [`ROLE_ACCEPT`].
    pub role: u8,
    /// 1 when the peer's path follows, 0 when it is this socket's own.
    pub path_is_peers: u8,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Thread.
    pub tid: u32,
    /// TCP sequence number of the first byte sent, to be read with `role`: one less where this side opened the connection.
    pub first_send_seq: u32,
    /// TCP sequence number of the first byte received.
    pub first_receive_seq: u32,
    /// Command name of the process.
    pub comm: [u8; 16],
    /// Bytes of path that follow.
    pub path_len: u32,
    /// Zero.
    pub pad: u32,
}

/// A change of a TCP connection's state (`TCP_*` of `include/net/tcp_states.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    /// [`Kind::State`]
    pub kind: u32,
    /// State before.
    pub old: u16,
    /// State after.
    pub new: u16,
    /// When.
    pub time: u64,
    /// Address of the `struct sock`.
    pub sock: u64,
    /// Identity, as in [`Data`].
    pub born: u64,
    /// `sk_err` at that moment: the errno that the next call will see (`ECONNRESET`, `ECONNREFUSED`, `ETIMEDOUT`), or 0.
    pub error: i32,
    /// 1 while a process holds the socket open, and may read what is queued.
    pub owned: u32,
}

/// A process was cloned.
pub const PROCESS_FORK: u32 = 1;
/// A process runs a new program.
pub const PROCESS_EXEC: u32 = 2;
/// A process has ended.
pub const PROCESS_EXIT: u32 = 3;
/// A process uses a socket for the first time: read its `/proc` entry now, it may not live long.
pub const PROCESS_SEEN: u32 = 4;

/// A change in the life of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// [`Kind::Process`]
    pub kind: u32,
    /// `PROCESS_*`
    pub what: u32,
    /// When.
    pub time: u64,
    /// The process.
    pub tgid: u32,
    /// Its parent; 0 where it is not known.
    pub parent: u32,
    /// Command name.
    pub comm: [u8; 16],
}

/// A thread or process was cloned: from its creator.
pub const HANDOVER_CLONE: u32 = 1;
/// A thread that waited was woken by another one of its process, in a system call for that (futex, eventfd, pipe); `object` is the
/// futex' address, or 0. Or a task that waited (`to_task`) was, by another one; `object` is the task that started it, or 0.
pub const HANDOVER_WAKE: u32 = 2;
/// The runtime started a task (`to_task`), while `task` ran.
pub const HANDOVER_SPAWN: u32 = 3;
/// A task is about to have a request sent on its behalf, by whatever task or thread, on the socket `object`: the next one, or the one on
/// the stream `to_task` of HTTP/2, if that is not 0.
pub const HANDOVER_CLAIM: u32 = 4;
/// A thread opens a connection, the socket `object`.
pub const HANDOVER_CONNECT: u32 = 5;
/// An event loop turns to something else than what it has read last, such as a timer.
pub const HANDOVER_IDLE: u32 = 6;
/// A task begins to serve the request on the stream `to_task` of HTTP/2 on the socket `object`, which another one has read.
pub const HANDOVER_SERVE: u32 = 7;
/// A task is about to start another one, and leaves it to that one to send a request: it will say itself who has started it.
pub const HANDOVER_DELEGATE: u32 = 8;
/// An event loop has something to do with the stream `to_task` of the session `object` of HTTP/2, of which something has been read; 0: with
/// none in particular. What a session is, only the process knows: which socket it has, is for the agent to find out.
pub const HANDOVER_TURN: u32 = 9;
/// The same, and the stream has just begun, or without a stream the session; at which address the stream is, say `to_tgid` (its lower half) and `to_tid`.
pub const HANDOVER_BEGIN: u32 = 10;
/// An event loop makes a request on the stream `to_task` of the session `object`.
pub const HANDOVER_REQUEST: u32 = 11;
/// An event loop answers on the stream at the address `object`.
pub const HANDOVER_RESPOND: u32 = 12;
/// A thread leaves something to be done (`to_task`) to the threads of a pool, while `task` ran.
pub const HANDOVER_SUBMIT: u32 = 13;

/// Work may have passed from one thread or task to another.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Handover {
    /// [`Kind::Handover`]
    pub kind: u32,
    /// `HANDOVER_*`
    pub what: u32,
    /// When.
    pub time: u64,
    /// Process of both.
    pub tgid: u32,
    /// Thread that it comes from.
    pub tid: u32,
    /// Task on that thread, or 0.
    pub task: u64,
    /// The task that started that one, or 0; as in [`Data`].
    pub task_parent: u64,
    /// Process that it goes to; see also `HANDOVER_BEGIN`.
    pub to_tgid: u32,
    /// Thread that it goes to; 0 where it goes to a task.
    pub to_tid: u32,
    /// Task that it goes to, or 0; or a stream, see `HANDOVER_*`.
    pub to_task: u64,
    /// See `HANDOVER_*`.
    pub object: u64,
}

/// Frames of the kernel at most, and of the process where the kernel walks its stack: what `kernel.perf_event_max_stack` allows unless
/// somebody has raised it.
pub const STACK_MAX: usize = 127;
/// Frames of the process at most, where the sampling program walks its stack.
pub const USER_MAX: usize = 1024;

/// The kernel could not give the stack of the kernel, as `flags` of a [`Sample`].
pub const KERNEL_FAILED: u32 = 1 << 0;
/// The same for the stack of the process.
pub const USER_FAILED: u32 = 1 << 1;
/// One of the frames was found by its callee's frame pointer, because the code has no rows: it may not be the direct caller.
pub const WALK_BY_POINTERS: u32 = 1 << 2;
/// Rows of some code on the way were not there yet.
pub const WALK_TOO_EARLY: u32 = 1 << 3;
/// There was no room for the rows of some code on the way.
pub const WALK_NO_ROOM: u32 = 1 << 4;

/// Frames of an interpreter could not be read: some are missing, the outermost ones.
pub const INTERPRETED_FAULT: u32 = 1 << 6;
/// There are more frames of an interpreter than are looked at.
pub const INTERPRETED_CUT: u32 = 1 << 7;

/// The thread goes to sleep; a [`Waited`] follows if it sleeps for long.
pub const SAMPLE_WAITS: u32 = 1 << 5;

/// The kernel has walked the stack of the process, by frame pointers, as `result` of a [`Sample`].
pub const RESULT_KERNEL: u32 = 0;
/// The stack was walked to where it ends.
pub const RESULT_COMPLETE: u32 = 1;
/// It has [`USER_MAX`] frames or more.
pub const RESULT_TRUNCATED: u32 = 2;
/// Frame pointers ended; whether the stack does is not known.
pub const RESULT_POINTERS_END: u32 = 3;
/// What should be a caller is not in code.
pub const RESULT_NO_MAPPING: u32 = 4;
/// There are no rows for the code, and what should be a frame pointer is none.
pub const RESULT_NO_ROW: u32 = 5;
/// The stack could not be read.
pub const RESULT_FAULT: u32 = 6;
/// The rule of the code needs more than the stack pointer and the frame pointer.
pub const RESULT_UNSUPPORTED: u32 = 7;
/// A caller's frame would not be above that of what it called.
pub const RESULT_DISORDER: u32 = 8;
/// Code of another architecture (32 bits).
pub const RESULT_FOREIGN: u32 = 9;
/// A thread of the kernel has no such stack.
pub const RESULT_NONE: u32 = 10;

/// What is mapped in a process, of a [`Sample`] at most.
pub const MAPPED_MAX: usize = 8;

/// A file that is mapped as code where a frame of a [`Sample`] is, and that the agent has told the kernel side of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// First address.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
    /// Position in the file of the first address.
    pub offset: u64,
    /// Inode.
    pub inode: u64,
    /// Device, as the kernel writes it: the minor number in the lower 20 bits.
    pub device: u64,
}

/// What a thread was doing when its processor's clock ticked, or when it went to sleep, followed by the `interpreted` frames (see
/// [`interpreter`](crate::interpreter)), the addresses of the `kernel` frames and then of the `user` frames, eight bytes each, the
/// innermost first, and by the `mapped` files that were found while the stack was walked, each a [`Mapped`]. All but the innermost of each are behind the instruction that is meant: where a call
/// returns to, and of what a signal has interrupted the address and one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// [`Kind::Sample`]
    pub kind: u32,
    /// Thread group (process).
    pub tgid: u32,
    /// When.
    pub time: u64,
    /// Thread.
    pub tid: u32,
    /// `KERNEL_FAILED`, `USER_FAILED`, `WALK_*`, `INTERPRETED_*`, `SAMPLE_WAITS`
    pub flags: u32,
    /// How many frames of the kernel.
    pub kernel: u32,
    /// How many frames of the process.
    pub user: u32,
    /// The thread's name.
    pub comm: [u8; 16],
    /// `RESULT_*`
    pub result: u32,
    /// How many frames of an interpreter, of two words each.
    pub interpreted: u32,
    /// The runtime's own task that ran on the thread, or 0; only looked for where samples are taken beside tracing.
    pub task: u64,
    /// The task that started it, where the runtime keeps that, or 0; as in [`Data`].
    pub task_parent: u64,
    /// How many files.
    pub mapped: u32,
    /// Zero.
    pub pad: u32,
}

/// On a processor, as an index of [`Usage::nanos`].
pub const USAGE_CPU: usize = 0;
/// Waiting for another thread, in `futex`.
pub const USAGE_LOCK: usize = 1;
/// Waiting for a disk.
pub const USAGE_DISK: usize = 2;
/// Waiting for the other end of a connection.
pub const USAGE_NETWORK: usize = 3;
/// Waiting until some time has passed.
pub const USAGE_SLEEP: usize = 4;
/// Ready to run, waiting for a processor.
pub const USAGE_RUN_QUEUE: usize = 5;
/// How many there are.
pub const USAGES: usize = 6;

/// What a thread has done with its time since it was first looked at, told before each call that moves bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// [`Kind::Usage`]
    pub kind: u32,
    /// Thread group (process).
    pub tgid: u32,
    /// When.
    pub time: u64,
    /// Thread.
    pub tid: u32,
    /// Zero.
    pub pad: u32,
    /// Since when it is looked at: tells it from an earlier one of the same number.
    pub since: u64,
    /// Nanoseconds, by `USAGE_*`.
    pub nanos: [u64; USAGES],
}

/// A thread runs again that has waited.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Waited {
    /// [`Kind::Waited`]
    pub kind: u32,
    /// Thread group (process).
    pub tgid: u32,
    /// When.
    pub time: u64,
    /// Since when: the time of its [`Sample`].
    pub since: u64,
    /// Thread.
    pub tid: u32,
    /// Zero.
    pub pad: u32,
}

/// The agent at the other end of a new TCP connection has said in an option where it is: see [`greeting`](crate::greeting).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Greeted {
    /// [`Kind::Greeted`]
    pub kind: u32,
    /// [`ROLE_CONNECT`] or [`ROLE_ACCEPT`]
    pub role: u32,
    /// When.
    pub time: u64,
    /// The other end's address, IPv4 as IPv6 maps it.
    pub remote_addr: [u8; 16],
    /// Sequence number of the first byte that this side sends.
    pub sends: u32,
    /// The same of the other side, as it is seen here.
    pub receives: u32,
    /// The option's length.
    pub len: u32,
    /// The option, as it came.
    pub option: [u8; crate::greeting::LONG],
}

/// A request was given a context: [`Inject::trace`], [`Inject::span`], [`Inject::flags`].
pub const INJECT_DONE: u32 = 1;
/// No request of this socket will be given any more: it can be taken out of the map.
pub const INJECT_OVER: u32 = 2;

/// What became of a request, or a socket, that was to be given a context. Comes before the [`Data`] of the call that sends it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Inject {
    /// [`Kind::Inject`]
    pub kind: u32,
    /// `INJECT_*`
    pub what: u32,
    /// When.
    pub time: u64,
    /// Address of the `struct sock`.
    pub sock: u64,
    /// Position in the stream where the header was put.
    pub at: u64,
    /// Trace id, as it was written.
    pub trace: [u8; 16],
    /// Span id.
    pub span: [u8; 8],
    /// Trace flags.
    pub flags: u32,
    /// Process that made the call.
    pub tgid: u32,
}

/// A context left this host.
pub const CARRIED_SENT: u32 = 1;
/// A context has come to this host.
pub const CARRIED_RECEIVED: u32 = 2;

/// A TCP option has carried the context of a request: see [`carry`](crate::carry). Comes before the [`Data`] of the call that sends it, or that
/// receives it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// [`Kind::Carried`]
    pub kind: u32,
    /// `CARRIED_*`
    pub what: u32,
    /// When.
    pub time: u64,
    /// Sequence number of the first byte that the answering side sends.
    pub answers: u32,
    /// Sequence number of the request's first byte.
    pub request: u32,
    /// Trace id.
    pub trace: [u8; 16],
    /// Span id.
    pub span: [u8; 8],
    /// Trace flags.
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}
