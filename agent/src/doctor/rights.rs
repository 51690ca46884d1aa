//! Checks of what this process may do.

use rustix::thread::CapabilitySet;

use super::{Check, Verdict, machine::Machine};

/// Namespaces of which the first has a fixed inode: `PROC_USER_INIT_INO` and `PROC_PID_INIT_INO` of the kernel's `proc_ns.h`.
const FIRST_USER_NAMESPACE: u64 = 0xeffffffd;
const FIRST_PID_NAMESPACE: u64 = 0xeffffffc;

/// Whether it has a capability, or `CAP_SYS_ADMIN`, where the kernel takes that for it.
fn has(machine: &Machine, wanted: CapabilitySet) -> bool {
    let effective = CapabilitySet::from_bits_retain(machine.capabilities.unwrap_or(0));
    let admin = CapabilitySet::BPF | CapabilitySet::PERFMON;
    effective.contains(wanted) || (admin.contains(wanted) && effective.contains(CapabilitySet::SYS_ADMIN))
}

fn missing(machine: &Machine, wanted: &[(CapabilitySet, &str)]) -> Vec<String> {
    wanted.iter().filter(|(capability, _)| !has(machine, *capability)).map(|(_, name)| (*name).to_owned()).collect()
}

/// What kernel programs of this kind need since Linux 5.8. `CAP_SYS_ADMIN` is as good as both.
pub(super) fn tracing(machine: &Machine) -> Check {
    let wanted = [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")];
    let missing = missing(machine, &wanted);
    let needed_for = "everything: loading kernel programs that trace";
    if missing.is_empty() {
        return Check::new("privileges", needed_for, Verdict::Ok, "CAP_BPF, CAP_PERFMON");
    }
    Check::new("privileges", needed_for, Verdict::Fatal, format!("{} missing", missing.join(" and "))).remedy(
        "run as root (sudo), or with the capabilities CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
    )
}

/// Capabilities of another user namespace than the host's do not count.
pub(super) fn user_namespace(machine: &Machine) -> Check {
    let needed_for = "everything: capabilities count in the host's user namespace";
    match machine.user_namespace {
        Some(FIRST_USER_NAMESPACE) => Check::new("user namespace", needed_for, Verdict::Ok, "the host's"),
        Some(_) => Check::new("user namespace", needed_for, Verdict::Fatal, "one of its own")
            .remedy("start it outside of rootless containers and of unshare --user"),
        None => Check::new("user namespace", needed_for, Verdict::Note, "not known"),
    }
}

/// Before Linux 5.11 maps count against the limit of locked memory.
pub(super) fn memory(machine: &Machine) -> Check {
    let needed_for = "room for maps, before Linux 5.11";
    let limit = match machine.memlock {
        Some(u64::MAX) => "no limit".to_owned(),
        Some(bytes) => format!("{} KiB", bytes / 1024),
        None => "not known".to_owned(),
    };
    let counts = machine.version().is_some_and(|version| version < (5, 11));
    if !counts || machine.memlock == Some(u64::MAX) {
        Check::new("locked memory", needed_for, Verdict::Ok, limit)
    } else if has(machine, CapabilitySet::SYS_RESOURCE) {
        Check::new("locked memory", needed_for, Verdict::Ok, format!("{limit}, will be raised (CAP_SYS_RESOURCE)"))
    } else {
        Check::new("locked memory", needed_for, Verdict::Fatal, limit)
            .remedy("ulimit -l unlimited, or CAP_SYS_RESOURCE")
    }
}

/// `/proc/PID/exe` and `environ` of others: `ptrace_may_access`, and the file's mode 0400.
pub(super) fn processes(machine: &Machine) -> Check {
    let mut wanted = vec![(CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE")];
    if !has(machine, CapabilitySet::DAC_OVERRIDE) {
        wanted.push((CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"));
    }
    let missing = missing(machine, &wanted);
    let needed_for = "names, tasks, TLS and functions of services that other users run";
    if missing.is_empty() {
        return Check::new("other processes", needed_for, Verdict::Ok, "may be read");
    }
    Check::new("other processes", needed_for, Verdict::Degraded, format!("{} missing", missing.join(" and ")))
        .remedy("run as root or add the capability; without it such services are called by their command name, and their memory is not read")
}

/// Process ids that the kernel reports are the host's.
pub(super) fn pid_namespace(machine: &Machine) -> Check {
    let needed_for = "finding the process of a span";
    match machine.pid_namespace {
        Some(FIRST_PID_NAMESPACE) => Check::new("pid namespace", needed_for, Verdict::Ok, "the host's"),
        Some(_) => Check::new("pid namespace", needed_for, Verdict::Degraded, "one of its own")
            .remedy("start the container with the host's pid namespace (docker run --pid=host, or hostPID: true)"),
        None => Check::new("pid namespace", needed_for, Verdict::Note, "not known"),
    }
}

pub(super) fn seccomp(machine: &Machine) -> Check {
    let needed_for = "the system calls bpf and perf_event_open";
    match machine.seccomp {
        Some(0) => Check::new("seccomp", needed_for, Verdict::Ok, "no filter"),
        Some(_) => Check::new("seccomp", needed_for, Verdict::Note, "a filter is active")
            .remedy("if loading fails with EPERM, start the container privileged or with a profile that allows bpf"),
        None => Check::new("seccomp", needed_for, Verdict::Note, "not known"),
    }
}

/// Programs at sockets' handshakes and sends are those of a network administrator.
pub(super) fn network(machine: &Machine) -> Check {
    let found = if has(machine, CapabilitySet::NET_ADMIN) { "CAP_NET_ADMIN" } else { "no CAP_NET_ADMIN" };
    let needed_for =
        "finding other hosts' agents by handshakes, contexts in requests (--peer-discover, --inject-headers)";
    Check::new("network", needed_for, Verdict::Note, found)
}
