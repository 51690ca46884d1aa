//! The search for causes, step by step as notes come in.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use opentelemetry::trace::{SpanId, TraceFlags, TraceState};

use super::{
    call::{Brought, Call, Cause, Link, Origin, Search, Serial, Trace},
    ends::{self, Ends, Name},
    held::Deadlines,
    hosts::Hosts,
    loops::{Loops, Sent},
    pending::Pending,
    work::{Key, On, Work, Workers},
};
use crate::{
    event::{Handover, How, Nanos, SocketId, Thread},
    protocol::{Answered, Asked, CallId, Exchange, OtherEnd, Side},
    trace::{Resource, ids::Ids},
};

/// How long things are waited for, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request without a cause waits for the other end of its connection. A send is seen when it returns, which may be
    /// after the request was received.
    pub grace: Nanos,
    /// The same where the other end can only be on this host, and its thread may wait for a processor before its send returns.
    pub near: Nanos,
    /// How long a complete outgoing call, or a request that may have been begun by an SDK, waits for evidence.
    pub patience: Nanos,
    /// Most calls that are known at a time.
    pub calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { grace: 20_000_000, near: 250_000_000, patience: 5_000_000_000, calls: 262_144 }
    }
}

/// What was found, and what was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Outgoing calls that were made while requests were open, and whose cause could not be told.
    pub unknown: u64,
    /// Calls that were given up because there were too many.
    pub evicted: u64,
    /// Threads and tasks that were forgotten because there were too many.
    pub forgotten: u64,
}

/// A call whose cause is settled, and which is complete.
#[derive(Debug)]
pub struct Settled {
    /// What happened.
    pub exchange: Exchange,
    /// Where.
    pub resource: Arc<Resource>,
    /// The id of its span.
    pub span: SpanId,
    /// Its trace.
    pub trace: Trace,
    /// Its parent; `SpanId::INVALID` for a root.
    pub parent: SpanId,
    /// The evidence for that.
    pub link: Option<Link>,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    pub(super) ids: Ids,
    next: Serial,
    pub(super) calls: HashMap<Serial, Call, foldhash::fast::RandomState>,
    by_id: HashMap<(CallId, bool), Serial, foldhash::fast::RandomState>,
    pub(super) ends: Ends,
    /// The agents of other hosts, if this one talks to them.
    pub(super) hosts: Option<Box<Hosts>>,
    pub(super) workers: Workers,
    /// Threads that have read requests.
    pub(super) readers: HashSet<u32, foldhash::fast::RandomState>,
    /// Those of them that had several open at a time: event loops.
    crowded: HashSet<u32, foldhash::fast::RandomState>,
    /// What is known of those.
    loops: Loops,
    /// The call whose answer a thread that reads no requests has read last.
    pub(super) last_read: HashMap<u32, Serial, foldhash::fast::RandomState>,
    /// Open requests, by process.
    pub(super) open: HashMap<u32, Vec<Serial>, foldhash::fast::RandomState>,
    /// The task that answers on a connection.
    answerers: HashMap<SocketId, Key, foldhash::fast::RandomState>,
    /// Who has the next request on a socket sent on its behalf.
    claims: HashMap<u64, Thread, foldhash::fast::RandomState>,
    /// What the thread that opened a connection was busy with.
    connects: HashMap<u64, Work, foldhash::fast::RandomState>,
    /// Processes whose outgoing calls carry contexts that did not come in.
    originators: HashSet<u32, foldhash::fast::RandomState>,
    pub(super) pending: Pending,
    pub(super) graces: Deadlines,
    near: Deadlines,
    patiences: Deadlines,
    lingering: Deadlines,
    pub(super) settled: Vec<Settled>,
    pub(super) stats: Stats,
}

impl Engine {
    /// Knows of nothing yet.
    #[must_use]
    pub fn new(limits: Limits, ids: Ids) -> Self {
        Self {
            graces: Deadlines::new(limits.grace),
            near: Deadlines::new(limits.near),
            patiences: Deadlines::new(limits.patience),
            lingering: Deadlines::new(limits.grace),
            limits,
            ids,
            next: 0,
            calls: HashMap::default(),
            by_id: HashMap::default(),
            ends: Ends::default(),
            hosts: None,
            workers: Workers::default(),
            readers: HashSet::default(),
            crowded: HashSet::default(),
            loops: Loops::default(),
            last_read: HashMap::default(),
            open: HashMap::default(),
            answerers: HashMap::default(),
            claims: HashMap::default(),
            connects: HashMap::default(),
            originators: HashSet::default(),
            pending: Pending::default(),
            settled: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// What was found, and what was given up.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { forgotten: self.workers.forgotten, ..self.stats }
    }

    /// Calls that have been settled since the last time.
    pub fn take_settled(&mut self) -> std::vec::Drain<'_, Settled> {
        self.settled.drain(..)
    }

