//! The map by which other profilers on this host learn which trace and span each thread works for: that of OpenTelemetry eBPF
//! Instrumentation, `otel/traces_ctx_v1` on a bpffs. A map that is pinned there already is used, and stays; one that was made here is
//! taken away at the end, and in both cases nothing that was written here is left in it.
//! Format: <https://github.com/open-telemetry/opentelemetry-ebpf-instrumentation/blob/main/devdocs/trace-profile-correlation.md>

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    maps::{HashMap, Map, MapData, MapError},
    pin::PinError,
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LRU_HASH;
use hashbrown::HashSet;
use opentelemetry::trace::{SpanId, TraceId};
use thiserror::Error;

/// Folder and name of the pin.
const FOLDER: &str = "otel";
const NAME: &str = "traces_ctx_v1";
/// Threads in the map, as others make it.
const ENTRIES: u32 = 1 << 14;
/// Bytes of a trace's id and a span's.
const VALUE: usize = 24;
/// `BPF_FS_MAGIC`
const BPFFS: u64 = 0xcafe_4a11;

/// Why there is no such map.
#[derive(Debug, Error)]
pub enum ContextError {
    /// Nothing can be pinned there.
    #[error("{0} is no bpffs, where maps are shared: `mount -t bpf bpf {0}` makes it one")]
    NoBpffs(String),
    /// Something else has the name.
    #[error("{0} is another kind of map than {NAME} is: it is left as it is")]
    Foreign(String),
    /// Its folder cannot be made.
    #[error("cannot make {path}: {error}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It cannot be pinned.
    #[error("cannot pin {path}: {error}")]
    Pin {
        /// Where.
        path: String,
        /// Why.
        error: PinError,
    },
    /// The kernel refused it.
    #[error("the kernel refused the map {path}: {error}")]
    Map {
        /// Where.
        path: String,
        /// Why.
        error: MapError,
    },
}

/// What was made on the bpffs.
#[derive(Debug)]
struct Made {
    pin: PathBuf,
    map: u32,
    /// Of the folder, too.
    folder: bool,
}

/// The map.
#[derive(Debug)]
pub struct Context {
    map: HashMap<MapData, u64, [u8; VALUE]>,
    made: Option<Made>,
    /// What is in it of ours.
    keys: HashSet<u64>,
}

impl Context {
    /// Opens the map below a bpffs, or makes it.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn open(bpffs: &Path) -> Result<Self, ContextError> {
        let is_bpffs =
            rustix::fs::statfs(bpffs).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|magic| magic == BPFFS));
        if !is_bpffs {
            return Err(ContextError::NoBpffs(bpffs.display().to_string()));
        }
        let folder = bpffs.join(FOLDER);
        let pin = folder.join(NAME);
        let path = pin.display().to_string();
        let refused = |error| ContextError::Map { path: path.clone(), error };
        if fs::symlink_metadata(&pin).is_ok() {
            let foreign = || ContextError::Foreign(path.clone());
            let map = Map::from_map_data(MapData::from_pin(&pin).map_err(|_| foreign())?).map_err(|_| foreign())?;
            if !matches!(map, Map::LruHashMap(_)) {
                return Err(foreign());
            }
            return Ok(Self { map: map.try_into().map_err(|_| foreign())?, made: None, keys: HashSet::new() });
        }
        let (key, value) = (size_of::<u64>() as u32, VALUE as u32);
        let object = aya_obj::Map::new_from_params(BPF_MAP_TYPE_LRU_HASH as u32, key, value, ENTRIES, 0);
        let data = MapData::create(object, NAME, None).map_err(refused)?;
        let id = data.info().map_err(refused)?.id();
        let makes_folder = match fs::create_dir(&folder) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(ContextError::Folder { path: folder.display().to_string(), error }),
        };
        if let Err(error) = data.pin(&pin) {
            if makes_folder {
                let _ = fs::remove_dir(&folder);
            }
            return Err(ContextError::Pin { path, error });
        }
        // From here on, the pin is taken away whatever happens.
        let made = Some(Made { pin, map: id, folder: makes_folder });
        let map = HashMap::try_from(Map::LruHashMap(data)).map_err(refused)?;
        Ok(Self { map, made, keys: HashSet::new() })
    }

    /// Says what a thread works for now; `None`: nothing that is known.
    pub fn set(&mut self, (tgid, tid): (u32, u32), of: Option<(TraceId, SpanId)>) {
        let key = u64::from(tgid) << 32 | u64::from(tid);
        let result = match of {
            Some((trace, span)) => {
                let mut value = [0; VALUE];
                let ids = trace.to_bytes().into_iter().chain(span.to_bytes());
                value.iter_mut().zip(ids).for_each(|(to, from)| *to = from);
                self.keys.insert(key);
                self.map.insert(key, value, 0)
            }
            None => {
                self.keys.remove(&key);
                // The kernel makes room by itself.
                self.map.remove(&key).or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })
            }
        };
        if let Err(error) = result {
            log::warn!("other profilers cannot be told what thread {tid} works for: {error}");
        }
    }
}

fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        for key in std::mem::take(&mut self.keys) {
            // It may be gone already.
            let _ = self.map.remove(&key);
        }
        let Some(Made { pin, map, folder }) = self.made.take() else {
            return;
        };
        // Somebody may have put another one in its place.
        let is_ours = MapData::from_pin(&pin).and_then(|data| data.info()).is_ok_and(|info| info.id() == map);
        if is_ours && fs::remove_file(&pin).is_ok() && folder {
            // Others may have pinned something beside it.
            let _ = pin.parent().map(fs::remove_dir);
        }
    }
}
