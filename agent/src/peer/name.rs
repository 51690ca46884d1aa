//! What both ends of a connection call it and the requests on it, without any help of the network in between.

use opentelemetry::trace::SpanContext;

use crate::event::{Role, Sequences};

/// A TCP connection's name: the sequence number of the first byte in each direction. Address translation keeps both, and the ends
/// find them at any time in the connection's life. What rewrites sequence numbers (some firewalls, every proxy) makes two connections
/// of one, whose ends have different names for it: then nothing is found, and nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Of the first byte that the asking side sends.
    pub asks: u32,
    /// Of the first byte that the answering side sends.
    pub answers: u32,
}

impl Name {
    /// As the side that asks finds it.
    ///
    /// On a connection that is older than the agent its role is not known. Then the kernel has counted the SYN of whoever opened it,
    /// and who asks is taken to have opened it: the number is one too small. Where that is not so, the other end knows nothing of such
    /// a connection.
    #[must_use]
    pub fn asking(sequences: Sequences, role: Role) -> Self {
        Self { asks: sequences.sent.wrapping_add(older(role)), answers: sequences.received }
    }

    /// As the side that answers finds it.
    #[must_use]
    pub fn answering(sequences: Sequences) -> Self {
        Self { asks: sequences.received, answers: sequences.sent }
    }
}

/// The place of a request that this side has sent at a stream offset, as the other end counts it: on a connection that is older than
/// the agent the SYN was counted too. Not for places that are the protocol's own ids.
#[must_use]
pub fn place_of_asked(offset: u64, role: Role) -> u64 {
    offset.saturating_sub(u64::from(older(role)))
}

fn older(role: Role) -> u32 {
    u32::from(role == Role::Unknown)
}

/// The context of one request, as the agent of who asks tells it to the agent of who answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// On which connection.
    pub connection: Name,
    /// Which request on it: the stream offset of its first byte, or the protocol's own stream id.
    pub place: u64,
    /// The span of the request on the asking side: the parent of what it causes on the other.
    pub context: SpanContext,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_have_the_same_name() {
        let client = Sequences { sent: 7, received: u32::MAX };
        let server = Sequences { sent: u32::MAX, received: 7 };
        assert_eq!(Name::asking(client, Role::Connect), Name::answering(server));
        assert_eq!(place_of_asked(100, Role::Connect), 100);
        // It counts its SYN, with the number before the first byte's.
        let older = Sequences { sent: 6, received: u32::MAX };
        assert_eq!(Name::asking(older, Role::Unknown), Name::answering(server));
        assert_eq!(place_of_asked(101, Role::Unknown), 100);
        let wraps = Sequences { sent: u32::MAX, received: 1 };
        assert_eq!(Name::asking(wraps, Role::Unknown), Name { asks: 0, answers: 1 });
    }
}
