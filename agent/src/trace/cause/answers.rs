//! Answers as they are read and written: whoever reads the answer to a call goes on with what it was made for, and whoever answers a
//! request has worked for it.

use super::{
    call::{Call, Cause, Hint, Link, Serial, Sign},
    engine::Engine,
    loops::Sent,
    turns::For,
    work::{Key, On},
};
use crate::{
    event::{Nanos, Thread},
    protocol::{Answered, Side},
};

/// Calls that are followed back, each of which may have been made after the answer to the one before.
const CHAIN: usize = 32;

impl Engine {
    /// The beginning of an answer was seen.
    pub fn answered(&mut self, answered: &Answered) {
        let Some(serial) = self.by_id.get(&(answered.id, answered.side == Side::Server)).copied() else {
            return;
        };
        let key = Key::of(answered.thread);
        match answered.side {
            Side::Client => {
                self.sees_message(answered.thread, answered.id, answered.time);
                self.read_answer(serial, answered.thread, answered.time);
                self.outlived(serial, answered.time);
            }
            Side::Server if self.sessions.has(answered.id.socket) => {
                if let Some(call) = self.calls.get_mut(&serial) {
                    call.answered.get_or_insert(answered.time);
                }
            }
            Side::Server => {
                self.goes_on(answered.thread, answered.time);
                self.turned(answered.thread, Some(serial));
                self.wrote_answer(serial, key, answered);
            }
        }
    }

    /// Whoever reads an answer goes on with what it was asked for.
    pub(super) fn read_answer(&mut self, serial: Serial, thread: Thread, now: Nanos) {
        let key = Key::of(thread);
        self.turns.seen(thread);
        self.turned(thread, None);
        self.waits_by_now(serial, thread, now);
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        if !self.workers.is_reader(key) {
            // A worker of a pool, or a connection's own task: what it does next may be for somebody else.
            self.workers.has_answer(key, serial, now);
            return;
        }
        let on = match call.cause {
            Cause::Call(request, _) => Some(On::Request(request)),
            Cause::Open => {
                call.reader = Some(key);
                Some(On::Like(serial))
            }
            Cause::Outside(..) => call.by.map(On::Request),
            Cause::None => None,
        };
        let socket = call.id.socket;
        if matches!(key, Key::Thread(_)) {
            self.loop_reads(thread, now, on.unwrap_or(On::Like(serial)));
            self.turns.reads_answer(thread.tid, socket);
        }
        match on {
            // Whoever has read the request itself keeps that as the reason.
            Some(on) if self.workers.own(key).is_some_and(|work| work.on == on) => {}
            Some(on) => self.workers.set(key, on, now, Link::Answer),
            None => self.workers.clear(key),
        }
    }

    /// Who waits for a task may be known only when it reads the answer to its call.
    fn waits_by_now(&mut self, serial: Serial, thread: Thread, now: Nanos) {
        let is_new = |call: &Call| {
            let caller = call.thread.task;
            call.cause == Cause::Open && caller.id == thread.task.id && caller.parent == 0 && !call.is_claimed
        };
        if thread.task.parent == 0 || !self.calls.get(&serial).is_some_and(is_new) {
            return;
        }
        // It is remembered for what the task does next, too.
        self.workers.line(thread, now);
        let work = self.work_of(thread).filter(|work| !work.is_lent() && !work.used);
        if let Some(request) = work.and_then(|work| self.request_of(work.on))
            && self.may_cause(request, serial)
        {
            self.settle(serial, Cause::Call(request, Link::Task));
        }
    }

    /// Whether the last read of a thread says nothing of what it sends: only of those that have several requests open at a time.
    pub(super) fn is_ambiguous(&self, thread: Thread, now: Nanos) -> bool {
        self.crowded.contains(&thread.tid) && self.loops.is_ambiguous(thread, now)
    }

