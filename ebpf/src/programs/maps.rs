//! The maps, and the configuration. Sizes that depend on the machine or on flags are set by the agent before loading.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
    macros::{btf_map, map},
    maps::SockHash,
};
use geophone_ebpf::{
    config::{CALLS as CALL_NUMBERS, CAPTURE_MAX, Config, File, INJECT_SOCKETS_MARK, Policy, Runtime},
    http2,
    interpreter::{self, Interpreter},
    record::{Data, Inject, MAPPED_MAX, Mapped, Sample, Usage},
    stats,
    unwind::{CHUNK, CHUNKS, FileKey, Range, Rule, Space},
};

use crate::process::Current;

/// Read-only: set by the agent before loading.
#[unsafe(no_mangle)]
static CONFIG: Config = EMPTY;

// `Config::default()` is not const.
// SAFETY: every field is an integer, or an array of them.
const EMPTY: Config = unsafe { core::mem::zeroed() };

/// The configuration, field by field: `config!(capture)`, `config!(offsets.task_flags)`.
macro_rules! config {
    ($($field:tt)+) => {
        // SAFETY: a read of a static; volatile, because its compile-time value is not the one at run time.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::maps::config_address()).$($field)+) }
    };
}
pub(crate) use config;

/// Where the configuration is; for `config!`.
#[inline(always)]
pub fn config_address() -> *const Config {
    &raw const CONFIG
}

/// One ring per processor: no lock is shared between processors, and the agent merges them by time.
#[btf_map]
pub static RINGS: ArrayOfMaps<RingBuf<u8, 4096>, 1> = ArrayOfMaps::new();

/// Work space, one per processor: a record is put together here and copied to the ring in one piece of the right size.
#[btf_map]
pub static SCRATCH: Array<Scratch, 1> = Array::new();

/// What the first program of a tracepoint has done, until the second has seen it: see `twin.rs`.
#[btf_map]
pub static HANDLED: HashMap<u64, u8, 16_384> = HashMap::new();

/// Counters, by [`stats::Counter`].
#[btf_map]
pub static STATS: PerCpuArray<u64, { stats::COUNT }> = PerCpuArray::new();

/// What is known of a socket, by the address of its `struct sock`.
#[btf_map]
pub static CONNECTIONS: HashMap<u64, Connection, 65_536> = HashMap::new();

/// The agent's advice; mapped by it. See [`Policy`].
#[btf_map]
pub static POLICIES: Array<Policy, 65_536, { aya_ebpf::bindings::BPF_F_MMAPABLE as usize }> = Array::new();

/// What a system call is, by its number: [`geophone_ebpf::config::Call`].
#[btf_map]
pub static CALLS: Array<u8, CALL_NUMBERS> = Array::new();

/// What a system call that blocks waits for, by its number: [`geophone_ebpf::config::Wait`].
#[btf_map]
pub static WAIT_CALLS: Array<u8, CALL_NUMBERS> = Array::new();

/// What threads do with their time, by thread; one entry where that is not counted.
#[btf_map]
pub static USAGES: HashMap<u32, Ran, 1> = HashMap::new();

/// `PROCESS_*` flags, by thread group.
#[btf_map]
pub static PROCESSES: HashMap<u32, u32, 32_768> = HashMap::new();

/// Runtimes whose tasks can be read, by thread group.
#[btf_map]
pub static RUNTIMES: HashMap<u32, Runtime, 8192> = HashMap::new();

/// Threads of Python's pools, by thread.
#[btf_map]
pub static PYTHON_WORKERS: LruHashMap<u32, PythonWorker, 16_384> = LruHashMap::new();

/// Files whose being run was told.
#[btf_map]
pub static EXECUTED: LruHashMap<File, u8, 4096> = LruHashMap::new();

/// Ports that are traced, when any is given.
#[btf_map]
pub static PORTS: HashMap<u16, u8, 256> = HashMap::new();

/// Sockets that have sent to a port of DNS without being connected to it, each with its own port.
#[btf_map]
pub static ASKERS: LruHashMap<u64, u32, 8192> = LruHashMap::new();

/// Peers of the agent's own connections, so that the receiving side of its exports is not traced either.
#[btf_map]
pub static OWN_PEERS: LruHashMap<Tuple, u8, 256> = LruHashMap::new();

