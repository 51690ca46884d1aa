//! A request and its response, in the terms of no particular protocol.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use compact_str::CompactString;

use crate::event::{Nanos, Sequences, SocketId, Thread};

/// Which side of an exchange the process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It answers.
    Server,
    /// It asks.
    Client,
}

/// A request's name: where it began. Both ends of a TCP connection know the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId {
    /// On which connection.
    pub socket: SocketId,
    /// The stream offset of its first byte, or the protocol's own stream id.
    pub place: u64,
}

/// How the other end of a connection is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherEnd {
    /// Not at all.
    #[default]
    Unknown,
    /// TCP: it has the same numbers the other way round.
    Sequences(Sequences),
    /// Unix: its `struct sock`.
    Sock(u64),
    /// UDP: it knows the client's address, the server's port, and this id of the message.
    Datagram(u16),
    /// TCP, and what is inside of TLS.
    Encrypted {
        /// It has the same numbers the other way round.
        sequences: Sequences,
        /// Where on the socket the TLS record begins that begins with the request, where that is known.
        wire: Option<u64>,
        /// The request's own place counts from the first byte inside of TLS, so that the other end counts the same.
        whole: bool,
    },
}

/// The addresses of a connection, the same for both of its ends as long as nothing translates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// Inode of the network namespace; 0 where the addresses are not those of a loopback device, which each namespace has of its own.
    pub netns: u32,
    /// Who asks.
    pub client: SocketAddr,
    /// Who is asked.
    pub server: SocketAddr,
}

/// What a decoder has to say, as soon as it knows it.
#[derive(Debug)]
pub enum Note {
    /// A request's head is there.
    Asked(Asked),
    /// Who sent a request, or who is asked, is known only now.
    Named(Named),
    /// The first byte of a response is there.
    Answered(Answered),
    /// More of what a process reads is there: the last byte of a request that it is asked, or of a response to its own. Said where
    /// another call has moved that than the beginning.
    WentOn(Answered),
    /// An exchange is complete, or will not be. It has been announced by [`Note::Asked`].
    Done(Exchange),
}

/// A request, as soon as its head is there: what the search for its cause needs.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which request.
    pub id: CallId,
    /// Whether the process is asked or asks.
    pub side: Side,
    /// When its first byte moved.
    pub time: Nanos,
    /// Who moved the last byte of its head.
    pub thread: Thread,
    /// The other end of its connection.
    pub other_end: OtherEnd,
    /// The peer's address, as this side knows it.
    pub remote: Option<IpAddr>,
    /// The addresses of its connection.
    pub addresses: Option<Addresses>,
    /// The contexts that its headers carry.
    pub carried: Option<Box<Carried>>,
    /// What it says of whom or what it is about.
    pub values: Values,
}

/// The addresses of a request that was announced without.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// Which request.
    pub id: CallId,
    /// Whether the process is asked or asks.
    pub side: Side,
    /// The addresses.
    pub addresses: Addresses,
}

/// A response, as soon as it begins.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// To which request.
    pub id: CallId,
    /// Whether the process answers or is answered.
    pub side: Side,
    /// When its first byte moved.
    pub time: Nanos,
    /// Who moved it.
    pub thread: Thread,
}

/// A header in which tracers hand a trace on, or that names a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextHeader {
    /// W3C `traceparent`.
    TraceParent,
    /// W3C `tracestate`.
    TraceState,
    /// `b3`.
    B3,
    /// `X-B3-TraceId`.
    B3TraceId,
    /// `X-B3-SpanId`.
    B3SpanId,
    /// `X-B3-Sampled`.
    B3Sampled,
    /// `X-B3-Flags`.
    B3Flags,
    /// `X-Amzn-Trace-Id`.
    AmznTraceId,
    /// `uber-trace-id`.
    UberTraceId,
    /// `x-datadog-trace-id`.
    DatadogTraceId,
    /// `x-datadog-parent-id`.
    DatadogParentId,
    /// `x-datadog-sampling-priority`.
    DatadogSamplingPriority,
    /// `x-datadog-tags`.
    DatadogTags,
    /// `sw8`.
    Sw8,
    /// `x-request-id`, `x-correlation-id` and the like: no trace, but a name for the request.
    Correlation,
}

impl ContextHeader {
    /// The header of this name, in any case.
    #[must_use]
    #[inline]
    pub fn named(name: &str) -> Option<Self> {
        // By length first: most headers are none of these.
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        Some(match name.len() {
            2 if is("b3") => Self::B3,
            3 if is("sw8") => Self::Sw8,
            10 if is("tracestate") => Self::TraceState,
            10 if is("x-b3-flags") => Self::B3Flags,
            10 if is("request-id") => Self::Correlation,
            11 if is("traceparent") => Self::TraceParent,
            11 if is("x-b3-spanid") => Self::B3SpanId,
            12 if is("x-b3-traceid") => Self::B3TraceId,
            12 if is("x-b3-sampled") => Self::B3Sampled,
            12 if is("x-request-id") => Self::Correlation,
            13 if is("uber-trace-id") => Self::UberTraceId,
            14 if is("correlation-id") => Self::Correlation,
            15 if is("x-amzn-trace-id") => Self::AmznTraceId,
            14 if is("x-datadog-tags") => Self::DatadogTags,
            16 if is("x-correlation-id") => Self::Correlation,
            16 if is("x-transaction-id") => Self::Correlation,
            18 if is("x-datadog-trace-id") => Self::DatadogTraceId,
            19 if is("x-datadog-parent-id") => Self::DatadogParentId,
            27 if is("x-datadog-sampling-priority") => Self::DatadogSamplingPriority,
            _ => return None,
        })
    }
}

