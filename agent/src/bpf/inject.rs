//! Writing contexts into requests: the kernel side of it, loaded, tested and attached; and taken away again when this is dropped.

use std::io;

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, MapError, ProgramArray, SockHash},
    programs::{CgroupAttachMode, ProgramError, SkMsg, SockOps, sk_msg::SkMsgLink, sock_ops::SockOpsLink},
};
use geophone_ebpf::config::{Config, INJECT_HTTP1, INJECT_HTTP2, INJECT_SOCKETS_MARK, MISSING, Offsets};
use thiserror::Error;

use super::{
    LoadError,
    btf::Btf,
    groups,
    inject_test::{self, Failure, Tested},
    load::{OBJECT, bytes_of, take},
    offsets, preempt,
    rings::Rings,
    serving,
};

/// Connections whose requests are given contexts at a time.
const SOCKETS: u32 = 16_384;
/// Those of them that are HTTP/2, which take more memory.
const STREAMS: u32 = 4096;

const ENROL: &str = "inject_enrol";
const SENDING: &str = "inject_sending";
const HTTP1: &str = "inject_http1";
const HTTP2: &str = "inject_http2";

/// Why no contexts can be written into requests.
#[derive(Debug, Error)]
pub enum InjectError {
    /// A socket does not work as before.
    #[error(
        "--inject-headers is refused: on this kernel ({release}), {failure}. Programs that depend on that would break; \
         --inject-unsafe does it all the same"
    )]
    Broken {
        /// The kernel's release.
        release: String,
        /// What was found.
        failure: Failure,
    },
    /// It does not work at all, whatever the flags.
    #[error("--inject-headers does not work on this kernel ({release}): {failure}")]
    Useless {
        /// The kernel's release.
        release: String,
        /// What was found.
        failure: Failure,
    },
    /// The kernel has no maps of sockets.
    #[error("--inject-headers does not work on this kernel: it has no maps of sockets (CONFIG_NET_SOCK_MSG)")]
    NoSockets,
    /// A program was refused.
    #[error("--inject-headers: the kernel refused the program {name}: {error}")]
    Program {
        /// Which.
        name: &'static str,
        /// Why, with the verifier's log.
        error: ProgramError,
    },
    /// A map was refused.
    #[error("--inject-headers: the kernel refused a map: {0}")]
    Map(#[from] MapError),
    /// There are no control groups of version 2.
    #[error("--inject-headers needs control groups of version 2 mounted (mount -t cgroup2 none /sys/fs/cgroup): {0}")]
    NoCgroup(io::Error),
}

/// What the kernel side needs to be loaded for it.
pub(super) fn configure(config: &mut Config, loader: &mut EbpfLoader<'_>) {
    config.inject = 1;
    loader
        .map_max_entries("INJECT_SOCKETS", SOCKETS)
        .map_max_entries("INJECT_STATES", SOCKETS)
        .map_max_entries("INJECT_STREAMS", STREAMS);
}

/// Makes the map of sockets a plain one of one entry in an object file: for kernels that have none, and agents that need none. What the object says, too
/// many entries for anybody, only tells it from other maps.
pub(super) fn without_sockets(object: &[u8]) -> Vec<u8> {
    const PLAIN: [u32; 4] = [1, 8, 4, 1];
    let mut object = object.to_vec();
    if let Some(at) = definition(&object)
        && let Some(found) = object.get_mut(at..at + size_of_val(&PLAIN))
    {
        found.copy_from_slice(PLAIN.map(u32::to_le_bytes).as_flattened());
    }
    object
}

/// Where in an object file the definition of the map of sockets is (`bpf_map_def`): its type, and the sizes of keys, values and the map.
fn definition(object: &[u8]) -> Option<usize> {
    const SOCKHASH: u32 = 18;
    let wanted = [SOCKHASH, 8, 4, INJECT_SOCKETS_MARK].map(u32::to_le_bytes);
    object.windows(size_of_val(&wanted)).position(|window| window == wanted.as_flattened())
}

