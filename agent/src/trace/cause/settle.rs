//! When the cause of a call is settled: what follows from that, when no more is waited for, and how a call comes out.

use std::sync::Arc;

use opentelemetry::trace::SpanId;

use super::{
    call::{Call, Cause, Hint, Link, Serial, Trace},
    engine::{Engine, Settled, Silence},
    injected::new_trace,
    samples::Sampled,
    work::On,
};
use crate::{
    event::Nanos,
    protocol::{Exchange, Side},
    trace::Resource,
};

impl Engine {
    /// An exchange is complete.
    pub fn done(&mut self, exchange: Exchange, resource: Arc<Resource>) {
        let server = exchange.side == Side::Server;
        let Some(serial) = self.by_id.remove(&(exchange.id, server)) else {
            // Given up before: it stands alone.
            let trace = new_trace(&mut self.ids);
            let span = self.ids.span();
            self.settled.push(Settled {
                exchange,
                resource,
                span,
                trace,
                parent: SpanId::INVALID,
                link: None,
                confidence: None,
                apart: None,
                spent: None,
            });
            return;
        };
        let now = exchange.end;
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        call.end = Some(now);
        if !server {
            let tgid = call.tgid();
            self.sessions.is_done(call.thread.tid, exchange.id, serial);
            self.sdk_exports(tgid, &exchange);
        }
        let Some(call) = self.calls.get(&serial) else {
            return;
        };
        let (tgid, is_open) = (call.tgid(), call.cause == Cause::Open);
        self.served(serial);
        if server && let Some(open) = self.open.get_mut(&tgid) {
            open.retain(|other| *other != serial);
        }
        // It comes out after what is settled by its end.
        let suspects = if server { self.clear_suspects(serial) } else { Vec::new() };
        if !server && is_open {
            self.patiences.add(now, serial);
            self.outlived(serial, now);
        }
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        call.done = Some(Box::new((exchange, resource)));
        let may_be_begun = call.may_be_begun;
        self.teach(serial, suspects);
        if may_be_begun {
            // No SDK has begun a trace for it.
            self.give_up(serial);
        }
        self.emit(serial);
    }

