//! MQTT's packets as requests and responses, in both directions.

use std::collections::VecDeque;

use compact_str::{CompactString, format_compact};

use super::packet::{
    self, CONNACK, CONNECT, Header, PUBACK, PUBCOMP, PUBLISH, PUBREC, Properties, Read, SUBACK, SUBSCRIBE, UNSUBACK,
    UNSUBSCRIBE, VERSION_5, properties,
};
use crate::{
    conn::Gap,
    event::Nanos,
    protocol::{
        cursor::Cursor,
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Origin, Role, Table, Tail, Taken, Talk},
        http::NoResponse,
        messaging::{Operation, describe, name, pushed},
    },
};

/// Bytes of a packet that are wanted.
const WANT: u64 = 1024;
/// The longest length of a fixed header.
const FIXED: usize = 5;
/// Topic aliases of a direction that are known, at most.
const MAX_ALIASES: usize = 256;
/// Acknowledgements that wait for what they acknowledge, at most.
const MAX_EARLY: usize = 32;

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Connect,
    /// A packet of the client, by its identifier.
    Client(u16),
    /// A packet of the broker.
    Broker(u16),
    /// A message that nothing acknowledges and that has not ended, by its direction.
    Open(bool),
}

/// What is remembered of what waits.
#[derive(Clone, Copy, Debug)]
struct Waits {
    kind: u8,
    /// When it was asked, in updates.
    seq: u64,
    /// Losses before it was asked.
    losses: u32,
    /// Another one of the same key was unanswered.
    follows: bool,
}

/// What a `PUBLISH` says besides its topic.
struct Message {
    qos: u8,
    /// Length of the payload, if known.
    size: Option<u32>,
    said: Properties,
    /// Properties are missing.
    cut: bool,
}

/// The packets of a connection.
#[derive(Default)]
pub(super) struct Mqtt {
    calls: Waiting,
    version: Option<u8>,
    client: Option<CompactString>,
    /// Direction, number, topic.
    aliases: VecDeque<(bool, u16, CompactString)>,
    /// The packet at hand of each direction, and whether it completes the call.
    at_hand: [Option<(Key, bool)>; 2],
}

#[derive(Default)]
struct Waiting {
    table: Table<Key, Call<Waits>>,
    losses: u32,
    /// Acknowledgements of the client that were seen before the message: a send is seen when it returns.
    early: VecDeque<u16>,
}

impl Framing for Mqtt {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        let mut c = Cursor::new(bytes);
        match packet::header(&mut c, role) {
            Read::Invalid => Frame::Malformed,
            Read::More if bytes.len() >= FIXED => Frame::Malformed,
            Read::More => Frame::More,
            Read::Header(header) => {
                let fixed = (bytes.len() - c.len()) as u64;
                let length = fixed + u64::from(header.remaining);
                Frame::Message { length, want: length.min(WANT) as usize }
            }
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        if packet::is_chain(bytes, role) { Found::At(0) } else { Found::No }
    }
}

impl Talk for Mqtt {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        self.at_hand[0] = None;
        let mut c = Cursor::new(&head.bytes);
        let Read::Header(header) = packet::header(&mut c, Role::Request) else {
            return;
        };
        self.at_hand[0] = match header.kind {
            CONNECT => self.connect(c, head, cx),
            PUBLISH => self.publish(false, header, c, head, cx),
            SUBSCRIBE | UNSUBSCRIBE => self.subscribe(header, c, head, cx),
            PUBACK | PUBREC | PUBCOMP => c.u16_be().and_then(|id| {
                let key = Key::Broker(id);
                let known = self.calls.table.contains(key);
                if !known && header.kind != PUBREC {
                    self.calls.early(id);
                }
                pushed(cx, |cx| self.acknowledge(key, header, c, head, cx))
            }),
            _ => None,
        };
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.at_hand[1] = None;
        let mut c = Cursor::new(&head.bytes);
        let Read::Header(header) = packet::header(&mut c, Role::Response) else {
            return Taken::Yes;
        };
        let key = match header.kind {
            PUBLISH => {
                self.at_hand[1] = pushed(cx, |cx| self.publish(true, header, c, head, cx));
                return Taken::Yes;
            }
            CONNACK => Some(Key::Connect),
            PUBACK | PUBREC | PUBCOMP | SUBACK | UNSUBACK => c.u16_be().map(Key::Client),
            _ => None,
        };
        let Some(key) = key else {
            return Taken::Yes;
        };
        if !self.calls.table.contains(key) {
            if self.calls.must_wait() {
                return Taken::Later;
            }
            self.calls.table.orphan(cx);
        }
        self.at_hand[1] = self.acknowledge(key, header, c, head, cx);
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        let response = role == Role::Response;
        let [requests, responses] = &mut self.at_hand;
        let Some((key, answer)) = (if response { responses } else { requests }).take() else {
            return;
        };
        // Whose request it is depends on who sent the packet, and on whether it is an answer.
        if response != answer {
            pushed(cx, |cx| self.calls.finish(key, answer, tail, cx));
        } else {
            self.calls.finish(key, answer, tail, cx);
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.calls
    }

