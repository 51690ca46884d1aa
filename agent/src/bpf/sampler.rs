//! Sampling, apart from tracing: the program that takes stacks at the ticks of each processor's clock, and those that watch processes.
//! Tracing loads none of this, and sampling nothing else.

use std::{io, time::Duration};

use aya::{
    Ebpf, EbpfLoader,
    maps::{ArrayOfMaps, HashMap, MapData, PerCpuArray},
    programs::{
        PerfEvent,
        perf_event::{PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
};
use geophone_ebpf::{config::Config, unwind};

use super::{
    Counters, LoadError,
    btf::Btf,
    load::{OBJECT, bytes_of, count, mark, take},
    offsets, preempt,
    rings::Rings,
    tables::Tables,
    tracepoints::Tracepoints,
};

/// Bytes of each processor's ring: the largest samples of more than a second at 99 Hz, and read ten times a second.
const RING: u32 = 512 << 10;

const PROGRAM: &str = "profile_tick";

/// Maps that only tracing uses. They are made when the object is loaded, so they are made small.
const UNUSED: &[&str] = &[
    "CONNECTIONS",
    "POLICIES",
    "RUNTIMES",
    "PORTS",
    "OWN_PEERS",
    "VECTORS",
    "TLS_CALLS",
    "TLS_STREAMS",
    "TLS_SESSIONS",
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
}

impl Sampler {
    /// Loads everything. With `selective`, only processes marked by [`Self::select`] are sampled; with `report_exec`, each exec is
    /// reported, because what is selected depends on the program.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(selective: bool, report_exec: bool) -> Result<Self, LoadError> {
        let btf = Btf::of_kernel()?;
        let processors = u32::try_from(aya::util::nr_cpus().map_err(|(_, error)| error)?).unwrap_or(1);
        let preempt = preempt::functions(&btf);
        let twins = preempt.is_some();
        let frame_pointer = offsets::frame_pointer(&btf)?;
        let config = Config {
            offsets: offsets::offsets(&btf)?,
            compat_mask: offsets::COMPAT_MASK,
            agent_tgid: std::process::id(),
            selective: selective.into(),
            report_exec: report_exec.into(),
            wake_after: RING / 4,
            twins: twins.into(),
            unwind: frame_pointer.is_some().into(),
            regs_fp: frame_pointer.unwrap_or_default(),
            ..Config::default()
        };
        let object = preempt::Object::new(OBJECT, preempt);
        let log_level = 0u8;
        let mut loader = EbpfLoader::new();
        loader
            .override_global("CONFIG", bytes_of(&config), true)
            .override_global("AYA_LOG_LEVEL", &log_level, false)
            .map_max_entries("RINGS", processors)
            .map_max_entries("SCRATCH", processors)
            .map_max_entries("SAMPLES", processors);
        if frame_pointer.is_some() {
            loader.map_max_entries("RANGES", unwind::RANGES as u32).map_max_entries("SPACES", unwind::SPACES as u32);
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
        let tables = frame_pointer.map(|_| Tables::new(&mut ebpf)).transpose()?;
        let tracepoints = Tracepoints::load(&mut ebpf, None, twins)?;
        load(&mut ebpf)?;
        Ok(Self { ebpf, links: Vec::new(), tracepoints, rings, processes, tables, counters })
    }

    /// From here on it is known which processes begin and end.
    ///
    /// # Errors
    /// When a tracepoint cannot be attached to.
    pub fn watch(&mut self) -> Result<(), LoadError> {
        self.tracepoints.attach(&mut self.ebpf)
    }

    /// From here on samples come, so many a second from each processor.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&mut self, frequency: u32) -> Result<(), LoadError> {
        self.links = attach(&mut self.ebpf, frequency)?;
        Ok(())
    }

    /// Marks a process, and with it what it will fork, as sampled or not.
    ///
    /// # Errors
    /// When the kernel side's table is full.
    pub fn select(&mut self, tgid: u32, selected: bool) -> Result<(), LoadError> {
        mark(&mut self.processes, tgid, selected)
    }

    /// What stacks are walked by; `None` where the kernel walks them, by frame pointers.
    pub fn tables(&mut self) -> Option<&mut Tables> {
        self.tables.as_mut()
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
    program(ebpf)?.load().map_err(|error| LoadError::Program { name: PROGRAM, error })
}

/// Attaches it to each processor's clock, until what is returned is dropped.
pub(super) fn attach(ebpf: &mut Ebpf, frequency: u32) -> Result<Vec<PerfEventLink>, LoadError> {
    let program = program(ebpf)?;
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

fn program(ebpf: &mut Ebpf) -> Result<&mut PerfEvent, LoadError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(LoadError::Missing(PROGRAM))?;
    program.try_into().map_err(|error| LoadError::Program { name: PROGRAM, error })
}
