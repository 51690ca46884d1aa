//! The kernel side's counters, one array per processor. Nothing is lost without one of them.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Index of a counter in the `STATS` map.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $($(#[$doc])* $name,)* }

        /// The counters' names, in the order of [`Counter`].
        pub const NAMES: &[&str] = &[$($text,)*];
    };
}

counters! {
    /// Records written.
    Written = "written",
    /// A ring buffer was full: the record is lost.
    RingFull = "ring_full",
    /// The connection table was full: the connection is captured without a policy, a Unix connection not at all.
    MapFull = "map_full",
    /// The memory of a process could not be read: the call is known by its length only.
    ReadFault = "read_fault",
    /// A kernel structure could not be read: the call is lost.
    KernelFault = "kernel_fault",
    /// One program interrupted another on the same processor: the call is lost.
    Nested = "nested",
    /// The kernel did not run a program because it was still under way on the same processor, in a task that was preempted: what it
    /// would have seen is lost. Counted by the kernel (since 5.12), filled in by the agent.
    Missed = "missed",
    /// The same for returns of system calls: an upper bound, and most calls move no bytes. What did move bytes on TCP shows as a gap.
    MissedReturns = "missed_returns",
    /// Moved by io_uring: known by its length only.
    IoUring = "io_uring",
    /// Moved by a system call that has no readable buffer (sendfile, splice, aio, 32-bit programs): known by its length only.
    Unreadable = "unreadable",
    /// Left out because the agent said that it would not use it.
    Skipped = "skipped",
    /// The task that runs on a thread could not be read: the call, or the new task, is known without it.
    TaskFault = "task_fault",
    /// What was read as the number of a goroutine cannot be one: the call is known by its thread only.
    ImplausibleTask = "implausible_task",
    /// A Go client's request goes out, or a server's handler begins, on a connection whose socket could not be found: whose it is, is
    /// not known.
    Unclaimed = "unclaimed",
    /// A TLS library encrypted or decrypted bytes, and it is not known on which connection.
    TlsUnplaced = "tls_unplaced",
    /// A thread waited for long, and its stack was not looked at, so as not to cost too much: the wait is in no profile.
    WaitsUnseen = "waits_unseen",
    /// Microseconds of those waits.
    WaitsUnseenMicros = "waits_unseen_micros",
    /// TCP segments on which other agents were told where this one is.
    OptionsSent = "options_sent",
    /// TCP connections whose other end has told where its agent is.
    OptionsReceived = "options_received",
    /// TCP segments that had no room for that.
    OptionsNoRoom = "options_no_room",
    /// SYNs that were sent again, without it: something on the way may drop what has it.
    OptionsWithheld = "options_withheld",
    /// What was to be told could not be written: another agent has done it already, or the kernel refused.
    OptionsFailed = "options_failed",
    /// What was told is longer than it can be.
    OptionsTooLong = "options_too_long",
    /// Requests whose context left in a TCP option.
    ContextsSent = "contexts_sent",
    /// Contexts that have come in TCP options.
    ContextsReceived = "contexts_received",
    /// Requests whose first segment had no room for that.
    ContextsNoRoom = "contexts_no_room",
    /// Segments that left without it: sent again, when something on the way may drop what has it or it would not fit any more, or late,
    /// when the request may have been told already.
    ContextsWithheld = "contexts_withheld",
    /// It could not be written.
    ContextsFailed = "contexts_failed",
    /// Connections on which none are sent, because there are too many.
    ContextsFull = "contexts_full",
    /// Options that look like one, and are none.
    ContextsMalformed = "contexts_malformed",
    /// A request was given a context.
    Injected = "injected",
    /// A request was left as it is, because it carries a context.
    InjectCarried = "inject_carried",
    /// The same, because it is signed, or may be.
    InjectSigned = "inject_signed",
    /// The same, because its head is longer than what is looked at, or was not sent in one call.
    InjectIncomplete = "inject_incomplete",
    /// The same, because what was sent before has not arrived yet, or the kernel had no room for it.
    InjectBusy = "inject_busy",
    /// A connection whose later requests are left as they are, because it is not known where they begin (chunked bodies, `Expect`,
    /// upgrades, pipelining).
    InjectLost = "inject_lost",
    /// A connection that was left as it is, because what is sent on it is not HTTP/1.
    InjectOther = "inject_other",
    /// A connection that could not be enrolled.
    InjectRefused = "inject_refused",
}

/// How many counters there are.
pub const COUNT: usize = NAMES.len();
