//! A request that waits for its response or has it, and what is told of it on the way.

use compact_str::CompactString;

use super::{Context, Head, Origin};
use crate::{
    event::Nanos,
    protocol::{
        Answered, Asked, Attributes, CallId, Carried, Exchange, Holes, Note, Side, Status, Values, endpoints,
        http::{NoResponse, no_response},
        shared::count,
    },
};

/// What waits for one response: usually a [`Call`], but it may also be several, or none that anybody is told of.
pub trait Unit: Send {
    /// Whether its response has begun.
    fn has_begun(&self) -> bool;

    /// Which response is its is likely at most.
    fn doubt(&mut self);

    /// Bytes of its response are missing.
    fn lose(&mut self);

    /// Bytes of its response have come that are not understood.
    fn goes_on(&mut self, origin: Origin, cx: &mut Context<'_>);

    /// Its response, or the rest of it, will not come, or cannot be told. `now`: when that became certain.
    fn give_up(self, why: NoResponse, now: Nanos, cx: &mut Context<'_>);
}

/// A request, with what its protocol has to remember of it.
#[derive(Debug)]
pub struct Call<T> {
    /// What has become of it so far.
    pub exchange: Exchange,
    /// What the protocol remembers.
    pub data: T,
    /// Where the last byte of the response that has been seen comes from.
    last: Option<Origin>,
}

impl<T> Call<T> {
    /// A request that begins with `first`, of which everything that there is to say has come with `now`. Tells of it.
    pub fn ask(
        first: Origin,
        now: Origin,
        (protocol, name): (&'static str, CompactString),
        attributes: Attributes,
        data: T,
        cx: &mut Context<'_>,
    ) -> Self {
        Self::ask_carrying(first, now, (protocol, name), attributes, None, data, cx)
    }

    /// As [`Call::ask`], for a request that carries contexts of traces.
    pub fn ask_carrying(
        first: Origin,
        now: Origin,
        (protocol, name): (&'static str, CompactString),
        attributes: Attributes,
        carried: Option<Box<Carried>>,
        data: T,
        cx: &mut Context<'_>,
    ) -> Self {
        let id = CallId { socket: cx.connection.socket, place: first.offset };
        cx.out.push(Note::Asked(Asked {
            id,
            side: cx.side,
            time: first.time,
            thread: now.thread,
            other_end: endpoints::other_end(cx.connection),
            remote: endpoints::remote(cx.connection),
            addresses: endpoints::addresses(cx.connection, cx.side),
            carried,
            values: Values::default(),
        }));
        let exchange = Exchange {
            id,
            protocol,
            side: cx.side,
            start: first.time,
            request_end: now.time,
            first_byte: None,
            end: now.time,
            request_thread: first.thread,
            response_thread: None,
            name,
            status: Status::Unset,
            attributes,
            holes: Holes::default(),
        };
        Self { exchange, data, last: None }
    }

    /// As [`Call::ask`], for a request that is one message.
    pub fn ask_head(
        head: &Head<'_>,
        named: (&'static str, CompactString),
        attributes: Attributes,
        data: T,
        cx: &mut Context<'_>,
    ) -> Self {
        let mut call = Self::ask(head.first, head.now, named, attributes, data, cx);
        call.exchange.holes.request_head = head.cut;
        call
    }

    /// More of the request has come, up to its end.
    pub fn asked_on(&mut self, last: Origin, cx: &mut Context<'_>) {
        let exchange = &mut self.exchange;
        if cx.side == Side::Server && last.time > exchange.request_end {
            cx.went_on(exchange.id, last);
        }
        exchange.request_end = exchange.request_end.max(last.time);
    }

    /// Bytes of its response have come, the first of them there.
    pub fn answered(&mut self, first: Origin, cx: &mut Context<'_>) {
        if self.exchange.first_byte.is_none() {
            // It may have been seen before its request was, never sent before.
            self.exchange.first_byte = Some(first.time.max(self.exchange.start));
            self.exchange.response_thread = Some(first.thread);
            let (id, side) = (self.exchange.id, cx.side);
            cx.out.push(Note::Answered(Answered { id, side, time: first.time, thread: first.thread }));
        }
        self.last = Some(first);
    }

    /// Its response is complete with this byte.
    pub fn done(mut self, last: Origin, cx: &mut Context<'_>) {
        self.answered(last, cx);
        let first = self.exchange.first_byte.unwrap_or(last.time);
        if cx.side == Side::Client && last.time > first {
            cx.went_on(self.exchange.id, last);
        }
        self.emit(last.time, cx);
    }

    /// It is complete although nothing has answered it.
    pub fn done_unanswered(self, now: Nanos, cx: &mut Context<'_>) {
        self.emit(now, cx);
    }

    /// The last byte of its response that was seen, if its end was not.
    #[must_use]
    pub fn last(&self) -> Option<Origin> {
        self.last
    }

    /// Says that it failed, with what its protocol says of that.
    pub fn fail(&mut self, error: impl Into<CompactString>, description: impl Into<CompactString>) {
        if self.exchange.attributes.get("error.type").is_none() {
            self.exchange.attributes.push("error.type", error.into());
            self.exchange.status = Status::Error(description.into());
        }
    }

    fn emit(mut self, end: Nanos, cx: &mut Context<'_>) {
        let exchange = &mut self.exchange;
        exchange.end = end.max(exchange.start).max(exchange.first_byte.unwrap_or_default());
        cx.out.push(Note::Done(self.exchange));
    }
}

impl<T: Send> Unit for Call<T> {
    fn has_begun(&self) -> bool {
        self.exchange.first_byte.is_some()
    }

    fn doubt(&mut self) {
        self.exchange.holes.pairing = true;
    }

    fn lose(&mut self) {
        self.exchange.holes.length = true;
    }

    fn goes_on(&mut self, origin: Origin, cx: &mut Context<'_>) {
        self.answered(origin, cx);
    }

    fn give_up(mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        if why == NoResponse::Unseen {
            count(&cx.shared.counts.flushed);
        }
        let end = match self.last {
            Some(last) => {
                self.exchange.holes.length = true;
                last.time
            }
            None => {
                // What is missing is not a part of its response.
                self.exchange.holes.length = false;
                if why == NoResponse::Unseen { self.exchange.request_end } else { now }
            }
        };
        no_response(&mut self.exchange, why);
        self.emit(end, cx);
    }
}
