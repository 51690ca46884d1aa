//! A stream: a request, and what has come of its response.

use super::{
    head::Head,
    way::{Block, Origin},
};
use crate::{
    event::Nanos,
    protocol::{
        Answered, Exchange, Note, Side,
        http::{self, GrpcOutcome, Messages, NoResponse, Response},
    },
};

/// What is known of a stream.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// The request; `None` where the answer was seen before it.
    pub(super) exchange: Option<Exchange>,
    pub(super) request: Half,
    pub(super) response: Half,
    /// The final response's head.
    pub(super) answer: Option<Answer>,
    /// What trailers have said.
    outcome: GrpcOutcome,
    /// It is gRPC, by what a field says.
    grpc: bool,
    /// It may be gRPC: no field that is known says that it is not.
    maybe: bool,
    /// Trailers have come behind the response's body, with a field that is not known.
    trailed: bool,
    /// Since when it may have been answered to its end unseen.
    pub(super) doubtful: Option<Nanos>,
}

/// What a request's head says of gRPC, besides its `content-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It is gRPC: there are fields that nothing else has.
    Grpc,
    /// It is not.
    Other,
    /// Nothing: fields are missing, and what there is may be gRPC's.
    Nothing,
}

impl Says {
    /// What a head says.
    pub(super) fn of(head: &Head) -> Self {
        const OWN: [&str; 3] = ["grpc-timeout", "grpc-encoding", "grpc-accept-encoding"];
        if !head.unknown || head.get("content-type").is_some() {
            return Self::Other;
        }
        if OWN.iter().any(|name| head.get(name).is_some()) {
            return Self::Grpc;
        }
        let path = head.text(":path");
        let call = head.get(":method") == Some(b"POST") && path.is_none_or(http::is_grpc_path);
        if call { Self::Nothing } else { Self::Other }
    }
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Nothing follows.
    pub(super) ended: bool,
    /// When that came, or the last of it that was seen.
    pub(super) last: Origin,
    /// There was a body, or is.
    pub(super) body: bool,
    /// Its bytes so far.
    pub(super) size: u64,
    /// Something of it was missed: `size` says nothing.
    pub(super) missed: bool,
    pub(super) messages: Option<Box<Messages>>,
}

/// The beginning of the final response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    status: Option<u16>,
    /// `None` if its head was not seen.
    first: Option<Origin>,
    /// Its head has something that is not known.
    unknown: bool,
    /// The size of its body, if its head says so.
    length: Option<u64>,
}

impl Half {
    /// Something of it may have gone unseen.
    pub(super) fn miss(&mut self) {
        self.missed = true;
        if let Some(messages) = &mut self.messages {
            messages.lose();
        }
    }

    /// Its body is messages. Where some of it has gone by before that was known, they are not counted.
    fn count_messages(&mut self) {
        if self.messages.is_none() {
            let messages = self.messages.insert(Box::default());
            if self.body {
                messages.lose();
            }
        }
    }

    /// It has ended, and its body was one message of gRPC after the other, to the last byte.
    fn is_messages(&self) -> bool {
        self.ended && !self.missed && self.messages.as_ref().is_some_and(|messages| messages.are_all())
    }

    fn size(&self) -> Option<u64> {
        (!self.missed).then_some(self.size)
    }

    fn count(&self) -> Option<u64> {
        if self.missed {
            return None;
        }
        match &self.messages {
            Some(messages) => messages.count(),
            None => (!self.body).then_some(0),
        }
    }
}

impl Open {
    /// The request has come, with what its head says of gRPC.
    pub(super) fn ask(&mut self, exchange: Exchange, says: Says, ends: bool, now: Origin) {
        self.grpc |= says == Says::Grpc || http::is_grpc_call(&exchange);
        // The answer may have been seen before.
        self.maybe = says == Says::Nothing && (self.answer.is_none() || self.maybe);
        if self.grpc || self.maybe {
            self.request.count_messages();
            self.response.count_messages();
        }
        self.request.ended = ends;
        self.request.last = now;
        self.exchange = Some(exchange);
    }

