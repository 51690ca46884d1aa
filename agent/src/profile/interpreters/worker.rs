//! The thread that looks at processes and reads their memory. Nobody waits for it: what it finds is taken when it is there.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    rc::Rc,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use geophone_ebpf::interpreter::Interpreter;

use super::{Function, Id, LANGUAGES, Program, Reader, functions::Serial};
use crate::{
    bpf::Waker,
    runtime::{FileId, Image, Later, Refusal, Target},
};

/// What is asked and not taken yet.
const ASKS: usize = 1024;
/// What is answered and not taken yet.
const ANSWERS: usize = 4096;
/// Files that are remembered. When there are more, all are forgotten: each is looked at once more.
const FILES: usize = 4096;
/// Processes whose memory is kept open.
const READERS: usize = 1024;
/// Processes that are looked at again.
const AGAIN: usize = 1024;
/// After how many milliseconds a process is looked at again whose interpreter is not there yet, each time; then it is given up.
const DELAYS: [u64; 12] = [2, 4, 8, 16, 32, 64, 128, 256, 500, 1_000, 4_000, 15_000];

/// How long the thread sleeps when nothing is to be done.
const IDLE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Debug)]
pub enum Ask {
    /// Look at a process, unless its interpreter was found before. Where no library is mapped that may be an interpreter's, those that come
    /// in libraries need not be looked for.
    Process { serial: Serial, tgid: u32, has_library: bool },
    /// Read these functions of it.
    Functions(Serial, Vec<Id>),
    /// It is over.
    Ended(Serial),
}

/// What is answered.
#[derive(Debug)]
pub enum Answer {
    /// How the kernel side finds its frames.
    Interpreter(Serial, u32, Box<Interpreter>),
    /// A process was looked at, as was asked.
    Looked {
        /// Which.
        serial: Serial,
        /// It is to be said when it is over.
        is_watched: bool,
        /// What it runs: no process that runs this has an interpreter, unless that is in a library.
        without: Option<FileId>,
    },
    /// It has an interpreter that cannot be understood.
    Refused,
    /// A function, or that it was not there.
    Function(Serial, Id, Option<Function>),
}

/// Starts the thread, which tells `waker` of answers. It ends when one of the ends that are returned is dropped.
pub fn start(waker: Option<Waker>) -> io::Result<(SyncSender<Ask>, Receiver<Answer>)> {
    let (asks, waiting) = sync_channel(ASKS);
    let (answers, taken) = sync_channel(ANSWERS);
    std::thread::Builder::new().name("geophone-interp".to_owned()).spawn(move || {
        // Whoever has taken the answers is gone.
        let _ = Worker {
            answers,
            waker,
            files: HashMap::new(),
            readers: HashMap::new(),
            again: Later::new(&DELAYS, AGAIN),
            said: HashSet::new(),
            has_news: false,
        }
        .run(&waiting);
    })?;
    Ok((asks, taken))
}

/// Nobody takes answers any more.
struct Over;

struct Worker {
    answers: SyncSender<Answer>,
    waker: Option<Waker>,
    /// What processes that run a file may have.
    files: HashMap<FileId, Rc<Vec<Box<dyn Program>>>>,
    readers: HashMap<Serial, Box<dyn Reader>>,
    again: Later<Again>,
    /// Files of which it was said that they are not understood.
    said: HashSet<FileId>,
    /// Something was answered that is not to wait.
    has_news: bool,
}

/// A process that is to be looked at again.
struct Again {
    serial: Serial,
    tgid: u32,
    has_library: bool,
}

