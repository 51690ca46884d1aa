//! A connection's two streams, walked message by message.

use super::{
    asked::Sink,
    body::{Body, Malformed},
    detect,
    loss::Lost,
    pairing::Pairing,
    stream::{MAX_HEAD, Origin, State, Stream},
};
use crate::{
    conn::{Connection, Content, End, Ending, Piece, Update},
    event::{Direction, Nanos},
    protocol::{
        Decoder, Interest, Note, Over, Shared,
        http::NoResponse,
        http2::Http2,
        shared::count,
        waiting::{PATIENCE, Waiting},
    },
};

/// After so long without a byte, a response of which the length was lost is taken to have ended.
const IDLE: Nanos = 1_000_000_000;

/// Decodes one connection.
#[derive(Debug)]
pub(super) struct Http1 {
    /// The way that requests go.
    pub(super) asks: Direction,
    pub(super) requests: Stream,
    pub(super) responses: Stream,
    pub(super) pairing: Pairing,
    pub(super) waiting: Waiting,
    /// Numbers the requests.
    pub(super) serial: u64,
    /// Counts updates.
    pub(super) seq: u64,
    /// The response that is being received has lost its length.
    pub(super) lost: Option<Lost>,
    /// A head did not fit into what is captured of a call: more is asked for.
    pub(super) wide: bool,
    pub(super) over: Option<Over>,
    /// What goes on with the connection since it speaks HTTP/2.
    pub(super) next: Option<Box<Http2>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Request,
    Response,
}

/// What goes with every update.
pub(super) struct Context<'a> {
    pub(super) shared: &'a Shared,
    pub(super) connection: &'a Connection,
    pub(super) sink: Sink<'a>,
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
            next: None,
        }
    }
}

impl Decoder for Http1 {
    fn update(&mut self, shared: &Shared, connection: &Connection, update: &Update<'_>, out: &mut Vec<Note>) {
        if let Some(next) = &mut self.next {
            return next.update(shared, connection, update, out);
        }
        let cx = &mut Context { shared, connection, sink: Sink { out, counts: &shared.counts } };
        self.seq += 1;
        match update {
            _ if self.over.is_some() => {}
            Update::Piece(direction, piece) => self.piece(*direction, piece, cx),
            Update::End(direction, end) => self.end(*direction, *end, cx),
            Update::Tick(now) => self.tick(*now, cx),
        }
        self.hand_on(shared, connection, out);
    }

    fn interest(&self, shared: &Shared, direction: Direction) -> Interest {
        if let Some(next) = &self.next {
            return next.interest(shared, direction);
        }
        let stream = if direction == self.asks { &self.requests } else { &self.responses };
        let bytes = if self.wide { shared.capture.max(MAX_HEAD as u32) } else { shared.capture };
        let role = if direction == self.asks { Role::Request } else { Role::Response };
        match &stream.state {
            // The messages of a call are passed over, but what is before each, and the trailers behind them, are wanted.
            State::Body(body) if let Some(message) = self.until_prefix(role) => {
                let known = if body.ends_with_stream() { u64::MAX } else { body.known() };
                let from = stream.offset.saturating_add(known.min(message.into()));
                Interest { from, bytes, never: false }
            }
            State::Body(body) if body.ends_with_stream() => Interest { from: 0, bytes: 0, never: false },
            State::Body(body) => Interest { from: stream.offset.saturating_add(body.known()), bytes, never: false },
            State::Start | State::Head | State::Seek => Interest { from: 0, bytes, never: false },
        }
    }

    fn over(&self) -> Option<Over> {
        match &self.next {
            Some(next) => next.over(),
            None => self.over,
        }
    }
}

impl Http1 {
    pub(super) fn stream(&mut self, role: Role) -> &mut Stream {
        match role {
            Role::Request => &mut self.requests,
            Role::Response => &mut self.responses,
        }
    }

    /// Hands on what came behind the switch to HTTP/2 and was not looked at.
    fn hand_on(&mut self, shared: &Shared, connection: &Connection, out: &mut Vec<Note>) {
        let Some(next) = &mut self.next else {
            return;
        };
        while let Some((origin, kept)) = self.waiting.pop() {
            let Origin { time, thread, offset, .. } = origin;
            let piece = Piece { offset, joined: false, time, thread, content: kept.content() };
            next.update(shared, connection, &Update::Piece(self.asks.opposite(), piece), out);
        }
    }

    fn piece(&mut self, direction: Direction, piece: &Piece<'_>, cx: &mut Context<'_>) {
        let role = if direction == self.asks { Role::Request } else { Role::Response };
        let origin = Origin { time: piece.time, thread: piece.thread, offset: piece.offset, seq: self.seq };
        if !self.waiting.is_empty() && self.waiting.enough(piece.time, PATIENCE) {
            self.wait_no_longer(cx);
        }
        let stream = self.stream(role);
        if !stream.started {
            stream.started = true;
            stream.offset = piece.offset;
            if piece.joined || piece.offset > 0 {
                self.joined(role, piece.offset > 0, cx);
                // What has waited came before this.
                self.resume(cx);
            }
        }
        if role == Role::Response && matches!(piece.content, Content::Bytes(_)) {
            self.pairing.replied(self.seq);
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
        self.stream(role).mover = origin.thread;
        match content {
            Content::Bytes(bytes) => self.bytes(role, origin, bytes, cx),
            Content::Hole(length, gap) => self.hole(role, origin, length, gap, cx),
        }
        let stream = self.stream(role);
        stream.offset = origin.offset.saturating_add(content.len());
        stream.last = origin.time;
    }

    pub(super) fn bytes(&mut self, role: Role, mut origin: Origin, mut bytes: &[u8], cx: &mut Context<'_>) {
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
                State::Body(mut body) => match self.walk(role, &mut body, bytes) {
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
        if self.next.is_some() && !bytes.is_empty() {
            self.waiting.push_front(origin, Content::Bytes(bytes));
        }
    }

    /// Walks over a body, of which the messages are looked at where it is a call's.
    fn walk(&mut self, role: Role, body: &mut Body, bytes: &[u8]) -> Result<usize, Malformed> {
        match self.pairing.call_mut(role, self.serial) {
            Some(call) => body.walk(bytes, |content| call.messages_mut(role).bytes(content)),
            None => body.bytes(bytes),
        }
    }

    /// Bytes of a call's body up to what has to be seen of it.
    fn until_prefix(&self, role: Role) -> Option<u32> {
        self.pairing.call(role, self.serial)?.messages(role).until_prefix()
    }

    fn end(&mut self, direction: Direction, end: End, cx: &mut Context<'_>) {
        let why = NoResponse::from(end.how);
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
        if self.waiting.enough(now, PATIENCE) {
            self.wait_no_longer(cx);
        }
        if self.lost.is_some() && now.saturating_sub(self.responses.last) > IDLE {
            self.finish_lost(cx);
        }
        self.pairing.settle(now, &mut cx.sink);
    }
}
