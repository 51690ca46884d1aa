//! Protocols: [`Update`]s of a connection in, [`Note`]s of requests and responses out. A protocol is one file (or
//! folder) that offers a [`Protocol`], and one line in [`PROTOCOLS`].

mod amqp;
mod attributes;
mod carried;
mod cassandra;
mod cgi;
mod clickhouse;
pub mod cursor;
pub mod db;
mod detect;
pub mod dns;
mod endpoints;
mod exchange;
mod fastcgi;
pub mod framed;
#[cfg(test)]
mod given;
pub mod http;
mod http1;
mod http2;
mod kafka;
mod memcached;
mod messaging;
mod mongodb;
mod mqtt;
mod mssql;
mod mysql;
mod nats;
mod postgres;
mod probe;
#[cfg(test)]
mod promises;
mod proxy;
mod redis;
mod session;
mod shared;
#[cfg(test)]
mod testing;
mod tls;
mod uwsgi;
mod waiting;

pub use attributes::{Attributes, Value};
pub use carried::{Carried, ContextHeader, Values};
pub use detect::Foreign;
pub use exchange::{Addresses, Answered, Asked, CallId, Exchange, Holes, Named, Note, OtherEnd, Side, Status};
pub use http2::hpack;
pub use session::{Session, Understanding};
pub use shared::{Counts, Shared};

use crate::{
    conn::{Connection, Update},
    event::Direction,
};

/// Every protocol that is understood, in the order in which detection asks them.
pub static PROTOCOLS: &[Protocol] = &[
    http1::PROTOCOL,
    http2::PROTOCOL,
    postgres::PROTOCOL,
    mysql::PROTOCOL,
    mssql::PROTOCOL,
    redis::PROTOCOL,
    memcached::PROTOCOL,
    fastcgi::PROTOCOL,
    uwsgi::PROTOCOL,
    kafka::PROTOCOL,
    mongodb::PROTOCOL,
    cassandra::PROTOCOL,
    clickhouse::PROTOCOL,
    amqp::PROTOCOL,
    nats::PROTOCOL,
    mqtt::PROTOCOL,
    dns::PROTOCOL,
];

/// What the list of protocols holds of one.
#[derive(Debug)]
pub struct Protocol {
    /// Name, lower case: OpenTelemetry's `network.protocol.name`, with the version where each has a decoder of its own.
    pub name: &'static str,
    /// Whether these bytes are this protocol.
    pub detect: fn(&Sample<'_>) -> Verdict,
    /// A decoder for one connection, given the bytes for which `detect` said yes. It is then told of them again, as updates.
    pub decoder: fn(&Sample<'_>) -> Box<dyn Decoder>,
}

/// Bytes that begin a piece of a stream, perhaps with pieces that follow it: what detection looks at.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Which way they went.
    pub direction: Direction,
    /// Who sent them, where it is known who opened the connection: whoever did so is the client.
    pub sender: Option<Side>,
    /// They are the first bytes of their stream.
    pub first: bool,
}

impl Sample<'_> {
    /// The way that requests go, if these bytes were sent by `sender`.
    #[must_use]
    pub fn asks(&self, sender: Side) -> Direction {
        match sender {
            Side::Client => self.direction,
            Side::Server => self.direction.opposite(),
        }
    }
}

/// What a protocol says of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are a message of this protocol.
    Yes,
    /// They are not.
    No,
    /// They could be: ask again with more.
    More,
}

/// Turns one connection's updates into exchanges. Never panics, whatever the bytes; bounds its own memory.
pub trait Decoder: Send {
    /// Takes the next update; pushes what it makes known.
    fn update(&mut self, shared: &Shared, connection: &Connection, update: &Update<'_>, out: &mut Vec<Note>);

    /// What it wants to see next of a direction. Not asked any more once [`Decoder::over`] says something.
    fn interest(&self, shared: &Shared, direction: Direction) -> Interest;

    /// Why it will not understand anything further, if so: the connection is then left alone.
    fn over(&self) -> Option<Over>;

    /// After [`Over::Encrypted`]: the decoder of what TLS protects, where that goes on with what has begun before it.
    fn within(&self) -> Option<Box<dyn Decoder>> {
        None
    }
}

/// Why a decoder has finished with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The protocol was left in the way that it offers for that (`Upgrade`, `CONNECT`).
    Switched,
    /// Both ends have agreed to go on with TLS.
    Encrypted,
    /// It is a different protocol after all, and nothing was reported of it.
    NotMine,
    /// It is broken, or ambiguous: whatever came next would be a guess.
    Malformed,
    /// It is the agent's own export.
    Own,
}

/// What a decoder wants to see of one direction. Advice that saves work: more or less may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Nothing before this stream offset, but the call that reaches it.
    pub from: u64,
    /// At most so many bytes of each call; 0: no bytes, only lengths and times.
    pub bytes: u32,
    /// Nothing at all any more, not even lengths.
    pub never: bool,
}

impl Interest {
    /// Nothing any more.
    pub const NEVER: Self = Self { from: u64::MAX, bytes: 0, never: true };
}
