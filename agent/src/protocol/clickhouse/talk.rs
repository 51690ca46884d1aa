//! A connection's packets, one after the other.

use compact_str::{CompactString, ToCompactString};

use super::{
    detect,
    packet::{Revision, database, since},
    part::{Next, Part},
    query::Query,
    way::Way,
};
use crate::protocol::{
    Over,
    db::{Operation, describe, named, sql},
    framed::{Call, Calls, Context, Found, Frame, Framing, Head, Queue, Role, Tail, Taken, Talk, Unit},
};

/// `db.system.name` and `network.protocol.name`.
const SYSTEM: &str = "clickhouse";

/// What is remembered of a query, or of a ping.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    ping: bool,
    /// The database that it changes to.
    selects: Option<CompactString>,
    rows: Option<u64>,
    code: Option<i32>,
}

/// A connection's state.
#[derive(Debug, Default)]
pub(super) struct ClickHouse {
    queue: Queue<Call<Waiting>>,
    requests: Way,
    responses: Way,
    database: Option<CompactString>,
    /// The client has greeted, and the server has not answered that.
    greeting: bool,
    /// The part of an answer at hand ends it.
    ends: bool,
}

impl ClickHouse {
    fn way(&self, role: Role) -> &Way {
        match role {
            Role::Request => &self.requests,
            Role::Response => &self.responses,
        }
    }
}

impl Framing for ClickHouse {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        match self.way(role).next(role, bytes) {
            Next::More => Frame::More,
            Next::Bad => Frame::Malformed,
            Next::Endless => Frame::Endless,
            Next::Is(_, length, want) => Frame::Message { length, want },
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        detect::find(role, bytes, self.way(role))
    }
}

impl Talk for ClickHouse {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        let Next::Is(part, ..) = self.requests.next(Role::Request, &head.bytes) else {
            return self.queue.impatient(cx);
        };
        match &part {
            Part::ClientHello { revision, database: name } => {
                self.greeting = true;
                self.responses.revision = Some(Revision::known(*revision));
                self.database = database(name);
            }
            // What follows is in chunks that have lengths of their own; or servers talk to each other.
            Part::Addendum { chunked: true } | Part::Foreign => cx.give_up(Over::Switched),
            Part::Query(query, at) => {
                let text = head.bytes.get(*at..).unwrap_or_default();
                self.ask(head, query, text, cx);
            }
            Part::Ping => {
                let operation = Operation::of("PING");
                self.call(head, &operation, Waiting { ping: true, ..Waiting::default() }, false, cx);
            }
            _ => {}
        }
        self.requests.take(&part);
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.ends = false;
        let Next::Is(part, ..) = self.responses.next(Role::Response, &head.bytes) else {
            return Taken::Yes;
        };
        match &part {
            Part::ServerHello { revision } => {
                self.greeting = false;
                if *revision >= since::NOT_READ {
                    // What queries look like is not known.
                    cx.give_up(Over::Switched);
                }
                self.responses.revision = Some(Revision::known(*revision));
                self.requests.revision = Some(Revision::known(*revision));
                self.responses.take(&part);
                return Taken::Yes;
            }
            Part::Exception { .. } if self.greeting => {
                self.responses.take(&part);
                return Taken::Yes;
            }
            Part::Foreign => cx.give_up(Over::Switched),
            _ => {}
        }
        if self.queue.is_empty() && self.queue.must_wait() {
            return Taken::Later;
        }
        let ends = matches!(part, Part::EndOfStream | Part::Exception { .. } | Part::Pong);
        match self.queue.front() {
            // What of an earlier query comes late does not answer a ping.
            Some(call) if call.data.ping && part == Part::EndOfStream => {}
            Some(call) => {
                call.answered(head.first, cx);
                match part {
                    Part::Profile { rows } => call.data.rows = Some(rows),
                    Part::Exception { code } => call.data.code = Some(code),
                    _ => {}
                }
                self.ends = ends;
            }
            None if ends => self.queue.orphan(cx),
            None => {}
        }
        self.responses.take(&part);
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            let last =
                self.queue.back().filter(|call| call.exchange.id.place <= tail.first.offset && !call.has_begun());
            if let Some(call) = last {
                call.asked_on(tail.last, cx);
            }
            return;
        }
        if !std::mem::take(&mut self.ends) {
            return;
        }
        let Some(mut call) = self.queue.pop(cx) else { return };
        call.exchange.holes.length |= tail.lost;
        match call.data.code {
            Some(code) => {
                let code = code.to_compact_string();
                call.exchange.attributes.push("db.response.status_code", code.clone());
                call.fail(code, "");
            }
            None => {
                if let Some(rows) = call.data.rows {
                    call.exchange.attributes.push("db.response.returned_rows", rows);
                }
                self.database = call.data.selects.take().or_else(|| self.database.take());
            }
        }
        call.done(tail.last, cx);
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.queue
    }

    fn lost(&mut self, role: Role) {
        match role {
            Role::Request => {
                self.requests.lose();
                self.database = None;
            }
            Role::Response => {
                self.responses.lose();
                self.ends = false;
            }
        }
        self.greeting = false;
    }
}

impl ClickHouse {
    fn ask(&mut self, head: &Head<'_>, query: &Query, text: &[u8], cx: &mut Context<'_>) {
        let whole = text.len() as u64 == query.length;
        for way in [&mut self.requests, &mut self.responses] {
            way.revision = Some(query.revision);
            way.compressed = query.compressed;
        }
        let mut operation: Operation = sql::read(text, sql::Dialect::ClickHouse, whole).into();
        if query.traceparent.is_some() {
            operation.traceparent.clone_from(&query.traceparent);
        }
        let waiting = Waiting { selects: used(&operation), ..Waiting::default() };
        self.call(head, &operation, waiting, !whole, cx);
    }

    fn call(&mut self, head: &Head<'_>, operation: &Operation, data: Waiting, partly: bool, cx: &mut Context<'_>) {
        let attributes = describe(SYSTEM, self.database.as_deref(), operation, cx);
        let name = (SYSTEM, named(SYSTEM, operation, cx));
        let mut call = Call::ask_carrying(head.first, head.now, name, attributes, operation.carried(), data, cx);
        call.exchange.holes.request_head = partly;
        self.queue.push(call, head.first, cx);
    }
}

/// The database that a query changes to.
fn used(operation: &Operation) -> Option<CompactString> {
    let is_use = operation.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case("use"));
    let (_, database) = operation.summary.split_once(' ').filter(|_| is_use)?;
    Some(database.trim_matches(['`', '"']).into())
}
