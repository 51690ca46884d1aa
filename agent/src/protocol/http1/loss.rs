//! What is missing of a stream, and how its place in its messages is found again.

use super::{
    body::{Body, Skipped},
    decoder::{Context, Http1, Role},
    detect, head,
    stream::{Origin, State},
};
use crate::{
    conn::{Content, Gap},
    protocol::{Verdict, shared::count},
};

/// What is known of the end of a response that has lost its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing.
    Unknown,
    /// What is missing is as long as the rest of it would be, if nothing but the next response follows.
    LikelyEnd,
}

impl Http1 {
    /// A direction begins somewhere.
    pub(super) fn joined(&mut self, role: Role, missed: bool, cx: &mut Context<'_>) {
        self.stream(role).state = State::Seek;
        match role {
            Role::Request => self.pairing.lost_requests(missed, cx.sink.counts),
            Role::Response => self.pairing.joined_responses(missed, &mut cx.sink),
        }
    }

    pub(super) fn hole(&mut self, role: Role, origin: Origin, length: u64, gap: Gap, cx: &mut Context<'_>) {
        if length == 0 {
            return;
        }
        let state = self.stream(role).state;
        match state {
            State::Body(mut body) => match self.skip(role, &mut body, length, gap) {
                Skipped::Inside => self.stream(role).state = State::Body(body),
                Skipped::Done(more) => {
                    if role == Role::Response
                        && gap == Gap::Lost
                        && let Some(open) = self.pairing.open_mut()
                    {
                        // It has ended, but when?
                        open.exchange.holes.length = true;
                    }
                    self.body_done(role, body.size(), origin.time, cx);
                    self.hole(role, origin, more, gap, cx);
                }
                Skipped::Lost { likely_end } => {
                    self.lose(role, likely_end, cx);
                    if self.lost == Some(Lost::LikelyEnd)
                        && let Some(open) = self.pairing.open_mut()
                    {
                        open.response_size = Some(body.size());
                    }
                }
            },
            State::Head => {
                self.wide |= gap == Gap::NotCaptured;
                self.truncated(role, cx);
            }
            State::Start if role == Role::Response && self.pairing.must_wait() => {
                self.waiting.push_front(origin, Content::Hole(length, gap));
            }
            State::Start => self.lose(role, false, cx),
            State::Seek => {
                let candidate = !self.stream(role).buffer.is_empty();
                self.wide |= candidate && gap == Gap::NotCaptured;
                self.stream(role).lose();
                match role {
                    Role::Request => {}
                    Role::Response => self.lose(role, false, cx),
                }
            }
        }
    }

    /// Skips bytes of a body.
    fn skip(&mut self, role: Role, body: &mut Body, length: u64, gap: Gap) -> Skipped {
        let before = body.size();
        let skipped = body.skip(length);
        if let Some(call) = self.pairing.call_mut(role, self.serial) {
            let messages = call.messages_mut(role);
            let known = messages.until_prefix().is_some();
            match skipped {
                Skipped::Lost { .. } => messages.lose(),
                Skipped::Inside | Skipped::Done(_) => messages.hole(body.size().saturating_sub(before)),
            }
            // More of each call shows the trailers of those that follow.
            self.wide |= known && messages.until_prefix().is_none() && gap == Gap::NotCaptured;
        }
        skipped
    }

    /// A head of which no more will come: what there is of it is used.
    pub(super) fn truncated(&mut self, role: Role, cx: &mut Context<'_>) {
        count(&cx.sink.counts.truncated_heads);
        let buffer = self.stream(role).take();
        let now = self.stream(role).last.max(self.stream(role).message.time);
        let whole = head::whole_lines(&buffer);
        self.stream(role).reset(buffer);
        let used = whole.is_some_and(|lines| {
            self.parse(role, now, &lines, false, cx) > 0 || {
                let repaired = head::repaired(&lines).filter(|_| role == Role::Request);
                repaired.is_some_and(|lines| self.parse(role, now, &lines, false, cx) > 0)
            }
        });
        self.stream(role).state = State::Head;
        if self.over.is_some() {
            return;
        }
        if !used && role == Role::Request {
            count(&cx.sink.counts.abandoned_heads);
        }
        self.lose(role, false, cx);
    }

