//! MQTT 3.1, 3.1.1 and 5: requests of a client and messages of the broker, by packet identifiers.
//! <https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html>
//!
//! A publish of quality of service 0 ends when it is sent; one of 1 with its `PUBACK`, one of 2 with its `PUBCOMP`. A message to a client
//! is a request of the broker to it, with the same ends.
//!
//! Left out: pings, `AUTH`, `DISCONNECT`, and connections joined after their `CONNECT`, of which nothing is certain.

mod packet;
mod talk;
#[cfg(test)]
mod tests;

use super::{Protocol, Sample, Side, Verdict, framed::Framed};

/// MQTT.
pub const PROTOCOL: Protocol = Protocol {
    name: "mqtt",
    detect,
    decoder: |sample| Box::new(Framed::new(sample.asks(Side::Client), talk::Mqtt::default())),
};

fn detect(sample: &Sample<'_>) -> Verdict {
    if sample.sender == Some(Side::Server) { Verdict::No } else { packet::is_connect(sample.bytes) }
}
