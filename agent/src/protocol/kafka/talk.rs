//! Kafka's messages as requests and responses.

use std::collections::VecDeque;

use compact_str::{CompactString, format_compact};

use super::{
    MAX_LENGTH,
    api::{self, api},
    error::error,
    fields::TopicId,
    request::{self, About, Header},
    response::{self, outcome},
};
use crate::{
    conn::Gap,
    protocol::{
        Verdict,
        cursor::Cursor,
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Role, Table, Tail, Taken, Talk},
        messaging::{Operation, describe, direct, name},
    },
};

/// Length of what tells a message's length.
const LENGTH: usize = 4;
/// Bytes of a message that are wanted after its length.
const WANT: u32 = 1024;
/// In place of its correlation id, the one of a request that nothing will answer.
const SILENT: i64 = -1 << 32;
/// Topics whose names are remembered.
const MAX_NAMES: usize = 256;

/// What is remembered of a request.
#[derive(Debug)]
struct Asked {
    key: i16,
    version: i16,
    operation: Operation,
}

/// The messages of a connection.
#[derive(Default)]
pub(super) struct Kafka {
    calls: Table<i64, Call<Asked>>,
    /// The request at hand, and the response.
    asking: Option<i64>,
    answering: Option<i64>,
    names: VecDeque<(TopicId, CompactString)>,
    session: Option<Session>,
}

/// What the Fetches of a session are about, if that is one topic: those that change nothing do not say it again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    topic: Option<CompactString>,
    id: Option<TopicId>,
    partition: Option<i32>,
}

impl Framing for Kafka {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        let mut c = Cursor::new(bytes);
        let Some(length) = c.u32_be() else {
            return Frame::More;
        };
        let least = if role == Role::Request { 8 } else { 4 };
        if !(least..=MAX_LENGTH).contains(&length) {
            return Frame::Malformed;
        }
        if role == Role::Request {
            match c.i16_be() {
                None => return Frame::More,
                Some(key) if api(key).is_none() => return Frame::Malformed,
                Some(_) => {}
            }
        }
        Frame::Message { length: u64::from(length) + LENGTH as u64, want: LENGTH + length.min(WANT) as usize }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        if role == Role::Request {
            return match request::detect(bytes, false) {
                Verdict::Yes => Found::At(0),
                Verdict::More => Found::More,
                Verdict::No => Found::No,
            };
        }
        let mut c = Cursor::new(bytes);
        match (c.u32_be(), c.i32_be()) {
            (Some(length), _) if !(4..=MAX_LENGTH).contains(&length) => Found::No,
            (Some(length), Some(correlation)) => match self.calls.peek(correlation.into()) {
                Some(call) => response::answers(call.data.key, call.data.version, length - 4, c.rest()),
                None => Found::No,
            },
            _ => Found::More,
        }
    }
}

impl Kafka {
    fn named(&self, id: TopicId) -> Option<CompactString> {
        self.names.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone())
    }

    fn remember(&mut self, names: Vec<(TopicId, CompactString)>) {
        for (id, name) in names {
            self.names.retain(|(known, _)| *known != id);
            self.names.push_back((id, name));
            if self.names.len() > MAX_NAMES {
                self.names.pop_front();
            }
        }
    }

    /// Learns from a Fetch what its session is about, or the other way round.
    fn session(&mut self, about: &mut About) {
        if about.goes_on {
            if let Some(Session { topic, id, partition }) = self.session.clone() {
                (about.topic, about.id, about.partition) = (topic, id, partition);
            }
            return;
        }
        let now = Session { topic: about.topic.clone(), id: about.id, partition: about.partition };
        let same = self.session.as_ref().is_none_or(|before| *before == now) || about.begins;
        self.session = Some(now).filter(|now| same && now.partition.is_some());
    }

    fn operation(&self, header: &Header<'_>, about: &About) -> Operation {
        let (operation, kind) = match header.key {
            api::PRODUCE => ("send", Some("send")),
            api::FETCH => ("poll", Some("receive")),
            api::OFFSET_COMMIT => ("commit", Some("settle")),
            key => (api(key).map_or("request", |api| api.name), None),
        };
        Operation {
            name: operation,
            kind,
            destination: about.topic.clone().or_else(|| self.named(about.id?)),
            client: name(header.client),
        }
    }
}

