//! Which trace the requests that threads serve belong to, as far as the kernel side can tell: what it needs for that, where contexts are written into
//! requests or carried in TCP options.

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData},
};
use geophone_ebpf::{
    config::Config,
    inject::{NAMES, named},
};

use super::LoadError;

/// Threads that serve requests, of the processes that it matters for.
const THREADS: u32 = 16_384;

/// What is needed to be loaded. `key`: what the trace ids of requests that come without one are made of.
pub(super) fn configure(config: &mut Config, loader: &mut EbpfLoader<'_>, key: [u32; 4]) {
    config.inject_key = key;
    loader.map_max_entries("INJECT_THREADS", THREADS).map_max_entries("INJECT_READERS", THREADS);
}

/// Says what headers mean.
pub(super) fn name(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    // It stays where it is: programs that use it are yet to be loaded.
    let names = ebpf.map_mut("INJECT_NAMES").ok_or(LoadError::Missing("INJECT_NAMES"))?;
    let mut names: HashMap<&mut MapData, u64, u32> = names.try_into()?;
    for (name, meaning) in NAMES {
        names.insert(named(name), *meaning as u32, 0)?;
    }
    Ok(())
}
