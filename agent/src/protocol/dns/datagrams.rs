//! DNS over UDP (RFC 1035, section 4.2.1): every datagram is one message. A response belongs to the query of the same socket, peer, id and
//! question; what is sent again is the same query, and what nobody answers ends after [`PATIENCE`].
//!
//! Left out: multicast DNS, whose questions nobody in particular answers.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use hashbrown::HashMap;

use super::{
    message::{self, Header, Question},
    span,
};
use crate::{
    event::{Datagram, Direction, Nanos, SocketId, Thread},
    protocol::{
        Addresses, Answered, Asked, Attributes, CallId, Exchange, Holes, Interest, Named, Note, OtherEnd, Shared, Side,
        Status, Value, Values, endpoints,
        http::{NoResponse, no_response},
        shared::count,
    },
};

/// How long a query waits for its response after it was sent last: resolvers ask again, or somebody else, after five seconds at most.
const PATIENCE: Nanos = 10_000_000_000;
/// How long a response waits for its query, which another thread has sent and which is seen when that call returns.
const EARLY: Nanos = 50_000_000;
/// Responses that wait so at a time.
const EARLY_MAX: usize = 256;
/// Queries that wait for their response at a time.
const QUERIES: usize = 16_384;
/// Sockets of which it is remembered that they moved something else.
const STRANGERS: usize = 4096;
/// So many datagrams in a row that a process has sent, and that are no DNS: the socket is for something else.
const SENT: u32 = 16;
/// The same for what was received, which anybody may have sent: until the process sends DNS, nothing more that it receives is wanted.
const RECEIVED: u32 = 256;

/// What a response must have in common with its query, besides the peer and the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    socket: SocketId,
    id: u16,
    /// The process is asked.
    server: bool,
}

/// A query that waits.
#[derive(Debug)]
struct Query {
    exchange: Exchange,
    question: Option<Question>,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    netns: u32,
    /// When it was sent last.
    last: Nanos,
    resends: u32,
}

/// A response that came before its query.
#[derive(Debug)]
struct Early {
    key: Key,
    message: Box<[u8]>,
    cut: bool,
    remote: Option<SocketAddr>,
    time: Nanos,
    thread: Thread,
}

/// A socket that moves something else than DNS.
#[derive(Clone, Copy, Debug, Default)]
struct Stranger {
    sent: u32,
    received: u32,
    refused: bool,
}

/// All queries that wait.
#[derive(Debug, Default)]
pub struct Datagrams {
    waiting: HashMap<Key, Vec<Query>>,
    /// Until when they wait, with their places.
    due: BTreeMap<(Nanos, u64), Key>,
    early: VecDeque<Early>,
    strangers: HashMap<SocketId, Stranger>,
    /// Queries so far: the place of the next one.
    next: u64,
}

