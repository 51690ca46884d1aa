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

use geophone_ebpf::config::Runtime;

use super::{
    Answer, DETECTORS, FileId, Found, Image, Plan, Probe, Refusal, Target,
    encryption::{Encryption, Means, Subject},
    later::Later,
    probes::{Key, Probes},
    watch::{Ask, Shared},
};
use crate::{
    bpf::{Hooks, Kernel},
    process::Proc,
};

/// Files that are remembered. When there are more, all are forgotten: each is looked at once more.
const FILES: usize = 4096;
/// Processes that are asked again later.
const AGAIN: usize = 1024;
/// Processes that wait to be looked at because their program has begun.
const BEGUN: usize = 1024;
/// After how many milliseconds a process is asked again that has not loaded its runtime yet, each time; then it is given up.
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

struct Known {
    /// When the process started, which tells it from a later one with its number.
    start: u64,
    /// Since when its probes are in place.
    since: u64,
    probes: Vec<Key>,
    /// Some of them are where it encrypts by itself.
    encrypts: bool,
    /// Those that are not attached before they are asked for.
    on_demand: Vec<Probe>,
    /// They were.
    is_asked: bool,
}

/// A process that is asked again, unless another one has its number by then.
struct Again {
    tgid: u32,
    start: u64,
}

pub struct Worker {
    hooks: Hooks,
    asks: Receiver<Ask>,
    shared: Arc<Shared>,
    proc: Proc,
    files: HashMap<FileId, Rc<Looked>>,
    known: HashMap<u32, Known>,
    probes: Probes,
    /// Processes that more was asked for before they were looked at.
    early: HashSet<u32>,
    encryption: Encryption,
    /// What is encrypted is read.
    tls: bool,
    again: Later<Again>,
    /// Processes whose programs have begun, and are still to be looked at.
    begun: VecDeque<u32>,
    swept: Instant,
}

impl Worker {
    pub fn new(hooks: Hooks, asks: Receiver<Ask>, shared: Arc<Shared>, tls: bool) -> Self {
        Self {
            hooks,
            asks,
            shared,
            proc: Proc::default(),
            files: HashMap::new(),
            known: HashMap::new(),
            probes: Probes::default(),
            early: HashSet::new(),
            encryption: Encryption::new(tls),
            tls,
            again: Later::new(&DELAYS, AGAIN),
            begun: VecDeque::new(),
            swept: Instant::now(),
        }
    }

    /// Finds the tasks of a process, and how it encrypts.
    fn process(&mut self, tgid: u32) {
        self.tasks(tgid, 0);
        self.encryption(tgid, false);
    }

    /// A program has begun. What it needs should be there before it uses a socket.
    fn began(&mut self, tgid: u32) {
        let exe = directory(tgid).join("exe");
        let (Ok(looked), Ok(id)) = (self.file(&exe), FileId::of(&exe)) else {
            return;
        };
        let early = looked.plans.iter().any(|plan| plan.early());
        if early {
            self.tasks(tgid, 0);
        }
        self.encryption(tgid, false);
        if early || self.encryption.is_library(&id) {
            self.hooks.tell_again(id.dev, id.ino);
        }
    }

    /// `encrypts`: it is seen to.
    fn encryption(&mut self, tgid: u32, encrypts: bool) {
        let Some(start) = self.start(tgid) else {
            return;
        };
        let known = self.known.get(&tgid).filter(|known| known.start == start && known.since > 0);
        let go = known.map(|known| known.encrypts);
        let Self { hooks, probes, shared, encryption, .. } = self;
        let proc = directory(tgid);
        let subject = Subject { tgid, start, proc: &proc, go, encrypts };
        encryption.process(subject, &mut Means { hooks, probes, shared });
    }

