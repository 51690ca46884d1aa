//! The runtime's own task that runs on the current thread: which one, and which one started it. One file per runtime; this one
//! knows which runtime a process has.

use geophone_ebpf::config::{RUNTIME_GO, RUNTIME_JAVA, RUNTIME_NODE, RUNTIME_PYTHON, RUNTIME_TOKIO, Runtime};

use crate::{go, java, maps::RUNTIMES, node, process::Current, python, tokio};

/// Finds the task; leaves both alone where there is none, or none can be read.
#[inline(always)]
pub fn current(who: Current, task: &mut u64, parent: &mut u64) {
    // SAFETY: the map keeps the value alive while the program runs.
    let Some(runtime) = (unsafe { RUNTIMES.get(who.tgid) }) else {
        return;
    };
    by_kind(runtime, who, task, parent);
}

#[inline(always)]
fn by_kind(runtime: &Runtime, who: Current, task: &mut u64, parent: &mut u64) {
    // One line for each runtime.
    match runtime.kind {
        RUNTIME_GO => go::current(runtime, task, parent),
        RUNTIME_JAVA => java::current(runtime, task, parent),
        RUNTIME_NODE => node::current(runtime, who, parent),
        RUNTIME_PYTHON => python::current(runtime, task),
        RUNTIME_TOKIO => tokio::current(runtime, task),
        _ => {}
    }
}
