//! How the kernel side finds the asyncio task that runs on a thread of a CPython process: what [`Runtime::at`](crate::config::Runtime)
//! holds, and the layout of CPython's dicts, which is the same in all versions that are read in this way (3.8 to 3.13).
//!
//! Greenlets (gevent, eventlet) have no number, but from 3.11 on each has a stack of its own for its frames, in chunks of which each has the
//! address of the one before, first (`_PyStackChunk.previous`). The address of the lowest one names the greenlet while it lives.
//!
//! Threads of pools work for others. A frame at the bottom of such a thread's holds what it has been given, in a local variable: that of
//! `concurrent.futures.thread._worker` a `_WorkItem`, which is a task of its own, and whose beginning is seen where it is put into the pool's
//! queue; that of anyio's `WorkerThread.run` the future that an asyncio task awaits, for which it works.
//!
//! Each thread has a `PyThreadState`, whose address is in thread-local memory. From 3.14 on the running task is in it. Before, it is
//! in the dict `_asyncio._current_tasks`, by loop.

/// An index or offset that does not apply.
pub const NONE: u64 = u64::MAX;

/// From the thread pointer to a word of thread-local memory.
pub const THREAD_WORD: usize = 0;
/// That word is the address of a table, in which the thread state is at this offset; [`NONE`]: the word is the thread state.
pub const THREAD_TABLE: usize = 1;
/// Address of the dict of running tasks; 0: there is none to be looked at.
pub const TASKS: usize = 2;
/// `PyThreadState.context`.
pub const CONTEXT: usize = 3;
/// `TaskObj.task_context`.
pub const TASK_CONTEXT: usize = 4;
/// 1 where a dict's keys have the layout of 3.10 and before.
pub const OLD_KEYS: usize = 5;
/// `_PyThreadStateImpl.asyncio_running_task`, or [`NONE`].
pub const RUNNING_TASK: usize = 6;
/// A function's first argument in the registers (`struct pt_regs`).
pub const FIRST_ARGUMENT: usize = 7;

/// `PyThreadState.datastack_chunk`, or [`NONE`]: there are no greenlets, or they cannot be told from each other.
pub const STACK_CHUNK: usize = 8;
/// Chunks of a stack that are looked at: of 16 KiB at least, each for some 30 calls.
pub const CHUNKS: u64 = 48;

/// In a thread's state, its innermost frame; with [`FRAME_OF_CHAIN`], a record that has its address.
pub const FRAME_OF_STATE: usize = 9;
/// In that record, the innermost frame, or [`NONE`]: there is none.
pub const FRAME_OF_CHAIN: usize = 10;
/// In a frame, its caller's.
pub const FRAME_PREVIOUS: usize = 11;
/// In a frame, the code object.
pub const FRAME_CODE: usize = 12;
/// The code of `concurrent.futures.thread._worker`; 0: it is not looked for.
pub const ITEM_CODE: usize = 13;
/// In its frame, the variable that holds the item.
pub const ITEM_LOCAL: usize = 14;
/// The class `concurrent.futures.thread._WorkItem`.
pub const ITEM_CLASS: usize = 15;
/// The code of `WorkerThread.run` in `anyio._backends._asyncio`; 0: it is not looked for.
pub const FUTURE_CODE: usize = 16;
/// In its frame, the variable that holds the future.
pub const FUTURE_LOCAL: usize = 17;
/// The class `_asyncio.Task`.
pub const TASK_CLASS: usize = 18;
/// The code of functions that run an event loop, up to [`LOOPS`] of them, or 0: what is called by those is not for what the thread was given.
pub const LOOP_CODE: usize = 19;
/// See [`LOOP_CODE`].
pub const LOOPS: usize = 3;
/// A function's second argument in the registers (`struct pt_regs`).
pub const SECOND_ARGUMENT: usize = 22;

/// Flags in the lowest bits of addresses that frames hold, since 3.14.
pub const FLAGS: u64 = 7;
/// An object's type.
pub const OBJECT_TYPE: u64 = 8;
/// `FutureObj.fut_callback0`, the first that is to be called.
pub const FUTURE_CALLBACK: u64 = 24;
/// In what wakes a task: the task. `TaskWakeupMethWrapper.ww_task` and `PyCFunctionObject.m_self`, by version.
pub const WAKES: [u64; 2] = [24, 16];

/// Frames that are looked at, from the innermost on.
pub const FRAMES: u32 = 256;
/// Nanoseconds for which it counts that a thread has none of these frames, at first, for it may be beginning; each time twice as long.
pub const FIRST_LOOK: u64 = 64_000;
/// The same, and for one that it has, at most.
pub const LAST_LOOK: u64 = 1_000_000_000;

/// `PyDictObject.ma_used`: entries that are not deleted.
pub const DICT_USED: u64 = 16;
/// `PyDictObject.ma_keys`.
pub const DICT_KEYS: u64 = 32;

/// Four small fields of `PyDictKeysObject`: `dk_log2_size`, `dk_log2_index_bytes` (bytes between header and entries), `dk_kind`.
pub const KEYS_LOG2: u64 = 8;
/// `PyDictKeysObject.dk_nentries`: entries, deleted ones too.
pub const KEYS_ENTRIES: u64 = 24;
/// Its header.
pub const KEYS_HEADER: u64 = 32;

/// Up to 3.10: `PyDictKeysObject.dk_size`, as many bytes are between header and entries (less than 256).
pub const OLD_KEYS_SIZE: u64 = 8;
/// Up to 3.10: `PyDictKeysObject.dk_nentries`.
pub const OLD_KEYS_ENTRIES: u64 = 32;
/// Up to 3.10: its header.
pub const OLD_KEYS_HEADER: u64 = 40;

/// `PyDictKeyEntry`: hash, key, value.
pub const ENTRY_SIZE: u64 = 24;
/// `PyDictKeyEntry.me_value`.
pub const ENTRY_VALUE: u64 = 16;

/// Entries that are looked at. CPython's smallest dict has 5; it grows only with the number of loops that run tasks at once.
pub const ENTRIES_SEARCHED: u64 = 10;
