//! Sessions of HTTP/2 in Node, as its own functions tell of them: which socket each has. Only the process knows a session, only the kernel
//! the socket. What tells that they are the same is that the loop handles a frame of the session which it has just read from the socket; until
//! then, what it has asked for on the session waits. What follows from it is in `streams`.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

use super::{call::Serial, claims::Claim, forget::older_half};
use crate::{
    event::{Nanos, SocketId, Thread},
    protocol::CallId,
};

/// Most sessions, and streams that have not been answered, that are known at a time.
const MOST: usize = 65_536;
/// Most requests of a session that wait for its socket to be known.
const WAITING: usize = 1024;
/// Most beginnings of messages that are remembered of one read.
const FRESH: usize = 1024;
/// After so many reads in a row that speak for another socket, it is that one.
const CONVINCED: u32 = 4;
/// How soon what was read is handled.
const SOON: Nanos = 10_000_000;

/// A session, or a stream: its process, and at which address that keeps it.
type Address = (u32, u64);

#[derive(Debug, Default)]
struct Session {
    socket: Option<SocketId>,
    /// When something was last read, and for how many reads in a row now, that speaks for another socket.
    against: (Nanos, u32),
    /// Requests on it, while its socket is not known.
    waiting: BTreeMap<u64, Claim>,
    seen: Nanos,
}

impl Session {
    /// Whether a head that was read on a socket shows that it is this session's. What brings no head is not noted as read, so that a stream of
    /// another session may have the number of one that was read before.
    fn moves_to(&mut self, socket: SocketId, at: Nanos, is_taken: bool) -> bool {
        if self.socket == Some(socket) {
            self.against = (at, 0);
            return false;
        }
        if self.against.0 != at {
            self.against = (at, self.against.1 + 1);
        }
        let is_sure = self.socket.is_none() && !is_taken || self.against.1 >= CONVINCED;
        if is_sure {
            self.against = (at, 0);
        }
        is_sure
    }
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    session: u64,
    place: u64,
    seen: Nanos,
}

/// Messages that have begun in what a loop has read last.
#[derive(Debug)]
struct Read {
    at: Nanos,
    socket: SocketId,
    places: Vec<u64>,
    /// Calls that were complete with what was read, also before.
    done: HashMap<CallId, Done, foldhash::fast::RandomState>,
    /// In the order in which they were.
    order: VecDeque<CallId>,
}

/// A call that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// Which.
    pub(super) call: Serial,
    /// What it was for, once that is settled and the call forgotten.
    pub(super) request: Option<Serial>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: HashMap<Address, Session, foldhash::fast::RandomState>,
    sockets: HashMap<SocketId, Address, foldhash::fast::RandomState>,
    streams: HashMap<Address, Stream, foldhash::fast::RandomState>,
    reads: HashMap<u32, Read, foldhash::fast::RandomState>,
    /// How many requests wait for a session's socket, by where they are: process and stream.
    waiting: HashMap<(u32, u64), u32, foldhash::fast::RandomState>,
    /// How many were given up because there were too many.
    pub(super) forgotten: u64,
}

impl Sessions {
    /// A loop has read the beginning of a message.
    pub(super) fn reads(&mut self, tid: u32, socket: SocketId, place: u64, at: Nanos) {
        let new = || Read { at, socket, places: Vec::new(), done: HashMap::default(), order: VecDeque::new() };
        let read = self.reads.entry(tid).or_insert_with(new);
        if read.at != at || read.socket != socket {
            (read.at, read.socket) = (at, socket);
            read.places.clear();
        }
        if read.places.len() < FRESH {
            read.places.push(place);
        }
    }

    /// A call is complete. What was read of it may not have been handled.
    pub(super) fn is_done(&mut self, tid: u32, id: CallId, call: Serial) {
        if let Some(read) = self.reads.get_mut(&tid) {
            if read.order.len() == FRESH
                && let Some(oldest) = read.order.pop_front()
            {
                read.done.remove(&oldest);
            }
            read.order.push_back(id);
            read.done.insert(id, Done { call, request: None });
        }
    }

    /// A call is forgotten that was for this request.
    pub(super) fn forgets(&mut self, tid: u32, id: CallId, request: Serial) {
        if let Some(done) = self.reads.get_mut(&tid).and_then(|read| read.done.get_mut(&id)) {
            done.request = Some(request);
        }
    }

    /// A call that was complete when its answer was read.
    pub(super) fn done(&self, tid: u32, id: CallId) -> Option<Done> {
        self.reads.get(&tid)?.done.get(&id).copied()
    }

