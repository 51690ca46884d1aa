//! One thread or task wakes another one of its process: to hand work over, because work is done, or for nothing that matters here.

use super::{
    call::{Cause, Hint, Link, Serial, Sign},
    engine::Engine,
    locks::Waking,
    trust::Kind,
    work::{Answer, Key, Lender, On, Right, Work},
};
use crate::event::{Handover, Nanos, Thread};

/// What is known of both at that moment.
#[derive(Clone, Copy)]
struct Wake {
    time: Nanos,
    from: Thread,
    to: Thread,
    /// What the one that wakes is busy with, as far as that says what it wakes others for.
    given: Option<Work>,
    /// What the one that is woken is busy with, as far as that says what it waits for.
    taken: Option<Work>,
    /// The request on whose behalf the one that is woken waits, if it does so for certain.
    waits_for: Option<Serial>,
    /// The request on whose behalf the other one works for certain.
    serves: Option<Serial>,
    /// A task wakes a thread.
    by_task: bool,
}

/// What becomes of an answer when whoever has it wakes somebody.
enum Passed {
    /// Who is woken passes it on in turn; nothing else happens.
    On,
    /// Who is woken has waited for it.
    Back,
    /// It was for somebody else, who does not wait for it yet.
    Kept,
}

impl Wake {
    fn giver(&self) -> Key {
        Key::of(self.from)
    }

    fn taker(&self) -> Key {
        Key::of(self.to)
    }
}

impl Engine {
    /// A thread or task has woken another one of its process, by the futex at this address or by something else (0).
    pub(super) fn woken(&mut self, handover: &Handover, object: u64) {
        if matches!(Key::of(handover.to), Key::Task(..)) {
            self.wakers.insert(handover.from.tgid);
        }
        // One of them waits in another one's place from now on.
        if self.takes_turns(handover.from) && self.takes_turns(handover.to) {
            return;
        }
        let wake = self.wake(handover);
        if self.is_lock(&wake, object) {
            return;
        }
        if let Some(request) = wake.waits_for {
            match wake.given {
                None => self.prove_ended(wake.from.tid, request),
                Some(work) if self.request_of(work.on) == Some(request) => self.prove_samples(wake.giver(), request),
                Some(_) => {}
            }
            self.claim_woken(wake.giver(), request, self.workers.seen(wake.taker()), wake.time);
        }
        for key in [wake.giver(), wake.taker()] {
            self.workers.ran(key, wake.time);
        }
        let answer = self.workers.answer(wake.giver());
        let is_result = match answer.map(|answer| self.passes_on(&wake, answer)) {
            Some(Passed::On) => return,
            Some(Passed::Back) => true,
            Some(Passed::Kept) | None => false,
        };
        if let Some(work) = wake.taken.filter(|work| work.right == Right::Made)
            && wake.serves.is_some()
            && wake.serves != wake.waits_for
        {
            self.workers.doubt(wake.taker(), work, wake.time);
        } else if wake.waits_for.is_some() || self.workers.is_reader(wake.taker()) {
            self.has_result(&wake, is_result);
        } else {
            self.lends(&wake);
        }
    }

    /// What a thread or task is busy with, as far as that says what it has others do. What an event loop is busy with may not be that.
    fn given(&self, from: Thread, time: Nanos) -> Option<Work> {
        let work = self.work_of(from).filter(|_| from.task.id != 0 || !self.is_ambiguous(from, time));
        work.filter(|work| !self.reads_only(work, from.tgid))
    }

    /// Whether it is busy with what it only reads, and leaves to others to answer.
    fn reads_only(&self, work: &Work, tgid: u32) -> bool {
        work.link == Link::Thread && self.trust.of(tgid, Link::Thread).is_mostly_wrong()
    }

    /// What a thread or task leaves to a pool is for, if that can be told.
    pub(super) fn lendable(&self, from: Thread, time: Nanos) -> Option<Work> {
        let reads_for_others = from.task.id == 0 && self.takes_turns(from);
        self.given(from, time).filter(|work| !reads_for_others && self.may_lend(work, from.tgid))
    }

    /// Whether what comes next is for what a worker is busy with.
    fn may_lend(&self, work: &Work, tgid: u32) -> bool {
        let may_last = |lender: Option<Lender>| lender.is_none_or(|l| !self.trust.of(tgid, l).is_refuted());
        work.must_last().is_ok_and(may_last)
    }

    fn wake(&self, handover: &Handover) -> Wake {
        let Handover { time, from, to, .. } = *handover;
        let given = self.given(from, time);
        // What an event loop is busy with is not what it is woken for.
        let taken = self.work_of(to).filter(|_| to.task.id != 0 || !self.crowded.contains(&to.tid));
        let taken = taken.filter(|work| !self.reads_only(work, to.tgid));
        let by_task = from.task.id != 0 && to.task.id == 0;
        // A thread to which a task has lent something has other things to wait for, too; but an event loop wakes it for something new.
        let keeps = |work: &Work| !by_task && !self.workers.is_reader(Key::of(from)) && self.lasts(to.tgid, work);
        let waits_for = taken.filter(|work| !work.is_lent() || keeps(work)).and_then(|work| self.request_of(work.on));
        let serves = given.filter(|work| !work.is_lent()).and_then(|work| self.request_of(work.on));
        Wake { time, from, to, given, taken, waits_for, serves, by_task }
    }

