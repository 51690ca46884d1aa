//! Checks of what is mounted and configured.

use super::{Check, Verdict, machine::Machine};

pub(super) fn processors(machine: &Machine) -> Check {
    let needed_for = "buffers, one for each";
    let known = |count: Option<u32>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let found = format!("{} online, {} possible", known(machine.online), known(machine.possible));
    let verdict = if machine.online.is_some() && machine.possible.is_some() { Verdict::Ok } else { Verdict::Note };
    Check::new("processors", needed_for, verdict, found)
}

pub(super) fn cgroup2(machine: &Machine) -> Check {
    let needed_for = "selection by control group";
    match &machine.cgroup2 {
        Some(place) => Check::new("cgroup2", needed_for, Verdict::Ok, place.as_str()),
        None => Check::new("cgroup2", needed_for, Verdict::Note, "not mounted").remedy(
            "--cgroup then goes by the paths of version 1 hierarchies; mount -t cgroup2 none DIRECTORY has the newer",
        ),
    }
}

/// Only asked for by a flag, which says what is wrong where it is not mounted.
pub(super) fn bpffs(machine: &Machine) -> Check {
    let found = machine.bpffs.as_deref().unwrap_or("not mounted");
    Check::new("bpffs", "telling other profilers what threads work for (--share-context)", Verdict::Note, found)
}

/// Whether samples may be taken: who may load programs that trace may do so at any level of `perf_event_paranoid`.
pub(super) fn perf(machine: &Machine) -> Check {
    let needed_for = "profiles";
    match machine.perf_event_paranoid {
        Some(level) => Check::new("perf events", needed_for, Verdict::Ok, format!("perf_event_paranoid = {level}")),
        None => Check::new("perf events", needed_for, Verdict::Degraded, "no kernel.perf_event_paranoid")
            .remedy("run a kernel built with CONFIG_PERF_EVENTS=y; all but profiles works without"),
    }
}
