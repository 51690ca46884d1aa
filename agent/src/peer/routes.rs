//! Who is to be told of a request: the agents that speak for the address it goes to, or the one that has said that the connection is
//! its own, or, where neither is known (address translation in between), several, until one says so.

use std::{collections::VecDeque, net::IpAddr, sync::Arc};

use hashbrown::{HashMap, HashSet};

use crate::event::Nanos;

/// Connections of which is remembered whose they are.
const CONNECTIONS: usize = 16_384;
/// Addresses of which is remembered that telling everyone was in vain.
const IN_VAIN: usize = 4096;
/// So many contexts are told everyone in vain before that is given up for a while, unless that is within the time of an answer.
const VAIN: u32 = 32;
/// So many in any case.
const VAIN_MOST: u32 = 4096;
const ANSWER: Nanos = 1_000_000_000;
const QUIET_LEAST: Nanos = 10_000_000_000;
const QUIET_MOST: Nanos = 600_000_000_000;

/// The agents that are there, and for which addresses they speak. Shared with the thread that asks.
#[derive(Clone, Debug, Default)]
pub struct Alive {
    /// By address. Several may speak for one: private addresses are given to many.
    pub addresses: HashMap<IpAddr, Vec<u64>>,
    /// All of them.
    pub peers: HashSet<u64>,
}

impl Alive {
    /// An agent speaks for an address.
    pub(super) fn add(&mut self, address: IpAddr, peer: u64) {
        let peers = self.addresses.entry(address).or_default();
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
}

#[derive(Debug)]
struct Connection {
    to: IpAddr,
    peer: Option<u64>,
}

#[derive(Debug, Default)]
struct Vain {
    count: u32,
    since: Nanos,
    quiet: Nanos,
    until: Nanos,
}

/// What is known of ways to peers.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) alive: Arc<Alive>,
    /// By the number of the first byte that is answered on them.
    connections: HashMap<u32, Connection>,
    order: VecDeque<u32>,
    in_vain: HashMap<IpAddr, Vain>,
}

impl Routes {
    /// The agent that has said that a connection is its own.
    pub(super) fn owner(&self, answers: u32, to: IpAddr) -> Option<u64> {
        self.connections
            .get(&answers)
            .filter(|connection| connection.to == to)?
            .peer
            .filter(|peer| self.alive.peers.contains(peer))
    }

    /// The agents that speak for an address.
    pub(super) fn speakers(&self, address: IpAddr) -> &[u64] {
        self.alive.addresses.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Whether everyone may be told of a request to this address; takes note that it is.
    pub(super) fn tell_all(&mut self, answers: u32, to: IpAddr, now: Nanos) -> bool {
        if self.in_vain.len() >= IN_VAIN && !self.in_vain.contains_key(&to) {
            return false;
        }
        let vain = self.in_vain.entry(to).or_default();
        if now < vain.until {
            return false;
        }
        if vain.count == 0 {
            vain.since = now;
        }
        vain.count += 1;
        let answerable = now.saturating_sub(vain.since) < ANSWER;
        if vain.count > if answerable { VAIN_MOST } else { VAIN } {
            vain.quiet = (vain.quiet * 2).clamp(QUIET_LEAST, QUIET_MOST);
            (vain.count, vain.until) = (0, now + vain.quiet);
            return false;
        }
        if let hashbrown::hash_map::Entry::Vacant(entry) = self.connections.entry(answers) {
            entry.insert(Connection { to, peer: None });
            self.order.push_back(answers);
            if self.order.len() > CONNECTIONS
                && let Some(oldest) = self.order.pop_front()
            {
                self.connections.remove(&oldest);
            }
        }
        true
    }

    /// An agent says that a connection is its own.
    pub(super) fn claimed(&mut self, answers: u32, peer: u64) {
        if let Some(connection) = self.connections.get_mut(&answers) {
            connection.peer = Some(peer);
            self.in_vain.remove(&connection.to);
        }
    }

    /// Forgets addresses to which nothing was sent for long.
    pub(super) fn tick(&mut self, now: Nanos) {
        if self.in_vain.len() >= IN_VAIN / 2 {
            self.in_vain.retain(|_, vain| now < vain.until.saturating_add(QUIET_MOST) && vain.until != 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_burst_is_not_in_vain_before_anyone_can_have_answered() {
        let mut routes = Routes::default();
        let to = IpAddr::from([1, 2, 3, 4]);
        let told = (0..10_000).filter(|i| routes.tell_all(*i, to, SECOND)).count();
        assert_eq!(told, VAIN_MOST as usize);
    }

    #[test]
    fn nobody_is_told_in_vain_for_ever() {
        let mut routes = Routes::default();
        let to = IpAddr::from([1, 2, 3, 4]);
        let told = (0..3600 * 100).filter(|i| routes.tell_all(*i, to, u64::from(*i) * SECOND / 100)).count();
        // What comes in a second at a time, after pauses of 10, 20, 40, ... 600 seconds.
        assert!((900..1400).contains(&told), "{told}");
        assert!(routes.tell_all(0, IpAddr::from([1, 2, 3, 5]), 0), "others are another matter");
        assert!(routes.connections.len() <= CONNECTIONS && routes.order.len() <= CONNECTIONS);
    }

    #[test]
    fn who_claims_a_connection_is_told_alone() {
        let mut routes = Routes::default();
        let to = IpAddr::from([1, 2, 3, 4]);
        for i in 0..1000 {
            assert!(routes.tell_all(i, to, 0));
            routes.claimed(i, 5);
        }
        assert_eq!(routes.owner(3, to), None, "it is not there");
        routes.alive = Arc::new(Alive { peers: [5].into_iter().collect(), ..Alive::default() });
        assert_eq!(routes.owner(3, to), Some(5));
        routes.claimed(4000, 6);
        assert_eq!(routes.owner(4000, to), None, "nobody was asked about it");
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut routes = Routes::default();
        for i in 0..20_000 {
            routes.tell_all(i, IpAddr::from(i.to_be_bytes()), SECOND);
            routes.tick(SECOND);
        }
        assert!(routes.in_vain.len() <= IN_VAIN);
    }
}
