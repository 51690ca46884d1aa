//! Sampling beside tracing: the thread that adds up. It reads what is mapped in processes, has rows made for unwinding, and lets a sample
//! that was taken for a request wait until it is settled for which.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use hashbrown::HashMap;

use super::{
    Counts,
    beside::{Batch, Item, Start},
    model::{Kind, Link, Profile},
    sample::{self, Sample},
    spaces::Spaces,
    stacks::{SpaceId, Stacks},
    symbols::{self, Known},
    unwind::Ranges,
};
use crate::{
    bpf::{self, Tables},
    event::{Life, Nanos, Process},
    process::Table,
    trace::Samples,
};

/// Bytes of samples that wait until it is settled what they were taken for. When there are more, the oldest count as taken for nothing.
const WAITING: usize = 32 << 20;
/// What one takes besides its record.
const OVERHEAD: usize = 96;
/// How long the thread sleeps at most, and while rows are being made.
const SLEEP: Duration = Duration::from_millis(500);
const NAP: Duration = Duration::from_millis(10);
/// How often processes that have ended are forgotten.
const EXPIRE: Duration = Duration::from_secs(10);

/// A sample that waits.
struct Waiting {
    space: SpaceId,
    record: Box<[u8]>,
}

/// See the module.
pub(super) struct Adder {
    tables: Option<Tables>,
    processes: Table,
    spaces: Spaces,
    stacks: Stacks,
    ranges: Ranges,
    kind: Kind,
    started: (SystemTime, Instant),
    counts: Counts,
    waiting: HashMap<u64, Waiting>,
    /// Their numbers, the oldest first, and some that wait no longer.
    order: VecDeque<u64>,
    bytes: usize,
}

impl Adder {
    pub(super) fn new(start: Start) -> io::Result<Self> {
        Ok(Self {
            tables: start.tables,
            processes: Table::new(start.processes),
            spaces: Spaces::new("/proc"),
            stacks: Stacks::default(),
            ranges: Ranges::new()?,
            kind: Kind::OnCpu { frequency: start.frequency },
            started: (SystemTime::now(), Instant::now()),
            counts: Counts::default(),
            waiting: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        })
    }

    /// Makes rows for processes that run already, for some time at most.
    pub(super) fn prepare(&mut self, chosen: &[u32], limit: Duration) {
        let start = Instant::now();
        let now = bpf::now();
        // The agent is marked for the sake of what it starts, and not sampled itself.
        let own = std::process::id();
        for tgid in chosen.iter().filter(|tgid| **tgid != own) {
            self.spaces.of(*tgid, now, || self.processes.resource(*tgid, now));
        }
        self.place();
        while self.ranges.is_busy() && start.elapsed() < limit {
            std::thread::sleep(NAP);
            self.place();
        }
        self.started = (SystemTime::now(), Instant::now());
    }

    /// Takes batches until no more can come, and names what was seen.
    pub(super) fn run(mut self, batches: &Receiver<Batch>) -> (Profile, Counts) {
        let mut expired = Instant::now();
        loop {
            let timeout = if self.ranges.is_busy() { NAP } else { SLEEP };
            match batches.recv_timeout(timeout) {
                Ok(batch) => self.batch(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
            self.place();
            if expired.elapsed() > EXPIRE {
                expired = Instant::now();
                self.processes.expire(bpf::now());
            }
        }
    }

    /// Tells the kernel side what is mapped where, and which rows are there for it.
    fn place(&mut self) {
        let Some(tables) = &mut self.tables else {
            self.spaces.forget_read();
            return;
        };
        while let Some((space, files)) = self.spaces.next_read() {
            self.ranges.process(space.tgid, space.mappings(), files, tables);
        }
        self.ranges.advance(tables);
    }

    fn batch(&mut self, batch: Batch) {
        let Batch { records, items, lost } = batch;
        self.counts.lost += lost;
        let mut rest = records.as_slice();
        for item in items {
            match item {
                Item::Sample(len, number) => {
                    let (record, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                    rest = behind;
                    match sample::decode(record) {
                        Ok(sample) => self.sample(&sample, record, number),
                        Err(_) => self.counts.undecodable += 1,
                    }
                }
                Item::Process(process) => self.process(&process),
                Item::Settled(samples) => self.settled(&samples),
            }
        }
    }

    fn process(&mut self, process: &Process) {
        self.processes.apply(process);
        if matches!(process.what, Life::Exec | Life::Exit) {
            self.spaces.ended(process.tgid);
            if let Some(tables) = &mut self.tables {
                self.ranges.ended(process.tgid, tables);
            }
        }
    }

    fn sample(&mut self, sample: &Sample<'_>, record: &[u8], number: Option<u64>) {
        let now: Nanos = sample.time;
        let Some(space) = self.spaces.of(sample.tgid, now, || self.processes.resource(sample.tgid, now)) else {
            return;
        };
        let Some(number) = number else {
            if self.add(space, sample, None) {
                self.spaces.keep(space, sample.user.addresses(), now);
            } else {
                self.spaces.look_again(space, now);
            }
            return;
        };
        // Now, because its process may be gone later.
        self.spaces.keep(space, sample.user.addresses(), now);
        self.bytes += record.len() + OVERHEAD;
        self.waiting.insert(number, Waiting { space, record: record.into() });
        self.order.push_back(number);
        while self.bytes > WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.release(oldest, None);
        }
    }

    fn settled(&mut self, samples: &Samples) {
        let link = samples.of.as_ref().map(|of| Link {
            trace_id: of.trace,
            span_id: of.span,
            endpoint: Arc::from(of.name.as_str()),
        });
        for number in &samples.numbers {
            self.release(*number, link.as_ref());
        }
        while self.order.front().is_some_and(|number| !self.waiting.contains_key(number)) {
            self.order.pop_front();
        }
    }

    /// A sample waits no longer.
    fn release(&mut self, number: u64, link: Option<&Link>) {
        let Some(Waiting { space, record }) = self.waiting.remove(&number) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(record.len() + OVERHEAD);
        // It was decoded before.
        if let Ok(sample) = sample::decode(&record) {
            self.add(space, &sample, link);
        }
    }

    /// Whether it is the first with this stack.
    fn add(&mut self, space: SpaceId, sample: &Sample<'_>, link: Option<&Link>) -> bool {
        let dropped = self.stacks.dropped();
        let is_new = self.stacks.add(space, sample, link, self.kind.period().unwrap_or_default());
        if self.stacks.dropped() == dropped {
            self.counts.taken += 1;
            self.counts.linked += u64::from(link.is_some());
            self.counts.walks.add(sample.result, sample.flags);
        }
        is_new
    }

    fn finish(mut self) -> (Profile, Counts) {
        let duration = self.started.1.elapsed();
        while let Some(number) = self.order.pop_front() {
            self.release(number, None);
        }
        self.spaces.look_at_all();
        let Self { tables, spaces, stacks, mut counts, kind, started, .. } = self;
        drop(tables);
        counts.dropped = stacks.dropped() + spaces.dropped();
        let (modules, locations, stacks) = symbols::resolve(&stacks, &spaces, &mut Known::default());
        (Profile { kind, start: started.0, duration, modules, locations, stacks }, counts)
    }
}
