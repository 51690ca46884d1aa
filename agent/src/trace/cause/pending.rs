//! Outgoing calls whose cause is not known yet, and how it is found after all: by who answers, by who wakes whom, by nesting in time.

use hashbrown::HashMap;

use super::{
    call::{Call, Cause, Hint, Link, Search, Serial, Sign},
    engine::Engine,
    trust::Kind,
    work::{Key, On},
};
use crate::event::Nanos;

/// How far calls are followed that may have the same cause: the first one, the one whose answer it was made after, and another one after that.
const ALIKE: usize = 3;
/// How many of each.
const FOLLOWED: usize = 8;

/// Calls by those who may be found to have worked for a request.
#[derive(Debug, Default)]
pub(super) struct Pending {
    by_key: HashMap<Key, Vec<Serial>, foldhash::fast::RandomState>,
}

impl Pending {
    pub(super) fn add(&mut self, serial: Serial, calls: &HashMap<Serial, Call, foldhash::fast::RandomState>) {
        let Some(search) = calls.get(&serial).and_then(|call| call.search.as_ref()) else {
            return;
        };
        for key in &search.keys {
            self.by_key.entry(*key).or_default().push(serial);
        }
    }

    pub(super) fn remove(&mut self, serial: Serial, search: &Search) {
        for key in &search.keys {
            if let Some(calls) = self.by_key.get_mut(key) {
                calls.retain(|other| *other != serial);
                if calls.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }

    /// The calls that a worker has made.
    pub(super) fn by(&self, key: Key) -> Vec<Serial> {
        self.by_key.get(&key).cloned().unwrap_or_default()
    }
}

impl Engine {
    /// Whether a request may be the cause of an outgoing call whose cause is not known.
    pub(super) fn may_cause(&self, request: Serial, call: Serial) -> bool {
        let search = self.calls.get(&call).and_then(|call| call.search.as_ref());
        search.is_some_and(|search| search.candidates.contains(&request))
    }

    /// An outgoing call is answered, its cause unknown: it must lie inside of the request that caused it.
    pub(super) fn outlived(&mut self, serial: Serial, now: Nanos) {
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        let is_first = call.answered.is_none();
        call.answered.get_or_insert(now);
        if is_first && call.cause == Cause::Open {
            self.nested(serial, now);
        }
    }

    fn nested(&mut self, serial: Serial, now: Nanos) {
        let Some(search) = self.calls.get_mut(&serial).and_then(|call| call.search.as_mut()) else {
            return;
        };
        let mut candidates = std::mem::take(&mut search.candidates);
        let hint = search.hint;
        candidates.retain(|candidate| self.is_open(On::Request(*candidate)));
        if hint.is_some_and(|hint| candidates.contains(&hint.request)) {
            // Unless whoever made the call says soon for whom it was.
            self.graces.add(now, serial);
        }
        match candidates[..] {
            [] => self.give_up(serial),
            [only] if self.is_before_answer(serial, only) && self.is_alone(serial) => {
                self.settle(serial, Cause::Call(only, Link::Time));
            }
            _ => {
                if let Some(search) = self.calls.get_mut(&serial).and_then(|call| call.search.as_mut()) {
                    search.candidates = candidates;
                }
            }
        }
    }

    /// Whether a call began before the request's answer: what comes later may be for the request that goes out as it is made, or for nobody. When
    /// an answer ends is known late, if order cannot be trusted on its connection.
    fn is_before_answer(&self, call: Serial, request: Serial) -> bool {
        let start = self.calls.get(&call).map(|call| call.start);
        let answered = self.calls.get(&request).and_then(|request| request.answered);
        answered.is_none_or(|answered| start.is_some_and(|start| start <= answered))
    }

    /// Whether the only request that a call lies in is likely to have caused it: not in a process that makes many calls while it serves none.
    fn is_alone(&mut self, serial: Serial) -> bool {
        let Some(call) = self.calls.get_mut(&serial) else {
            return false;
        };
        let tgid = call.tgid();
        let proof = self.trust.of(tgid, Link::Time);
        call.confidence = Some(proof.share());
        self.trust.add(tgid, Link::Time, true);
        !proof.is_mostly_wrong()
    }

    /// Whether what points to the cause of a call is enough; `None`: that may still show.
    pub(super) fn believes(&self, tgid: u32, hint: Hint) -> Option<bool> {
        let proof = match hint.sign {
            Sign::Link => return Some(!self.trust.of(tgid, hint.link).is_refuted()),
            Sign::Lone if self.loops.lone(tgid).is_proved() => return Some(true),
            Sign::Loop | Sign::Lone => self.loops.last(tgid),
            Sign::Loan(lender) => self.trust.of(tgid, lender),
            Sign::Answerer => self.trust.of(tgid, Kind::Answerer),
            Sign::Own => self.trust.of(tgid, Kind::Own),
        };
        (proof.is_proved() || proof.is_refuted()).then_some(proof.is_proved())
    }

    /// Whether what points to the cause of a call, or of one that may have the same one, may still prove to mean something. So many calls
    /// are looked at, one behind the other.
    fn may_show(&self, serial: Serial, calls: usize) -> bool {
        let Some(call) = self.calls.get(&serial) else {
            return false;
        };
        let hint = call.search.as_ref().and_then(|search| search.hint);
        hint.is_some_and(|hint| self.believes(call.tgid(), hint).is_none())
            || calls > 1 && call.perhaps_alike.iter().take(FOLLOWED).any(|other| self.may_show(*other, calls - 1))
    }

    /// It has shown that a kind of sign means something in a process: what waited for that is settled.
    pub(super) fn proved(&mut self, tgid: u32, sign: Sign) {
        let waits = |call: &Call| {
            let hint = call
                .search
                .as_ref()?
                .hint
                .filter(|hint| hint.sign == sign && call.is_answered() && call.tgid() == tgid)?;
            let request = self.calls.get(&hint.request)?;
            request.end.is_some().then_some(hint)
        };
        let mut found: Vec<(Serial, Hint)> =
            self.calls.iter().filter_map(|(serial, call)| Some((*serial, waits(call)?))).collect();
        found.sort_unstable_by_key(|(serial, _)| *serial);
        for (serial, hint) in found {
            self.settle_by(serial, hint);
        }
    }

    /// What pointed to the cause of a call was wrong, or right.
    pub(super) fn judge(&mut self, tgid: u32, hint: Hint, right: bool) {
        match hint.sign {
            Sign::Link => self.trust.add(tgid, hint.link, right),
            Sign::Loop | Sign::Lone if right => {}
            Sign::Loop => self.loops.contradicted(tgid, false),
            Sign::Lone => self.loops.contradicted(tgid, true),
            Sign::Loan(lender) => self.tried(tgid, lender.into(), hint.sign, right),
            Sign::Answerer => self.tried(tgid, Kind::Answerer, hint.sign, right),
            Sign::Own => self.tried(tgid, Kind::Own, hint.sign, right),
        }
    }

    /// A kind of evidence has proved right or wrong once more: what waits for its sign may be settled by that.
    pub(super) fn tried(&mut self, tgid: u32, kind: Kind, sign: Sign, right: bool) {
        let was_proved = self.trust.of(tgid, kind).is_proved();
        self.trust.add(tgid, kind, right);
        if !was_proved && self.trust.of(tgid, kind).is_proved() {
            self.proved(tgid, sign);
        }
    }

    /// A request is complete: calls that are under way cannot belong to it any more. Returns those that still may.
    pub(super) fn clear_suspects(&mut self, request: Serial) -> Vec<Serial> {
        let mut suspects =
            self.calls.get_mut(&request).map(|call| std::mem::take(&mut call.suspects)).unwrap_or_default();
        for serial in &suspects {
            let serial = *serial;
            let Some(call) = self.calls.get_mut(&serial) else {
                continue;
            };
            let (complete, tgid) = (call.is_answered(), call.tgid());
            let Some(search) = call.search.as_mut() else {
                continue;
            };
            let hint = search.hint.filter(|hint| hint.request == request);
            if !complete {
                search.candidates.retain(|candidate| *candidate != request);
                if let Some(hint) = hint {
                    search.hint = None;
                    self.judge(tgid, hint, false);
                }
                continue;
            }
            if let Some(hint) = hint.filter(|hint| matches!(hint.sign, Sign::Loan(_))) {
                // A worker that had turned to something else would have been found at work now and then.
                self.judge(tgid, hint, true);
            }
            match hint.map(|hint| (hint, self.believes(tgid, hint))) {
                // Nothing has contradicted it while it could.
                Some((hint, Some(true))) => {
                    self.settle_by(serial, hint);
                    continue;
                }
                Some((_, None)) => {
                    if let Some(request) = self.calls.get_mut(&request) {
                        request.is_kept = true;
                    }
                    continue;
                }
                Some((_, Some(false))) | None => {}
            }
            let left = self.calls.get(&serial).and_then(|call| call.search.as_ref());
            let is_left = left
                .is_some_and(|search| search.candidates.iter().any(|candidate| self.is_open(On::Request(*candidate))));
            if !is_left && !self.may_show(serial, ALIKE) {
                // Nobody is left who could say that it was his.
                self.give_up(serial);
            }
        }
        suspects.retain(|serial| self.may_cause(request, *serial));
        suspects
    }
}
