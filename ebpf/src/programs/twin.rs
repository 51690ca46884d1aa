//! Each tracepoint twice, on kernels that leave programs out.
//!
//! Linux 7 leaves a program out while a task that was preempted inside of it waits to go on (see `preempt.rs`), and tells
//! nobody what was missed. So there each tracepoint has a second program with the same work, which does it only when the first was left
//! out. Both would have to be under way on one processor to miss something. On other kernels the second is not even loaded.

use crate::maps::{HANDLED, config};

/// What names one occurrence of a tracepoint: nothing else with that name can occur before both programs have seen it.
#[derive(Clone, Copy)]
pub enum Occurrence {
    /// What the thread of this number does.
    Thread(u32),
    /// What becomes of this process or of one that it makes, done by a thread that may be inside of a call, too.
    Process(u32),
    /// What happens to this socket, on whatever thread: its lock is held.
    Socket(u64),
}

impl Occurrence {
    #[inline(always)]
    fn key(self) -> u64 {
        match self {
            Self::Thread(tid) => tid as u64,
            Self::Process(tid) => 1 << 32 | tid as u64,
            // A kernel address: its highest bit is set.
            Self::Socket(sk) => sk,
        }
    }
}

/// Whether it is this program that does the work for an occurrence; asked once by each, as soon as there is work to do.
#[inline(always)]
pub fn is_mine<const SECOND: bool>(occurrence: Occurrence) -> bool {
    if config!(twins) == 0 {
        return !SECOND;
    }
    let key = occurrence.key();
    if SECOND {
        // Not there: the first was left out, or had no room to say that it was there.
        HANDLED.remove(key).is_err()
    } else {
        HANDLED.insert(key, 1, 0).is_ok()
    }
}
