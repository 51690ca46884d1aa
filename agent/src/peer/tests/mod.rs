//! Several agents on a network that loses, repeats and delays what the test wants, with a clock that the test turns.

mod engine;
mod failures;
mod finding;
mod greeting;
mod losses;

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::{Config, Core, Datagram, Event, Heard, Key, Name, Order, Stats, Told};
use crate::event::Nanos;

const MILLI: Nanos = 1_000_000;
const SECOND: Nanos = 1000 * MILLI;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// How long a datagram is on its way.
const WAY: Nanos = MILLI;

/// An agent, as the network sees it.
struct Host {
    core: Core,
    heard: Vec<Heard>,
    events: Vec<Event>,
}

/// What becomes of a datagram: how often it arrives, each time after how long.
type Fate = Box<dyn FnMut(&Datagram) -> Vec<Nanos>>;

struct Network {
    now: Nanos,
    hosts: BTreeMap<SocketAddr, Host>,
    /// On the way: when it arrives, from whom, and what.
    wire: Vec<(Nanos, SocketAddr, Datagram)>,
    /// All that was ever sent.
    sniffed: Vec<(SocketAddr, Datagram)>,
    /// Their heads, which no two may have in common: they are what a key is used with.
    heads: HashSet<Vec<u8>>,
    fate: Fate,
    /// Address translation: whoever sends from the first is seen at the second.
    translate: Option<(SocketAddr, SocketAddr)>,
    next: u64,
}

/// Where the agent of host `number` listens.
fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 4419))
}

fn told(place: u32) -> Told {
    Told { name: Name { answers: 8, request: place }, context: context(place) }
}

/// A context that belongs to this place alone.
fn context(place: u32) -> SpanContext {
    let ids = (TraceId::from(u128::from(place) + 1), SpanId::from(u64::from(place) + 1));
    SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, true, TraceState::NONE)
}

impl Network {
    /// With agents on hosts 1 to `count`.
    fn new(count: u8) -> Self {
        let mut network = Self {
            now: 1000 * SECOND,
            hosts: BTreeMap::new(),
            wire: Vec::new(),
            sniffed: Vec::new(),
            heads: HashSet::new(),
            fate: Box::new(|_| vec![WAY]),
            translate: None,
            next: 1,
        };
        for number in 1..=count {
            network.start(number, SECRET, Config::default());
        }
        network
    }

    /// Starts an agent, in the place of the one that ran before.
    fn start(&mut self, number: u8, secret: &[u8], config: Config) {
        let key = Key::new(secret).unwrap();
        let core = Core::new(config, key, self.next * 1_000_003, Arc::new(Stats::default()));
        self.next += 1;
        self.hosts.insert(at(number), Host { core, heard: Vec::new(), events: Vec::new() });
    }

    fn host(&mut self, number: u8) -> &mut Host {
        self.hosts.get_mut(&at(number)).unwrap()
    }

    fn order(&mut self, number: u8, order: Order) {
        let now = self.now;
        self.host(number).core.order(now, order);
    }

    fn tell(&mut self, from: u8, to: u8, place: u32) {
        self.order(from, Order::Tell { remote: at(to).ip(), told: told(place) });
    }

    /// Lets time go by: until something arrives, or an agent says that something is due.
    fn run(&mut self, time: Nanos) {
        let end = self.now + time;
        while self.now < end {
            self.collect();
            let idle = self.hosts.values().map(|host| host.core.idle()).min().unwrap_or(SECOND);
            let step = if self.wire.is_empty() { idle } else { MILLI };
            self.now = (self.now + step).min(end);
            let now = self.now;
            let (arrived, wire) = std::mem::take(&mut self.wire).into_iter().partition(|(at, ..)| *at <= now);
            self.wire = wire;
            for (_, from, datagram) in arrived as Vec<(Nanos, SocketAddr, Datagram)> {
                self.deliver(from, datagram);
            }
        }
        self.collect();
    }

    /// A datagram arrives.
    fn deliver(&mut self, from: SocketAddr, mut datagram: Datagram) {
        let (from, to) = match self.translate {
            Some((inside, outside)) if inside == from => (outside, datagram.to),
            Some((inside, outside)) if outside == datagram.to => (from, inside),
            _ => (from, datagram.to),
        };
        if let Some(host) = self.hosts.get_mut(&to) {
            host.core.datagram(self.now, from, &mut datagram.bytes);
        }
    }

    fn collect(&mut self) {
        for (address, host) in &mut self.hosts {
            host.core.tick(self.now);
            while let Some(datagram) = host.core.poll_transmit() {
                assert!(datagram.bytes.len() <= super::LONGEST, "a datagram of {} bytes", datagram.bytes.len());
                assert!(self.heads.insert(datagram.bytes[..26].to_vec()), "a number is used twice with one key");
                for delay in (self.fate)(&datagram) {
                    self.wire.push((self.now + delay, *address, datagram.clone()));
                }
                self.sniffed.push((*address, datagram));
            }
            host.heard.extend(host.core.take_heard());
            host.events.extend(std::iter::from_fn(|| host.core.poll_event()));
        }
    }
}

impl Host {
    /// The places of which it has heard; each context must be that of its place.
    fn places(&self) -> Vec<u32> {
        self.heard.iter().for_each(|heard| assert_eq!(heard.told, told(heard.told.name.request)));
        let mut places: Vec<u32> = self.heard.iter().map(|heard| heard.told.name.request).collect();
        places.sort_unstable();
        places
    }

    /// A counter.
    fn count(&self, name: &str) -> u64 {
        self.core.stats.iter().find(|(this, _)| *this == name).unwrap().1
    }

    /// All counters that are not zero, but for those of datagrams.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.core
            .stats
            .iter()
            .filter(|(name, count)| *count > 0 && !name.contains("datagrams") && !name.contains("bytes"))
            .collect()
    }
}
