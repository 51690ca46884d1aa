//! The sampling loop: takes records from the kernel side, reads what must be read while a process lives, adds up. Names come later.

use std::{
    io,
    time::{Duration, Instant},
};

use geophone_ebpf::stats::Counter;

use super::{
    interpreters,
    model::{Kind, Profile},
    sample::{self, Sample},
    sum::Sum,
    waits::{Over, Waits},
    walks::Walks,
};
use crate::{
    bpf::{LoadError, Sampler, Target, Waker, decode},
    event::{Event, Life, Nanos},
    process::{Selector, Table},
    run::Selection,
};

/// Records taken from the rings at a time.
const ROUND: usize = 4096;
/// How long the loop sleeps at most.
const SLEEP: Duration = Duration::from_millis(100);
/// The same while a process has just begun, and may be loading its libraries, or end soon: what is mapped and what its functions are called is read while it is there.
const NAP: Duration = Duration::from_millis(20);
/// How often is looked whether rows are there, before sampling begins.
const PREPARING: Duration = Duration::from_millis(4);
/// The same while records are too young to be taken, perhaps one of a process that does not live long.
const BLINK: Duration = Duration::from_millis(1);
/// How long a process has just begun.
const YOUNG: Duration = Duration::from_millis(500);

/// What is sampled, and how often.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which processes.
    pub selector: Selector,
    /// What this process starts, too.
    pub children: bool,
    /// What is sampled.
    pub kind: Kind,
    /// Debug information is read: see `geophone profile --lines`.
    pub lines: bool,
}

/// What happened to the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken, and in the profile.
    pub taken: u64,
    /// Of those, how many are known to have been taken for a request.
    pub linked: u64,
    /// Lost because a ring or a table was full; beside tracing, because the thread that adds up was busy: what rings lose is counted with all else.
    pub lost: u64,
    /// Lost because there was no room for another stack or process.
    pub dropped: u64,
    /// Files whose rows for unwinding were taken away again, because others needed room and no process had them mapped.
    pub evicted: u64,
    /// How often a file had no names or no lines because its tables were too large, or broken.
    pub unread: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Long waits that are not in the profile, because so many stacks were looked at already.
    pub unseen: u64,
    /// For how long those were, altogether.
    pub unseen_time: Duration,
    /// How the walks of stacks ended.
    pub walks: Walks,
    /// What became of the functions of interpreted programs.
    pub functions: interpreters::Counts,
}

/// Sampling that is under way.
pub struct Collection {
    sampler: Sampler,
    selection: Selection,
    sum: Sum,
    waits: Waits,
    /// When a process was seen for the first time, the last time.
    news: Instant,
    /// Records are there that were too young to be taken.
    waiting: bool,
}

