//! The capture thread's side: says which processes there are, and never waits.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{tls::Why, worker::Worker};
use crate::{
    bpf::Hooks,
    event::{self, Life},
};

/// Processes that wait to be looked at. More begin in a burst of forks, but then few of them live long enough to be looked at.
const WAITING: usize = 4096;

/// What the thread is asked.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// This process is traced, and uses sockets: find its tasks.
    Process(u32),
    /// Tasks of this process work that nobody is known to have given work: attach what shows who did.
    More(u32),
    /// This process is seen to use TLS: find how it encrypts.
    Encrypted(u32),
    /// This process may be traced later: look at its file, so that it is known by then.
    File(u32),
    /// No more: end.
    Stop,
}

/// Counters. See [`Watch::counts`].
#[derive(Debug, Default)]
pub struct Shared {
    pub found: AtomicU64,
    pub refused: AtomicU64,
    pub given_up: AtomicU64,
    pub missed: AtomicU64,
    pub probes_failed: AtomicU64,
    pub table_full: AtomicU64,
    pub stop: AtomicBool,
    /// What ran already when the thread was started has been looked at.
    pub ready: AtomicBool,
    /// How processes encrypt.
    pub tls: Mutex<HashMap<u32, Why>>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes whose tasks are read.
    pub found: u64,
    /// Processes of a known runtime whose tasks cannot be read: an unknown version, an unreadable file.
    pub refused: u64,
    /// Processes whose runtime was asked for again and again, and was not ready.
    pub given_up: u64,
    /// Processes that were not looked at because too many waited.
    pub missed: u64,
    /// Functions at which the kernel let no program be run, or too many of them.
    pub probes_failed: u64,
    /// Processes that found no room in the kernel side's table.
    pub table_full: u64,
}

impl Counts {
    /// All of them, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("runtimes_found", self.found),
            ("runtimes_refused", self.refused),
            ("runtimes_given_up", self.given_up),
            ("runtimes_missed", self.missed),
            ("runtime_probes_failed", self.probes_failed),
            ("runtimes_table_full", self.table_full),
        ]
        .into_iter()
    }
}

/// How long the thread may take to end.
const PATIENCE: Duration = Duration::from_millis(200);

/// The thread that looks at processes. Ends soon after this is dropped.
#[derive(Debug)]
pub struct Watch {
    asks: SyncSender<Ask>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread. It looks first at processes that there are already: those given, or all of them. The receiver is told when
    /// that is done.
    /// `tls`: whether what is encrypted is to be read.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(hooks: Hooks, chosen: Option<Vec<u32>>, tls: bool) -> io::Result<(Self, Receiver<()>)> {
        let (asks, receiver): (_, Receiver<Ask>) = sync_channel(WAITING);
        let (looked, ready) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let counters = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("geophone-runtime".to_owned())
            .spawn(move || Worker::new(hooks, receiver, counters, tls).run(chosen, &looked))?;
        Ok((Self { asks, shared, thread: Some(thread) }, ready))
    }

    /// Takes note of a change in the life of a process that is traced.
    pub fn event(&self, process: &event::Process) {
        match process.what {
            // Its tasks are wanted. A program that was just begun uses sockets later; of what was loaded before nothing is left.
            Life::Seen => {
                if self.asks.try_send(Ask::Process(process.tgid)).is_err() {
                    self.shared.missed.fetch_add(1, Ordering::Relaxed);
                }
            }
            // A hint: when too many wait, it is left out.
            Life::Exec => {
                let _ = self.asks.try_send(Ask::File(process.tgid));
            }
            // What the kernel side knew of it, it has forgotten by itself. A child that is forked uses sockets first.
            Life::Exit | Life::Fork => {}
        }
    }

    /// In a process, tasks work that nobody is known to have given work.
    pub fn more(&self, tgid: u32) {
        if self.asks.try_send(Ask::More(tgid)).is_err() {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A process is seen to use TLS. To be said again now and then, while it does.
    pub fn encrypted(&self, tgid: u32) {
        // A hint, as above.
        let _ = self.asks.try_send(Ask::Encrypted(tgid));
    }

    /// How each process encrypts.
    pub fn encryption(&self) -> impl Fn(u32) -> Why + use<> {
        let looked = self.shared.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unseen = if self.shared.ready.load(Ordering::Acquire) { Why::Unseen } else { Why::Early };
        move |tgid| looked.get(&tgid).copied().unwrap_or(unseen)
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { found, refused, given_up, missed, probes_failed, table_full, stop: _, ready: _, tls: _ } =
            &*self.shared;
        Counts {
            found: get(found),
            refused: get(refused),
            given_up: get(given_up),
            missed: get(missed),
            probes_failed: get(probes_failed),
            table_full: get(table_full),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // When the queue is full, the thread is awake.
        let _ = self.asks.try_send(Ask::Stop);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let until = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        if thread.is_finished() {
            // It has nothing to tell.
            let _ = thread.join();
        } else {
            // It is in the middle of a process, and each probe that it attaches takes its time. It ends with the agent, which must not
            // wait for the probes either.
            Hooks::detach_elsewhere();
        }
    }
}