/// The headers of a request that say to which trace it belongs, or that name it, unchecked, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried(Vec<(ContextHeader, CompactString)>);

impl Carried {
    /// Adds the next one.
    pub fn push(&mut self, header: ContextHeader, value: CompactString) {
        self.0.push((header, value));
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these is there.
    #[must_use]
    pub fn any(&self, headers: &[ContextHeader]) -> bool {
        self.0.iter().any(|(header, _)| headers.contains(header))
    }

    /// The value of a header that is there once.
    #[must_use]
    pub fn one(&self, header: ContextHeader) -> Option<&str> {
        let mut all = self.all(header);
        all.next().filter(|_| all.next().is_none())
    }

    /// The values of a header.
    pub fn all(&self, header: ContextHeader) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, _)| *other == header).map(|(_, value)| value.as_str())
    }
}

/// What stands for values in a request that may occur in others which it causes: equal for equal values, never 0. The four
/// that say most, those first that say more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values([u64; 4]);

impl Values {
    /// The values.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.into_iter().filter(|value| *value != 0)
    }
}

impl FromIterator<u64> for Values {
    fn from_iter<T: IntoIterator<Item = u64>>(values: T) -> Self {
        let mut found = Self::default();
        for (place, value) in found.0.iter_mut().zip(values) {
            *place = value.max(1);
        }
        found
    }
}

/// A request with its response, as one side saw it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Which request.
    pub id: CallId,
    /// OpenTelemetry's `network.protocol.name`.
    pub protocol: &'static str,
    /// Whether the process answered or asked.
    pub side: Side,
    /// First byte of the request.
    pub start: Nanos,
    /// Last byte of the request.
    pub request_end: Nanos,
    /// First byte of the response; `None` when there was none.
    pub first_byte: Option<Nanos>,
    /// Last byte of the response, or when it became certain that there will be none.
    pub end: Nanos,
    /// Who moved the request's first byte.
    pub request_thread: Thread,
    /// Who moved the response's first byte.
    pub response_thread: Option<Thread>,
    /// Span name, of low cardinality.
    pub name: CompactString,
    /// Span status.
    pub status: Status,
    /// Attributes by the semantic conventions of the protocol.
    pub attributes: Attributes,
    /// What of it is not certain.
    pub holes: Holes,
}

/// Span status, by the rules of the protocol's semantic conventions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nothing to say.
    #[default]
    Unset,
    /// Failed; a description where the conventions want one, else empty.
    Error(CompactString),
}

/// What is missing of an exchange: said on its span as `geophone.incomplete`, a list of these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// The request's head was not captured whole: attributes may be missing.
    pub request_head: bool,
    /// The response's head was not captured whole.
    pub response_head: bool,
    /// The end of the request's or response's body is not known exactly (lost records).
    pub length: bool,
    /// There was no response: the connection ended, or was given up, before one came.
    pub no_response: bool,
    /// Bytes of the connection were missed before, so that response and request belong together only if the client does not
    /// send a request before the one before it is answered. Hardly any does, but nothing has confirmed it here.
    pub pairing: bool,
}

/// Attributes, in order. A list: there are few, and each is set once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(pub Vec<(Cow<'static, str>, Value)>);

impl Attributes {
    /// Appends one.
    pub fn push(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push((Cow::Borrowed(key), value.into()));
    }

    /// The first of this name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(CompactString),
    /// Integer.
    Int(i64),
    /// Floating point.
    Float(f64),
    /// Truth.
    Bool(bool),
    /// List of texts.
    List(Vec<CompactString>),
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<CompactString> for Value {
    fn from(value: CompactString) -> Self {
        Self::Text(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Value {
    /// Values above `i64::MAX`, which no length on a wire reaches, become `i64::MAX`.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Vec<CompactString>> for Value {
    fn from(value: Vec<CompactString>) -> Self {
        Self::List(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_found_by_its_name() {
        for (name, header) in [
            ("TraceParent", ContextHeader::TraceParent),
            ("tracestate", ContextHeader::TraceState),
            ("b3", ContextHeader::B3),
            ("X-B3-TraceId", ContextHeader::B3TraceId),
            ("X-B3-SpanId", ContextHeader::B3SpanId),
            ("X-B3-Sampled", ContextHeader::B3Sampled),
            ("X-B3-Flags", ContextHeader::B3Flags),
            ("X-Amzn-Trace-Id", ContextHeader::AmznTraceId),
            ("uber-trace-id", ContextHeader::UberTraceId),
            ("x-datadog-trace-id", ContextHeader::DatadogTraceId),
            ("x-datadog-parent-id", ContextHeader::DatadogParentId),
            ("x-datadog-sampling-priority", ContextHeader::DatadogSamplingPriority),
            ("x-datadog-tags", ContextHeader::DatadogTags),
            ("sw8", ContextHeader::Sw8),
            ("X-Request-ID", ContextHeader::Correlation),
            ("X-Correlation-ID", ContextHeader::Correlation),
            ("Correlation-Id", ContextHeader::Correlation),
            ("Request-Id", ContextHeader::Correlation),
            ("X-Transaction-Id", ContextHeader::Correlation),
        ] {
            assert_eq!(ContextHeader::named(name), Some(header), "{name}");
        }
        assert_eq!(ContextHeader::named("content-type"), None);
    }
}
