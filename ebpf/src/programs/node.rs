//! Node.js: its event loop turns from what it has read to timers.

use geophone_ebpf::{config::RUNTIME_NODE, record::HANDOVER_IDLE};

use crate::{handover, maps::RUNTIMES, process::Current};

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