    fn lost(&mut self, role: Role) {
        let response = role == Role::Response;
        let [requests, responses] = &mut self.at_hand;
        *(if response { responses } else { requests }) = None;
        // An alias may have got another meaning.
        self.aliases.retain(|(of, ..)| *of != response);
    }
}

impl Mqtt {
    fn ask(
        &mut self,
        key: Key,
        operation: &Operation,
        head: &Head<'_>,
        kind: u8,
        message: Option<Message>,
        cx: &mut Context<'_>,
    ) {
        let mut attributes = describe("mqtt", operation, cx);
        let mut cut = head.cut;
        let mut carried = None;
        if let Some(message) = message {
            attributes.push("geophone.mqtt.qos", i64::from(message.qos));
            if let Some(size) = message.size {
                attributes.push("messaging.message.body.size", size);
            }
            if let Some(correlation) = message.said.correlation {
                attributes.push("messaging.message.conversation_id", correlation);
            }
            carried = message.said.contexts.carried();
            // What is missing of a long message is its payload.
            cut = message.cut;
        }
        let follows = self.calls.table.contains(key);
        let data = Waits { kind, seq: head.first.seq, losses: self.calls.losses, follows };
        let title = ("mqtt", operation.title());
        let mut call = Call::ask_carrying(head.first, head.now, title, attributes, carried, data, cx);
        call.exchange.holes.request_head = cut;
        self.calls.table.insert(key, call, cx);
    }

    fn connect(&mut self, mut c: Cursor<'_>, head: &Head<'_>, cx: &mut Context<'_>) -> Option<(Key, bool)> {
        c.prefixed_u16_be()?;
        let version = c.u8()?;
        self.version = Some(version);
        c.skip(3)?;
        if version == VERSION_5 {
            properties(&mut c, &mut Properties::default())?;
        }
        self.client = c.prefixed_u16_be().and_then(name);
        let operation = Operation { name: "connect", client: self.client.clone(), ..Operation::default() };
        self.ask(Key::Connect, &operation, head, CONNECT, None, cx);
        Some((Key::Connect, false))
    }

    fn subscribe(
        &mut self,
        header: Header,
        mut c: Cursor<'_>,
        head: &Head<'_>,
        cx: &mut Context<'_>,
    ) -> Option<(Key, bool)> {
        let key = Key::Client(c.u16_be()?);
        if self.version == Some(VERSION_5) {
            properties(&mut c, &mut Properties::default())?;
        }
        let first = c.prefixed_u16_be();
        let one = header.kind == SUBSCRIBE && c.len() <= 1 || c.is_empty();
        let operation = Operation {
            name: if header.kind == SUBSCRIBE { "subscribe" } else { "unsubscribe" },
            kind: None,
            // Of several, none stands for all; without the version, properties may stand before it.
            destination: first.filter(|_| one && self.version.is_some()).and_then(name),
            client: self.client.clone(),
        };
        self.ask(key, &operation, head, header.kind, None, cx);
        Some((key, false))
    }

    /// A message, of the client or to it.
    fn publish(
        &mut self,
        response: bool,
        header: Header,
        mut c: Cursor<'_>,
        head: &Head<'_>,
        cx: &mut Context<'_>,
    ) -> Option<(Key, bool)> {
        let topic = c.prefixed_u16_be()?;
        let mut rest = header.remaining.saturating_sub(2 + u32::try_from(topic.len()).unwrap_or(0));
        let id = if header.qos() > 0 { Some(c.u16_be()?) } else { None };
        rest = rest.saturating_sub(2 * u32::from(id.is_some()));
        let mut said = Properties::default();
        let mut cut = false;
        if self.version == Some(VERSION_5) {
            let before = c.len();
            cut = properties(&mut c, &mut said).is_none();
            rest = rest.saturating_sub(u32::try_from(before - c.len()).unwrap_or(0));
        }
        let topic = self.alias(response, name(topic), said.alias);
        let (operation, kind) = if response { ("deliver", "process") } else { ("publish", "send") };
        let operation =
            Operation { name: operation, kind: Some(kind), destination: topic, client: self.client.clone() };
        let key = match id {
            Some(id) if response => Key::Broker(id),
            Some(id) => Key::Client(id),
            None => Key::Open(response),
        };
        let known = self.version.is_some() && !cut;
        let message = Message { qos: header.qos(), size: known.then_some(rest), said, cut };
        self.ask(key, &operation, head, PUBLISH, Some(message), cx);
        Some((key, false))
    }

