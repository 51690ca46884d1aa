//! A request of FastCGI that is being asked or answered, and all of a connection's.

use super::record;
use crate::{
    conn::Gap,
    event::Nanos,
    protocol::{
        cgi::{self, Headers, Variables},
        cursor::Cursor,
        framed::{Call, Calls, Context, Origin, Role, Table, Unit},
        http::{NoResponse, Response, respond},
    },
};

/// The most that is kept of parameters.
const MAX_PARAMS: usize = 16 << 10;
/// The most that is kept of a response's header fields.
const MAX_HEADERS: usize = 8 << 10;

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    first: Origin,
    now: Origin,
    params: Vec<u8>,
    /// Parameters are missing.
    cut: bool,
    /// What has been told, once the parameters are complete.
    call: Option<Call<()>>,
    /// The response's header fields, until they are complete.
    headers: Option<Vec<u8>>,
    /// Responses that had been missed when it was asked, or when it was last answered.
    losses: Losses,
    /// Another request of the same id was unfinished when it was asked: the rest of that one's response may still come.
    follows: bool,
}

impl Request {
    pub(super) fn new(first: Origin, now: Origin, losses: Losses, follows: bool) -> Self {
        Self { first, now, params: Vec::new(), cut: false, call: None, headers: Some(Vec::new()), losses, follows }
    }

    /// Whether what begins there answers a request of the same id before it. `missed`: there may have been one unseen.
    pub(super) fn is_before(&self, answer: Origin, missed: bool) -> bool {
        (self.follows || missed) && answer.seq < self.first.seq
    }

    /// Whether some of its response may be missing. `certain`: what follows is the beginning of one for certain.
    pub(super) fn miss(&mut self, losses: Losses, certain: bool, cx: &mut Context<'_>) {
        let before = std::mem::replace(&mut self.losses, losses);
        if before == losses {
            return;
        }
        // With records of both directions, the rest of its response and a further request may have been lost.
        self.ask(false, cx).exchange.holes.pairing |= before.records != losses.records;
        if self.headers.as_ref().is_some_and(|headers| !certain || !headers.is_empty()) {
            match cgi::status(self.headers.as_deref().unwrap_or_default()) {
                Headers::Partial(status) => self.respond(status, false),
                Headers::Complete(status) => self.respond(Some(status), false),
            }
        }
    }

    /// More parameters.
    pub(super) fn params(&mut self, content: &[u8], cut: bool, now: Origin) {
        let room = MAX_PARAMS.saturating_sub(self.params.len());
        self.params.extend(content.iter().take(room));
        self.cut |= cut || content.len() > room;
        self.now = now;
    }

    /// What there is of the parameters is all. `whole`: their end was seen.
    pub(super) fn ask(&mut self, whole: bool, cx: &mut Context<'_>) -> &mut Call<()> {
        let Self { first, now, params, cut, call, .. } = self;
        call.get_or_insert_with(|| {
            let params = std::mem::take(params);
            let mut variables = Variables::default();
            let mut c = Cursor::new(&params);
            while let Some((name, value)) = record::pair(&mut c) {
                variables.add(name, value);
            }
            let complete = whole && !*cut && c.is_empty();
            variables.ask(("fastcgi", "1"), (*first, *now), complete, (), cx)
        })
    }

    /// The parameters have ended.
    pub(super) fn asked(&mut self, now: Origin, cx: &mut Context<'_>) {
        self.now = now;
        self.ask(true, cx);
    }

    /// The client wants no answer any more.
    pub(super) fn abort(&mut self, cx: &mut Context<'_>) {
        self.ask(false, cx).fail("aborted", "");
    }

    /// More of the request has come.
    pub(super) fn asked_on(&mut self, last: Origin, cx: &mut Context<'_>) {
        if let Some(call) = &mut self.call {
            call.asked_on(last, cx);
        }
    }

    /// More of the response has come.
    pub(super) fn answered(&mut self, content: &[u8], cut: bool, first: Origin, cx: &mut Context<'_>) {
        self.ask(false, cx).answered(first, cx);
        let Some(headers) = &mut self.headers else {
            return;
        };
        headers.extend(content.iter().take(MAX_HEADERS.saturating_sub(headers.len())));
        match cgi::status(headers) {
            Headers::Complete(status) => self.respond(Some(status), true),
            Headers::Partial(status) if cut || headers.len() >= MAX_HEADERS => self.respond(status, false),
            Headers::Partial(_) => {}
        }
    }

