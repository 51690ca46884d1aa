//! Outgoing calls that nothing has shown the cause of: they are given to the requests that lack them, as far as it is known what those make
//! (`patterns`) and nothing else is possible (`assign`). What is left has no parent.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{HashMap, HashSet};

use super::{
    assign::{Orphan, assign},
    call::{Call, Cause, Link, Search, Serial},
    endpoints::Kind,
    engine::Engine,
    held::Deadlines,
    patterns::Trial,
    trust,
};
use crate::{
    event::Nanos,
    protocol::{Exchange, Side, Status, Value},
};

/// How long after a request was answered one learns from it: by then, what it has made is known, or is an orphan.
const SETTLED: Nanos = 1_000_000_000;
/// How long an orphan waits, while it may show what requests lack.
const PATIENCE: Nanos = 2_000_000_000;
/// How long a request is remembered after it was answered.
const REMEMBERED: Nanos = 4_000_000_000;
/// How often orphans are looked at.
const ROUND: Nanos = 100_000_000;
/// How likely an assignment may seem: it shows for each of these by itself how often that is right.
const LIKELY: [f64; 5] = [1.0, 0.995, 0.98, 0.95, 0.9];
/// Orphans of a kind in a process at a time; the oldest go when there are more.
const MOST: usize = 4096;

/// The orphans.
#[derive(Debug)]
pub(super) struct Orphans {
    /// By process and kind; some may have been settled since the last round.
    pub(super) of: HashMap<(u32, Kind), Vec<Serial>, foldhash::fast::RandomState>,
    /// When they count.
    soon: Deadlines,
    /// When they are given up.
    late: Deadlines,
    /// When one learns from requests.
    answered: Deadlines,
    /// When they are forgotten.
    learned: Deadlines,
    next_round: Nanos,
    names: foldhash::fast::RandomState,
}

impl Orphans {
    pub(super) fn new() -> Self {
        Self {
            of: HashMap::default(),
            soon: Deadlines::new(SETTLED),
            late: Deadlines::new(PATIENCE),
            answered: Deadlines::new(SETTLED),
            learned: Deadlines::new(REMEMBERED),
            next_round: 0,
            names: foldhash::fast::RandomState::default(),
        }
    }

    /// What kind of call it is: by its name, its outcome, and whom it asks.
    fn kind(&self, exchange: &Exchange) -> Kind {
        let mut hasher = self.names.build_hasher();
        exchange.name.hash(&mut hasher);
        (exchange.status == Status::Unset).hash(&mut hasher);
        if exchange.side == Side::Client {
            for key in ["server.address", "server.port"] {
                match exchange.attributes.get(key) {
                    Some(Value::Text(text)) => text.hash(&mut hasher),
                    Some(Value::Int(number)) => number.hash(&mut hasher),
                    _ => {}
                }
            }
        }
        hasher.finish()
    }
}

impl Engine {
    /// Nothing has shown the cause of a call. Whether that of its process' endpoints may.
    pub(super) fn orphan(&mut self, serial: Serial) -> bool {
        let Some(call) = self.calls.get_mut(&serial).filter(|call| call.side == Side::Client) else {
            return false;
        };
        if call.search.as_ref().is_none_or(|search| search.candidates.is_empty()) {
            return false;
        }
        let (tgid, is_new) = (call.tgid(), !std::mem::replace(&mut call.is_orphan, true));
        self.patterns.activate(tgid);
        if is_new {
            self.enrol(serial);
        }
        true
    }

    /// An orphan is complete.
    fn enrol(&mut self, serial: Serial) {
        let Some(call) = self.calls.get(&serial) else {
            return;
        };
        let (Some(kind), tgid) = (self.kind_of(call), call.tgid()) else {
            return;
        };
        let of_kind = self.orphans.of.entry((tgid, kind)).or_default();
        of_kind.push(serial);
        let oldest = (of_kind.len() > MOST).then(|| of_kind.remove(0));
        self.orphans.soon.add(self.now, serial);
        self.orphans.late.add(self.now, serial);
        if let Some(oldest) = oldest {
            self.leave_alone(oldest, kind);
        }
    }

    fn kind_of(&self, call: &Call) -> Option<Kind> {
        call.done.as_ref().map(|done| self.orphans.kind(&done.0))
    }

