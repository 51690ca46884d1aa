//! Samples of workers of which it is not known what they work for, or only likely: kept until they answer a request, or wake whoever waits
//! for what they have done. Of event loops only what follows after an `await` is kept, where callbacks have ids: until the loop sends
//! something, if it has put nothing off in between.

use hashbrown::HashMap;

use super::{
    call::{Call, Serial},
    engine::Engine,
    samples::Held,
    trust::Kind,
    work::Key,
};
use crate::event::{Nanos, Sample, Thread};

/// Samples of a worker, and of the tasks that it has started, that are kept at a time.
const MOST: usize = 1024;
/// How often is looked for those that have waited for too long.
const EACH: Nanos = 1_000_000_000;

/// A sample that nobody has claimed yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u64,
    time: Nanos,
    /// Whose it is.
    own: Key,
    /// The request that it seems to be for.
    hint: Option<Serial>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    /// By the first one of those who have started a worker, or by itself.
    by_first: HashMap<Key, Vec<Waiting>, foldhash::fast::RandomState>,
    /// Those of event loops, by thread: the last id that was given out before they were taken.
    by_turn: HashMap<u32, (u32, Vec<Held>), foldhash::fast::RandomState>,
    /// Whose samples seem to be for a request.
    by_hint: HashMap<Serial, Vec<Key>, foldhash::fast::RandomState>,
    /// When the first sample was taken: until then, nothing is noted for them.
    since: Option<Nanos>,
    /// When a worker was done with something for the last time: what it was lent before that says nothing any more.
    done: HashMap<Key, Nanos, foldhash::fast::RandomState>,
    /// By thread: the task that was sampled there last, of those that have not shown yet what they work for.
    unproved: HashMap<u32, (Key, Nanos), foldhash::fast::RandomState>,
    /// When was looked the last time.
    looked: Nanos,
}

impl Unclaimed {
    /// A sample was taken.
    pub(super) fn sampled(&mut self, time: Nanos) {
        self.since.get_or_insert(time);
    }

    /// A task was sampled that has not shown what it works for.
    pub(super) fn seems_to_work(&mut self, tid: u32, task: Key, time: Nanos) {
        self.unproved.insert(tid, (task, time));
    }
}

impl Engine {
    /// Keeps a sample of a worker that may show later what it worked for. Returns whether there is room, and that can be.
    pub(super) fn keep_unclaimed(&mut self, number: u64, sample: &Sample, lent: Option<(Serial, Nanos)>) -> bool {
        let Sample { thread, time } = *sample;
        let own = Key::of(thread);
        let is_loop = thread.turn.is_some() || matches!(own, Key::Thread(tid) if self.crowded.contains(&tid));
        let serves_none = self.open.get(&thread.tgid).is_none_or(Vec::is_empty);
        // A thread that reads requests works for what it has read, or for nobody.
        if is_loop || serves_none || matches!(own, Key::Thread(_)) && self.workers.is_reader(own) {
            return false;
        }
        let first = self.first(thread, time);
        let waiting = self.unclaimed.by_first.entry(first).or_default();
        if waiting.len() >= MOST {
            self.stats.unlinked += 1;
            return false;
        }
        let done = self.unclaimed.done.get(&own).copied().or(self.unclaimed.since).unwrap_or_default();
        let hint = lent.filter(|(_, since)| *since >= done).map(|(request, _)| request);
        waiting.push(Waiting { number, time, own, hint });
        self.held += 1;
        if let Some(request) = hint {
            let whose = self.unclaimed.by_hint.entry(request).or_default();
            if whose.last() != Some(&first) {
                whose.push(first);
            }
        }
        true
    }

    /// Keeps a sample of an event loop on which no callback runs: what follows after an `await`. Returns whether there is room.
    pub(super) fn keep_turn(&mut self, number: u64, sample: &Sample) -> bool {
        let Sample { thread, time } = *sample;
        let Some(turn) = thread.turn.filter(|_| self.open.get(&thread.tgid).is_some_and(|open| !open.is_empty()))
        else {
            return false;
        };
        if self.unclaimed.by_turn.get(&thread.tid).is_some_and(|(made, _)| *made != turn.made) {
            // It has put something off since, and may go on with something else.
            self.turned(thread, None);
        }
        let (_, waiting) = self.unclaimed.by_turn.entry(thread.tid).or_insert((turn.made, Vec::new()));
        if waiting.len() >= MOST {
            self.stats.unlinked += 1;
            return false;
        }
        waiting.push(Held { number, time, unproved: None });
        self.held += 1;
        true
    }

    /// An event loop sends something, for a request or as this call, or does something else.
    pub(super) fn turned(&mut self, thread: Thread, sent: Option<Serial>) {
        let Some((made, waiting)) = self.unclaimed.by_turn.remove(&thread.tid) else {
            return;
        };
        let is_same = thread.turn.is_some_and(|turn| turn.running == 0 && turn.made == made);
        match sent.filter(|_| is_same).and_then(|call| self.calls.get_mut(&call)).filter(|call| !call.is_out) {
            Some(call) => call.samples.extend(waiting),
            None => self.give_up_samples(waiting),
        }
    }

