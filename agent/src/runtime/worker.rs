//! The thread that looks at files and processes, tells the kernel side what it found, and attaches probes. It sleeps while nothing
//! is asked. What it does may take a while (reading files; attaching, for which the kernel stops other things), which is why it is
//! a thread of its own.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet, VecDeque},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use super::{
    Answer, DETECTORS, FileId, Found, Image, Plan, Probe, Refusal, Target,
    watch::{Ask, Shared},
};
use crate::{
    bpf::{Attached, Hooks},
    process::Proc,
};

/// Files that are remembered. When there are more, all are forgotten: each is looked at once more.
const FILES: usize = 4096;
/// Probes at a time. A host runs some hundred different files at most.
const PROBES: usize = 1024;
/// Processes that are asked again later.
const AGAIN: usize = 1024;
/// After how long a process is asked again that has not loaded its runtime yet, each time; then it is given up.
const DELAYS: [u64; 8] = [50, 100, 200, 500, 1_000, 4_000, 15_000, 60_000];
/// How often it is looked whether the processes that probes are for still live.
const SWEEP: Duration = Duration::from_secs(5);
/// A little behind whatever is watched.
const NICE: i32 = 5;

/// What is known of a file.
#[derive(Default)]
struct Looked {
    /// The runtimes that processes running it may have.
    plans: Vec<Box<dyn Plan>>,
    /// The runtime that it has and that cannot be understood, and why.
    refused: Option<(&'static str, Refusal)>,
    /// The log has been told of its refusal.
    said: Cell<bool>,
}

/// A probe's identity.
type Key = (&'static str, FileId, u64);

struct Known {
    /// When the process started, which tells it from a later one with its number.
    start: u64,
    probes: Vec<Key>,
    /// Those that are not attached before they are asked for.
    on_demand: Vec<Probe>,
    /// They were.
    is_asked: bool,
}

struct Again {
    when: Instant,
    tgid: u32,
    start: u64,
    tries: usize,
}

pub struct Worker {
    hooks: Hooks,
    asks: Receiver<Ask>,
    shared: Arc<Shared>,
    proc: Proc,
    files: HashMap<FileId, Rc<Looked>>,
    known: HashMap<u32, Known>,
    probes: HashMap<Key, (Attached, usize)>,
    /// Processes that more was asked for before they were looked at.
    early: HashSet<u32>,
    again: VecDeque<Again>,
    swept: Instant,
}

impl Worker {
    pub fn new(hooks: Hooks, asks: Receiver<Ask>, shared: Arc<Shared>) -> Self {
        Self {
            hooks,
            asks,
            shared,
            proc: Proc::default(),
            files: HashMap::new(),
            known: HashMap::new(),
            probes: HashMap::new(),
            early: HashSet::new(),
            again: VecDeque::new(),
            swept: Instant::now(),
        }
    }

    pub fn run(mut self, chosen: Option<Vec<u32>>, looked: &SyncSender<()>) {
        // What runs already will not be seen for a first time by itself before its tasks matter.
        for tgid in chosen.unwrap_or_else(running) {
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            self.process(tgid, 0);
        }
        // Whoever waited may have given up.
        let _ = looked.try_send(());
        // Only politeness.
        let _ = rustix::process::setpriority_process(None, NICE);
        while !self.shared.stop.load(Ordering::Acquire) {
            let ask = match self.asks.recv_timeout(self.timeout()) {
                Ok(ask) => ask,
                Err(RecvTimeoutError::Timeout) => {
                    self.late();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match ask {
                Ask::Process(tgid) => self.process(tgid, 0),
                Ask::More(tgid) => self.more(tgid),
                Ask::File(tgid) => {
                    // It will be asked for if it matters.
                    let _ = self.file(&directory(tgid).join("exe"));
                }
                Ask::Stop => break,
            }
            self.late();
        }
    }

    /// How long there is nothing to do by itself.
    fn timeout(&self) -> Duration {
        let next = self.again.iter().map(|again| again.when).min();
        let wait = next.map_or(SWEEP, |when| when.saturating_duration_since(Instant::now()));
        wait.min(SWEEP)
    }

    /// Asks again whom it is time to ask, and now and then looks who is gone.
    fn late(&mut self) {
        let now = Instant::now();
        for _ in 0..self.again.len() {
            match self.again.pop_front() {
                Some(again) if again.when > now => self.again.push_back(again),
                // Another process has its number by now: that one is asked for itself.
                Some(again) if self.start(again.tgid) == Some(again.start) => self.process(again.tgid, again.tries),
                Some(_) | None => {}
            }
        }
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep();
        }
    }

    fn start(&self, tgid: u32) -> Option<u64> {
        self.proc.start(tgid).ok()
    }

    /// Finds the tasks of a process.
    fn process(&mut self, tgid: u32, tries: usize) {
        let proc = directory(tgid);
        let exe = proc.join("exe");
        let (Some(start), Ok(id)) = (self.start(tgid), FileId::of(&exe)) else {
            // It is gone, or is a kernel thread.
            return;
        };
        let looked = match self.file(&exe) {
            Ok(looked) => looked,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                count(&self.shared.refused);
                log::debug!("{}: {error}", exe.display());
                return;
            }
        };
        if let Some((runtime, refusal)) = &looked.refused {
            self.refuse(&looked, runtime, &exe, refusal);
        }
        let target = Target { pid: tgid, proc };
        let mut later = false;
        for plan in &looked.plans {
            match plan.process(&target) {
                Ok(Answer::Found(found)) => {
                    self.found(tgid, start, id, plan.runtime(), &found);
                    return;
                }
                Ok(Answer::SoFar(found)) => {
                    self.found(tgid, start, id, plan.runtime(), &found);
                    // It may do without the rest: that is no loss.
                    self.ask_again(tgid, start, tries);
                    return;
                }
                Ok(Answer::No) => {}
                Ok(Answer::Later) => later = true,
                Err(refusal) => self.refuse(&looked, plan.runtime(), &exe, &refusal),
            }
        }
        if later && !self.ask_again(tgid, start, tries) {
            count(&self.shared.given_up);
        }
    }

    /// Returns whether the process will be asked again.
    fn ask_again(&mut self, tgid: u32, start: u64, tries: usize) -> bool {
        match DELAYS.get(tries) {
            Some(delay) if self.again.len() < AGAIN => {
                let when = Instant::now() + Duration::from_millis(*delay);
                self.again.push_back(Again { when, tgid, start, tries: tries + 1 });
                true
            }
            _ => false,
        }
    }

    /// What is known of a file, looked at if it is new.
    fn file(&mut self, exe: &Path) -> io::Result<Rc<Looked>> {
        if let Some(looked) = self.files.get(&FileId::of(exe)?) {
            return Ok(Rc::clone(looked));
        }
        let mut looked = Looked::default();
        let id = match Image::open(exe) {
            Ok(None) => FileId::of(exe)?,
            Ok(Some(image)) => {
                for detector in DETECTORS {
                    match detector.file(&image) {
                        Ok(Some(plan)) => looked.plans.push(plan),
                        Ok(None) => {}
                        Err(refusal) => looked.refused = Some((detector.name(), refusal)),
                    }
                }
                image.id()
            }
            Err(Refusal::Io(error)) => return Err(error),
            // What the kernel runs is proper as far as it looks; further on it may be anything.
            Err(_) => FileId::of(exe)?,
        };
        if self.files.len() >= FILES {
            self.files.clear();
        }
        let looked = Rc::new(looked);
        self.files.insert(id, Rc::clone(&looked));
        Ok(looked)
    }

    /// Counts a process whose tasks stay unknown, and says why, once for each file.
    fn refuse(&self, looked: &Looked, runtime: &str, exe: &Path, refusal: &Refusal) {
        if let Refusal::Io(error) = refusal
            && error.kind() == io::ErrorKind::NotFound
        {
            // It has ended meanwhile.
            return;
        }
        count(&self.shared.refused);
        if !looked.said.replace(true) {
            let path = std::fs::read_link(exe).unwrap_or_else(|_| exe.to_owned());
            log::info!("{}: the tasks of {runtime} are not followed: {refusal}", path.display());
        }
    }

    /// Tells the kernel side, and attaches what the process needs.
    fn found(&mut self, tgid: u32, start: u64, id: FileId, runtime: &str, found: &Found) {
        if let Err(error) = self.hooks.set_runtime(tgid, found.runtime) {
            count(&self.shared.table_full);
            log::debug!("process {tgid}: {error}");
            return;
        }
        // The kernel side forgets a process when it ends or runs another program. If that came just before this, it has to be done
        // here: another process may get its number.
        if self.start(tgid) != Some(start) || FileId::of(&directory(tgid).join("exe")).ok() != Some(id) {
            self.hooks.forget_runtime(tgid);
            return;
        }
        let probes: Vec<Key> = found.probes.iter().filter_map(|probe| self.attach(probe)).collect();
        let on_demand = found.on_demand.clone();
        let before = self.known.insert(tgid, Known { start, probes, on_demand, is_asked: false });
        // What was asked for before stays.
        let was_asked = before.as_ref().is_some_and(|before| before.start == start && before.is_asked);
        if self.early.remove(&tgid) || was_asked {
            self.more(tgid);
        }
        if let Some(before) = before {
            if before.start != start {
                count(&self.shared.found);
            }
            self.release(before);
        } else {
            count(&self.shared.found);
        }
        log::debug!("process {tgid}: the tasks of {runtime} are followed");
    }

    /// Attaches what a process needs now.
    fn more(&mut self, tgid: u32) {
        let Some(known) = self.known.get_mut(&tgid) else {
            if self.early.len() < AGAIN {
                self.early.insert(tgid);
            }
            return;
        };
        known.is_asked = true;
        let on_demand = std::mem::take(&mut known.on_demand);
        let mut probes: Vec<Key> = on_demand.iter().filter_map(|probe| self.attach(probe)).collect();
        if let Some(known) = self.known.get_mut(&tgid) {
            known.probes.append(&mut probes);
        }
        if !on_demand.is_empty() {
            log::debug!("process {tgid}: who gives its tasks work is followed, too");
        }
    }

    fn attach(&mut self, probe: &Probe) -> Option<Key> {
        let key = (probe.program, probe.id, probe.offset);
        if let Some((_, users)) = self.probes.get_mut(&key) {
            *users += 1;
            return Some(key);
        }
        if self.probes.len() >= PROBES {
            count(&self.shared.probes_failed);
            return None;
        }
        match self.hooks.attach(probe.program, &probe.file, probe.offset) {
            Ok(attached) => {
                self.probes.insert(key, (attached, 1));
                Some(key)
            }
            Err(error) => {
                count(&self.shared.probes_failed);
                log::info!("the probe {} cannot be attached: {error}", probe.program);
                None
            }
        }
    }

    /// One user less of each probe; without users it is detached.
    fn release(&mut self, known: Known) {
        for key in known.probes {
            if let Some((_, users)) = self.probes.get_mut(&key) {
                *users = users.saturating_sub(1);
                if *users == 0 {
                    self.probes.remove(&key);
                }
            }
        }
    }

    fn sweep(&mut self) {
        self.early.clear();
        let gone: Vec<u32> = self
            .known
            .iter()
            .filter(|(tgid, known)| self.proc.start(**tgid).ok() != Some(known.start))
            .map(|(tgid, _)| *tgid)
            .collect();
        for tgid in gone {
            if let Some(known) = self.known.remove(&tgid) {
                self.release(known);
            }
        }
    }
}

fn directory(tgid: u32) -> PathBuf {
    Path::new("/proc").join(tgid.to_string())
}

/// The processes that there are, but for the agent.
fn running() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let tgids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    tgids.filter(|tgid| *tgid != std::process::id()).collect()
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