    /// A call is complete and its cause is settled, or a request is answered: what it says of its endpoint. `suspects` may be its calls.
    pub(super) fn teach(&mut self, serial: Serial, suspects: Vec<Serial>) {
        let Some(call) = self.calls.get(&serial).filter(|call| self.patterns.is_active(call.tgid())) else {
            return;
        };
        let (Some(kind), tgid, span) = (self.kind_of(call), call.tgid(), (call.start, call.end.unwrap_or(call.start)))
        else {
            return;
        };
        match (call.side, &call.cause) {
            (Side::Server, _) => {
                if !suspects.is_empty()
                    && let Some(call) = self.calls.get_mut(&serial)
                {
                    call.is_kept = true;
                }
                self.patterns.answered(serial, tgid, kind, span, suspects);
                self.orphans.answered.add(self.now, serial);
                self.orphans.learned.add(self.now, serial);
            }
            (Side::Client, Cause::Call(request, link)) if self.calls.contains_key(request) => {
                if *link == Link::Pattern {
                    self.patterns.given(*request, kind);
                } else {
                    self.patterns.made(*request, serial, kind, span);
                }
            }
            (Side::Client, _) => {}
        }
        if call_is_open_orphan(self.calls.get(&serial)) {
            self.enrol(serial);
        }
    }

    /// The cause of a call is known: was there need, could it have been told by what endpoints do?
    pub(super) fn try_later(&mut self, serial: Serial, search: &Search) {
        let Some(call) = self.calls.get(&serial).filter(|call| self.patterns.is_active(call.tgid())) else {
            return;
        };
        if let Cause::Call(request, link) = call.cause
            && link != Link::Pattern
            && self.calls.contains_key(&request)
        {
            let trial = Trial { call: serial, candidates: search.candidates.clone() };
            self.patterns.try_later(request, trial);
        }
    }

    /// Looks at the orphans whose time has come.
    pub(super) fn look_at_orphans(&mut self, now: Nanos) {
        if now < self.orphans.next_round {
            return;
        }
        self.orphans.next_round = now.saturating_add(ROUND);
        let calls = &self.calls;
        self.orphans.of.retain(|_, of_kind| {
            of_kind.retain(|serial| calls.get(serial).is_some_and(|call| call.cause == Cause::Open));
            !of_kind.is_empty()
        });
        while let Some(serial) = self.orphans.answered.due(now) {
            self.learn(serial);
        }
        let mut groups = HashSet::new();
        while let Some(serial) = self.orphans.soon.due(now) {
            if let Some((tgid, kind)) = self.group(serial) {
                self.patterns.orphaned(tgid, kind);
                groups.insert((tgid, kind));
            }
        }
        while let Some(serial) = self.orphans.learned.due(now) {
            self.patterns.forget(serial);
        }
        let mut late = Vec::new();
        while let Some(serial) = self.orphans.late.due(now) {
            if let Some(group) = self.group(serial) {
                groups.insert(group);
                late.push((serial, group.1));
            }
        }
        for group in groups {
            self.give(group);
            self.let_go(group, now);
        }
        for (serial, kind) in late {
            self.leave_alone(serial, kind);
        }
    }

    /// Nothing more will come.
    pub(super) fn give_all(&mut self) {
        while let Some(serial) = self.orphans.answered.next() {
            self.learn(serial);
        }
        while let Some(serial) = self.orphans.soon.next() {
            if let Some((tgid, kind)) = self.group(serial) {
                self.patterns.orphaned(tgid, kind);
            }
        }
        let mut groups: Vec<(u32, Kind)> = self.orphans.of.keys().copied().collect();
        groups.sort_unstable();
        for group in groups {
            self.give(group);
            for serial in self.orphans.of.get(&group).cloned().unwrap_or_default() {
                self.leave_alone(serial, group.1);
            }
        }
    }

    /// The process of an orphan, and what kind of call it is.
    fn group(&self, serial: Serial) -> Option<(u32, Kind)> {
        let call = self.calls.get(&serial).filter(|call| call.cause == Cause::Open)?;
        Some((call.tgid(), self.kind_of(call)?))
    }

