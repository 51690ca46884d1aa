//! Event loops: whether what a loop's thread sends goes on with what it has read last. Most do, and answer a request at once when they have
//! read what it waited for. Some put off what follows from a read until they have read more: then the last read says nothing, unless it
//! is the only one. In others (tokio) threads take work from each other, and the last read says nothing at all. Which kind a loop is shows
//! in its answers, of which it is known whose they are.

use hashbrown::HashMap;

use super::{call::Serial, trust::Proof, work::On};
use crate::event::{Nanos, Thread};

/// How soon what is not put off follows; later, it may follow from a timer.
const AT_ONCE: Nanos = 1_000_000;
/// Reads that are remembered.
const READS: usize = 64;

/// What a thread has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The answer to a request.
    Answer(Serial),
    /// An outgoing call.
    Call(Serial),
}

/// A thread.
#[derive(Debug, Default)]
struct Loop {
    /// When it has read last.
    at: Nanos,
    /// What was read since the loop turned round last, and what was sent after that, both in order.
    round: (Vec<On>, Vec<Sent>),
}

impl Loop {
    /// Whether only one thing has been read since something was sent, and that just now, and nothing was answered since.
    fn has_one(&self, now: Nanos) -> bool {
        let (reads, sends) = &self.round;
        let is_done = sends.iter().any(|sent| matches!(sent, Sent::Answer(_)));
        reads.len() == 1 && !is_done && now.saturating_sub(self.at) < AT_ONCE
    }
}

/// What the answers of a process' loops have shown.
#[derive(Debug, Default)]
struct Shown {
    /// An answer followed from the last read.
    last: Proof,
    /// The same when that was the only one, just before.
    lone: Proof,
    /// The answers of a round were in the places of their reads.
    order: Proof,
}

/// Threads that have read requests, by their ids, and what their processes have shown.
#[derive(Debug, Default)]
pub(super) struct Loops {
    threads: HashMap<u32, Loop, foldhash::fast::RandomState>,
    processes: HashMap<u32, Shown, foldhash::fast::RandomState>,
}

impl Loops {
    /// A thread has read something. Returns what it has sent before, each with what that may follow from, if each read has been followed
    /// by one send: they may have been taken up in order.
    pub(super) fn read(&mut self, thread: Thread, now: Nanos, on: On) -> Vec<(On, Sent)> {
        let puts_off = self.processes.get(&thread.tgid).is_some_and(|shown| shown.last.has_failed());
        let thread = self.threads.entry(thread.tid).or_default();
        thread.at = now;
        let (reads, sends) = &mut thread.round;
        let mut pairs = Vec::new();
        if !sends.is_empty() {
            let (reads, sends) = std::mem::take(&mut thread.round);
            if puts_off && reads.len() == sends.len() {
                pairs = reads.into_iter().zip(sends).collect();
            }
            thread.round.0.push(on);
        } else if reads.last() != Some(&on) && reads.len() < READS {
            reads.push(on);
        }
        pairs
    }

    /// The answers of a round were in the places of their reads, or were not. Returns whether order can be believed.
    pub(super) fn ordered(&mut self, tgid: u32, in_place: bool) -> bool {
        let order = &mut self.processes.entry(tgid).or_default().order;
        order.add(in_place);
        in_place && order.is_proved()
    }

    /// Whether order can be believed.
    pub(super) fn is_ordered(&self, tgid: u32) -> bool {
        self.processes.get(&tgid).is_some_and(|shown| shown.order.is_proved())
    }

    /// A thread has sent something.
    pub(super) fn sent(&mut self, tid: u32, what: Sent) {
        if let Some(thread) = self.threads.get_mut(&tid)
            && thread.round.1.len() <= READS
        {
            thread.round.1.push(what);
        }
    }

    /// A thread turns to something that was not read.
    pub(super) fn idle(&mut self, tid: u32) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.round = Default::default();
        }
    }

    /// An answer has shown whether a loop goes on with what it has read last. `is_lone`: that was all that it had read.
    pub(super) fn answered(&mut self, tgid: u32, is_right: bool, is_lone: bool) {
        let shown = self.processes.entry(tgid).or_default();
        shown.last.add(is_right);
        if is_lone {
            shown.lone.add(is_right);
        }
    }

    /// Whether what a thread has read last is all that it has read since it has sent something, and it has just been.
    pub(super) fn is_lone(&self, tid: u32, now: Nanos) -> bool {
        self.threads.get(&tid).is_some_and(|thread| thread.has_one(now))
    }

    /// Whether what a thread sends now may follow from something else than it has read last.
    pub(super) fn is_ambiguous(&self, thread: Thread, now: Nanos) -> bool {
        let Some(shown) = self.processes.get(&thread.tgid) else {
            return true;
        };
        !(shown.last.is_proved() || shown.lone.is_proved() && self.is_lone(thread.tid, now))
    }

    /// What the last read of a process' loops has been worth so far.
    pub(super) fn last(&self, tgid: u32) -> Proof {
        self.processes.get(&tgid).map(|shown| shown.last).unwrap_or_default()
    }

    /// What the only one was worth.
    pub(super) fn lone(&self, tgid: u32) -> Proof {
        self.processes.get(&tgid).map(|shown| shown.lone).unwrap_or_default()
    }

    /// What was read last was not what a call followed from.
    pub(super) fn contradicted(&mut self, tgid: u32, is_lone: bool) {
        self.answered(tgid, false, is_lone);
    }

    /// A thread, or the process of this number, has ended.
    pub(super) fn ended(&mut self, id: u32) {
        self.threads.remove(&id);
        self.processes.remove(&id);
    }
}
