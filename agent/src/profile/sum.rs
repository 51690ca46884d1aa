//! What samples add up to: the stacks of a period, what was mapped in the processes that they are of, and the rows that they are walked by.
//! Where samples come from is `collect`'s (sampling by itself) and `adder`'s (sampling beside tracing).

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime},
};

use hashbrown::HashSet;

use super::{
    collect::Counts,
    interpreters::{Frame, Functions, is_library},
    maps::Mapped,
    model::{Kind, Link, Profile},
    sample::Sample,
    spaces::Spaces,
    stacks::{SpaceId, Stacks},
    symbols::{self, Known},
    unwind::Ranges,
    waits,
};
use crate::{
    bpf::{self, Tables, Waker},
    event::{Life, Nanos, Process},
    process::Table,
    runtime::FileId,
};

/// How long it takes at most until the rows of processes that are there are waited for no longer.
pub(super) const PREPARING: Duration = Duration::from_secs(5);
/// How long functions are waited for that were asked for, before they are needed.
const SETTLING: Duration = Duration::from_millis(300);

/// Programs that are remembered for having nothing to be looked at. When there are more, all are forgotten.
const PLAIN: usize = 4096;

/// See the module.
pub(super) struct Sum {
    /// What is known of processes.
    pub(super) processes: Table,
    /// What happened to the samples.
    pub(super) counts: Counts,
    tables: Option<Tables>,
    spaces: Spaces,
    stacks: Stacks,
    ranges: Ranges,
    functions: Functions,
    kind: Kind,
    known: Known,
    /// Programs whose processes need not be looked at: none has an interpreter in it or in a library, and the kernel side finds by itself
    /// what is mapped.
    plain: HashSet<FileId>,
    /// When the period began that is not cut off yet.
    started: (SystemTime, Instant),
}

impl Sum {
    /// Of nothing yet. `tables`: what stacks are walked by; `None` where the kernel walks them, by frame pointers. `has_lines`: see
    /// [`Known::new`]. `waker` is told when there is something for [`Self::place`].
    pub(super) fn new(
        kind: Kind,
        processes: Table,
        mut tables: Option<Tables>,
        has_lines: bool,
        waker: Option<Waker>,
    ) -> io::Result<Self> {
        let rows = tables.as_mut().and_then(Tables::take_rows);
        Ok(Self {
            processes,
            counts: Counts::default(),
            tables,
            spaces: Spaces::new("/proc"),
            stacks: Stacks::default(),
            ranges: Ranges::new(rows, waker.clone())?,
            functions: Functions::start(waker)?,
            kind,
            known: Known::new(has_lines),
            plain: HashSet::new(),
            started: (SystemTime::now(), Instant::now()),
        })
    }

    /// Makes rows for processes that were chosen by what they are, so that their first samples are as good as the last. Not for longer
    /// than somebody likes to wait. Looks whether they are there each `nap`.
    pub(super) fn prepare(&mut self, chosen: &[u32], nap: Duration) {
        let start = Instant::now();
        let now = bpf::now();
        // The agent is marked for the sake of what it starts, and not sampled itself.
        let own = std::process::id();
        for tgid in chosen.iter().filter(|tgid| **tgid != own) {
            self.space(*tgid, now);
        }
        self.place();
        while (self.ranges.is_busy() || self.functions.is_looking()) && start.elapsed() < PREPARING {
            thread::sleep(nap);
            self.place();
        }
    }

    /// The period begins now.
    pub(super) fn begin(&mut self) {
        self.started = (SystemTime::now(), Instant::now());
    }

    /// For how long it lasts.
    pub(super) fn lasts(&self) -> Duration {
        self.started.1.elapsed()
    }

    /// What is sampled.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether rows are being made, or functions read.
    pub(super) fn is_busy(&self) -> bool {
        self.ranges.is_busy() || self.functions.is_busy()
    }

    /// Whether interpreted functions are to be expected that are not known yet.
    pub(super) fn is_young(&self) -> bool {
        self.functions.is_young()
    }

    /// Tells the kernel side what is mapped where, and which rows are there for it.
    pub(super) fn place(&mut self) {
        let Some(tables) = &mut self.tables else {
            self.spaces.forget_read();
            return;
        };
        while let Some((space, files)) = self.spaces.next_read() {
            self.ranges.process(space.tgid, space.mappings(), files, tables);
            let is_one = |what: &Mapped| matches!(what, Mapped::File { path, .. } if is_library(path));
            let has_library = space.mappings().iter().any(|mapping| is_one(&mapping.what));
            let exe = FileId::of(&exe(space.tgid)).ok();
            let is_plain = self.functions.mapped(space.serial, space.tgid, has_library, exe.as_ref());
            if is_plain && tables.asks_kernel() {
                if self.plain.len() >= PLAIN {
                    self.plain.clear();
                }
                self.plain.extend(exe);
            }
        }
        self.ranges.advance(tables);
        let spaces = &self.spaces;
        let is_current = |serial, tgid| spaces.current(tgid).is_some_and(|space| space.serial == serial);
        self.functions.advance(tables, is_current);
    }