    fn first(&mut self, thread: Thread, now: Nanos) -> Key {
        self.workers.line(thread, now).last().copied().unwrap_or(Key::Thread(thread.tid))
    }

    /// A worker has answered a request: what it did since that was read, and what the tasks did that it has started, was for it.
    pub(super) fn claim_answered(&mut self, thread: Thread, request: Serial, start: Nanos, now: Nanos) {
        if self.unclaimed.by_first.is_empty() {
            return;
        }
        let (key, first) = (Key::of(thread), self.first(thread, now));
        self.claim(first, request, |sample| {
            let is_its = sample.own == key || first == key;
            is_its.then_some(sample.time >= start || sample.hint == Some(request))
        });
    }

    /// A thread has woken the one that waits on a request's behalf, and that has done nothing since `quiet`: what it did meanwhile was for
    /// that. Whoever waits for a lock, and not for the work, has not waited for long.
    pub(super) fn claim_woken(&mut self, giver: Key, request: Serial, quiet: Nanos, now: Nanos) {
        // Called for each wake of who waits, mostly where nothing is sampled.
        if self.unclaimed.since.is_none() {
            return;
        }
        let Some((start, tgid)) = self.calls.get(&request).map(|call| (call.start, call.tgid())) else {
            return;
        };
        if matches!(giver, Key::Thread(_)) {
            let waiting = self.unclaimed.by_first.get(&giver);
            if let Some(hint) = waiting.and_then(|waiting| waiting.iter().rev().find_map(|sample| sample.hint)) {
                self.trust.add(tgid, Kind::Next, hint == request);
            }
            self.unclaimed.done.insert(giver, now);
            self.claim(giver, request, |sample| Some(sample.time >= start.max(quiet) || sample.hint == Some(request)));
        }
    }

    /// Somebody without work of its own has woken the one that waits on a request's behalf: where a task has just ended on that thread, its
    /// scheduler, which does that for it.
    pub(super) fn prove_ended(&mut self, tid: u32, request: Serial) {
        if let Some((task, _)) = self.unclaimed.unproved.remove(&tid) {
            self.prove_samples(task, request);
        }
    }

    /// A request comes out: what seems to have been done for it, and has found nobody who waited for it, was so where that hardly ever is
    /// wrong.
    pub(super) fn claim_likely(&mut self, request: Serial) {
        let whose = self.unclaimed.by_hint.remove(&request).unwrap_or_default();
        let tgid = self.calls.get(&request).map_or(0, Call::tgid);
        if !self.trust.of(tgid, Kind::Next).is_proved() {
            return;
        }
        for first in whose {
            self.claim(first, request, |sample| (sample.hint == Some(request)).then_some(true));
        }
    }

    /// Samples for which `which` says so are for a request, or for none; of the others nothing is known yet.
    fn claim(&mut self, first: Key, request: Serial, which: impl Fn(&Waiting) -> Option<bool>) {
        let Some(waiting) = self.unclaimed.by_first.get_mut(&first) else {
            return;
        };
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        waiting.retain(|sample| {
            let held = Held { number: sample.number, time: sample.time, unproved: None };
            match which(sample) {
                Some(true) => right.push(held),
                Some(false) => wrong.push(held),
                None => return true,
            }
            false
        });
        if waiting.is_empty() {
            self.unclaimed.by_first.remove(&first);
        }
        match self.calls.get_mut(&request).filter(|call| !call.is_out) {
            Some(call) => call.samples.extend(right),
            None => wrong.extend(right),
        }
        self.give_up_samples(wrong);
    }

    /// Gives up those that have waited for too long.
    pub(super) fn look_at_unclaimed(&mut self, now: Nanos) {
        if now.saturating_sub(self.unclaimed.looked) >= EACH {
            self.unclaimed.looked = now;
            self.give_up_unclaimed(now.saturating_sub(self.limits.patience));
        }
    }

    /// Gives up those that were taken before some moment.
    pub(super) fn give_up_unclaimed(&mut self, before: Nanos) {
        let mut late = Vec::new();
        self.unclaimed.by_first.retain(|_, waiting| {
            let old = waiting.extract_if(.., |sample| sample.time < before);
            late.extend(old.map(|sample| Held { number: sample.number, time: sample.time, unproved: None }));
            !waiting.is_empty()
        });
        self.unclaimed.done.retain(|_, time| *time >= before);
        self.unclaimed.unproved.retain(|_, (_, time)| *time >= before);
        self.unclaimed.by_hint.retain(|request, _| self.calls.contains_key(request));
        self.unclaimed.by_turn.retain(|_, (_, waiting)| {
            late.extend(waiting.extract_if(.., |held| held.time < before));
            !waiting.is_empty()
        });
        self.give_up_samples(late);
    }
}
