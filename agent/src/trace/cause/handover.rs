//! Work that passes from one thread or task to another.

use super::{
    call::{Cause, Link},
    engine::Engine,
    work::{Key, Right, Work},
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
                self.claims.insert(sock, from);
            }
            How::Connect(sock) => {
                if let Some(work) = self.work_of(from) {
                    self.connects.insert(sock, work);
                }
            }
            How::Idle => {
                self.loops.idle(from.tid);
                self.workers.clear(Key::of(from));
            }
            How::Wake(_) => self.woken(handover),
        }
    }

    /// A thread or task has woken another one of its process: to hand work over, or because work is done.
    fn woken(&mut self, handover: &Handover) {
        let Handover { time, from, to, .. } = *handover;
        let (giver, taker) = (Key::of(from), Key::of(to));
        let given = self.work_of(from);
        let taken = self.work_of(to);
        let waits_for = taken.filter(|work| !work.is_lent()).and_then(|work| self.request_of(work.on));
        if let Some(call) = self.workers.take_answer(giver) {
            // An answer is passed on, to whoever waits for it in the end.
            match waits_for {
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
                    self.workers.has_answer(taker, call, time);
                    return;
                }
            }
        }
        let serves = given.filter(|work| !work.is_lent()).and_then(|work| self.request_of(work.on));
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
            return;
        }
        let Some(work) = given.filter(|work| !work.is_lent() || !work.used) else {
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
}