impl Datagrams {
    /// Takes a datagram; pushes what it makes known. `advise` is told what is wanted of its socket, when that changes.
    pub fn datagram(
        &mut self,
        shared: &Shared,
        datagram: &Datagram<'_>,
        out: &mut Vec<Note>,
        mut advise: impl FnMut(Direction, Interest),
    ) {
        self.tick(shared, datagram.time, out);
        let Some((header, question)) = message::datagram(datagram.bytes, datagram.len) else {
            count(&shared.counts.datagrams_foreign);
            return self.foreign(datagram, advise);
        };
        self.known(shared, datagram, &mut advise);
        if [Some(datagram.local), datagram.remote].into_iter().flatten().any(|end| end.ip().is_multicast()) {
            return count(&shared.counts.datagrams_multicast);
        }
        let server = header.is_response() == (datagram.direction == Direction::Send);
        let key = Key { socket: datagram.socket, id: header.id, server };
        if !header.is_response() {
            return self.asked(shared, key, &header, question, datagram, out);
        }
        let early = Early {
            key,
            message: datagram.bytes.into(),
            cut: datagram.bytes.len() < datagram.len as usize,
            remote: datagram.remote,
            time: datagram.time,
            thread: datagram.thread,
        };
        if let Some(early) = self.answered(early, &header, question.as_ref(), out) {
            if self.early.len() >= EARLY_MAX {
                count(&shared.counts.orphans);
                self.early.pop_front();
            }
            self.early.push_back(early);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, shared: &Shared, now: Nanos, out: &mut Vec<Note>) {
        while self.early.front().is_some_and(|early| early.time.saturating_add(EARLY) <= now) {
            count(&shared.counts.orphans);
            self.early.pop_front();
        }
        while let Some((&(due, place), &key)) = self.due.first_key_value()
            && due <= now
        {
            if let Some(query) = self.take(key, place) {
                query.give_up(NoResponse::Timeout, due, out);
            }
        }
    }

    /// Nothing more will come.
    pub fn finish(&mut self, shared: &Shared, out: &mut Vec<Note>) {
        while let Some((&(_, place), &key)) = self.due.first_key_value() {
            self.flush(shared, key, place, out);
        }
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.due.is_empty() && self.early.is_empty()
    }

    fn asked(
        &mut self,
        shared: &Shared,
        key: Key,
        header: &Header,
        question: Option<Question>,
        datagram: &Datagram<'_>,
        out: &mut Vec<Note>,
    ) {
        let time = datagram.time;
        let same = |query: &&mut Query| query.remote == datagram.remote && query.question == question;
        if datagram.remote.is_some()
            && let Some(query) = self.waiting.get_mut(&key).and_then(|queries| queries.iter_mut().find(same))
        {
            let place = query.exchange.id.place;
            self.due.remove(&(query.last.saturating_add(PATIENCE), place));
            query.resends += 1;
            query.last = query.last.max(time);
            query.exchange.request_end = query.last;
            self.due.insert((query.last.saturating_add(PATIENCE), place), key);
            return;
        }
        if self.due.len() >= QUERIES
            && let Some((&(_, place), &oldest)) = self.due.first_key_value()
        {
            count(&shared.counts.overflows);
            self.flush(shared, oldest, place, out);
        }
        self.next += 1;
        let side = if key.server { Side::Server } else { Side::Client };
        let id = CallId { socket: datagram.socket, place: self.next };
        let mut attributes = Attributes::default();
        let name = span::asked(header, question.as_ref(), &mut attributes);
        if header.questions() > 1 {
            attributes.push("geophone.dns.questions", header.questions());
        }
        out.push(Note::Asked(Asked {
            id,
            side,
            time,
            thread: datagram.thread,
            other_end: OtherEnd::Datagram(header.id),
            remote: datagram.remote.map(|remote| remote.ip()),
            addresses: datagram.remote.map(|remote| addresses(key.server, datagram.local, remote, datagram.netns)),
            carried: None,
            values: Values::default(),
        }));
        let exchange = Exchange {
            id,
            protocol: "dns",
            side,
            start: time,
            request_end: time,
            first_byte: None,
            end: time,
            request_thread: datagram.thread,
            response_thread: None,
            name,
            status: Status::Unset,
            attributes,
            holes: Holes { request_head: question.is_none(), ..Holes::default() },
        };
        let (local, remote) = (datagram.local, datagram.remote);
        let netns = datagram.netns;
        let query = Query { exchange, question, local, remote, netns, last: time, resends: 0 };
        self.waiting.entry(key).or_default().push(query);
        self.due.insert((time.saturating_add(PATIENCE), self.next), key);
        // A response may have been seen before.
        let mut i = 0;
        while let Some(early) = self.early.get(i) {
            if early.key == key
                && let Some(early) = self.early.remove(i)
                && let Some((header, question)) = message::datagram(&early.message, early.len())
                && let Some(early) = self.answered(early, &header, question.as_ref(), out)
            {
                self.early.insert(i, early);
            }
            i += 1;
        }
    }

    /// Gives a response to its query; back where there is none.
    fn answered(
        &mut self,
        early: Early,
        header: &Header,
        question: Option<&Question>,
        out: &mut Vec<Note>,
    ) -> Option<Early> {
        let fits = |query: &Query| {
            let (asked, answered) = (query.question.as_ref(), question);
            query.remote.is_none_or(|remote| early.remote.is_none_or(|from| from == remote))
                && asked.is_none_or(|asked| answered.is_none_or(|answered| answered.is_same(asked)))
        };
        let queries = self.waiting.get(&early.key).map(Vec::as_slice).unwrap_or_default();
        let mut fitting = queries.iter().filter(|query| fits(query));
        let Some(place) = fitting.next().map(|query| query.exchange.id.place) else {
            return Some(early);
        };
        // Of several that nothing tells apart, it is one.
        let doubtful = fitting.next().is_some();
        let Some(mut query) = self.take(early.key, place) else {
            return Some(early);
        };
        let exchange = &mut query.exchange;
        exchange.holes.pairing |= doubtful;
        exchange.holes.response_head = early.cut;
        // It may have been seen before its query was, never sent before.
        let time = early.time.max(exchange.start);
        exchange.first_byte = Some(time);
        exchange.end = time;
        exchange.response_thread = Some(early.thread);
        span::answered(exchange, header, &early.message);
        if let (None, Some(remote), Side::Server) = (query.remote, early.remote, exchange.side) {
            let addresses = addresses(true, query.local, remote, query.netns);
            out.push(Note::Named(Named { id: exchange.id, side: exchange.side, addresses }));
        }
        query.remote = query.remote.or(early.remote);
        out.push(Note::Answered(Answered { id: exchange.id, side: exchange.side, time, thread: early.thread }));
        out.push(Note::Done(query.done()));
        None
    }

    /// Takes a query that waits no longer.
    fn take(&mut self, key: Key, place: u64) -> Option<Query> {
        let queries = self.waiting.get_mut(&key)?;
        let at = queries.iter().position(|query| query.exchange.id.place == place)?;
        let query = queries.remove(at);
        if queries.is_empty() {
            self.waiting.remove(&key);
        }
        self.due.remove(&(query.last.saturating_add(PATIENCE), place));
        Some(query)
    }

    /// Ends a query whose response, if there is one, will not be known.
    fn flush(&mut self, shared: &Shared, key: Key, place: u64, out: &mut Vec<Note>) {
        if let Some(query) = self.take(key, place) {
            count(&shared.counts.flushed);
            let last = query.last;
            query.give_up(NoResponse::Unseen, last, out);
        }
    }

    /// A socket has moved something that is no DNS.
    fn foreign(&mut self, datagram: &Datagram<'_>, mut advise: impl FnMut(Direction, Interest)) {
        if self.strangers.len() >= STRANGERS && !self.strangers.contains_key(&datagram.socket) {
            // What they are is found out again.
            self.strangers.clear();
        }
        let stranger = self.strangers.entry(datagram.socket).or_default();
        match datagram.direction {
            Direction::Send => {
                stranger.sent += 1;
                if stranger.sent == SENT {
                    advise(Direction::Send, Interest::NEVER);
                    advise(Direction::Receive, Interest::NEVER);
                }
            }
            Direction::Receive => {
                stranger.received += 1;
                if stranger.received >= RECEIVED && !std::mem::replace(&mut stranger.refused, true) {
                    advise(Direction::Receive, Interest::NEVER);
                }
            }
        }
    }

    /// A socket has moved DNS.
    fn known(&mut self, shared: &Shared, datagram: &Datagram<'_>, advise: &mut impl FnMut(Direction, Interest)) {
        if !self.strangers.is_empty()
            && let Some(stranger) = self.strangers.remove(&datagram.socket)
            && stranger.refused
        {
            advise(Direction::Receive, Interest { from: 0, bytes: shared.capture, never: false });
        }
    }
}

/// The two ends, as both of them know them.
fn addresses(server: bool, local: SocketAddr, remote: SocketAddr, netns: u32) -> Addresses {
    let netns = if remote.ip().is_loopback() { netns } else { 0 };
    let (client, server) = if server { (remote, local) } else { (local, remote) };
    Addresses { netns, client, server }
}

impl Early {
    /// How long the datagram was at least.
    fn len(&self) -> u32 {
        u32::try_from(self.message.len()).unwrap_or(u32::MAX).saturating_add(u32::from(self.cut))
    }
}

impl Query {
    /// Its exchange, with all that is known in the end.
    fn done(self) -> Exchange {
        let Self { mut exchange, local, remote, resends, .. } = self;
        let server = if exchange.side == Side::Server { Some(local) } else { remote };
        if let Some(server) = server {
            if !server.ip().is_unspecified() {
                exchange.attributes.push("server.address", endpoints::address(server.ip()));
            }
            exchange.attributes.push("server.port", server.port());
        }
        endpoints::describe_datagram(local, remote, &mut exchange.attributes);
        if resends > 0 {
            exchange.attributes.push("geophone.dns.resends", Value::Int(resends.into()));
        }
        exchange
    }

    fn give_up(mut self, why: NoResponse, now: Nanos, out: &mut Vec<Note>) {
        self.exchange.end = now.max(self.last);
        no_response(&mut self.exchange, why);
        out.push(Note::Done(self.done()));
    }
}
