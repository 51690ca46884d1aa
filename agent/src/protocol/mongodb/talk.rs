//! A connection's messages as requests and responses.

use super::message::{self, HEADER};
use crate::{
    conn::Gap,
    protocol::{
        Verdict,
        db::{Operation, describe, named},
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Role, Table, Tail, Taken, Talk},
    },
};

/// `db.system.name` and `network.protocol.name`.
const SYSTEM: &str = "mongodb";
/// Bytes of a request that are wanted: `$db` comes after what is asked for.
const WANT_REQUEST: usize = 4096;
/// Bytes of a response that are wanted.
const WANT_RESPONSE: usize = 1024;
/// In place of its id, the one of a request that nothing will answer.
const SILENT: i64 = 1 << 40;

/// What is remembered of a request.
#[derive(Debug)]
struct Waiting {
    /// It watches the server: its first answer ends it.
    watches: bool,
    /// See [`message::Asked::plain`].
    plain: bool,
}

/// What becomes of the call of the response at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is complete.
    Done,
    /// It goes on with an answer to this response.
    On(i64),
}

/// The messages of a connection.
#[derive(Default)]
pub(super) struct Mongo {
    calls: Table<i64, Call<Waiting>>,
    /// The request at hand.
    asking: Option<i64>,
    /// The response at hand.
    answering: Option<(i64, Then)>,
    /// The last of the responses to a request that is complete already.
    stream: Option<i32>,
}

impl Framing for Mongo {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        match message::header(role, bytes) {
            Some(header) => {
                let want = if role == Role::Request { WANT_REQUEST } else { WANT_RESPONSE };
                Frame::Message { length: header.length.into(), want }
            }
            None if bytes.len() < HEADER => Frame::More,
            None => Frame::Malformed,
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        match message::begins(role, bytes) {
            Verdict::Yes => Found::At(0),
            Verdict::More => Found::More,
            Verdict::No => Found::No,
        }
    }
}

impl Talk for Mongo {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        self.asking = None;
        let Some(header) = message::header(Role::Request, &head.bytes) else {
            return self.calls.lost(Role::Request, Gap::NotCaptured, false, cx);
        };
        let asked = message::asked(header, head.bytes.get(HEADER..).unwrap_or_default());
        let operation = Operation { name: asked.command, collection: asked.collection, ..Operation::default() };
        let mut attributes = describe(SYSTEM, asked.database.as_deref(), &operation, cx);
        if let Some(compressor) = asked.compressor {
            attributes.push("geophone.mongodb.compressor", compressor);
        }
        let named = (SYSTEM, named(SYSTEM, &operation, cx));
        let watches = matches!(operation.name.as_deref(), Some("hello" | "ismaster" | "isMaster"));
        let mut call = Call::ask_head(head, named, attributes, Waiting { watches, plain: asked.plain }, cx);
        // What it is comes first, in which database last.
        let partly = asked.database.is_none() && (head.bytes.len() as u64) < head.length;
        call.exchange.holes.request_head = asked.compressor.is_some() || operation.name.is_none() || partly;
        let id = if asked.silent { SILENT } else { header.id.into() };
        self.asking = Some(id);
        self.calls.insert(id, call, cx);
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.answering = None;
        let Some(header) = message::header(Role::Response, &head.bytes) else {
            self.calls.lost(Role::Response, Gap::NotCaptured, false, cx);
            return Taken::Yes;
        };
        let body = head.bytes.get(HEADER..).unwrap_or_default();
        if self.stream == Some(header.response_to) {
            let outcome = message::outcome(header, body, false);
            self.stream = outcome.more.then_some(header.id);
            return Taken::Yes;
        }
        let must_wait = self.calls.must_wait();
        let id = i64::from(header.response_to);
        let Some(call) = self.calls.get(id) else {
            if must_wait {
                return Taken::Later;
            }
            self.calls.orphan(cx);
            return Taken::Yes;
        };
        call.answered(head.first, cx);
        let outcome = message::outcome(header, body, call.data.plain);
        let attributes = &mut call.exchange.attributes;
        if let Some((code, name)) = outcome.error {
            if let Some(code) = code
                && attributes.get("db.response.status_code").is_none()
            {
                attributes.push("db.response.status_code", code);
            }
            call.fail(name, "");
        } else if let Some(rows) = outcome.rows
            && !outcome.more
            && attributes.get("db.response.returned_rows").is_none()
        {
            attributes.push("db.response.returned_rows", rows.cast_signed());
        }
        let attributes = &mut call.exchange.attributes;
        if let Some(compressor) = outcome.compressor
            && attributes.get("geophone.mongodb.compressor").is_none()
        {
            attributes.push("geophone.mongodb.compressor", compressor);
        }
        call.exchange.holes.response_head |= head.cut || !outcome.known;
        let goes_on = outcome.more && !call.data.watches;
        if outcome.more && call.data.watches {
            self.stream = Some(header.id);
        }
        self.answering = Some((id, if goes_on { Then::On(header.id.into()) } else { Then::Done }));
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            if let Some(id) = self.asking.take() {
                self.calls.asked_whole(id, id == SILENT, tail, cx);
            }
            return;
        }
        let Some((id, then)) = self.answering.take() else { return };
        if let Some(mut call) = self.calls.remove(id) {
            call.exchange.holes.length |= tail.lost;
            match then {
                Then::Done => call.done(tail.last, cx),
                Then::On(next) => {
                    call.answered(tail.last, cx);
                    self.calls.insert(next, call, cx);
                }
            }
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.calls
    }

    fn lost(&mut self, role: Role) {
        match role {
            Role::Request => self.asking = None,
            Role::Response => (self.answering, self.stream) = (None, None),
        }
    }
}
