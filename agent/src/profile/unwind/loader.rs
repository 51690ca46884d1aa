//! Makes rows on a thread of its own: a large program takes a second or two, in which samples keep coming.

use std::{
    fs::File,
    io,
    ops::Range,
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use object::read::{ReadCache, ReadRef};

use super::{CompileError, Table, compile, elf::SECTION};
use crate::bpf::Waker;

/// Files that wait for the thread.
const WAITING: usize = 64;
/// Tables that wait for being taken; the largest has 32 MiB.
const DONE: usize = 2;

/// What rows are made of.
#[derive(Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An image in memory.
    Bytes(Vec<u8>),
}

/// The thread, as its user sees it. It ends when this is dropped.
#[derive(Debug)]
pub struct Loader<K> {
    jobs: SyncSender<(K, Source)>,
    done: Receiver<(K, Result<Table, CompileError>)>,
}

impl<K: Send + 'static> Loader<K> {
    /// Starts it. `waker` is told of each table that is done.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(waker: Option<Waker>) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<(K, Source)>(WAITING);
        let (ready, done) = sync_channel(DONE);
        std::thread::Builder::new().name("geophone-unwind".to_owned()).spawn(move || {
            while let Ok((key, source)) = waiting.recv() {
                if ready.send((key, make(&source))).is_err() {
                    return;
                }
                waker.iter().for_each(Waker::wake);
            }
        })?;
        Ok(Self { jobs, done })
    }

    /// Asks for the rows of a file. Gives it back when too many are waiting.
    ///
    /// # Errors
    /// What is not taken.
    pub fn ask(&self, key: K, source: Source) -> Result<(), (K, Source)> {
        self.jobs.try_send((key, source)).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    /// The next one that is done.
    pub fn take(&self) -> Option<(K, Result<Table, CompileError>)> {
        self.done.try_recv().ok()
    }
}

fn make(source: &Source) -> Result<Table, CompileError> {
    match source {
        Source::File(path) => {
            let file = File::open(path).map_err(|_| CompileError::Malformed)?;
            let cache = ReadCache::new(file);
            compile(Parts(&cache))
        }
        Source::Bytes(bytes) => compile(bytes.as_slice()),
    }
}

/// A file whose parts are read as they are asked for, each of a bounded size.
#[derive(Clone, Copy)]
struct Parts<'a>(&'a ReadCache<File>);

impl<'a> ReadRef<'a> for Parts<'a> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > SECTION { Err(()) } else { self.0.read_bytes_at(offset, size) }
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_asked_for_comes() {
        let loader = Loader::start(None).unwrap();
        loader.ask(1, Source::File("/proc/self/exe".into())).unwrap();
        loader.ask(2, Source::Bytes(b"\x7fELF and no more".to_vec())).unwrap();
        let start = Instant::now();
        let mut done = Vec::new();
        while done.len() < 2 && start.elapsed() < Duration::from_secs(60) {
            done.extend(loader.take());
            std::thread::sleep(Duration::from_millis(1));
        }
        let [(1, program), (2, Err(CompileError::Malformed))] = done.as_slice() else { panic!("{done:?}") };
        let expected = if cfg!(target_arch = "x86_64") { program.is_ok() } else { program.is_err() };
        assert!(expected, "{program:?}");
    }
}
