//! The values that capture hands to the later stages: what was seen on sockets and of processes, in time order.
//! Where they come from, the live kernel or a recording, cannot be told from them.

use std::net::{IpAddr, SocketAddr};

/// Nanoseconds of the kernel's monotonic clock (`CLOCK_MONOTONIC`).
pub type Nanos = u64;

/// A connection's end on this host: one `struct sock`. Unique while the agent runs, although the kernel reuses addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    /// Address of the `struct sock`.
    pub sock: u64,
    /// When it was first seen.
    pub born: Nanos,
}

/// The thread that made a call, and what ran on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Thread {
    /// Process (thread group).
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// The runtime's own task that ran on it, where the runtime has such and it is known how to read them.
    pub task: Task,
    /// Where the runtime's event loop was, where it is known how to read that.
    pub turn: Option<Turn>,
}

/// Where Node's event loop was. All that may call back has an id (`async_id`); they are given out in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Turn {
    /// The id of the callback that ran, modulo 2^32; 0: none, or what goes on after an `await`.
    pub running: u32,
    /// The last id that was given out, modulo 2^32.
    pub made: u32,
}

/// What a runtime runs on its threads: a goroutine, an asyncio task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Task {
    /// Its id, or its address; 0: none. One that has ended may give its address to another.
    pub id: u64,
    /// The task that started it, where the runtime keeps that; else 0.
    pub parent: u64,
}

/// Which way bytes went, seen from the process that owns the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Out of the process.
    Send,
    /// Into the process.
    Receive,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Send => Self::Receive,
            Self::Receive => Self::Send,
        }
    }
}

/// One thing that was seen.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A socket is seen for the first time. Comes before any other event of the socket, unless it was lost.
    Open(Open),
    /// A call moved bytes of a stream.
    Data(Data<'a>),
    /// A call moved a datagram.
    Datagram(Datagram<'a>),
    /// A connection changed its state.
    State(State),
    /// A process began, changed or ended.
    Process(Process),
    /// Work may have passed from one thread or task to another.
    Handover(Handover),
    /// A sample was taken of what a thread does.
    Sample(Sample),
    /// What a thread has done with its time so far, just before a call that moves bytes.
    Usage(Usage),
    /// An agent has said where it is.
    Greeted(Greeted),
    /// A context was written into a request, or will not be any more.
    Inject(Inject),
    /// A TCP option has carried a context.
    Carried(Carried),
}

impl Event<'_> {
    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Nanos {
        match self {
            Self::Open(e) => e.time,
            Self::Data(e) => e.time,
            Self::Datagram(e) => e.time,
            Self::State(e) => e.time,
            Self::Process(e) => e.time,
            Self::Handover(e) => e.time,
            Self::Sample(e) => e.time,
            Self::Usage(e) => e.time,
            Self::Greeted(e) => e.time,
            Self::Inject(e) => e.time,
            Self::Carried(e) => e.time,
        }
    }
}

/// The two ends of a connection, as this side names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// TCP.
    Inet {
        /// This side.
        local: SocketAddr,
        /// The peer.
        remote: SocketAddr,
    },
    /// A Unix stream socket.
    Unix {
        /// The path that the listening side is bound to; a leading `@` stands for the abstract namespace; empty when it has none.
        path: Box<str>,
        /// The peer's `struct sock`.
        peer: u64,
    },
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Not known: older than the agent, or a Unix socket.
    #[default]
    Unknown,
    /// This side called `connect`.
    Connect,
    /// This side called `accept`.
    Accept,
}

/// A socket seen for the first time.
#[derive(Clone, Debug)]
pub struct Open {
    /// When.
    pub time: Nanos,
    /// Which socket.
    pub socket: SocketId,
    /// Who used it; thread group 0 when it was not seen in a call of its owner.
    pub thread: Thread,
    /// Its addresses.
    pub endpoints: Endpoints,
    /// Who opened it.
    pub role: Role,
    /// Inode of its network namespace.
    pub netns: u32,
    /// TCP: what names the connection on both of its ends.
    pub sequences: Option<Sequences>,
}

/// The TCP sequence numbers of the first byte of each direction. Address translation keeps them, so both ends of a connection know
/// it by the same two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequences {
    /// Of the first byte that this side sends.
    pub sent: u32,
    /// Of the first byte that this side receives.
    pub received: u32,
}

