//! Node.js: its event loop turns from what it has read to timers, and which callback runs on it. How that is found is described at
//! [`geophone_ebpf::node`].

use geophone_ebpf::{
    config::{RUNTIME_NODE, Runtime},
    node::{IDS, pack, whole},
    record::HANDOVER_IDLE,
    stats::Counter,
};

use crate::{emit, handover, kernel::copy_user, maps::RUNTIMES, process::Current};

/// Finds out where the event loop is: only of the main thread, others have their own.
#[inline(always)]
pub fn current(runtime: &Runtime, who: Current, turn: &mut u64) {
    let ids = runtime.at[IDS];
    if ids == 0 || who.tid != who.tgid {
        return;
    }
    // What is on the way is read into where it will be: the stack is short.
    if !follow(turn, ids) {
        return;
    }
    let running = whole(*turn);
    if !follow(turn, ids.wrapping_add(16)) {
        return;
    }
    *turn = pack(running, whole(*turn));
}

#[inline(always)]
fn follow(word: &mut u64, address: u64) -> bool {
    // SAFETY: `word` has room for it.
    let read = unsafe { copy_user((&raw mut *word).cast(), 8, address) };
    if !read {
        *word = 0;
        emit::count(Counter::TaskFault);
    }
    read
}

/// At the entry of `node::Environment::RunTimers`.
#[inline(always)]
pub fn timers() {
    let Some(who) = Current::traced() else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    if unsafe { RUNTIMES.get(who.tgid) }.is_some_and(|runtime| runtime.kind == RUNTIME_NODE) {
        handover::tell(HANDOVER_IDLE, who, (who.tgid, who.tid, 0), 0);
    }
}
