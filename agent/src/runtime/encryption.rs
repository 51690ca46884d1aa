//! Which TLS libraries the processes have, and probes in them. The libraries of the system are probed from the start on: a program may live
//! for milliseconds only. Others are when a process is seen to use sockets, or TLS.

use std::{
    collections::HashMap,
    io,
    path::Path,
    rc::Rc,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    FileId, Image, Refusal,
    probes::{Key, Probes},
    tls::{self, Library, Mapped, Why},
    watch::Shared,
};
use crate::bpf::Hooks;

/// Files that are remembered. When there are more, all are forgotten: each is looked at once more.
const FILES: usize = 16_384;
/// Processes of which it is remembered what they have; as many as the account at the end tells apart.
const PROCESSES: usize = 8192;
/// How long a process that has a library is not looked at again.
const AGAIN: Duration = Duration::from_secs(5);
/// The same for one that has none yet.
const SOON: Duration = Duration::from_millis(50);

struct Known {
    /// When the process started, which tells it from a later one with its number.
    start: u64,
    looked: Instant,
    /// All of its files were looked at inside.
    inside: bool,
    probes: Vec<Key>,
}

/// What is known of a file.
struct Looked {
    library: Option<Rc<Library>>,
    /// It was looked at inside.
    inside: bool,
}

/// A process that is looked at.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Its id.
    pub tgid: u32,
    /// When it started.
    pub start: u64,
    /// Its directory in `/proc`.
    pub proc: &'a Path,
    /// Whether it is a Go program, and if so, whether its own TLS is probed.
    pub go: Option<bool>,
    /// It is seen to use TLS: whatever it has loaded may have a library inside.
    pub encrypts: bool,
}

/// See the module.
#[derive(Default)]
pub struct Encryption {
    /// Of each file whether it has a library, and which.
    files: HashMap<FileId, Looked>,
    known: HashMap<u32, Known>,
    /// Nothing is probed.
    off: bool,
}

/// What is needed to attach.
pub struct Means<'a> {
    pub hooks: &'a mut Hooks,
    pub probes: &'a mut Probes,
    pub shared: &'a Arc<Shared>,
}

impl Encryption {
    /// `read`: whether what is encrypted is to be read at all.
    pub fn new(read: bool) -> Self {
        Self { off: !read, ..Self::default() }
    }

    /// Probes the libraries of the system, for as long as the agent runs.
    pub fn installed(&mut self, means: &mut Means<'_>) {
        if self.off {
            return;
        }
        for path in tls::installed() {
            match self.file(&path, false) {
                Ok(Some(library)) => {
                    for probe in &library.probes {
                        means.probes.attach(means.hooks, means.shared, probe);
                    }
                }
                Ok(None) => {}
                Err(error) => log::debug!("{}: {error}", path.display()),
            }
        }
    }

    /// Looks at what a process has loaded.
    pub fn process(&mut self, subject: Subject<'_>, means: &mut Means<'_>) {
        let Subject { tgid, start, proc, go, encrypts } = subject;
        if self.off {
            tell(means.shared, tgid, Why::Off);
            return;
        }
        if let Some(known) = self.known.get(&tgid)
            && known.start == start
            && (known.inside || !encrypts)
            && known.looked.elapsed() < (if known.probes.is_empty() { SOON } else { AGAIN })
        {
            return;
        }
        let Ok(files) = tls::mapped(proc) else {
            // It has ended.
            return;
        };
        let mut probes = Vec::new();
        let (mut failed, mut java) = (false, false);
        let exe = FileId::of(&proc.join("exe")).ok();
        for file in files {
            java |= file.path.file_name().is_some_and(|name| name == "libjvm.so");
            let Some(library) = self.mapped(&file, exe, encrypts) else { continue };
            for probe in &library.probes {
                match means.probes.attach(means.hooks, means.shared, probe) {
                    Some(key) => probes.push(key),
                    None => failed = true,
                }
            }
        }
        let why = match (probes.is_empty(), go) {
            (false, _) | (_, Some(true)) => Why::Probed,
            _ if failed => Why::Failed,
            _ if java => Why::Java,
            (_, Some(false)) => Why::Go,
            (_, None) => Why::NoLibrary,
        };
        tell(means.shared, tgid, why);
        let depth = if encrypts { ", in all of its files" } else { "" };
        log::debug!("process {tgid}: {} probes for TLS{depth}", probes.len());
        let known = Known { start, looked: Instant::now(), inside: encrypts, probes };
        if let Some(before) = self.known.insert(tgid, known) {
            means.probes.release(before.probes);
        }
    }

    /// Whether a file that was looked at has a library.
    pub fn is_library(&self, id: &FileId) -> bool {
        self.files.get(id).is_some_and(|looked| looked.library.is_some())
    }

    /// Detaches what is only for processes that are gone.
    pub fn sweep(&mut self, probes: &mut Probes, start: impl Fn(u32) -> Option<u64>) {
        self.known.retain(|tgid, known| {
            let lives = start(*tgid) == Some(known.start);
            if !lives {
                probes.release(std::mem::take(&mut known.probes));
            }
            lives
        });
    }

    /// `exe`: the program of the process. `encrypts`: it is seen to use TLS.
    fn mapped(&mut self, file: &Mapped, exe: Option<FileId>, encrypts: bool) -> Option<Rc<Library>> {
        // A library that was linked into another one is seldom one with names.
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let inside = encrypts
            || ["ssl", "tls", "crypto"].iter().any(|part| name.contains(part))
            || exe.is_some_and(|exe| FileId::of(&file.open).or_else(|_| FileId::of(&file.path)).ok() == Some(exe));
        match self.file(&file.open, inside) {
            Ok(library) => library,
            Err(_) => self.file(&file.path, inside).unwrap_or_else(|error| {
                log::debug!("{}: {error}", file.path.display());
                None
            }),
        }
    }

    /// What is known of a file, looked at if it is new.
    fn file(&mut self, path: &Path, inside: bool) -> io::Result<Option<Rc<Library>>> {
        let id = FileId::of(path)?;
        if let Some(found) = self.files.get(&id)
            && (found.inside || !inside || found.library.is_some())
        {
            return Ok(found.library.clone());
        }
        let looked =
            Image::open(path).and_then(|image| image.as_ref().map_or(Ok(None), |image| tls::find(image, inside)));
        let library = match looked {
            Ok(library) => library.map(Rc::new),
            Err(Refusal::Io(error)) => return Err(error),
            Err(refusal) => {
                log::debug!("{}: {refusal}", path.display());
                None
            }
        };
        if self.files.len() >= FILES {
            self.files.clear();
        }
        self.files.insert(id, Looked { library: library.clone(), inside });
        Ok(library)
    }
}

fn tell(shared: &Shared, tgid: u32, why: Why) {
    let mut told = shared.tls.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < PROCESSES || told.contains_key(&tgid) {
        told.insert(tgid, why);
    }
}
