//! A connection's two streams, walked message by message.

use super::{
    body::Skipped,
    detect,
    head::{self, Parsed, RequestHead, ResponseHead},
    pairing::{Asked, Pairing, Sink},
    stream::{MAX_HEAD, Origin, State, Stream},
    waiting::Waiting,
};
use crate::{
    conn::{Connection, Content, End, Ending, Gap, Piece, Update},
    event::{Direction, Nanos},
    protocol::{
        Decoder, Exchange, Interest, Over, Shared, Side, Verdict,
        http::{Method, NoResponse, Request, Response, is_own_export, span},
        shared::count,
    },
};

/// After so long without a byte, a response of which the length was lost is taken to have ended.
const IDLE: Nanos = 1_000_000_000;

/// Decodes one connection.
#[derive(Debug)]
pub(super) struct Http1 {
    /// The way that requests go.
    asks: Direction,
    requests: Stream,
    responses: Stream,
    pairing: Pairing,
    waiting: Waiting,
    /// Numbers the requests.
    serial: u64,
    /// Counts updates.
    seq: u64,
    /// The response that is being received has lost its length.
    lost: Option<Lost>,
    /// A head did not fit into what is captured of a call: more is asked for.
    wide: bool,
    over: Option<Over>,
}

/// What is known of the end of a response that has lost its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// Nothing.
    Unknown,
    /// What is missing is as long as the rest of it would be, if nothing but the next response follows.
    LikelyEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Request,
    Response,
}

/// What goes with every update.
struct Context<'a> {
    shared: &'a Shared,
    connection: &'a Connection,
    sink: Sink<'a>,
}

impl Http1 {
    /// A decoder for a connection on which these bytes, which were detected as HTTP/1.x, went this way.
    pub(super) fn new(bytes: &[u8], direction: Direction) -> Self {
        Self {
            asks: if detect::is_response(bytes) { direction.opposite() } else { direction },
            requests: Stream::default(),
            responses: Stream::default(),
            pairing: Pairing::default(),
            waiting: Waiting::default(),
            serial: 0,
            seq: 0,
            lost: None,
            wide: false,
            over: None,
        }
    }
}

impl Decoder for Http1 {
    fn update(&mut self, shared: &Shared, connection: &Connection, update: &Update<'_>, out: &mut Vec<Exchange>) {
        let cx = &mut Context { shared, connection, sink: Sink { out, counts: &shared.counts } };
        self.seq += 1;
        match update {
            _ if self.over.is_some() => {}
            Update::Piece(direction, piece) => self.piece(*direction, piece, cx),
            Update::End(direction, end) => self.end(*direction, *end, cx),
            Update::Tick(now) => self.tick(*now, cx),
        }
    }

    fn interest(&self, shared: &Shared, direction: Direction) -> Interest {
        let stream = if direction == self.asks { &self.requests } else { &self.responses };
        let bytes = if self.wide { shared.capture.max(MAX_HEAD as u32) } else { shared.capture };
        match &stream.state {
            State::Body(body) if body.ends_with_stream() => Interest { from: 0, bytes: 0, never: false },
            State::Body(body) => Interest { from: stream.offset.saturating_add(body.known()), bytes, never: false },
            State::Start | State::Head | State::Seek => Interest { from: 0, bytes, never: false },
        }
    }

    fn over(&self) -> Option<Over> {
        self.over
    }
}

impl Http1 {
    fn stream(&mut self, role: Role) -> &mut Stream {
        match role {
            Role::Request => &mut self.requests,
            Role::Response => &mut self.responses,
        }
    }

    fn piece(&mut self, direction: Direction, piece: &Piece<'_>, cx: &mut Context<'_>) {
        let role = if direction == self.asks { Role::Request } else { Role::Response };
        let origin = Origin { time: piece.time, thread: piece.thread, offset: piece.offset, seq: self.seq };
        if !self.waiting.is_empty() && self.waiting.enough(piece.time) {
            self.wait_no_longer(cx);
        }
        let stream = self.stream(role);
        if !stream.started {
            stream.started = true;
            stream.offset = piece.offset;
            if piece.joined || piece.offset > 0 {
                self.joined(role, piece.offset > 0, cx);
            }
        }
        if role == Role::Response && !self.waiting.is_empty() {
            self.waiting.push(origin, piece.content);
        } else {
            self.feed(role, origin, piece.content, cx);
        }
        if role == Role::Request {
            self.resume(cx);
        }
        self.pairing.touch(piece.time);
    }

    /// A direction begins somewhere.
    fn joined(&mut self, role: Role, missed: bool, cx: &mut Context<'_>) {
        self.stream(role).state = State::Seek;
        match role {
            Role::Request => self.pairing.lost_requests(missed, cx.sink.counts),
            Role::Response => self.pairing.joined_responses(missed, &mut cx.sink),
        }
    }

