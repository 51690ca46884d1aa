//! From heads to requests and responses, and what their ends mean.

use super::{
    asked::Asked,
    decoder::{Context, Http1, Role},
    head::{self, Parsed, RequestHead, ResponseHead},
    stream::{Origin, State},
};
use crate::{
    event::{Direction, Nanos},
    protocol::{
        self, Answered, Note, Over, Side, Values, endpoints,
        http::{Method, NoResponse, Request, Response, carried, is_grpc_call, is_own_export, span, values},
        http2::Http2,
    },
};

impl Http1 {
    /// A message begins: its head is parsed in place if it is whole.
    pub(super) fn start(&mut self, role: Role, origin: Origin, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let taken = self.parse(role, origin.time, bytes, true, cx);
        if taken > 0 || self.over.is_some() {
            return taken;
        }
        let plausible = match role {
            Role::Request => bytes.first().is_some_and(u8::is_ascii_graphic),
            Role::Response => bytes.starts_with(b"HTTP/") || b"HTTP/".starts_with(bytes),
        };
        if !plausible {
            self.malformed(cx);
            return 0;
        }
        self.stream(role).state = State::Head;
        self.head(role, origin, bytes, cx)
    }

    /// A head goes on.
    pub(super) fn head(&mut self, role: Role, origin: Origin, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let (taken, complete) = self.stream(role).grow(bytes);
        if complete {
            let buffer = self.stream(role).take();
            if self.parse(role, origin.time, &buffer, true, cx) == 0 {
                let repaired = head::repaired(&buffer).filter(|_| role == Role::Request);
                if repaired.is_none_or(|bytes| self.parse(role, origin.time, &bytes, true, cx) == 0) {
                    self.malformed(cx);
                }
            }
            self.stream(role).reset(buffer);
        } else if self.stream(role).overflowed() {
            self.truncated(role, cx);
        }
        taken
    }

    /// Parses a head and goes on to its body; returns its length, 0 if it is not complete.
    pub(super) fn parse(
        &mut self,
        role: Role,
        now: Nanos,
        bytes: &[u8],
        complete: bool,
        cx: &mut Context<'_>,
    ) -> usize {
        match role {
            Role::Request => match head::request(bytes) {
                Parsed::Complete(length, head) => {
                    self.request(&head, now, complete, cx);
                    length
                }
                Parsed::Partial | Parsed::Invalid => 0,
            },
            Role::Response => match head::response(bytes) {
                Parsed::Complete(length, head) => {
                    self.response(head, now, complete, cx);
                    length
                }
                Parsed::Partial | Parsed::Invalid => 0,
            },
        }
    }

    pub(super) fn request(&mut self, head: &RequestHead<'_>, now: Nanos, complete: bool, cx: &mut Context<'_>) {
        let message = self.requests.message;
        let request = Request {
            method: head.method,
            target: head.target,
            scheme: None,
            version: if head.version == 0 { "1.0" } else { "1.1" },
            fields: head.fields.clone(),
            complete,
            time: message.time,
            thread: message.thread,
            place: message.offset,
        };
        if is_own_export(&request) {
            self.over = Some(Over::Own);
            return;
        }
        let Ok(body) = head.framing.request(head.version) else {
            return self.malformed(cx);
        };
        let side = if self.asks == Direction::Receive { Side::Server } else { Side::Client };
        let mut exchange = span(cx.shared, cx.connection, side, &request);
        exchange.request_end = now;
        cx.sink.out.push(Note::Asked(protocol::Asked {
            id: exchange.id,
            side,
            time: message.time,
            thread: self.requests.mover,
            other_end: endpoints::other_end(cx.connection),
            remote: endpoints::remote(cx.connection),
            addresses: endpoints::addresses(cx.connection, side),
            carried: carried(&request.fields),
            values: if cx.shared.link_values { values(request.target) } else { Values::default() },
        }));
        self.serial += 1;
        let call = is_grpc_call(&exchange).then(Box::default);
        let asked = Box::new(Asked {
            exchange,
            method: Method::new(head.method),
            serial: self.serial,
            seq: message.seq,
            size: head.framing.declared().filter(|_| complete),
            sure: false,
            alone: false,
            doubtful: false,
            response: None,
            response_size: None,
            call,
        });
        if self.lost.is_some() {
            self.finish_lost(cx);
        }
        let settled = matches!(self.responses.state, State::Start | State::Seek) && self.responses.buffer.is_empty();
        self.pairing.asked(asked, settled, &mut cx.sink);
        self.requests.state = body.map_or(State::Start, State::Body);
    }