    /// A request's head was seen, with the context that its headers carry, and hashes of the ids that they carry besides.
    pub fn asked(&mut self, asked: &Asked, origin: Option<Origin>, ids: Vec<u64>) {
        if self.calls.len() >= self.limits.calls {
            self.evict();
        }
        self.next += 1;
        let serial = self.next;
        self.by_id.insert((asked.id, asked.side == Side::Server), serial);
        let call = Call {
            id: asked.id,
            side: asked.side,
            start: asked.time,
            thread: asked.thread,
            other_end: asked.other_end,
            remote: asked.remote,
            span: self.ids.span(),
            parent: SpanId::INVALID,
            cause: Cause::Open,
            trace: None,
            done: None,
            end: None,
            effects: Vec::new(),
            alike: Vec::new(),
            brought: None,
            origin: origin.map(Box::new),
            search: None,
            suspects: Vec::new(),
            reader: None,
            by: None,
        };
        match asked.side {
            Side::Server => self.request(serial, call, ids),
            Side::Client => self.outgoing(serial, call, &ids),
        }
    }

    /// A process is asked.
    fn request(&mut self, serial: Serial, mut call: Call, ids: Vec<u64>) {
        let span = call.origin.as_ref().map(|origin| (origin.trace.id, origin.span));
        if span.is_some() || !ids.is_empty() {
            call.brought = Some(Box::new(Brought { span, ids }));
        }
        let (thread, start, socket) = (call.thread, call.start, call.id.socket);
        let (key, tgid) = (Key::of(thread), call.tgid());
        let name = ends::name(call.side, call.id, call.other_end);
        let near =
            matches!(call.other_end, OtherEnd::Sock(_)) || call.remote.is_some_and(|remote| remote.is_loopback());
        self.calls.insert(serial, call);
        if let Key::Thread(tid) = key {
            self.readers.insert(tid);
            if self.workers.own(key).is_some_and(|work| self.is_read_here(work)) {
                self.crowded.insert(tid);
            }
        }
        let link = if matches!(key, Key::Task(..)) { Link::Task } else { Link::Thread };
        self.workers.set(key, On::Request(serial), start, link);
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
        match name.and_then(|name| self.ends.meet(Side::Server, name, serial)) {
            Some(outgoing) => self.settle(serial, Cause::Call(outgoing, Link::Socket)),
            None if self.ask_peers(serial, start) => {}
            None if near => self.near.add(start, serial),
            None => self.graces.add(start, serial),
        }
    }

    /// Whether a thread's work is an open request that it has read itself.
    fn is_read_here(&self, work: Work) -> bool {
        work.link == Link::Thread && self.is_open(work.on)
    }

    /// A process asks.
    fn outgoing(&mut self, serial: Serial, mut call: Call, ids: &[u64]) {
        let (thread, start, tgid) = (call.thread, call.start, call.tgid());
        let sock = call.id.socket.sock;
        let name = ends::name(call.side, call.id, call.other_end);
        let claimed = self.claims.remove(&sock);
        let connected = self.connects.remove(&sock);
        let work = match claimed {
            Some(claimer) => self.work_of(claimer),
            None if thread.task.id != 0 => self.work_of(thread),
            None => connected
                .filter(|work| self.is_open(work.on))
                .map(|work| Work { link: Link::Connect, ..work })
                .or_else(|| self.work_of(thread).filter(|_| !self.is_ambiguous(thread, start))),
        };
        let passed_on = call.origin.as_ref().and_then(|origin| self.passed_on(tgid, origin, work));
        let cause = if let Some(request) = passed_on {
            Cause::Call(request, Link::Header)
        } else if let Some(origin) = call.origin.take() {
            call.by = work.and_then(|work| self.request_of(work.on));
            if let Some(request) = call.by {
                self.adopt(request, &origin.trace);
            }
            Cause::Outside(origin, Link::Header)
        } else if let Some(request) = self.brought(tgid, ids, work) {
            Cause::Call(request, Link::Correlation)
        } else {
            self.cause_of(&mut call, serial, work, claimed.unwrap_or(thread), start)
        };
        if thread.task.id == 0 && self.crowded.contains(&thread.tid) {
            self.loops.sent(thread.tid, Sent::Call(serial));
        }
        self.calls.insert(serial, call);
        if cause == Cause::Open {
            self.pending.add(serial, &self.calls);
            let candidates =
                self.calls.get(&serial).and_then(|call| call.search.as_ref()).map(|s| s.candidates.clone());
            for candidate in candidates.unwrap_or_default() {
                if let Some(request) = self.calls.get_mut(&candidate) {
                    request.suspects.push(serial);
                }
            }
        } else {
            self.settle(serial, cause);
        }
        if let Some(request) = name.and_then(|name| self.ends.meet(Side::Client, name, serial)) {
            self.settle(request, Cause::Call(serial, Link::Socket));
        }
    }

