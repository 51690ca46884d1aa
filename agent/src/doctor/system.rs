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

/// Not needed: programs are attached through the system call alone.
pub(super) fn tracefs(machine: &Machine) -> Check {
    let found = machine.tracefs.as_deref().unwrap_or("not mounted");
    Check::new("tracefs", "nothing yet (later: classic tracepoints)", Verdict::Note, found)
}

/// Not needed: nothing is pinned, so that nothing is left behind.
pub(super) fn bpffs(machine: &Machine) -> Check {
    let found = machine.bpffs.as_deref().unwrap_or("not mounted");
    Check::new("bpffs", "nothing: no program is pinned", Verdict::Note, found)
}

pub(super) fn perf(machine: &Machine) -> Check {
    let found = machine
        .perf_event_paranoid
        .map_or_else(|| "not known".to_owned(), |level| format!("perf_event_paranoid = {level}"));
    Check::new("perf events", "nothing yet (later: profiles; CAP_PERFMON overrules it)", Verdict::Note, found)
}
