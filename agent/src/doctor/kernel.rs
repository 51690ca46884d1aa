//! Checks of the kernel itself.

use super::{
    Check, Verdict,
    machine::{Btf, Machine},
};

/// The oldest kernel that the programs are made for.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn release(machine: &Machine) -> Check {
    let (verdict, remedy) = match machine.version() {
        Some(version) if version >= OLDEST => (Verdict::Ok, ""),
        Some(_) => (Verdict::Fatal, "upgrade to Linux 5.10 or later"),
        None => (Verdict::Note, ""),
    };
    let found = machine.release.clone().unwrap_or_else(|| "not known".into());
    Check::new("kernel", "everything: Linux 5.10 or later", verdict, found).remedy(remedy)
}

pub(super) fn btf(machine: &Machine) -> Check {
    let (verdict, found, remedy) = match &machine.btf {
        Btf::Tracepoints(_) => (Verdict::Ok, "/sys/kernel/btf/vmlinux".to_owned(), ""),
        Btf::Missing => (
            Verdict::Fatal,
            "no /sys/kernel/btf/vmlinux".to_owned(),
            "run a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount /sys",
        ),
        Btf::Unreadable(why) => (
            Verdict::Fatal,
            format!("/sys/kernel/btf/vmlinux: {why}"),
            "make it readable (mode 0444 is the kernel's default)",
        ),
    };
    Check::new("BTF", "where the fields of sockets are in this kernel", verdict, found).remedy(remedy)
}

pub(super) fn lockdown(machine: &Machine) -> Check {
    let mode = machine.lockdown.as_deref();
    let check = Check::new(
        "lockdown",
        "reading sockets' addresses",
        if mode == Some("confidentiality") { Verdict::Fatal } else { Verdict::Ok },
        mode.unwrap_or("none"),
    );
    if check.verdict == Verdict::Fatal {
        return check.remedy("boot with lockdown=integrity: in this mode no program may read the kernel's memory");
    }
    check
}

/// Which hooks see the bytes.
pub(super) fn capture(machine: &Machine) -> Check {
    let has = |names: &[&str]| match &machine.btf {
        Btf::Tracepoints(found) => names.iter().all(|name| found.contains(name)),
        _ => false,
    };
    let needed_for = "seeing the bytes of sockets at the lowest cost: Linux 6.5 or later";
    // Two versions have the tracepoints, but not yet a sendfile that goes through them.
    let complete = machine.version().is_some_and(|version| version >= (6, 5));
    if complete && has(&["sock_send_length", "sock_recv_length"]) {
        Check::new("capture", needed_for, Verdict::Ok, "socket tracepoints")
    } else if has(&["sys_enter", "sys_exit"]) {
        Check::new("capture", needed_for, Verdict::Degraded, "system calls")
            .remedy("all is seen, at about twice the cost; Linux 6.5 or later does better")
    } else if matches!(machine.btf, Btf::Tracepoints(_)) {
        Check::new("capture", needed_for, Verdict::Fatal, "neither socket nor system-call tracepoints")
            .remedy("run a kernel built with CONFIG_FTRACE_SYSCALLS=y, or Linux 6.5 or later")
    } else {
        // What is missing is BTF, which says so itself.
        Check::new("capture", needed_for, Verdict::Note, "not known without BTF")
    }
}

/// Whether the life of connections is seen.
pub(super) fn connections(machine: &Machine) -> Check {
    let needed_for = "exact beginning and end of TCP connections";
    match &machine.btf {
        Btf::Tracepoints(found) if found.contains(&"inet_sock_set_state") => {
            Check::new("connections", needed_for, Verdict::Ok, "inet_sock_set_state")
        }
        Btf::Tracepoints(_) => {
            Check::new("connections", needed_for, Verdict::Fatal, "no tracepoint inet_sock_set_state")
                .remedy("run a kernel built with CONFIG_INET=y and CONFIG_TRACEPOINTS=y")
        }
        _ => Check::new("connections", needed_for, Verdict::Note, "not known without BTF"),
    }
}

/// Whether programs can be attached to functions of processes.
pub(super) fn uprobes(machine: &Machine) -> Check {
    let needed_for = "what is said inside of TLS; tasks of Go, tokio and Node";
    match machine.uprobes {
        Some(_) => Check::new("uprobes", needed_for, Verdict::Ok, "can be attached"),
        None => Check::new("uprobes", needed_for, Verdict::Degraded, "no /sys/bus/event_source/devices/uprobe")
            .remedy("run a kernel built with CONFIG_UPROBE_EVENTS=y, and mount /sys; all else works without"),
    }
}

pub(super) fn jit(machine: &Machine) -> Check {
    let needed_for = "low cost: without it programs are interpreted";
    match machine.jit {
        Some(0) => {
            Check::new("BPF JIT", needed_for, Verdict::Degraded, "off").remedy("sysctl net.core.bpf_jit_enable=1")
        }
        Some(_) => Check::new("BPF JIT", needed_for, Verdict::Ok, "on"),
        // A kernel with CONFIG_BPF_JIT_ALWAYS_ON still has the file; one network namespace inside another has not.
        None => Check::new("BPF JIT", needed_for, Verdict::Note, "not known"),
    }
}
