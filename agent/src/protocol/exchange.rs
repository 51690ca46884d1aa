//! A request and its response, in the terms of no particular protocol.

use std::borrow::Cow;

use compact_str::CompactString;

use crate::event::{Nanos, SocketId, Thread};

/// Which side of an exchange the process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It answers.
    Server,
    /// It asks.
    Client,
}

/// A request with its response, as one side saw it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// On which connection.
    pub socket: SocketId,
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
    /// Stream offset of the request's first byte.
    pub request_offset: u64,
    /// Span name, of low cardinality.
    pub name: CompactString,
    /// Span status.
    pub status: Status,
    /// Attributes by the semantic conventions of the protocol.
    pub attributes: Attributes,
    /// The context that the request carries: the values of `traceparent` and `tracestate`, unchecked.
    pub traceparent: Option<CompactString>,
    /// See `traceparent`.
    pub tracestate: Option<CompactString>,
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
