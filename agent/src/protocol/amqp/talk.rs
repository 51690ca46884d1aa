//! AMQP's frames as requests and responses, publishes and deliveries.

use compact_str::{CompactString, format_compact};

use super::{
    channels::{Channels, Consumer, Key, Waits},
    content::{Content, Properties, is_generated},
    frame::{self, BODY, CONTENT, HEADER, HEARTBEAT, MAX_FRAME, METHOD, PROTOCOL},
    method::{
        ACK, CHANNEL_CLOSE, CHANNEL_OPEN, CONFIRM_SELECT, CONNECTION_CLOSE, CONSUME, DELIVER, GET, GET_OK, Method,
        NACK, PUBLISH, REJECT, RETURN, arguments,
    },
};
use crate::{
    conn::Gap,
    protocol::{
        Verdict,
        cursor::Cursor,
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Role, Tail, Taken, Talk},
        messaging::{Operation, describe, name, pushed},
    },
};

/// Bytes of a method or a content header that are wanted.
const WANT: u64 = 1024;

/// The frames of a connection.
#[derive(Default)]
pub(super) struct Amqp {
    channels: Channels,
    /// The frame at hand of each direction, and what is complete with it.
    at_hand: [Option<(frame::Frame, After)>; 2],
}

/// What a frame completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Nothing,
    /// The message on its channel, unless more follows.
    Content,
    /// This call is asked.
    Asked(Key),
    /// This call is answered.
    Answered(Key),
}

impl Framing for Amqp {
    fn frame(&self, _: Role, bytes: &[u8]) -> Frame {
        if bytes.first() == Some(&b'A') {
            return match PROTOCOL.iter().take(4).zip(bytes).all(|(a, b)| a == b) {
                true => Frame::Message { length: 8, want: 8 },
                false => Frame::Malformed,
            };
        }
        if bytes.first().is_some_and(|kind| ![METHOD, CONTENT, BODY, HEARTBEAT].contains(kind)) {
            return Frame::Malformed;
        }
        match frame::header(&mut Cursor::new(bytes)) {
            None => Frame::More,
            Some(frame) if frame.size > MAX_FRAME => Frame::Malformed,
            Some(frame) => {
                let length = HEADER as u64 + u64::from(frame.size) + 1;
                let want = if frame.kind == BODY { HEADER as u64 } else { length.min(WANT) };
                Frame::Message { length, want: want as usize }
            }
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        match frame::begins(bytes) {
            (Verdict::Yes, sender) if sender.is_none_or(|sender| sender == role) => Found::At(0),
            (Verdict::More, _) => Found::More,
            _ => Found::No,
        }
    }
}

impl Talk for Amqp {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        self.channels.mend(Role::Request, cx);
        self.at_hand[0] = None;
        let mut c = Cursor::new(&head.bytes);
        let Some(frame) = frame::header(&mut c).filter(|_| head.bytes.first() != Some(&b'A')) else {
            return;
        };
        let after = match frame.kind {
            METHOD => self.asked(frame, c, head, cx),
            CONTENT => self.properties(false, frame, c, head, cx),
            BODY => self.body(false, frame),
            _ => After::Nothing,
        };
        self.at_hand[0] = Some((frame, after));
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.channels.mend(Role::Response, cx);
        self.at_hand[1] = None;
        let mut c = Cursor::new(&head.bytes);
        let Some(frame) = frame::header(&mut c) else {
            return Taken::Yes;
        };
        let after = match frame.kind {
            METHOD => match self.answered(frame, c, head, cx) {
                Some(after) => after,
                None => return Taken::Later,
            },
            CONTENT => pushed(cx, |cx| self.properties(true, frame, c, head, cx)),
            BODY => self.body(true, frame),
            _ => After::Nothing,
        };
        self.at_hand[1] = Some((frame, after));
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        let [requests, responses] = &mut self.at_hand;
        let at_hand = if role == Role::Request { requests } else { responses };
        let Some((frame, after)) = at_hand.take() else {
            return;
        };
        match after {
            After::Nothing => {}
            After::Content => self.content(role == Role::Response, frame.channel, tail, cx),
            After::Asked(key) => {
                if let Some(call) = self.channels.table.get(key) {
                    call.asked_on(tail.last, cx);
                }
            }
            After::Answered(key) => {
                if let Some(call) = self.channels.table.remove(key) {
                    self.learn(frame.channel, &call.data, key);
                    call.done(tail.last, cx);
                }
            }
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.channels
    }

