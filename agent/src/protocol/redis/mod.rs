//! Redis and Valkey: RESP2 and RESP3, inline commands, pipelines, transactions, subscriptions. One span for each command; of its arguments,
//! only the number is told. <https://redis.io/docs/latest/develop/reference/protocol-spec/>

mod command;
mod detect;
mod element;
#[cfg(test)]
mod properties;
mod talk;
#[cfg(test)]
mod tests;

use super::{Protocol, Side, Verdict, framed::Framed};

/// Redis, for the list of protocols.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "redis",
    detect: |sample| match detect::sender(sample) {
        Ok(_) => Verdict::Yes,
        Err(verdict) => verdict,
    },
    decoder: |sample| {
        let sender = detect::sender(sample).unwrap_or(Side::Client);
        Box::new(Framed::new(sample.asks(sender), talk::Redis::new(sample.first)))
    },
};