/// A topic's id as Kafka's own tools show it: hexadecimal.
fn hex(id: TopicId) -> CompactString {
    let mut text = CompactString::with_capacity(2 * id.len());
    for byte in id {
        text.push_str(&format_compact!("{byte:02x}"));
    }
    text
}

impl Talk for Kafka {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        self.asking = None;
        let bytes = head.bytes.get(LENGTH..).unwrap_or_default();
        let mut c = Cursor::new(bytes);
        let (Some(_), Some(_), Some(correlation)) = (c.i16_be(), c.i16_be(), c.i32_be()) else {
            return self.calls.lost(Role::Request, Gap::NotCaptured, false, cx);
        };
        let (header, mut about) = match request::header(bytes) {
            Some((header, fields)) => {
                let about = request::about(&header, fields, !head.cut && head.bytes.len() as u64 == head.length);
                (header, about)
            }
            None => {
                let mut c = Cursor::new(bytes);
                let (key, version) = (c.i16_be().unwrap_or_default(), c.i16_be().unwrap_or_default());
                (Header { key, version, client: &[] }, About::default())
            }
        };
        if header.key == api::FETCH {
            self.session(&mut about);
        }
        let operation = self.operation(&header, &about);
        let mut attributes = describe("kafka", &operation, cx);
        if operation.destination.is_none()
            && let Some(id) = about.id
        {
            attributes.push("geophone.kafka.topic_id", hex(id));
        }
        if let Some(partition) = about.partition {
            attributes.push("messaging.destination.partition.id", format_compact!("{partition}"));
        }
        if let Some(group) = about.group {
            attributes.push("messaging.consumer.group.name", group);
        }
        if let Some(messages) = about.messages {
            attributes.push("messaging.batch.message_count", messages);
        }
        if let Some(wait) = about.max_wait {
            attributes.push("geophone.kafka.max_wait_ms", i64::from(wait));
        }
        attributes.push("geophone.kafka.api", api(header.key).map_or("", |api| api.name));
        let title = ("kafka", operation.title());
        let asked = Asked { key: header.key, version: header.version, operation };
        let mut call = Call::ask_carrying(head.first, head.now, title, attributes, about.carried, asked, cx);
        call.exchange.holes.request_head = head.cut;
        let id = if about.silent { SILENT } else { correlation.into() };
        self.asking = Some(id);
        self.calls.insert(id, call, cx);
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.answering = None;
        let mut c = Cursor::new(head.bytes.get(LENGTH..).unwrap_or_default());
        let Some(correlation) = c.i32_be().map(i64::from) else {
            self.calls.lost(Role::Response, Gap::NotCaptured, false, cx);
            return Taken::Yes;
        };
        let must_wait = self.calls.must_wait();
        let names = &self.names;
        let Some(call) = self.calls.get(correlation) else {
            if must_wait {
                return Taken::Later;
            }
            self.calls.orphan(cx);
            return Taken::Yes;
        };
        call.answered(head.first, cx);
        call.exchange.holes.response_head = head.cut;
        let Asked { key, version, .. } = call.data;
        let said = outcome(key, version, c.rest());
        if let Some(error) = error(said.error) {
            call.fail(error, "");
        }
        if key == api::FETCH {
            let by_id = || names.iter().find(|(known, _)| Some(*known) == said.id).map(|(_, name)| name.clone());
            let mut operation = call.data.operation.clone();
            operation.destination = operation.destination.or_else(|| said.topic.clone()).or_else(by_id);
            direct(call, &operation);
            if let Some(messages) = said.messages {
                call.exchange.attributes.push("messaging.batch.message_count", messages);
            }
        }
        self.remember(said.names);
        self.answering = Some(correlation);
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            if let Some(id) = self.asking.take() {
                self.calls.asked_whole(id, id == SILENT, tail, cx);
            }
        } else if let Some(mut call) = self.answering.take().and_then(|id| self.calls.remove(id)) {
            call.exchange.holes.length |= tail.lost;
            call.done(tail.last, cx);
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.calls
    }

    fn lost(&mut self, role: Role) {
        match role {
            Role::Request => (self.asking, self.session) = (None, None),
            Role::Response => self.answering = None,
        }
    }
}
