//! Leaving probes behind without waiting for them. The kernel takes 40 to 300 ms to detach one, one after the other, and nobody attaches one
//! meanwhile; an agent that is told to end should end, and the next one should be able to start.

use std::{
    os::fd::{AsRawFd as _, IntoRawFd as _, RawFd},
    time::{Duration, Instant},
};

use rustix::pipe::PipeFlags;

/// Between two probes, so many times as long as the one took: whoever attaches probes meanwhile finds room.
const PAUSES: u32 = 3;
/// All pauses together.
const POLITENESS: Duration = Duration::from_secs(5);

/// Lets a process of its own hold the probes that this one is about to let go: it does nothing but wait for the end of this one, and let
/// them go, and what that takes is no longer waited for. Nothing else is kept open by it. Without it, the end takes longer.
pub(super) fn elsewhere() {
    let Ok((end, held)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else {
        return;
    };
    // Open until this process has ended.
    let _ = held.into_raw_fd();
    let (probes, others): (Vec<RawFd>, Vec<RawFd>) = descriptors().into_iter().partition(|fd| is_probe(*fd));
    // SAFETY: the child makes only calls that are safe after a fork of a program with threads: `close`, `read`, `clock_gettime`,
    // `nanosleep`, `_exit`. It allocates nothing and frees nothing.
    unsafe {
        if libc::fork() == 0 {
            for fd in others.iter().filter(|fd| **fd != end.as_raw_fd()) {
                libc::close(*fd);
            }
            let mut nothing = 0u8;
            libc::read(end.as_raw_fd(), (&raw mut nothing).cast(), 1);
            let mut left = POLITENESS;
            for fd in &probes {
                let start = Instant::now();
                libc::close(*fd);
                let pause = (start.elapsed() * PAUSES).min(left);
                left = left.saturating_sub(pause);
                let pause = libc::timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
                libc::nanosleep(&raw const pause, std::ptr::null_mut());
            }
            libc::_exit(0);
        }
    }
}

fn descriptors() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether letting it go detaches a probe. The links of tracepoints take no time, and are not to outlive the agent.
fn is_probe(fd: RawFd) -> bool {
    let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    match target.to_str() {
        Some("anon_inode:[perf_event]") => true,
        Some(name) if name.starts_with("anon_inode:bpf_link") || name.starts_with("anon_inode:bpf-link") => {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
            info.lines().any(|line| line.strip_prefix("link_type:").is_some_and(|kind| kind.trim() == "perf"))
        }
        _ => false,
    }
}
