//! What one request was, and what came back.

use serde::{Deserialize, Serialize};

/// One request and its final answer, as the client saw them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Exchanged {
    /// Method.
    pub method: String,
    /// Path and query, unique in a test.
    pub target: String,
    /// `traceparent`, when one was sent.
    pub traceparent: String,
    /// Bytes of the request's body, without the framing of chunks.
    pub request_body: u64,
    /// Final status.
    pub status: u16,
    /// Bytes of the answer's body, without the framing of chunks.
    pub response_body: u64,
    /// The body's first bytes, at most 64.
    pub response_text: String,
    /// Wall clock before the first byte was sent (of the first request of a pipelined round), in nanoseconds since 1970.
    pub start: u64,
    /// Wall clock after the last byte was received.
    pub end: u64,
    /// The client's port, 0 for a Unix socket.
    pub port: u16,
}