    fn lost(&mut self, role: Role) {
        match role {
            Role::Request => {
                self.at_hand[0] = None;
                self.channels.torn[0] = true;
                // Publishes may have been missed: their numbers are not known any more.
                self.channels.confirms.clear();
            }
            Role::Response => {
                self.at_hand[1] = None;
                self.channels.torn[1] = true;
            }
        }
    }
}

impl Amqp {
    /// A method that a client sends.
    fn asked(&mut self, frame: frame::Frame, mut c: Cursor<'_>, head: &Head<'_>, cx: &mut Context<'_>) -> After {
        let channel = frame.channel;
        let Some(method) = Method::read(&mut c) else {
            self.channels.lost(Role::Request, Gap::NotCaptured, false, cx);
            self.lost(Role::Request);
            return After::Nothing;
        };
        match method {
            PUBLISH => {
                let mut content = Content::new(method, c, head.first, head.now);
                content.number = self.channels.publish(channel);
                self.channels.contents.insert((false, channel), (content, None));
                return After::Nothing;
            }
            ACK | NACK | REJECT => {
                let (tag, bits) = (c.u64_be().unwrap_or_default(), c.u8().unwrap_or_default());
                self.settle(channel, method, tag, method != REJECT && bits & 1 == 1, head, cx);
                return After::Nothing;
            }
            CHANNEL_OPEN => self.channels.forget(channel),
            _ => {}
        }
        let Some(title) = method.asked() else {
            return After::Nothing;
        };
        let said = arguments(method, c);
        let is_get = method == GET;
        let subject = name(said.subject).filter(|subject| !is_generated(subject));
        let operation =
            Operation { name: title, kind: is_get.then_some("receive"), destination: subject.clone(), client: None };
        let mut attributes = describe("rabbitmq", &operation, cx);
        attributes.push("geophone.amqp.channel", i64::from(channel));
        let key = Key::Method(channel, method);
        let data = Waits {
            seq: head.first.seq,
            losses: self.channels.losses,
            follows: self.channels.table.contains(key),
            consumer: (method == CONSUME)
                .then(|| (subject.unwrap_or_default(), name(said.tag).unwrap_or_default(), said.no_ack)),
        };
        let call = Call::ask_head(head, ("amqp", operation.title()), attributes, data, cx);
        if said.no_wait {
            self.learn(channel, &call.data, key);
            call.done_unanswered(head.now.time, cx);
            return After::Nothing;
        }
        self.channels.table.insert(key, call, cx);
        After::Asked(key)
    }