/// Where a thread is in the vector of a `sendmmsg` or `recvmmsg` (front end *sockets*), by thread.
#[btf_map]
pub static VECTORS: LruHashMap<u32, Vector, 4096> = LruHashMap::new();

/// What threads and goroutines do in TLS libraries.
#[btf_map]
pub static TLS_CALLS: LruHashMap<TlsCaller, TlsCall, 16_384> = LruHashMap::new();

/// What threads had encrypted by rustls and have not sent yet, of sessions whose connection is not known.
#[btf_map]
pub static RUSTLS_KEPT: LruHashMap<TlsCaller, Kept, 512> = LruHashMap::new();

/// What is known of TLS connections, by the address of the `struct sock`.
#[btf_map]
pub static TLS_STREAMS: LruHashMap<u64, TlsStream, 65_536> = LruHashMap::new();

/// Which connection a TLS session is on.
#[btf_map]
pub static TLS_SESSIONS: LruHashMap<TlsSession, TlsPlace, 65_536> = LruHashMap::new();

/// Work space of samples, one per processor; one in all where nothing is sampled. Not in [`SCRATCH`]: a tick interrupts other programs.
#[btf_map]
pub static SAMPLES: Array<Stacks, 1> = Array::new();

/// Rows for unwinding, in chunks that the agent makes as it needs them.
#[btf_map]
pub static ROWS: ArrayOfMaps<Array<[u64; CHUNK], 1, MAPPED>, CHUNKS> = ArrayOfMaps::new();

/// Which rows are where in the memory of processes; one entry where nothing is sampled.
#[btf_map]
pub static RANGES: Array<Range, 1, MAPPED> = Array::new();

/// Where in `RANGES` those of a process are, by thread group; one entry where nothing is sampled.
#[btf_map]
pub static SPACES: HashMap<u32, Space, 1> = HashMap::new();

/// Where in `RANGES` those of a file are; one entry where nothing is sampled.
#[btf_map]
pub static FILES: HashMap<FileKey, Space, 1> = HashMap::new();

/// How the frames of interpreters are found, by thread group; one entry where nothing is sampled.
#[btf_map]
pub static INTERPRETERS: HashMap<u32, Interpreter, 1> = HashMap::new();

/// Threads that wait, or have waited, by their numbers; one entry where waits are not sampled.
#[btf_map]
pub static WAITS: HashMap<u32, Wait, 1> = HashMap::new();

/// How many stacks of waiting threads each processor has looked at; one entry where waits are not sampled.
#[btf_map]
pub static BUDGETS: Array<Budget, 1> = Array::new();

/// Sockets whose requests are given contexts, by the address of the `struct sock`. Not by BTF, so that the agent can make it a plain map
/// where none are: a kernel may have no maps of sockets.
#[map]
pub static INJECT_SOCKETS: SockHash<u64> = SockHash::with_max_entries(INJECT_SOCKETS_MARK, 0);

/// Processes whose requests are given contexts.
#[btf_map]
pub static INJECT_PROCESSES: HashMap<u32, u32, 8192> = HashMap::new();

/// What headers mean: [`geophone_ebpf::inject::NAMES`].
#[btf_map]
pub static INJECT_NAMES: HashMap<u64, u32, 64> = HashMap::new();

/// Where those sockets are in their streams; one entry where no contexts are given.
#[btf_map]
pub static INJECT_STATES: LruHashMap<u64, Injecting, 1> = LruHashMap::new();

/// Zeroes: what a new entry is made of, which is too large for the stack.
#[btf_map]
pub static INJECT_BLANK: Array<Injecting, 1> = Array::new();

/// Where those of them that are HTTP/2 are in their frames; one entry where no contexts are given.
#[btf_map]
pub static INJECT_STREAMS: LruHashMap<u64, http2::Frames, 1> = LruHashMap::new();

/// Zeroes, as `INJECT_BLANK`.
#[btf_map]
pub static INJECT_UNWALKED: Array<http2::Frames, 1> = Array::new();

/// What connections are handed on to, by what they speak: `INJECT_HTTP1`, `INJECT_HTTP2` of [`geophone_ebpf::config`].
#[btf_map]
pub static INJECT_PROGRAMS: ProgramArray<2> = ProgramArray::new();

