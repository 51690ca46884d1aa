//! From segments to the events of connections, as the server's end would have seen them. Putting segments in order, and finding what is
//! missing, is the work of the connection stage, which does the same for calls: here they only get their place in the stream.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use super::{Lookup, Segment, Stats};
use crate::event::{Change, Data, Datagram, Direction, Endpoints, Event, Nanos, Open, Role, SocketId, State, Thread};

/// Position of the first byte that is seen of a stream whose beginning was not: earlier ones may still come.
const JOINED: u64 = 1 << 32;
/// How long a connection is still there after it was closed: what came in another order, or a second time, belongs to it.
const LINGER: Nanos = 2_000_000_000;
/// Connections that are kept track of.
const CONNECTIONS: usize = 1 << 18;
/// Ports of servers of what is understood, in order.
const PORTS: [u16; 18] =
    [53, 80, 443, 1433, 1883, 3306, 4222, 5432, 5672, 6379, 8080, 8123, 9000, 9042, 9092, 9200, 11211, 27017];
/// Marks the sockets that datagrams go through.
const DATAGRAMS: Nanos = 1 << 63;
/// Error of a connection that was reset (`ECONNRESET`).
const RESET: i32 = 104;

/// A server that connections lead to: the nearest to a process that a packet capture knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its number: what stands for a process id in the events of its connections.
    pub number: u32,
    /// Its address.
    pub address: SocketAddr,
}

/// What segments mean.
#[derive(Clone, Debug)]
pub enum Heard<'a> {
    /// A server, before anything else of it.
    Server(Server),
    /// An event of one of its connections.
    Event(Event<'a>),
}

/// The connections of a packet capture.
#[derive(Debug, Default)]
pub struct Flows {
    flows: HashMap<(SocketAddr, SocketAddr), Flow>,
    servers: HashMap<SocketAddr, u32>,
    /// Connections in the order in which they began, for when there are too many.
    order: VecDeque<((SocketAddr, SocketAddr), u64)>,
    /// Connections that are over, and since when.
    over: VecDeque<(Nanos, (SocketAddr, SocketAddr), u64)>,
    next: u64,
    /// What was seen.
    pub stats: Stats,
}

#[derive(Debug)]
struct Flow {
    socket: SocketId,
    thread: Thread,
    server: SocketAddr,
    /// From the client, from the server.
    ways: [Way; 2],
    client: SocketAddr,
    /// It has been told of. Not before its first byte: then it is known whether both directions were seen from their beginning.
    told: bool,
    over: bool,
}

/// One direction: where its sequence numbers are in the stream.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// A sequence number that has been seen, and its place. The largest such place.
    known: Option<(u32, u64)>,
    ended: bool,
}

impl Way {
    /// The place of a sequence number; `None` before the beginning.
    fn place(&mut self, sequence: u32) -> Option<u64> {
        let (known, place) = *self.known.get_or_insert((sequence, JOINED));
        // Numbers go round; half a round back and half a round ahead are told apart.
        let ahead = sequence.wrapping_sub(known).cast_signed();
        let found = place.checked_add_signed(i64::from(ahead))?;
        if ahead > 0 {
            self.known = Some((sequence, found));
        }
        Some(found)
    }
}