impl Worker {
    fn run(mut self, asks: &Receiver<Ask>) -> Result<(), Over> {
        loop {
            match asks.recv_timeout(self.timeout()) {
                Ok(Ask::Process { serial, tgid, has_library }) => {
                    let is_again = |again: &Again| again.serial == serial;
                    let mut without = None;
                    if !self.readers.contains_key(&serial) && !self.again.any(is_again) {
                        without = self.look(serial, tgid, has_library, 0)?;
                    }
                    let is_watched = self.readers.contains_key(&serial) || self.again.any(is_again);
                    self.answer(Answer::Looked { serial, is_watched, without })?;
                }
                Ok(Ask::Functions(serial, ids)) => self.read(serial, ids)?,
                Ok(Ask::Ended(serial)) => {
                    self.readers.remove(&serial);
                    self.again.retain(|again| again.serial != serial);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.late()?;
            if std::mem::take(&mut self.has_news) {
                self.waker.iter().for_each(Waker::wake);
            }
        }
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Over> {
        // Nobody is in a hurry to hear that a process has nothing.
        self.has_news |= !matches!(answer, Answer::Looked { .. });
        self.answers.send(answer).map_err(|_| Over)
    }

    fn timeout(&self) -> Duration {
        self.again.wait(Instant::now()).unwrap_or(IDLE)
    }

    /// Looks again at those for which it is time.
    fn late(&mut self) -> Result<(), Over> {
        for (again, tries) in self.again.due(Instant::now()) {
            self.look(again.serial, again.tgid, again.has_library, tries)?;
        }
        Ok(())
    }

    /// Looks at a process. Returns what it runs, if that says that there is nothing to be found unless in a library.
    fn look(&mut self, serial: Serial, tgid: u32, has_library: bool, tries: usize) -> Result<Option<FileId>, Over> {
        let target = Target { pid: tgid, proc: PathBuf::from("/proc").join(tgid.to_string()) };
        let exe = target.proc.join("exe");
        // What cannot be opened is gone, or is a thread of the kernel.
        let Ok(id) = FileId::of(&exe) else {
            return Ok(None);
        };
        let programs = match self.file(&exe, id) {
            Ok(programs) => programs,
            Err(refusal) => return self.refuse(id, &exe, &refusal).map(|()| None),
        };
        let mut later = false;
        for program in programs.iter().filter(|program| has_library || !program.is_shared()) {
            match program.process(&target) {
                Ok(super::Answer::Found(interpreter, reader)) => {
                    return self.found(serial, tgid, interpreter, reader).map(|()| None);
                }
                Ok(super::Answer::SoFar(interpreter, reader)) => {
                    self.found(serial, tgid, interpreter, reader)?;
                    later = true;
                }
                Ok(super::Answer::Later) => later = true,
                Err(refusal) => return self.refuse(id, &exe, &refusal).map(|()| None),
            }
        }
        if later {
            // What is not found by the last time is given up.
            let _ = self.again.add(Again { serial, tgid, has_library }, tries, Instant::now());
        }
        Ok(programs.iter().all(|program| program.is_shared()).then_some(id))
    }

    fn found(
        &mut self,
        serial: Serial,
        tgid: u32,
        interpreter: Box<Interpreter>,
        reader: Box<dyn Reader>,
    ) -> Result<(), Over> {
        if self.readers.len() >= READERS && !self.readers.contains_key(&serial) {
            return self.answer(Answer::Refused);
        }
        self.readers.insert(serial, reader);
        self.answer(Answer::Interpreter(serial, tgid, interpreter))
    }

    /// What is known of a file, looked at if it is new.
    fn file(&mut self, exe: &std::path::Path, id: FileId) -> Result<Rc<Vec<Box<dyn Program>>>, Refusal> {
        if let Some(known) = self.files.get(&id) {
            return Ok(Rc::clone(known));
        }
        let mut programs = Vec::new();
        if let Some(image) = Image::open(exe)? {
            for language in LANGUAGES {
                match language.file(&image) {
                    Ok(program) => programs.extend(program),
                    // What the kernel runs is proper as far as it looks; further on it may be anything.
                    Err(refusal) => log::debug!("{}: no {}: {refusal}", exe.display(), language.name()),
                }
            }
        }
        if self.files.len() >= FILES {
            self.files.clear();
            self.said.clear();
        }
        let programs = Rc::new(programs);
        self.files.insert(id, Rc::clone(&programs));
        Ok(programs)
    }

    /// Counts a process whose frames stay unknown, and says why, once for each file.
    fn refuse(&mut self, id: FileId, exe: &std::path::Path, refusal: &Refusal) -> Result<(), Over> {
        // It has ended meanwhile.
        if let Refusal::Io(error) = refusal
            && error.kind() == io::ErrorKind::NotFound
        {
            return Ok(());
        }
        if self.said.insert(id) {
            let path = std::fs::read_link(exe).unwrap_or_else(|_| exe.to_owned());
            log::info!("{}: its functions are not shown, but those of its interpreter: {refusal}", path.display());
        }
        self.answer(Answer::Refused)
    }

    fn read(&mut self, serial: Serial, ids: Vec<Id>) -> Result<(), Over> {
        for id in ids {
            let function = self.readers.get_mut(&serial).and_then(|reader| reader.function(id));
            self.answer(Answer::Function(serial, id, function))?;
        }
        Ok(())
    }
}
