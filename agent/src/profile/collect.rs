//! The sampling loop: takes records from the kernel side, reads what must be read while a process lives, adds up. Names come later.

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use geophone_ebpf::stats::Counter;

use super::{
    model::{Kind, Profile},
    sample::{self, Sample},
    spaces::Spaces,
    stacks::{SpaceId, Stacks},
    symbols::{self, Known},
    unwind::Ranges,
    waits::{self, Over, Waits},
    walks::Walks,
};
use crate::{
    bpf::{LoadError, Sampler, Target, decode},
    event::{Event, Life, Nanos},
    process::{Selector, Table},
    run::Selection,
};

/// Records taken from the rings at a time.
const ROUND: usize = 4096;
/// How long the loop sleeps at most.
const SLEEP: Duration = Duration::from_millis(100);
/// The same while rows for unwinding are being made, or a process has just begun and may still be loading its libraries: samples are not
/// whole until that is done.
const NAP: Duration = Duration::from_millis(4);
/// The same while records are too young to be taken, perhaps one of a process that does not live long.
const BLINK: Duration = Duration::from_millis(1);
/// How long sampling waits for the rows of processes that are there.
const PREPARING: Duration = Duration::from_secs(5);
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
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Long waits that are not in the profile, because so many stacks were looked at already.
    pub unseen: u64,
    /// For how long those were, altogether.
    pub unseen_time: Duration,
    /// How the walks of stacks ended.
    pub walks: Walks,
}

/// Sampling that is under way.
pub struct Collection {
    sampler: Sampler,
    selection: Selection,
    processes: Table,
    spaces: Spaces,
    stacks: Stacks,
    waits: Waits,
    ranges: Ranges,
    /// When a process was seen for the first time, the last time.
    news: Instant,
    /// Records are there that were too young to be taken.
    waiting: bool,
    kind: Kind,
    known: Known,
    /// When the period began that is not cut off yet.
    started: (SystemTime, Instant),
    counts: Counts,
}

impl Collection {
    /// Loads the programs and attaches them: when this returns, samples are taken.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(settings: Settings, processes: Table) -> Result<Self, LoadError> {
        let Settings { selector, children, kind } = settings;
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
        let mut collection = Self {
            sampler,
            selection,
            processes,
            spaces: Spaces::new("/proc"),
            stacks: Stacks::default(),
            waits: Waits::default(),
            ranges: Ranges::new()?,
            news: Instant::now(),
            waiting: false,
            kind,
            known: Known::default(),
            started: (SystemTime::now(), Instant::now()),
            counts: Counts::default(),
        };
        collection.prepare(&chosen);
        collection.sampler.start()?;
        collection.started = (SystemTime::now(), Instant::now());
        Ok(collection)
    }

    /// Makes rows for processes that were chosen by what they are, so that their first samples are as good as the last. Not for longer
    /// than somebody likes to wait.
    fn prepare(&mut self, chosen: &[u32]) {
        let start = Instant::now();
        let now = crate::bpf::now();
        // The agent is marked for the sake of what it starts, and not sampled itself.
        let own = std::process::id();
        for tgid in chosen.iter().filter(|tgid| **tgid != own) {
            self.spaces.of(*tgid, now, || self.processes.resource(*tgid, now));
        }
        self.place();
        while self.ranges.is_busy() && start.elapsed() < PREPARING {
            std::thread::sleep(NAP);
            self.place();
        }
    }

    /// Tells the kernel side what is mapped where, and which rows are there for it.
    fn place(&mut self) {
        let Some(tables) = self.sampler.tables() else {
            self.spaces.forget_read();
            return;
        };
        while let Some((space, files)) = self.spaces.next_read() {
            self.ranges.process(space.tgid, space.mappings(), files, tables);
        }
        self.ranges.advance(tables);
    }

    /// Waits a little and takes what has come.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn round(&mut self) -> io::Result<()> {
        let is_quiet = !self.ranges.is_busy() && self.news.elapsed() > YOUNG;
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
        self.counts.taken
    }

    /// Where records go, and where they come from.
    fn intake(&mut self) -> (Intake<'_>, &mut Sampler) {
        let Self { sampler, selection, processes, spaces, stacks, waits, counts, kind, .. } = self;
        let (period, ended) = (kind.period().unwrap_or_default(), Vec::new());
        (Intake { selection, processes, spaces, stacks, waits, counts, period, ended, news: false }, sampler)
    }

    /// Counts the waits that still last, up to now.
    fn count_lasting(&mut self) {
        let Kind::OffCpu { least } = self.kind else {
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
            let Intake { ended, news, .. } = intake;
            self.waiting = waiting;
            if news {
                self.news = Instant::now();
            }
            if let Some(tables) = self.sampler.tables() {
                ended.into_iter().for_each(|tgid| self.ranges.ended(tgid, tables));
            }
            for (tgid, selected) in self.selection.marks() {
                if let Err(error) = self.sampler.select(tgid, selected) {
                    log::warn!("a process that was chosen is not sampled: {error}");
                }
            }
            self.place();
            if count < ROUND {
                return;
            }
        }
    }

    /// Names what was seen since sampling began, or since this was done the last time, and goes on.
    #[must_use]
    pub fn cut(&mut self) -> Profile {
        let period = Period { kind: self.kind, start: self.started.0, duration: self.started.1.elapsed() };
        self.started = (period.start + period.duration, self.started.1 + period.duration);
        let stacks = self.stacks.take();
        self.counts.dropped += stacks.dropped();
        let profile = period.profile(&stacks, &self.spaces, &mut self.known);
        self.spaces.forget_ended(self.waits.spaces());
        self.known.forget_closed(self.spaces.files());
        profile
    }

    /// Stops sampling and names what was seen since the last cut.
    #[must_use]
    pub fn finish(mut self) -> (Profile, Counts) {
        let duration = self.started.1.elapsed();
        // What was sampled just now is still too young to be taken.
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(1));
            self.take();
        }
        self.count_lasting();
        self.spaces.look_at_all();
        let Self { sampler, spaces, stacks, waits, mut known, mut counts, kind, started, .. } = self;
        let counters = sampler.counters().unwrap_or_default();
        counts.lost = counters.get(Counter::RingFull) + counters.get(Counter::MapFull) + waits.lost();
        counts.unseen = counters.get(Counter::WaitsUnseen);
        counts.unseen_time = Duration::from_micros(counters.get(Counter::WaitsUnseenMicros));
        counts.dropped += stacks.dropped() + spaces.dropped();
        // Before the long part: nothing more is to be paid for samples that nobody takes.
        drop(sampler);
        (Period { kind, start: started.0, duration }.profile(&stacks, &spaces, &mut known), counts)
    }
}