    /// Where the stream is in its messages is not known any more.
    pub(super) fn lose(&mut self, role: Role, likely_end: bool, cx: &mut Context<'_>) {
        let in_body = matches!(self.stream(role).state, State::Body(_));
        self.stream(role).lose();
        if role == Role::Response {
            // What is just as long as a last chunk is no response.
            if !likely_end {
                self.pairing.hide(self.seq);
            }
        }
        match role {
            Role::Request => {
                if in_body && let Some(asked) = self.pairing.request_mut(self.serial) {
                    asked.exchange.holes.length = true;
                }
                self.pairing.lost_requests(true, cx.sink.counts);
            }
            Role::Response if self.pairing.is_open() => {
                self.lost = Some(if likely_end { Lost::LikelyEnd } else { Lost::Unknown });
                if self.pairing.is_awaited() {
                    // Other responses may have come with what is missing.
                    self.lost = Some(Lost::Unknown);
                    self.finish_lost(cx);
                    self.pairing.lost_responses(&mut cx.sink);
                }
            }
            Role::Response => self.pairing.lost_responses(&mut cx.sink),
        }
    }

    /// Looks for the beginning of a message at the beginning of a piece.
    pub(super) fn seek(&mut self, role: Role, origin: Origin, bytes: &[u8], cx: &mut Context<'_>) {
        let certain = match role {
            Role::Request => detect::certain_request,
            Role::Response => detect::certain_response,
        };
        let stream = self.stream(role);
        if !stream.buffer.is_empty() {
            stream.buffer.extend_from_slice(bytes);
            match certain(&stream.buffer) {
                Verdict::Yes => {
                    let buffer = stream.take();
                    let start = stream.message;
                    stream.candidate = Some(start);
                    self.found(role, Origin { offset: start.offset, ..origin }, &buffer, cx);
                    return;
                }
                Verdict::More => return,
                Verdict::No => {
                    stream.lose();
                    self.passed_over(role, cx);
                }
            }
        }
        match certain(bytes) {
            Verdict::Yes => self.found(role, origin, bytes, cx),
            // Blank lines alone.
            Verdict::More if detect::without_blank_lines(bytes).is_empty() => {}
            Verdict::More => {
                let stream = self.stream(role);
                stream.message = origin;
                stream.buffer.extend_from_slice(bytes);
            }
            Verdict::No => self.passed_over(role, cx),
        }
    }

    /// What was seen begins no message; within it, any number may begin.
    pub(super) fn passed_over(&mut self, role: Role, cx: &mut Context<'_>) {
        if role == Role::Request {
            return;
        }
        if self.lost.is_some() {
            self.lost = Some(Lost::Unknown);
            if self.pairing.is_awaited() {
                self.finish_lost(cx);
            }
        }
        self.pairing.passed(self.seq, &mut cx.sink);
    }

    /// The beginning of a message was found.
    pub(super) fn found(&mut self, role: Role, start: Origin, bytes: &[u8], cx: &mut Context<'_>) {
        if role == Role::Response {
            self.finish_lost(cx);
        }
        self.stream(role).state = State::Start;
        self.bytes(role, start, bytes, cx);
    }

    /// The response that has lost its length is over: something else has begun.
    pub(super) fn finish_lost(&mut self, cx: &mut Context<'_>) {
        let last = self.responses.last;
        let lost = self.lost.take();
        if lost == Some(Lost::Unknown)
            && let Some(open) = self.pairing.open_mut()
        {
            open.exchange.holes.length = true;
            open.response_size = None;
        }
        self.pairing.finish(last, &mut cx.sink);
    }
}
