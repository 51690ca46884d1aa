//! A request and its response, in the terms of no particular protocol.

use std::net::{IpAddr, SocketAddr};

use compact_str::CompactString;

use super::{Attributes, Carried, Values};
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
