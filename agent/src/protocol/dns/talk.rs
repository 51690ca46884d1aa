//! DNS's messages over TCP as requests and responses.

use super::{
    message::{self, HEADER, Header},
    span,
};
use crate::{
    conn::Gap,
    protocol::{
        Attributes, Verdict,
        cursor::Cursor,
        endpoints,
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Role, Table, Tail, Taken, Talk},
    },
};

/// Length of what tells a message's length.
const LENGTH: usize = 2;
/// Bytes of a message that are wanted.
const WANT: usize = 1024;

/// What is remembered of a query.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// When it was asked, in updates.
    seq: u64,
    losses: u32,
    /// Another one of the same id was unanswered.
    follows: bool,
}

/// The messages of a connection.
#[derive(Default)]
pub(super) struct Dns {
    table: Table<u16, Call<Waits>>,
    asking: Option<u16>,
    answering: Option<u16>,
    losses: u32,
}

/// Whether the bytes begin with a message, all of whose question is there.
pub(super) fn is_message(bytes: &[u8]) -> Verdict {
    let mut c = Cursor::new(bytes);
    let Some(length) = c.u16_be().map(usize::from) else {
        return Verdict::More;
    };
    if length < HEADER + 5 {
        return Verdict::No;
    }
    let whole = c.rest();
    let Some(header) = Header::read(&mut c) else {
        return Verdict::More;
    };
    if !header.is_usual() || whole.len() > length && is_message(whole.get(length..).unwrap_or_default()) == Verdict::No
    {
        return Verdict::No;
    }
    let message = whole.get(..length).unwrap_or(whole);
    match message::question(message) {
        Some((question, rest)) => {
            let known = matches!(question.kind, 1..=65 | 99 | 249..=257) && matches!(question.class, 1 | 3 | 4 | 255);
            // Of a query, only additional records may follow.
            let fits = header.is_response() || header.counts.last() != Some(&0) || rest.is_empty();
            if known && fits { Verdict::Yes } else { Verdict::No }
        }
        None if message.len() < length && message.len() < HEADER + 260 => Verdict::More,
        None => Verdict::No,
    }
}

impl Framing for Dns {
    fn frame(&self, _: Role, bytes: &[u8]) -> Frame {
        match Cursor::new(bytes).u16_be().map(usize::from) {
            None => Frame::More,
            Some(0..HEADER) => Frame::Malformed,
            Some(length) => Frame::Message { length: (LENGTH + length) as u64, want: (LENGTH + length).min(WANT) },
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        let response = bytes.get(4).is_some_and(|flags| flags & 0x80 != 0);
        match is_message(bytes) {
            Verdict::Yes if response == (role == Role::Response) => Found::At(0),
            Verdict::More => Found::More,
            _ => Found::No,
        }
    }
}

impl Talk for Dns {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        self.asking = None;
        let message = head.bytes.get(LENGTH..).unwrap_or_default();
        let Some(header) = Header::read(&mut Cursor::new(message)) else {
            self.lost(Role::Request);
            return self.table.lost(Role::Request, Gap::NotCaptured, false, cx);
        };
        let mut attributes = Attributes::default();
        let question = message::question(message).map(|(question, _)| question);
        let title = span::asked(&header, question.as_ref(), &mut attributes);
        if let Some(server) = endpoints::server(cx.connection, cx.side) {
            attributes.push("server.address", server.address);
            if let Some(port) = server.port {
                attributes.push("server.port", port);
            }
        }
        endpoints::describe(cx.connection, &mut attributes);
        let data = Waits { seq: head.first.seq, losses: self.losses, follows: self.table.contains(header.id) };
        let mut call = Call::ask(head.first, head.now, ("dns", title), attributes, data, cx);
        call.exchange.holes.request_head = question.is_none();
        self.table.insert(header.id, call, cx);
        self.asking = Some(header.id);
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.answering = None;
        let message = head.bytes.get(LENGTH..).unwrap_or_default();
        let Some(header) = Header::read(&mut Cursor::new(message)) else {
            self.lost(Role::Response);
            self.table.lost(Role::Response, Gap::NotCaptured, false, cx);
            return Taken::Yes;
        };
        let must_wait = self.table.must_wait();
        let losses = self.losses;
        let Some(call) = self.table.get(header.id) else {
            if must_wait {
                return Taken::Later;
            }
            self.table.orphan(cx);
            return Taken::Yes;
        };
        if (call.data.follows || !must_wait) && head.first.seq < call.data.seq {
            self.table.orphan(cx);
            return Taken::Yes;
        }
        call.answered(head.first, cx);
        call.exchange.holes.pairing |= call.data.losses != losses;
        call.exchange.holes.response_head = head.cut;
        span::answered(&mut call.exchange, &header, message);
        self.answering = Some(header.id);
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            if let Some(call) = self.asking.take().and_then(|id| self.table.get(id)) {
                call.asked_on(tail.last, cx);
            }
        } else if let Some(mut call) = self.answering.take().and_then(|id| self.table.remove(id)) {
            call.exchange.holes.length |= tail.lost;
            call.done(tail.last, cx);
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.table
    }

    fn lost(&mut self, role: Role) {
        self.losses = self.losses.wrapping_add(1);
        match role {
            Role::Request => self.asking = None,
            Role::Response => self.answering = None,
        }
    }
}