    /// A method that the broker sends. `None`: what it is about has not been seen yet.
    fn answered(
        &mut self,
        frame: frame::Frame,
        mut c: Cursor<'_>,
        head: &Head<'_>,
        cx: &mut Context<'_>,
    ) -> Option<After> {
        let channel = frame.channel;
        let Some(method) = Method::read(&mut c) else {
            self.channels.lost(Role::Response, Gap::NotCaptured, false, cx);
            self.lost(Role::Response);
            return Some(After::Nothing);
        };
        let must_wait = self.channels.must_wait();
        match method {
            DELIVER | RETURN => {
                let content = Content::new(method, c, head.first, head.now);
                self.channels.contents.insert((true, channel), (content, None));
                return Some(After::Nothing);
            }
            ACK | NACK => {
                let (tag, bits) = (c.u64_be().unwrap_or_default(), c.u8().unwrap_or_default());
                let begun = self.channels.contents.get(&(false, channel)).and_then(|(content, _)| content.number);
                let unseen = self.channels.confirms.get(&channel).is_some_and(|confirms| tag > confirms.last);
                if must_wait && (unseen || begun.is_some_and(|number| number <= tag)) {
                    return None;
                }
                for key in self.channels.confirmed(channel, tag, bits & 1 == 1) {
                    if let Some(mut call) = self.channels.table.remove(key) {
                        if method == NACK {
                            call.fail("nack", "");
                        }
                        call.exchange.holes.pairing |= call.data.losses != self.channels.losses;
                        call.answered(head.first, cx);
                        call.done(head.now, cx);
                    }
                }
                return Some(After::Nothing);
            }
            CHANNEL_CLOSE | CONNECTION_CLOSE => {
                self.closed(method, channel, c, head, cx);
                return Some(After::Nothing);
            }
            _ => {}
        }
        let Some(asked) = method.answers() else {
            return Some(After::Nothing);
        };
        let key = Key::Method(channel, asked);
        let losses = self.channels.losses;
        let Some(call) = self.channels.table.get(key) else {
            if must_wait {
                return None;
            }
            self.channels.table.orphan(cx);
            return Some(After::Nothing);
        };
        if (call.data.follows || !must_wait) && head.first.seq < call.data.seq {
            self.channels.table.orphan(cx);
            return Some(After::Nothing);
        }
        if let (Some(_), Some(last)) = (call.exchange.first_byte, call.last()) {
            // The rest of its answer went with what is missing, and the request of this one, too.
            if let Some(mut call) = self.channels.table.remove(key) {
                call.exchange.holes.length = true;
                call.done(last, cx);
            }
            self.channels.table.orphan(cx);
            return Some(After::Nothing);
        }
        call.exchange.holes.pairing |= call.data.losses != losses;
        call.exchange.holes.response_head = head.cut;
        call.answered(head.first, cx);
        if asked == GET {
            call.exchange.attributes.push("messaging.batch.message_count", i64::from(method == GET_OK));
        }
        if method == GET_OK {
            self.channels.contents.insert((true, channel), (Content::new(method, c, head.first, head.now), None));
            return Some(After::Nothing);
        }
        Some(After::Answered(key))
    }

    /// A content header.
    fn properties(
        &mut self,
        response: bool,
        frame: frame::Frame,
        c: Cursor<'_>,
        head: &Head<'_>,
        cx: &mut Context<'_>,
    ) -> After {
        let channel = frame.channel;
        let channels = &mut self.channels;
        let Some((mut content, None)) = channels.contents.remove(&(response, channel)) else {
            return After::Nothing;
        };
        let mut properties = Properties::read(c);
        properties.cut |= head.cut;
        content.left = properties.size;
        content.now = head.now;
        let data = Waits { seq: content.first.seq, losses: channels.losses, ..Waits::default() };
        let call = match content.method {
            PUBLISH | DELIVER => {
                let queue = channels.queue(channel, &content);
                Some(content.ask(queue.as_deref(), properties, data, cx))
            }
            GET_OK => {
                if let Some(call) = channels.table.get(Key::Method(channel, GET)) {
                    properties.describe(&mut call.exchange.attributes);
                    call.exchange.holes.response_head |= properties.cut || content.cut;
                }
                None
            }
            _ => None,
        };
        channels.contents.insert((response, channel), (content, call));
        After::Content
    }

    /// A part of a content's body.
    fn body(&mut self, response: bool, frame: frame::Frame) -> After {
        let Some((content, _)) = self.channels.contents.get_mut(&(response, frame.channel)) else {
            return After::Nothing;
        };
        content.left = content.left.map(|left| left.saturating_sub(frame.size.into()));
        After::Content
    }

