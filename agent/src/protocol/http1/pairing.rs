//! Which response answers which request: the n-th the n-th, as long as neither direction has lost anything.
//!
//! After a loss the number of requests or responses that went with the missing bytes is not known, and order says nothing any
//! more. What was asked before remains certain. Then one request at a time is paired on trial, with the response that begins
//! next, and the pair is kept back: a further response contradicts it, a further request confirms it, and a few in a row
//! confirm that order can be trusted again (not one alone: a response may be seen before its request). That holds for every
//! client that asks only when all that it has asked before is answered, be it one request or several in a row; where something
//! else was seen, nothing is tried until the connection has been quiet.
//!
//! Such a client's request was alone if the one before it was seen and answers have come since: nothing else can have been
//! waiting, so the next response is its. Where that is not known, requests that were not seen may have been waiting with it,
//! and the next response may be one of theirs. Then its own one follows. That it does not is known only when the response to
//! a later request has come, for what is missing of a stream shows with the bytes after it; and not at all if something else is
//! missing after the response, which then stays doubtful.

use std::collections::VecDeque;

use super::{
    asked::{Asked, Sink, emit, emit_with, flush},
    call::Call,
    decoder::Role,
    stream::Origin,
};
use crate::{
    event::Nanos,
    protocol::{
        Answered, Counts, Exchange, Note,
        http::{Method, NoResponse, Response},
        shared::count,
    },
};

/// Requests that wait for their responses, at most.
const MAX_OUTSTANDING: usize = 1024;
/// Pairs on trial that confirm each other.
const CONFIRMED: usize = 2;
/// How long a pair is kept back for a contradiction.
const SETTLE: Nanos = 500_000_000;
/// How long a connection that has had several requests in flight must be quiet before nothing can be in flight any more.
const QUIET: Nanos = 1_000_000_000;
/// Every how manieth request may begin before the one before it is answered without that meaning anything: on some hosts an
/// answer is seen after the request that it prompted.
const OVERLAPS: u32 = 8;

/// The requests of a connection that are not finished.
#[derive(Debug)]
pub(super) struct Pairing {
    /// Not answered yet, in order.
    queue: VecDeque<Box<Asked>>,
    /// Being answered.
    open: Option<Box<Asked>>,
    /// Answered on trial.
    #[expect(clippy::vec_box, reason = "requests move from field to field: as pointers")]
    held: Vec<Box<Asked>>,
    /// Order can be trusted: the next request is the next in the queue.
    certain: bool,
    /// Bytes have been missed for certain since order was last trusted, not only perhaps.
    missed: bool,
    /// Requests may have been missed since the last one.
    gap: bool,
    /// When the first bytes of answers have come since the last request, in updates.
    replied: Option<u64>,
    /// Requests that were given out without their response and whose response may still come.
    unanswered: u32,
    /// When responses, or the length of one, were last missed, in updates: others may have come with it, unseen.
    hidden: u64,
    requests: u32,
    overlaps: u32,
    last: Nanos,
}

impl Default for Pairing {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            open: None,
            held: Vec::new(),
            certain: true,
            missed: false,
            gap: false,
            replied: None,
            unanswered: 0,
            hidden: 0,
            requests: 0,
            overlaps: 0,
            last: 0,
        }
    }
}

impl Pairing {
    /// Whether a response that begins now can only belong to a request that has not been seen yet.
    pub(super) fn must_wait(&self) -> bool {
        self.certain && self.queue.is_empty() && self.open.is_none()
    }

    /// Whether a response is being received.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What is being answered.
    pub(super) fn open_mut(&mut self) -> Option<&mut Asked> {
        self.open.as_deref_mut()
    }

    /// The request of this number, unless it is finished.
    pub(super) fn request_mut(&mut self, serial: u64) -> Option<&mut Asked> {
        let last = self.queue.back_mut().filter(|asked| asked.serial == serial);
        last.or(self.open.as_mut().filter(|asked| asked.serial == serial)).map(|asked| &mut **asked)
    }

    /// The call whose body is under way: of the request of this number, or of what is being answered.
    pub(super) fn call(&self, role: Role, serial: u64) -> Option<&Call> {
        let asked = match role {
            Role::Request => self.queue.back().into_iter().chain(&self.open).find(|asked| asked.serial == serial),
            Role::Response => self.open.as_ref(),
        };
        asked?.call.as_deref()
    }

