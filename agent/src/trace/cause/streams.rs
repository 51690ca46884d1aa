//! What Node's event loop does with streams of HTTP/2, many of which share a session: which one it turns to, on which one it makes a
//! request, which one it answers. The session reads and writes for all of them, so that says nothing of whose it is.

use super::{
    call::{Link, Sign},
    claims::{Claim, Placed},
    engine::Engine,
    work::{Key, On},
};
use crate::{
    event::{Nanos, SocketId, Thread},
    protocol::{Answered, CallId, Side},
};

impl Engine {
    /// A loop turns to what it has read for a stream: for another one before that, or for none in particular.
    pub(super) fn turns_to(&mut self, session: u64, place: u64, from: Thread, time: Nanos) {
        self.turns.seen(from);
        self.turned(from, None);
        let (socket, waiting) = self.sessions.turns(from, session, place, time);
        if let Some(socket) = socket {
            for (place, claim) in waiting {
                self.claims_stream(socket, place, claim, time);
            }
        }
        let id = socket.map(|socket| CallId { socket, place });
        let served = id.and_then(|id| self.by_id.get(&(id, true)).copied()).map(On::Request);
        let done = id.and_then(|id| self.sessions.done(from.tid, id));
        let asked = id.and_then(|id| self.by_id.get(&(id, false)).copied()).or(done.map(|done| done.call));
        if let Some(call) = asked.filter(|call| self.calls.contains_key(call)) {
            return self.read_answer(call, from, time);
        }
        // What its answer was for may go on for longer than the call is known.
        let answered = done.and_then(|done| done.request).map(On::Request);
        let link = if served.is_some() { Link::Thread } else { Link::Answer };
        match served.or(answered).filter(|on| self.is_open(*on)) {
            Some(on) => {
                self.loop_reads(from, time, on);
                self.workers.set(Key::of(from), on, time, link);
            }
            None => {
                self.turns.idle(from.tid);
                self.workers.clear(Key::of(from));
            }
        }
    }

    /// The same, and the stream begins with a request.
    pub(super) fn begins_stream(&mut self, (session, place, stream): (u64, u64, u64), from: Thread, time: Nanos) {
        self.turns_to(session, place, from, time);
        self.sessions.serves(from.tgid, stream, session, place, time);
        self.turns.opens_stream(from);
    }

    /// A loop makes a request: it is for whatever it does now. It is sent later.
    pub(super) fn submits(&mut self, session: u64, place: u64, from: Thread, time: Nanos) {
        self.goes_on(from, time);
        self.turned(from, None);
        self.turns.opens_stream(from);
        let sign = if self.loops.is_lone(from.tid, time) { Sign::Lone } else { Sign::Loop };
        let doubt = self.is_ambiguous(from, time).then_some(sign);
        let claim = Claim { who: from, work: self.work_of(from), doubt };
        if let Some(socket) = self.sessions.asks(from, session, place, claim, time) {
            self.claims_stream(socket, place, claim, time);
        }
    }

    fn claims_stream(&mut self, socket: SocketId, place: u64, claim: Claim, time: Nanos) {
        self.claims.uses(socket, time);
        if let Placed::Late(socket) = self.claims.stream(socket.sock, place, claim, time) {
            self.claimed_late(CallId { socket, place }, claim);
        }
    }

    /// A loop answers a request. The answer is sent later.
    pub(super) fn responds(&mut self, stream: u64, from: Thread, time: Nanos) {
        self.goes_on(from, time);
        let request = self.sessions.answers(from.tgid, stream).map(|(socket, place)| CallId { socket, place });
        let serial = request.and_then(|id| self.by_id.get(&(id, true)).copied());
        self.turned(from, serial);
        if let Some((id, serial)) = request.zip(serial) {
            self.wrote_answer(serial, Key::of(from), &Answered { id, side: Side::Server, time, thread: from });
        }
    }

    /// A loop reads the beginning of a message.
    pub(super) fn sees_message(&mut self, thread: Thread, id: CallId, time: Nanos) {
        if thread.turn.is_some() {
            self.sessions.reads(thread.tid, id.socket, id.place, time);
        }
    }

    /// Whether a request that is sent was asked for before, which is told.
    pub(super) fn is_told(&self, thread: Thread, id: CallId) -> bool {
        thread.turn.is_some() && (self.sessions.has(id.socket) || self.sessions.may_wait(thread.tgid, id.place))
    }
}
