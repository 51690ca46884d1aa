//! Makes rows on a thread of its own, and hands them to the kernel side: a large program takes a second or two, in which samples keep
//! coming.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use object::read::ReadCache;

use super::{CompileError, Table, compile};
use crate::{
    bpf::{Part, Rows, Waker},
    parts::{self, Parts},
};

/// Files that wait for the thread: few, because smaller ones that come later go first.
const WAITING: usize = 2;
/// Files whose rows wait for being taken notice of.
const DONE: usize = 64;

/// What rows are made of.
#[derive(Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An image in memory.
    Bytes(Vec<u8>),
}

/// What became of it.
#[derive(Debug)]
pub enum Made {
    /// Its rows are in the kernel. Of the table, they are not kept.
    Ready(Table, Vec<Part>),
    /// It has none.
    Empty,
    /// There was no room for them: what they were made of.
    NoRoom(Source),
    /// They could not be made.
    Failed(CompileError),
}

/// What it is asked for.
#[derive(Debug)]
enum Job<K> {
    Make(K, Source),
    Give(Vec<Part>),
}

/// The thread, as its user sees it. It ends when this is dropped.
#[derive(Debug)]
pub struct Loader<K> {
    jobs: SyncSender<Job<K>>,
    done: Receiver<(K, Made)>,
}

impl<K: Send + 'static> Loader<K> {
    /// Starts it. Rows go to `rows`, and are not kept where that is `None`; `waker` is told of each file that is done.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(mut rows: Option<Rows>, waker: Option<Waker>) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job<K>>(WAITING);
        let (ready, done) = sync_channel(DONE);
        std::thread::Builder::new().name("geophone-unwind".to_owned()).spawn(move || {
            while let Ok(job) = waiting.recv() {
                let (key, source) = match job {
                    Job::Make(key, source) => (key, source),
                    Job::Give(parts) => {
                        rows.iter_mut().for_each(|rows| rows.give(&parts));
                        continue;
                    }
                };
                let made = make(&source);
                if ready.send((key, add(made, source, rows.as_mut()))).is_err() {
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
        self.jobs.try_send(Job::Make(key, source)).or_else(|error| match error {
            TrySendError::Full(Job::Make(key, source)) | TrySendError::Disconnected(Job::Make(key, source)) => {
                Err((key, source))
            }
            TrySendError::Full(Job::Give(_)) | TrySendError::Disconnected(Job::Give(_)) => Ok(()),
        })
    }

    /// Takes rows away, before what is asked for later is made. Gives them back when too much is waiting.
    ///
    /// # Errors
    /// What is not taken.
    pub fn give(&self, parts: Vec<Part>) -> Result<(), Vec<Part>> {
        self.jobs.try_send(Job::Give(parts)).or_else(|error| match error {
            TrySendError::Full(Job::Give(parts)) | TrySendError::Disconnected(Job::Give(parts)) => Err(parts),
            TrySendError::Full(Job::Make(..)) | TrySendError::Disconnected(Job::Make(..)) => Ok(()),
        })
    }

    /// The next one that is done.
    pub fn take(&self) -> Option<(K, Made)> {
        self.done.try_recv().ok()
    }
}

fn add(made: Result<Table, CompileError>, source: Source, rows: Option<&mut Rows>) -> Made {
    let mut table = match made {
        Ok(table) => table,
        Err(error) => return Made::Failed(error),
    };
    if table.malformed() != 0 {
        log::debug!("{} frame descriptions of a file are malformed", table.malformed());
    }
    if table.rows().is_empty() {
        return Made::Empty;
    }
    match rows.and_then(|rows| rows.add(table.rows())) {
        Some(parts) => {
            table.forget_rows();
            Made::Ready(table, parts)
        }
        None => Made::NoRoom(source),
    }
}

fn make(source: &Source) -> Result<Table, CompileError> {
    match source {
        Source::File(path) => {
            let file = File::open(path).map_err(|_| CompileError::Malformed)?;
            let cache = ReadCache::new(&file);
            compile(Parts::new(&cache, parts::USUAL))
        }
        Source::Bytes(bytes) => compile(bytes.as_slice()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_asked_for_comes() {
        let loader = Loader::start(None, None).unwrap();
        loader.ask(1, Source::File("/proc/self/exe".into())).unwrap();
        loader.ask(2, Source::Bytes(b"\x7fELF and no more".to_vec())).unwrap();
        let start = Instant::now();
        let mut done = Vec::new();
        while done.len() < 2 && start.elapsed() < Duration::from_secs(60) {
            done.extend(loader.take());
            std::thread::sleep(Duration::from_millis(1));
        }
        let [(1, program), (2, Made::Failed(CompileError::Malformed))] = done.as_slice() else { panic!("{done:?}") };
        // There is no kernel side here.
        assert!(matches!(program, Made::NoRoom(_)) || cfg!(not(target_arch = "x86_64")), "{program:?}");
    }
}
