//! From header blocks and the ends of streams to requests and responses.

use super::{
    decoder::{Context, Http2},
    frame::error_name,
    head::Head,
    open::{Half, Says},
    way::Block,
};
use crate::{
    conn::End,
    event::{Direction, Nanos, Role},
    protocol::{
        Asked, Note, OtherEnd, Over, Side, Values, endpoints,
        http::{NoResponse, Request, carried, is_own_export, span, values},
        shared::count,
    },
};

/// Streams of a connection that are kept; one more, and the oldest is given out as it is.
const MAX_STREAMS: usize = 1024;
/// How often the streams are looked through.
const CHECK: Nanos = 200_000_000;
/// How long a request that is answered is waited for to its end.
const LINGER: Nanos = 200_000_000;
/// How long an answer waits for its request.
const EARLY: Nanos = 1_000_000_000;
/// After so long without a byte, a stream whose end may have been missed is taken to have ended.
const DOUBTFUL: Nanos = 5_000_000_000;

impl Http2 {
    /// A header block has come, or what there is of it.
    pub(super) fn headers(&mut self, direction: Direction, block: &Block, head: &Head, cx: &mut Context<'_>) {
        // Servers open streams of their own only to push.
        if block.stream.is_multiple_of(2) {
            return;
        }
        let by_role = || match cx.connection.role {
            Role::Connect => Some(Direction::Send),
            Role::Accept => Some(Direction::Receive),
            Role::Unknown => None,
        };
        let asks = match self.asks {
            Some(asks) => Some(asks),
            None if head.is_request() => Some(direction),
            None if head.status().is_some() => Some(direction.opposite()),
            None => by_role(),
        };
        self.asks = asks;
        match asks {
            None => count(&cx.counts().orphans),
            Some(asks) if asks == direction => self.request(direction, block, head, cx),
            Some(_) => self.response(direction, block, head, cx),
        }
    }

    fn request(&mut self, direction: Direction, block: &Block, head: &Head, cx: &mut Context<'_>) {
        let id = block.stream;
        let early = match self.open.get(&id) {
            // Trailers.
            Some(open) if open.exchange.is_some() => {
                if block.ends_stream {
                    self.ended(direction, id, cx);
                }
                return;
            }
            open => open.is_some(),
        };
        if id <= self.highest && !early {
            return;
        }
        self.highest = self.highest.max(id);
        let fields = head.fields();
        let request = Request {
            method: head.text(":method").unwrap_or_default(),
            target: head.text(":path").or(head.text(":authority").filter(|_| !head.unknown)).unwrap_or_default(),
            scheme: head.text(":scheme"),
            version: "2",
            fields,
            complete: !head.unknown,
            time: block.first.time,
            thread: block.first.thread,
            place: id.into(),
        };
        if is_own_export(&request) {
            self.over = Some(Over::Own);
            return;
        }
        let side = if direction == Direction::Receive { Side::Server } else { Side::Client };
        let exchange = span(cx.shared, cx.connection, side, &request);
        let now = self.now(direction);
        cx.out.push(Note::Asked(Asked {
            id: exchange.id,
            side,
            time: exchange.start,
            thread: now.thread,
            other_end: other_end(side, cx),
            remote: endpoints::remote(cx.connection),
            addresses: endpoints::addresses(cx.connection, side),
            carried: carried(&request.fields),
            values: if cx.shared.link_values { values(request.target) } else { Values::default() },
        }));
        self.make_room(cx);
        let open = self.open.entry(id).or_default();
        open.ask(exchange, Says::of(head), block.ends_stream, now);
        open.say_answered(cx.out);
        if open.response.ended && open.request.ended {
            self.finish(id, None, cx);
        }
    }

    fn response(&mut self, direction: Direction, block: &Block, head: &Head, cx: &mut Context<'_>) {
        let now = self.now(direction);
        if !self.open.contains_key(&block.stream) {
            if block.stream <= self.highest {
                // Its request was missed, or is finished.
                count(&cx.counts().orphans);
                return;
            }
            // Its request may have been sent by a call that has not returned yet.
            self.make_room(cx);
        }
        let open = self.open.entry(block.stream).or_default();
        open.reply(block, head, now, cx.out);
        if block.ends_stream {
            self.ended(direction, block.stream, cx);
        }
    }

    /// Gives out the oldest stream if there are too many.
    fn make_room(&mut self, cx: &mut Context<'_>) {
        if self.open.len() >= MAX_STREAMS
            && let Some((id, _)) = self.open.first_key_value()
        {
            count(&cx.counts().overflows);
            self.finish(*id, Some(NoResponse::Unseen), cx);
        }
    }

    /// One direction of a stream.
    pub(super) fn half(&mut self, direction: Direction, stream: u32) -> Option<&mut Half> {
        let asks = self.asks == Some(direction);
        let open = self.open.get_mut(&stream)?;
        Some(if asks { &mut open.request } else { &mut open.response })
    }

    /// A frame of a body begins.
    pub(super) fn data(&mut self, direction: Direction, stream: u32, length: u32, _: &mut Context<'_>) {
        let (asks, now) = (self.asks == Some(direction), self.now(direction));
        let Some(open) = self.open.get_mut(&stream) else {
            return;
        };
        if !asks {
            open.body(now);
        }
        let half = if asks { &mut open.request } else { &mut open.response };
        half.body = true;
        half.last = now;
        half.size = half.size.saturating_add(length.into());
    }

