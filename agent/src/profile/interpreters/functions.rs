//! The functions of all processes, as far as they have been read: asked for when they are first sampled, because their process may be gone
//! later. Memory is bounded; what finds no room has no name.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use geophone_ebpf::interpreter::Interpreter;
use hashbrown::{HashMap, HashSet};

use super::{Function, Id, worker};
use crate::{
    bpf::{Tables, Waker},
    runtime::FileId,
};

/// Functions that are kept.
const MOST: usize = 1 << 17;
/// Functions of one process: who makes up frames takes no room from others.
const MOST_OF_ONE: usize = 1 << 15;
/// Bytes that they take.
const BYTES: usize = 64 << 20;
/// Functions that are asked for at a time.
const BATCH: usize = 256;
/// Programs that are known to have no interpreter. When there are more, all are forgotten.
const WITHOUT: usize = 4096;
/// For how long after something new was met there is more to be expected.
const YOUNG: Duration = Duration::from_millis(500);

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes whose interpreter is not understood.
    pub refused: u64,
    /// Functions that were not there any more when they were looked for.
    pub gone: u64,
    /// Functions for which there was no room.
    pub dropped: u64,
}

/// A process that runs one program: never given twice.
pub type Serial = u64;

/// What is known of a function.
#[derive(Debug)]
enum State {
    Asked,
    Known(Arc<Function>),
    Gone,
}

/// See the module.
#[derive(Debug)]
pub struct Functions {
    asks: SyncSender<worker::Ask>,
    answers: Receiver<worker::Answer>,
    /// What could not be asked yet.
    pending: Vec<worker::Ask>,
    new: Vec<(Serial, Id)>,
    known: HashMap<(Serial, Id), State>,
    /// How many of each process.
    of: HashMap<Serial, usize>,
    /// Interpreters that were found, and of which the kernel side is to be told.
    found: Vec<(Serial, u32, Interpreter)>,
    bytes: usize,
    /// Functions that were asked for and not answered, and processes.
    open: usize,
    looking: usize,
    /// Programs that are known to have no interpreter, but in libraries: nobody need look at the processes that run them.
    without: HashSet<FileId>,
    /// Processes that the thread is to be told of when they are over; and those that were over before it said so.
    watched: HashSet<Serial>,
    over: HashSet<Serial>,
    counts: Counts,
    met: Option<Instant>,
}

impl Functions {
    /// Starts the thread that looks at processes. `waker` is told when there is something for [`Self::advance`].
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(waker: Option<Waker>) -> io::Result<Self> {
        let (asks, answers) = worker::start(waker)?;
        Ok(Self {
            asks,
            answers,
            pending: Vec::new(),
            new: Vec::new(),
            known: HashMap::new(),
            of: HashMap::new(),
            found: Vec::new(),
            bytes: 0,
            open: 0,
            looking: 0,
            without: HashSet::new(),
            watched: HashSet::new(),
            over: HashSet::new(),
            counts: Counts::default(),
            met: None,
        })
    }

    /// What is mapped in a process was read: `has_library` says whether that may be an interpreter's library, `exe` what it runs, if that is
    /// known. Returns whether it is certain that it has no interpreter.
    pub fn mapped(&mut self, serial: Serial, tgid: u32, has_library: bool, exe: Option<&FileId>) -> bool {
        if !has_library && exe.is_some_and(|exe| self.without.contains(exe)) {
            return true;
        }
        self.looking += 1;
        self.ask(worker::Ask::Process { serial, tgid, has_library });
        false
    }

    /// A process has ended, or runs another program.
    pub fn ended(&mut self, serial: Serial) {
        if self.watched.remove(&serial) {
            self.ask(worker::Ask::Ended(serial));
        } else if self.looking != 0 {
            self.over.insert(serial);
        }
    }

    fn looked(&mut self, serial: Serial, is_watched: bool, without: Option<FileId>) {
        self.looking = self.looking.saturating_sub(1);
        if let Some(file) = without {
            if self.without.len() >= WITHOUT {
                self.without.clear();
            }
            self.without.insert(file);
        }
        let is_over = self.over.remove(&serial);
        if is_watched && is_over {
            self.ask(worker::Ask::Ended(serial));
        } else if is_watched {
            self.watched.insert(serial);
        }
        if self.looking == 0 {
            self.over.clear();
        }
    }

