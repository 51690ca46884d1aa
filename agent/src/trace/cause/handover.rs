//! Work that passes from one thread or task to another.

use super::{
    call::{Cause, Link, Serial},
    engine::Engine,
    work::{Key, On, Right, Work},
};
use crate::event::{Handover, How};

impl Engine {
    /// Work may have passed on.
    pub fn handover(&mut self, handover: &Handover) {
        let Handover { time, from, to, how } = *handover;
        match how {
            How::Clone => {
                if let Some(work) = self.work_of(from) {
                    self.workers.set(Key::Thread(to.tid), work.on, time, Link::Clone);
                }
            }
            How::Spawn => {
                let work = self.work_of(from).map(|work| Work { link: Link::Task, since: time, ..work });
                self.workers.spawned(Key::Task(to.tgid, to.task.id), from.task.id, work, time);
            }
            How::Claim(sock) => {
                self.claims.insert(sock, (from, self.work_of(from)));
            }
            How::Connect(sock) => {
                self.goes_on(from, time);
                self.turns.opens(from.tid);
                self.connects.insert(sock, self.work_of(from));
            }
            How::Idle => {
                self.turns.seen(from);
                self.turns.idle(from.tid);
                self.loops.idle(from.tid);
                self.workers.clear(Key::of(from));
            }
            How::Wake(object) => self.woken(handover, object),
        }
    }

    /// A thread or task has woken another one of its process: to hand work over, or because work is done.
    fn woken(&mut self, handover: &Handover, object: u64) {
        let Handover { time, from, to, .. } = *handover;
        let (giver, taker) = (Key::of(from), Key::of(to));
        if matches!(taker, Key::Task(..)) {
            self.wakers.insert(from.tgid);
        }
        // What an event loop is busy with is not what it is woken for, and may not be what it wakes others for.
        let given = self.work_of(from).filter(|_| from.task.id != 0 || !self.is_ambiguous(from, time));
        let taken = self.work_of(to).filter(|_| to.task.id != 0 || !self.crowded.contains(&to.tid));
        // Nor is a thread which only reads requests, and leaves it to others to answer them.
        let reads_only =
            |work: &Work, tgid| work.link == Link::Thread && self.trust.of(tgid, Link::Thread).is_mostly_wrong();
        let given = given.filter(|work| !reads_only(work, from.tgid));
        let taken = taken.filter(|work| !reads_only(work, to.tgid));
        let waits_for = taken.filter(|work| !work.is_lent()).and_then(|work| self.request_of(work.on));
        let serves = given.filter(|work| !work.is_lent()).and_then(|work| self.request_of(work.on));
        let own = |work: Option<Work>| work.is_some_and(|work| work.right == Right::Own);
        let is_contended = own(given) && own(taken) && serves != waits_for;
        if self.locks.woken(from.tgid, object, to.tid, is_contended) {
            return;
        }
        if let Some(request) = waits_for
            && given.is_some_and(|work| self.request_of(work.on) == Some(request))
        {
            self.prove_samples(giver, request);
        }
        let answer = self.workers.take_answer(giver);
        if let Some(call) = answer {
            // An answer is passed on, to whoever waits for it in the end.
            match waits_for {
                // It may have waited to hand over the next item, and this one's giver does not wait yet.
                Some(request) if from.task.parent != 0 && self.contradicts(call, request) => {}
                Some(request) if self.may_cause(request, call) => {
                    if given.is_some_and(|work| work.right == Right::Made && self.request_of(work.on) != Some(request))
                    {
                        self.workers.share(giver, time);
                    }
                    self.settle(call, Cause::Call(request, Link::Wake));
                }
                Some(_) => {}
                None if self.workers.is_reader(taker) => {}
                None => {
                    self.workers.is_handed(taker, call, time);
                    return;
                }
            }
        }
        if let Some(work) = taken.filter(|work| work.right == Right::Made)
            && serves.is_some()
            && serves != waits_for
        {
            self.workers.doubt(taker, work, time);
            return;
        }
        if waits_for.is_some() || self.workers.is_reader(taker) {
            // It has what it waited for: the work for it is done.
            if given.is_some_and(|work| work.is_lent() && work.used) {
                self.workers.clear(giver);
            }
            // A goroutine that has nothing to give back takes what the other one was waiting to get rid of.
            if let Some(request) = waits_for
                && answer.is_none()
                && serves.is_none()
                && from.task.parent != 0
            {
                self.workers.set(giver, On::Request(request), time, Link::Wake);
            }
            return;
        }
        let Some(work) = given.filter(|work| !work.is_lent() || !work.used) else {
            // For what, cannot be told: it may be for that what it does next.
            if taken.is_some_and(|taken| taken.is_lent() && taken.link == Link::Wake) {
                self.workers.clear(taker);
            }
            return;
        };
        self.workers.use_up(giver);
        match taken {
            // What it was created for comes first; whoever wakes it before may only have held a lock.
            Some(earlier) if !earlier.used && earlier.link == Link::Clone => {}
            // Woken for two before it has done anything: for which first, cannot be told.
            Some(earlier) if !earlier.used && earlier.on != work.on => self.workers.clear(taker),
            _ => {
                // What it was made for is over.
                if matches!(taker, Key::Task(..)) {
                    self.workers.share(taker, time);
                }
                self.workers.set(taker, work.on, time, Link::Wake);
            }
        }
    }

    /// Whether something else is known of a call than that it is for this request; then neither is believed.
    fn contradicts(&mut self, call: Serial, request: Serial) -> bool {
        let Some(search) = self.calls.get_mut(&call).and_then(|call| call.search.as_mut()) else {
            return false;
        };
        search.hint.take_if(|hint| hint.request != request).is_some()
    }
}