    /// The cause by what a worker is busy with; [`Cause::Open`] with what there is to search by.
    fn cause_of(&mut self, call: &mut Call, serial: Serial, work: Option<Work>, who: Thread, now: Nanos) -> Cause {
        let (mut like, mut hint) = (None, None);
        if let Some(work) = work {
            match self.request_of(work.on) {
                // When it is done, it may say for whom it was.
                Some(request) if work.is_lent() => hint = Some((request, work.link)).filter(|_| !work.used),
                Some(request) => return Cause::Call(request, work.link),
                None => {}
            }
            if let On::Like(earlier) = work.on {
                like = Some(earlier);
            }
        }
        if let Key::Thread(tid) = Key::of(who) {
            self.last_read.remove(&tid);
        }
        self.workers.use_up(Key::of(who));
        let candidates = self.open.get(&call.tgid()).cloned().unwrap_or_default();
        if candidates.is_empty() {
            return Cause::None;
        }
        if let Some(earlier) = like.and_then(|earlier| self.calls.get_mut(&earlier)) {
            earlier.alike.push(serial);
            call.alike.extend(like);
        }
        let keys = self.workers.line(who, now);
        call.search = Some(Box::new(Search { keys, candidates, hint }));
        Cause::Open
    }

    /// The open request of a process that has brought the same context, which is then only passed on. Where several have: the one that is
    /// worked for.
    fn passed_on(&self, tgid: u32, origin: &Origin, work: Option<Work>) -> Option<Serial> {
        let same = Some((origin.trace.id, origin.span));
        self.bringer(tgid, work.and_then(|work| self.request_of(work.on)), |brought| brought.span == same)
    }

    /// The one open request of a process that has brought one of these ids.
    fn brought(&self, tgid: u32, ids: &[u64], work: Option<Work>) -> Option<Serial> {
        if ids.is_empty() {
            return None;
        }
        let request = work.and_then(|work| self.request_of(work.on));
        self.bringer(tgid, request, |brought| brought.ids.iter().any(|id| ids.contains(id)))
    }

    fn bringer(&self, tgid: u32, likely: Option<Serial>, fits: impl Fn(&Brought) -> bool) -> Option<Serial> {
        let has = |serial: &Serial| self.calls.get(serial).and_then(|call| call.brought.as_deref()).is_some_and(&fits);
        let mut found = self.open.get(&tgid)?.iter().copied().filter(|serial| has(serial));
        let first = found.next()?;
        if found.next().is_none() { Some(first) } else { likely.filter(has) }
    }

    /// A request turns out to belong to a trace that an SDK in its process has begun.
    fn adopt(&mut self, request: Serial, trace: &Trace) {
        let Some(call) = self.calls.get(&request) else {
            return;
        };
        self.originators.insert(call.tgid());
        // Up to where the tree begins, as far as it has been seen.
        let mut root = request;
        for _ in 0..64 {
            match self.calls.get(&root).map(|call| &call.cause) {
                Some(Cause::Call(above, _)) if self.calls.contains_key(above) => root = *above,
                _ => break,
            }
        }
        let Some(call) = self.calls.get_mut(&root) else {
            return;
        };
        if call.origin.is_some() || call.trace.is_some() || call.cause != Cause::Open {
            return;
        }
        let trace = trace.clone();
        self.conclude(root, Cause::None, Some(trace));
    }