    /// The same.
    pub(super) fn call_mut(&mut self, role: Role, serial: u64) -> Option<&mut Call> {
        let asked = match role {
            Role::Request => self.request_mut(serial),
            Role::Response => self.open_mut(),
        };
        asked?.call.as_deref_mut()
    }

    /// Something happened at this time.
    pub(super) fn touch(&mut self, now: Nanos) {
        self.last = self.last.max(now);
    }

    /// Bytes of answers have come.
    pub(super) fn replied(&mut self, seq: u64) {
        self.replied.get_or_insert(seq);
    }

    /// A request's head is complete. `settled`: the responses' direction is between two messages.
    pub(super) fn asked(&mut self, mut asked: Box<Asked>, settled: bool, sink: &mut Sink<'_>) {
        // Whether the client keeps several requests in flight is learnt from a sample that forgets.
        self.requests += 1;
        if self.requests >= 1 << 16 {
            self.requests /= 2;
            self.overlaps /= 2;
        }
        asked.alone = !std::mem::take(&mut self.gap) && self.replied.take().is_some_and(|first| first < asked.seq);
        if self.held.len() >= CONFIRMED
            && self.held.iter().all(|held| held.alone)
            && self.queue.is_empty()
            && self.open.is_none()
        {
            self.confirmed(sink);
            if asked.alone && settled && !self.overlapping() {
                self.certain = true;
                self.unanswered = 0;
                self.missed = false;
            }
        }
        if asked.seq < self.hidden {
            // It began before, though its end was seen only now: its answer may have gone with what is missing.
            self.distrust(true, sink.counts);
            self.unanswered = self.unanswered.saturating_add(1);
            return flush(asked, NoResponse::Unseen, sink);
        }
        if self.certain {
            asked.sure = true;
            if self.queue.len() >= MAX_OUTSTANDING {
                count(&sink.counts.overflows);
                self.lost_responses(sink);
            }
            self.queue.push_back(asked);
            return;
        }
        if asked.exchange.start.saturating_sub(self.last) >= QUIET {
            self.overlaps = 0;
            self.unanswered = 0;
        }
        let sure = self.open.iter().chain(&self.queue).any(|asked| asked.sure);
        if !sure && (!self.queue.is_empty() || self.open.is_some()) {
            // Whatever was on trial has failed: the client did not wait for its answer.
            self.failed(sink);
            self.unanswered += u32::from(!self.queue.is_empty());
            for earlier in self.queue.drain(..).chain(self.open.take()) {
                flush(earlier, NoResponse::Unseen, sink);
            }
            self.unanswered += 1;
            return flush(asked, NoResponse::Unseen, sink);
        }
        if sure || self.unanswered > 0 || self.overlapping() {
            self.unanswered = self.unanswered.saturating_add(1);
            return flush(asked, NoResponse::Unseen, sink);
        }
        self.queue.push_back(asked);
    }

    /// A final response's head is complete. Returns the method of the request that it answers, if that is known.
    pub(super) fn answered(&mut self, response: Response, message: Origin, sink: &mut Sink<'_>) -> Option<Method> {
        if !self.certain && self.queue.is_empty() {
            // One response too many: an earlier one was somebody else's.
            self.failed(sink);
        }
        let next = self.queue.front().is_some_and(|asked| asked.sure || asked.seq < message.seq);
        let Some(mut asked) = self.queue.pop_front_if(|_| next) else {
            self.unanswered = self.unanswered.saturating_sub(1);
            count(&sink.counts.orphans);
            return None;
        };
        // Nothing is missing since the pairs that are held: no further response has come with them.
        self.held.iter_mut().for_each(|held| held.alone = true);
        if self.held.len() >= CONFIRMED {
            self.confirmed(sink);
        }
        self.overlaps += u32::from(asked.sure && !self.queue.is_empty());
        sink.out.push(Note::Answered(Answered {
            id: asked.exchange.id,
            side: asked.exchange.side,
            time: response.first_byte,
            thread: response.thread,
        }));
        asked.response = Some(response);
        let method = asked.method;
        self.open = Some(asked);
        Some(method)
    }

    /// The request that waits for its response, if it is certain that it is the only one.
    pub(super) fn take_only(&mut self) -> Option<Exchange> {
        let only = self.queue.len() == 1 && self.open.is_none();
        let asked = self.queue.pop_front_if(|asked| only && asked.sure)?;
        Some(asked.exchange)
    }