/// The agent at the other end of a new TCP connection has said in an option where it is, or somebody who pretends to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeted {
    /// When.
    pub time: Nanos,
    /// Which side of the connection this is.
    pub role: Role,
    /// The other end.
    pub remote: IpAddr,
    /// What names the connection on this end.
    pub sequences: Sequences,
    /// The option, as it came.
    pub option: Box<[u8]>,
}

/// A call that moved `len` bytes at `offset` of one direction of a stream; some of them were captured.
#[derive(Clone, Debug)]
pub struct Data<'a> {
    /// When the call returned.
    pub time: Nanos,
    /// Which socket.
    pub socket: SocketId,
    /// Who made the call.
    pub thread: Thread,
    /// Which way.
    pub direction: Direction,
    /// Position of the first byte moved. Counts from the beginning of the stream, or, when `relative`, from when the socket was first seen.
    pub offset: u64,
    /// Bytes moved. 0 with `end`.
    pub len: u32,
    /// Where in the call `bytes` begin; what is before was left out on purpose.
    pub skipped: u32,
    /// What was captured: `bytes.len() <= len - skipped`.
    pub bytes: &'a [u8],
    /// `offset` is relative: whether there was an earlier byte is not known.
    pub relative: bool,
    /// The peer has closed its direction.
    pub end: bool,
    /// These are bytes that a TLS library has decrypted or will encrypt, and `offset` counts such bytes. Where one call of a connection
    /// is, all later ones are.
    pub decrypted: bool,
    /// Of decrypted bytes: the position on the socket where the TLS record begins of which they are the first bytes. Both ends of a
    /// connection know the same, whenever they began to look. `None` where they begin elsewhere, or it is not known.
    pub wire: Option<u64>,
}

/// A datagram that was sent or received, and that may be DNS by its ports.
#[derive(Clone, Debug)]
pub struct Datagram<'a> {
    /// When the call returned.
    pub time: Nanos,
    /// Which socket: `born` is no time here, but tells it from others as far as its own port does.
    pub socket: SocketId,
    /// Who made the call.
    pub thread: Thread,
    /// Which way.
    pub direction: Direction,
    /// This side; an address that is not specified is any of this host's.
    pub local: SocketAddr,
    /// The other side, where the socket is connected to it, or the call names it.
    pub remote: Option<SocketAddr>,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Its length.
    pub len: u32,
    /// What was captured, from the beginning: `bytes.len() <= len`.
    pub bytes: &'a [u8],
}

/// A change of a connection's state.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// When.
    pub time: Nanos,
    /// Which socket.
    pub socket: SocketId,
    /// What happened.
    pub change: Change,
    /// The errno (`ECONNRESET`, ...) that goes with it, or 0.
    pub error: i32,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is open in both directions.
    Established,
    /// This side will send no more.
    SendClosed,
    /// TCP is done with it (its other end has closed or reset it, and so has this one, or need not), but the process still holds
    /// the socket and may read what is queued: more [`Data`] may come, and then [`Change::Closed`] or `Data.end`, or nothing.
    Draining,
    /// It is over; the socket's address may be used again.
    Closed,
}

/// A change in the life of a process.
#[derive(Clone, Debug)]
pub struct Process {
    /// When.
    pub time: Nanos,
    /// The process.
    pub tgid: u32,
    /// Its parent, 0 where not known.
    pub parent: u32,
    /// What happened.
    pub what: Life,
    /// Its command name (`/proc/PID/comm`).
    pub comm: Box<str>,
}

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Cloned from its parent.
    Fork,
    /// Runs a new program.
    Exec,
    /// Has ended.
    Exit,
    /// Uses a socket for the first time.
    Seen,
}

/// A sample was taken of what a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub time: Nanos,
    /// The thread.
    pub thread: Thread,
}

/// What a thread has done with its time since it was first looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When.
    pub time: Nanos,
    /// Its process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Since when it is looked at: tells it from an earlier one of the same number.
    pub since: Nanos,
    /// How much of what.
    pub spent: Spent,
}