    fn respond(&mut self, status: Option<u16>, complete: bool) {
        self.headers = None;
        let Some(exchange) = self.call.as_mut().map(|call| &mut call.exchange) else {
            return;
        };
        exchange.holes.response_head = !complete;
        if let (Some(first_byte), Some(thread)) = (exchange.first_byte, exchange.response_thread) {
            let failed = exchange.attributes.get("error.type").is_some();
            respond(exchange, Response { status, first_byte, thread });
            if failed {
                keep_first(exchange, "error.type");
            }
        }
    }

    /// What there is of the header fields is all.
    fn settle(&mut self) {
        if let Some(headers) = self.headers.take()
            && !headers.is_empty()
        {
            let (Headers::Complete(status) | Headers::Partial(Some(status))) = cgi::status(&headers) else {
                return self.respond(None, false);
            };
            self.respond(Some(status), false);
        }
    }

    /// `FCGI_END_REQUEST` has begun.
    pub(super) fn end(&mut self, protocol_status: Option<u8>, first: Origin, cx: &mut Context<'_>) {
        let call = self.ask(false, cx);
        call.answered(first, cx);
        match protocol_status {
            Some(1) => call.fail("cant_mpx_conn", "the application takes one request at a time"),
            Some(2) => call.fail("overloaded", "the application is overloaded"),
            Some(3) => call.fail("unknown_role", "the application does not know the role"),
            _ => {}
        }
        self.settle();
    }

    /// `FCGI_END_REQUEST` is complete.
    pub(super) fn done(mut self, last: Origin, cx: &mut Context<'_>) {
        self.ask(false, cx);
        if let Some(call) = self.call {
            call.done(last, cx);
        }
    }
}

/// Leaves the first attribute of a name.
fn keep_first(exchange: &mut crate::protocol::Exchange, name: &str) {
    let mut seen = false;
    exchange.attributes.0.retain(|(key, _)| key != name || !std::mem::replace(&mut seen, true));
}

impl Unit for Request {
    fn has_begun(&self) -> bool {
        self.call.as_ref().is_some_and(Unit::has_begun)
    }

    fn doubt(&mut self) {
        self.call.iter_mut().for_each(Unit::doubt);
    }

    fn lose(&mut self) {
        self.call.iter_mut().for_each(Unit::lose);
    }

    fn goes_on(&mut self, origin: Origin, cx: &mut Context<'_>) {
        self.call.iter_mut().for_each(|call| call.goes_on(origin, cx));
    }

    fn give_up(mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        self.ask(false, cx);
        self.settle();
        if let Some(call) = self.call {
            call.give_up(why, now, cx);
        }
    }
}

/// The requests of a connection.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) table: Table<u16, Request>,
    pub(super) losses: Losses,
}

/// Times that bytes of the responses were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    all: u32,
    /// So that responses may have come unseen, because records were lost.
    records: u32,
}

impl Losses {
    fn add(&mut self, role: Role, gap: Gap) {
        if role == Role::Response {
            self.all = self.all.wrapping_add(1);
            self.records = self.records.wrapping_add(u32::from(gap == Gap::Lost));
        }
    }
}

impl Calls for Requests {
    fn must_wait(&self) -> bool {
        self.table.must_wait()
    }

    fn in_order(&self) -> bool {
        self.table.in_order()
    }

    fn patience(&self) -> Nanos {
        self.table.patience()
    }

    fn touch(&mut self, now: Nanos) {
        self.table.touch(now);
    }

    fn impatient(&mut self, cx: &mut Context<'_>) {
        self.table.impatient(cx);
    }

    fn joined(&mut self, role: Role, missed: bool, cx: &mut Context<'_>) {
        self.losses.add(role, Gap::Lost);
        self.table.joined(role, missed, cx);
    }

    fn lost(&mut self, role: Role, gap: Gap, alone: bool, cx: &mut Context<'_>) {
        self.losses.add(role, gap);
        self.table.lost(role, gap, alone, cx);
    }

    fn passed(&mut self, role: Role, origin: Origin, alone: bool, cx: &mut Context<'_>) {
        self.losses.add(role, Gap::Lost);
        self.table.passed(role, origin, alone, cx);
    }

    fn tick(&mut self, now: Nanos, cx: &mut Context<'_>) {
        self.table.tick(now, cx);
    }

    fn end(&mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        // Where `FCGI_END_REQUEST` may be what is missing, the table knows that.
        self.table.end(why, now, cx);
    }
}
