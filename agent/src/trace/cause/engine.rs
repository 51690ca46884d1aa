//! The search for causes: what is known at a time, and what happens when time passes. How it goes on when notes come in is in
//! `asked`, `contexts`, `answers`, `handover`, `pending` and `settle`.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use opentelemetry::trace::{SpanContext, SpanId};

use super::{
    call::{Call, Cause, Link, Serial, Trace},
    carried::Contexts,
    claims::Claims,
    ends::Ends,
    followers::Followers,
    held::Deadlines,
    hosts::Hosts,
    injected::Written,
    locks::Locks,
    loops::Loops,
    orphans::Orphans,
    patterns::Patterns,
    pending::Pending,
    puzzles::Puzzles,
    samples::Samples,
    sdks::Sdk,
    serving::Threads,
    sessions::Sessions,
    trust::Trust,
    turns::Turns,
    unclaimed::Unclaimed,
    usage::Meters,
    values::Bringers,
    work::{Key, On, Work, Workers},
};
use crate::{
    event::{Nanos, SocketId, Spent, Thread},
    protocol::{CallId, Exchange, Side},
    trace::{Resource, ids::Ids},
};

/// How long things are waited for, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request without a cause waits for the other end of its connection. A send is seen when it returns, which may be
    /// after the request was received.
    pub grace: Nanos,
    /// The same where the other end can only be on this host, and its thread may wait for a processor before its send returns; unless a
    /// request on the same connection has waited so long in vain.
    pub near: Nanos,
    /// How long a complete outgoing call, or a request that may have been begun by an SDK, waits for evidence; and how long a message that
    /// nothing answers may lie unread.
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
    /// Threads, tasks and what they have claimed that were forgotten because there were too many.
    pub forgotten: u64,
    /// Calls of which an SDK has made spans that go out, so that there are none of ours.
    pub left_to_sdks: u64,
    /// Samples that were not linked because there were too many.
    pub unlinked: u64,
    /// Outgoing calls whose span has the ids that the kernel side has written into them.
    pub injected: u64,
    /// Of those, the ones that were sent with another trace than that of the request which caused them.
    pub apart: u64,
    /// Contexts that were written into requests which were not understood, so that there is no span of them.
    pub unseen_injected: u64,
    /// Outgoing calls whose span has the ids that have left with them in a TCP option.
    pub carried_out: u64,
    /// Requests whose parent came with them in a TCP option.
    pub carried_in: u64,
    /// Contexts in TCP options of which no span was made: what they came with is no request, or has another context in its headers.
    pub carried_unused: u64,
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
    /// How likely that is, from 0 to 1, where it is not certain.
    pub confidence: Option<f64>,
    /// What would be its parent, if that were not of another trace than was sent.
    pub apart: Option<Box<SpanContext>>,
    /// What its thread has done with its time, where that is known.
    pub spent: Option<Spent>,
}