/// What time was spent with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// On a processor.
    pub cpu: Nanos,
    /// Waiting for another thread (futex).
    pub lock: Nanos,
    /// Waiting for a disk.
    pub disk: Nanos,
    /// Waiting for the other end of a connection.
    pub network: Nanos,
    /// Waiting until some time has passed.
    pub sleep: Nanos,
    /// Ready to run, waiting for a processor.
    pub run_queue: Nanos,
}

impl Spent {
    fn with(self, other: Self, each: impl Fn(Nanos, Nanos) -> Nanos) -> Self {
        Self {
            cpu: each(self.cpu, other.cpu),
            lock: each(self.lock, other.lock),
            disk: each(self.disk, other.disk),
            network: each(self.network, other.network),
            sleep: each(self.sleep, other.sleep),
            run_queue: each(self.run_queue, other.run_queue),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, Nanos::saturating_add)
    }

    /// The larger of both, each by itself.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        self.with(other, Nanos::max)
    }

    /// What has come since it was `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.with(earlier, Nanos::saturating_sub)
    }
}

/// What became of a connection into whose requests contexts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inject {
    /// When.
    pub time: Nanos,
    /// Address of the `struct sock`.
    pub sock: u64,
    /// The process that sends.
    pub tgid: u32,
    /// What was written into the request that is sent next; `None`: nothing will be any more.
    pub context: Option<Injected>,
}

/// A context as it was written into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Position in the stream where it was put.
    pub at: u64,
    /// Trace id.
    pub trace: [u8; 16],
    /// Span id.
    pub span: [u8; 8],
    /// Trace flags.
    pub flags: u8,
}

/// A TCP option has carried the context of a request, which will be seen soon if it is one. What has come may have been made by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// When.
    pub time: Nanos,
    /// Whether it left this host, or has come to it.
    pub direction: Direction,
    /// Sequence number of the first byte that the answering side sends.
    pub answers: u32,
    /// Sequence number of the request's first byte.
    pub request: u32,
    /// Trace id.
    pub trace: [u8; 16],
    /// Span id.
    pub span: [u8; 8],
    /// Trace flags.
    pub flags: u8,
}

/// Work may have passed from one thread or task to another, inside of a process or to its child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    /// When.
    pub time: Nanos,
    /// Who hands over.
    pub from: Thread,
    /// To whom; thread 0 where that is a task which no thread runs yet.
    pub to: Thread,
    /// How.
    pub how: How,
}

/// How work may pass from one thread or task to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `from` has cloned `to`: a new thread, or the first one of a new process.
    Clone,
    /// `from` has woken `to`, by the futex at this address, or by an eventfd or pipe (0).
    Wake(u64),
    /// The runtime has started the task `to` while `from` ran.
    Spawn,
    /// `from` leaves `to` to the threads of a pool: something to be done, as a task of its own.
    Submit,
    /// `from` is about to have a request sent on its behalf, whoever sends it.
    Claim {
        /// The `struct sock` of its connection.
        sock: u64,
        /// The stream of HTTP/2; 0: the next request on the connection.
        place: u64,
    },
    /// `from` begins to serve a request that another one has read.
    Serve {
        /// The `struct sock` of its connection.
        sock: u64,
        /// The stream of HTTP/2.
        place: u64,
    },
    /// `from` opens a connection, on the socket with this `struct sock`.
    Connect(u64),
    /// The event loop on `from` turns to something else than what it has read last.
    Idle,
    /// `from` is about to start a task that will send a request, and will say itself who has started it.
    Delegate,
    /// The event loop on `from` turns to what it has read for a stream of HTTP/2. Sessions are told by their addresses in the process.
    Turn {
        /// The session.
        session: u64,
        /// The stream; 0: none in particular.
        place: u64,
    },
    /// The same, and the stream begins, with a request; or the session itself.
    Begin {
        /// The session.
        session: u64,
        /// The stream; 0: it is the session that begins.
        place: u64,
        /// At which address the process keeps it.
        stream: u64,
    },
    /// The event loop on `from` makes a request, which its session will send later.
    Request {
        /// The session.
        session: u64,
        /// The stream.
        place: u64,
    },
    /// The event loop on `from` answers a request, which its session will send later.
    Respond {
        /// At which address the process keeps the stream.
        stream: u64,
    },
}
