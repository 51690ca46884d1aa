//! Loading: configures the programs for this kernel, loads and attaches them, and is the handle to them while they run. When it
//! is dropped, nothing is left in the kernel.

use std::{io, path::Path, time::Duration};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray},
    programs::{ProgramError, perf_event::PerfEventLink, sock_ops::SockOpsLink},
};
use aya_log::EbpfLogger;
use geophone_ebpf::{
    config::{CAPTURE_MAX, Config, DNS_PORTS, PROCESS_SELECTED},
    greeting::Greeting,
    stats,
};
use thiserror::Error;

use super::{
    Counters,
    btf::{Btf, BtfError},
    greeter::{self, GreetError},
    hooks::{self, FileKey, Hooks, RuntimeValue},
    inject::{self, InjectError, Injection},
    offsets,
    policy::Policies,
    preempt,
    rings::Rings,
    sampler, serving,
    tables::Tables,
    tracepoints::Tracepoints,
};
use crate::{
    event::{Direction, Nanos, SocketId},
    protocol::Interest,
};

/// The kernel programs, compiled from `ebpf/`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf/prebuilt/geophone.bpf.o");

/// Where bytes are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FrontEnd {
    /// At the tracepoints of sockets: Linux 6.5 and later. What is no socket costs nothing.
    Sockets,
    /// At the return of system calls: any kernel from 5.10 on.
    Syscalls,
}

impl FrontEnd {
    /// The better one of those that this kernel offers.
    #[must_use]
    pub fn best(btf: &Btf) -> Self {
        // The tracepoints are older (6.3), but sendfile goes through them only since it uses sendmsg (6.5), which brought this
        // flag's user, `splice_to_socket`.
        if btf.has("btf_trace_sock_send_length") && btf.has("splice_to_socket") {
            Self::Sockets
        } else {
            Self::Syscalls
        }
    }
}

impl std::fmt::Display for FrontEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sockets => "socket tracepoints",
            Self::Syscalls => "system calls",
        })
    }
}

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Force a front end; `None` takes the better one.
    pub front_end: Option<FrontEnd>,
    /// Bytes copied of each call, at most 16 KiB.
    pub capture: u32,
    /// Bytes of each processor's ring, rounded up to a power of two of at least a page; `None`: see [`ring_bytes`].
    pub ring_bytes: Option<u32>,
    /// Connections that the kernel side can know at a time.
    pub max_connections: u32,
    /// Only processes marked by [`Kernel::select`] are traced.
    pub selective: bool,
    /// Report each exec, because what is selected depends on the program.
    pub report_exec: bool,
    /// Only connections with one of these ports are traced; empty: all.
    pub ports: Vec<u16>,
    /// Datagrams from or to these ports may be DNS; where `ports` are given, it is those.
    pub dns_ports: [u16; DNS_PORTS],
    /// Let the programs log.
    pub debug: bool,
    /// Samples a second on each processor beside all that, if any: see [`Kernel::start_sampling`].
    pub sampling: Option<u32>,
    /// Count for how long threads that move bytes run, and what they wait for.
    pub usage: bool,
    /// Agents are to find each other by a TCP option: see [`Kernel::greet`].
    pub greets: bool,
    /// Carry contexts in TCP options, once [`Kernel::greet`] has been called; what the trace ids of requests that come without one are made of.
    pub contexts: Option<[u32; 4]>,
    /// Write contexts into requests of the processes marked by [`Kernel::choose`].
    pub inject: Option<Inject>,
}

/// How contexts are written into requests.
#[derive(Clone, Copy, Debug)]
pub struct Inject {
    /// What the trace ids of requests that come without one are made of.
    pub key: [u32; 4],
    /// Also where this breaks `FIONREAD`.
    pub unsafe_too: bool,
}

