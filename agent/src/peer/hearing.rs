//! What an agent makes of datagrams. Nothing in one is believed before its seal was opened, and nothing is kept of a sender before it has
//! answered a fresh hello of this agent: what somebody has recorded and sends again does nothing.

use std::net::SocketAddr;

use super::{
    core::{Core, Event, Heard},
    seal::Way,
    session::Session,
    stats::count,
    window::Seen,
    wire::{HEAD, Head, Hello, Item, Kind, Opening, Refused, read_batch},
};
use crate::event::Nanos;

/// Addresses that one peer may speak for.
const CLAIMS: usize = 4096;
/// Answers to agents that are not known, each second.
const COURTESY: u32 = 256;
const SECOND: Nanos = 1_000_000_000;

impl Core {
    /// Takes a datagram, which is opened where it lies.
    pub fn datagram(&mut self, now: Nanos, from: SocketAddr, bytes: &mut [u8]) {
        count(&self.stats.datagrams_received, 1);
        count(&self.stats.bytes_received, bytes.len() as u64);
        let head = match Head::read(bytes) {
            Ok(head) => head,
            Err(Refused::Version) => return count(&self.stats.other_version, 1),
            Err(Refused::Malformed) => return count(&self.stats.malformed, 1),
        };
        if head.from == self.me {
            // Its own, come back.
            return count(&self.stats.misdirected, 1);
        }
        match head.kind {
            Kind::Hello => self.hello(now, from, &head, bytes),
            Kind::Batch => self.batch(now, from, &head, bytes),
        }
    }

    fn forged(&mut self, from: SocketAddr) {
        count(&self.stats.forged, 1);
        // Whoever takes the events takes them often enough, or wants none.
        if self.events.len() < 64 {
            self.events.push_back(Event::Forged(from));
        }
    }

    /// Opens a message of an agent that may be unknown.
    fn open<'a>(&self, head: &Head, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let open = |way: &Way, bytes: &'a mut [u8]| way.open(head.kind.code(), head.number, HEAD, bytes);
        match self.sessions.get(&head.from) {
            Some(session) if head.to == self.me => open(&session.open, bytes),
            _ => open(&self.key.way(head.from, head.to)?, bytes),
        }
    }

    fn hello(&mut self, now: Nanos, from: SocketAddr, head: &Head, bytes: &mut [u8]) {
        self.refresh(now);
        let Some(body) = self.open(head, bytes) else {
            return self.forged(from);
        };
        let Some(hello) = Hello::read(body) else {
            return count(&self.stats.malformed, 1);
        };
        if head.to == 0 {
            if self.may_answer(now) {
                self.answer_stranger(now, head.from, from, head.number);
            }
            return;
        }
        if head.to != self.me {
            return count(&self.stats.misdirected, 1);
        }
        let new = !self.sessions.contains_key(&head.from);
        if new && !self.begin(now, from, head, &hello) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&head.from) else {
            return;
        };
        if session.hellos.insert(head.number) != Seen::New {
            return count(&self.stats.replayed, 1);
        }
        session.heard_at = now;
        if session.address != from && head.number == session.hellos.latest() {
            session.address = from;
            self.changed = true;
        }
        for address in hello.addresses {
            if session.claims.len() < CLAIMS || session.claims.contains_key(&address) {
                self.changed |= session.claims.insert(address, now).is_none();
            } else {
                count(&self.stats.peers_full, 1);
            }
        }
        if self.contacts.answered(hello.echo, head.from).is_some() {
            self.changed = true;
        }
        if new || hello.answer {
            self.greet(head.from, head.number, now);
        }
    }

    /// Begins to talk with an agent, if it has answered a hello of this one that is not old.
    fn begin(&mut self, now: Nanos, from: SocketAddr, head: &Head, hello: &Hello) -> bool {
        if hello.echo < self.fresh.0 || hello.echo > self.hello {
            count(&self.stats.replayed, 1);
            return false;
        }
        let before = self.sessions.values().find(|session| session.address == from && !session.stopped);
        let before = before.map(|session| session.peer);
        if !self.has_room() {
            count(&self.stats.peers_full, 1);
            return false;
        }
        let (Some(seal), Some(open)) = (self.key.way(self.me, head.from), self.key.way(head.from, self.me)) else {
            return false;
        };
        if let Some(before) = before {
            // One address has one agent: the other one does not run any more. It is kept for a while, so that what was recorded of it
            // is known to be old.
            self.with(before, now, |session, sending| {
                (session.stopped, session.alive) = (true, false);
                session.give_up(sending);
            });
            self.contacts.lost(before, now);
        }
        let restarted = before.is_some();
        count(if restarted { &self.stats.restarted } else { &self.stats.found }, 1);
        self.events.push_back(Event::Found { address: from, version: hello.version.clone(), restarted });
        self.sessions.insert(head.from, Session::new(head.from, from, (seal, open), head.number, hello.after, now));
        self.changed = true;
        true
    }

    fn batch(&mut self, now: Nanos, from: SocketAddr, head: &Head, bytes: &mut [u8]) {
        let Some(body) = self.open(head, bytes) else {
            return self.forged(from);
        };
        if head.to != self.me || !self.sessions.contains_key(&head.from) {
            // For the agent that ran here before, or of one that was given up: let it know who is here now.
            count(&self.stats.misdirected, 1);
            if self.may_answer(now) {
                self.greet_stranger(from);
            }
            return;
        }
        let Some((opening, items)) = read_batch(body) else {
            return count(&self.stats.malformed, 1);
        };
        let Some(session) = self.sessions.get_mut(&head.from) else {
            return;
        };
        let (address, was_alive) = (session.address, session.alive);
        if session.receive(head.number, from, now) != Seen::New {
            return count(&self.stats.replayed, 1);
        }
        self.changed |= address != session.address || !was_alive;
        self.with(head.from, now, |session, sending| session.acknowledge(&opening, sending));
        self.items(now, head, &opening, items);
    }

    fn items(&mut self, now: Nanos, head: &Head, opening: &Opening, items: Vec<Item>) {
        let Some(session) = self.sessions.get_mut(&head.from).filter(|_| !items.is_empty()) else {
            return;
        };
        let contexts = items.iter().filter(|item| matches!(item, Item::Told { .. })).count() as u64;
        if session.items(head.number, opening.since, now) != Seen::New {
            return count(&self.stats.duplicate, contexts);
        }
        count(&self.stats.heard, contexts);
        for item in items {
            match item {
                Item::Told { told, to_several } => self.heard.push(Heard { from: head.from, told, to_several }),
                Item::Mine(answers) => self.routes.claimed(answers, head.from),
                Item::Bye => session.stopped = true,
            }
        }
    }

    /// Whether somebody who is not known may be answered: not more often than so many times a second, whatever comes.
    fn may_answer(&mut self, now: Nanos) -> bool {
        let (left, since) = self.courtesy;
        let (left, since) = if now.saturating_sub(since) >= SECOND { (COURTESY, now) } else { (left, since) };
        self.courtesy = (left.saturating_sub(1), since);
        left > 0
    }
}
