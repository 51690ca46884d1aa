//! What the thread that makes traces has of the other agents: it hands over contexts, asks for those of the requests that it sees, and
//! never waits. The other end, [`Link`], is held by whoever runs a [`Core`](super::Core), or by a test.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use hashbrown::{HashMap, HashSet};
use opentelemetry::trace::SpanContext;

use super::{
    contacts::{TRYING, is_near},
    core::{Heard, Order},
    greeting::{Met, Said},
    inbox::{Found, Inbox},
    name::{Name, Told},
    routes::Alive,
    stats::{Stats, count},
};
use crate::event::{Greeted, Nanos, Role};

/// Handfuls of orders, and of what was heard, that may be under way between the threads.
const UNDER_WAY: usize = 64;
/// Orders that are handed over at once at most.
const HANDFUL: usize = 16_384;
/// Addresses of which is remembered that they were seen.
const ADDRESSES: usize = 4096;
/// So often the other thread is told that an address is still in use.
const REMIND: Nanos = 60_000_000_000;
/// After so many requests of one address held in vain, in a row, none of it is held until a context has come.
const IN_VAIN: u32 = 64;
/// Connections with rewritten sequence numbers at a time.
const REWRITTEN: usize = 4096;

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a request waits for its context at most, and a context for its request.
    pub hold: Nanos,
    /// Requests and contexts that wait for each other at most.
    pub waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hold: 1_000_000_000, waiting: 131_072 }
    }
}

/// What is known of the context of a request that is being served here.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// It is here: the span of who asks.
    Heard(SpanContext),
    /// It should come: [`Peers::poll_heard`] brings it. After this time it does not.
    Expected(Nanos),
    /// No agent is known where the request comes from.
    Unexpected,
}

/// What passes from the other thread to this one.
#[derive(Debug)]
pub enum Notice {
    /// What peers have told.
    Heard(Vec<Heard>),
    /// The agents that are there now.
    Alive(Arc<Alive>),
}

/// The other end of [`Peers`].
#[derive(Debug)]
pub struct Link {
    /// What is to be done.
    pub orders: Receiver<Vec<Order>>,
    /// To put in more orders.
    pub more: SyncSender<Vec<Order>>,
    /// Where notices go.
    pub notices: SyncSender<Notice>,
}

/// An address at the other end of traced connections.
#[derive(Clone, Copy, Debug, Default)]
struct Remote {
    /// Seen for the first time.
    first: Nanos,
    /// The other thread was told of it.
    told: Nanos,
    /// A peer that has told of a request from there: it may have another name for the address.
    learned: Option<u64>,
    /// Requests that were held in vain, in a row.
    in_vain: u32,
}

/// The other agents.
pub struct Peers {
    settings: Settings,
    stats: Arc<Stats>,
    inbox: Inbox,
    alive: Arc<Alive>,
    own: HashMap<IpAddr, Nanos>,
    remotes: HashMap<IpAddr, Remote>,
    out: Vec<Order>,
    /// Connections on whose way sequence numbers are rewritten, by the number of the first byte that is answered on them as it is seen
    /// here: how much is to be added to that number, and to those of requests, to have what the other side calls them.
    rewritten: HashMap<u32, (u32, u32)>,
    rewritten_order: VecDeque<u32>,
    /// Connections that `out` says are known here.
    claimed: HashSet<(u64, u32)>,
    ready: VecDeque<Heard>,
    orders: SyncSender<Vec<Order>>,
    notices: Receiver<Notice>,
    wake: Box<dyn Fn() + Send>,
    clock: Nanos,
}

impl Peers {
    /// Both ends. `wake` is called when there are orders; it must not wait.
    #[must_use]
    pub fn new(settings: Settings, stats: Arc<Stats>, wake: Box<dyn Fn() + Send>) -> (Self, Link) {
        let (orders, to_do) = sync_channel(UNDER_WAY);
        let (said, notices) = sync_channel(UNDER_WAY);
        let more = orders.clone();
        let peers = Self {
            settings,
            stats,
            inbox: Inbox::new(settings.waiting),
            alive: Arc::default(),
            own: HashMap::new(),
            remotes: HashMap::new(),
            out: Vec::new(),
            rewritten: HashMap::new(),
            rewritten_order: VecDeque::new(),
            claimed: HashSet::new(),
            ready: VecDeque::new(),
            orders,
            notices,
            wake,
            clock: 0,
        };
        (peers, Link { orders: to_do, more, notices: said })
    }