    /// What is seen soon, if at all, has not been seen.
    pub(super) fn give_up_waiting(&mut self, serial: Serial, now: Nanos) {
        let Some(call) = self.calls.get(&serial).filter(|call| call.cause == Cause::Open) else {
            return;
        };
        if call.side == Side::Client {
            let tgid = call.tgid();
            if let Some(hint) = call.search.as_ref().and_then(|search| search.hint)
                && self.believes(tgid, hint) == Some(true)
            {
                self.settle_by(serial, hint);
            }
            return;
        }
        // Unless it was counted when the next one came.
        if let Some(silence) = self.silent.get_mut(&call.id.socket).filter(|silence| silence.last == serial) {
            *silence = Silence { in_vain: silence.in_vain.saturating_add(1), last: 0 };
        }
        // An SDK in its process may begin a trace for it.
        if call.origin.is_none() && call.end.is_none() && self.originators.contains(&call.tgid()) {
            if let Some(call) = self.calls.get_mut(&serial) {
                call.may_be_begun = true;
            }
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
        if let Some(hint) = call.search.as_ref().and_then(|search| search.hint) {
            let tgid = call.tgid();
            if self.believes(tgid, hint) == Some(true) {
                self.settle_by(serial, hint);
                return;
            }
        }
        if !self.orphan(serial) {
            self.abandon(serial);
        }
    }

    /// No more is waited for at all.
    pub(super) fn abandon(&mut self, serial: Serial) {
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

    /// A call's cause is what something points to, and nothing else is known.
    pub(super) fn settle_by(&mut self, serial: Serial, hint: Hint) {
        if let Some(search) = self.calls.get_mut(&serial).and_then(|call| call.search.as_mut()) {
            // It does not confirm itself.
            search.hint = None;
        }
        self.settle(serial, Cause::Call(hint.request, hint.link));
    }

    /// Fixes a cause; `trace` is that of a root, a new one by default.
    pub(super) fn conclude(&mut self, serial: Serial, cause: Cause, trace: Option<Trace>) {
        let cause = match cause {
            Cause::Call(above, _) if self.hangs_under(above, serial) => {
                self.stats.unknown += 1;
                Cause::None
            }
            cause => cause,
        };
        let mut found = trace;
        let mut parent = SpanId::INVALID;
        match &cause {
            Cause::Open => return,
            Cause::Call(above, _) => match self.calls.get_mut(above) {
                Some(above) => {
                    parent = above.span;
                    above.is_parent = true;
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
            // It begins a trace, as soon as something has to carry that.
            Cause::None => {}
        }
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        let request = if let Cause::Call(request, _) = cause { Some(request) } else { None };
        call.cause = cause;
        call.parent = parent;
        let is_done = call.done.is_some();
        let (side, names, reader) = (call.side, call.names, call.reader.take());
        let (mut alike, perhaps) = (std::mem::take(&mut call.alike), std::mem::take(&mut call.perhaps_alike));
        let tgid = call.tgid();
        if self.loops.last(tgid).is_proved() {
            alike.extend(perhaps);
        }
        if let Some(search) = call.search.take() {
            self.pending.remove(serial, &search);
            self.try_later(serial, &search);
            if let (Some(hint), Some(request)) = (search.hint, request) {
                self.judge(tgid, hint, hint.request == request);
            }
        }
        if side == Side::Server {
            self.ends.leave(side, &names, serial);
        } else {
            self.move_samples(serial, request);
            if is_done {
                self.teach(serial, Vec::new());
            }
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
        match found {
            Some(trace) => self.spread(serial, &trace),
            None if self.is_published(serial) || self.is_awaited(serial) => self.begin_trace(serial),
            None => self.emit(serial),
        }
    }

    /// Whether others want to know of a call's trace while it goes on.
    fn is_published(&self, serial: Serial) -> bool {
        let side = self.calls.get(&serial).map(|call| call.side);
        match side {
            Some(Side::Server) => self.serving.is_some(),
            Some(Side::Client) => self.is_told_peers(serial),
            None => false,
        }
    }

    /// Whether something that hangs under a call is complete, and waits for its trace.
    pub(super) fn is_awaited(&self, serial: Serial) -> bool {
        self.calls.get(&serial).is_some_and(|call| call.is_awaited)
    }

    /// Whether a call was caused by this other one, as far as that is known: if it were the cause of that, neither would ever come out.
    fn hangs_under(&self, below: Serial, above: Serial) -> bool {
        let mut at = below;
        for _ in 0..DEEPEST {
            if at == above {
                return true;
            }
            match self.calls.get(&at) {
                // What has a trace hangs under nothing that has no cause yet.
                Some(Call { cause: Cause::Call(next, _), trace: None, .. }) => at = *next,
                _ => return false,
            }
        }
        // Deeper than a trace can begin.
        true
    }

    /// A trace of its own for the tree that a call is a part of, unless it is still open what that hangs under. Not before it is needed: an
    /// SDK in one of the processes may begin one.
    fn begin_trace(&mut self, serial: Serial) {
        if self.calls.get(&serial).is_some_and(|call| call.trace.is_some()) {
            // What was settled along with it has had the trace begin.
            return;
        }
        let mut root = serial;
        for _ in 0..DEEPEST {
            match self.calls.get(&root).map(|call| &call.cause) {
                Some(Cause::Call(above, _)) => root = *above,
                Some(Cause::None) => {
                    let trace = self.own_trace(root);
                    return self.spread(root, &trace);
                }
                Some(Cause::Open) => {
                    if let Some(root) = self.calls.get_mut(&root) {
                        root.is_awaited = true;
                    }
                    return;
                }
                Some(Cause::Outside(..)) | None => return,
            }
        }
    }

    /// A call's trace is known, and with it that of everything that hangs under it.
    pub(super) fn spread(&mut self, serial: Serial, trace: &Trace) {
        let mut stack = vec![serial];
        let mut apart = Vec::new();
        while let Some(serial) = stack.pop() {
            if let Some(own) = self.set_apart(serial, trace) {
                apart.push((serial, own));
                continue;
            }
            let Some(call) = self.calls.get_mut(&serial) else {
                continue;
            };
            call.trace = Some(trace.clone());
            stack.append(&mut call.effects);
            self.serves(serial);
            self.tell_peers(serial);
            self.emit(serial);
        }
        for (serial, own) in apart {
            self.spread(serial, &own);
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
        let Some(end) = call.end.filter(|_| call.done.is_some()) else {
            return;
        };
        let Some(trace) = call.trace.clone() else {
            return self.begin_trace(serial);
        };
        let is_sdks = self.is_sdks(serial);
        self.claim_likely(serial);
        let Some(call) = self.calls.get_mut(&serial) else {
            return;
        };
        let Some(done) = call.done.take() else {
            return;
        };
        call.is_out = true;
        let link = match &call.cause {
            Cause::Call(_, link) | Cause::Outside(_, link) => Some(*link),
            Cause::Open | Cause::None => None,
        };
        let confidence = call.confidence.filter(|_| matches!(link, Some(Link::Time | Link::Pattern)));
        let apart = call.apart.take();
        let link = if apart.is_some() { Some(Link::Apart) } else { link };
        let (exchange, resource) = *done;
        let is_answered = exchange.first_byte.is_some();
        let (span, parent) = (call.span, call.parent);
        let (side, call_is_kept) = (call.side, call.is_kept);
        let (reader, cost) = (call.thread.tid, call.cost.take());
        let samples = std::mem::take(&mut call.samples);
        if !samples.is_empty() {
            let of = Sampled { trace: trace.id, span, name: exchange.name.clone() };
            self.give_samples(samples, of, end);
        }
        let spent = self.cost(cost, reader, end);
        if is_sdks {
            self.stats.left_to_sdks += 1;
        } else {
            self.settled.push(Settled { exchange, resource, span, trace, parent, link, confidence, apart, spent });
        }
        match side {
            Side::Server if call_is_kept => self.kept.add(end, serial),
            Side::Server => self.forget(serial),
            // Its other end may be seen a little later.
            Side::Client if is_answered => self.lingering.add(end, serial),
            Side::Client => self.unread.add(end, serial),
        }
    }

    pub(super) fn forget(&mut self, serial: Serial) {
        if self.calls.get(&serial).is_some_and(|call| call.trace.is_none() && !call.effects.is_empty()) {
            // What hangs under it would look for it in vain.
            let trace = self.own_trace(serial);
            self.spread(serial, &trace);
        }
        self.served(serial);
        let Some(call) = self.calls.remove(&serial) else {
            return;
        };
        if call.end.is_none() {
            self.patterns.forget(serial);
        }
        self.give_up_samples(call.samples);
        self.ends.leave(call.side, &call.names, serial);
        self.by_id.remove(&(call.id, call.side == Side::Server));
        if let Cause::Call(request, _) = call.cause {
            self.sessions.forgets(call.thread.tid, call.id, request);
        }
    }
}

/// How deep below its root a call can be that has its trace begin.
const DEEPEST: usize = 1024;
