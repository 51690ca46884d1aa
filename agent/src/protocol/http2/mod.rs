//! HTTP/2 (RFC 9113): frames, header compression, and streams. gRPC is what `protocol/http/grpc.rs` makes of it.
//!
//! Not on the shared layer for messages with a length: what is wanted of a frame may be anywhere in it (the lengths of gRPC's messages), a
//! message is made of several frames with others in between, and which side asks shows only with the first header block.

mod decoder;
mod detect;
mod frame;
mod head;
pub mod hpack;
mod open;
#[cfg(test)]
mod properties;
mod streams;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod way;
#[cfg(test)]
mod written;

pub(super) use decoder::Http2;

use super::Protocol;

/// HTTP/2, for the list of protocols.
pub(super) const PROTOCOL: Protocol =
    Protocol { name: "http2", detect: |sample| detect::detect(sample.bytes), decoder: |_| Box::<Http2>::default() };
