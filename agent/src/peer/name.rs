//! What both ends of a connection call a request on it, without any help of the network in between.

use opentelemetry::trace::SpanContext;

use crate::event::Sequences;

/// A request's name: TCP's sequence numbers of the first byte that the answering side sends on the connection, and of the request's own
/// first byte. Address translation keeps both, and the ends find them at any time in the connection's life; whether the kernel counted
/// a SYN among the bytes before the request makes no difference. What rewrites sequence numbers (some firewalls, every proxy) makes two
/// connections of one, whose ends have different names for it: then nothing is found, and nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Of the first byte that the answering side sends.
    pub answers: u32,
    /// Of the request's first byte.
    pub request: u32,
}

impl Name {
    /// As the side that asks finds it; `place` is the stream offset of the request's first byte, or its id, with which `sequences` must not
    /// count a SYN.
    #[must_use]
    pub fn asking(sequences: Sequences, place: u64) -> Self {
        // Sequence numbers come round; a request is long forgotten when they do.
        Self { answers: sequences.received, request: sequences.sent.wrapping_add(place as u32) }
    }

    /// As the side that answers finds it.
    #[must_use]
    pub fn answering(sequences: Sequences, place: u64) -> Self {
        Self { answers: sequences.sent, request: sequences.received.wrapping_add(place as u32) }
    }
}

/// The context of one request, as the agent of who asks tells it to the agent of who answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Which request.
    pub name: Name,
    /// Its span on the asking side: the parent of what it causes on the other.
    pub context: SpanContext,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_have_the_same_name() {
        let client = Sequences { sent: u32::MAX - 9, received: 7 };
        let server = Sequences { sent: 7, received: u32::MAX - 9 };
        let name = Name { answers: 7, request: 90 };
        assert_eq!((Name::asking(client, 100), Name::answering(server, 100)), (name, name));
        assert_eq!(Name::asking(client, 100 + (3 << 32)), name);
        // It counts its SYN, with the number before the first byte's.
        let older = Sequences { sent: u32::MAX - 10, received: 7 };
        assert_eq!(Name::asking(older, 101), name);
    }
}