/// What is known of a connection on which requests come from somebody who is not seen: nobody traces it, most likely.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// How many in a row have waited in vain.
    pub in_vain: u32,
    /// The last one.
    pub last: Serial,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    pub(super) limits: Limits,
    pub(super) ids: Ids,
    pub(super) next: Serial,
    pub(super) calls: HashMap<Serial, Call, foldhash::fast::RandomState>,
    pub(super) by_id: HashMap<(CallId, bool), Serial, foldhash::fast::RandomState>,
    pub(super) ends: Ends,
    /// The agents of other hosts, if this one talks to them.
    pub(super) hosts: Option<Box<Hosts>>,
    pub(super) workers: Workers,
    /// Threads that have read requests and had several open at a time: event loops.
    pub(super) crowded: HashSet<u32, foldhash::fast::RandomState>,
    /// What is known of those.
    pub(super) loops: Loops,
    /// And of those whose callbacks have ids.
    pub(super) turns: Turns,
    /// What is known of threads that read for each other.
    pub(super) followers: Followers,
    /// Processes whose tasks are seen to wake each other.
    pub(super) wakers: HashSet<u32, foldhash::fast::RandomState>,
    /// Processes that are not understood.
    pub(super) puzzles: Puzzles,
    /// Futexes that are locks.
    pub(super) locks: Locks,
    /// How far evidence can be believed.
    pub(super) trust: Trust,
    /// Open requests, by process.
    pub(super) open: HashMap<u32, Vec<Serial>, foldhash::fast::RandomState>,
    /// The task that answers on a connection.
    pub(super) answerers: HashMap<SocketId, Key, foldhash::fast::RandomState>,
    /// Who has requests sent on its behalf.
    pub(super) claims: Claims,
    /// Sessions of HTTP/2 in Node.
    pub(super) sessions: Sessions,
    /// Connections whose other ends were not seen when there was something to see.
    pub(super) silent: HashMap<SocketId, Silence, foldhash::fast::RandomState>,
    /// What the thread that opened a connection was busy with.
    pub(super) connects: HashMap<u64, Option<Work>, foldhash::fast::RandomState>,
    /// Processes whose outgoing calls carry contexts that did not come in.
    pub(super) originators: HashSet<u32, foldhash::fast::RandomState>,
    /// What is known of those whose outgoing calls carry contexts that an SDK has written.
    pub(super) sdks: HashMap<u32, Sdk, foldhash::fast::RandomState>,
    pub(super) keeps_sdk_spans: bool,
    pub(super) pending: Pending,
    pub(super) graces: Deadlines,
    pub(super) near: Deadlines,
    pub(super) patiences: Deadlines,
    pub(super) lingering: Deadlines,
    /// Messages that nothing answers: nobody knows when their other ends read them.
    pub(super) unread: Deadlines,
    /// Requests that are answered, and which something may still turn out to have been for.
    pub(super) kept: Deadlines,
    pub(super) settled: Vec<Settled>,
    pub(super) samples: Vec<Samples>,
    /// Those of which it is not known whose they are.
    pub(super) unclaimed: Unclaimed,
    /// How many samples calls have, and how many nobody has claimed.
    pub(super) held: usize,
    pub(super) meters: Meters,
    /// Contexts that were written into requests.
    pub(super) written: Written,
    /// Contexts that have left in TCP options.
    pub(super) sent: Contexts,
    /// Contexts that have come in TCP options.
    pub(super) came: Contexts,
    /// What threads serve, if anybody wants to know it.
    pub(super) serving: Option<Box<Threads>>,
    /// Who has brought which values.
    pub(super) values: Bringers,
    /// Outgoing calls that nothing has shown the cause of.
    pub(super) orphans: Orphans,
    /// And what is known of the endpoints that may have made them.
    pub(super) patterns: Patterns,
    /// The time of the last tick.
    pub(super) now: Nanos,
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
            unread: Deadlines::new(limits.patience),
            kept: Deadlines::new(limits.patience.saturating_add(limits.near)),
            orphans: Orphans::new(),
            limits,
            ids,
            next: 0,
            calls: HashMap::default(),
            by_id: HashMap::default(),
            ends: Ends::default(),
            hosts: None,
            workers: Workers::default(),
            crowded: HashSet::default(),
            loops: Loops::default(),
            turns: Turns::default(),
            followers: Followers::default(),
            wakers: HashSet::default(),
            puzzles: Puzzles::default(),
            locks: Locks::default(),
            trust: Trust::default(),
            open: HashMap::default(),
            answerers: HashMap::default(),
            claims: Claims::default(),
            sessions: Sessions::default(),
            silent: HashMap::default(),
            connects: HashMap::default(),
            originators: HashSet::default(),
            sdks: HashMap::default(),
            keeps_sdk_spans: false,
            pending: Pending::default(),
            settled: Vec::new(),
            samples: Vec::new(),
            unclaimed: Unclaimed::default(),
            held: 0,
            meters: Meters::default(),
            written: Written::default(),
            sent: Contexts::default(),
            came: Contexts::default(),
            serving: None,
            values: Bringers::default(),
            patterns: Patterns::default(),
            now: 0,
            stats: Stats::default(),
        }
    }

    /// What was found, and what was given up.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { forgotten: self.workers.forgotten + self.claims.forgotten + self.sessions.forgotten, ..self.stats }
    }

    /// Processes in which tasks have begun to work that nobody is known to have given work: each once.
    pub fn take_puzzling(&mut self) -> std::vec::Drain<'_, u32> {
        self.puzzles.take()
    }

    /// Calls that have been settled since the last time.
    pub fn take_settled(&mut self) -> std::vec::Drain<'_, Settled> {
        self.settled.drain(..)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) {
        self.now = now;
        while let Some(serial) = self.hosts.as_mut().and_then(|hosts| hosts.holds.due(now)) {
            self.give_up_waiting(serial, now);
        }
        while let Some(serial) = self.near.due(now).or_else(|| self.graces.due(now)) {
            self.give_up_waiting(serial, now);
        }
        while let Some(serial) = self.patiences.due(now) {
            self.give_up(serial);
        }
        self.look_at_orphans(now);
        self.look_at_unclaimed(now);
        while let Some(serial) = self.lingering.due(now).or_else(|| self.unread.due(now)).or_else(|| self.kept.due(now))
        {
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
        for serial in &left {
            self.give_up(*serial);
        }
        self.give_all();
        for serial in left {
            // It is not complete itself, but something under it is.
            if self.is_awaited(serial) {
                self.abandon(serial);
            }
        }
        let calls = std::mem::take(&mut self.calls);
        calls.into_values().for_each(|call| self.give_up_samples(call.samples));
        self.give_up_unclaimed(Nanos::MAX);
        self.by_id.clear();
        self.open.clear();
    }

    /// Makes room: gives up the oldest eighth.
    pub(super) fn evict(&mut self) {
        let mut all: Vec<Serial> = self.calls.keys().copied().collect();
        all.sort_unstable();
        all.truncate((all.len() / 8).max(1));
        for serial in all {
            self.give_up(serial);
            self.abandon(serial);
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
        self.open.remove(&tgid);
        self.serves_no_more(|of, _| of == tgid);
        self.workers.ended(tgid);
        self.crowded.remove(&tgid);
        self.loops.ended(tgid);
        self.turns.ended(tgid);
        self.sessions.ended(tgid);
        self.followers.ended(tgid);
        self.trust.ended(tgid);
        self.locks.ended(tgid);
        self.puzzles.ended(tgid);
        self.values.ended(tgid);
        self.patterns.ended(tgid);
        self.wakers.remove(&tgid);
        self.originators.remove(&tgid);
        self.sdks.remove(&tgid);
    }

    /// A connection is over.
    pub fn closed(&mut self, socket: SocketId) {
        self.answerers.remove(&socket);
        self.silent.remove(&socket);
        self.claims.closed(socket.sock);
        self.sessions.closed(socket);
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

    /// The open request that something seems to mean.
    pub(super) fn likely(&self, on: On) -> Option<Serial> {
        let hint = || match on {
            On::Like(serial) => self.calls.get(&serial)?.search.as_ref()?.hint.map(|hint| hint.request),
            On::Request(_) => None,
        };
        self.request_of(on).or_else(hint)
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
