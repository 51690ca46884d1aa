//! Requests and outgoing calls as they begin, and what can be told of their causes at once.

use opentelemetry::trace::SpanId;

use super::{
    call::{Brought, Call, Cause, Hint, Link, Origin, Search, Serial, Sign},
    claims::{Claim, Claimed},
    ends::{self, Names},
    engine::Engine,
    loops::Sent,
    trust::Kind,
    work::{Key, On, Right, Work},
};
use crate::{
    event::{Nanos, SocketId, Thread},
    protocol::{Asked, CallId, Named, OtherEnd, Side, Values},
};

/// After so many requests in a row that have waited for their other end in vain, the next ones on the connection do not wait.
const SILENT: u32 = 8;

impl Engine {
    /// A request's head was seen, with the context that its headers carry, and hashes of the ids that they carry besides.
    pub fn asked(&mut self, asked: &Asked, origin: Option<Origin>, ids: Vec<u64>) {
        if self.calls.len() >= self.limits.calls {
            self.evict();
        }
        self.next += 1;
        let serial = self.next;
        self.by_id.insert((asked.id, asked.side == Side::Server), serial);
        let mut call = Call {
            id: asked.id,
            side: asked.side,
            start: asked.time,
            thread: asked.thread,
            other_end: asked.other_end,
            remote: asked.remote,
            names: ends::names(asked),
            span: self.ids.span(),
            parent: SpanId::INVALID,
            cause: Cause::Open,
            trace: None,
            may_be_begun: false,
            is_out: false,
            done: None,
            answered: None,
            end: None,
            is_awaited: false,
            effects: Vec::new(),
            alike: Vec::new(),
            perhaps_alike: Vec::new(),
            brought: None,
            injected: None,
            apart: None,
            origin: origin.map(Box::new),
            search: None,
            suspects: Vec::new(),
            reader: None,
            is_claimed: false,
            is_sdks: false,
            is_parent: false,
            is_orphan: false,
            confidence: None,
            is_kept: false,
            by: None,
            samples: Vec::new(),
            cost: None,
        };
        if asked.thread.task.id != 0 {
            self.claims.uses(asked.id.socket, asked.time);
        }
        match asked.side {
            Side::Server => {
                self.sees_message(asked.thread, asked.id, asked.time);
                self.turns.seen(asked.thread);
                self.turned(asked.thread, None);
                self.request(serial, call, ids, asked.values);
            }
            Side::Client => {
                let is_told = self.is_told(asked.thread, asked.id);
                let is_own = !is_told && self.turns.is_own(asked.thread, asked.id.socket);
                if !is_own && !is_told {
                    self.goes_on(asked.thread, asked.time);
                }
                self.take_injected(&mut call);
                self.take_sent(&mut call);
                self.outgoing((serial, call), &ids, asked.values, is_own, is_told);
                if !is_told {
                    self.turned(asked.thread, Some(serial));
                }
            }
        }
    }

    /// A process is asked.
    fn request(&mut self, serial: Serial, mut call: Call, ids: Vec<u64>, values: Values) {
        let span = call.origin.as_ref().map(|origin| (origin.trace.id, origin.span));
        if span.is_some() || !ids.is_empty() {
            call.brought = Some(Box::new(Brought { span, ids }));
        }
        if values != Values::default() {
            let calls = &self.calls;
            let is_open = |request| calls.get(&request).is_some_and(|call| call.end.is_none());
            self.values.add(call.tgid(), values, serial, is_open);
        }
        let (thread, start, socket) = (call.thread, call.start, call.id.socket);
        let (key, tgid) = (Key::of(thread), call.tgid());
        let names = call.names;
        // Where a datagram comes from is often not known until it is answered.
        let may_be_near = matches!(call.other_end, OtherEnd::Sock(_) | OtherEnd::Datagram(_));
        let near = call.remote.map_or(may_be_near, |remote| remote.is_loopback());
        self.calls.insert(serial, call);
        let is_unanswered = |last| self.calls.get(&last).is_some_and(|call| !call.is_answered() && call.end.is_none());
        if let Key::Thread(tid) = key
            && self.workers.has_read(key).is_some_and(is_unanswered)
        {
            if self.crowded.insert(tid) {
                // What values were held against may have been chance.
                self.trust.forget(tgid, Link::Value);
            }
            self.serves_no_more(|_, other| other == tid);
        }
        let link = if matches!(key, Key::Task(..)) { Link::Task } else { Link::Thread };
        self.workers.set(key, On::Request(serial), start, link);
        self.workers.reads(key, serial);
        if matches!(key, Key::Thread(_)) {
            self.loop_reads(thread, start, On::Request(serial));
        }
        // A task that has answered on this connection before will do so again.
        if let Some(answerer) = self.answerers.get(&socket).copied()
            && answerer != key
            && self.workers.answers(answerer, socket)
        {
            self.workers.set(answerer, On::Request(serial), start, Link::Task);
        }
        self.open.entry(tgid).or_default().push(serial);
        if let Some(outgoing) = self.meet(Side::Server, &names, serial) {
            return self.settle(serial, Cause::Call(outgoing, Link::Socket));
        }
        let in_vain = self.waited_in_vain(serial, socket);
        let asks = self.take_came(serial) || self.ask_peers(serial, start);
        if !asks && in_vain >= SILENT {
            return self.give_up_waiting(serial, start);
        }
        if self.calls.get(&serial).is_some_and(|call| call.cause == Cause::Open) {
            self.ends.wait(Side::Server, &names, serial);
        }
        if !asks {
            let waiting = if near && in_vain == 0 { &mut self.near } else { &mut self.graces };
            waiting.add(start, serial);
        }
    }

