//! DNS over TCP (RFC 7766): queries and responses by id, each after its length in two bytes; and over UDP ([`Datagrams`]), which has no
//! connections. Messages are read by [`message`], which knows no transport. <https://opentelemetry.io/docs/specs/semconv/registry/attributes/dns/>
//!
//! Left out: what answers hold but addresses, and transfers of zones (`AXFR`), whose response is several messages: its span ends with the first.

mod datagrams;
#[cfg(test)]
mod datagrams_tests;
pub mod message;
mod span;
mod talk;
#[cfg(test)]
mod tests;

pub use datagrams::Datagrams;

use super::{Protocol, Sample, Side, Verdict, framed::Framed};

/// DNS over TCP.
pub const PROTOCOL: Protocol = Protocol {
    name: "dns",
    detect,
    decoder: |sample| Box::new(Framed::new(sample.asks(sender(sample.bytes)), talk::Dns::default())),
};

/// Whether the bytes are whole messages: one alone, or the beginning of one, is too little to go by.
fn detect(sample: &Sample<'_>) -> Verdict {
    let verdict = talk::is_message(sample.bytes);
    let fits = sample.sender.is_none_or(|known| known == sender(sample.bytes));
    if verdict == Verdict::Yes && !fits { Verdict::No } else { verdict }
}

/// Who sends such a message.
fn sender(bytes: &[u8]) -> Side {
    // The highest bit after length and id: a response.
    if bytes.get(4).is_some_and(|flags| flags & 0x80 != 0) { Side::Server } else { Side::Client }
}