    /// A content is complete, if it is.
    fn content(&mut self, response: bool, channel: u16, tail: &Tail, cx: &mut Context<'_>) {
        let at = (response, channel);
        if self.channels.contents.get(&at).is_none_or(|(content, _)| content.left.is_some_and(|left| left > 0)) {
            return;
        }
        let Some((content, call)) = self.channels.contents.remove(&at) else {
            return;
        };
        match (content.method, call) {
            (PUBLISH, Some(mut call)) => {
                call.exchange.holes.length |= tail.lost;
                call.asked_on(tail.last, cx);
                match content.number.filter(|_| self.channels.confirms.contains_key(&channel)) {
                    Some(number) => self.channels.table.insert(Key::Publish(channel, number), call, cx),
                    None => call.done_unanswered(tail.last.time, cx),
                }
            }
            (DELIVER, Some(call)) => pushed(cx, |cx| self.delivered(channel, &content, call, tail, cx)),
            (GET_OK, _) => {
                if let Some(mut call) = self.channels.table.remove(Key::Method(channel, GET)) {
                    call.exchange.holes.length |= tail.lost;
                    call.done(tail.last, cx);
                }
            }
            _ => {}
        }
    }

    fn delivered(&mut self, channel: u16, content: &Content, mut call: Call<Waits>, tail: &Tail, cx: &mut Context<'_>) {
        call.exchange.holes.length |= tail.lost;
        call.asked_on(tail.last, cx);
        let consumer = content.consumer.clone().and_then(|tag| self.channels.consumers.get(&(channel, tag)));
        // Of a consumer that is not known, it is not known either whether it will acknowledge.
        call.exchange.holes.length |= consumer.is_none();
        let answered = consumer.is_some_and(|consumer| !consumer.no_ack);
        match content.tag.filter(|_| answered) {
            Some(tag) if !self.channels.is_acknowledged(channel, tag) => {
                self.channels.delivered(channel, tag);
                self.channels.table.insert(Key::Delivery(channel, tag), call, cx);
            }
            Some(_) => call.done(tail.last, cx),
            None => call.done_unanswered(tail.last.time, cx),
        }
    }

    /// A consumer acknowledges deliveries, or does not want them.
    fn settle(
        &mut self,
        channel: u16,
        method: Method,
        tag: u64,
        multiple: bool,
        head: &Head<'_>,
        cx: &mut Context<'_>,
    ) {
        for key in self.channels.acknowledged(channel, tag, multiple) {
            if let Some(mut call) = self.channels.table.remove(key) {
                match method {
                    NACK => call.fail("nack", ""),
                    REJECT => call.fail("reject", ""),
                    _ => {}
                }
                call.exchange.holes.pairing |= call.data.losses != self.channels.losses;
                pushed(cx, |cx| {
                    call.answered(head.first, cx);
                    call.done(head.now, cx);
                });
            }
        }
    }

    /// The broker closes a channel, or the connection, because of an error.
    fn closed(&mut self, method: Method, channel: u16, mut c: Cursor<'_>, head: &Head<'_>, cx: &mut Context<'_>) {
        let code = c.u16_be().unwrap_or_default();
        let text = c.prefixed_u8().and_then(name).unwrap_or_default();
        let cause = Method::read(&mut c).filter(|method| method.class != 0);
        let which = (method == CHANNEL_CLOSE).then_some(channel);
        let mut failed = self.channels.take_all(which);
        if let Some(cause) = cause {
            // Of the methods, only the one that it names has failed.
            let key = Key::Method(channel, cause);
            failed.extend(self.channels.table.remove(key));
        }
        for mut call in failed {
            if code != 200 {
                call.fail(format_compact!("{code}"), text.clone());
            }
            call.exchange.holes.pairing |= call.data.losses != self.channels.losses;
            call.answered(head.first, cx);
            call.done(head.now, cx);
        }
        self.channels.forget(channel);
    }

    /// What an answered method has changed.
    fn learn(&mut self, channel: u16, data: &Waits, key: Key) {
        if key == Key::Method(channel, CONFIRM_SELECT) {
            self.channels.select(channel);
        }
        if let Some((queue, tag, no_ack)) = data.consumer.clone() {
            let tag: CompactString = tag;
            self.channels.consume(channel, tag, Consumer { queue, no_ack });
        }
    }
}
