//! Samples of what threads do, and which request each was taken for: what its thread or task was working for at that moment, by the same
//! knowledge that finds causes. Only their numbers are kept here, with the request, until that is complete: a sample counts if it was
//! taken before the end of the answer. What is only likely waits for a proof: a worker that was lent to a request must have answered it, or
//! have woken whoever waits for it.

use compact_str::CompactString;
use opentelemetry::trace::{SpanId, TraceId};

use super::{
    call::{Link, Serial},
    engine::Engine,
    turns::For,
    work::{Key, On, Right, Work},
};
use crate::event::{Nanos, Sample, Thread};

/// Samples that are kept at a time, of all requests.
const MOST: usize = 262_144;

/// A request that samples were taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Its trace.
    pub trace: TraceId,
    /// Its span.
    pub span: SpanId,
    /// The span's name.
    pub name: CompactString,
}

/// Samples of which it is settled now for which request they were taken; `None`: for none, or it cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// The request.
    pub of: Option<Sampled>,
    /// The numbers that [`Engine::sampled`] was given.
    pub numbers: Vec<u64>,
}

/// A sample, while the request that it seems to be for is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) number: u64,
    pub(super) time: Nanos,
    /// A worker that has still to prove that it worked for it.
    pub(super) unproved: Option<Key>,
}

impl Engine {
    /// A sample was taken. Whether it was taken for a request, as far as is known now: then [`Engine::take_samples`] will say for which.
    pub fn sampled(&mut self, number: u64, sample: &Sample) -> bool {
        self.unclaimed.sampled(sample.time);
        if self.held >= MOST {
            self.stats.unlinked += 1;
            return false;
        }
        let key = Key::of(sample.thread);
        self.workers.ran(key, sample.time);
        let Some(work) = self.work_at(sample) else {
            let is_awaited = sample.thread.turn.is_some_and(|turn| turn.running == 0);
            return if is_awaited { self.keep_turn(number, sample) } else { self.keep_unclaimed(number, sample, None) };
        };
        if let (Key::Thread(_), true, Some(request)) = (key, work.is_lent(), self.request_of(work.on)) {
            return self.keep_unclaimed(number, sample, Some((request, work.since)));
        }
        let call = match work.on {
            On::Request(request) => request,
            On::Like(call) => self.request_of(work.on).unwrap_or(call),
        };
        let is_made = work.right == Right::Made && sample.thread.task.parent == 0 && self.wakes(sample.thread.tgid);
        let unproved = (work.is_lent() || is_made).then_some(key);
        let Some(call) = self.calls.get_mut(&call) else {
            return false;
        };
        call.samples.push(Held { number, time: sample.time, unproved });
        self.held += 1;
        if is_made {
            self.unclaimed.seems_to_work(sample.thread.tid, key, sample.time);
        }
        true
    }

    /// What a worker is busy with at this moment, as far as that is known.
    fn work_at(&mut self, sample: &Sample) -> Option<Work> {
        let Sample { thread, time } = *sample;
        match thread.turn.map_or(For::Last, |turn| self.turns.does(thread.tid, turn.running)) {
            For::This(on) if self.is_open(on) => Some(Work::new(on, time, Link::Task)),
            said => {
                let is_called = thread.turn.is_some_and(|turn| self.turns.is_called(thread.tid, turn.running));
                let work = self.work_of(thread).filter(|_| is_called || said == For::Last);
                work.filter(|work| self.is_for(sample, *work, is_called))
            }
        }
    }

    /// Whether what a worker seems to be busy with says what it does at this moment.
    fn is_for(&self, sample: &Sample, work: Work, is_called: bool) -> bool {
        let thread = sample.thread;
        let Thread { tgid, task, .. } = thread;
        // What an event loop has read last may not be what it does, and who only reads requests does nothing else for them.
        let is_loop = task.id == 0 && !is_called && self.is_ambiguous(thread, sample.time);
        let reads_only = work.link == Link::Thread && self.trust.of(tgid, Link::Thread).is_mostly_wrong();
        !(work.used || is_loop || reads_only)
    }

    /// A worker has shown that it has worked for a request.
    pub(super) fn prove_samples(&mut self, worker: Key, request: Serial) {
        if let Some(call) = self.calls.get_mut(&request) {
            for held in call.samples.iter_mut().filter(|held| held.unproved == Some(worker)) {
                held.unproved = None;
            }
        }
    }

    /// The cause of an outgoing call is known, and so is what whoever has read its answer went on with.
    pub(super) fn move_samples(&mut self, call: Serial, request: Option<Serial>) {
        let held = self.calls.get_mut(&call).map(|call| std::mem::take(&mut call.samples)).unwrap_or_default();
        if held.is_empty() {
            return;
        }
        // One that has come out already takes no more.
        match request.and_then(|request| self.calls.get_mut(&request)).filter(|request| !request.is_out) {
            Some(request) => request.samples.extend(held),
            None => self.tell_samples(None, held.into_iter()),
        }
    }

    /// A request has come out: what was taken for it until its end.
    pub(super) fn give_samples(&mut self, held: Vec<Held>, of: Sampled, end: Nanos) {
        let (right, wrong): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|held| held.time <= end && held.unproved.is_none());
        self.tell_samples(Some(of), right.into_iter());
        self.tell_samples(None, wrong.into_iter());
    }

    /// Nobody will know for whom these were.
    pub(super) fn give_up_samples(&mut self, held: Vec<Held>) {
        self.tell_samples(None, held.into_iter());
    }

    fn tell_samples(&mut self, of: Option<Sampled>, held: impl Iterator<Item = Held>) {
        let numbers: Vec<u64> = held.map(|held| held.number).collect();
        if !numbers.is_empty() {
            self.held = self.held.saturating_sub(numbers.len());
            self.samples.push(Samples { of, numbers });
        }
    }

    /// Samples that have been settled since the last time.
    pub fn take_samples(&mut self) -> std::vec::Drain<'_, Samples> {
        self.samples.drain(..)
    }
}
