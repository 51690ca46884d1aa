//! Sampling beside tracing: the thread that adds up. It reads what is mapped in processes, has rows made for unwinding, and lets a sample
//! that was taken for a request wait until it is settled for which.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use hashbrown::HashMap;

use super::{
    Counts,
    beside::{Batch, Item, Periods, Start},
    model::{Kind, Link, Profile},
    sample::{self, Sample},
    stacks::SpaceId,
    sum::Sum,
};
use crate::{
    bpf::{self, Tables},
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
    sum: Sum,
    waiting: HashMap<u64, Waiting>,
    /// Their numbers, the oldest first, and some that wait no longer.
    order: VecDeque<u64>,
    bytes: usize,
    periods: Option<Periods>,
}

impl Adder {
    pub(super) fn new(start: Start, tables: Option<Tables>) -> io::Result<Self> {
        let Start { processes, frequency, periods } = start;
        Ok(Self {
            sum: Sum::new(Kind::OnCpu { frequency }, Table::new(processes), tables, false, None)?,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            periods,
        })
    }

    /// Makes rows for processes that run already, for some time at most.
    pub(super) fn prepare(&mut self, chosen: &[u32]) {
        self.sum.prepare(chosen, NAP);
        self.sum.begin();
    }

    /// Takes batches until no more can come, and names what was seen since the last period.
    pub(super) fn run(mut self, batches: &Receiver<Batch>) -> (Profile, Counts) {
        let mut expired = Instant::now();
        loop {
            let timeout = if self.sum.is_busy() || self.sum.is_young() { NAP } else { SLEEP };
            match batches.recv_timeout(timeout) {
                Ok(batch) => self.batch(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
            self.sum.place();
            if expired.elapsed() > EXPIRE {
                expired = Instant::now();
                self.sum.processes.expire(bpf::now());
            }
            if let Some(periods) = self.periods.take_if(|periods| self.sum.lasts() >= periods.every) {
                (periods.to)(self.cut());
                self.periods = Some(periods);
            }
        }
    }

    /// Names what was seen since sampling began, or since this was done the last time. What waits to be settled comes later.
    fn cut(&mut self) -> Profile {
        self.sum.cut(self.waiting.values().map(|waiting| waiting.space))
    }

    fn batch(&mut self, batch: Batch) {
        let Batch { records, items, lost } = batch;
        self.sum.counts.lost += lost;
        let mut rest = records.as_slice();
        for item in items {
            match item {
                Item::Sample(len, number) => {
                    let (record, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                    rest = behind;
                    match sample::decode(record) {
                        Ok(sample) => self.sample(&sample, record, number),
                        Err(_) => self.sum.counts.undecodable += 1,
                    }
                }
                Item::Process(process) => self.sum.process(&process),
                Item::Settled(samples) => self.settled(&samples),
            }
        }
    }

    fn sample(&mut self, sample: &Sample<'_>, record: &[u8], number: Option<u64>) {
        let Some(space) = self.sum.space(sample.tgid, sample.time) else {
            return;
        };
        let Some(number) = number else {
            return self.sum.take(space, sample, self.period(), sample.time);
        };
        // Now, because its process may be gone later.
        self.sum.keep(space, sample, sample.time);
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
            self.sum.add(space, &sample, link, self.period());
        }
    }

    /// Nanoseconds that a sample stands for.
    fn period(&self) -> u64 {
        self.sum.kind().period().unwrap_or_default()
    }

    fn finish(mut self) -> (Profile, Counts) {
        let duration = self.sum.lasts();
        while let Some(number) = self.order.pop_front() {
            self.release(number, None);
        }
        self.sum.look_at_all();
        self.sum.finish(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        process,
        profile::sample::tests::record,
        trace::{Sampled, Samples},
    };

    fn adder() -> Adder {
        let processes = process::Settings::default();
        let start = Start { processes, frequency: 100, periods: None };
        Adder::new(start, None).unwrap()
    }

    /// A batch of samples, each with its address and perhaps its number, and of what they were taken for.
    fn batch(samples: &[(u64, Option<u64>)], settled: Vec<Samples>) -> Batch {
        let mut batch = Batch::default();
        for (address, number) in samples {
            let record = record(std::process::id(), "test", 0, &[], &[*address]);
            batch.items.push(Item::Sample(record.len(), *number));
            batch.records.extend(record);
        }
        batch.items.extend(settled.into_iter().map(Item::Settled));
        batch
    }

    fn settled(of: Option<u64>, numbers: &[u64]) -> Samples {
        let of = of.map(|span| Sampled { trace: 9.into(), span: span.into(), name: "GET /x".into() });
        Samples { of, numbers: numbers.to_vec() }
    }

    /// How many samples have a link, by their spans; `None`: without.
    fn links(adder: Adder) -> Vec<(Option<u64>, u64)> {
        let (profile, counts) = adder.finish();
        let span = |link: &Link| u64::from_be_bytes(link.span_id.to_bytes());
        let mut links: Vec<_> =
            profile.stacks.iter().map(|stack| (stack.link.as_ref().map(span), stack.count)).collect();
        links.sort_unstable();
        let linked: u64 = links.iter().filter(|(link, _)| link.is_some()).map(|(_, count)| count).sum();
        assert_eq!((counts.taken, counts.linked), (links.iter().map(|(_, count)| count).sum(), linked));
        links
    }

    #[test]
    fn samples_get_the_links_that_are_settled() {
        let mut adder = adder();
        adder.batch(batch(&[(8, None), (8, Some(1)), (8, Some(2)), (8, Some(3)), (8, Some(4)), (8, Some(5))], vec![]));
        adder.batch(batch(&[], vec![settled(Some(7), &[1, 2]), settled(Some(6), &[3]), settled(None, &[4, 99])]));
        assert_eq!((adder.waiting.len(), adder.order.len()), (1, 1));
        assert_eq!(links(adder), [(None, 3), (Some(6), 1), (Some(7), 2)]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut adder = adder();
        adder.bytes = WAITING - 500;
        adder.batch(batch(&[(8, Some(1)), (8, Some(2)), (8, Some(3)), (8, Some(4))], vec![]));
        adder.batch(batch(&[], vec![settled(Some(7), &[1, 2, 3, 4])]));
        let links = links(adder);
        let [(None, without), (Some(7), with)] = links[..] else { panic!("{links:?}") };
        assert!(without > 0 && with > 0 && without + with == 4, "{links:?}");
    }

    #[test]
    fn what_waits_is_in_the_next_period() {
        let mut adder = adder();
        adder.batch(batch(&[(8, None), (8, Some(1))], vec![]));
        let first = adder.cut();
        assert_eq!(first.samples(), 1);
        adder.batch(batch(&[], vec![settled(Some(7), &[1])]));
        let second = adder.cut();
        assert_eq!(second.start, first.start + first.duration);
        assert!(second.stacks.iter().all(|stack| stack.link.is_some()));
        assert_eq!((second.samples(), adder.cut().samples()), (1, 0));
    }

    #[test]
    fn periods_are_handed_on() {
        let (to, profiles) = std::sync::mpsc::sync_channel(100);
        let mut adder = adder();
        let to = Box::new(move |profile: Profile| {
            // Later ones may find nobody.
            let _ = to.try_send(profile.samples());
        });
        adder.periods = Some(Periods { every: Duration::from_millis(1), to });
        let (batches, waiting) = std::sync::mpsc::sync_channel(1);
        batches.send(batch(&[(8, None), (8, None)], vec![])).unwrap();
        let thread = std::thread::spawn(move || adder.run(&waiting));
        assert_eq!(profiles.recv().unwrap(), 2);
        drop(batches);
        assert_eq!(thread.join().unwrap().0.samples(), 0);
    }

    #[test]
    fn garbage_is_counted() {
        let mut adder = adder();
        adder.batch(Batch {
            records: vec![7; 20],
            items: vec![Item::Sample(20, Some(1)), Item::Sample(4, None)],
            lost: 3,
        });
        let (_, counts) = adder.finish();
        assert_eq!((counts.taken, counts.undecodable, counts.lost), (0, 2, 3));
    }
}