/// Why loading failed.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No type information.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// Sockets were asked for on a kernel that is too old for them.
    #[error(
        "this kernel is too old for --capture sockets, which needs Linux 6.5: use --capture syscalls, or leave it out"
    )]
    NoSocketTracepoints,
    /// The kernel refused a program or map.
    #[error("the kernel refused the program: {0}")]
    Ebpf(#[from] EbpfError),
    /// A program was refused.
    #[error("the kernel refused the program {name}: {error}")]
    Program {
        /// Which.
        name: &'static str,
        /// Why, with the verifier's log.
        error: ProgramError,
    },
    /// Perf events are refused.
    #[error(
        "the kernel does not allow sampling by perf events (run as root; seccomp and kernel.perf_event_paranoid can forbid it): {0}"
    )]
    PerfEvents(ProgramError),
    /// The programs' log cannot be read.
    #[error("the kernel programs' log cannot be read: {0}")]
    Log(#[from] aya_log::Error),
    /// No contexts can be written into requests.
    #[error(transparent)]
    Inject(#[from] InjectError),
    /// A map was refused.
    #[error("the kernel refused a map: {0}")]
    Map(#[from] MapError),
    /// A part is not in the object: it was built from other sources.
    #[error("the kernel object has no {0}: rebuild it with `cargo xtask ebpf`")]
    Missing(&'static str),
    /// Reading about this machine, or mapping memory, failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The loaded programs.
pub struct Kernel {
    /// Before anything else is taken away.
    injection: Option<Injection>,
    /// What the hooks take with them: they may be busy for long, and nothing that records need waits for them.
    ebpf: Option<Ebpf>,
    front_end: FrontEnd,
    tracepoints: Tracepoints,
    rings: Rings,
    policies: Policies,
    processes: HashMap<MapData, u32, u32>,
    runtimes: Option<HashMap<MapData, u32, RuntimeValue>>,
    executed: Option<HashMap<MapData, FileKey, u8>>,
    connections: HashMap<MapData, u64, [u64; 12]>,
    counters: PerCpuArray<MapData, u64>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    capture: u32,
    sampling: Option<u32>,
    tables: Option<Tables>,
    ticks: Vec<PerfEventLink>,
    greeter: Option<SockOpsLink>,
}

const POLICIES: u32 = 65_536;

/// Calls between the two programs of their tracepoints at one time: one per thread.
const HANDLED: u32 = 65_536;

/// Threads whose time is counted.
const USAGES: u32 = 65_536;

impl Kernel {
    /// Loads everything, and attaches nothing yet.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let btf = Btf::of_kernel()?;
        let best = FrontEnd::best(&btf);
        let front_end = options.front_end.unwrap_or(best);
        if front_end == FrontEnd::Sockets && best == FrontEnd::Syscalls {
            return Err(LoadError::NoSocketTracepoints);
        }
        let processors = u32::try_from(aya::util::nr_cpus().map_err(|(_, error)| error)?).unwrap_or(1);
        let ring_bytes = options.ring_bytes.unwrap_or_else(|| ring_bytes(processors)).max(4096).next_power_of_two();
        let preempt = preempt::functions(&btf);
        let twins = preempt.is_some();
        let frame_pointer = offsets::frame_pointer(&btf)?.filter(|_| options.sampling.is_some());
        let mut config = Config {
            offsets: offsets::offsets(&btf)?,
            compat_mask: offsets::COMPAT_MASK,
            agent_tgid: std::process::id(),
            selective: options.selective.into(),
            by_port: u32::from(!options.ports.is_empty()),
            report_exec: options.report_exec.into(),
            capture: options.capture.min(CAPTURE_MAX),
            wake_after: ring_bytes / 4,
            debug: options.debug.into(),
            policy_mask: POLICIES - 1,
            futex_call: libc::SYS_futex as u32,
            twins: twins.into(),
            unwind: frame_pointer.is_some().into(),
            regs_fp: frame_pointer.unwrap_or_default(),
            mappings: frame_pointer.map(|_| offsets::mappings(&btf)).unwrap_or_default(),
            tracing: 1,
            usage: options.usage.into(),
            tick: tick(),
            dns_ports: options.dns_ports.map(u32::from),
            returned: u32::from(front_end == FrontEnd::Syscalls),
            // What is only for profiles of waits.
            ..Config::default()
        };
        let log_level: u8 = if options.debug { u8::MAX } else { 0 };
        let mut loader = EbpfLoader::new();
        if options.inject.is_some() {
            inject::configure(&mut config, &mut loader);
        }
        if options.contexts.is_some() {
            greeter::configure(&mut config, &mut loader);
        }
        let key = options.contexts.or(options.inject.map(|inject| inject.key));
        if let Some(key) = key {
            serving::configure(&mut config, &mut loader, key);
        }
        let object = match options.inject {
            Some(_) => preempt::Object::new(OBJECT, preempt),
            None => preempt::Object::new(&inject::without_sockets(OBJECT), preempt),
        };
        loader
            .override_global("CONFIG", bytes_of(&config), true)
            .override_global("AYA_LOG_LEVEL", &log_level, false)
            .map_max_entries("RINGS", processors)
            .map_max_entries("SCRATCH", processors)
            .map_max_entries("HANDLED", if twins { HANDLED } else { 1 })
            .map_max_entries("CONNECTIONS", options.max_connections.max(1))
            .map_max_entries("USAGES", if options.usage { USAGES } else { 1 });
        if !options.greets {
            loader.map_max_entries("GREETED", 1);
        }
        if options.sampling.is_some() {
            loader.map_max_entries("SAMPLES", processors);
        }
        if frame_pointer.is_some() {
            Tables::size(&mut loader);
        }
        let mut ebpf = loader.load(object.bytes())?;

        let mut outer: ArrayOfMaps<MapData, MapData> = take(&mut ebpf, "RINGS")?;
        let rings = Rings::create(processors as usize, ring_bytes, |index, ring| outer.set(index, ring, 0))?;
        let Some(Map::Array(policies)) = ebpf.take_map("POLICIES") else {
            return Err(LoadError::Missing("POLICIES"));
        };
        let policies = Policies::map(policies, POLICIES)?;
        by_call(&mut ebpf, "CALLS", offsets::CALLS.iter().map(|(number, call)| (*number, *call as u8)))?;
        by_call(&mut ebpf, "WAIT_CALLS", offsets::WAITS.iter().map(|(number, wait)| (*number, *wait as u8)))?;
        let mut ports: HashMap<MapData, u16, u8> = take(&mut ebpf, "PORTS")?;
        for port in &options.ports {
            ports.insert(port, 1, 0)?;
        }
        let processes = take(&mut ebpf, "PROCESSES")?;
        let runtimes = Some(take(&mut ebpf, "RUNTIMES")?);
        let executed = Some(take(&mut ebpf, "EXECUTED")?);
        let connections = take(&mut ebpf, "CONNECTIONS")?;
        let counters = take(&mut ebpf, "STATS")?;
        let logger = if options.debug { Some(EbpfLogger::init(&mut ebpf)?) } else { None };
        let mut tracepoints = Tracepoints::load(&mut ebpf, Some(front_end), twins)?;
        if options.usage {
            tracepoints.watch_switches(&mut ebpf)?;
        }
        let tables = frame_pointer.map(|_| Tables::new(&mut ebpf, config.mappings.known != 0)).transpose()?;
        if options.sampling.is_some() {
            sampler::load(&mut ebpf)?;
        }
        if options.greets {
            greeter::load(&mut ebpf)?;
        }
        if key.is_some() {
            serving::name(&mut ebpf)?;
        }
        let injection = options.inject.map(|inject| Injection::load(&mut ebpf, &config.offsets, inject.unsafe_too));
        let injection = injection.transpose()?;
        hooks::load_probes(&mut ebpf);
        Ok(Self {
            injection,
            ebpf: Some(ebpf),
            front_end,
            tracepoints,
            rings,
            policies,
            processes,
            runtimes,
            executed,
            connections,
            counters,
            logger,
            capture: config.capture,
            sampling: options.sampling,
            tables,
            ticks: Vec::new(),
            greeter: None,
        })
    }

    /// Attaches the programs: from here on, records come.
    ///
    /// # Errors
    /// When a tracepoint cannot be attached to.
    pub fn attach(&mut self) -> Result<(), LoadError> {
        let Some(ebpf) = &mut self.ebpf else {
            return Ok(());
        };
        self.tracepoints.attach(ebpf)?;
        self.injection.as_mut().map_or(Ok(()), |injection| injection.attach(ebpf))
    }

    /// From here on agents are told of this one on TCP connections that begin in this control group (a path from the root of the
    /// hierarchy), and what others tell there comes among the records; before [`Self::take_hooks`].
    ///
    /// # Errors
    /// When there are no such groups, or the kernel refuses.
    pub fn greet(&mut self, group: &Path, greeting: Greeting) -> Result<(), GreetError> {
        if let Some(ebpf) = &mut self.ebpf {
            self.greeter = Some(greeter::attach(ebpf, group, greeting)?);
        }
        Ok(())
    }

    /// From here on samples come among the other records, if they were asked for when this was loaded; before [`Self::take_hooks`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start_sampling(&mut self) -> Result<(), LoadError> {
        if let (Some(frequency), Some(ebpf)) = (self.sampling, &mut self.ebpf) {
            self.ticks = sampler::attach(ebpf, frequency)?;
        }
        Ok(())
    }

    /// What stacks are walked by, for the thread that makes it; `None` where nothing is sampled, or the kernel walks them by frame pointers.
    pub fn take_tables(&mut self) -> Option<Tables> {
        self.tables.take()
    }

    /// What is done on another thread; there is one of it.
    pub fn take_hooks(&mut self) -> Option<Hooks> {
        Some(Hooks::new(self.ebpf.take()?, self.runtimes.take()?, self.executed.take()?))
    }

    /// Where bytes are seen.
    #[must_use]
    pub fn front_end(&self) -> FrontEnd {
        self.front_end
    }

    /// Hands on what has come, in order of time; see [`Rings::drain`].
    pub fn drain(&mut self, limit: usize, each: impl FnMut(&[u8])) -> (usize, bool) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.rings.drain(limit, each)
    }

    /// Waits for records; see [`Rings::wait`].
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        self.rings.wait(timeout)
    }

    /// The kernel's monotonic clock.
    #[must_use]
    pub fn now() -> Nanos {
        super::rings::now()
    }

    /// Marks a process, and with it what it will fork, as traced or not.
    ///
    /// # Errors
    /// When the kernel side's table is full.
    pub fn select(&mut self, tgid: u32, selected: bool) -> Result<(), LoadError> {
        mark(&mut self.processes, tgid, selected)
    }

    /// Chooses a process for writing contexts into the requests on connections that it opens from now on, and with it what it will fork; or
    /// does not choose it any more.
    ///
    /// # Errors
    /// When the kernel side's table is full.
    pub fn choose(&mut self, tgid: u32, chosen: bool) -> Result<(), LoadError> {
        Ok(self.injection.as_mut().map_or(Ok(()), |injection| injection.choose(tgid, chosen))?)
    }

    /// No contexts are written any more into what is sent on the socket with this `struct sock`: from now on it costs nothing.
    pub fn leave(&mut self, sock: u64) {
        if let Some(injection) = &mut self.injection {
            injection.leave(sock);
        }
    }

    /// Tells the kernel side what is wanted of a connection: of what is `decrypted` of it, or of what goes through its socket.
    pub fn advise(&mut self, socket: SocketId, direction: Direction, decrypted: bool, interest: Interest) {
        self.policies.set(socket, direction, decrypted, interest, self.capture);
    }

    /// Forgets a connection that the agent has given up, so that its place can be used.
    pub fn forget(&mut self, socket: SocketId) {
        // It may be gone already.
        let _ = self.connections.remove(&socket.sock);
    }

    /// The kernel side's counters.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        count(&self.counters, &self.tracepoints)
    }
}

