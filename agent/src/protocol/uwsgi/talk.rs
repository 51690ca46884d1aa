//! One request and its response.

use super::HEADER;
use crate::{
    conn::Gap,
    event::Nanos,
    protocol::{
        cgi::Variables,
        cursor::Cursor,
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Origin, Role, Tail, Taken, Talk, Unit},
        http::{NoResponse, Response, respond},
    },
};

/// Bytes of a response that say its status: `HTTP/1.1 200`.
const STATUS_LINE: usize = 12;
/// Longer than any connection: a message that ends with it.
const ENDLESS: u64 = u64::MAX >> 1;
/// How long an answer waits for its request.
const PATIENCE: Nanos = 1_000_000_000;

/// What follows in the direction of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Variables,
    Body(u64),
    /// Nothing that means anything.
    Rest,
}

/// The messages of a connection: variables, and a body, if there is one; a response.
#[derive(Default)]
pub(super) struct Packets {
    next: Next,
    only: Only,
}

/// The one request of a connection.
#[derive(Default)]
struct Only {
    call: Option<Call<()>>,
    /// It was asked, or cannot be seen any more.
    asked: bool,
}

impl Framing for Packets {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        let endless = Frame::Message { length: ENDLESS, want: 1 };
        match (role, self.next) {
            (Role::Response, _) if b"HTTP/1.".iter().zip(bytes).any(|(a, b)| a != b) => Frame::Malformed,
            (Role::Response, _) => Frame::Message { length: ENDLESS, want: STATUS_LINE },
            (Role::Request, Next::Variables) => {
                let mut c = Cursor::new(bytes);
                match c.skip(1).and_then(|()| c.u16_le()) {
                    Some(length) if c.u8().is_some() => {
                        let length = HEADER + usize::from(length);
                        Frame::Message { length: length as u64, want: length }
                    }
                    _ => Frame::More,
                }
            }
            (Role::Request, Next::Body(length)) => Frame::Message { length, want: 1 },
            (Role::Request, Next::Rest) => endless,
        }
    }

    /// There is one request only, and it is at the beginning.
    fn find(&self, _: Role, _: &[u8]) -> Found {
        Found::No
    }
}

impl Talk for Packets {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        if self.next != Next::Variables {
            return;
        }
        let mut c = Cursor::new(&head.bytes);
        let mut variables = Variables::default();
        let begun = c.skip(HEADER).is_some();
        loop {
            let mut ahead = c;
            let (Some(name), Some(value)) = (text(&mut ahead), text(&mut ahead)) else {
                break;
            };
            variables.add(name, value);
            c = ahead;
        }
        let complete = begun && !head.cut && c.is_empty();
        self.next = match variables.length() {
            Some(1..) => Next::Body(variables.length().unwrap_or_default().min(ENDLESS)),
            _ => Next::Rest,
        };
        self.only.asked = true;
        self.only.call = Some(variables.ask(("uwsgi", "1"), (head.first, head.now), complete, (), cx));
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        if self.only.must_wait() {
            return Taken::Later;
        }
        let Some(call) = &mut self.only.call else {
            return Taken::Yes;
        };
        call.answered(head.first, cx);
        let exchange = &mut call.exchange;
        let digits = head.bytes.get(9..STATUS_LINE).and_then(|digits| std::str::from_utf8(digits).ok());
        let status = digits.and_then(|digits| digits.parse::<u16>().ok()).filter(|status| (100..1000).contains(status));
        exchange.holes.response_head = status.is_none();
        if let (Some(first_byte), Some(thread)) = (exchange.first_byte, exchange.response_thread) {
            respond(exchange, Response { status, first_byte, thread });
        }
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request
            && let Some(call) = &mut self.only.call
        {
            if matches!(self.next, Next::Body(_)) && tail.first.offset > call.exchange.id.place {
                self.next = Next::Rest;
            }
            call.asked_on(tail.last, cx);
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.only
    }
}

/// A text after its length.
fn text<'a>(c: &mut Cursor<'a>) -> Option<&'a [u8]> {
    c.whole(|c| c.u16_le().map(usize::from))
}

impl Calls for Only {
    fn must_wait(&self) -> bool {
        !self.asked
    }

    fn in_order(&self) -> bool {
        true
    }

    fn patience(&self) -> Nanos {
        PATIENCE
    }

    fn touch(&mut self, _: Nanos) {}

    fn impatient(&mut self, _: &mut Context<'_>) {
        self.asked = true;
    }

    fn joined(&mut self, _: Role, _: bool, _: &mut Context<'_>) {
        self.asked = true;
    }

    fn lost(&mut self, role: Role, _: Gap, _: bool, _: &mut Context<'_>) {
        self.asked = true;
        if role == Role::Response {
            // Its status went with what is missing.
            if let Some(call) = &mut self.call {
                call.exchange.holes.response_head = true;
            }
        }
    }

    fn passed(&mut self, role: Role, origin: Origin, _: bool, cx: &mut Context<'_>) {
        if role == Role::Response
            && let Some(call) = &mut self.call
        {
            call.exchange.holes.response_head = true;
            call.goes_on(origin, cx);
        }
    }

    fn tick(&mut self, _: Nanos, _: &mut Context<'_>) {}

    fn end(&mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        let Some(call) = self.call.take() else {
            return;
        };
        // The response ends where the connection does.
        if call.has_begun() && why == NoResponse::Closed {
            call.done_unanswered(now, cx);
        } else {
            call.give_up(why, now, cx);
        }
    }
}