    /// A response's header block has come: the head of an interim one, the final one's, or trailers.
    pub(super) fn reply(&mut self, block: &Block, head: &Head, now: Origin, out: &mut Vec<Note>) {
        self.doubtful = None;
        let status = head.status();
        if self.answer.is_none() {
            let interim = status.is_some_and(|status| status < 200 && status != 101) && !block.ends_stream;
            if interim {
                return;
            }
            // Trailers alone have no status: the head before them was missed.
            let is_head = status.is_some() || head.unknown || !block.ends_stream;
            self.answer = Some(Answer {
                status,
                first: is_head.then_some(block.first),
                unknown: head.unknown || status.is_none(),
                length: head.text("content-length").and_then(|length| length.parse().ok()),
            });
            self.say_answered(out);
            if status.is_some() {
                // Nothing of it can have come before.
                self.response.missed = false;
                if let Some(messages) = &mut self.response.messages {
                    **messages = Messages::default();
                }
            }
            // Every answer of gRPC has this status, and says that it is one.
            let may_be = status == Some(200) && head.unknown && head.get("content-type").is_none();
            self.maybe = may_be && (self.exchange.is_none() || self.maybe);
            if head.get("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc")) {
                self.is_grpc();
            }
        } else if let Some(answer) = &mut self.answer {
            answer.unknown |= head.unknown;
            self.trailed = block.ends_stream && head.unknown && self.response.body;
        }
        if block.ends_stream {
            for (name, value) in head.iter() {
                if name == b"grpc-status" || name == b"grpc-message" {
                    self.is_grpc();
                }
                self.outcome.add(name, value);
            }
        }
        self.response.last = now;
    }

    /// Says when the response began, if both that and the request are known.
    pub(super) fn say_answered(&self, out: &mut Vec<Note>) {
        if let (Some(exchange), Some(first)) = (&self.exchange, self.answer.and_then(|answer| answer.first)) {
            let Origin { time, thread } = first;
            out.push(Note::Answered(Answered { id: exchange.id, side: exchange.side, time, thread }));
        }
    }

    /// Says that the last byte of what the process reads came later than the first.
    pub(super) fn say_went_on(&self, is_request: bool, began: Nanos, now: Origin, out: &mut Vec<Note>) {
        if let Some(exchange) = &self.exchange
            && (exchange.side == Side::Server) == is_request
            && began != now.time
        {
            let Origin { time, thread } = now;
            out.push(Note::WentOn(Answered { id: exchange.id, side: exchange.side, time, thread }));
        }
    }

    /// When the response began, as far as that was seen.
    pub(super) fn began(&self) -> Option<Nanos> {
        self.answer.and_then(|answer| answer.first).map(|first| first.time)
    }

    fn is_grpc(&mut self) {
        self.grpc = true;
        self.response.count_messages();
    }

    /// Whether it is a call although no field that is known says so, because the fields that would were sent before the connection was joined, and
    /// are referred to only. What else a call is: a request of messages, an answer of messages, and trailers behind them, which are in no
    /// answer of HTTP by chance.
    fn is_call(&self) -> bool {
        let answered = self.answer.is_some_and(|answer| answer.status == Some(200));
        self.maybe && self.trailed && answered && self.request.is_messages() && self.response.is_messages()
    }

    /// A part of the response's body has come.
    pub(super) fn body(&mut self, now: Origin) {
        self.doubtful = None;
        self.response.last = now;
        self.answer.get_or_insert(Answer { status: None, first: None, unknown: true, length: None });
    }

    /// No more of the connection comes. A response whose body is as long as it said is whole: not every client waits for the frame that
    /// says so, which trailers may come with.
    pub(super) fn close(&mut self) {
        let length = self.answer.and_then(|answer| answer.length).filter(|_| self.response.body && !self.grpc);
        self.response.ended |= length.is_some_and(|length| self.response.size() == Some(length));
    }

    /// The exchange, with what there is of its response, and why that is not all.
    pub(super) fn finish(self, why: Option<NoResponse>, end: Nanos) -> Option<Exchange> {
        let grpc = self.grpc || self.is_call();
        let Self { exchange, request, response, answer, mut outcome, .. } = self;
        let mut exchange = exchange?;
        exchange.request_end = request.last.time.max(exchange.start);
        exchange.end = if answer.is_some() { end.max(exchange.start) } else { end.max(exchange.request_end) };
        exchange.holes.length |= request.missed || (response.missed && answer.is_some());
        if grpc {
            http::recognise_grpc(&mut exchange);
        }
        if let Some(answer) = answer {
            exchange.holes.response_head |= answer.unknown || answer.first.is_none();
            if let Some(first) = answer.first {
                // It may have been seen before its request was, never sent before.
                let first_byte = first.time.max(exchange.start);
                exchange.end = exchange.end.max(first_byte);
                http::respond(&mut exchange, Response { status: answer.status, first_byte, thread: first.thread });
            }
        }
        if grpc {
            if let Some(messages) = &response.messages {
                messages.read_trailers(&mut outcome);
            }
            outcome.asked = request.count().filter(|_| request.ended);
            outcome.answered = response.count().filter(|_| answer.is_some() && response.ended);
            http::finish_grpc(&mut exchange, outcome);
        }
        if let Some(why) = why {
            http::no_response(&mut exchange, why);
            exchange.holes.no_response &= answer.is_none();
        }
        if !grpc {
            if let Some(size) = request.size().filter(|_| request.body && request.ended) {
                exchange.attributes.push("http.request.body.size", size);
            }
            if let Some(size) = response.size().filter(|_| answer.is_some() && response.ended) {
                exchange.attributes.push("http.response.body.size", size);
            }
        }
        Some(exchange)
    }
}