    /// An event loop reads. If it puts off what follows, it is now that this can be told.
    pub(super) fn loop_reads(&mut self, thread: Thread, now: Nanos, on: On) {
        let socket = if let On::Request(request) = on { self.calls.get(&request) } else { None };
        self.turns.reads(thread.tid, on, socket.map(|call| call.id.socket));
        let pairs = self.loops.read(thread, now, on);
        // Of the answers it is known to which requests they are: if one of them is out of place, so may be all.
        let in_place = pairs.iter().all(|(on, sent)| match (*sent, *on) {
            (Sent::Answer(answered), On::Request(request)) => answered == request,
            (Sent::Answer(answered), On::Like(call)) => match self.calls.get(&call).map(|call| &call.cause) {
                Some(Cause::Call(request, _)) => *request == answered,
                Some(Cause::Open) => self.may_cause(answered, call),
                _ => false,
            },
            (Sent::Call(_), _) => true,
        });
        let shows = pairs.iter().any(|(_, sent)| matches!(sent, Sent::Answer(_)));
        if pairs.is_empty()
            || !(if shows { self.loops.ordered(thread.tgid, in_place) } else { self.loops.is_ordered(thread.tgid) })
        {
            return;
        }
        // A value is one request's; places are guessed.
        let is_contradicted = pairs.iter().any(|(on, sent)| match (*sent, *on) {
            (Sent::Answer(request), On::Like(call)) => self.value_speaks_against(call, request),
            (Sent::Call(call), on) => {
                self.request_of(on).is_some_and(|request| self.value_speaks_against(call, request))
            }
            (Sent::Answer(_), On::Request(_)) => false,
        });
        if is_contradicted {
            self.loops.ordered(thread.tgid, false);
            return;
        }
        for (on, sent) in pairs {
            match (sent, on) {
                (Sent::Answer(answered), On::Like(call)) => self.settle(call, Cause::Call(answered, Link::Order)),
                (Sent::Answer(_), On::Request(_)) => {}
                (Sent::Call(call), on) => match self.request_of(on) {
                    Some(request) if self.may_cause(request, call) => {
                        self.settle(call, Cause::Call(request, Link::Order));
                    }
                    Some(_) => {}
                    None => self.join(call, on),
                },
            }
        }
    }

    /// An event loop sends something: for what it has read last, unless the id of the callback that runs says otherwise.
    pub(super) fn goes_on(&mut self, thread: Thread, now: Nanos) {
        let Some(turn) = thread.turn else {
            return;
        };
        self.turns.seen(thread);
        match self.turns.sends(thread.tid, turn.running) {
            For::Last => {}
            For::This(on) => self.workers.set(Key::of(thread), on, now, Link::Task),
            For::Unknown => self.workers.clear(Key::of(thread)),
        }
    }

    /// Two outgoing calls have the same cause, whatever that is.
    pub(super) fn join(&mut self, call: Serial, on: On) {
        if let On::Like(earlier) = on {
            for (one, other) in [(call, earlier), (earlier, call)] {
                if let Some(one) = self.calls.get_mut(&one).filter(|one| one.cause == Cause::Open) {
                    one.alike.push(other);
                }
            }
        }
    }

    /// Whether a request that is answered is the one that its event loop seems to be busy with, as far as that says anything. Where nothing
    /// points to one: whether it can be, if that is so of half of the open ones at most, and would not have to be by chance.
    fn agrees(&self, on: On, answered: Serial, tgid: u32) -> Option<bool> {
        if let Some(request) = self.likely(on) {
            return Some(request == answered);
        }
        let On::Like(call) = on else {
            return None;
        };
        if self.is_queued(call) {
            return Some(false);
        }
        let open = self.open.get(&tgid)?;
        // If the last read means anything, what was sent before has the same cause.
        let candidates = &self.calls.get(&self.first_of(call))?.search.as_ref()?.candidates;
        // Both are in the order in which they came, and what has come since the call was made cannot have caused it.
        let possible = match candidates.last() {
            Some(last) => open.partition_point(|request| request <= last),
            None => 0,
        };
        (possible > 0 && possible * 2 <= open.len()).then(|| self.may_cause(answered, call))
    }

    /// Whether something was sent on the same connection since a call was answered there, and still waits for its answer: that was not for the
    /// request which is answered now, but was queued by another one.
    fn is_queued(&self, call: Serial) -> bool {
        self.calls.get(&call).is_some_and(|before| {
            before
                .perhaps_alike
                .iter()
                .filter(|next| **next > call)
                .filter_map(|next| self.calls.get(next))
                .any(|next| next.id.socket == before.id.socket && !next.is_answered())
        })
    }

    /// The first of the calls that follow from each other, up to this one, if what an event loop has read last means anything.
    fn first_of(&self, mut call: Serial) -> Serial {
        for _ in 0..CHAIN {
            let alike = self.calls.get(&call).map(|call| call.perhaps_alike.as_slice()).unwrap_or_default();
            match alike.iter().copied().find(|other| *other < call) {
                Some(earlier) => call = earlier,
                None => break,
            }
        }
        call
    }

    /// Whether what seems to be the cause of what was read was the only thing that it could be.
    fn was_lone(&self, on: On) -> bool {
        let On::Like(call) = on else {
            return true;
        };
        let hint = self.calls.get(&call).and_then(|call| call.search.as_ref()).and_then(|search| search.hint);
        hint.is_none_or(|hint| matches!(hint.sign, Sign::Lone | Sign::Link))
    }

