//! NATS's messages, each of them a message of one's own.

use compact_str::CompactString;

use super::line::{self, Line, Read};
use crate::{
    conn::Gap,
    event::Nanos,
    protocol::{
        Verdict,
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Origin, Role, Tail, Taken, Talk, Unit},
        http::NoResponse,
        messaging::{Contexts, Operation, describe, name, pushed},
    },
};

/// The most that is wanted of a message's headers.
const MAX_HEADERS: u64 = 4096;

/// The messages of a connection.
#[derive(Default)]
pub(super) struct Nats {
    client: Option<CompactString>,
    open: Open,
}

/// The messages that have begun and not ended, one in each direction.
#[derive(Default)]
struct Open {
    published: Option<Call<()>>,
    delivered: Option<Call<()>>,
}

impl Framing for Nats {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        match line::read(bytes, role) {
            Read::Invalid => Frame::Malformed,
            Read::More => Frame::More,
            Read::Line(Line::Message(message), line) => Frame::Message {
                length: line as u64 + message.length + 2,
                want: line + message.headers.min(MAX_HEADERS) as usize,
            },
            Read::Line(_, line) => Frame::Message { length: line as u64, want: line },
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        match line::begins(bytes, role) {
            Verdict::Yes => Found::At(0),
            Verdict::More => Found::More,
            Verdict::No => Found::No,
        }
    }
}

impl Nats {
    /// A message has begun.
    fn message(&self, role: Role, head: &Head<'_>, cx: &mut Context<'_>) -> Option<Call<()>> {
        let Read::Line(Line::Message(message), line) = line::read(&head.bytes, role) else {
            return None;
        };
        let (operation, kind) = if role == Role::Request { ("publish", "send") } else { ("deliver", "process") };
        let subject = name(message.subject);
        // Subjects of replies are made up, each for one.
        let temporary = message.subject.starts_with(b"_INBOX.") || message.subject.starts_with(b"$JS.ACK.");
        let operation = Operation {
            name: operation,
            kind: Some(kind),
            destination: if temporary { None } else { subject.clone() },
            client: self.client.clone(),
        };
        let mut attributes = describe("nats", &operation, cx);
        if temporary {
            attributes.push("messaging.destination.temporary", true);
            attributes.push("messaging.destination.anonymous", true);
        }
        attributes.push("messaging.message.body.size", message.length.saturating_sub(message.headers));
        if let Some(reply) = message.reply.and_then(name) {
            attributes.push("messaging.message.conversation_id", reply);
        } else if temporary && let Some(subject) = subject {
            attributes.push("messaging.message.conversation_id", subject);
        }
        let mut contexts = Contexts::default();
        for (name, value) in line::headers(head.bytes.get(line..).unwrap_or_default()) {
            contexts.add(name, value);
        }
        let title = ("nats", operation.title());
        let mut call = Call::ask_carrying(head.first, head.now, title, attributes, contexts.carried(), (), cx);
        call.exchange.holes.request_head = head.cut || message.headers > MAX_HEADERS;
        Some(call)
    }
}

/// The `name` in the options of `CONNECT`, if it is plain text.
fn client(options: &[u8]) -> Option<CompactString> {
    let text = std::str::from_utf8(options).ok()?;
    let (_, rest) = text.split_once("\"name\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (value, _) = value.split_once('"')?;
    name(value.as_bytes()).filter(|_| !value.contains('\\'))
}

impl Talk for Nats {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        if let Read::Line(Line::Connect(options), _) = line::read(&head.bytes, Role::Request) {
            self.client = client(options);
        }
        self.open.published = self.message(Role::Request, head, cx);
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.open.delivered = pushed(cx, |cx| self.message(Role::Response, head, cx));
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        let finish = |call: Option<Call<()>>, cx: &mut Context<'_>| {
            if let Some(mut call) = call {
                call.asked_on(tail.last, cx);
                call.exchange.holes.length |= tail.lost;
                call.done_unanswered(tail.last.time, cx);
            }
        };
        match role {
            Role::Request => finish(self.open.published.take(), cx),
            Role::Response => {
                let call = self.open.delivered.take();
                pushed(cx, |cx| finish(call, cx));
            }
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.open
    }
}

impl Calls for Open {
    /// Nothing answers anything.
    fn must_wait(&self) -> bool {
        false
    }

    fn in_order(&self) -> bool {
        false
    }

    fn patience(&self) -> Nanos {
        0
    }

    fn touch(&mut self, _: Nanos) {}

    fn impatient(&mut self, _: &mut Context<'_>) {}

    fn joined(&mut self, _: Role, _: bool, _: &mut Context<'_>) {}

    fn lost(&mut self, _: Role, _: Gap, _: bool, _: &mut Context<'_>) {}

    fn passed(&mut self, _: Role, _: Origin, _: bool, _: &mut Context<'_>) {}

    fn tick(&mut self, _: Nanos, _: &mut Context<'_>) {}

    fn end(&mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        // Broken off within a message.
        if let Some(call) = self.published.take() {
            call.give_up(why, now, cx);
        }
        if let Some(call) = self.delivered.take() {
            pushed(cx, |cx| call.give_up(why, now, cx));
        }
    }
}
