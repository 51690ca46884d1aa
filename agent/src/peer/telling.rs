//! Whom a context is told: the agent that has claimed the connection, that has greeted on it, those that speak for the address, or, where
//! nobody is known, everyone. What is sent to a peer, and again if it is lost, is `session`'s.

use std::net::{IpAddr, SocketAddr};

use super::{
    contacts::{Answer, is_near},
    core::Core,
    greeting::Met,
    name::Told,
    stats::count,
};
use crate::event::Nanos;

/// Contexts that wait until it is known whether there is an agent at an address.
const PARKED: usize = 1024;

impl Core {
    pub(super) fn tell(&mut self, now: Nanos, remote: IpAddr, told: Told) {
        if let Some(peer) = self.routes.owner(told.name.answers, remote) {
            self.with(peer, now, |session, sending| session.tell(&told, false, sending));
            return;
        }
        let met = self.greetings.of(told.name.answers, remote).copied();
        if let Some(peer) = met.and_then(|met| self.called.get(&met.agent).copied()) {
            self.with(peer, now, |session, sending| session.tell(&told, false, sending));
            return;
        }
        let peers = self.routes.speakers(remote).to_vec();
        if !peers.is_empty() {
            let several = peers.len() > 1;
            count(&self.stats.broadcast, u64::from(several));
            for peer in peers {
                self.with(peer, now, |session, sending| session.tell(&told, several, sending));
            }
            return;
        }
        self.want(remote, now);
        if self.is_awaited(remote, met) && self.parked.len() < PARKED {
            self.parked.push_back((now, remote, told));
            return;
        }
        self.tell_all(now, remote, &told);
    }

    /// Tells everyone, because it is not known whom to tell.
    fn tell_all(&mut self, now: Nanos, remote: IpAddr, told: &Told) {
        let peers: Vec<u64> = self.routes.alive.peers.iter().copied().collect();
        let few = (1..=self.config.tell_all).contains(&peers.len());
        if !few || !self.routes.tell_all(told.name.answers, remote, now) {
            count(&self.stats.no_peer, 1);
            return;
        }
        count(&self.stats.broadcast, 1);
        for peer in peers {
            self.with(peer, now, |session, sending| session.tell(told, true, sending));
        }
    }

    /// Tells what had to wait until it was known whether there is an agent.
    pub(super) fn unpark(&mut self, now: Nanos) {
        for _ in 0..self.parked.len() {
            let Some((since, remote, told)) = self.parked.pop_front() else {
                break;
            };
            if now.saturating_sub(since) >= self.config.hold {
                count(&self.stats.no_peer, 1);
            } else if self.is_awaited(remote, self.greetings.of(told.name.answers, remote).copied())
                && self.routes.speakers(remote).is_empty()
            {
                self.parked.push_back((since, remote, told));
            } else {
                self.tell(now, remote, told);
            }
        }
    }

    pub(super) fn want(&mut self, address: IpAddr, now: Nanos) {
        if self.config.discover && is_near(address) {
            let room = self.contacts.want(SocketAddr::new(address, self.config.port), now);
            count(&self.stats.peers_full, u64::from(!room));
        }
    }

    fn answer(&self, address: IpAddr) -> Answer {
        self.contacts.answer(SocketAddr::new(address, self.config.port))
    }

    /// Whether it is not known yet if there is an agent at an address, or where a connection's other end says that it is.
    fn is_awaited(&self, remote: IpAddr, met: Option<Met>) -> bool {
        let awaited =
            |met: Met| !self.called.contains_key(&met.agent) && self.contacts.answer(met.at) == Answer::Awaited;
        met.map_or_else(|| self.answer(remote) == Answer::Awaited, awaited)
    }
}
