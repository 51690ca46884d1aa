//! What there is to look at: read once, plain values, so that every check can be tried on a machine that is not at hand.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use crate::process::mounted;

/// What the kernel says of its own types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Btf {
    /// There is no `/sys/kernel/btf/vmlinux`.
    #[default]
    Missing,
    /// It cannot be read.
    Unreadable(String),
    /// It can, and it knows these of the tracepoints that are of interest.
    Tracepoints(Vec<&'static str>),
}

/// Raw tracepoints that are looked for.
const TRACEPOINTS: &[&str] = &["sock_send_length", "sock_recv_length", "sys_enter", "sys_exit", "inet_sock_set_state"];

/// A machine, as far as tracing is concerned, and what this process may do on it. `None` is what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Kernel release, as `uname -r` says it.
    pub release: Option<String>,
    /// Types of the kernel.
    pub btf: Btf,
    /// Effective capabilities, as a bit set.
    pub capabilities: Option<u64>,
    /// Lockdown mode: `none`, `integrity`, `confidentiality`.
    pub lockdown: Option<String>,
    /// Inode of this process's user namespace.
    pub user_namespace: Option<u64>,
    /// Inode of this process's pid namespace.
    pub pid_namespace: Option<u64>,
    /// 0: no filter; 1: strict; 2: a filter decides on system calls.
    pub seccomp: Option<u32>,
    /// Bytes that may be locked into memory; `u64::MAX` when without limit.
    pub memlock: Option<u64>,
    /// `net.core.bpf_jit_enable`.
    pub jit: Option<u32>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// Processors that are online.
    pub online: Option<u32>,
    /// Processors that there could be: the kernel makes room for each.
    pub possible: Option<u32>,
    /// Where the unified hierarchy of control groups is mounted.
    pub cgroup2: Option<String>,
    /// Where the BPF file system is mounted.
    pub bpffs: Option<String>,
    /// The kernel's number for events at functions of processes.
    pub uprobes: Option<u32>,
}

impl Machine {
    /// Looks at the machine whose root directory this is: `/`, except in tests.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let text =
            |path: &str| bounded(&root.join(path), 1 << 20).ok().map(|b| String::from_utf8_lossy(&b).into_owned());
        let word = |path: &str| text(path).map(|t| t.trim().to_owned());
        let namespace = |path: &str| {
            let link = std::fs::read_link(root.join(path)).ok()?;
            link.to_str()?.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
        };
        let status = text("proc/self/status").unwrap_or_default();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let mounts = text("proc/self/mountinfo").unwrap_or_default();
        let mounted = |kind: &str| mounted(&mounts, kind).map(str::to_owned);
        Self {
            release: word("proc/sys/kernel/osrelease"),
            btf: btf(&root.join("sys/kernel/btf/vmlinux")),
            capabilities: field("CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok()),
            lockdown: text("sys/kernel/security/lockdown").and_then(|modes| {
                // `none [integrity] confidentiality`
                Some(modes.split_once('[')?.1.split_once(']')?.0.to_owned())
            }),
            user_namespace: namespace("proc/self/ns/user"),
            pid_namespace: namespace("proc/self/ns/pid"),
            seccomp: field("Seccomp").and_then(|mode| mode.parse().ok()),
            memlock: text("proc/self/limits").and_then(|limits| {
                let soft = limits
                    .lines()
                    .find_map(|line| line.strip_prefix("Max locked memory"))?
                    .split_whitespace()
                    .next()?
                    .to_owned();
                if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
            }),
            jit: word("proc/sys/net/core/bpf_jit_enable").and_then(|t| t.parse().ok()),
            perf_event_paranoid: word("proc/sys/kernel/perf_event_paranoid").and_then(|t| t.parse().ok()),
            online: word("sys/devices/system/cpu/online").and_then(|list| count(&list)),
            possible: word("sys/devices/system/cpu/possible").and_then(|list| count(&list)),
            cgroup2: mounted("cgroup2"),
            bpffs: mounted("bpf"),
            uprobes: word("sys/bus/event_source/devices/uprobe/type").and_then(|t| t.parse().ok()),
        }
    }