    /// The topic that is meant.
    fn alias(&mut self, response: bool, topic: Option<CompactString>, alias: Option<u16>) -> Option<CompactString> {
        let Some(alias) = alias else {
            return topic;
        };
        let Some(topic) = topic else {
            let known = self.aliases.iter().find(|(of, number, _)| (*of, *number) == (response, alias));
            return known.map(|(.., topic)| topic.clone());
        };
        self.aliases.retain(|(of, number, _)| (*of, *number) != (response, alias));
        if self.aliases.len() >= 2 * MAX_ALIASES {
            self.aliases.pop_front();
        }
        self.aliases.push_back((response, alias, topic.clone()));
        Some(topic)
    }

    /// An answer to what waits as `key`. Says so if it completes that.
    fn acknowledge(
        &mut self,
        key: Key,
        header: Header,
        mut c: Cursor<'_>,
        head: &Head<'_>,
        cx: &mut Context<'_>,
    ) -> Option<(Key, bool)> {
        let missed = !self.calls.must_wait();
        let losses = self.calls.losses;
        let call = self.calls.table.get(key)?;
        if (call.data.follows || missed) && head.first.seq < call.data.seq {
            return None;
        }
        let fits = match header.kind {
            CONNACK => call.data.kind == CONNECT,
            SUBACK => call.data.kind == SUBSCRIBE,
            UNSUBACK => call.data.kind == UNSUBSCRIBE,
            _ => call.data.kind == PUBLISH,
        };
        if !fits {
            return None;
        }
        call.exchange.holes.pairing |= call.data.losses != losses;
        call.answered(head.first, cx);
        let code = match header.kind {
            CONNACK => {
                c.skip(1);
                c.u8()
            }
            SUBACK | UNSUBACK if self.version == Some(VERSION_5) => {
                properties(&mut c, &mut Properties::default()).and_then(|()| worst(c))
            }
            SUBACK if self.version.is_some() => worst(c),
            PUBACK | PUBREC | PUBCOMP => c.u8(),
            _ => None,
        };
        let failed = code.filter(|code| *code >= 0x80 || header.kind == CONNACK && *code > 0);
        if let Some(code) = failed {
            call.fail(format_compact!("{code}"), "");
        }
        (header.kind != PUBREC || failed.is_some()).then_some((key, true))
    }
}

/// The first reason code that means a failure, or the first one.
fn worst(c: Cursor<'_>) -> Option<u8> {
    c.rest().iter().find(|code| **code >= 0x80).or(c.rest().first()).copied()
}

impl Waiting {
    fn early(&mut self, id: u16) {
        if self.early.len() >= MAX_EARLY {
            self.early.pop_front();
        }
        self.early.push_back(id);
    }

    /// The packet that asks, or the one that answers, is complete.
    fn finish(&mut self, key: Key, answer: bool, tail: &Tail, cx: &mut Context<'_>) {
        let acknowledged = match key {
            Key::Broker(id) if !answer => self.early.iter().position(|early| *early == id),
            _ => None,
        };
        if let Some(at) = acknowledged {
            self.early.remove(at);
        }
        let Some(call) = self.table.get(key) else {
            return;
        };
        if !answer {
            call.asked_on(tail.last, cx);
            call.exchange.holes.length |= tail.lost;
        }
        let ends = answer || acknowledged.is_some() || matches!(key, Key::Open(_));
        if ends && let Some(call) = self.table.remove(key) {
            if answer || acknowledged.is_some() {
                call.done(tail.last, cx);
            } else {
                call.done_unanswered(tail.last.time, cx);
            }
        }
    }
}

impl Calls for Waiting {
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
        self.losses = self.losses.wrapping_add(1);
        self.table.joined(role, missed, cx);
    }

    fn lost(&mut self, role: Role, gap: Gap, alone: bool, cx: &mut Context<'_>) {
        self.losses = self.losses.wrapping_add(1);
        self.early.clear();
        self.table.lost(role, gap, alone, cx);
    }

    fn passed(&mut self, role: Role, origin: Origin, alone: bool, cx: &mut Context<'_>) {
        self.losses = self.losses.wrapping_add(1);
        self.early.clear();
        self.table.passed(role, origin, alone, cx);
    }

    fn tick(&mut self, now: Nanos, cx: &mut Context<'_>) {
        self.table.tick(now, cx);
    }

    fn end(&mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        self.table.end(why, now, cx);
    }
}
