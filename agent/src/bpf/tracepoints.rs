//! The tracepoints that records come from: which programs each has, attaching them, and how often the kernel left them out. Attaching
//! to functions of processes is [`super::hooks`].

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::{
    Ebpf,
    programs::{ProgramFd, RawTracePoint, raw_trace_point::RawTracePointLink},
};
use geophone_ebpf::stats::Counter;

use super::load::{FrontEnd, LoadError};

/// The tracepoint of every system call's return.
const RETURNS: &str = "sys_exit";

/// A tracepoint with what is attached to it.
#[derive(Clone, Copy)]
struct Tracepoint {
    name: &'static str,
    first: &'static str,
    /// Does what the first was kept from doing, on kernels where that happens: see `ebpf/src/programs/twin.rs`.
    second: Option<&'static str>,
}

/// Those that watch the lives of processes: all that sampling needs.
fn of_processes() -> Vec<Tracepoint> {
    let of = |name, first, second| Tracepoint { name, first, second: Some(second) };
    vec![
        of("sched_process_fork", "process_fork", "process_fork_again"),
        of("sched_process_exec", "process_exec", "process_exec_again"),
        of("sched_process_exit", "process_exit", "process_exit_again"),
    ]
}

/// Those of a front end, in the order in which they are attached: those that watch lives come before those that move bytes.
fn of(front_end: FrontEnd) -> Vec<Tracepoint> {
    let of = |name, first, second| Tracepoint { name, first, second: Some(second) };
    let mut tracepoints = of_processes();
    tracepoints.extend([
        of("inet_sock_set_state", "socket_state", "socket_state_again"),
        // Gives hints only: what it misses is not lost.
        Tracepoint { name: "sched_waking", first: "thread_waking", second: None },
    ]);
    match front_end {
        FrontEnd::Sockets => tracepoints.extend([
            of("sock_send_length", "sock_send", "sock_send_again"),
            of("sock_recv_length", "sock_receive", "sock_receive_again"),
        ]),
        FrontEnd::Syscalls => tracepoints.push(of(RETURNS, "syscall_exit", "syscall_exit_again")),
    }
    tracepoints
}

/// The programs of the tracepoints: loaded, and attached until this is dropped.
pub(super) struct Tracepoints {
    of: Vec<(Tracepoint, Vec<ProgramFd>)>,
    twins: bool,
    links: Vec<RawTracePointLink>,
}

impl Tracepoints {
    /// Loads the programs; `twins` says that each tracepoint needs the second of its programs too. Without a front end, only those that
    /// watch processes.
    pub(super) fn load(ebpf: &mut Ebpf, front_end: Option<FrontEnd>, twins: bool) -> Result<Self, LoadError> {
        let mut loaded = Vec::new();
        for tracepoint in front_end.map_or_else(of_processes, of) {
            let mut programs = Vec::new();
            for name in names(tracepoint, twins) {
                let failed = |error| LoadError::Program { name, error };
                let program = program(ebpf, name)?;
                program.load().map_err(failed)?;
                // Its own descriptor, so that asking for it later waits for nobody.
                programs.push(program.fd().map_err(failed)?.try_clone()?);
            }
            loaded.push((tracepoint, programs));
        }
        Ok(Self { of: loaded, twins, links: Vec::new() })
    }

    /// Loads the program that sees processors turn from thread to thread, too: to be attached before those that move bytes.
    pub(super) fn watch_switches(&mut self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        let switches = Tracepoint { name: "sched_switch", first: "thread_switch", second: None };
        let failed = |error| LoadError::Program { name: switches.first, error };
        let program = program(ebpf, switches.first)?;
        program.load().map_err(failed)?;
        let descriptor = program.fd().map_err(failed)?.try_clone()?;
        self.of.insert(0, (switches, vec![descriptor]));
        Ok(())
    }

    /// Attaches them: from here on, records come.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        for (tracepoint, _) in &self.of {
            for name in names(*tracepoint, self.twins) {
                let failed = |error| LoadError::Program { name, error };
                let program = program(ebpf, name)?;
                let id = program.attach(tracepoint.name).map_err(failed)?;
                self.links.push(program.take_link(id).map_err(failed)?);
            }
        }
        Ok(())
    }

    /// How often the kernel left out all programs of a tracepoint because they were still under way on the same processor, so that nobody
    /// saw what happened: at most as often as either of them was left out. Each with its counter.
    pub(super) fn missed(&self) -> impl Iterator<Item = (Counter, u64)> {
        let watched = self.of.iter().filter(|(tracepoint, _)| tracepoint.second.is_some());
        watched.map(|(tracepoint, programs)| {
            let counter = if tracepoint.name == RETURNS { Counter::MissedReturns } else { Counter::Missed };
            (counter, programs.iter().map(misses).min().unwrap_or_default())
        })
    }
}

fn names(tracepoint: Tracepoint, twins: bool) -> impl Iterator<Item = &'static str> {
    [Some(tracepoint.first), tracepoint.second.filter(|_| twins)].into_iter().flatten()
}

fn misses(program: &ProgramFd) -> u64 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd()));
    let info = info.unwrap_or_default();
    let misses = info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok());
    misses.unwrap_or_default()
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut RawTracePoint, LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    program.try_into().map_err(|error| LoadError::Program { name, error })
}