    /// The beginning of an answer was seen.
    pub fn answered(&mut self, answered: &Answered) {
        let Some(serial) = self.by_id.get(&(answered.id, answered.side == Side::Server)).copied() else {
            return;
        };
        let key = Key::of(answered.thread);
        match answered.side {
            Side::Client => self.read_answer(serial, answered.thread, answered.time),
            Side::Server => self.wrote_answer(serial, key, answered),
        }
    }

    /// Whoever reads an answer goes on with what it was asked for.
    fn read_answer(&mut self, serial: Serial, thread: Thread, now: Nanos) {
        let key = Key::of(thread);
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        if let Key::Thread(tid) = key
            && !self.readers.contains(&tid)
        {
            // A worker of a pool: what it does next may be for somebody else.
            self.last_read.insert(tid, serial);
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
        if matches!(key, Key::Thread(_)) {
            self.loop_reads(thread, now, on.unwrap_or(On::Like(serial)));
        }
        match on {
            // Whoever has read the request itself keeps that as the reason.
            Some(on) if self.workers.own(key).is_some_and(|work| work.on == on) => {}
            Some(on) => self.workers.set(key, on, now, Link::Answer),
            None => self.workers.clear(key),
        }
    }

    /// Whether the last read of a thread says nothing of what it sends: only of those that have several requests open at a time.
    fn is_ambiguous(&self, thread: Thread, now: Nanos) -> bool {
        self.crowded.contains(&thread.tid) && self.loops.is_ambiguous(thread, now)
    }

    /// An event loop reads. If it puts off what follows, it is now that this can be told.
    fn loop_reads(&mut self, thread: Thread, now: Nanos, on: On) {
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

    /// Two outgoing calls have the same cause, whatever that is.
    fn join(&mut self, call: Serial, on: On) {
        if let On::Like(earlier) = on {
            for (one, other) in [(call, earlier), (earlier, call)] {
                if let Some(one) = self.calls.get_mut(&one).filter(|one| one.cause == Cause::Open) {
                    one.alike.push(other);
                }
            }
        }
    }

    /// Whoever answers a request has worked for it.
    fn wrote_answer(&mut self, serial: Serial, key: Key, answered: &Answered) {
        let Some(start) = self.calls.get(&serial).map(|call| call.start) else {
            return;
        };
        let link = match key {
            Key::Task(..) => {
                self.answerers.insert(answered.id.socket, key);
                self.workers.answered(key, serial, answered.id.socket, answered.time);
                Link::Task
            }
            Key::Thread(tid) if self.crowded.contains(&tid) => {
                self.loops.sent(tid, Sent::Answer(serial));
                if let Some(request) = self.workers.own(key).and_then(|work| self.request_of(work.on)) {
                    self.loops.answered(answered.thread, answered.time, serial, request);
                }
                // An event loop goes on with what it has read last: this request, then, has caused that call.
                if let Some(On::Like(call)) = self.workers.own(key).map(|work| work.on)
                    && self.may_cause(serial, call)
                    && !self.is_ambiguous(answered.thread, answered.time)
                {
                    self.settle(call, Cause::Call(serial, Link::Answer));
                }
                return;
            }
            Key::Thread(_) => Link::Thread,
        };
        for call in self.pending.by(key) {
            if self.may_cause(serial, call) && self.calls.get(&call).is_some_and(|call| call.start >= start) {
                self.settle(call, Cause::Call(serial, link));
            }
        }
    }

    /// Whether a request may be the cause of an outgoing call whose cause is not known.
    pub(super) fn may_cause(&self, request: Serial, call: Serial) -> bool {
        let search = self.calls.get(&call).and_then(|call| call.search.as_ref());
        search.is_some_and(|search| search.candidates.contains(&request))
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

    /// An exchange is complete.
    pub fn done(&mut self, exchange: Exchange, resource: Arc<Resource>) {
        let server = exchange.side == Side::Server;
        let Some(serial) = self.by_id.remove(&(exchange.id, server)) else {
            // Given up before: it stands alone.
            let trace = new_trace(&mut self.ids);
            let span = self.ids.span();
            self.settled.push(Settled { exchange, resource, span, trace, parent: SpanId::INVALID, link: None });
            return;
        };
        let now = exchange.end;
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        call.end = Some(now);
        call.done = Some(Box::new((exchange, resource)));
        let (tgid, is_open) = (call.tgid(), call.cause == Cause::Open);
        if server {
            if let Some(open) = self.open.get_mut(&tgid) {
                open.retain(|other| *other != serial);
                if open.is_empty() {
                    self.open.remove(&tgid);
                }
            }
            self.clear_suspects(serial);
        } else if is_open {
            self.patiences.add(now, serial);
            self.nested(serial, now);
        }
        self.emit(serial);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) {
        while let Some(serial) = self.hosts.as_mut().and_then(|hosts| hosts.holds.due(now)) {
            self.give_up_waiting(serial, now);
        }
        while let Some(serial) = self.near.due(now).or_else(|| self.graces.due(now)) {
            self.give_up_waiting(serial, now);
        }
        while let Some(serial) = self.patiences.due(now) {
            self.give_up(serial);
        }
        while let Some(serial) = self.lingering.due(now) {
            self.forget(serial);
        }
    }

    /// Nothing more will come: everything that is complete is given out.
    pub fn finish(&mut self) {
        while let Some(serial) = self.near.next().or_else(|| self.graces.next()).or_else(|| self.patiences.next()) {
            self.give_up(serial);
        }
        let mut left: Vec<Serial> = self.calls.keys().copied().collect();
        left.sort_unstable();
        for serial in left {
            self.give_up(serial);
        }
        self.calls.clear();
        self.by_id.clear();
        self.open.clear();
    }

    /// What is seen soon, if at all, has not been seen.
    fn give_up_waiting(&mut self, serial: Serial, now: Nanos) {
        let Some(call) = self.calls.get(&serial).filter(|call| call.cause == Cause::Open) else {
            return;
        };
        if call.side == Side::Client {
            if let Some((request, link)) = call.search.as_ref().and_then(|search| search.hint) {
                self.settle(serial, Cause::Call(request, link));
            }
            return;
        }
        // An SDK in its process may begin a trace for it.
        if call.origin.is_none() && call.end.is_none() && self.originators.contains(&call.tgid()) {
            self.patiences.add(now, serial);
            return;
        }
        self.give_up(serial);
    }

    /// No more evidence is waited for.
    pub(super) fn give_up(&mut self, serial: Serial) {
        let Some(call) = self.calls.get_mut(&serial).filter(|call| call.cause == Cause::Open) else {
            return;
        };
        let cause = match call.origin.take() {
            Some(origin) => Cause::Outside(origin, Link::Header),
            None => Cause::None,
        };
        if call.side == Side::Client {
            self.stats.unknown += 1;
        }
        self.settle(serial, cause);
    }

    /// A call's cause is found.
    pub(super) fn settle(&mut self, serial: Serial, cause: Cause) {
        if self.calls.get(&serial).is_some_and(|call| call.cause == Cause::Open) {
            self.conclude(serial, cause, None);
        }
    }

    /// Fixes a cause; `trace` is that of a root, a new one by default.
    fn conclude(&mut self, serial: Serial, cause: Cause, trace: Option<Trace>) {
        let mut found = trace;
        let mut parent = SpanId::INVALID;
        match &cause {
            Cause::Open => return,
            Cause::Call(above, _) => match self.calls.get_mut(above) {
                Some(above) => {
                    parent = above.span;
                    found = above.trace.clone();
                    if found.is_none() {
                        above.effects.push(serial);
                    }
                }
                // It is gone, which only happens when there are too many.
                None => found = Some(new_trace(&mut self.ids)),
            },
            Cause::Outside(origin, _) => {
                parent = origin.span;
                found = Some(origin.trace.clone());
            }
            Cause::None => found = found.or_else(|| Some(new_trace(&mut self.ids))),
        }
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        let request = if let Cause::Call(request, _) = cause { Some(request) } else { None };
        call.cause = cause;
        call.parent = parent;
        let (side, id, other_end, reader) = (call.side, call.id, call.other_end, call.reader.take());
        let alike = std::mem::take(&mut call.alike);
        if let Some(search) = call.search.take() {
            self.pending.remove(serial, &search);
        }
        if side == Side::Server
            && let Some(name) = ends::name(side, id, other_end)
        {
            self.ends.leave(side, name, serial);
        }
        if side == Side::Client
            && let Some(request) = request
        {
            if let Some(key) = reader
                && let Some(work) = self.workers.own(key).filter(|work| work.on == On::Like(serial))
            {
                self.workers.set(key, On::Request(request), work.since, Link::Answer);
            }
            for follower in alike {
                if self.may_cause(request, follower) {
                    self.settle(follower, Cause::Call(request, Link::Answer));
                }
            }
        }
        if let Some(trace) = found {
            self.spread(serial, &trace);
        }
    }

    /// A call's trace is known, and with it that of everything that hangs under it.
    fn spread(&mut self, serial: Serial, trace: &Trace) {
        let mut stack = vec![serial];
        while let Some(serial) = stack.pop() {
            let Some(call) = self.calls.get_mut(&serial) else {
                continue;
            };
            call.trace = Some(trace.clone());
            stack.append(&mut call.effects);
            self.tell_peers(serial);
            self.emit(serial);
        }
    }

    /// Gives out a call that is complete and settled.
    fn emit(&mut self, serial: Serial) {
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        if call.cause == Cause::Open {
            return;
        }
        let (Some(trace), Some(end)) = (&call.trace, call.end) else {
            return;
        };
        let Some(done) = call.done.take() else {
            return;
        };
        let link = match &call.cause {
            Cause::Call(_, link) | Cause::Outside(_, link) => Some(*link),
            Cause::Open | Cause::None => None,
        };
        let (exchange, resource) = *done;
        let settled = Settled { exchange, resource, span: call.span, trace: trace.clone(), parent: call.parent, link };
        let side = call.side;
        self.settled.push(settled);
        match side {
            Side::Server => self.forget(serial),
            // Its other end may be seen a little later.
            Side::Client => self.lingering.add(end, serial),
        }
    }

    fn forget(&mut self, serial: Serial) {
        let Some(call) = self.calls.remove(&serial) else {
            return;
        };
        if let Some(name) = ends::name(call.side, call.id, call.other_end) {
            self.ends.leave(call.side, name, serial);
        }
        self.by_id.remove(&(call.id, call.side == Side::Server));
    }

    /// Makes room: gives up the oldest eighth.
    fn evict(&mut self) {
        let mut all: Vec<Serial> = self.calls.keys().copied().collect();
        all.sort_unstable();
        all.truncate((all.len() / 8).max(1));
        for serial in all {
            self.give_up(serial);
            if let Some(call) = self.calls.get(&serial) {
                self.stats.evicted += u64::from(call.done.is_some() || call.end.is_none());
                if call.side == Side::Server
                    && let Some(open) = self.open.get_mut(&call.tgid())
                {
                    open.retain(|other| *other != serial);
                }
            }
            self.forget(serial);
        }
    }

    /// A process has ended.
    pub fn ended(&mut self, tgid: u32) {
        self.workers.ended(tgid);
        self.crowded.remove(&tgid);
        self.loops.ended(tgid);
        self.readers.remove(&tgid);
        self.last_read.remove(&tgid);
        self.originators.remove(&tgid);
    }

    /// A connection is over.
    pub fn closed(&mut self, socket: SocketId) {
        self.answerers.remove(&socket);
        self.claims.remove(&socket.sock);
        self.connects.remove(&socket.sock);
    }

    pub(super) fn work_of(&self, thread: Thread) -> Option<Work> {
        self.workers.of(thread, |on| self.is_open(on))
    }

    /// Whether something still goes on.
    pub(super) fn is_open(&self, on: On) -> bool {
        match on {
            On::Request(serial) => self.calls.get(&serial).is_some_and(|call| call.end.is_none()),
            On::Like(serial) => self.calls.contains_key(&serial),
        }
    }

    /// The open request that something means, if that is known.
    pub(super) fn request_of(&self, on: On) -> Option<Serial> {
        let request = match on {
            On::Request(serial) => serial,
            On::Like(serial) => match self.calls.get(&serial)?.cause {
                Cause::Call(request, _) => request,
                _ => return None,
            },
        };
        self.is_open(On::Request(request)).then_some(request)
    }
}

/// A trace that begins here.
fn new_trace(ids: &mut Ids) -> Trace {
    Trace { id: ids.trace(), flags: TraceFlags::SAMPLED, state: TraceState::NONE }
}

/// The name of a call, as the agent at its other end knows it.
#[must_use]
pub fn name_of(asked: &Asked) -> Option<Name> {
    ends::name(asked.side, asked.id, asked.other_end)
}