    /// How long a request waits for its context at most.
    #[must_use]
    pub fn hold(&self) -> Nanos {
        self.settings.hold
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// A connection is traced: `local` is an address of this host, and there may be an agent at `remote`. To be called when a connection is
    /// seen for the first time, so that the agents know each other when the first request comes.
    pub fn opened(&mut self, now: Nanos, local: IpAddr, remote: IpAddr) {
        self.clock = self.clock.max(now);
        if local.is_loopback() || remote.is_loopback() {
            return;
        }
        let own = self.own.get(&local);
        if own.is_none_or(|told| now.saturating_sub(*told) >= REMIND) && (own.is_some() || self.own.len() < ADDRESSES) {
            self.own.insert(local, now);
            self.out.push(Order::Local(local));
        }
        if self.own.contains_key(&remote) {
            return;
        }
        if self.remotes.len() >= ADDRESSES && !self.remotes.contains_key(&remote) {
            self.remotes.retain(|_, known| now.saturating_sub(known.told) < 10 * REMIND);
            if self.remotes.len() >= ADDRESSES {
                count(&self.stats.peers_full, 1);
                return;
            }
        }
        let known = self.remotes.entry(remote).or_insert(Remote { first: now, ..Remote::default() });
        if known.told == 0 || now.saturating_sub(known.told) >= REMIND {
            known.told = now;
            self.out.push(Order::Remote(remote));
        }
    }

    /// A service of this host has sent a request, whose span is `context`. To be called once for each, as soon as its trace is settled;
    /// goes out with the next [`Peers::flush`].
    pub fn outgoing(&mut self, now: Nanos, remote: IpAddr, name: Name, context: &SpanContext) {
        self.clock = self.clock.max(now);
        if remote.is_loopback() || self.own.contains_key(&remote) {
            // Both ends are on this host.
            return;
        }
        if self.out.len() >= HANDFUL {
            count(&self.stats.queue_full, 1);
            return;
        }
        let name = self.common(name);
        self.out.push(Order::Tell { remote, told: Told { name, context: context.clone() } });
    }

    /// A service of this host is asked, and nothing that is known here says by whom.
    pub fn incoming(&mut self, now: Nanos, remote: IpAddr, name: Name) -> Incoming {
        self.clock = self.clock.max(now);
        let expected = self.expects(remote);
        let name = self.common(name);
        if let Some(heard) = self.inbox.request(now, name, remote, expected, &self.stats) {
            self.matched(remote, &heard);
            return Incoming::Heard(heard.told.context);
        }
        if expected && self.inbox.holds(name) {
            Incoming::Expected(now + self.settings.hold)
        } else {
            Incoming::Unexpected
        }
    }

    /// Whether the context of a request from this address should come: there is an agent, alive within the last seconds, or it is being
    /// found out just now.
    #[must_use]
    pub fn expects(&self, remote: IpAddr) -> bool {
        if remote.is_loopback() || self.own.contains_key(&remote) {
            return false;
        }
        let Some(known) = self.remotes.get(&remote) else {
            return self.alive.addresses.contains_key(&remote);
        };
        if known.in_vain >= IN_VAIN {
            return false;
        }
        self.alive.addresses.contains_key(&remote)
            || known.learned.is_some_and(|peer| self.alive.peers.contains(&peer))
            || self.clock.saturating_sub(known.first) < TRYING && (is_near(remote) || !self.alive.peers.is_empty())
    }

    /// The next request that was [`Incoming::Expected`] and whose context has come.
    pub fn poll_heard(&mut self) -> Option<Heard> {
        let mut heard = self.ready.pop_front()?;
        // As it is named here. The side that answers sees its own numbers as they are.
        if let Some((_, request)) = self.rewritten.get(&heard.told.name.answers) {
            heard.told.name.request = heard.told.name.request.wrapping_sub(*request);
        }
        Some(heard)
    }

    /// The agent at the other end of a new connection has said where it is, or somebody who pretends to be one.
    pub fn greeted(&mut self, event: &Greeted) {
        self.clock = self.clock.max(event.time);
        let Some(said) = Said::read(&event.option).filter(|_| !event.remote.is_loopback()) else {
            count(&self.stats.greeting_refused, 1);
            return;
        };
        if self.out.len() >= HANDFUL {
            count(&self.stats.queue_full, 1);
            return;
        }
        // Each side's own numbers are those that both use.
        let by = said.first.wrapping_sub(event.sequences.received);
        let (seen, answers, add) = match event.role {
            Role::Connect => (event.sequences.received, said.first, (by, 0)),
            Role::Accept | Role::Unknown => (event.sequences.sent, event.sequences.sent, (0, by)),
        };
        if by != 0 {
            count(&self.stats.rewritten, 1);
            if self.rewritten.insert(seen, add).is_none() {
                self.rewritten_order.push_back(seen);
            }
            if self.rewritten_order.len() > REWRITTEN
                && let Some(oldest) = self.rewritten_order.pop_front()
            {
                self.rewritten.remove(&oldest);
            }
        }
        let at = said.address.map_or(event.remote, IpAddr::V4);
        let at = SocketAddr::new(at, said.port);
        self.out.push(Order::Met(Met { remote: event.remote, answers, agent: said.agent, at }));
    }

    /// What both sides call a request that has this name here.
    fn common(&self, name: Name) -> Name {
        let (answers, request) = self.rewritten.get(&name.answers).copied().unwrap_or_default();
        Name { answers: name.answers.wrapping_add(answers), request: name.request.wrapping_add(request) }
    }

    /// Takes what has come from the other thread, and gives up what has waited too long. To be called before events are looked at.
    pub fn receive(&mut self, now: Nanos) {
        self.clock = self.clock.max(now);
        for _ in 0..UNDER_WAY {
            match self.notices.try_recv() {
                Ok(Notice::Heard(heard)) => heard.into_iter().for_each(|heard| self.heard(now, heard)),
                Ok(Notice::Alive(alive)) => self.alive = alive,
                Err(_) => break,
            }
        }
        let Self { inbox, remotes, stats, settings, .. } = self;
        inbox.expire(now, settings.hold, stats, |_, remote| {
            if let Some(known) = remotes.get_mut(&remote) {
                known.in_vain = known.in_vain.saturating_add(1);
            }
        });
    }

    /// Hands over what there is for the other thread. To be called when the events that there are have been looked at.
    pub fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        self.claimed.clear();
        match self.orders.try_send(std::mem::take(&mut self.out)) {
            Ok(()) => (self.wake)(),
            Err(TrySendError::Full(orders) | TrySendError::Disconnected(orders)) => {
                let told = orders.iter().filter(|order| matches!(order, Order::Tell { .. })).count();
                count(&self.stats.queue_full, told as u64);
                // What is not a context must not be lost.
                self.out = orders.into_iter().filter(|order| !matches!(order, Order::Tell { .. })).collect();
                self.out.truncate(ADDRESSES);
            }
        }
    }

    fn heard(&mut self, now: Nanos, heard: Heard) {
        match self.inbox.heard(now, Box::new(heard), &self.stats) {
            Found::Nothing => {}
            Found::Held(remote, heard) => {
                self.matched(remote, &heard);
                self.ready.push_back(*heard);
            }
            Found::Late(remote) => {
                if let Some(known) = self.remotes.get_mut(&remote) {
                    known.in_vain = 0;
                }
            }
        }
    }

    /// What a peer has told belongs to a request from this address.
    fn matched(&mut self, remote: IpAddr, heard: &Heard) {
        if let Some(known) = self.remotes.get_mut(&remote) {
            known.in_vain = 0;
            known.learned = Some(heard.from);
        }
        if heard.to_several && self.claimed.insert((heard.from, heard.told.name.answers)) {
            self.out.push(Order::Mine(heard.from, heard.told.name.answers));
        }
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("settings", &self.settings).field("alive", &self.alive).finish_non_exhaustive()
    }
}