/// What threads serve, as `pid_tgid`; one entry where no contexts are given.
#[btf_map]
pub static INJECT_THREADS: LruHashMap<u64, Serving, 1> = LruHashMap::new();

/// Which thread has read the request that is open on a socket; one entry where no contexts are given.
#[btf_map]
pub static INJECT_READERS: LruHashMap<u64, u64, 1> = LruHashMap::new();

/// Connections that traced processes have opened, and on which contexts are sent in TCP options; one entry where none are.
#[btf_map]
pub static CARRYING: HashMap<u64, Carrying, 1> = HashMap::new();

/// The last context that has come on connections that were accepted; one entry where none are read.
#[btf_map]
pub static CARRIED: LruHashMap<u64, Came, 1> = LruHashMap::new();

/// What is known of a thread that may be one of a pool's.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct PythonWorker {
    /// The frame that holds what it has been given; 0: it has none.
    pub frame: u64,
    /// Until when that counts.
    pub until: u64,
    /// For how long it counted when it was looked for the last time, in nanoseconds.
    pub wait: u64,
}

/// The agent writes to it without system calls.
const MAPPED: usize = aya_ebpf::bindings::BPF_F_MMAPABLE as usize;

/// Bytes of a head that are looked at together.
pub const BLOCK: usize = 256;

/// Where the scan of a request's head has got to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Head {
    /// The name of the header at hand: see [`geophone_ebpf::inject::name`].
    pub hash: u64,
    /// The last eight bytes, letters in lower case.
    pub window: u64,
    /// The length of the body.
    pub length: u64,
    /// `PHASE_*` of `inject.rs`
    pub phase: u32,
    /// `Meaning` of the header at hand.
    pub what: u32,
    /// `HEAD_*` of `inject.rs`
    pub flags: u32,
    /// Where the first header begins; 0: not reached.
    pub line: u32,
    /// Where the head ends; 0: not reached.
    pub end: u32,
    /// Where the value of `traceparent` is; 0: there is none.
    pub parent: u32,
    /// Bytes before the block at hand.
    pub base: u32,
    /// Bytes of the block at hand.
    pub count: u32,
}

/// Where a socket whose requests are given contexts is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Injecting {
    /// Position in the stream of what is sent next.
    pub position: u64,
    /// Position where the next request begins.
    pub next: u64,
    /// Position of a header that was written, until the call that sent it is reported; `NOWHERE`: there is none.
    pub pending: u64,
    /// TCP sequence number at `position`.
    pub sequence: u32,
    /// 1: it is left as it is from here on.
    pub over: u32,
    /// 1: it is HTTP/2, and more of it is in `INJECT_STREAMS`.
    pub streams: u32,
    /// Zero.
    pub pad: u32,
    /// The head at hand.
    pub head: Head,
    /// Bytes of it.
    pub block: [u8; BLOCK],
    /// The header that was written last.
    pub header: [u8; 72],
    /// What the agent is told: here, because there is no room for it on the stack.
    pub record: Inject,
}

/// What a thread serves.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Serving {
    /// The trace of the request that it has read.
    pub trace: [u64; 2],
    /// When it has read it.
    pub since: u64,
    /// Trace flags.
    pub flags: u32,
    /// Requests that it has read and that are not answered.
    pub open: u32,
    /// Not 0: there were several at a time, and none of them can be said to be served.
    pub mixed: u32,
    /// Zero.
    pub pad: u32,
}

/// A connection on which contexts are sent.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Carrying {
    /// Who sends the request at hand, as `pid_tgid`.
    pub thread: u64,
    /// Its trace.
    pub trace: [u64; 2],
    /// Its span.
    pub span: u64,
    /// Trace flags.
    pub flags: u32,
    /// Sequence number of its first byte.
    pub begin: u32,
    /// Sequence number up to which was received when it began.
    pub received: u32,
    /// `CARRY_*` of `carry.rs`
    pub phase: u32,
    /// How often its first segment was sent with it.
    pub times: u32,
    /// Zero.
    pub pad: u32,
}

/// A context that has come.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Came {
    /// Its trace.
    pub trace: [u64; 2],
    /// Its span; 0: none has come.
    pub span: u64,
    /// Trace flags.
    pub flags: u32,
    /// Sequence number of the request's first byte.
    pub sequence: u32,
    /// Position of that byte in the stream, modulo 2^32.
    pub place: u32,
    /// Zero.
    pub pad: u32,
}