    /// One direction of a stream has ended.
    pub(super) fn ended(&mut self, direction: Direction, stream: u32, cx: &mut Context<'_>) {
        let (asks, now) = (self.asks == Some(direction), self.now(direction));
        let Some(open) = self.open.get_mut(&stream) else {
            return;
        };
        let half = if asks { &mut open.request } else { &mut open.response };
        half.ended = true;
        half.last = now;
        let began = if asks { open.exchange.as_ref().map(|exchange| exchange.start) } else { open.began() };
        open.say_went_on(asks, began.unwrap_or(now.time), now, cx.out);
        if open.exchange.is_some() && open.response.ended && open.request.ended {
            self.finish(stream, None, cx);
        }
    }

    /// A stream was reset, with this code if that was seen.
    pub(super) fn reset(&mut self, direction: Direction, stream: u32, code: Option<u32>, cx: &mut Context<'_>) {
        let (asks, now) = (self.asks == Some(direction), self.now(direction));
        let Some(open) = self.open.get_mut(&stream) else {
            return;
        };
        if open.response.ended {
            return self.finish(stream, None, cx);
        }
        open.response.last = now;
        if code == Some(0) && open.answer.is_some() {
            // Nothing is wrong. Node's server ends so what it answers without having read the request.
            open.response.ended = !asks;
            return self.finish(stream, None, cx);
        }
        // Some clients reset what is over: if its end may have been missed, that says nothing.
        let over = asks && open.doubtful.is_some();
        let why = if over { NoResponse::Unseen } else { NoResponse::Stream(code.map_or("_OTHER", error_name)) };
        self.finish(stream, Some(why), cx);
    }

    /// The server does not answer streams above this one any more. It has not looked at them, as if it had refused them
    /// (RFC 9113, section 8.7).
    pub(super) fn go_away(&mut self, direction: Direction, last: u32, code: u32, cx: &mut Context<'_>) {
        let now = self.now(direction);
        let refused: Vec<u32> = self.open.range(last.saturating_add(1)..).map(|(id, _)| *id).collect();
        for id in refused {
            if let Some(open) = self.open.get_mut(&id) {
                open.response.last = now;
            }
            let error = if code == 0 { "REFUSED_STREAM" } else { error_name(code) };
            self.finish(id, Some(NoResponse::Stream(error)), cx);
        }
    }

    /// Frames of a direction may have been missed.
    pub(super) fn missed(&mut self, direction: Direction) {
        let (asks, now) = (self.asks == Some(direction), self.now(direction));
        for open in self.open.values_mut() {
            if asks {
                if !open.request.ended {
                    open.request.ended = true;
                    open.request.miss();
                }
            } else if !open.response.ended {
                open.response.miss();
                open.doubtful.get_or_insert(now.time);
            }
        }
    }

    /// Gives out what has waited for long enough.
    pub(super) fn check(&mut self, now: Nanos, cx: &mut Context<'_>) {
        if now.saturating_sub(self.checked) < CHECK || self.open.is_empty() {
            return;
        }
        self.checked = now;
        let age = |time: Nanos| now.saturating_sub(time);
        let due: Vec<_> = self
            .open
            .iter()
            .filter_map(|(id, open)| {
                if open.exchange.is_none() {
                    return (age(open.response.last.time) > EARLY).then_some((*id, None));
                }
                if open.response.ended {
                    return (age(open.response.last.time) > LINGER).then_some((*id, None));
                }
                let doubtful = open.doubtful.is_some_and(|since| age(since.max(open.response.last.time)) > DOUBTFUL);
                doubtful.then_some((*id, Some(NoResponse::Unseen)))
            })
            .collect();
        for (id, why) in due {
            self.finish(id, why, cx);
        }
    }

    /// A direction of the connection is over.
    pub(super) fn end(&mut self, direction: Direction, end: End, cx: &mut Context<'_>) {
        if self.asks == Some(direction) {
            return;
        }
        let why = NoResponse::from(end.how);
        let all: Vec<u32> = self.open.keys().copied().collect();
        for id in all {
            let Some(open) = self.open.get_mut(&id) else {
                continue;
            };
            if open.answer.is_none() {
                open.response.last.time = end.time;
            }
            open.close();
            let why = if open.doubtful.is_some() { NoResponse::Unseen } else { why };
            let why = (!open.response.ended).then_some(why);
            self.finish(id, why, cx);
        }
    }

    /// Nothing more will be understood.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>) {
        let all: Vec<u32> = self.open.keys().copied().collect();
        for id in all {
            self.finish(id, Some(NoResponse::Unseen), cx);
        }
    }

    /// Gives a stream out, with why there is no response, or none that is whole.
    fn finish(&mut self, stream: u32, why: Option<NoResponse>, cx: &mut Context<'_>) {
        let Some(open) = self.open.remove(&stream) else {
            return;
        };
        if open.exchange.is_none() {
            count(&cx.counts().orphans);
        } else if why == Some(NoResponse::Unseen) {
            count(&cx.counts().flushed);
        }
        let end = open.response.last.time;
        cx.out.extend(open.finish(why, end).map(Note::Done));
    }
}

/// How the other end is found. The kernel counts the SYN of the side that opened the connection among its bytes, which shows only if
/// the connection is older than the agent. Stream offsets count it too and so make up for it, stream ids do not. Whether this side
/// opened it is not known then; clients do. If it did not, the other end is not found: ids of requests are odd.
fn other_end(side: Side, cx: &Context<'_>) -> OtherEnd {
    match endpoints::other_end(cx.connection) {
        OtherEnd::Sequences(mut sequences) if side == Side::Client && cx.connection.role == Role::Unknown => {
            sequences.sent = sequences.sent.wrapping_add(1);
            OtherEnd::Sequences(sequences)
        }
        other => other,
    }
}
