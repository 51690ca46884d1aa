//! What one agent says to the others and hears from them, without sockets and without a clock: orders and datagrams in, datagrams and
//! notices out. This file has the agent's state and what is due when; `telling` and `hello` have what goes out, `hearing` what comes in.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hashbrown::HashMap;

use super::{
    contacts::{Contacts, is_near},
    greeting::{Greetings, Met},
    name::Told,
    routes::{Alive, Routes},
    seal::Key,
    session::{Budget, Datagram, FORGET, SILENT, Sending, Session},
    stats::{Stats, count},
};
use crate::event::Nanos;

/// Peers at a time.
const PEERS: usize = 1024;
/// Bytes that are kept for acknowledgement, of all peers together.
const BACKLOG: usize = 8 << 20;
/// Addresses for which this agent speaks.
const OWN: usize = 1024;
/// An own address that no traced connection has had for so long is not spoken for any more.
const OWN_FORGET: Nanos = 600_000_000_000;
/// So often each peer is told for which addresses this agent speaks.
const HELLO: Nanos = 10_000_000_000;

/// How agents talk to each other.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where other agents listen, if nothing else is said.
    pub port: u16,
    /// Agents are looked for at the addresses of traced connections, where those are not public.
    pub discover: bool,
    /// How long a request waits for its context at most; what comes later is of no use.
    pub hold: Nanos,
    /// Everyone is told of a request to an address where no agent is known, if they are not more than this.
    pub tell_all: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { port: 4419, discover: true, hold: 1_000_000_000, tell_all: 16 }
    }
}

/// What the agent's other threads want done.
#[derive(Clone, Debug)]
pub enum Order {
    /// Tell whoever traces the other end.
    Tell {
        /// The other end's address, as it is known on this side.
        remote: IpAddr,
        /// What to tell.
        told: Told,
    },
    /// A traced socket of this host has this address.
    Local(IpAddr),
    /// Traced sockets of this host talk to this address.
    Remote(IpAddr),
    /// A connection that this peer has told several agents of is known here; the number of the first byte that is answered on it.
    Mine(u64, u32),
    /// The peers that were listed by whoever runs the agent.
    Listed(Vec<SocketAddr>),
    /// The agent at the other end of a connection has said where it is, or somebody who pretends to be one.
    Met(Met),
}

/// A context that a peer has told.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The peer.
    pub from: u64,
    /// What it has told.
    pub told: Told,
    /// It has told others too.
    pub to_several: bool,
}

/// What whoever runs the agent may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An agent was found.
    Found {
        /// Where.
        address: SocketAddr,
        /// Its version.
        version: String,
        /// Another one ran there before.
        restarted: bool,
    },
    /// An agent has fallen silent or has stopped.
    Gone(SocketAddr),
    /// Something was received that is not sealed with the key.
    Forged(SocketAddr),
}

/// One agent's part in the conversation.
#[derive(Debug)]
pub struct Core {
    pub(super) config: Config,
    pub(super) key: Key,
    pub(super) me: u64,
    pub(super) stats: Arc<Stats>,
    pub(super) version: String,
    pub(super) sessions: HashMap<u64, Session>,
    pub(super) routes: Routes,
    pub(super) contacts: Contacts,
    pub(super) greetings: Greetings,
    /// The agents that are there, by the lower halves of their ids.
    pub(super) called: HashMap<u32, u64>,
    pub(super) own: HashMap<IpAddr, Nanos>,
    pub(super) parked: VecDeque<(Nanos, IpAddr, Told)>,
    budget: Budget,
    /// Number of the last hello.
    pub(super) hello: u64,
    /// Hellos from this number on are fresh; the next such number, and since when it stands.
    pub(super) fresh: (u64, u64, Nanos),
    /// Hellos to agents that are not known may be sent: so many, until this second is over.
    pub(super) courtesy: (u32, Nanos),
    pub(super) changed: bool,
    pub(super) out: VecDeque<Datagram>,
    pub(super) heard: Vec<Heard>,
    pub(super) events: VecDeque<Event>,
}

