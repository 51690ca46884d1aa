//! Sampling, apart from tracing: the program that takes stacks, at the ticks of each processor's clock or where threads go to sleep, and
//! those that watch processes.
//! Tracing loads none of this, and sampling nothing else.

use std::{io, time::Duration};

use aya::{
    Ebpf, EbpfLoader,
    maps::{ArrayOfMaps, HashMap, MapData, PerCpuArray},
    programs::{
        PerfEvent, ProgramError, RawTracePoint,
        perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
};
use geophone_ebpf::config::Config;

use super::{
    Counters, LoadError, Waker,
    btf::Btf,
    inject,
    load::{OBJECT, bytes_of, count, mark, take},
    offsets, preempt,
    rings::Rings,
    tables::Tables,
    tracepoints::Tracepoints,
};
use crate::event::Nanos;

/// Bytes of each processor's ring: the largest samples of more than a second at 99 Hz, and read ten times a second.
const RING: u32 = 512 << 10;

/// What takes a stack at a tick.
const TICK: &str = "profile_tick";
/// What takes a stack where a thread goes to sleep.
const SWITCH: &str = "thread_waits";

/// Threads whose waits are known at a time; those of others are counted as lost.
const WAITS: u32 = 65_536;
/// Stacks that a processor looks at in a second where threads go to sleep, of each of two kinds (`ebpf/src/programs/waits.rs`): at some
/// microseconds each, about one part in a hundred of its time.
const WAIT_STACKS: u32 = 1_000;

/// What stacks are taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// What runs, so many times a second on each processor.
    Running {
        /// How often.
        frequency: u32,
    },
    /// What waits.
    Waiting {
        /// Microseconds that a wait must take to count.
        least: u32,
    },
}

/// Maps that only tracing uses. They are made when the object is loaded, so they are made small.
const UNUSED: &[&str] = &[
    "CONNECTIONS",
    "POLICIES",
    "RUNTIMES",
    "PYTHON_WORKERS",
    "PORTS",
    "OWN_PEERS",
    "VECTORS",
    "TLS_CALLS",
    "TLS_STREAMS",
    "TLS_SESSIONS",
    "RUSTLS_KEPT",
];

/// The loaded programs. When it is dropped, nothing is left in the kernel.
pub struct Sampler {
    ebpf: Ebpf,
    links: Vec<PerfEventLink>,
    tracepoints: Tracepoints,
    rings: Rings,
    processes: HashMap<MapData, u32, u32>,
    tables: Option<Tables>,
    counters: PerCpuArray<MapData, u64>,
    target: Target,
    waits: HashMap<MapData, u32, [u64; 2]>,
}