    pub(super) fn learn(&mut self, serial: Serial) {
        if let Some(tgid) = self.patterns.process_of(serial) {
            for (share, is_right) in self.patterns.tried(serial) {
                if let Some(level) = LIKELY.iter().position(|likely| share >= *likely) {
                    self.trust.add(tgid, trust::Kind::Pattern(level), is_right);
                }
            }
        }
        let Self { patterns, orphans, calls, .. } = self;
        patterns.learn(serial, |suspects, kind| {
            let is_one = |serial: &&Serial| {
                calls.get(*serial).is_some_and(|call| {
                    call.cause == Cause::Open && call.done.as_ref().is_none_or(|done| orphans.kind(&done.0) == kind)
                })
            };
            u32::try_from(suspects.iter().filter(is_one).count()).unwrap_or(u32::MAX)
        });
    }

    /// Gives the orphans of a kind to whom they can only belong.
    fn give(&mut self, (tgid, kind): (u32, Kind)) {
        let (Some(of_kind), Some(likely)) = (self.orphans.of.get(&(tgid, kind)), self.likely_enough(tgid)) else {
            return;
        };
        let calls = &self.calls;
        let candidates = |serial: &Serial| {
            let search = calls.get(serial).and_then(|call| call.search.as_ref());
            (*serial, search.map(|search| search.candidates.clone()).unwrap_or_default())
        };
        let orphans: Vec<Orphan> = of_kind.iter().map(candidates).collect();
        let members: HashSet<Serial> = of_kind.iter().copied().collect();
        let fits = |call: Serial, request: Serial| {
            let start = calls.get(&call)?.start;
            self.patterns.fits(request, kind, call, start)
        };
        let found = assign(&orphans, likely, fits, |request| {
            // Calls whose cause may still show, and which may be of this kind.
            let is_other = |serial: &&Serial| {
                !members.contains(*serial)
                    && calls.get(*serial).is_some_and(|call| {
                        call.cause == Cause::Open && self.kind_of(call).is_none_or(|other| other == kind)
                    })
            };
            let others = self.patterns.suspects(request).iter().filter(is_other).count();
            self.patterns.lacks(request, kind, u32::try_from(others).unwrap_or(u32::MAX))
        });
        for (serial, request, share) in found {
            let confidence = share * self.patterns.confidence(request, kind);
            if let Some(call) = self.calls.get_mut(&serial) {
                call.confidence = Some(confidence);
            }
            self.settle(serial, Cause::Call(request, Link::Pattern));
        }
    }

    /// How likely an assignment has to seem in a process: as little as has proved to be enough. `None`: not even what must be is right there.
    fn likely_enough(&self, tgid: u32) -> Option<f64> {
        let proof = |level| self.trust.of(tgid, trust::Kind::Pattern(level));
        // What must be needs no proof, unless it was wrong.
        let is_enough = |(level, _): &(usize, &f64)| proof(*level).is_proved() || *level == 0 && proof(0).is_unseen();
        LIKELY.iter().enumerate().take_while(is_enough).last().map(|(_, likely)| *likely)
    }

    /// Gives up the orphans of a kind that are no better off by waiting.
    fn let_go(&mut self, (tgid, kind): (u32, Kind), now: Nanos) {
        let left = self.orphans.of.get(&(tgid, kind)).cloned().unwrap_or_default();
        for serial in left {
            let is_hopeless = self.calls.get(&serial).is_some_and(|call| {
                let candidates = call.search.as_ref().map(|search| search.candidates.as_slice()).unwrap_or_default();
                call.end.is_some_and(|end| end.saturating_add(SETTLED) <= now)
                    && !self.patterns.may_show(candidates, kind)
            });
            if is_hopeless {
                self.leave_alone(serial, kind);
            }
        }
    }

    /// Gives up an orphan.
    fn leave_alone(&mut self, serial: Serial, kind: Kind) {
        let Some(call) = self.calls.get_mut(&serial).filter(|call| call.cause == Cause::Open) else {
            return;
        };
        let candidates = call.search.as_ref().map(|search| search.candidates.clone()).unwrap_or_default();
        candidates.into_iter().for_each(|request| self.patterns.lost(request, kind));
        self.abandon(serial);
    }
}

/// Whether a call has become an orphan before it was complete.
fn call_is_open_orphan(call: Option<&Call>) -> bool {
    call.is_some_and(|call| call.side == Side::Client && call.is_orphan && call.cause == Cause::Open)
}
