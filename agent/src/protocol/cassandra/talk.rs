//! A connection's envelopes as requests and responses, out of their segments.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};

use super::{
    begins, body,
    envelope::{self, Header, Opcode},
    result,
    segment::{self, Segment},
    statements::Statements,
};
use crate::{
    conn::Gap,
    protocol::{
        Over, Verdict,
        cursor::Cursor,
        db::{Operation, describe, named},
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Role, Table, Tail, Taken, Talk},
    },
};

/// `db.system.name` and `network.protocol.name`.
const SYSTEM: &str = "cassandra";
/// Bytes of a request that are wanted.
const WANT_REQUEST: u64 = 4096;
/// Bytes of a response that are wanted.
const WANT_RESPONSE: u64 = 1024;

/// What is remembered of a request.
#[derive(Debug)]
struct Waiting {
    /// What it prepares.
    prepares: Option<Arc<Operation>>,
}

/// What the framed layer takes for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A segment's header.
    Segment(Segment),
    /// An envelope, or its beginning: so many bytes of a segment, and what is left for other segments.
    Envelope { header: Header, taken: u32, rest: u64 },
    /// So many bytes of an envelope that has begun in an earlier segment.
    Rest { taken: u32 },
}

/// What begins with some bytes.
enum Next {
    More,
    Invalid,
    Is { part: Part, length: u64, want: u64 },
}

/// Where a direction is.
#[derive(Debug, Default)]
struct Way {
    /// Whether it has segments, if that is known.
    wrapped: Option<bool>,
    /// The segment at hand: bytes of it that are left, and whether there are only whole envelopes in it.
    left: u32,
    whole: bool,
    /// Bytes of the envelope at hand that are left for further segments.
    rest: u64,
    /// The message at hand.
    now: Option<Part>,
    /// The stream of the envelope at hand, and what it is.
    stream: Option<(i16, Header)>,
}

impl Way {
    fn next(&self, role: Role, bytes: &[u8]) -> Next {
        // The checksum of a segment goes with the last that is in it: behind a large body, nothing might be captured any more.
        let trailer = |taken: u32| u64::from(if taken == self.left { segment::TRAILER } else { 0 });
        if self.left > 0 && self.rest > 0 {
            let taken = u32::try_from(self.rest).unwrap_or(u32::MAX).min(self.left);
            return Next::Is { part: Part::Rest { taken }, length: u64::from(taken) + trailer(taken), want: 1 };
        }
        if self.left == 0 && self.wrapped != Some(false) {
            match segment::header(bytes) {
                Some(segment) if segment.whole && self.rest > 0 => return Next::Invalid,
                Some(segment) => {
                    let trailer = if segment.length == 0 { u64::from(segment::TRAILER) } else { 0 };
                    let length = segment::HEADER as u64 + trailer;
                    return Next::Is { part: Part::Segment(segment), length, want: segment::HEADER as u64 };
                }
                None if bytes.len() < segment::HEADER => return Next::More,
                None if self.wrapped == Some(true) => return Next::Invalid,
                None => {}
            }
        }
        let Some(header) = envelope::header(role, bytes) else {
            return if bytes.len() < envelope::HEADER { Next::More } else { Next::Invalid };
        };
        let want = envelope::HEADER as u64 + if role == Role::Request { WANT_REQUEST } else { WANT_RESPONSE };
        if self.left == 0 {
            let part = Part::Envelope { header, taken: 0, rest: 0 };
            return Next::Is { part, length: header.size(), want };
        }
        let taken = u32::try_from(header.size()).unwrap_or(u32::MAX).min(self.left);
        let rest = header.size().saturating_sub(taken.into());
        if header.version != 5 || rest > 0 && self.whole || (taken as usize) < envelope::HEADER {
            return Next::Invalid;
        }
        let part = Part::Envelope { header, taken, rest };
        Next::Is { part, length: u64::from(taken) + trailer(taken), want: want.min(taken.into()) }
    }

    /// The message at hand is complete. Returns whether an envelope is, with it, and which.
    fn complete(&mut self) -> Option<(i16, Header)> {
        match self.now.take()? {
            Part::Segment(segment) => {
                (self.left, self.whole, self.wrapped) = (segment.length, segment.whole, Some(true));
                return None;
            }
            Part::Envelope { header, taken, rest } => {
                if self.left == 0 && header.version < 5 {
                    self.wrapped = Some(false);
                }
                self.left = self.left.saturating_sub(taken);
                self.rest = rest;
            }
            Part::Rest { taken } => {
                self.left = self.left.saturating_sub(taken);
                self.rest = self.rest.saturating_sub(taken.into());
            }
        }
        if self.rest > 0 { None } else { self.stream.take() }
    }

    fn lose(&mut self) {
        *self = Self { wrapped: self.wrapped, ..Self::default() };
    }
}

/// The messages of a connection.
#[derive(Default)]
pub(super) struct Cassandra {
    calls: Table<i16, Call<Waiting>>,
    requests: Way,
    responses: Way,
    statements: Statements,
    keyspace: Option<CompactString>,
    /// Compression was asked for.
    compresses: bool,
}

impl Cassandra {
    fn way(&self, role: Role) -> &Way {
        match role {
            Role::Request => &self.requests,
            Role::Response => &self.responses,
        }
    }
}