/// Fills an array that says something of system calls, by their numbers. The array stays where it is: the programs
/// that read it are yet to be loaded.
fn by_call(
    ebpf: &mut Ebpf,
    name: &'static str,
    values: impl Iterator<Item = (libc::c_long, u8)>,
) -> Result<(), LoadError> {
    let mut array: Array<&mut MapData, u8> = ebpf.map_mut(name).ok_or(LoadError::Missing(name))?.try_into()?;
    for (number, value) in values {
        array.set(u32::try_from(number).unwrap_or(u32::MAX), value, 0)?;
    }
    Ok(())
}

/// Nanoseconds from one tick of the kernel's clock to the next: that is how exact its coarse clocks are.
fn tick() -> u32 {
    let resolution = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    u32::try_from(resolution.tv_nsec).unwrap_or_default()
}

/// Marks a process as selected, and with it what it will fork, or not.
pub(super) fn mark(processes: &mut HashMap<MapData, u32, u32>, tgid: u32, selected: bool) -> Result<(), LoadError> {
    if selected {
        processes.insert(tgid, PROCESS_SELECTED, 0)?;
    } else {
        // It may have ended.
        let _ = processes.remove(&tgid);
    }
    Ok(())
}

/// Reads counters.
pub(super) fn count(values: &PerCpuArray<MapData, u64>, tracepoints: &Tracepoints) -> Result<Counters, LoadError> {
    let mut counters = Counters::default();
    for (index, sum) in counters.0.iter_mut().enumerate().take(stats::COUNT) {
        let values = values.get(&u32::try_from(index).unwrap_or_default(), 0)?;
        *sum = values.iter().sum();
    }
    for (counter, missed) in tracepoints.missed() {
        if let Some(sum) = counters.0.get_mut(counter as usize) {
            *sum += missed;
        }
    }
    Ok(counters)
}

/// The usual size of each ring: 4 MiB, which is some 100 ms of a busy processor's traffic; less where there are many processors, so
/// that all rings together take about 64 MiB.
fn ring_bytes(processors: u32) -> u32 {
    const LARGEST: u32 = 4 << 20;
    const SMALLEST: u32 = 512 << 10;
    ((64 << 20) / processors.max(1)).clamp(SMALLEST, LARGEST).next_power_of_two().min(LARGEST)
}

pub(super) fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    Ok(T::try_from(map)?)
}

pub(super) fn bytes_of(config: &Config) -> &[u8] {
    // SAFETY: a configuration is made of 32-bit integers, without padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(config).cast(), size_of::<Config>()) }
}
