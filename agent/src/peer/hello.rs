//! How an agent says hello: to whom it does not know, in answer, and to its peers again and again. What it makes of others' hellos is
//! `hearing`'s.

use std::net::{IpAddr, SocketAddr};

use super::{
    core::Core,
    session::{Datagram, Session},
    wire::{ADDRESSES, HEAD, Head, Hello, Kind, LONGEST},
};
use crate::event::Nanos;

/// A hello that answers one which is older than twice this opens nothing.
const FRESH: Nanos = 5_000_000_000;

impl Core {
    /// Says hello where an agent may be.
    pub(super) fn greet_stranger(&mut self, address: SocketAddr) {
        self.hello += 1;
        let head = Head { kind: Kind::Hello, from: self.me, to: 0, number: self.hello };
        let hello = Hello { answer: true, version: self.version.clone(), ..Hello::default() };
        let (mut bytes, way) = (written(&head, &hello), self.key.way(self.me, 0));
        if way.and_then(|way| way.seal(head.kind.code(), head.number, HEAD, &mut bytes)).is_some() {
            self.out.push_back(Datagram { to: address, bytes });
        }
    }

    /// Answers the hello of an agent that is not known yet: keeps nothing of it.
    pub(super) fn answer_stranger(&mut self, now: Nanos, peer: u64, address: SocketAddr, echo: u64) {
        self.hello += 1;
        let head = Head { kind: Kind::Hello, from: self.me, to: peer, number: self.hello };
        let after = self.sessions.get(&peer).map_or(now, Session::number);
        let hello = Hello { echo, after, answer: true, version: self.version.clone(), addresses: Vec::new() };
        let (mut bytes, way) = (written(&head, &hello), self.key.way(self.me, peer));
        if way.and_then(|way| way.seal(head.kind.code(), head.number, HEAD, &mut bytes)).is_some() {
            self.out.push_back(Datagram { to: address, bytes });
        }
    }

    /// Tells a peer for which addresses this agent speaks, in as many hellos as it takes.
    pub(super) fn greet(&mut self, peer: u64, echo: u64, now: Nanos) {
        let addresses: Vec<IpAddr> = self.own.keys().copied().collect();
        let parts = addresses.len().div_ceil(ADDRESSES).max(1);
        for part in 0..parts {
            self.hello += 1;
            let head = Head { kind: Kind::Hello, from: self.me, to: peer, number: self.hello };
            let some = addresses.iter().skip(part * ADDRESSES).take(ADDRESSES).copied().collect();
            let Some(session) = self.sessions.get_mut(&peer) else {
                return;
            };
            let after = session.number();
            let hello = Hello { echo, after, answer: false, version: self.version.clone(), addresses: some };
            let mut bytes = written(&head, &hello);
            session.hello_sent = now;
            if session.seal_hello(&head, &mut bytes).is_some() {
                self.out.push_back(Datagram { to: session.address, bytes });
            }
        }
    }

    /// Moves on the time from which on hellos are fresh.
    pub(super) fn refresh(&mut self, now: Nanos) {
        let (_, next, since) = self.fresh;
        let age = now.saturating_sub(since);
        if age >= FRESH {
            let latest = self.hello + 1;
            // The agent, or its machine, may have stood still for longer than both.
            self.fresh = (if age >= 2 * FRESH { latest } else { next }, latest, now);
        }
    }
}

fn written(head: &Head, hello: &Hello) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LONGEST);
    head.write(&mut bytes);
    hello.write(&mut bytes);
    bytes
}
