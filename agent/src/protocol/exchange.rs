//! A request and its response, in the terms of no particular protocol.

use std::{borrow::Cow, net::IpAddr};

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
}

/// What a decoder has to say, as soon as it knows it.
#[derive(Debug)]
pub enum Note {
    /// A request's head is there.
    Asked(Asked),
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
    /// The contexts that its headers carry.
    pub carried: Option<Box<Carried>>,
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

/// The headers of a request that say to which trace it belongs, unchecked, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// `traceparent`.
    pub traceparent: Option<CompactString>,
    /// `tracestate`.
    pub tracestate: Option<CompactString>,
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