/// What a thread has done with its time so far.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ran {
    /// When it was first looked at.
    pub born: u64,
    /// When it began what it does now.
    pub since: u64,
    /// The kernel's own count of its processor time when that was looked at last: up to date whenever the thread is not running.
    pub runtime: u64,
    /// When it was woken last.
    pub woken: u64,
    /// What it does now: an index of `nanos`.
    pub now: u64,
    /// Nanoseconds, by `USAGE_*`; behind those, [`OTHER`].
    pub nanos: [u64; 8],
}

/// Waiting for something else, as an index of [`Ran::nanos`].
pub const OTHER: u64 = 6;
/// A thread's last wait.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Wait {
    /// When it began; 0: it is over.
    pub since: u64,
    /// Thread group (process).
    pub tgid: u32,
    /// [`Wait::LONG`], [`Wait::SEEN`]
    pub flags: u32,
}

impl Wait {
    /// The one before was long enough to count.
    pub const LONG: u32 = 1;
    /// Its stack was looked at.
    pub const SEEN: u32 = 2;
}

/// What a processor has spent.
#[repr(C)]
pub struct Budget {
    /// When the second began that it is counted in.
    pub began: u64,
    /// Stacks of threads whose last wait was long.
    pub long: u32,
    /// Stacks of others.
    pub short: u32,
}

/// A sample with room for all of its stacks.
#[repr(C)]
pub struct Stacks {
    /// What comes first.
    pub head: Sample,
    /// The frames of interpreters, the kernel's, then those of the process.
    pub frames: [u64; FRAMES],
    /// Where walking the stack of the process has got to.
    pub walk: Walking,
    /// What is known of the frames of interpreters.
    pub runs: Runs,
}

/// Room for frames of all stacks: a power of two, so that any place in it can be told from any number.
pub const FRAMES: usize = 4096;

/// Frames of an interpreter: see [`geophone_ebpf::interpreter`].
#[repr(C)]
pub struct Runs {
    /// How they are found.
    pub interpreter: Interpreter,
    /// The next frame; 0: there is none.
    pub frame: u64,
    /// What the C function that evaluates it has left on the stack, or 0.
    pub chain: u64,
    /// Words of frames so far.
    pub words: u64,
    /// 1: the last run has not ended yet.
    pub open: u64,
    /// Runs so far.
    pub count: u64,
    /// Those that were put into their places.
    pub placed: u64,
    /// `INTERPRETED_*`
    pub flags: u32,
    /// Zero.
    pub pad: u32,
    /// A word of the process's memory.
    pub word: u64,
    /// A frame.
    pub block: [u64; 16],
    /// What describes its function.
    pub code: [u64; 16],
    /// Where on the stack each run was evaluated.
    pub anchors: [u64; interpreter::MOST],
}

/// A walk up the stack of a process, from caller to caller.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walking {
    /// Where the frame's function has got to: the address of an instruction, or where a call returns to.
    pub ip: u64,
    /// Its stack pointer.
    pub sp: u64,
    /// Its frame pointer, or whatever is in that register.
    pub fp: u64,
    /// 1: the frame pointer is not known.
    pub fp_lost: u64,
    /// 1: `ip` is an instruction; 0: the call is before it.
    pub exact: u64,
    /// The address that is looked for: that of the instruction, or inside of the call.
    pub at: u64,
    /// The stack pointer of the frame before.
    pub before: u64,
    /// Frames so far.
    pub count: u64,
    /// Place of the first of them.
    pub first: u64,
    /// `RESULT_*`
    pub result: u32,
    /// `WALK_*`
    pub flags: u32,
    /// The process's ranges.
    pub space: Space,
    /// The range that the last frame was in.
    pub range: Range,
    /// The rule of the last frame, and which it was: the same call returns to the same place in deep recursions.
    pub rule: Rule,
    /// Zero.
    pub pad: u32,
    /// Address that the rule is for.
    pub ruled: u64,
    /// What is searched: from, and to.
    pub low: u64,
    /// See `low`.
    pub high: u64,
    /// A word of the process's memory.
    pub word: u64,
    /// Another one.
    pub saved: u64,
    /// The file that is mapped at an address.
    pub file: FileKey,
    /// An entry of a tree of mappings.
    pub entry: u64,
    /// One of its nodes.
    pub node: [u64; 32],
    /// How many files were found.
    pub mapped: u64,
    /// Those.
    pub files: [Mapped; MAPPED_MAX],
}

