//! Memcached: the text protocol with its meta commands, and the binary protocol. One span for each command; of keys, only the number is
//! told. <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>,
//! <https://github.com/memcached/memcached/wiki/BinaryProtocolRevamped>
//!
//! A command that forbids its answer (`noreply`) is a span that ends when it has been sent. One that is answered only where there is
//! something to say (`q`, `GetKQ`) is told of when something behind it is answered.
//!
//! Left out: UDP, and what Couchbase has made of the binary protocol.

mod binary;
mod detect;
mod talk;
#[cfg(test)]
mod tests;
mod text;

use super::{Protocol, Side, Verdict, framed::Framed};

/// Memcached.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "memcached",
    detect: |sample| match detect::sender(sample) {
        Ok(_) => Verdict::Yes,
        Err(verdict) => verdict,
    },
    decoder: |sample| {
        let sender = detect::sender(sample).unwrap_or(Side::Client);
        Box::new(Framed::new(sample.asks(sender), talk::Memcached::default()))
    },
};