/// See the module.
pub(super) struct Injection {
    /// First of all: from then on, no more sockets come into the map.
    enrol: Option<SockOpsLink>,
    sockets: SockHash<MapData, u64>,
    processes: HashMap<MapData, u32, u32>,
    /// After the sockets: as long as they are in the map, the program runs for them.
    sending: Option<SkMsgLink>,
    /// What that hands on to; empties itself when it is closed.
    _programs: ProgramArray<MapData>,
}

impl Injection {
    /// Loads the programs and tests them; nothing is attached yet. With `unsafe_too`, only what cannot work at all is refused.
    pub(super) fn load(ebpf: &mut Ebpf, offsets: &Offsets, unsafe_too: bool) -> Result<Self, LoadError> {
        if [offsets.msg_sk, offsets.msg_data, offsets.sock_ops_sk].contains(&MISSING) {
            return Err(InjectError::NoSockets.into());
        }
        let sockets: SockHash<MapData, u64> = take(ebpf, "INJECT_SOCKETS")?;
        let processes = take(ebpf, "INJECT_PROCESSES")?;
        let mut programs: ProgramArray<MapData> = take(ebpf, "INJECT_PROGRAMS")?;
        let http1 = load(ebpf, HTTP1)?;
        programs.set(INJECT_HTTP1, http1.fd().map_err(refused(HTTP1))?, 0).map_err(InjectError::Map)?;
        let has_http2 = match load(ebpf, HTTP2) {
            Ok(http2) => {
                programs.set(INJECT_HTTP2, http2.fd().map_err(refused(HTTP2))?, 0).map_err(InjectError::Map)?;
                true
            }
            Err(error @ LoadError::Inject(InjectError::Program { .. })) => {
                // The verifier's log is long.
                let error = error.to_string();
                log::debug!("{error}");
                let first = error.lines().next().unwrap_or_default();
                log::warn!("requests of HTTP/2 are left as they are: {first}");
                false
            }
            Err(error) => return Err(error),
        };
        let tested = run_test(load(ebpf, SENDING)?, has_http2)?;
        if let Err(failure) = tested.http2 {
            log::warn!("requests of HTTP/2 are left as they are: on this kernel ({}), {failure}", release());
            programs.clear_index(&INJECT_HTTP2).map_err(InjectError::Map)?;
        }
        match tested.http1.err() {
            None => {}
            Some(failure) if failure.is_fatal() => {
                return Err(InjectError::Useless { release: release(), failure }.into());
            }
            Some(failure) if unsafe_too => {
                log::warn!("--inject-unsafe: on this kernel ({}), {failure}", release());
            }
            Some(failure) => return Err(InjectError::Broken { release: release(), failure }.into()),
        }
        let enrol = program::<SockOps>(ebpf, ENROL)?;
        enrol.load().map_err(refused(ENROL))?;
        Ok(Self { enrol: None, sockets, processes, sending: None, _programs: programs })
    }

    /// Attaches the programs: from here on, connections that are opened by processes which were chosen are given contexts.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        let cgroup = groups::root().map_err(InjectError::NoCgroup)?;
        let sending = program::<SkMsg>(ebpf, SENDING)?;
        let id = sending.attach(self.sockets.fd()).map_err(refused(SENDING))?;
        self.sending = Some(sending.take_link(id).map_err(refused(SENDING))?);
        let enrol = program::<SockOps>(ebpf, ENROL)?;
        // A link lets others attach theirs, too, and takes no mode.
        let id = enrol.attach(cgroup, CgroupAttachMode::Single).map_err(refused(ENROL))?;
        self.enrol = Some(enrol.take_link(id).map_err(refused(ENROL))?);
        Ok(())
    }

    /// Chooses a process, or does not choose it any more; connections that it has opened stay as they are.
    pub(super) fn choose(&mut self, tgid: u32, chosen: bool) -> Result<(), MapError> {
        if chosen {
            return self.processes.insert(tgid, 1, 0);
        }
        // It may not be there.
        let _ = self.processes.remove(&tgid);
        Ok(())
    }

    /// Takes a socket out of the map.
    pub(super) fn leave(&mut self, sock: u64) {
        // It may be closed.
        let _ = self.sockets.remove(&sock);
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        drop(self.enrol.take());
        let sockets: Vec<u64> = self.sockets.keys().flatten().collect();
        sockets.into_iter().for_each(|sock| self.leave(sock));
        drop(self.sending.take());
    }
}

