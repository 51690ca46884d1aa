//! HTTP/1.0 and HTTP/1.1 (RFC 9112): heads, body lengths, and the pairing of requests and responses by their order.

mod asked;
mod body;
mod call;
mod decoder;
mod detect;
mod framing;
#[cfg(test)]
mod grpc_web;
mod head;
mod loss;
mod messages;
mod pairing;
#[cfg(test)]
mod properties;
mod stream;
#[cfg(test)]
mod tests;

use super::Protocol;

/// HTTP/1.x, for the list of protocols.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "http",
    detect: |sample| detect::detect(sample.bytes),
    decoder: |sample| Box::new(decoder::Http1::new(sample.bytes, sample.direction)),
};
