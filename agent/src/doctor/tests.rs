//! The checks on machines that are not at hand.

use std::path::Path;

use super::*;

/// A machine where all is well.
fn good() -> Machine {
    Machine {
        release: Some("6.18.0".into()),
        btf: Btf::Tracepoints(vec![
            "sock_send_length",
            "sock_recv_length",
            "sys_enter",
            "sys_exit",
            "inet_sock_set_state",
        ]),
        capabilities: Some(u64::MAX),
        lockdown: Some("none".into()),
        user_namespace: Some(0xeffffffd),
        pid_namespace: Some(0xeffffffc),
        seccomp: Some(0),
        memlock: Some(65536),
        jit: Some(1),
        perf_event_paranoid: Some(2),
        online: Some(2),
        possible: Some(2),
        cgroup2: Some("/sys/fs/cgroup".into()),
        bpffs: None,
        uprobes: Some(8),
    }
}

fn verdicts(machine: &Machine) -> Vec<(&'static str, Verdict)> {
    let bad = |check: &Check| matches!(check.verdict, Verdict::Degraded | Verdict::Fatal);
    examine(machine).iter().filter(|check| bad(check)).map(|check| (check.name, check.verdict)).collect()
}

#[test]
fn nothing_is_wrong_with_a_good_machine() {
    assert_eq!(verdicts(&good()), []);
    assert_eq!(preflight(&good()), Ok(()));
}

#[test]
fn each_defect_is_found() {
    use Verdict::{Degraded, Fatal};
    let good = good();
    let btf = |names: &[&'static str]| Machine { btf: Btf::Tracepoints(names.to_vec()), ..good.clone() };
    let capabilities =
        |bits: &[u32]| Machine { capabilities: Some(bits.iter().map(|bit| 1 << bit).sum()), ..good.clone() };
    let [ptrace, dac, dac_read, admin, perfmon, bpf] = [19, 1, 2, 21, 38, 39];
    let cases: &[(Machine, &[(&str, Verdict)])] = &[
        (Machine { release: Some("6.5.0".into()), ..good.clone() }, &[]),
        (Machine { release: Some("6.4.16".into()), ..good.clone() }, &[("capture", Degraded)]),
        (Machine { release: Some("5.9.16".into()), ..good.clone() }, &[("kernel", Fatal), ("capture", Degraded)]),
        (
            Machine { release: Some("4.18.0-553.el8".into()), ..good.clone() },
            &[("kernel", Fatal), ("capture", Degraded)],
        ),
        (Machine { btf: Btf::Missing, ..good.clone() }, &[("BTF", Fatal)]),
        (Machine { btf: Btf::Unreadable("x".into()), ..good.clone() }, &[("BTF", Fatal)]),
        (btf(&["sys_enter", "sys_exit", "inet_sock_set_state"]), &[("capture", Degraded)]),
        (btf(&["sys_enter", "inet_sock_set_state"]), &[("capture", Fatal)]),
        (btf(&["sock_send_length", "sock_recv_length"]), &[("connections", Fatal)]),
        (Machine { uprobes: None, ..good.clone() }, &[("uprobes", Degraded)]),
        (Machine { perf_event_paranoid: None, ..good.clone() }, &[("perf events", Degraded)]),
        (Machine { lockdown: Some("integrity".into()), ..good.clone() }, &[]),
        (Machine { lockdown: Some("confidentiality".into()), ..good.clone() }, &[("lockdown", Fatal)]),
        (capabilities(&[]), &[("privileges", Fatal), ("other processes", Degraded)]),
        (capabilities(&[bpf, ptrace, dac_read]), &[("privileges", Fatal)]),
        (capabilities(&[bpf, perfmon, ptrace, dac_read]), &[]),
        (capabilities(&[bpf, perfmon, ptrace, dac]), &[]),
        (capabilities(&[admin]), &[("other processes", Degraded)]),
        (Machine { user_namespace: Some(4_026_532_000), ..good.clone() }, &[("user namespace", Fatal)]),
        (Machine { pid_namespace: Some(4_026_532_000), ..good.clone() }, &[("pid namespace", Degraded)]),
        (Machine { jit: Some(0), ..good.clone() }, &[("BPF JIT", Degraded)]),
        (
            Machine { release: Some("5.10.0".into()), ..capabilities(&[bpf, perfmon, ptrace, dac]) },
            &[("capture", Degraded), ("locked memory", Fatal)],
        ),
        (
            Machine {
                release: Some("5.10.0".into()),
                memlock: Some(u64::MAX),
                ..capabilities(&[bpf, perfmon, ptrace, dac])
            },
            &[("capture", Degraded)],
        ),
        (Machine { seccomp: Some(2), cgroup2: None, ..good.clone() }, &[]),
    ];
    for (machine, expected) in cases {
        assert_eq!(verdicts(machine), *expected, "{machine:?}");
    }
}

#[test]
fn whoever_finds_a_defect_says_what_to_do() {
    let checks = examine(&Machine::default());
    assert!(!is_ready(&checks));
    for check in checks.iter().filter(|check| matches!(check.verdict, Verdict::Fatal | Verdict::Degraded)) {
        assert!(!check.remedy.is_empty(), "{check:?}");
    }
}

#[test]
fn the_first_problem_is_one_sentence() {
    let machine = Machine { capabilities: Some(0), btf: Btf::Missing, ..good() };
    let problems = preflight(&machine).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "cannot trace on this host: privileges: CAP_BPF and CAP_PERFMON missing; run as root (sudo), or with the capabilities \
         CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    );
    assert_eq!(problems.len(), 2);
}

#[test]
fn the_table_is_aligned() {
    let checks = examine(&Machine { jit: Some(0), ..good() });
    let mut out = Vec::new();
    text(&checks, &mut out).unwrap();
    let plain = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
    let column = |line: &str, needle: &str| line.find(needle).unwrap();
    let lines: Vec<&str> = plain.lines().collect();
    let first = lines.iter().find(|line| line.contains("6.18.0")).unwrap();
    let jit = lines.iter().find(|line| line.starts_with("less")).unwrap();
    assert_eq!(column(first, "6.18.0"), column(jit, "off"));
    assert_eq!(column(first, "everything"), column(jit, "low cost"));
    assert!(plain.contains("\nBPF JIT: sysctl net.core.bpf_jit_enable=1\n"), "{plain}");
    assert!(plain.ends_with("geophone run can work here.\n"));
}

#[test]
fn json_is_an_object() {
    let mut out = Vec::new();
    json(&examine(&Machine { btf: Btf::Missing, ..good() }), &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["ready"], false);
    let btf = value["checks"].as_array().unwrap().iter().find(|check| check["name"] == "BTF").unwrap();
    assert_eq!(btf["verdict"], "fatal");
    assert_eq!(btf["found"], "no /sys/kernel/btf/vmlinux");
}

#[test]
fn reads_this_machine() {
    let machine = Machine::read(Path::new("/"));
    let own = rustix::system::uname();
    assert_eq!(machine.release.as_deref(), own.release().to_str().ok());
    assert!(machine.version().is_some() && machine.capabilities.is_some() && machine.online.is_some());
    // Not `Machine::default()`'s: read, whatever it is.
    assert_eq!(matches!(machine.btf, Btf::Missing), !Path::new("/sys/kernel/btf/vmlinux").exists());
}