    /// A process began, changed or ended.
    pub(super) fn process(&mut self, process: &Process) {
        self.processes.apply(process);
        if matches!(process.what, Life::Exec | Life::Exit) {
            if let Some(space) = self.spaces.ended(process.tgid) {
                self.functions.ended(space.serial);
            }
            if let Some(tables) = &mut self.tables {
                self.ranges.ended(process.tgid, tables);
                tables.remove_interpreter(process.tgid);
            }
        }
    }

    /// What is mapped in a process; `None` where there is no room for another one.
    pub(super) fn space(&mut self, tgid: u32, now: Nanos) -> Option<SpaceId> {
        let is_plain = || !self.plain.is_empty() && FileId::of(&exe(tgid)).is_ok_and(|id| self.plain.contains(&id));
        self.spaces.of(tgid, now, is_plain, || self.processes.resource(tgid, now))
    }

    /// Whether it was read what is mapped in a process, so that it may have to be read again.
    pub(super) fn is_read(&self, space: SpaceId) -> bool {
        self.spaces.get(space).is_some_and(|space| !space.is_part())
    }

    /// Sees to it that a sample can be named although its process may be gone later.
    pub(super) fn keep(&mut self, space: SpaceId, sample: &Sample<'_>, now: Nanos) {
        let (ranges, now_at) = (&mut self.ranges, Instant::now());
        self.spaces.learn(space, sample.mapped.all(), |file| ranges.met(file, now_at));
        self.spaces.keep(space, sample.user.addresses(), now);
        self.keep_functions(space, sample);
    }

    /// Sees to it that the interpreted functions of a sample can be named, although they may be gone later.
    pub(super) fn keep_functions(&mut self, space: SpaceId, sample: &Sample<'_>) {
        if !sample.interpreted.is_empty()
            && let Some(of) = self.spaces.get(space)
        {
            let words: Vec<u64> = sample.interpreted.words().collect();
            self.functions.keep(of.serial, Frame::all(&words).map(|frame| frame.function));
        }
    }

    /// Adds a sample, which stands for so many nanoseconds, and sees to it that it can be named.
    pub(super) fn take(&mut self, space: SpaceId, sample: &Sample<'_>, nanos: u64, now: Nanos) {
        if self.add(space, sample, None, nanos) {
            self.keep(space, sample, now);
        } else {
            self.spaces.look_again(space, now);
        }
    }

    /// Adds a sample. Whether it is the first with this stack.
    pub(super) fn add(&mut self, space: SpaceId, sample: &Sample<'_>, link: Option<&Link>, nanos: u64) -> bool {
        let dropped = self.stacks.dropped();
        let is_new = self.stacks.add(space, sample, link, nanos);
        if self.stacks.dropped() == dropped {
            self.counts.taken += 1;
            self.counts.linked += u64::from(link.is_some());
            self.counts.walks.add(sample.result, sample.flags);
        }
        is_new
    }

    /// Names what was seen since the period began, and begins the next one. `needed`: spaces of samples that are not added yet.
    pub(super) fn cut(&mut self, needed: impl Iterator<Item = SpaceId>) -> Profile {
        let (start, duration) = (self.started.0, self.lasts());
        self.started = (start + duration, self.started.1 + duration);
        let stacks = self.stacks.take();
        self.counts.dropped += stacks.dropped();
        self.place();
        self.functions.settle(SETTLING);
        let profile = named(self.kind, (start, duration), &stacks, (&self.spaces, &self.functions), &mut self.known);
        self.spaces.forget_ended(needed);
        let needed: HashSet<u64> = self.spaces.all().map(|space| space.serial).collect();
        self.functions.forget(|serial| needed.contains(&serial));
        self.known.forget_closed(self.spaces.files());
        profile
    }

    /// Nothing more comes: looks at what is mapped while that is there. Best done before anything that takes long.
    pub(super) fn look_at_all(&mut self) {
        self.spaces.look_at_all();
        self.functions.settle(SETTLING);
    }

    /// Names what was seen since the period began, which has lasted so long.
    pub(super) fn finish(self, duration: Duration) -> (Profile, Counts) {
        let Self { tables, spaces, stacks, functions, ranges, mut counts, kind, started, mut known, .. } = self;
        drop(tables);
        counts.dropped += stacks.dropped() + spaces.dropped();
        counts.functions = functions.counts();
        counts.evicted = ranges.evicted();
        let profile = named(kind, (started.0, duration), &stacks, (&spaces, &functions), &mut known);
        counts.unread = known.unread();
        (profile, counts)
    }
}

fn exe(tgid: u32) -> PathBuf {
    format!("/proc/{tgid}/exe").into()
}

fn named(
    kind: Kind,
    (start, duration): (SystemTime, Duration),
    stacks: &Stacks,
    (spaces, functions): (&Spaces, &Functions),
    known: &mut Known,
) -> Profile {
    let (modules, locations, mut stacks) = symbols::resolve(stacks, spaces, functions, known);
    if let Kind::OffCpu { .. } = kind {
        stacks.iter_mut().for_each(|stack| waits::without_probe(stack, &locations));
    }
    Profile { kind, start, duration, modules, locations, stacks }
}