    /// The loop has something to do with a stream of a session. Returns the session's socket, and what has waited for that to be known.
    pub(super) fn turns(
        &mut self,
        from: Thread,
        session: u64,
        place: u64,
        now: Nanos,
    ) -> (Option<SocketId>, BTreeMap<u64, Claim>) {
        let address = (from.tgid, session);
        let is_fresh = |read: &&Read| place != 0 && now.saturating_sub(read.at) < SOON && read.places.contains(&place);
        let read = self.reads.get(&from.tid).filter(is_fresh).map(|read| (read.socket, read.at));
        let is_taken = read.is_some_and(|(socket, _)| self.sockets.get(&socket).is_some_and(|of| *of != address));
        let session = self.session(address, now);
        let Some((socket, _)) = read.filter(|(socket, at)| session.moves_to(*socket, *at, is_taken)) else {
            return (session.socket, BTreeMap::new());
        };
        let (earlier, waiting) = (session.socket.replace(socket), std::mem::take(&mut session.waiting));
        if let Some(earlier) = earlier {
            self.sockets.remove(&earlier);
        }
        if let Some(other) = self.sockets.insert(socket, address).filter(|other| *other != address)
            && let Some(other) = self.sessions.get_mut(&other)
        {
            other.socket = None;
        }
        for place in waiting.keys() {
            self.waits_no_more(from.tgid, *place);
        }
        (Some(socket), waiting)
    }

    /// A session is made: another one may have been at its address.
    pub(super) fn begins(&mut self, tgid: u32, session: u64) {
        if let Some(session) = self.sessions.remove(&(tgid, session)) {
            self.left(tgid, session);
        }
    }

    /// The loop makes a request. Returns the session's socket, if that is known; otherwise it waits for that.
    pub(super) fn asks(
        &mut self,
        from: Thread,
        session: u64,
        place: u64,
        claim: Claim,
        now: Nanos,
    ) -> Option<SocketId> {
        let session = self.session((from.tgid, session), now);
        if session.socket.is_some() {
            return session.socket;
        }
        let mut gone = None;
        let is_new = session.waiting.insert(place, claim).is_none();
        if session.waiting.len() > WAITING {
            gone = session.waiting.pop_first().map(|(place, _)| place);
        }
        if is_new {
            *self.waiting.entry((from.tgid, place)).or_default() += 1;
        }
        if let Some(place) = gone {
            self.forgotten += 1;
            self.waits_no_more(from.tgid, place);
        }
        None
    }

    /// Whether a request that is sent may be one that waits for its session's socket to be known.
    pub(super) fn may_wait(&self, tgid: u32, place: u64) -> bool {
        self.waiting.contains_key(&(tgid, place))
    }

    /// A stream begins with a request.
    pub(super) fn serves(&mut self, tgid: u32, stream: u64, session: u64, place: u64, now: Nanos) {
        if self.streams.len() >= MOST {
            self.forgotten += older_half(&mut self.streams, |stream| stream.seen);
        }
        self.streams.insert((tgid, stream), Stream { session, place, seen: now });
    }

    /// The request of a stream is answered: where it was read.
    pub(super) fn answers(&mut self, tgid: u32, stream: u64) -> Option<(SocketId, u64)> {
        let stream = self.streams.remove(&(tgid, stream))?;
        let session = self.sessions.get(&(tgid, stream.session))?;
        Some((session.socket?, stream.place))
    }

    /// Whether a socket is a session's.
    pub(super) fn has(&self, socket: SocketId) -> bool {
        self.sockets.contains_key(&socket)
    }

    /// A connection is over.
    pub(super) fn closed(&mut self, socket: SocketId) {
        if let Some(address) = self.sockets.remove(&socket) {
            self.begins(address.0, address.1);
        }
    }

    /// A thread, or the process of this number, has ended.
    pub(super) fn ended(&mut self, id: u32) {
        if self.reads.remove(&id).is_some() {
            self.sessions.retain(|(tgid, _), _| *tgid != id);
            self.sockets.retain(|_, (tgid, _)| *tgid != id);
            self.streams.retain(|(tgid, _), _| *tgid != id);
            self.waiting.retain(|(tgid, _), _| *tgid != id);
        }
    }

    fn session(&mut self, address: Address, now: Nanos) -> &mut Session {
        if self.sessions.len() >= MOST && !self.sessions.contains_key(&address) {
            self.forgotten += older_half(&mut self.sessions, |session| session.seen);
            let Self { sessions, sockets, waiting, .. } = self;
            sockets.retain(|_, address| sessions.contains_key(address));
            waiting.clear();
            for ((tgid, _), session) in sessions.iter() {
                for place in session.waiting.keys() {
                    *waiting.entry((*tgid, *place)).or_default() += 1;
                }
            }
        }
        let session = self.sessions.entry(address).or_default();
        session.seen = now;
        session
    }

    fn left(&mut self, tgid: u32, session: Session) {
        if let Some(socket) = session.socket {
            self.sockets.remove(&socket);
        }
        for place in session.waiting.into_keys() {
            self.waits_no_more(tgid, place);
        }
    }

    fn waits_no_more(&mut self, tgid: u32, place: u64) {
        if let Some(waiting) = self.waiting.get_mut(&(tgid, place)) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(&(tgid, place));
            }
        }
    }
}
