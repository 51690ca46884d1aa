//! AMQP 0-9-1: what clients speak with RabbitMQ. <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>
//!
//! A publish ends when it has been sent, or where the channel is in confirm mode, when the broker has confirmed it. A delivery is
//! a request of the broker to the consumer, which ends with its acknowledgement; without acknowledgements, when it has come.
//!
//! Left out: messages that are returned as unroutable, transactions' effects, and whether a message that was got (`basic.get`) is
//! acknowledged. The numbers of publishes, and who consumes without acknowledgements, are known only where the channel was seen from its
//! beginning.

mod channels;
mod content;
mod frame;
mod method;
mod talk;
#[cfg(test)]
mod tests;

use super::{
    Protocol, Sample, Side, Verdict,
    framed::{Framed, Role},
};

/// AMQP 0-9-1.
pub const PROTOCOL: Protocol = Protocol {
    name: "amqp",
    detect,
    decoder: |sample| {
        let sender = match frame::begins(sample.bytes) {
            (Verdict::Yes, Some(Role::Response)) => Side::Server,
            _ => Side::Client,
        };
        Box::new(Framed::new(sample.asks(sample.sender.unwrap_or(sender)), talk::Amqp::default()))
    },
};

fn detect(sample: &Sample<'_>) -> Verdict {
    let (verdict, role) = frame::begins(sample.bytes);
    let fits = match (role, sample.sender) {
        // Both sides may send it.
        (None, sender) => sender.is_some(),
        (Some(Role::Request), sender) => sender != Some(Side::Server),
        (Some(Role::Response), sender) => sender != Some(Side::Client),
    };
    if verdict == Verdict::Yes && !fits { Verdict::No } else { verdict }
}