/// A processor's work space. What a call is made of is kept here and not on the stack: the parts of the programs that are verified
/// by themselves (see `capture`) find it here, and what comes out of a map is an unknown number to the verifier, so that one look at
/// a loop's body holds for all of its rounds.
#[repr(C)]
pub struct Scratch {
    /// Not 0 while a program uses it.
    pub busy: u64,
    /// Bytes written to the ring since the agent was woken.
    pub unwoken: u64,
    /// The call that is looked at.
    pub call: Moved,
    /// Where its bytes are being copied from.
    pub parts: Parts,
    /// Where it is in what is decrypted, if it is.
    pub offset: u64,
    /// What a probe in a TLS library sees.
    pub tls: TlsProbe,
    /// The same in rustls.
    pub rustls: RustlsProbe,
    /// The cipher of rustls whose records the call at hand has sent, or 0.
    pub sent: u64,
    /// What of it goes into one record.
    pub piece: Piece,
    /// HTTP/2: where in it the frames are.
    pub walk: Walk,
    /// The head of a request that was received.
    pub head: Head,
    /// What the thread has done with its time.
    pub usage: Usage,
    /// The record's header.
    pub data: Data,
    /// The record's bytes. Twice the capture limit, so that an offset and a length that are each within the limit stay inside
    /// without the verifier having to relate them.
    pub bytes: [u8; 2 * CAPTURE_MAX as usize + PREFIX_MAX],
}

/// What may come before a record's bytes.
pub const PREFIX_MAX: usize = 64;

/// What of a call goes into one record.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Piece {
    /// Its stream position.
    pub offset: u64,
    /// Where in the call the bytes begin that are wanted.
    pub from: u64,
    /// How many are wanted.
    pub want: u64,
    /// When the call returned.
    pub time: u64,
    /// When the connection was first seen.
    pub born: u64,
    /// Its length.
    pub len: u32,
    /// How many bytes before those that are wanted were left out on purpose.
    pub skipped: u32,
    /// Of the record.
    pub flags: u32,
    /// Not 0: the length of the HTTP/2 frame that begins here, which is not what the process has given.
    pub frame: u32,
}

/// A call on an HTTP/2 connection, frame by frame.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walk {
    /// Stream position of the call, without the places that are done with.
    pub start: u64,
    /// Stream position that was reached.
    pub at: u64,
    /// Stream position up to which it was reported.
    pub reported: u64,
    /// Stream position behind the call.
    pub end: u64,
    /// Not 0: each frame is reported by itself.
    pub report: u64,
    /// Where the call's bytes are, and how many places that are. The call itself leaves out those that are done with.
    pub address: u64,
    /// See `address`.
    pub count: u64,
    /// The header at hand.
    pub header: [u8; 16],
    /// The direction's frames.
    pub frames: Frames,
}

/// A call that moved bytes on a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Moved {
    /// The socket.
    pub sk: u64,
    /// Who made the call.
    pub who: Current,
    /// `SEND` or `RECEIVE`.
    pub direction: u32,
    /// How many bytes; 0: nothing more can be received.
    pub len: u32,
    /// `SOURCE_*`: what the next two are.
    pub source: u32,
    /// [`MOVED_RAW`], or how a TLS library decrypted it.
    pub decrypted: u32,
    /// An address in the process's memory.
    pub address: u64,
    /// How many there are at that address; of [`SOURCE_KEPT`]: how many bytes there are.
    pub count: u64,
    /// Of decrypted bytes: the position on the socket where their TLS record began, or `NOWHERE`.
    pub record: u64,
    /// Where the caller's registers are; 0: it is no system call.
    pub regs: u64,
}

/// The bytes went through the socket as they are.
pub const MOVED_RAW: u32 = 0;
/// A TLS library decrypted or will encrypt them, and decrypted bytes of the session may have been missed before.
pub const MOVED_JOINED: u32 = 1;
/// The same, and none was missed.
pub const MOVED_WHOLE: u32 = 2;
/// They are a datagram.
pub const MOVED_DATAGRAM: u32 = 3;

