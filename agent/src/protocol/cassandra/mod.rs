//! Cassandra's native protocol, versions 3 to 5: one span for each request, by stream id. CQL is sanitised like SQL.
//! <https://github.com/apache/cassandra/blob/trunk/doc/native_protocol_v5.spec>
//!
//! Version 5 wraps what it says in segments with checksums, once a connection has been set up ([`segment`]). A body that is compressed
//! (versions 3 and 4) is not read; its span says so. A connection of version 5 that is compressed is left alone when it has been set up,
//! because even the stream ids are compressed; so is nothing of one that was joined later.
//!
//! Left out: the results of other connections' PREPARE. The server knows a prepared statement on every connection; here, an EXECUTE
//! of one that was not prepared on the same connection has no text.

mod body;
mod envelope;
mod result;
mod segment;
mod statements;
mod talk;
#[cfg(test)]
mod tests;

use super::{
    Protocol, Sample, Side, Verdict,
    framed::{Framed, Role},
};

/// Cassandra.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "cassandra",
    detect: |sample| match sender(sample) {
        Ok(_) => Verdict::Yes,
        Err(verdict) => verdict,
    },
    decoder: |sample| {
        let sender = sender(sample).unwrap_or(Side::Client);
        Box::new(Framed::new(sample.asks(sender), talk::Cassandra::default()))
    },
};

/// Who sent these bytes, if they are Cassandra's; else why not.
fn sender(sample: &Sample<'_>) -> Result<Side, Verdict> {
    let mut verdict = Verdict::No;
    for (side, role) in [(Side::Client, Role::Request), (Side::Server, Role::Response)] {
        if sample.sender.is_none_or(|sender| sender == side) {
            match begins(role, sample.bytes) {
                Verdict::Yes => return Ok(side),
                Verdict::More => verdict = Verdict::More,
                Verdict::No => {}
            }
        }
    }
    Err(verdict)
}

/// Whether a message, or a segment of them, begins with these bytes for certain.
fn begins(role: Role, bytes: &[u8]) -> Verdict {
    match envelope::begins(role, bytes) {
        Verdict::No => segment::begins(role, bytes),
        verdict => verdict,
    }
}
