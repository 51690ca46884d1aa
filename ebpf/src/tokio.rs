//! How the kernel side finds the tokio task that runs on a thread, and the one that is woken or started: what
//! [`Runtime::at`](crate::config::Runtime) holds.
//!
//! While a task is polled, its id is in tokio's thread-local context. Wakers and the scheduler know a task by the address of its
//! `Header`, whose table of functions ends with the offset of the task's id.

/// From the thread pointer to `Context::current_task_id`.
pub const CURRENT: usize = 0;
/// A function's first argument in the registers (`struct pt_regs`).
pub const FIRST_ARGUMENT: usize = 1;
/// Its second argument.
pub const SECOND_ARGUMENT: usize = 2;

/// `Header::vtable`.
pub const HEADER_VTABLE: u64 = 16;
/// `Vtable::id_offset`.
pub const VTABLE_ID: u64 = 72;
/// A task's id does not lie further from its header than this: scheduler and id are before the future.
pub const ID_MOST: u64 = 4096;