impl Core {
    /// An agent that knows nobody. `me` must be random, and not 0.
    #[must_use]
    pub fn new(config: Config, key: Key, me: u64, stats: Arc<Stats>) -> Self {
        Self {
            config,
            key,
            me,
            stats,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions: HashMap::new(),
            routes: Routes::default(),
            contacts: Contacts::default(),
            greetings: Greetings::default(),
            called: HashMap::new(),
            own: HashMap::new(),
            parked: VecDeque::new(),
            budget: Budget { left: BACKLOG },
            hello: 0,
            fresh: (1, 1, 0),
            courtesy: (0, 0),
            changed: false,
            out: VecDeque::new(),
            heard: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes an order. What it makes to be sent is sent by [`Core::tick`] at the latest.
    pub fn order(&mut self, now: Nanos, order: Order) {
        match order {
            Order::Tell { remote, told } => self.tell(now, remote, told),
            Order::Local(address) => {
                if self.own.len() < OWN || self.own.contains_key(&address) {
                    let new = self.own.insert(address, now).is_none();
                    if new {
                        // What it is asked under this address, peers may tell it from now on.
                        self.sessions.values_mut().for_each(|session| session.hello_sent = 0);
                    }
                } else {
                    count(&self.stats.peers_full, 1);
                }
            }
            Order::Remote(address) => self.want(address, now),
            Order::Mine(peer, answers) => self.with(peer, now, |session, sending| session.claim(answers, sending)),
            Order::Listed(addresses) => self.contacts.list(&addresses, now),
            Order::Met(met) => self.meet(now, met),
        }
    }

    /// Does what is due, and sends what is to be told.
    pub fn tick(&mut self, now: Nanos) {
        self.refresh(now);
        self.routes.tick(now);
        self.greetings.tick(now);
        let mut hellos = Vec::new();
        let first = self.hello;
        let unanswered = self.contacts.tick(now, |address| {
            hellos.push(address);
            first + hellos.len() as u64
        });
        for address in hellos {
            self.greet_stranger(address);
        }
        count(&self.stats.unanswered, unanswered);
        self.age(now);
        self.own.retain(|_, used| now.saturating_sub(*used) < OWN_FORGET);
        if self.changed {
            self.changed = false;
            self.find_alive();
        }
        self.unpark(now);
        let Self { sessions, budget, out, stats, config, me, .. } = self;
        for session in sessions.values_mut() {
            let sending = &mut Sending { now, me: *me, budget, out, stats };
            session.tick(config.hold, sending);
        }
        let due: Vec<u64> = self
            .sessions
            .values()
            .filter(|session| !session.stopped && now.saturating_sub(session.hello_sent) >= HELLO)
            .map(|session| session.peer)
            .collect();
        for peer in due {
            self.greet(peer, 0, now);
        }
    }

    /// How long nothing is due, if nothing comes in.
    #[must_use]
    pub fn idle(&self) -> Nanos {
        let busy = !self.parked.is_empty() || self.sessions.values().any(Session::is_busy);
        match (busy, self.sessions.is_empty() && self.contacts.is_empty()) {
            (true, _) => 10_000_000,
            (false, false) => 100_000_000,
            (false, true) => 1_000_000_000,
        }
    }

    /// Whether everything was told and acknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.sessions.values().filter(|session| session.alive).all(Session::is_settled)
    }

    /// Says to all peers that this agent stops, after what there is to tell.
    pub fn stop(&mut self, now: Nanos) {
        let Self { sessions, budget, out, stats, me, .. } = self;
        for session in sessions.values_mut().filter(|session| session.alive) {
            let sending = &mut Sending { now, me: *me, budget, out, stats };
            session.bye(sending);
            session.give_up(sending);
        }
        count(&self.stats.no_peer, self.parked.drain(..).len() as u64);
    }

    /// The next datagram to be sent.
    pub fn poll_transmit(&mut self) -> Option<Datagram> {
        self.out.pop_front()
    }

    /// What was heard since the last call.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// The agents that are there.
    #[must_use]
    pub fn alive(&self) -> &Arc<Alive> {
        &self.routes.alive
    }

    /// The next thing that whoever runs the agent may want to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// An agent, or somebody who pretends to be one, has said where it is. That makes this one say hello there, if it is a place where it
    /// may look; nothing else is believed before the answer, which needs the key.
    fn meet(&mut self, now: Nanos, met: Met) {
        if met.agent == self.me as u32 {
            // Both ends of the connection are this agent's.
            return;
        }
        count(&self.stats.greeted, 1);
        let new = self.greetings.meet(met, now);
        if self.called.contains_key(&met.agent) {
            self.changed |= new;
            return;
        }
        let may_look = met.at.port() != 0 && (is_near(met.at.ip()) || met.at.ip() == met.remote);
        let Self { contacts, greetings, .. } = self;
        if !may_look || !contacts.learn(met.at, now, || greetings.may_try(now)) {
            count(&self.stats.greeting_refused, 1);
        }
    }

    pub(super) fn with(&mut self, peer: u64, now: Nanos, act: impl FnOnce(&mut Session, &mut Sending<'_>)) {
        let Self { sessions, budget, out, stats, me, .. } = self;
        if let Some(session) = sessions.get_mut(&peer) {
            act(session, &mut Sending { now, me: *me, budget, out, stats });
        }
    }

    /// Gives up peers that are silent.
    fn age(&mut self, now: Nanos) {
        let Self { sessions, contacts, budget, out, stats, events, changed, me, .. } = self;
        sessions.retain(|peer, session| {
            let silent = now.saturating_sub(session.heard_at);
            let alive = silent < SILENT && !session.stopped;
            if alive != session.alive {
                *changed = true;
                session.alive = alive;
                if !alive {
                    contacts.lost(*peer, now);
                    count(&stats.gone, 1);
                    events.push_back(Event::Gone(session.address));
                }
            }
            if session.claims.extract_if(|_, at| now.saturating_sub(*at) >= 3 * HELLO).count() > 0 {
                *changed = true;
            }
            let forget = silent >= FORGET;
            if forget {
                session.give_up(&mut Sending { now, me: *me, budget, out, stats });
            }
            !forget
        });
    }

    /// Whether there is room for one more peer.
    pub(super) fn has_room(&self) -> bool {
        self.sessions.len() < PEERS
    }

    fn find_alive(&mut self) {
        let mut alive = Alive::default();
        for session in self.sessions.values().filter(|session| session.alive) {
            alive.peers.insert(session.peer);
            for address in session.claims.keys().copied().chain([session.address.ip()]) {
                alive.add(address, session.peer);
            }
        }
        for (address, peer) in self.contacts.reached() {
            if alive.peers.contains(&peer) {
                alive.add(address, peer);
            }
        }
        self.called = alive.peers.iter().map(|peer| (*peer as u32, *peer)).collect();
        for (address, agent) in self.greetings.hosts() {
            if let Some(peer) = self.called.get(&agent) {
                alive.add(address, *peer);
            }
        }
        self.routes.alive = Arc::new(alive);
    }
}