impl Flows {
    /// Takes a segment, seen at `time` (nanoseconds since 1970); `out` is told what it means.
    pub fn segment(&mut self, time: Nanos, segment: &Segment<'_>, mut out: impl FnMut(Heard<'_>)) {
        self.stats.segments += 1;
        self.expire(time, &mut out);
        let key = key(segment);
        if self.flows.get(&key).is_some_and(|flow| flow.is_another(segment)) {
            self.forget(key, time, 0, &mut out);
        }
        if !self.flows.contains_key(&key) {
            if segment.rst || (segment.len == 0 && !segment.syn) {
                // Nothing of it will be missed.
                return;
            }
            self.open(key, time, segment, &mut out);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.segment(time, segment, &mut out);
        if segment.rst {
            self.forget(key, time, RESET, &mut out);
        } else if !flow.over && flow.ways.iter().all(|way| way.ended) {
            flow.over = true;
            self.over.push_back((time.saturating_add(LINGER), key, flow.socket.sock));
        }
    }

    /// Takes a datagram, seen at `time`; `out` is told what it means.
    pub fn lookup(&mut self, time: Nanos, lookup: &Lookup<'_>, mut out: impl FnMut(Heard<'_>)) {
        self.stats.lookups += 1;
        let number = self.server(lookup.server, &mut out);
        out(Heard::Event(Event::Datagram(Datagram {
            time,
            // One socket for each server.
            socket: SocketId { sock: u64::from(number), born: DATAGRAMS },
            // No thread is known, and no two clients' queries are to be taken for one's work.
            thread: Thread { tgid: number, tid: u32::from(lookup.client.port()), ..Thread::default() },
            direction: if lookup.asks { Direction::Receive } else { Direction::Send },
            local: lookup.server,
            remote: Some(lookup.client),
            netns: 0,
            len: lookup.len,
            bytes: lookup.bytes,
        })));
    }

    /// The number of a server, which is told before it is used.
    fn server(&mut self, address: SocketAddr, out: &mut impl FnMut(Heard<'_>)) -> u32 {
        let count = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        *self.servers.entry(address).or_insert_with(|| {
            let number = count.saturating_add(1);
            out(Heard::Server(Server { number, address }));
            number
        })
    }

    /// Closes what is over at this time.
    fn expire(&mut self, time: Nanos, out: &mut impl FnMut(Heard<'_>)) {
        while let Some((since, key, sock)) = self.over.front().copied().filter(|(since, ..)| *since <= time) {
            self.over.pop_front();
            if self.flows.get(&key).is_some_and(|flow| flow.socket.sock == sock) {
                self.forget(key, since, 0, out);
            }
        }
    }

    fn forget(&mut self, key: (SocketAddr, SocketAddr), time: Nanos, error: i32, out: &mut impl FnMut(Heard<'_>)) {
        if let Some(flow) = self.flows.remove(&key) {
            let state = State { time, socket: flow.socket, change: Change::Closed, error };
            out(Heard::Event(Event::State(state)));
        }
    }

    /// Which end of a connection is the server, if its beginning was not seen: the one that is the greater in this. Servers have been
    /// seen as such, or have the port of what they speak, or at least the lower one.
    fn likely_server(&self, address: SocketAddr) -> (bool, bool, Reverse<u16>) {
        (self.servers.contains_key(&address), PORTS.contains(&address.port()), Reverse(address.port()))
    }

    fn open(
        &mut self,
        key: (SocketAddr, SocketAddr),
        time: Nanos,
        segment: &Segment<'_>,
        out: &mut impl FnMut(Heard<'_>),
    ) {
        while self.flows.len() >= CONNECTIONS {
            let Some((key, sock)) = self.order.pop_front() else { break };
            if self.flows.get(&key).is_some_and(|flow| flow.socket.sock == sock) {
                self.stats.evicted += 1;
                self.forget(key, time, 0, out);
            }
        }
        let (from, to) = (segment.source, segment.destination);
        let by_server = if segment.syn { segment.ack } else { self.likely_server(from) > self.likely_server(to) };
        let (client, server) = if by_server { (to, from) } else { (from, to) };
        let number = self.server(server, out);
        self.next += 1;
        let socket = SocketId { sock: self.next, born: time };
        let thread = Thread {
            tgid: number,
            // No thread is known, and no two connections are to be taken for one's work.
            tid: u32::try_from(self.next).unwrap_or(u32::MAX),
            ..Thread::default()
        };
        let ways = [Way::default(); 2];
        self.flows.insert(key, Flow { socket, thread, server, client, ways, told: false, over: false });
        self.order.push_back((key, socket.sock));
        if self.order.len() > 2 * CONNECTIONS {
            self.order.retain(|(key, sock)| self.flows.get(key).is_some_and(|flow| flow.socket.sock == *sock));
        }
    }
}

impl Flow {
    fn way(&mut self, segment: &Segment<'_>) -> (Direction, &mut Way) {
        let [from_client, from_server] = &mut self.ways;
        if segment.source == self.server { (Direction::Send, from_server) } else { (Direction::Receive, from_client) }
    }

    /// Whether a segment begins a later connection between the same addresses.
    fn is_another(&self, segment: &Segment<'_>) -> bool {
        let [from_client, from_server] = &self.ways;
        let way = if segment.source == self.server { from_server } else { from_client };
        let first = segment.sequence.wrapping_add(1);
        let same = way.known.is_none_or(|(known, place)| {
            place < JOINED && u32::try_from(place).is_ok_and(|place| known.wrapping_sub(place) == first)
        });
        segment.syn && !same
    }

    fn segment(&mut self, time: Nanos, segment: &Segment<'_>, out: &mut impl FnMut(Heard<'_>)) {
        let (socket, thread) = (self.socket, self.thread);
        let mut sequence = segment.sequence;
        if segment.syn {
            sequence = sequence.wrapping_add(1);
            self.way(segment).1.known.get_or_insert((sequence, 0));
        }
        if segment.len == 0 && !segment.fin {
            return;
        }
        if !self.told {
            self.told = true;
            let whole = self.ways.iter().all(|way| way.known.is_some());
            out(Heard::Event(Event::Open(Open {
                time,
                socket,
                thread,
                endpoints: Endpoints::Inet { local: self.server, remote: self.client },
                role: if whole { Role::Accept } else { Role::Unknown },
                netns: 0,
                sequences: None,
            })));
        }
        let (direction, way) = self.way(segment);
        let data = |offset, len, bytes, end| {
            let skipped = 0;
            Heard::Event(Event::Data(Data {
                time,
                socket,
                thread,
                direction,
                offset,
                len,
                skipped,
                bytes,
                relative: false,
                end,
                decrypted: false,
                wire: None,
            }))
        };
        if segment.len > 0
            && let Some(offset) = way.place(sequence)
        {
            out(data(offset, segment.len, segment.bytes, false));
        }
        if segment.fin
            && !way.ended
            && let Some(offset) = way.place(sequence.wrapping_add(segment.len))
        {
            way.ended = true;
            out(data(offset, 0, &[], true));
        }
    }
}

/// The same for both directions.
fn key(segment: &Segment<'_>) -> (SocketAddr, SocketAddr) {
    let (a, b) = (segment.source, segment.destination);
    if a <= b { (a, b) } else { (b, a) }
}