/// What a profile is of.
struct Period {
    kind: Kind,
    start: SystemTime,
    duration: Duration,
}

impl Period {
    fn profile(self, stacks: &Stacks, spaces: &Spaces, known: &mut Known) -> Profile {
        let Self { kind, start, duration } = self;
        let (modules, locations, mut stacks) = symbols::resolve(stacks, spaces, known);
        if let Kind::OffCpu { .. } = kind {
            stacks.iter_mut().for_each(|stack| waits::without_probe(stack, &locations));
        }
        Profile { kind, start, duration, modules, locations, stacks }
    }
}

/// Where records go.
struct Intake<'a> {
    selection: &'a mut Selection,
    processes: &'a mut Table,
    spaces: &'a mut Spaces,
    stacks: &'a mut Stacks,
    waits: &'a mut Waits,
    counts: &'a mut Counts,
    /// Nanoseconds that a sample stands for.
    period: u64,
    /// Processes that have ended, or run another program.
    ended: Vec<u32>,
    /// A process was seen for the first time.
    news: bool,
}

impl Intake<'_> {
    fn record(&mut self, record: &[u8]) {
        if sample::is_sample(record) {
            match sample::decode(record) {
                Ok(sample) => self.sample(&sample, record),
                Err(_) => self.counts.undecodable += 1,
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
            self.counts.undecodable += 1;
            return;
        };
        let Event::Process(process) = &event else {
            return;
        };
        self.processes.apply(process);
        self.selection.admits(&event, self.processes);
        match process.what {
            Life::Exec | Life::Exit => {
                self.spaces.ended(process.tgid);
                self.ended.push(process.tgid);
            }
            Life::Seen if !self.selection.refuses(process.tgid) => {
                self.space(process.tgid, process.time);
                self.news = true;
            }
            Life::Seen | Life::Fork => {}
        }
    }

    fn space(&mut self, tgid: u32, now: Nanos) -> Option<SpaceId> {
        self.spaces.of(tgid, now, || self.processes.resource(tgid, now))
    }

    fn sample(&mut self, sample: &Sample<'_>, record: &[u8]) {
        if self.selection.refuses(sample.tgid) {
            return;
        }
        let Some(space) = self.space(sample.tgid, sample.time) else {
            return;
        };
        if sample.waits() {
            self.waits.begin(space, sample, record);
        } else {
            self.add(space, sample, self.period, sample.time);
        }
    }

    /// A wait that is to be counted.
    fn over(&mut self, over: &Over, now: Nanos) {
        if let Some(sample) = over.sample() {
            self.add(over.space, &sample, over.nanos, now);
        }
    }

    fn add(&mut self, space: SpaceId, sample: &Sample<'_>, nanos: u64, now: Nanos) {
        let dropped = self.stacks.dropped();
        if self.stacks.add(space, sample, None, nanos) {
            self.spaces.keep(space, sample.user.addresses(), now);
        } else {
            self.spaces.look_again(space, now);
        }
        let is_taken = self.stacks.dropped() == dropped;
        self.counts.taken += u64::from(is_taken);
        if is_taken {
            self.counts.walks.add(sample.result, sample.flags);
        }
    }
}
