//! How the kernel side finds the virtual thread that runs on a thread of a Java process (HotSpot, JDK 21 and later): what
//! [`Runtime::at`](crate::config::Runtime) holds.
//!
//! Each thread of the JVM has a `JavaThread`, whose address is in thread-local memory of `libjvm.so`. Its `_vthread` is a handle: the
//! address of a word with the address of the `java.lang.Thread` that runs, which is a virtual one if its class is `VirtualThread`. The
//! collector may move the object at any time; so nothing of it is kept, and it is believed only while its class is what it should be.
//!
//! Who has started a virtual thread the JVM does not keep. Who waits for it, it does: the owner of its scope (`StructuredTaskScope`), or
//! who has called `get` of the future that it computes (`ExecutorService.submit`).

/// A value that does not apply.
pub const NONE: u64 = u64::MAX;

/// From the thread pointer to the word with the address of the `JavaThread`; or, where [`MODULE`] is not [`NONE`], to the address of
/// the table of modules' thread-local memory (`dtv`).
pub const WORD: usize = 0;
/// Offset of the module in that table, or [`NONE`].
pub const MODULE: usize = 1;
/// Offset of the word in the module's thread-local memory.
pub const MODULE_WORD: usize = 2;
/// What a `JavaThread` that runs Java code begins with: the address of its class's table of functions. Threads of the JVM itself, which
/// have another one, are shorter.
pub const VTABLE: usize = 3;
/// Offset of `JavaThread._vthread`; [`NONE`]: objects cannot be read, and [`MOUNTED`] and [`OWNER_ID`] are looked at instead.
pub const VTHREAD: usize = 4;
/// Offset of the word of an object that says its class.
pub const CLASS: usize = 5;
/// The bits of that word which do.
pub const CLASS_MASK: usize = 6;
/// What they are in a `java.lang.VirtualThread`.
pub const CLASS_VIRTUAL: usize = 7;
/// Offset of `tid` in a `java.lang.Thread`.
pub const ID: usize = 8;

/// What has to be added to a reference, when it is shifted, to make an address.
pub const OOP_BASE: usize = 9;
/// By how many bits references are shifted.
pub const OOP_SHIFT: usize = 10;
/// The bits of a word that are a reference.
pub const OOP_MASK: usize = 11;
/// Offset of `container` in a `java.lang.Thread`, or [`NONE`]: owners are not known.
pub const CONTAINER: usize = 12;
/// Offset of `owner` in a `jdk.internal.vm.StackableScope`.
pub const OWNER: usize = 13;
/// Offset of `cont` in a `java.lang.VirtualThread`, or [`NONE`]: futures are not known.
pub const CONTINUATION: usize = 14;
/// Offset of `target` in a `jdk.internal.vm.Continuation`.
pub const TARGET: usize = 15;
/// Offset of what that runs in it.
pub const RUNS: usize = 16;
/// What the class of a `java.util.concurrent.ThreadPerTaskExecutor.ThreadBoundFuture` is written as.
pub const CLASS_FUTURE: usize = 17;
/// Offset of `waiters` in a `java.util.concurrent.FutureTask`, from which that is derived.
pub const WAITERS: usize = 18;
/// Offset of `thread` in a `java.util.concurrent.FutureTask.WaitNode`.
pub const WAITER: usize = 19;
/// Offset of `JavaThread._cont_entry`, which is not 0 while a virtual thread runs.
pub const MOUNTED: usize = 20;
/// Offset of `JavaThread._monitor_owner_id`: the id of the thread that runs, a virtual one or not. Published since JDK 25.
pub const OWNER_ID: usize = 21;
