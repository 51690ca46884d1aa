//! Kafka: requests and responses by correlation id. <https://kafka.apache.org/protocol>
//!
//! Told of each request: what it is, client, group, topic and partition where it is about one; of Produce and Fetch also how many
//! messages, where all of them were captured. A Fetch waits at the broker for messages, so its span's duration is mostly waiting:
//! `geophone.kafka.max_wait_ms` says for how long at most. A Produce with `acks=0` is not answered; its span ends when it is sent.
//!
//! Left out: messages that are compressed, and raw SASL tokens after version 0 of SaslHandshake.

mod api;
mod batch;
mod error;
mod fields;
mod request;
mod response;
mod talk;
#[cfg(test)]
mod tests;

use super::{Protocol, Sample, Side, Verdict, framed::Framed};

/// Kafka.
pub const PROTOCOL: Protocol = Protocol {
    name: "kafka",
    detect,
    decoder: |sample| Box::new(Framed::new(sample.asks(Side::Client), talk::Kafka::default())),
};

/// The longest message that is believed in.
const MAX_LENGTH: u32 = 512 << 20;

fn detect(sample: &Sample<'_>) -> Verdict {
    if sample.sender == Some(Side::Server) { Verdict::No } else { request::detect(sample.bytes, sample.first) }
}