impl Collection {
    /// Loads the programs and attaches them: when this returns, samples are taken.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(settings: Settings, processes: Table) -> Result<Self, LoadError> {
        let Settings { selector, children, kind, lines } = settings;
        let target = match kind {
            Kind::OnCpu { frequency } => Target::Running { frequency },
            Kind::OffCpu { least } => Target::Waiting { least: u32::try_from(least.as_micros()).unwrap_or(u32::MAX) },
        };
        let selective = children || !selector.is_everything();
        let mut sampler = Sampler::load(target, selective, selector.depends_on_programs())?;
        // First watch, then look at what there is: what begins in between is seen by both.
        sampler.watch()?;
        let mut selection = Selection::new(selector, children);
        selection.scan(&processes);
        let mut chosen = Vec::new();
        for (tgid, selected) in selection.marks() {
            sampler.select(tgid, selected)?;
            chosen.extend(selected.then_some(tgid));
        }
        // Rows and names that are there end the wait for records, so that nobody need look for them.
        let waker = Waker::new()?;
        sampler.listen(&waker)?;
        let mut sum = Sum::new(kind, processes, sampler.take_tables(), lines, Some(waker))?;
        sum.prepare(&chosen, PREPARING);
        sampler.start()?;
        sum.begin();
        Ok(Self { sampler, selection, sum, waits: Waits::default(), news: Instant::now(), waiting: false })
    }

    /// Waits a little and takes what has come.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn round(&mut self) -> io::Result<()> {
        let is_quiet = !self.sum.is_young() && self.news.elapsed() > YOUNG;
        let timeout = match (self.waiting, is_quiet) {
            (true, _) => BLINK,
            (false, true) => SLEEP,
            (false, false) => NAP,
        };
        self.sampler.wait(timeout)?;
        self.take();
        Ok(())
    }

    /// Samples so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.sum.counts.taken
    }

    /// Where records go, and where they come from.
    fn intake(&mut self) -> (Intake<'_>, &mut Sampler) {
        let Self { sampler, selection, sum, waits, .. } = self;
        (Intake { selection, sum, waits, news: false }, sampler)
    }

    /// Counts the waits that still last, up to now.
    fn count_lasting(&mut self) {
        let Kind::OffCpu { least } = self.sum.kind() else {
            return;
        };
        let now = crate::bpf::now();
        let (mut intake, sampler) = self.intake();
        for over in intake.waits.still(now, |tid| sampler.waits_since(tid)) {
            if u128::from(over.nanos) >= least.as_nanos() {
                intake.over(&over, now);
            }
        }
    }

    fn take(&mut self) {
        loop {
            let (mut intake, sampler) = self.intake();
            let (count, waiting) = sampler.drain(ROUND, |record| intake.record(record));
            let news = intake.news;
            self.waiting = waiting;
            if news {
                self.news = Instant::now();
            }
            for (tgid, selected) in self.selection.marks() {
                if let Err(error) = self.sampler.select(tgid, selected) {
                    log::warn!("a process that was chosen is not sampled: {error}");
                }
            }
            self.sum.place();
            if count < ROUND {
                return;
            }
        }
    }

    /// Names what was seen since sampling began, or since this was done the last time, and goes on.
    #[must_use]
    pub fn cut(&mut self) -> Profile {
        self.sum.cut(self.waits.spaces())
    }

    /// Stops sampling and names what was seen since the last cut.
    #[must_use]
    pub fn finish(mut self) -> (Profile, Counts) {
        let duration = self.sum.lasts();
        // What was sampled just now is still too young to be taken.
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(1));
            self.take();
        }
        self.count_lasting();
        self.sum.look_at_all();
        let Self { sampler, mut sum, waits, .. } = self;
        let counters = sampler.counters().unwrap_or_default();
        let counts = &mut sum.counts;
        counts.lost = counters.get(Counter::RingFull) + counters.get(Counter::MapFull) + waits.lost();
        counts.unseen = counters.get(Counter::WaitsUnseen);
        counts.unseen_time = Duration::from_micros(counters.get(Counter::WaitsUnseenMicros));
        // Before the long part: nothing more is to be paid for samples that nobody takes.
        drop(sampler);
        sum.finish(duration)
    }
}

/// Where records go.
struct Intake<'a> {
    selection: &'a mut Selection,
    sum: &'a mut Sum,
    waits: &'a mut Waits,
    /// A process was seen for the first time.
    news: bool,
}

impl Intake<'_> {
    fn record(&mut self, record: &[u8]) {
        if sample::is_sample(record) {
            match sample::decode(record) {
                Ok(sample) => self.sample(&sample, record),
                Err(_) => self.sum.counts.undecodable += 1,
            }
            return;
        }
        if let Some(waited) = sample::waited(record) {
            if let Some(over) = self.waits.end(&waited) {
                self.over(&over, waited.time);
            }
            return;
        }
        let Ok(event) = decode::event(record) else {
            self.sum.counts.undecodable += 1;
            return;
        };
        let Event::Process(process) = &event else {
            return;
        };
        self.sum.process(process);
        self.selection.admits(&event, &mut self.sum.processes);
        if process.what == Life::Seen && !self.selection.refuses(process.tgid) {
            let space = self.sum.space(process.tgid, process.time);
            // Of others, samples say themselves what is to be known.
            self.news |= space.is_some_and(|space| self.sum.is_read(space));
        }
    }

    fn sample(&mut self, sample: &Sample<'_>, record: &[u8]) {
        if self.selection.refuses(sample.tgid) {
            return;
        }
        let Some(space) = self.sum.space(sample.tgid, sample.time) else {
            return;
        };
        if sample.waits() {
            // It counts when the wait is over.
            self.sum.keep_functions(space, sample);
            self.waits.begin(space, sample, record);
        } else {
            let nanos = self.sum.kind().period().unwrap_or_default();
            self.sum.take(space, sample, nanos, sample.time);
        }
    }

    /// A wait that is to be counted.
    fn over(&mut self, over: &Over, now: Nanos) {
        if let Some(sample) = over.sample() {
            self.sum.take(over.space, &sample, over.nanos, now);
        }
    }
}
