//! Processes: which of them are traced, and telling the agent of them.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns},
    programs::RawTracePointContext,
};
use geophone_ebpf::{
    config::{File, PROCESS_KNOWN, PROCESS_SAMPLED, PROCESS_SELECTED},
    record::{Kind, PROCESS_EXEC, PROCESS_EXIT, PROCESS_SEEN, Process},
    stats::Counter,
};

use crate::{
    emit, handover, inject,
    kernel::read,
    maps::{EXECUTED, INTERPRETERS, PROCESSES, RUNTIMES, USAGES, config},
    twin::{self, Occurrence},
};

/// The thread that runs, when its calls are to be looked at.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Current {
    pub tgid: u32,
    pub tid: u32,
}

impl Current {
    /// `None` for the agent itself, for kernel threads without a process, and for what was not selected.
    #[inline(always)]
    pub fn traced() -> Option<Self> {
        let id = bpf_get_current_pid_tgid();
        let current = Self { tgid: (id >> 32) as u32, tid: id as u32 };
        if current.tgid == 0 || current.tgid == config!(agent_tgid) {
            return None;
        }
        if config!(selective) != 0 && flags(current.tgid) & PROCESS_SELECTED == 0 {
            return None;
        }
        Some(current)
    }

    /// Tells the agent of this process, the first time that it uses a socket, while its `/proc` entry can be read.
    #[inline(always)]
    pub fn introduce(self) {
        let flags = flags(self.tgid);
        if flags & PROCESS_KNOWN == 0 {
            if PROCESSES.insert(self.tgid, flags | PROCESS_KNOWN, 0).is_err() {
                emit::count(Counter::MapFull);
            }
            tell(PROCESS_SEEN, self.tgid);
        }
    }
}

impl Current {
    /// Whether no sample of this process was taken before, beside tracing.
    #[inline(always)]
    pub fn is_first_sample(self) -> bool {
        let flags = flags(self.tgid);
        if flags & PROCESS_SAMPLED != 0 {
            return false;
        }
        if PROCESSES.insert(self.tgid, flags | PROCESS_SAMPLED, 0).is_err() {
            emit::count(Counter::MapFull);
        }
        true
    }
}

/// Whether the agent has been told of a process: it is traced, and uses sockets.
#[inline(always)]
pub fn is_known(tgid: u32) -> bool {
    flags(tgid) & PROCESS_KNOWN != 0
}

#[inline(always)]
fn flags(tgid: u32) -> u32 {
    // SAFETY: a copy is taken at once.
    unsafe { PROCESSES.get(tgid) }.copied().unwrap_or(0)
}

/// A clone: what is selected goes over to the child process, and perhaps what the thread works for.
#[inline(always)]
pub fn forked<const SECOND: bool>(ctx: &RawTracePointContext) {
    let id = bpf_get_current_pid_tgid();
    let (parent, tid) = ((id >> 32) as u32, id as u32);
    let before = flags(parent);
    if before == 0 || !twin::is_mine::<SECOND>(Occurrence::Process(tid)) {
        return;
    }
    let child: u64 = ctx.arg(1);
    let (Some(child_tgid), Some(child_pid)) =
        (read::<u32>(child, config!(offsets.task_tgid)), read::<u32>(child, config!(offsets.task_pid)))
    else {
        emit::count(Counter::KernelFault);
        return;
    };
    // A thread has its process's number, a process its own.
    if child_tgid == child_pid
        && before & PROCESS_SELECTED != 0
        && PROCESSES.insert(child_tgid, PROCESS_SELECTED, 0).is_err()
    {
        emit::count(Counter::MapFull);
    }
    if child_tgid == child_pid {
        inject::forked(parent, child_tgid);
    }
    if before & PROCESS_KNOWN != 0 {
        handover::cloned(parent, tid, (child_tgid, child_pid));
    }
}