/// The bytes cannot be read.
pub const SOURCE_NONE: u32 = 0;
/// The bytes are at the address.
pub const SOURCE_BUFFER: u32 = 1;
/// At the address are `iovec`s.
pub const SOURCE_VECTOR: u32 = 2;
/// At the address are `mmsghdr`s (of a single one, only the `msghdr`).
pub const SOURCE_MESSAGES: u32 = 3;
/// The same, and `msg_len` says how much of each was used.
pub const SOURCE_SIZED_MESSAGES: u32 = 4;
/// The bytes are at the address in the kernel's memory.
pub const SOURCE_KEPT: u32 = 5;

/// Where copying from several places has got to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Parts {
    /// The next `iovec`.
    pub iov: u64,
    /// How many are left.
    pub iovs: u64,
    /// The next message.
    pub message: u64,
    /// How many are left.
    pub messages: u64,
    /// Bytes left in the current message.
    pub left: u64,
    /// Bytes still to be left out.
    pub skip: u64,
    /// Bytes wanted, at most the capture limit.
    pub want: u64,
    /// Bytes copied.
    pub filled: u64,
}

/// What is known of a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connection {
    /// When it was first seen.
    pub born: u64,
    /// Stream position behind the last byte that was seen, for each direction.
    pub position: [u64; 2],
    /// TCP sequence number at that position.
    pub sequence: [u32; 2],
    /// TCP: the two ports; Unix: the socket's inode. Tells an entry that outlived its socket.
    pub identity: u64,
    /// `CONNECTION_*`
    pub flags: u32,
    /// [`geophone_ebpf::record::ROLE_CONNECT`] when this side was seen to connect.
    pub role: u32,
    /// HTTP/2: where each direction's frames are.
    pub frames: [Frames; 2],
}

/// Where in its frames a direction is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Frames {
    /// Stream position of the next frame's header, or of the rest of it; [`NO_FRAMES`]: not known, or not HTTP/2.
    pub next: u64,
    /// What has come of that header: not all of its nine bytes.
    pub header: [u8; 8],
    /// How much that is.
    pub have: u32,
    /// Not 0: what is before `next` is no part of a body.
    pub wanted: u32,
}

/// See [`Frames::next`].
pub const NO_FRAMES: u64 = u64::MAX;

/// The agent has been told of it.
pub const CONNECTION_ANNOUNCED: u32 = 1;
/// Not traced.
pub const CONNECTION_IGNORED: u32 = 2;
/// It belongs to the agent.
pub const CONNECTION_OWN: u32 = 4;
/// Positions are counted here, because the stream has no usable sequence numbers (Unix, kernel TLS, MPTCP).
pub const CONNECTION_COUNTED: u32 = 8;
/// TCP is done with it, but the process has not closed it and may still read what is queued.
pub const CONNECTION_DRAINING: u32 = 16;

/// Two ends of a TCP connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tuple {
    /// Local address.
    pub local_addr: [u8; 16],
    /// Remote address.
    pub remote_addr: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
}

/// `position` and `sequence` are right.
pub const CONNECTION_PLACED: u32 = 32;
/// A Unix socket.
pub const CONNECTION_UNIX: u32 = 64;
/// A call on it moved what begins as a TLS record does.
pub const CONNECTION_TLS: u32 = 128;
/// Only what a TLS library decrypts is told of it.
pub const CONNECTION_DECRYPTED: u32 = 256;
/// Decrypted bytes may have been missed before the first ones that were told.
pub const CONNECTION_JOINED: u32 = 512;
/// Both directions were seen from their first byte on.
pub const CONNECTION_WHOLE: u32 = 1024;

/// Its requests are given contexts.
pub const CONNECTION_INJECT: u32 = 2048;
/// A request was received on it, and nothing was sent since.
pub const CONNECTION_ASKED: u32 = 4096;

/// What is known of a TLS connection besides what is known of any.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsStream {
    /// The connection's identity.
    pub born: u64,
    /// Position in what is decrypted, for each direction; `NOWHERE` before the first byte.
    pub position: [u64; 2],
    /// The session that was last seen to use it, or 0.
    pub session: u64,
    /// The position on the socket of the record that was received last and of which nothing was decrypted yet; `NOWHERE`: what was
    /// received since goes on with an earlier record.
    pub record: u64,
}

