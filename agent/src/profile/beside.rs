//! Sampling beside tracing, in the same run: the capture thread's end of it. Samples go to a thread of their own in batches, with what is
//! known of processes and of the requests that samples were taken for. Nothing here keeps the capture waiting: where there is no room,
//! samples are lost and counted.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Counts, Profile, adder::Adder, sum::PREPARING};
use crate::{bpf::Tables, event, process, trace::Samples};

/// Batches that wait for the thread.
const BATCHES: usize = 64;
/// Bytes of samples, and items, of a batch. What comes when it is full, and the thread takes none, is lost.
const BYTES: usize = 1 << 20;
const ITEMS: usize = 16_384;

/// What is sampled, and how often.
pub struct Start {
    /// How processes are read.
    pub processes: process::Settings,
    /// Samples a second on each processor.
    pub frequency: u32,
    /// Profiles of some time each, while sampling goes on; `None`: one, at the end.
    pub periods: Option<Periods>,
}

/// Who takes profiles while sampling goes on.
pub struct Periods {
    /// For how long each is.
    pub every: Duration,
    /// Is given them on the thread that adds up: must not wait.
    pub to: Box<dyn Fn(Profile) + Send>,
}

/// Things that have come, in order of time.
#[derive(Default)]
pub(super) struct Batch {
    /// Of all samples, one behind the other.
    pub(super) records: Vec<u8>,
    pub(super) items: Vec<Item>,
    /// Samples that were lost before these.
    pub(super) lost: u64,
}

/// One of them.
pub(super) enum Item {
    /// So many bytes of the records. With a number: it will be settled what it was taken for.
    Sample(usize, Option<u64>),
    /// A change in the life of a process.
    Process(event::Process),
    /// What samples were taken for.
    Settled(Samples),
}

/// The thread, as the capture sees it.
pub struct Profiler {
    batches: SyncSender<Batch>,
    batch: Batch,
    next: u64,
    thread: JoinHandle<(Profile, Counts)>,
}

impl Profiler {
    /// Starts the thread, and waits until the rows of the processes that were chosen by what they are (`chosen`) are there, but not for
    /// longer than somebody likes to wait. `tables`: what stacks are walked by; `None` where the kernel walks them.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(start: Start, tables: Option<Tables>, chosen: Vec<u32>) -> io::Result<Self> {
        let (batches, waiting): (_, Receiver<Batch>) = sync_channel(BATCHES);
        let (ready, prepared) = sync_channel(1);
        let mut adder = Adder::new(start, tables)?;
        let thread = thread::Builder::new().name("geophone-profile".to_owned()).spawn(move || {
            adder.prepare(&chosen);
            // Nobody may wait any more.
            let _ = ready.send(());
            adder.run(&waiting)
        })?;
        let _ = prepared.recv_timeout(PREPARING);
        Ok(Self { batches, batch: Batch::default(), next: 0, thread })
    }

    /// Takes the record of a sample. `is_held` is given a number, and says whether it will be settled what the sample was taken for.
    pub fn sample(&mut self, record: &[u8], is_held: impl FnOnce(u64) -> bool) {
        if self.batch.records.len() + record.len() > BYTES || self.batch.items.len() >= ITEMS {
            self.flush();
        }
        if self.batch.records.len() + record.len() > BYTES || self.batch.items.len() >= ITEMS {
            self.batch.lost += 1;
            return;
        }
        self.next += 1;
        let number = is_held(self.next).then_some(self.next);
        self.batch.records.extend(record);
        self.batch.items.push(Item::Sample(record.len(), number));
    }

    /// Takes a change in the life of a process.
    pub fn process(&mut self, process: &event::Process) {
        self.push(Item::Process(process.clone()));
    }

    /// Takes what samples were taken for.
    pub fn settled(&mut self, samples: Samples) {
        self.push(Item::Settled(samples));
    }

    fn push(&mut self, item: Item) {
        if self.batch.items.len() >= 2 * ITEMS {
            self.flush();
        }
        // More than that only comes when the thread is stuck. What waits to be settled is in its memory, and bounded there.
        if self.batch.items.len() < 2 * ITEMS {
            self.batch.items.push(item);
        }
    }

    /// Hands on what has come; keeps it where the thread takes no more.
    pub fn flush(&mut self) {
        if self.batch.items.is_empty() {
            return;
        }
        match self.batches.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => self.batch = batch,
        }
    }

    /// Ends sampling, and names what was seen since the last period.
    ///
    /// # Errors
    /// When the thread has failed, which it must not.
    pub fn finish(self) -> io::Result<(Profile, Counts)> {
        let Self { batches, batch, thread, .. } = self;
        // It may have ended, which the next line says.
        let _ = batches.send(batch);
        drop(batches);
        thread.join().map_err(|_| io::Error::other("the profiling thread failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::sample::tests::record;

    #[test]
    fn what_is_handed_over_is_in_the_profile() {
        let processes = process::Settings::default();
        let mut profiler =
            Profiler::start(Start { processes, frequency: 100, periods: None }, None, Vec::new()).unwrap();
        let own = record(std::process::id(), "test", 0, &[], &[8]);
        let mut numbers = Vec::new();
        for round in 0..10_000u32 {
            profiler.sample(&own, |number| {
                numbers.push(number);
                round % 2 == 0
            });
        }
        let (profile, counts) = profiler.finish().unwrap();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((profile.samples() + counts.lost, counts.undecodable), (10_000, 0));
        assert!(counts.lost == 0 && profile.samples() > 0, "{counts:?}");
    }
}