impl Framing for Cassandra {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        match self.way(role).next(role, bytes) {
            Next::More => Frame::More,
            Next::Invalid => Frame::Malformed,
            Next::Is { length, want, .. } => {
                Frame::Message { length, want: usize::try_from(want).unwrap_or(usize::MAX) }
            }
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        let verdict = match self.way(role).wrapped {
            Some(true) => segment::begins(role, bytes),
            Some(false) => envelope::begins(role, bytes),
            None => begins(role, bytes),
        };
        match verdict {
            Verdict::Yes => Found::At(0),
            Verdict::More => Found::More,
            Verdict::No => Found::No,
        }
    }
}

impl Talk for Cassandra {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        let Next::Is { part, .. } = self.requests.next(Role::Request, &head.bytes) else {
            return self.calls.lost(Role::Request, Gap::NotCaptured, false, cx);
        };
        self.requests.now = Some(part);
        let Part::Envelope { header, .. } = part else { return };
        self.requests.stream = Some((header.stream, header));
        let whole = head.bytes.len() as u64 >= header.size();
        let mut c = Cursor::new(head.bytes.get(envelope::HEADER..).unwrap_or_default());
        let asked = if header.is_compressed() || header.enter(Role::Request, &mut c).is_none() {
            let operation = Arc::new(Operation::of(header.opcode.name()));
            body::Asked { operation, partly: header.length > 0, ..body::Asked::default() }
        } else {
            body::asked(&header, c, whole, &self.statements)
        };
        self.compresses |= asked.compresses;
        let mut attributes = describe(SYSTEM, self.keyspace.as_deref(), &asked.operation, cx);
        if let Some(level) = asked.consistency {
            attributes.push("cassandra.consistency.level", level);
        }
        if let Some(size) = asked.batch.filter(|size| *size > 1) {
            attributes.push("db.operation.batch.size", size);
        }
        if header.is_compressed() {
            attributes.push("geophone.cassandra.compressed", true);
        }
        let named = (SYSTEM, named(SYSTEM, &asked.operation, cx));
        let (carried, waiting) = (asked.operation.carried(), Waiting { prepares: asked.prepares });
        let mut call = Call::ask_carrying(head.first, head.now, named, attributes, carried, waiting, cx);
        call.exchange.holes.request_head = asked.partly;
        self.calls.insert(header.stream, call, cx);
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        let Next::Is { part, .. } = self.responses.next(Role::Response, &head.bytes) else {
            self.calls.lost(Role::Response, Gap::NotCaptured, false, cx);
            return Taken::Yes;
        };
        let Part::Envelope { header, .. } = part else {
            self.responses.now = Some(part);
            return Taken::Yes;
        };
        let must_wait = self.calls.must_wait();
        match self.calls.get(header.stream) {
            Some(call) => {
                let keyspace = answer(call, &header, head, cx, &mut self.statements);
                self.keyspace = keyspace.or_else(|| self.keyspace.take());
            }
            None if header.opcode == Opcode::Event => {}
            None if must_wait => return Taken::Later,
            None => self.calls.orphan(cx),
        }
        self.responses.now = Some(part);
        self.responses.stream = Some((header.stream, header));
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            let before = self.requests.stream;
            let whole = self.requests.complete();
            if let Some(call) = whole.or(before).and_then(|(stream, _)| self.calls.get(stream)) {
                call.asked_on(tail.last, cx);
            }
            if let Some((_, header)) = whole
                && header.opcode == Opcode::Startup
                && header.version == 5
            {
                // Nothing is asked before that is answered, and then, segments begin.
                self.requests.wrapped = Some(true);
            }
            return;
        }
        let Some((stream, header)) = self.responses.complete() else { return };
        if let Some(mut call) = self.calls.remove(stream) {
            call.exchange.holes.length |= tail.lost;
            call.done(tail.last, cx);
        }
        if header.version == 5 && matches!(header.opcode, Opcode::Ready | Opcode::Authenticate) {
            self.responses.wrapped = Some(true);
            if self.compresses {
                // Whatever follows cannot be told apart.
                cx.give_up(Over::Switched);
            }
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.calls
    }

    fn lost(&mut self, role: Role) {
        // The keyspace may have been changed.
        self.keyspace = None;
        match role {
            Role::Request => self.requests.lose(),
            Role::Response => self.responses.lose(),
        }
    }
}

/// Notes what an answer says. Returns the keyspace that the connection has from then on, if that changes.
fn answer(
    call: &mut Call<Waiting>,
    header: &Header,
    head: &Head<'_>,
    cx: &mut Context<'_>,
    statements: &mut Statements,
) -> Option<CompactString> {
    call.answered(head.first, cx);
    let mut c = Cursor::new(head.bytes.get(envelope::HEADER..).unwrap_or_default());
    let readable = !header.is_compressed() && header.enter(Role::Response, &mut c).is_some();
    call.exchange.holes.response_head = head.cut || !readable;
    if !readable {
        if header.opcode == Opcode::Error {
            call.fail("_OTHER", "");
        }
        return None;
    }
    let said = result::said(header, c);
    if let Some(code) = said.error {
        let code_text = code.map(|code| format_compact!("{code}"));
        if let Some(code) = &code_text {
            call.exchange.attributes.push("db.response.status_code", code.clone());
        }
        let name = code.and_then(result::error_name).map(CompactString::const_new).or(code_text);
        call.fail(name.unwrap_or(CompactString::const_new("_OTHER")), "");
    }
    if let Some(rows) = said.rows {
        call.exchange.attributes.push("db.response.returned_rows", i64::from(rows));
    }
    if let (Some(id), Some(operation)) = (said.prepared, call.data.prepares.take()) {
        statements.set(id, operation);
    }
    said.keyspace.and_then(|keyspace| CompactString::from_utf8(keyspace).ok())
}