    /// Whether it is a lock, or the like, that one of them leaves to the other.
    fn is_lock(&mut self, wake: &Wake, address: u64) -> bool {
        let own = |work: Option<Work>| work.is_some_and(|work| work.right == Right::Own);
        self.locks.is_lock(&Waking {
            tgid: wake.from.tgid,
            address,
            giver: wake.from.tid,
            taker: wake.to.tid,
            is_own: own(wake.given),
            is_contended: own(wake.given) && own(wake.taken) && wake.serves != wake.waits_for,
        })
    }

    /// An answer is passed on, to whoever waits for it in the end.
    fn passes_on(&mut self, wake: &Wake, answer: Answer) -> Passed {
        let (giver, taker, call) = (wake.giver(), wake.taker(), answer.to);
        if wake.waits_for.is_none() && !self.workers.is_reader(taker) {
            let lent = wake.taken.filter(|work| work.lender() == Some(Lender::Task) && !wake.by_task);
            if let Some(work) = lent {
                self.brings_result(call, work, wake.to.tgid);
            }
            self.workers.hand(giver, taker, answer, wake.time);
            return Passed::On;
        }
        self.workers.drop_answer(giver);
        let Some(request) = wake.waits_for else {
            return Passed::Back;
        };
        // It may have waited to hand over the next item, and this one's giver does not wait yet.
        if wake.from.task.parent != 0 && self.contradicts(call, request) {
            return Passed::Kept;
        }
        if self.may_cause(request, call) {
            if wake.given.is_some_and(|work| work.right == Right::Made && self.request_of(work.on) != Some(request)) {
                self.workers.share(giver, wake.time);
            }
            self.settle(call, Cause::Call(request, Link::Wake));
        }
        Passed::Back
    }

    /// Who is woken has what it waited for: the work for it is done.
    fn has_result(&mut self, wake: &Wake, is_answer: bool) {
        if wake.given.is_some_and(|work| work.is_lent() && work.used) {
            self.workers.clear(wake.giver());
        }
        let is_untouched = |work: Work| work.is_lent() && !work.used && work.link == Link::Wake;
        if wake.from.task.parent != 0 && wake.given.is_some_and(is_untouched) {
            // What it seemed to take before was a result that it gave back.
            self.trust.add(wake.from.tgid, Kind::Item, false);
        }
        // A goroutine that has nothing to give back takes what the other one was waiting to get rid of.
        if let Some(request) = wake.waits_for
            && !is_answer
            && wake.serves.is_none()
            && wake.from.task.parent != 0
        {
            let work = Work::new(On::Request(request), wake.time, Link::Wake);
            self.workers.take(wake.giver(), work.lent(Lender::Other, wake.time));
        }
    }

    /// Who is woken may get something to do.
    fn lends(&mut self, wake: &Wake) {
        let (giver, taker) = (wake.giver(), wake.taker());
        let is_used = |work: &Work| work.is_lent() && work.used;
        if let Some((given, taken)) = wake.given.filter(is_used).zip(wake.taken.filter(is_used))
            && given.on == taken.on
        {
            // What it had done for the other one is done.
            return self.workers.clear(giver);
        }
        let Some(work) = wake.given.filter(|work| self.may_lend(work, wake.from.tgid)) else {
            // For what, cannot be told: it may be for that what it does next.
            if wake.taken.is_some_and(|taken| taken.is_lent() && taken.link == Link::Wake) {
                self.workers.clear(taker);
            }
            return;
        };
        self.workers.use_up(giver);
        match wake.taken {
            // What it was created for comes first; whoever wakes it before may only have held a lock.
            Some(earlier) if !earlier.used && earlier.link == Link::Clone => {}
            // Woken for two before it has done anything: for which first, cannot be told.
            Some(earlier) if !earlier.used && earlier.on != work.on => self.workers.clear(taker),
            _ => {
                // What it was made for is over.
                if matches!(taker, Key::Task(..)) {
                    self.workers.share(taker, wake.time);
                }
                let lender = if wake.by_task { Lender::Task } else { Lender::Other };
                self.workers.take(taker, work.lent(lender, wake.time));
            }
        }
    }

    /// A worker to which a task has lent something has the answer to a call from somebody else, not a task: as a result, if what it was
    /// lent lasts.
    fn brings_result(&mut self, call: Serial, work: Work, tgid: u32) {
        let (Some(request), Some(lender)) = (self.request_of(work.on), work.lender()) else {
            return;
        };
        let hint = Hint { request, link: Link::Wake, sign: Sign::Loan(lender) };
        if self.may_cause(request, call) {
            self.suggest(call, hint);
        } else if self.calls.get(&call).is_some_and(|call| call.cause == Cause::Open) {
            self.judge(tgid, hint, false);
        }
    }

    /// Whether what was lent to a worker is what it works for until it is lent something else, as far as that has shown.
    fn lasts(&self, tgid: u32, work: &Work) -> bool {
        let is_proved = |lender| self.trust.of(tgid, lender).is_proved();
        work.lender().is_some_and(is_proved) && work.rests_on.is_none_or(is_proved)
    }

    /// Whether what a goroutine was given points to another request than this, for which it seems to have been given back. Neither is believed
    /// then, unless what goroutines are given has held otherwise.
    fn contradicts(&mut self, call: Serial, request: Serial) -> bool {
        let Some(call) = self.calls.get_mut(&call) else {
            return false;
        };
        let (tgid, search) = (call.tgid(), call.search.as_mut());
        let Some((hint, search)) = search.and_then(|search| Some((search.hint?, search))) else {
            return false;
        };
        if hint.request == request {
            self.trust.add(tgid, Kind::Item, true);
            return false;
        }
        if !self.trust.of(tgid, Kind::Item).has_held() {
            search.hint = None;
        }
        true
    }
}