    pub fn run(mut self, chosen: Option<Vec<u32>>, looked: &SyncSender<()>) {
        // What runs already will not be seen for a first time by itself before its tasks matter. They come first: what is said inside of
        // TLS shows as missing as long as it is not known, but a task that is not known leaves no trace.
        let chosen = chosen.unwrap_or_else(running);
        for &tgid in &chosen {
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            self.tasks(tgid, 0);
        }
        let Self { hooks, probes, shared, encryption, .. } = &mut self;
        encryption.installed(&mut Means { hooks, probes, shared });
        for tgid in chosen {
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            self.encryption(tgid, false);
        }
        self.shared.ready.store(true, Ordering::Release);
        // Whoever waited may have gone on, and asks later.
        let _ = looked.try_send(());
        // Only politeness.
        let _ = rustix::process::setpriority_process(None, NICE);
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.next() {
                Some(Ask::Process(tgid)) => self.process(tgid),
                Some(Ask::More(tgid)) => self.more(tgid),
                Some(Ask::Encrypted(tgid)) => self.encryption(tgid, true),
                Some(Ask::File(tgid)) => self.began(tgid),
                Some(Ask::Stop) => break,
                None => {}
            }
            self.late();
        }
    }

    /// What is to be done next, after a while perhaps: who uses sockets now goes before who may do so later.
    fn next(&mut self) -> Option<Ask> {
        let mut came = match self.begun.is_empty() {
            true => match self.asks.recv_timeout(self.timeout()) {
                Ok(ask) => Some(ask),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Ask::Stop),
            },
            false => self.asks.try_recv().ok(),
        };
        while let Some(Ask::File(tgid)) = came {
            if self.begun.len() >= BEGUN {
                // It will be asked for if it matters.
                self.begun.pop_front();
            }
            self.begun.push_back(tgid);
            came = self.asks.try_recv().ok();
        }
        came.or_else(|| self.begun.pop_front().map(Ask::File))
    }

    /// How long there is nothing to do by itself.
    fn timeout(&self) -> Duration {
        self.again.wait(Instant::now()).map_or(SWEEP, |wait| wait.min(SWEEP))
    }

    /// Asks again whom it is time to ask, and now and then looks who is gone.
    fn late(&mut self) {
        let now = Instant::now();
        for (again, tries) in self.again.due(now) {
            // That one is asked for itself.
            if self.start(again.tgid) == Some(again.start) {
                self.tasks(again.tgid, tries);
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
    fn tasks(&mut self, tgid: u32, tries: usize) {
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
        self.again.add(Again { tgid, start }, tries, Instant::now())
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
        let since = self.known.get(&tgid).filter(|known| known.start == start).map_or(0, |known| known.since);
        // What is known of it already holds while it is looked at again: connections may begin meanwhile.
        if let Err(error) = self.hooks.set_runtime(tgid, told(found, since)) {
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
        let tls = found.tls.iter().filter(|_| self.tls);
        let attached =
            found.probes.iter().chain(tls).map(|probe| self.probes.attach(&mut self.hooks, &self.shared, probe));
        let attached: Vec<Option<Key>> = attached.collect();
        let all = attached.iter().all(Option::is_some);
        let probes = attached.into_iter().flatten().collect();
        let before = self.known.remove(&tgid);
        let is_new = since == 0 && all && found.since.is_some();
        let since = if is_new { Kernel::now() } else { since };
        if is_new && let Err(error) = self.hooks.set_runtime(tgid, told(found, since)) {
            log::debug!("process {tgid}: {error}");
        }
        if before.as_ref().is_none_or(|before| before.start != start) {
            count(&self.shared.found);
        }
        // What was asked for before stays.
        let was_asked = before.as_ref().is_some_and(|before| before.start == start && before.is_asked);
        let on_demand = found.on_demand.clone();
        self.known
            .insert(tgid, Known { start, since, probes, encrypts: !found.tls.is_empty(), on_demand, is_asked: false });
        if self.early.remove(&tgid) || was_asked {
            self.more(tgid);
        }
        if let Some(before) = before {
            self.probes.release(before.probes);
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
        for probe in std::mem::take(&mut known.on_demand) {
            known.probes.extend(self.probes.attach(&mut self.hooks, &self.shared, &probe));
        }
        log::debug!("process {tgid}: who gives its tasks work is followed, too");
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
                self.probes.release(known.probes);
            }
        }
        let Self { encryption, probes, proc, .. } = self;
        encryption.sweep(probes, |tgid| proc.start(tgid).ok());
        probes.sweep();
    }
}

/// What the kernel side is told of a process whose probes are all in place since then; 0: not yet.
fn told(found: &Found, since: u64) -> Runtime {
    let mut runtime = found.runtime;
    if let Some(at) = found.since.and_then(|at| runtime.at.get_mut(at)) {
        *at = since;
    }
    runtime
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

/// Counts one more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
