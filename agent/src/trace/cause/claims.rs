//! Who has said, before it was sent, that a request goes out on its behalf: the next one on a connection, or the one of a stream. What
//! follows from that is in `handover` and `asked`.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::{call::Sign, forget::older_half, work::Work};
use crate::event::{Nanos, SocketId, Thread};

/// Most sockets that are known at a time.
const SOCKETS: usize = 65_536;
/// Most streams of a connection that have been claimed, and not begun.
const STREAMS: usize = 1024;

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Who has said so.
    pub(super) who: Thread,
    /// What it was busy with.
    pub(super) work: Option<Work>,
    /// What kind of sign that is, where it is not certain.
    pub(super) doubt: Option<Sign>,
}

/// What is known of a request that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// Whose it is.
    By(Claim),
    /// On this connection each request is claimed, and this one will be.
    Later,
    /// Nothing.
    No,
}

/// What has become of the claim of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is kept until the request goes out.
    Early,
    /// The request has gone out on this connection.
    Late(SocketId),
}

#[derive(Debug, Default)]
struct Connection {
    /// Which it is, as soon as a call or a request of it was seen.
    id: Option<SocketId>,
    /// Whose the next request is.
    next: Option<Claim>,
    /// Whose those of streams are.
    streams: BTreeMap<u64, Claim>,
    /// The last stream that has begun.
    begun: u64,
    /// Streams are claimed.
    by_stream: bool,
    /// When it was last heard of.
    seen: Nanos,
}

/// All claims, by the address of the `struct sock`.
#[derive(Debug, Default)]
pub(super) struct Claims {
    sockets: HashMap<u64, Connection, foldhash::fast::RandomState>,
    /// How many were given up because there were too many.
    pub(super) forgotten: u64,
}

impl Claims {
    /// Somebody has the next request on a socket sent on its behalf.
    pub(super) fn next(&mut self, sock: u64, claim: Claim, now: Nanos) {
        self.socket(sock, now).next = Some(claim);
    }

    /// Somebody has the request of a stream sent on its behalf, which may have gone out already.
    pub(super) fn stream(&mut self, sock: u64, place: u64, claim: Claim, now: Nanos) -> Placed {
        let connection = self.socket(sock, now);
        connection.by_stream = true;
        if let Some(id) = connection.id.filter(|_| place <= connection.begun) {
            return Placed::Late(id);
        }
        connection.streams.entry(place).or_insert(claim);
        if connection.streams.len() > STREAMS {
            connection.streams.pop_first();
            self.forgotten += 1;
        }
        Placed::Early
    }

    /// A task reads or sends a request on a connection.
    pub(super) fn uses(&mut self, id: SocketId, now: Nanos) {
        let connection = self.socket(id.sock, now);
        if connection.id.is_some_and(|other| other != id) {
            *connection = Connection { seen: now, ..Connection::default() };
        }
        connection.id = Some(id);
    }

    /// The connection that a socket is.
    pub(super) fn id(&self, sock: u64) -> Option<SocketId> {
        self.sockets.get(&sock)?.id
    }

    /// A request goes out. Streams begin in the order of their numbers.
    pub(super) fn take(&mut self, sock: u64, place: u64) -> Claimed {
        let Some(connection) = self.sockets.get_mut(&sock) else {
            return Claimed::No;
        };
        if let Some(claim) = connection.next.take() {
            return Claimed::By(claim);
        }
        connection.begun = connection.begun.max(place);
        if !connection.by_stream {
            return Claimed::No;
        }
        let claim = connection.streams.remove(&place);
        connection.streams = connection.streams.split_off(&place);
        claim.map_or(Claimed::Later, Claimed::By)
    }

    /// A connection is over.
    pub(super) fn closed(&mut self, sock: u64) {
        self.sockets.remove(&sock);
    }

    fn socket(&mut self, sock: u64, now: Nanos) -> &mut Connection {
        if self.sockets.len() >= SOCKETS && !self.sockets.contains_key(&sock) {
            self.forgotten += older_half(&mut self.sockets, |connection| connection.seen);
        }
        let connection = self.sockets.entry(sock).or_default();
        connection.seen = now;
        connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(tid: u32) -> Claim {
        Claim { who: Thread { tgid: 1, tid, ..Thread::default() }, work: None, doubt: None }
    }

    #[test]
    fn streams_that_never_begin_are_bounded() {
        let mut claims = Claims::default();
        let id = SocketId { sock: 20, born: 1 };
        claims.uses(id, 1);
        for place in 0..2 * STREAMS as u64 {
            assert_eq!(claims.stream(20, 2 * place + 1, claim(7), 1), Placed::Early);
        }
        assert_eq!(claims.forgotten, STREAMS as u64);
        let last = 4 * STREAMS as u64 - 1;
        assert_eq!(claims.take(20, last - 2), Claimed::By(claim(7)));
        // What is behind the stream that has begun never begins; what is yet to come is still there.
        assert_eq!(claims.take(20, 2 * STREAMS as u64 + 1), Claimed::Later);
        assert_eq!(claims.take(20, last), Claimed::By(claim(7)));
        assert_eq!(claims.stream(20, last, claim(8), 2), Placed::Late(id));
        claims.closed(20);
        assert_eq!(claims.take(20, last + 2), Claimed::No);
    }

    #[test]
    fn sockets_are_bounded() {
        let mut claims = Claims::default();
        for sock in 0..=SOCKETS as u64 {
            claims.next(sock, claim(7), sock);
        }
        assert!(claims.sockets.len() <= SOCKETS && claims.forgotten > 0);
        assert_eq!(claims.take(SOCKETS as u64, 0), Claimed::By(claim(7)));
        assert_eq!(claims.take(0, 0), Claimed::No);
    }

    #[test]
    fn another_connection_at_the_same_address() {
        let mut claims = Claims::default();
        claims.uses(SocketId { sock: 20, born: 1 }, 1);
        assert_eq!(claims.stream(20, 1, claim(7), 1), Placed::Early);
        assert_eq!(claims.take(20, 1), Claimed::By(claim(7)));
        claims.uses(SocketId { sock: 20, born: 2 }, 2);
        assert_eq!(claims.take(20, 1), Claimed::No);
        assert_eq!(claims.id(20), Some(SocketId { sock: 20, born: 2 }));
    }
}
