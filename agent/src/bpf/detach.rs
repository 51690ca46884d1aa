//! Leaving probes behind without waiting for them. The kernel takes some 40 ms to detach one, one after the other, during which it stops
//! nobody else; an agent that is told to end should end.

use std::os::fd::RawFd;

/// Lets a process of its own hold the probes that this one is about to let go: it does nothing but end, and what that takes is no longer
/// waited for. Nothing else is kept open by it.
pub(super) fn elsewhere() {
    let others: Vec<RawFd> = others();
    // SAFETY: the child makes only calls that are safe after a fork of a program with threads: `close` and `_exit`.
    unsafe {
        if libc::fork() == 0 {
            for fd in others {
                libc::close(fd);
            }
            libc::_exit(0);
        }
    }
}

/// Descriptors that are no probes.
fn others() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let others = entries.filter(|entry| {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        !["anon_inode:bpf", "anon_inode:[perf_event]"].iter().any(|begin| target.to_string_lossy().starts_with(begin))
    });
    others.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