    /// The kernel's version and patch level.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.as_deref()?.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

fn bounded(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn btf(path: &Path) -> Btf {
    // 5 MB on common kernels.
    let bytes = match bounded(path, 256 << 20) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Btf::Missing,
        Err(e) => return Btf::Unreadable(e.to_string()),
    };
    // `struct btf_header.magic`.
    if !bytes.starts_with(&0xeb9f_u16.to_ne_bytes()) {
        return Btf::Unreadable("is no BTF".into());
    }
    // Each raw tracepoint has a type `btf_trace_<name>`; all names are in one section, with a zero byte after each.
    let mut found = vec![];
    for string in bytes.split(|b| *b == 0) {
        let Some(name) = string.strip_prefix(b"btf_trace_") else {
            continue;
        };
        found.extend(TRACEPOINTS.iter().filter(|wanted| wanted.as_bytes() == name));
    }
    Btf::Tracepoints(found)
}

/// How many a list such as `0-3,8` names.
fn count(list: &str) -> Option<u32> {
    list.split(',').try_fold(0_u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn reads_a_root() {
        let root = tempfile::tempdir().unwrap();
        let strings =
            [0xeb9f_u16.to_ne_bytes().as_slice(), b"\0\0btf_trace_sys_enter\0btf_trace_sys_enter_x\0sys_exit\0"]
                .concat();
        let files: &[(&str, &[u8])] = &[
            ("proc/sys/kernel/osrelease", b"5.10.0-32-amd64\n"),
            ("proc/self/status", b"Name:\tx\nCapEff:\t000001fffeffffff\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
            (
                "proc/self/limits",
                b"Limit  Soft Limit\nMax locked memory         65536                65536                bytes     \n",
            ),
            (
                "proc/self/mountinfo",
                b"22 25 0:20 / /b rw - bpf bpf rw\n23 25 0:21 / /c rw - cgroup cgroup rw\n\
                    24 25 0:22 / /u rw - cgroup2 cgroup2 rw\n",
            ),
            ("proc/sys/net/core/bpf_jit_enable", b"1\n"),
            ("proc/sys/kernel/perf_event_paranoid", b"-1\n"),
            ("sys/bus/event_source/devices/uprobe/type", b"8\n"),
            ("sys/devices/system/cpu/online", b"0-2,7\n"),
            ("sys/devices/system/cpu/possible", b"0-127\n"),
            ("sys/kernel/security/lockdown", b"none [integrity] confidentiality\n"),
            ("sys/kernel/btf/vmlinux", &strings),
        ];
        for (path, bytes) in files {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), bytes).unwrap();
        }
        fs::create_dir(root.path().join("proc/self/ns")).unwrap();
        symlink("pid:[4026531836]", root.path().join("proc/self/ns/pid")).unwrap();
        let machine = Machine::read(root.path());
        assert_eq!(machine.version(), Some((5, 10)));
        let expected = Machine {
            release: Some("5.10.0-32-amd64".into()),
            btf: Btf::Tracepoints(vec!["sys_enter"]),
            capabilities: Some(0x1ff_feff_ffff),
            lockdown: Some("integrity".into()),
            user_namespace: None,
            pid_namespace: Some(4_026_531_836),
            seccomp: Some(2),
            memlock: Some(65536),
            jit: Some(1),
            perf_event_paranoid: Some(-1),
            online: Some(4),
            possible: Some(128),
            cgroup2: Some("/u".into()),
            bpffs: Some("/b".into()),
            uprobes: Some(8),
        };
        assert_eq!(machine, expected);
    }

    #[test]
    fn an_empty_root_says_nothing() {
        assert_eq!(Machine::read(tempfile::tempdir().unwrap().path()), Machine::default());
    }

    #[test]
    fn lists_of_processors() {
        for (list, expected) in [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-1,4,6-7", Some(5)),
            ("", None),
            ("3-1", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(count(list), expected, "{list}");
        }
    }

    #[test]
    fn versions() {
        for (release, expected) in [("6.18.44-fc-v445", Some((6, 18))), ("5.4", Some((5, 4))), ("x", None), ("6", None)]
        {
            assert_eq!(
                Machine { release: Some(release.into()), ..Machine::default() }.version(),
                expected,
                "{release}"
            );
        }
    }
}
