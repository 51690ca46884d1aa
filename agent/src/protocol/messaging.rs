//! What the protocols of message brokers have in common: OpenTelemetry's semantic conventions for their spans, and messages that
//! go from the broker to a client. Knows no wire format. <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>
//!
//! A message that nothing answers is an exchange that ends when it has been sent or received. It has no first byte of a response, and
//! that is no hole: `no_response` means that one should have come.

use compact_str::CompactString;

use super::{
    Attributes, Carried, ContextHeader, Side, endpoints,
    framed::{Call, Context},
};

/// Attributes of a usual span, so that their list is allocated once.
const USUAL: usize = 18;
/// The most that is kept of a name that comes from the wire.
const MAX_NAME: usize = 255;

/// What a request to a broker does, or a broker's message to a client.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// `messaging.operation.name`.
    pub name: &'static str,
    /// `messaging.operation.type`: `send`, `receive`, `process`, `settle`; for none of them, `None`.
    pub kind: Option<&'static str>,
    /// `messaging.destination.name`.
    pub destination: Option<CompactString>,
    /// `messaging.client.id`.
    pub client: Option<CompactString>,
}

impl Operation {
    /// The span's name.
    #[must_use]
    pub fn title(&self) -> CompactString {
        let mut title = CompactString::const_new(self.name);
        if let Some(destination) = &self.destination {
            title.push(' ');
            title.push_str(destination);
        }
        title
    }
}

/// A name that came from the wire; `None` for an empty one.
#[must_use]
pub fn name(bytes: &[u8]) -> Option<CompactString> {
    let bytes = bytes.get(..MAX_NAME).unwrap_or(bytes);
    (!bytes.is_empty()).then(|| CompactString::from_utf8_lossy(bytes))
}

/// The attributes that are known when the message is.
#[must_use]
pub fn describe(system: &'static str, operation: &Operation, cx: &Context<'_>) -> Attributes {
    let mut attributes = Attributes(Vec::with_capacity(USUAL));
    attributes.push("messaging.system", system);
    attributes.push("messaging.operation.name", operation.name);
    if let Some(kind) = operation.kind {
        attributes.push("messaging.operation.type", kind);
    }
    if let Some(destination) = &operation.destination {
        attributes.push("messaging.destination.name", destination.clone());
    }
    if let Some(client) = &operation.client {
        attributes.push("messaging.client.id", client.clone());
    }
    if let Some(server) = endpoints::server(cx.connection, broker(cx.side, operation)) {
        attributes.push("server.address", server.address);
        if let Some(port) = server.port {
            attributes.push("server.port", port);
        }
    }
    endpoints::describe(cx.connection, &mut attributes);
    attributes
}

/// On which side of the connection the process is, whichever way the message goes: the broker is the server.
fn broker(side: Side, operation: &Operation) -> Side {
    match (side, operation.kind) {
        (Side::Server, Some("process")) => Side::Client,
        (Side::Client, Some("process")) => Side::Server,
        (side, _) => side,
    }
}

/// Does something about a message that goes from the broker to a client: there the client is the one that is asked.
pub fn pushed<T>(cx: &mut Context<'_>, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let turned = |side| match side {
        Side::Server => Side::Client,
        Side::Client => Side::Server,
    };
    cx.side = turned(cx.side);
    let result = act(cx);
    cx.side = turned(cx.side);
    result
}

/// Adds where the message goes, once that is known.
pub fn direct(call: &mut Call<impl Sized>, operation: &Operation) {
    if call.exchange.attributes.get("messaging.destination.name").is_none()
        && let Some(destination) = &operation.destination
    {
        call.exchange.attributes.push("messaging.destination.name", destination.clone());
        call.exchange.name = operation.title();
    }
}

/// The contexts of traces among a message's properties.
#[derive(Debug, Default)]
pub struct Contexts(Carried);

impl Contexts {
    /// Takes the next property.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        if let Some(header) = std::str::from_utf8(name).ok().and_then(ContextHeader::named)
            && value.len() <= 8 * MAX_NAME
        {
            self.0.push(header, CompactString::from_utf8_lossy(value));
        }
    }

    /// All of them; `None` if there are none.
    #[must_use]
    pub fn carried(self) -> Option<Box<Carried>> {
        (!self.0.is_empty()).then(|| Box::new(self.0))
    }
}