    /// An answer has shown whether an event loop goes on with what it has read last.
    fn loop_shows(&mut self, tgid: u32, is_right: bool, is_lone: bool) {
        let proved = |engine: &Self| [engine.loops.last(tgid).is_proved(), engine.loops.lone(tgid).is_proved()];
        let [last, lone] = proved(self);
        self.loops.answered(tgid, is_right, is_lone);
        let [last_now, lone_now] = proved(self);
        if lone_now && !lone || last_now && !last {
            self.proved(tgid, Sign::Lone);
        }
        if last_now && !last {
            self.proved(tgid, Sign::Loop);
        }
    }

    /// Something points to the cause of a call after it was made; if something else does already, neither counts.
    pub(super) fn suggest(&mut self, call: Serial, hint: Hint) {
        if let Some(search) = self.calls.get_mut(&call).and_then(|call| call.search.as_mut()) {
            search.hint = match search.hint {
                None => Some(hint),
                Some(earlier) => Some(earlier).filter(|earlier| earlier.request == hint.request),
            };
        }
    }

    /// Whoever answers a request has worked for it.
    pub(super) fn wrote_answer(&mut self, serial: Serial, key: Key, answered: &Answered) {
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        call.answered = Some(answered.time);
        let start = call.start;
        self.prove_samples(key, serial);
        let since = self.shows_turns(serial, answered);
        if !matches!(key, Key::Thread(tid) if self.crowded.contains(&tid)) {
            self.claim_answered(answered.thread, serial, start, answered.time);
        }
        let link = match key {
            Key::Task(..) => {
                self.answerers.insert(answered.id.socket, key);
                self.workers.answered(key, serial, answered.id.socket, answered.time);
                Link::Task
            }
            Key::Thread(_) if self.takes_turns(answered.thread) => {
                return self.answered_for_another(serial, key, since, answered.time);
            }
            Key::Thread(tid) if self.crowded.contains(&tid) => {
                if let Some(on) = self.workers.own(key).map(|work| work.on)
                    && let Some(is_right) = self.agrees(on, serial, answered.thread.tgid)
                {
                    let is_lone = self.loops.is_lone(tid, answered.time) && self.was_lone(on);
                    self.loop_shows(answered.thread.tgid, is_right, is_lone);
                }
                // An event loop goes on with what it has read last: this request, then, has caused that call.
                if let Some(On::Like(call)) = self.workers.own(key).map(|work| work.on)
                    && self.may_cause(serial, call)
                {
                    if self.is_ambiguous(answered.thread, answered.time) {
                        self.suggest(call, Hint { request: serial, link: Link::Answer, sign: Sign::Loop });
                    } else {
                        self.settle(call, Cause::Call(serial, Link::Answer));
                    }
                }
                self.loops.sent(tid, Sent::Answer(serial));
                return;
            }
            Key::Thread(_) => {
                // Whether whoever reads a request is the one that answers it; it may have read the answer to a call of its own last.
                let is_same = self.workers.own(key).is_some_and(|work| self.likely(work.on) == Some(serial));
                self.trust.add(answered.thread.tgid, Link::Thread, is_same);
                if let Some(cost) = self.calls.get_mut(&serial).and_then(|call| call.cost.as_mut()) {
                    cost.is_whole = is_same;
                }
                if !is_same {
                    return self.answered_for_another(serial, key, since, answered.time);
                }
                Link::Thread
            }
        };
        for call in self.pending.by(key) {
            // What others have done for it has an answer by now.
            let fits = self.calls.get(&call).is_some_and(|call| {
                let is_own = call.search.as_ref().is_some_and(|search| search.keys.first() == Some(&key));
                call.start >= start && (is_own || call.is_answered())
            });
            if fits && self.may_cause(serial, call) {
                self.settle(call, Cause::Call(serial, link));
            }
        }
    }

    /// More of what a process reads was seen, after its beginning: whoever reads it turns to it.
    pub fn went_on(&mut self, moved: &Answered) {
        let Some(serial) = self.by_id.get(&(moved.id, moved.side == Side::Server)).copied() else {
            return;
        };
        let key = Key::of(moved.thread);
        match moved.side {
            Side::Client => self.read_answer(serial, moved.thread, moved.time),
            Side::Server => {
                let link = if matches!(key, Key::Task(..)) { Link::Task } else { Link::Thread };
                self.workers.set(key, On::Request(serial), moved.time, link);
            }
        }
    }
}