/// Whether contexts can be written into requests on this kernel: loads the program that does it, tries it on connections of this process's
/// own, and leaves nothing behind.
///
/// # Errors
/// What was found; see [`InjectError`].
pub fn test_injection() -> Result<(), LoadError> {
    let btf = Btf::of_kernel()?;
    let processors = u32::try_from(aya::util::nr_cpus().map_err(|(_, error)| error)?).unwrap_or(1);
    let mut config = Config { offsets: offsets::offsets(&btf)?, agent_tgid: std::process::id(), ..Config::default() };
    let mut loader = EbpfLoader::new();
    configure(&mut config, &mut loader);
    serving::configure(&mut config, &mut loader, [0; 4]);
    loader.override_global("CONFIG", bytes_of(&config), true).override_global("AYA_LOG_LEVEL", &0u8, false);
    for map in ["RINGS", "SCRATCH"] {
        loader.map_max_entries(map, processors);
    }
    for map in
        ["HANDLED", "CONNECTIONS", "PROCESSES", "RUNTIMES", "EXECUTED", "TLS_CALLS", "TLS_STREAMS", "TLS_SESSIONS"]
    {
        loader.map_max_entries(map, 1);
    }
    let object = preempt::Object::new(OBJECT, preempt::functions(&btf));
    let mut ebpf = loader.load(object.bytes())?;
    let mut outer: aya::maps::ArrayOfMaps<MapData, MapData> = take(&mut ebpf, "RINGS")?;
    let _rings = Rings::create(processors as usize, 4096, |index, ring| outer.set(index, ring, 0))?;
    serving::name(&mut ebpf)?;
    Injection::load(&mut ebpf, &config.offsets, false).map(drop)
}

/// What works as it should, and what does not.
fn run_test(sending: &mut SkMsg, has_http2: bool) -> Result<Tested, InjectError> {
    let kind = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_SOCKHASH as u32;
    let map = MapData::create(aya_obj::Map::new_from_params(kind, 8, 4, 4, 0), "geophone_test", None)?;
    let mut sockets: SockHash<MapData, u64> = Map::SockHash(map).try_into()?;
    let id = sending.attach(sockets.fd()).map_err(refused(SENDING))?;
    let tested = inject_test::run(&mut sockets, has_http2);
    sending.detach(id).map_err(refused(SENDING))?;
    Ok(tested)
}

fn load<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SkMsg, LoadError> {
    let program = program::<SkMsg>(ebpf, name)?;
    program.load().map_err(refused(name))?;
    Ok(program)
}

fn refused(name: &'static str) -> impl FnOnce(ProgramError) -> InjectError {
    move |error| InjectError::Program { name, error }
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, LoadError>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    program.try_into().map_err(|error| InjectError::Program { name, error }.into())
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_of_sockets_is_found_once() {
        let at = definition(OBJECT).unwrap();
        assert_eq!(definition(&OBJECT[at + 1..]), None);
        let without = without_sockets(OBJECT);
        assert_eq!(definition(&without), None);
        assert_eq!((OBJECT.len(), OBJECT[at], without[at]), (without.len(), 18, 1));
        // An entry costs memory from the beginning.
        assert_eq!(without[at + 12..at + 16], [1, 0, 0, 0]);
    }
}