    /// Makes sure that functions will be known.
    pub fn keep(&mut self, serial: Serial, functions: impl Iterator<Item = Id>) {
        for id in functions {
            let key = (serial, id);
            if self.known.contains_key(&key) {
                continue;
            }
            let of = self.of.entry(serial).or_default();
            if self.known.len() >= MOST || self.bytes >= BYTES || *of >= MOST_OF_ONE {
                self.counts.dropped += 1;
                continue;
            }
            *of += 1;
            self.known.insert(key, State::Asked);
            self.new.push(key);
            self.open += 1;
            self.met = Some(Instant::now());
        }
    }

    /// Asks what is to be asked, and takes what was answered. `is_current`: whether a process still runs that program.
    pub fn advance(&mut self, tables: &mut Tables, is_current: impl Fn(Serial, u32) -> bool) {
        self.exchange();
        for (serial, tgid, interpreter) in self.found.drain(..) {
            if is_current(serial, tgid)
                && let Err(error) = tables.set_interpreter(tgid, interpreter)
            {
                self.counts.refused += 1;
                log::debug!("process {tgid}: {error}");
            }
        }
    }

    fn exchange(&mut self) {
        let mut new = std::mem::take(&mut self.new);
        new.sort_unstable();
        for of_one in new.chunk_by(|(left, _), (right, _)| left == right) {
            for batch in of_one.chunks(BATCH) {
                if let Some((serial, _)) = batch.first() {
                    let ids = batch.iter().map(|(_, id)| *id).collect();
                    self.pending.push(worker::Ask::Functions(*serial, ids));
                }
            }
        }
        for ask in std::mem::take(&mut self.pending) {
            self.ask(ask);
        }
        while let Ok(answer) = self.answers.try_recv() {
            match answer {
                worker::Answer::Interpreter(serial, tgid, interpreter) => self.found.push((serial, tgid, *interpreter)),
                worker::Answer::Looked { serial, is_watched, without } => self.looked(serial, is_watched, without),
                worker::Answer::Refused => self.counts.refused += 1,
                worker::Answer::Function(serial, id, function) => self.answered((serial, id), function),
            }
        }
    }

    fn answered(&mut self, key: (Serial, Id), function: Option<Function>) {
        self.open = self.open.saturating_sub(1);
        // It may be forgotten by now.
        let Some(state) = self.known.get_mut(&key) else {
            return;
        };
        *state = match function {
            Some(function) => {
                self.bytes += function.bytes();
                State::Known(Arc::new(function))
            }
            None => {
                self.counts.gone += 1;
                State::Gone
            }
        };
    }

    /// Asks at once, or later where there is no room; in order.
    fn ask(&mut self, ask: worker::Ask) {
        if !self.pending.is_empty() {
            self.pending.push(ask);
            return;
        }
        match self.asks.try_send(ask) {
            Ok(()) => {}
            Err(TrySendError::Full(ask)) => self.pending.push(ask),
            // The thread ends only with this.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Waits until all has been answered, but not for longer than this.
    pub fn settle(&mut self, most: Duration) {
        let start = Instant::now();
        self.exchange();
        while self.open != 0 && start.elapsed() < most {
            std::thread::sleep(Duration::from_millis(1));
            self.exchange();
        }
    }

    /// A function; `None` where it is not known.
    #[must_use]
    pub fn get(&self, serial: Serial, id: Id) -> Option<&Arc<Function>> {
        match self.known.get(&(serial, id))? {
            State::Known(function) => Some(function),
            State::Asked | State::Gone => None,
        }
    }

    /// Forgets the functions of programs that are not needed any more.
    pub fn forget(&mut self, is_needed: impl Fn(Serial) -> bool) {
        self.of.retain(|serial, _| is_needed(*serial));
        self.watched.retain(|serial| is_needed(*serial));
        self.known.retain(|(serial, _), state| match state {
            _ if is_needed(*serial) => true,
            State::Known(function) => {
                self.bytes = self.bytes.saturating_sub(function.bytes());
                false
            }
            State::Asked | State::Gone => false,
        });
    }

    /// Whether processes are being looked at.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.looking != 0
    }

    /// Whether something is on its way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_looking() || self.open != 0
    }

    /// Whether new functions are to be expected, which are read while they are there.
    #[must_use]
    pub fn is_young(&self) -> bool {
        self.met.is_some_and(|met| met.elapsed() < YOUNG)
    }

    /// What happened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