    /// The response that is being received is complete.
    pub(super) fn finish(&mut self, end: Nanos, sink: &mut Sink<'_>) {
        let Some(mut asked) = self.open.take() else {
            return;
        };
        asked.exchange.end = end;
        if asked.sure {
            emit(asked, sink);
        } else {
            self.held.push(asked);
        }
    }

    /// The response that is being received was broken off.
    pub(super) fn break_off(&mut self, end: Nanos, why: NoResponse, sink: &mut Sink<'_>) {
        let Some(mut asked) = self.open.take() else {
            return;
        };
        asked.exchange.end = end;
        if !asked.sure {
            return flush(asked, NoResponse::Unseen, sink);
        }
        asked.exchange.holes.length = true;
        emit_with(asked, Some(why), sink);
    }

    /// Something of the responses is missing: whatever was asked until now may have been answered with it.
    pub(super) fn hide(&mut self, seq: u64) {
        self.hidden = seq;
        if let Some(open) = self.open.as_mut().filter(|open| !open.sure && !open.alone) {
            open.doubtful |= self.missed;
        }
    }

    /// Responses may have passed unseen within bytes that were seen.
    pub(super) fn passed(&mut self, seq: u64, sink: &mut Sink<'_>) {
        if !self.certain {
            self.hide(seq);
        }
        if self.is_awaited() {
            self.lost_responses(sink);
        }
    }

    /// Requests may have been missed: what comes next has no certain place in the order. `missed`: not only perhaps.
    pub(super) fn lost_requests(&mut self, missed: bool, counts: &Counts) {
        self.gap = true;
        self.distrust(missed, counts);
        if missed && let Some(asked) = self.open.as_mut().filter(|open| !open.sure).or(self.held.last_mut()) {
            // The response that it was paired with on trial may be that of the request which is missing.
            asked.doubtful = true;
        }
    }

    /// Order says nothing any more. `missed`: bytes were missed, not only perhaps.
    fn distrust(&mut self, missed: bool, counts: &Counts) {
        if self.certain {
            count(&counts.unpaired);
        }
        self.certain = false;
        self.missed |= missed;
    }

    /// Responses may have been missed: whether one of those that are waited for was among them cannot be told.
    pub(super) fn lost_responses(&mut self, sink: &mut Sink<'_>) {
        self.distrust(true, sink.counts);
        self.unanswered = 0;
        self.failed(sink);
        for asked in self.queue.drain(..) {
            flush(asked, NoResponse::Unseen, sink);
        }
    }

    /// What was paired on trial is right, but for what is doubtful by itself.
    fn confirmed(&mut self, sink: &mut Sink<'_>) {
        for mut held in std::mem::take(&mut self.held) {
            held.exchange.holes.pairing = held.doubtful;
            emit(held, sink);
        }
    }

    /// What was paired on trial is not certain at all.
    fn failed(&mut self, sink: &mut Sink<'_>) {
        for held in std::mem::take(&mut self.held) {
            flush(held, NoResponse::Unseen, sink);
        }
    }

    /// The responses' direction was joined: there may have been responses, to these requests or earlier ones.
    pub(super) fn joined_responses(&mut self, missed: bool, sink: &mut Sink<'_>) {
        self.distrust(missed, sink.counts);
        while self.queue.len() > 1 {
            self.queue.pop_front().into_iter().for_each(|asked| flush(asked, NoResponse::Unseen, sink));
        }
        for asked in &mut self.queue {
            (asked.sure, asked.alone) = (false, false);
        }
    }

    /// Whether anything waits for a response that has not begun.
    pub(super) fn is_awaited(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Gives out what has been kept back for long enough.
    pub(super) fn settle(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        if self.held.last().is_some_and(|held| now.saturating_sub(held.exchange.end) > SETTLE) {
            self.release(sink);
        }
    }

    /// Gives out what has been kept back.
    pub(super) fn release(&mut self, sink: &mut Sink<'_>) {
        for mut held in std::mem::take(&mut self.held) {
            held.exchange.holes.pairing = self.missed || held.doubtful;
            emit(held, sink);
        }
    }

    /// Nothing will be answered any more.
    pub(super) fn end(&mut self, now: Nanos, why: NoResponse, sink: &mut Sink<'_>) {
        self.release(sink);
        for mut asked in self.queue.drain(..) {
            // One on trial may have been answered with what was missed.
            let why = if asked.sure { why } else { NoResponse::Unseen };
            asked.exchange.end = now;
            flush(asked, why, sink);
        }
    }

    fn overlapping(&self) -> bool {
        self.overlaps > self.requests / OVERLAPS
    }
}