    pub(super) fn response(&mut self, head: ResponseHead, now: Nanos, complete: bool, cx: &mut Context<'_>) {
        if matches!(head.status, 100 | 102..=199) {
            self.responses.state = State::Start;
            return;
        }
        if head.h2c {
            return self.upgraded(now, cx);
        }
        let message = self.responses.message;
        let response = Response { status: Some(head.status), first_byte: message.time, thread: message.thread };
        let method = self.pairing.answered(response, message, &mut cx.sink);
        if head.status == 101 || (method == Some(Method::Connect) && head.status / 100 == 2) {
            return self.switched(now, cx);
        }
        let Some(method) = method else {
            // Without its request, only a response that can have no body has a known length.
            let bare = matches!(head.status, 204 | 304) || head.framing.declared() == Some(0);
            if bare {
                self.responses.state = State::Start;
            } else {
                self.responses.state = State::Seek;
                self.passed_over(Role::Response, cx);
            }
            return;
        };
        let Ok(body) = head.framing.response(head.version, head.status, method) else {
            return self.malformed(cx);
        };
        if let Some(open) = self.pairing.open_mut() {
            open.exchange.holes.response_head = !complete;
            open.exchange.holes.length |= !complete;
            if let Some(call) = &mut open.call {
                call.outcome = head.outcome;
            }
            open.response_size = head.framing.declared().filter(|_| complete && body.is_some());
        }
        match body {
            None => self.body_done(Role::Response, 0, now, cx),
            Some(body) => self.responses.state = State::Body(body),
        }
    }

    /// A message's last byte has come.
    pub(super) fn body_done(&mut self, role: Role, size: u64, now: Nanos, cx: &mut Context<'_>) {
        self.stream(role).state = State::Start;
        if let Some(call) = self.pairing.call_mut(role, self.serial) {
            call.ended(role);
        }
        self.went_on(role, now, cx);
        match role {
            Role::Request => {
                if let Some(asked) = self.pairing.request_mut(self.serial) {
                    asked.exchange.request_end = now;
                    asked.size = Some(size);
                }
            }
            Role::Response => {
                if let Some(open) = self.pairing.open_mut() {
                    open.response_size = Some(size);
                }
                self.pairing.finish(now, &mut cx.sink);
            }
        }
    }

    /// Says that the last byte of what the process reads came later than the first.
    fn went_on(&mut self, role: Role, now: Nanos, cx: &mut Context<'_>) {
        let (reads, thread) = match role {
            Role::Request => (self.asks == Direction::Receive, self.requests.mover),
            Role::Response => (self.asks == Direction::Send, self.responses.mover),
        };
        if !reads || self.stream(role).message.time == now {
            return;
        }
        let serial = self.serial;
        let asked = match role {
            Role::Request => self.pairing.request_mut(serial),
            Role::Response => self.pairing.open_mut(),
        };
        if let Some(asked) = asked {
            let (id, side) = (asked.exchange.id, asked.exchange.side);
            cx.sink.out.push(Note::WentOn(Answered { id, side, time: now, thread }));
        }
    }

    /// The connection speaks HTTP/2 from here on, in which the request is answered too.
    fn upgraded(&mut self, now: Nanos, cx: &mut Context<'_>) {
        let request = self.pairing.take_only();
        self.next = Some(Box::new(Http2::upgraded(self.asks, request)));
        self.switched(now, cx);
    }

    /// The connection speaks something else from here on.
    pub(super) fn switched(&mut self, now: Nanos, cx: &mut Context<'_>) {
        self.pairing.finish(now, &mut cx.sink);
        self.pairing.end(now, NoResponse::Unseen, &mut cx.sink);
        self.over = Some(Over::Switched);
    }

    /// What comes cannot be understood.
    pub(super) fn malformed(&mut self, cx: &mut Context<'_>) {
        let now = self.requests.last.max(self.responses.last);
        self.over = Some(if self.serial == 0 { Over::NotMine } else { Over::Malformed });
        self.pairing.break_off(now, NoResponse::Unseen, &mut cx.sink);
        self.pairing.end(now, NoResponse::Unseen, &mut cx.sink);
    }
}