/// A new program: the agent must look at the process again, and may change its mind about it. Until it has, the process is traced,
/// so that nothing is lost; the agent throws away what it did not want.
#[inline(always)]
pub fn executed<const SECOND: bool>(ctx: &RawTracePointContext) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if !twin::is_mine::<SECOND>(Occurrence::Process(tgid)) {
        return;
    }
    // Another program has another runtime, if any.
    let _ = RUNTIMES.remove(tgid);
    let _ = INTERPRETERS.remove(tgid);
    inject::forget(tgid);
    let flags = flags(tgid);
    if config!(report_exec) != 0 {
        if PROCESSES.insert(tgid, PROCESS_SELECTED, 0).is_err() {
            emit::count(Counter::MapFull);
        }
        tell(PROCESS_EXEC, tgid);
    } else if flags & (PROCESS_KNOWN | PROCESS_SAMPLED) != 0 {
        if PROCESSES.insert(tgid, flags & !(PROCESS_KNOWN | PROCESS_SAMPLED), 0).is_err() {
            emit::count(Counter::MapFull);
        }
        tell(PROCESS_EXEC, tgid);
    } else if (config!(selective) == 0 || flags & PROCESS_SELECTED != 0) && (is_new(ctx.arg(2)) || config!(inject) != 0)
    {
        // What it will need should be in place before it uses a socket.
        tell(PROCESS_EXEC, tgid);
    }
}

/// Whether the agent has not been told yet that this program's file is run, or wants to be told again.
#[inline(always)]
fn is_new(binprm: u64) -> bool {
    let file = read::<u64>(binprm, config!(offsets.binprm_file)).unwrap_or_default();
    let inode = read::<u64>(file, config!(offsets.file_inode)).unwrap_or_default();
    let sb = read::<u64>(inode, config!(offsets.inode_sb)).unwrap_or_default();
    let key = File {
        ino: read(inode, config!(offsets.inode_ino)).unwrap_or_default(),
        dev: read(sb, config!(offsets.sb_dev)).unwrap_or_default(),
        pad: 0,
    };
    // SAFETY: only whether there is an entry matters.
    if unsafe { EXECUTED.get(key) }.is_some() {
        return false;
    }
    // An LRU map: an insertion makes room for itself.
    let _ = EXECUTED.insert(key, 1, 0);
    true
}

/// The end of a process.
#[inline(always)]
pub fn exited<const SECOND: bool>(_ctx: &RawTracePointContext) {
    let id = bpf_get_current_pid_tgid();
    let tgid = (id >> 32) as u32;
    if config!(usage) != 0 {
        // Each thread for itself. It need not be there.
        let _ = USAGES.remove(id as u32);
    }
    if tgid != id as u32 || !twin::is_mine::<SECOND>(Occurrence::Process(tgid)) {
        return;
    }
    let _ = RUNTIMES.remove(tgid);
    let _ = INTERPRETERS.remove(tgid);
    inject::forget(tgid);
    let flags = flags(tgid);
    if flags != 0 {
        // It is there, so it can be removed.
        let _ = PROCESSES.remove(tgid);
        if flags & (PROCESS_KNOWN | PROCESS_SAMPLED) != 0 {
            tell(PROCESS_EXIT, tgid);
        }
    }
}

#[inline(always)]
fn tell(what: u32, tgid: u32) {
    // SAFETY: helpers without preconditions.
    let (time, task) = unsafe { (bpf_ktime_get_ns(), bpf_get_current_task()) };
    let parent = read::<u64>(task, config!(offsets.task_parent))
        .and_then(|parent| read::<u32>(parent, config!(offsets.task_tgid)))
        .unwrap_or(0);
    let record = Process {
        kind: Kind::Process as u32,
        what,
        time,
        tgid,
        parent,
        comm: bpf_get_current_comm().unwrap_or_default(),
    };
    // Urgent: a process may live for a millisecond only.
    emit::write((&raw const record).cast(), size_of::<Process>() as u64, what != PROCESS_EXIT);
}