    /// Takes what had to wait, as far as its requests have come.
    fn resume(&mut self, cx: &mut Context<'_>) {
        while !self.waiting.is_empty() && !self.pairing.must_wait() && self.over.is_none() {
            let Some((origin, kept)) = self.waiting.pop() else {
                return;
            };
            self.feed(Role::Response, origin, kept.content(), cx);
        }
    }

    /// Takes what had to wait, although its request has not come whole.
    fn wait_no_longer(&mut self, cx: &mut Context<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        if self.requests.state == State::Head {
            // Answered before its head was complete: too slow, or too long.
            self.truncated(Role::Request, cx);
            self.resume(cx);
        }
        if !self.waiting.is_empty() {
            self.pairing.lost_requests(true, cx.sink.counts);
            self.resume(cx);
        }
    }

    fn feed(&mut self, role: Role, origin: Origin, content: Content<'_>, cx: &mut Context<'_>) {
        match content {
            Content::Bytes(bytes) => self.bytes(role, origin, bytes, cx),
            Content::Hole(length, gap) => self.hole(role, origin, length, gap, cx),
        }
        let stream = self.stream(role);
        stream.offset = origin.offset.saturating_add(content.len());
        stream.last = origin.time;
    }

    fn bytes(&mut self, role: Role, mut origin: Origin, mut bytes: &[u8], cx: &mut Context<'_>) {
        while !bytes.is_empty() && self.over.is_none() {
            let taken = match self.stream(role).state {
                State::Start => {
                    let rest = detect::without_blank_lines(bytes);
                    let blank = bytes.len() - rest.len();
                    origin.offset += blank as u64;
                    bytes = rest;
                    if bytes.is_empty() {
                        return;
                    }
                    if role == Role::Response && self.pairing.must_wait() {
                        self.waiting.push_front(origin, Content::Bytes(bytes));
                        return;
                    }
                    let stream = self.stream(role);
                    stream.message = stream.candidate.take().unwrap_or(origin);
                    self.start(role, origin, bytes, cx)
                }
                State::Head => self.head(role, origin, bytes, cx),
                State::Body(mut body) => match body.bytes(bytes) {
                    Ok(taken) => {
                        self.stream(role).state = State::Body(body);
                        if body.is_done() {
                            self.body_done(role, body.size(), origin.time, cx);
                        }
                        taken
                    }
                    Err(_) => return self.malformed(cx),
                },
                State::Seek => return self.seek(role, origin, bytes, cx),
            };
            origin.offset += taken as u64;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// A message begins: its head is parsed in place if it is whole.
    fn start(&mut self, role: Role, origin: Origin, bytes: &[u8], cx: &mut Context<'_>) -> usize {
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
    fn head(&mut self, role: Role, origin: Origin, bytes: &[u8], cx: &mut Context<'_>) -> usize {
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
    fn parse(&mut self, role: Role, now: Nanos, bytes: &[u8], complete: bool, cx: &mut Context<'_>) -> usize {
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

    fn request(&mut self, head: &RequestHead<'_>, now: Nanos, complete: bool, cx: &mut Context<'_>) {
        let message = self.requests.message;
        let request = Request {
            method: head.method,
            target: head.target,
            version: if head.version == 0 { "1.0" } else { "1.1" },
            fields: head.fields.clone(),
            complete,
            time: message.time,
            thread: message.thread,
            offset: message.offset,
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
        self.serial += 1;
        let asked = Box::new(Asked {
            exchange,
            method: Method::new(head.method),
            serial: self.serial,
            seq: message.seq,
            size: head.framing.declared().filter(|_| complete),
            sure: false,
            response: None,
            response_size: None,
        });
        if self.lost.is_some() {
            self.finish_lost(cx);
        }
        let settled = self.responses.state == State::Start;
        self.pairing.asked(asked, settled, &mut cx.sink);
        self.requests.state = body.map_or(State::Start, State::Body);
    }

    fn response(&mut self, head: ResponseHead, now: Nanos, complete: bool, cx: &mut Context<'_>) {
        if matches!(head.status, 100 | 102..=199) {
            self.responses.state = State::Start;
            return;
        }
        let message = self.responses.message;
        let response = Response { status: head.status, first_byte: message.time, thread: message.thread };
        let method = self.pairing.answered(response, message, &mut cx.sink);
        if head.status == 101 || (method == Some(Method::Connect) && head.status / 100 == 2) {
            return self.switched(now, cx);
        }
        let Some(method) = method else {
            // Without its request, only a response that can have no body has a known length.
            let bare = matches!(head.status, 204 | 304) || head.framing.declared() == Some(0);
            self.responses.state = if bare { State::Start } else { State::Seek };
            return;
        };
        let Ok(body) = head.framing.response(head.version, head.status, method) else {
            return self.malformed(cx);
        };
        if let Some(open) = self.pairing.open_mut() {
            open.exchange.holes.response_head = !complete;
            open.response_size = head.framing.declared().filter(|_| complete && body.is_some());
        }
        match body {
            None => self.body_done(Role::Response, 0, now, cx),
            Some(body) => self.responses.state = State::Body(body),
        }
    }

    /// A message's last byte has come.
    fn body_done(&mut self, role: Role, size: u64, now: Nanos, cx: &mut Context<'_>) {
        self.stream(role).state = State::Start;
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

    /// Looks for the beginning of a message at the beginning of a piece.
    fn seek(&mut self, role: Role, origin: Origin, bytes: &[u8], cx: &mut Context<'_>) {
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
                Verdict::No => stream.lose(),
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
            Verdict::No => {
                if role == Role::Response && self.lost.is_some() {
                    self.lost = Some(Lost::Unknown);
                }
            }
        }
    }

    /// The beginning of a message was found.
    fn found(&mut self, role: Role, start: Origin, bytes: &[u8], cx: &mut Context<'_>) {
        if role == Role::Response {
            self.finish_lost(cx);
        }
        self.stream(role).state = State::Start;
        self.bytes(role, start, bytes, cx);
    }

    /// The response that has lost its length is over: something else has begun.
    fn finish_lost(&mut self, cx: &mut Context<'_>) {
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

    fn hole(&mut self, role: Role, origin: Origin, length: u64, gap: Gap, cx: &mut Context<'_>) {
        if length == 0 {
            return;
        }
        let state = self.stream(role).state;
        match state {
            State::Body(mut body) => match body.skip(length) {
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

    /// A head of which no more will come: what there is of it is used.
    fn truncated(&mut self, role: Role, cx: &mut Context<'_>) {
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
    fn lose(&mut self, role: Role, likely_end: bool, cx: &mut Context<'_>) {
        let in_body = matches!(self.stream(role).state, State::Body(_));
        self.stream(role).lose();
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

    fn end(&mut self, direction: Direction, end: End, cx: &mut Context<'_>) {
        let why = match end.how {
            Ending::Closed => NoResponse::Closed,
            Ending::Reset(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED) => NoResponse::Reset,
            Ending::Reset(libc::ETIMEDOUT) => NoResponse::Timeout,
            Ending::Reset(_) => NoResponse::Other,
            Ending::Evicted => NoResponse::Unseen,
        };
        self.wait_no_longer(cx);
        if direction == self.asks {
            if self.requests.state == State::Head {
                count(&cx.sink.counts.abandoned_heads);
                self.requests.lose();
            }
            self.requests.ended = true;
            return;
        }
        self.responses.ended = true;
        let cut = self.responses.state == State::Head;
        if cut {
            self.truncated(Role::Response, cx);
        }
        let last = self.responses.last;
        match &self.responses.state {
            State::Body(body) if body.ends_with_stream() && end.how == Ending::Closed => {
                self.body_done(Role::Response, body.size(), last, cx);
            }
            _ if self.lost == Some(Lost::LikelyEnd) && end.how == Ending::Closed => {
                self.finish_lost(cx);
            }
            _ => {
                // Of a response that has lost its length it cannot be said that it was broken off.
                let whole = self.lost.is_some() && !cut && end.how == Ending::Closed;
                self.pairing.break_off(last, if whole { NoResponse::Unseen } else { why }, &mut cx.sink);
            }
        }
        self.lost = None;
        self.pairing.end(end.time, why, &mut cx.sink);
    }

    fn tick(&mut self, now: Nanos, cx: &mut Context<'_>) {
        if self.waiting.enough(now) {
            self.wait_no_longer(cx);
        }
        if self.lost.is_some() && now.saturating_sub(self.responses.last) > IDLE {
            self.finish_lost(cx);
        }
        self.pairing.settle(now, &mut cx.sink);
    }

    /// The connection speaks something else from here on.
    fn switched(&mut self, now: Nanos, cx: &mut Context<'_>) {
        self.pairing.finish(now, &mut cx.sink);
        self.pairing.end(now, NoResponse::Unseen, &mut cx.sink);
        self.over = Some(Over::Switched);
    }

    /// What comes cannot be understood.
    fn malformed(&mut self, cx: &mut Context<'_>) {
        let now = self.requests.last.max(self.responses.last);
        self.over = Some(if self.serial == 0 { Over::NotMine } else { Over::Malformed });
        self.pairing.break_off(now, NoResponse::Unseen, &mut cx.sink);
        self.pairing.end(now, NoResponse::Unseen, &mut cx.sink);
    }
}