    /// The addresses of a request are known only now.
    pub fn named(&mut self, named: &Named) {
        let Some(&serial) = self.by_id.get(&(named.id, named.side == Side::Server)) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&serial).filter(|call| call.cause == Cause::Open) else {
            return;
        };
        let OtherEnd::Datagram(id) = call.other_end else {
            return;
        };
        self.ends.leave(named.side, &call.names, serial);
        call.names = [ends::datagram(Some(named.addresses), id), None, None];
        let names = call.names;
        if let Some(outgoing) = self.meet(named.side, &names, serial) {
            return self.settle(serial, Cause::Call(outgoing, Link::Socket));
        }
        self.ends.wait(named.side, &names, serial);
    }

    /// How many requests of a connection have waited in vain before this one.
    fn waited_in_vain(&mut self, serial: Serial, socket: SocketId) -> u32 {
        let silence = self.silent.entry(socket).or_default();
        let last = std::mem::replace(&mut silence.last, serial);
        // Whoever has sent this one has also sent the last one, and read its answer: that would have been seen.
        if self.calls.get(&last).is_some_and(|call| call.cause == Cause::Open && call.end.is_some()) {
            silence.in_vain = silence.in_vain.saturating_add(1);
        }
        silence.in_vain
    }

    /// The other end of a request, if it was seen before.
    fn meet(&mut self, side: Side, names: &Names, serial: Serial) -> Option<Serial> {
        let found = self.ends.find(side, names)?;
        if let Some(other) = self.calls.get(&found) {
            self.ends.leave(other.side, &other.names, found);
        }
        let request = if side == Side::Server { serial } else { found };
        if let Some(request) = self.calls.get(&request) {
            self.silent.remove(&request.id.socket);
        }
        Some(found)
    }

    /// A process asks.
    /// `is_own`: its connection's callback sends it, which has just read an answer there. `is_told`: it was asked for before, which is told.
    fn outgoing(
        &mut self,
        (serial, mut call): (Serial, Call),
        ids: &[u64],
        values: Values,
        is_own: bool,
        is_told: bool,
    ) {
        let (thread, start, tgid) = (call.thread, call.start, call.tgid());
        let sock = call.id.socket.sock;
        let names = call.names;
        let met = self.meet(Side::Client, &names, serial);
        let claim = match self.claims.take(sock, call.id.place) {
            Claimed::No if is_told => Claimed::Later,
            claim => claim,
        };
        let claimed = if let Claimed::By(claim) = claim { Some(claim) } else { None };
        call.is_claimed = claimed.is_some();
        let connected = self.connects.remove(&sock);
        let work = match claimed {
            Some(Claim { work, .. }) => work.filter(|work| self.is_open(work.on)),
            // Whoever sends it does so for somebody else, who will say so.
            None if claim == Claimed::Later => None,
            None if thread.task.id != 0 => self.work_of(thread),
            None if self.takes_turns(thread) => None,
            // An event loop sends the first request when the connection is there, whatever it has read meanwhile.
            None if connected == Some(None) && self.crowded.contains(&thread.tid) => None,
            None => connected
                .flatten()
                .filter(|work| self.is_open(work.on))
                .map(|work| Work { link: Link::Connect, ..work })
                .or_else(|| self.work_of(thread)),
        };
        // What an event loop has read last may be something else.
        let is_loop =
            claimed.is_none() && thread.task.id == 0 && self.crowded.contains(&thread.tid) && !self.takes_turns(thread);
        let is_refuted = is_loop && thread.turn.is_none() && self.loop_is_contradicted(thread, work, values, start);
        let is_own = is_loop && is_own;
        let sign = match claimed {
            Some(Claim { doubt, .. }) => doubt,
            None if !is_loop => None,
            None if is_own => (is_refuted || !self.trust.of(tgid, Kind::Own).is_proved()).then_some(Sign::Own),
            None if !is_refuted && !self.is_ambiguous(thread, start) => None,
            None if self.loops.is_lone(thread.tid, start) => Some(Sign::Lone),
            None => Some(Sign::Loop),
        };
        let passed_on = call.origin.as_ref().and_then(|origin| self.passed_on(tgid, origin, work));
        let cause = if let Some(request) = passed_on {
            Cause::Call(request, Link::Header)
        } else if let Some(origin) = call.origin.take() {
            call.by = work.and_then(|work| self.request_of(work.on));
            if let Some(request) = call.by {
                self.adopt(request, &origin.trace);
            }
            let request = call.by;
            self.sdk_wrote(&mut call, request, &origin);
            Cause::Outside(origin, Link::Header)
        } else if let Some(request) = self.brought(tgid, ids, work) {
            Cause::Call(request, Link::Correlation)
        } else if claim == Claimed::Later {
            self.await_claim(&mut call)
        } else {
            let who = claimed.map_or(thread, |claim| claim.who);
            match work.zip(sign) {
                Some((work, sign)) => self.doubtful(&mut call, serial, work, sign, who),
                None => self.cause_of(&mut call, serial, work, who, start),
            }
        };
        let cause = match met {
            Some(request) => without_effect(&mut call, cause, request),
            None => cause,
        };
        self.compare_values(&mut call, &cause, values);
        let is_for_another = claim != Claimed::No;
        if thread.task.id == 0 && self.crowded.contains(&thread.tid) && !is_own && !is_for_another {
            self.loops.sent(thread.tid, Sent::Call(serial));
        }
        if cause == Cause::Open && !is_own && !is_for_another {
            self.turns.asks(thread.tid, serial);
        }
        self.calls.insert(serial, call);
        if cause == Cause::Open {
            self.look_for(serial);
        } else {
            self.settle(serial, cause);
        }
        match met {
            Some(request) => self.settle(request, Cause::Call(serial, Link::Socket)),
            None => self.ends.wait(Side::Client, &names, serial),
        }
    }

    /// An outgoing call waits for evidence.
    fn look_for(&mut self, serial: Serial) {
        self.pending.add(serial, &self.calls);
        let candidates = self.calls.get(&serial).and_then(|call| call.search.as_ref()).map(|s| s.candidates.clone());
        for candidate in candidates.unwrap_or_default() {
            if let Some(request) = self.calls.get_mut(&candidate) {
                request.suspects.push(serial);
            }
        }
    }

    /// [`Cause::Open`] until it is said for whom a call is; what its sender does says nothing of that.
    fn await_claim(&self, call: &mut Call) -> Cause {
        let candidates = self.open.get(&call.tgid()).cloned().unwrap_or_default();
        call.search = Some(Box::new(Search { keys: Vec::new(), candidates, hint: None }));
        Cause::Open
    }

    /// It is said for whom a call is that has gone out already. Messages of a stream that follow say it again.
    pub(super) fn claimed_late(&mut self, id: CallId, claim: Claim) {
        let Some(&serial) = self.by_id.get(&(id, false)) else {
            return;
        };
        let is_waiting = |call: &Call| call.cause == Cause::Open && !call.is_claimed;
        if !self.calls.get(&serial).is_some_and(is_waiting) {
            return;
        }
        let Some(mut call) = self.calls.remove(&serial) else {
            return;
        };
        call.is_claimed = true;
        let earlier = call.search.take();
        if let Some(search) = &earlier {
            self.pending.remove(serial, search);
        }
        let Claim { who, work, doubt } = claim;
        let work = work.filter(|work| self.is_open(work.on));
        let now = call.start;
        let cause = match work.zip(doubt) {
            Some((work, sign)) => self.doubtful(&mut call, serial, work, sign, who),
            None => self.cause_of(&mut call, serial, work, who, now),
        };
        if let Some((search, earlier)) = call.search.as_mut().zip(earlier) {
            search.candidates.retain(|candidate| earlier.candidates.contains(candidate));
        }
        self.calls.insert(serial, call);
        if cause == Cause::Open {
            self.look_for(serial);
        } else {
            self.settle(serial, cause);
        }
    }

    /// What points to a cause may be chance: [`Cause::Open`] with that, until it has proved itself.
    fn doubtful(&mut self, call: &mut Call, serial: Serial, work: Work, sign: Sign, who: Thread) -> Cause {
        let hint = self.likely(work.on).map(|request| Hint { request, link: work.link, sign });
        let now = call.start;
        let cause = self.search(call, hint, who, now);
        if let On::Like(earlier) = work.on
            && sign != Sign::Own
            && let Some(other) = self.calls.get_mut(&earlier)
        {
            other.perhaps_alike.push(serial);
            call.perhaps_alike.push(earlier);
        }
        cause
    }

    /// The cause by what a worker is busy with; [`Cause::Open`] with what there is to search by.
    fn cause_of(&mut self, call: &mut Call, serial: Serial, work: Option<Work>, who: Thread, now: Nanos) -> Cause {
        let (mut like, mut hint) = (None, None);
        if let Some(work) = work {
            match self.request_of(work.on) {
                // When it is done, it may say for whom it was.
                Some(request) if work.is_lent() => {
                    hint = work.must_last().ok().map(|lender| {
                        let sign = lender.map_or(Sign::Link, Sign::Loan);
                        Hint { request, link: work.link, sign }
                    });
                }
                // A task whom others can be seen to wake may serve them by now.
                Some(request)
                    if work.used || work.right == Right::Made && who.task.parent == 0 && self.wakes(who.tgid) =>
                {
                    hint = Some(Hint { request, link: work.link, sign: Sign::Link });
                }
                // Whoever reads requests here has often left them to others, and done something else since.
                Some(request) if work.link == Link::Thread && self.trust.of(who.tgid, Link::Thread).is_refuted() => {
                    hint = Some(Hint { request, link: work.link, sign: Sign::Link });
                }
                Some(request) => {
                    if who.task.id != 0 {
                        self.puzzles.called(who.tgid, false);
                    }
                    return Cause::Call(request, work.link);
                }
                None => {}
            }
            if let On::Like(earlier) = work.on {
                like = Some(earlier);
            }
        }
        let cause = self.search(call, hint, who, now);
        if let Some(earlier) = like.filter(|_| cause == Cause::Open).and_then(|earlier| self.calls.get_mut(&earlier)) {
            earlier.alike.push(serial);
            call.alike.extend(like);
        }
        cause
    }

    /// Whether tasks of a process are seen to wake each other.
    pub(super) fn wakes(&self, tgid: u32) -> bool {
        self.wakers.contains(&tgid)
    }

    /// [`Cause::Open`], with what there is to search by; none, if there is nobody who can have caused it.
    fn search(&mut self, call: &mut Call, hint: Option<Hint>, who: Thread, now: Nanos) -> Cause {
        self.workers.drop_answer(Key::of(who));
        self.workers.use_up(Key::of(who));
        if self.workers.is_elsewhere(who) {
            return Cause::None;
        }
        let Some(candidates) = self.open.get(&call.tgid()).cloned() else {
            // It has served nothing yet: it is starting, or it is no server.
            return Cause::None;
        };
        if candidates.is_empty() {
            self.trust.add(call.tgid(), Link::Time, false);
            return Cause::None;
        }
        if who.task.id != 0 {
            self.puzzles.called(who.tgid, hint.is_none());
        }
        let keys = self.workers.line(who, now);
        call.search = Some(Box::new(Search { keys, candidates, hint }));
        Cause::Open
    }
}

/// The cause of a call which has caused this request, seen before it: that is none of its candidates.
fn without_effect(call: &mut Call, cause: Cause, request: Serial) -> Cause {
    if matches!(cause, Cause::Call(above, _) if above == request) {
        return Cause::None;
    }
    let Some(search) = &mut call.search else {
        return cause;
    };
    search.candidates.retain(|candidate| *candidate != request);
    search.hint = search.hint.filter(|hint| hint.request != request);
    if search.candidates.is_empty() {
        call.search = None;
        return Cause::None;
    }
    cause
}
