//! Contents: messages with their properties. What the method says that begins one, and what the content header says.

use compact_str::CompactString;

use super::{
    channels::Waits,
    method::{DELIVER, GET_OK, Method, PUBLISH},
};
use crate::protocol::{
    Attributes, Carried,
    cursor::Cursor,
    framed::{Call, Context, Origin},
    messaging::{Contexts, Operation, describe, name},
};

/// The most headers of a message that are looked at.
const MAX_HEADERS: usize = 128;

/// A content that has begun.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) method: Method,
    /// Where its method begins, and where that was complete.
    pub(super) first: Origin,
    pub(super) now: Origin,
    pub(super) exchange: Option<CompactString>,
    pub(super) key: Option<CompactString>,
    pub(super) consumer: Option<CompactString>,
    pub(super) tag: Option<u64>,
    /// Of a publish in confirm mode: its number.
    pub(super) number: Option<u64>,
    /// Something of its method is missing.
    pub(super) cut: bool,
    /// Bytes of its body that have not come yet, once the content header has.
    pub(super) left: Option<u64>,
}

impl Content {
    /// The one that this method begins, if it does.
    pub(super) fn new(method: Method, mut c: Cursor<'_>, first: Origin, now: Origin) -> Self {
        let mut content = Self {
            method,
            first,
            now,
            exchange: None,
            key: None,
            consumer: None,
            tag: None,
            number: None,
            cut: false,
            left: None,
        };
        content.cut = content.read(&mut c).is_none();
        content
    }

    fn read(&mut self, c: &mut Cursor<'_>) -> Option<()> {
        match self.method {
            PUBLISH => c.skip(2)?,
            DELIVER => {
                self.consumer = name(c.prefixed_u8()?);
                self.tag = Some(c.u64_be()?);
                c.skip(1)?;
            }
            GET_OK => {
                self.tag = Some(c.u64_be()?);
                c.skip(1)?;
            }
            _ => return Some(()),
        }
        self.exchange = name(c.prefixed_u8()?);
        self.key = name(c.prefixed_u8()?);
        Some(())
    }

    /// Tells of it. `queue`: where it was.
    pub(super) fn ask(
        &self,
        queue: Option<&str>,
        properties: Properties,
        data: Waits,
        cx: &mut Context<'_>,
    ) -> Call<Waits> {
        let (operation, kind) = if self.method == PUBLISH { ("publish", "send") } else { ("deliver", "process") };
        let operation =
            Operation { name: operation, kind: Some(kind), destination: self.destination(queue), client: None };
        let mut attributes = describe("rabbitmq", &operation, cx);
        if let Some(key) = &self.key {
            attributes.push("messaging.rabbitmq.destination.routing_key", key.clone());
        }
        if let Some(tag) = self.tag {
            attributes.push("messaging.rabbitmq.message.delivery_tag", tag);
        }
        properties.describe(&mut attributes);
        let title = ("amqp", operation.title());
        let mut call = Call::ask_carrying(self.first, self.now, title, attributes, properties.carried, data, cx);
        call.exchange.holes.request_head = self.cut || properties.cut;
        call
    }

    /// `messaging.destination.name`: exchange, routing key and queue, as far as they are there. Names that the broker made are
    /// of no use for that.
    pub(super) fn destination(&self, queue: Option<&str>) -> Option<CompactString> {
        let key = self.key.as_deref();
        let queue = queue.filter(|queue| key != Some(*queue));
        let parts = [self.exchange.as_deref(), key, queue];
        let mut destination = CompactString::default();
        for part in parts.into_iter().flatten().filter(|part| !is_generated(part)) {
            if !destination.is_empty() {
                destination.push(':');
            }
            destination.push_str(part);
        }
        (!destination.is_empty()).then_some(destination)
    }
}

/// Whether the broker made up this name for something temporary.
pub(super) fn is_generated(name: &str) -> bool {
    name.starts_with("amq.gen-") || name.starts_with("amq.rabbitmq.reply-to") || name.starts_with("amq.ctag-")
}

/// What a content header says.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub(super) size: Option<u64>,
    pub(super) message: Option<CompactString>,
    pub(super) conversation: Option<CompactString>,
    pub(super) carried: Option<Box<Carried>>,
    /// Something of it is missing.
    pub(super) cut: bool,
}

impl Properties {
    /// Reads as much of the payload of a content header as there is.
    pub(super) fn read(mut c: Cursor<'_>) -> Self {
        let mut properties = Self::default();
        properties.cut = properties.fill(&mut c).is_none();
        properties
    }

    fn fill(&mut self, c: &mut Cursor<'_>) -> Option<()> {
        c.skip(4)?;
        self.size = Some(c.u64_be()?);
        let flags = c.u16_be()?;
        let has = |bit: u8| flags >> bit & 1 == 1;
        for bit in [15, 14] {
            if has(bit) {
                c.prefixed_u8()?;
            }
        }
        if has(13) {
            let length = usize::try_from(c.u32_be()?).ok()?;
            let mut table = Cursor::new(c.take_up_to(length));
            let whole = table.len() == length;
            let mut contexts = Contexts::default();
            for _ in 0..MAX_HEADERS {
                if table.is_empty() || header(&mut table, &mut contexts).is_none() {
                    break;
                }
            }
            self.carried = contexts.carried();
            if !whole {
                return None;
            }
        }
        c.skip(usize::from(has(12)) + usize::from(has(11)))?;
        if has(10) {
            self.conversation = name(c.prefixed_u8()?);
        }
        for bit in [9, 8] {
            if has(bit) {
                c.prefixed_u8()?;
            }
        }
        if has(7) {
            self.message = name(c.prefixed_u8()?);
        }
        Some(())
    }

    /// Their attributes.
    pub(super) fn describe(&self, attributes: &mut Attributes) {
        if let Some(size) = self.size {
            attributes.push("messaging.message.body.size", size);
        }
        if let Some(id) = &self.message {
            attributes.push("messaging.message.id", id.clone());
        }
        if let Some(id) = &self.conversation {
            attributes.push("messaging.message.conversation_id", id.clone());
        }
    }
}

/// Reads the next header of a table.
fn header(table: &mut Cursor<'_>, contexts: &mut Contexts) -> Option<()> {
    let name = table.prefixed_u8()?;
    let fixed = match table.u8()? {
        b'S' | b'x' => {
            let value = table.whole(|c| usize::try_from(c.u32_be()?).ok())?;
            contexts.add(name, value);
            return Some(());
        }
        b'A' | b'F' => usize::try_from(table.u32_be()?).ok()?,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'V' => 0,
        _ => return None,
    };
    table.skip(fixed)
}