/// What a probe in a TLS library sees.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsProbe {
    /// Who made the call.
    pub who: Current,
    /// The session; of [`TLS_MAKE`](crate::tls::TLS_MAKE): where its address will be.
    pub session: u64,
    /// Where the bytes are; 0: they cannot be read.
    pub buffer: u64,
    /// How many bytes are to be sent; 0: it is not said, or it receives.
    pub length: u64,
    /// Where the call will say how many bytes it moved; 0: it returns that.
    pub count: u64,
    /// The stack pointer; 0: it does not matter (Go).
    pub stack: u64,
    /// Go: the address of the instruction.
    pub here: u64,
    /// What the call returns.
    pub result: u64,
    /// `TLS_*`
    pub what: u32,
    /// Zero.
    pub pad: u32,
}

/// A thread, or a goroutine, of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsCaller {
    /// The process.
    pub tgid: u32,
    /// 1: a goroutine.
    pub goroutine: u32,
    /// Its number.
    pub id: u64,
}

/// What one of them does in a TLS library.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsCall {
    /// The session of the call that is under way; 0: there is none.
    pub session: u64,
    /// Where its bytes are; 0: they cannot be read.
    pub buffer: u64,
    /// Where the call will say how many bytes it moved; 0: it returns that.
    pub count: u64,
    /// The stack pointer when it was entered; 0: it does not matter (Go, whose stacks move).
    pub stack: u64,
    /// The socket that the call itself used, or 0.
    pub sk: u64,
    /// The position on it before that, of a call that sends.
    pub position: u64,
    /// The TLS socket that was received from since the last call, by nobody's call; or 0.
    pub received: u64,
    /// The session of the last call, when it was to send and its connection is not known; or 0.
    pub sent: u64,
    /// `TLS_*`
    pub what: u32,
    /// 1: what it sends was told when it began. [`RUSTLS`]: `sent` is a cipher of rustls.
    pub told: u32,
}

/// See [`TlsCall::told`].
pub const RUSTLS: u32 = 2;

/// What a probe in rustls sees.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RustlsProbe {
    /// Who made the call.
    pub who: Current,
    /// Where the function puts its result.
    pub result: u64,
    /// The cipher.
    pub cipher: u64,
    /// The message that is given to it.
    pub message: u64,
    /// The record's number, of those that the cipher has had.
    pub number: u64,
    /// 1: the functions are those of rustls before 0.23.
    pub older: u64,
    /// The stack pointer.
    pub stack: u64,
    /// Where in the first of its chunks the record begins.
    pub from: u64,
    /// Bytes of the record.
    pub len: u64,
    /// Where the rest of it is: the address of chunks.
    pub rest: u64,
    /// How many of them there are.
    pub rest_chunks: u64,
    /// How many bytes that is.
    pub rest_len: u64,
}

/// Bytes of the beginning that are kept.
pub const KEPT: usize = 2048;

/// What was encrypted and not sent yet.
#[repr(C)]
pub struct Kept {
    /// Its beginning.
    pub bytes: [u8; KEPT],
    /// By what.
    pub cipher: u64,
    /// How many bytes it is; 0: it was sent.
    pub len: u64,
    /// How many of them are kept.
    pub filled: u64,
}

/// A TLS session of a process: the address of what the library keeps of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsSession {
    /// The address.
    pub address: u64,
    /// The process.
    pub tgid: u32,
    /// Zero.
    pub pad: u32,
}

/// As `doubts` of a [`TlsPlace`].
pub const CERTAIN: u32 = u32::MAX;

/// Where a TLS session is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsPlace {
    /// Its socket; 0: not known yet.
    pub sk: u64,
    /// The socket's identity.
    pub born: u64,
    /// 1: the session was seen from its making on.
    pub whole: u32,
    /// How often in a row another socket seemed to be its own; [`CERTAIN`]: its own calls have used this one.
    pub doubts: u32,
    /// Bytes to be sent that were told, and that no call has said to be sent yet. A library may send a part only, or nothing for now,
    /// and be given the same bytes again.
    pub ahead: u64,
}

/// A position in the vector of a `*mmsg` call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Vector {
    /// Address of the vector.
    pub vector: u64,
    /// Its length.
    pub len: u32,
    /// The message that comes next.
    pub next: u32,
}
