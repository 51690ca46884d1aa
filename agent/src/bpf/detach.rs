//! Leaving probes behind without waiting for them. The kernel takes some 40 ms to detach one, one after the other, during which it stops
//! nobody else; an agent that is told to end should end.

use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};

use rustix::pipe::PipeFlags;

/// Lets a process of its own hold the probes that this one is about to let go: it does nothing but wait for the end of this one, and end, and
/// what that takes is no longer waited for. Nothing else is kept open by it. Without it, the end takes longer.
pub(super) fn elsewhere() {
    let Ok((end, held)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else {
        return;
    };
    // Open until this process has ended.
    let held = held.into_raw_fd();
    let others: Vec<RawFd> = others().into_iter().filter(|fd| *fd != end.as_raw_fd()).collect();
    // SAFETY: the child makes only calls that are safe after a fork of a program with threads: `close`, `read`, `_exit`.
    unsafe {
        if libc::fork() == 0 {
            libc::close(held);
            for fd in others {
                libc::close(fd);
            }
            let mut nothing = 0u8;
            libc::read(end.as_raw_fd(), (&raw mut nothing).cast(), 1);
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