impl Sampler {
    /// Loads what takes stacks of `target`. With `selective`, only processes marked by [`Self::select`] are sampled; with `report_exec`, each exec is
    /// reported, because what is selected depends on the program.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(target: Target, selective: bool, report_exec: bool) -> Result<Self, LoadError> {
        let btf = Btf::of_kernel()?;
        let processors = u32::try_from(aya::util::nr_cpus().map_err(|(_, error)| error)?).unwrap_or(1);
        let preempt = preempt::functions(&btf);
        let twins = preempt.is_some();
        let frame_pointer = offsets::frame_pointer(&btf)?;
        let (is_waiting, wait_least) = match target {
            Target::Running { .. } => (false, 0),
            Target::Waiting { least } => (true, least),
        };
        let config = Config {
            wait_least,
            wait_stacks: WAIT_STACKS,
            offsets: offsets::offsets(&btf)?,
            compat_mask: offsets::COMPAT_MASK,
            agent_tgid: std::process::id(),
            selective: selective.into(),
            report_exec: report_exec.into(),
            wake_after: RING / 4,
            twins: twins.into(),
            unwind: frame_pointer.is_some().into(),
            regs_fp: frame_pointer.unwrap_or_default(),
            mappings: frame_pointer.map(|_| offsets::mappings(&btf)).unwrap_or_default(),
            ..Config::default()
        };
        let object = preempt::Object::new(&inject::without_sockets(OBJECT), preempt);
        let log_level = 0u8;
        let mut loader = EbpfLoader::new();
        loader
            .override_global("CONFIG", bytes_of(&config), true)
            .override_global("AYA_LOG_LEVEL", &log_level, false)
            .map_max_entries("RINGS", processors)
            .map_max_entries("SCRATCH", processors)
            .map_max_entries("SAMPLES", processors)
            .map_max_entries("WAITS", if is_waiting { WAITS } else { 1 })
            .map_max_entries("BUDGETS", if is_waiting { processors } else { 1 });
        if frame_pointer.is_some() {
            Tables::size(&mut loader);
        }
        if !twins {
            loader.map_max_entries("HANDLED", 1);
        }
        for map in UNUSED {
            loader.map_max_entries(map, 1);
        }
        let mut ebpf = loader.load(object.bytes())?;
        let mut outer: ArrayOfMaps<MapData, MapData> = take(&mut ebpf, "RINGS")?;
        let rings = Rings::create(processors as usize, RING, |index, ring| outer.set(index, ring, 0))?;
        let processes = take(&mut ebpf, "PROCESSES")?;
        let counters = take(&mut ebpf, "STATS")?;
        let tables = frame_pointer.map(|_| Tables::new(&mut ebpf, config.mappings.known != 0)).transpose()?;
        let tracepoints = Tracepoints::load(&mut ebpf, None, twins)?;
        let waits = take(&mut ebpf, "WAITS")?;
        match target {
            Target::Running { .. } => load(&mut ebpf)?,
            Target::Waiting { .. } => switch(&mut ebpf)?.load().map_err(failed(SWITCH))?,
        }
        Ok(Self { ebpf, links: Vec::new(), tracepoints, rings, processes, tables, counters, target, waits })
    }

    /// From here on it is known which processes begin and end.
    ///
    /// # Errors
    /// When a tracepoint cannot be attached to.
    pub fn watch(&mut self) -> Result<(), LoadError> {
        self.tracepoints.attach(&mut self.ebpf)
    }

    /// From here on samples come.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self) -> Result<(), LoadError> {
        match self.target {
            Target::Running { frequency } => self.links = attach(&mut self.ebpf, frequency)?,
            Target::Waiting { .. } => {
                switch(&mut self.ebpf)?.attach("sched_switch").map_err(failed(SWITCH))?;
            }
        }
        Ok(())
    }

    /// Since when a thread has been waiting; `None` when it is not.
    #[must_use]
    pub fn waits_since(&self, tid: u32) -> Option<Nanos> {
        let [since, _] = self.waits.get(&tid, 0).ok()?;
        (since != 0).then_some(since)
    }

    /// Marks a process, and with it what it will fork, as sampled or not.
    ///
    /// # Errors
    /// When the kernel side's table is full.
    pub fn select(&mut self, tgid: u32, selected: bool) -> Result<(), LoadError> {
        mark(&mut self.processes, tgid, selected)
    }

    /// What stacks are walked by; `None` where the kernel walks them, by frame pointers.
    pub fn take_tables(&mut self) -> Option<Tables> {
        self.tables.take()
    }

    /// Hands on what has come, in order of time; see [`Rings::drain`].
    pub fn drain(&mut self, limit: usize, each: impl FnMut(&[u8])) -> (usize, bool) {
        self.rings.drain(limit, each)
    }

    /// Waits for records; see [`Rings::wait`].
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        self.rings.wait(timeout)
    }

    /// From here on, `waker` ends waits, too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen(&self, waker: &Waker) -> io::Result<()> {
        self.rings.listen(waker)
    }

    /// The kernel side's counters.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        count(&self.counters, &self.tracepoints)
    }
}

/// Loads the program of the ticks.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    tick(ebpf)?.load().map_err(failed(TICK))
}

/// Attaches it to each processor's clock, until what is returned is dropped.
pub(super) fn attach(ebpf: &mut Ebpf, frequency: u32) -> Result<Vec<PerfEventLink>, LoadError> {
    let program = tick(ebpf)?;
    let mut links = Vec::new();
    for cpu in aya::util::online_cpus().map_err(|(_, error)| error)? {
        // Software: there where machines have no hardware counters, too, and never in an NMI.
        let clock = PerfEventConfig::Software(SoftwareEvent::CpuClock);
        let scope = PerfEventScope::AllProcessesOneCpu { cpu };
        let policy = SamplePolicy::Frequency(frequency.into());
        let link = program.attach(clock, scope, policy, false).map_err(LoadError::PerfEvents)?;
        links.push(program.take_link(link).map_err(LoadError::PerfEvents)?);
    }
    Ok(links)
}

fn failed(name: &'static str) -> impl Fn(ProgramError) -> LoadError {
    move |error| LoadError::Program { name, error }
}

fn tick(ebpf: &mut Ebpf) -> Result<&mut PerfEvent, LoadError> {
    ebpf.program_mut(TICK).ok_or(LoadError::Missing(TICK))?.try_into().map_err(failed(TICK))
}

fn switch(ebpf: &mut Ebpf) -> Result<&mut RawTracePoint, LoadError> {
    ebpf.program_mut(SWITCH).ok_or(LoadError::Missing(SWITCH))?.try_into().map_err(failed(SWITCH))
}
