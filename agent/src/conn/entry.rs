//! One connection: both directions, what waits, and what the table must know to keep it in order.

use super::{
    Connection, End, Ending, Limits, Stats, Update,
    call::Call,
    lists::Life,
    stream::{Out, Place, Sink, Stream},
    waiting::{Force, Waiting, cost},
    ways::Ways,
};
use crate::event::{Direction, Endpoints, Nanos, Open, Role, SocketId, Thread};

/// What all connections share.
pub(super) struct Shared<'a> {
    pub(super) limits: &'a Limits,
    pub(super) stats: &'a mut Stats,
    /// What all calls held back cost.
    pub(super) held: &'a mut usize,
}

/// What the table looks at to see whether there is something to do after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) deadline: Option<Nanos>,
    pub(super) send_ended: bool,
    pub(super) receive_ended: bool,
}

/// Laid out so that a call in order touches the first lines of cache only: with many connections, that is what it costs.
#[repr(C)]
pub(super) struct Entry<S> {
    /// When it was put where it is in its list.
    pub(super) stamp: Nanos,
    streams: Ways<Stream>,
    waiting: Option<Box<Waiting>>,
    /// The process that uses it, 0 before the first call.
    pub(super) user: u32,
    /// More than one process has used it.
    pub(super) shared: bool,
    pub(super) life: Life,
    pub(super) connection: Connection,
    state: S,
    /// How the kernel closed it.
    closed: Option<End>,
    /// When something last happened on it, in ticks of the table.
    pub(super) used: Nanos,
}

impl<S: Default> Entry<S> {
    /// A connection of which nothing is known but that it is there.
    pub(super) fn new(socket: SocketId, since: Nanos, clock: Nanos) -> Self {
        Self {
            connection: Connection {
                socket,
                endpoints: None,
                role: Role::Unknown,
                netns: 0,
                sequences: None,
                since,
                decrypted: false,
                wire: None,
            },
            state: S::default(),
            streams: Ways::default(),
            waiting: None,
            closed: None,
            life: Life::Active,
            stamp: clock,
            used: clock,
            user: 0,
            shared: false,
        }
    }

    /// Learns what it did not know.
    pub(super) fn learn(&mut self, open: &Open) {
        let known = &mut self.connection;
        known.since = known.since.min(open.time);
        if known.endpoints.is_none() {
            known.endpoints = Some(open.endpoints.clone());
        }
        if known.role == Role::Unknown {
            known.role = open.role;
        }
        if known.netns == 0 {
            known.netns = open.netns;
        }
        if known.sequences.is_none() {
            known.sequences = open.sequences;
        }
        // Who is known to have connected or accepted was seen doing it, before any byte.
        if open.role != Role::Unknown && !self.is_unix() {
            self.begin();
        }
    }

    /// Both directions are seen from their first byte on.
    pub(super) fn begin(&mut self) {
        if self.life != Life::Dormant {
            self.streams.get_mut(Direction::Send).begin();
            self.streams.get_mut(Direction::Receive).begin();
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.connection.endpoints, Some(Endpoints::Unix { .. }))
    }

    /// The other end of a pair of Unix sockets.
    pub(super) fn peer(&self) -> Option<u64> {
        match self.connection.endpoints {
            Some(Endpoints::Unix { peer, .. }) if peer != 0 => Some(peer),
            _ => None,
        }
    }

    pub(super) fn set_wanted_from(&mut self, direction: Direction, offset: u64) {
        self.streams.get_mut(direction).set_wanted_from(offset);
    }

    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark {
            deadline: self.waiting.as_ref().map(|waiting| waiting.deadline),
            send_ended: self.streams.get(Direction::Send).ended,
            receive_ended: self.streams.get(Direction::Receive).ended,
        }
    }

    /// From here on the streams are what is decrypted: they begin anew. Encrypted calls that wait are of no use any more.
    pub(super) fn decrypted(&mut self, whole: bool, held: &mut usize) {
        self.connection.decrypted = true;
        for direction in [Direction::Send, Direction::Receive] {
            self.streams.get_mut(direction).begin_anew();
        }
        if let Some(waiting) = self.waiting.take() {
            *held -= waiting.cost;
        }
        if whole {
            self.begin();
        }
    }

    /// Takes a call: hands it on, or holds it back when calls before it are still to come.
    #[inline]
    pub(super) fn call<F: Sink<S>>(
        &mut self,
        direction: Direction,
        call: &Call<'_>,
        shared: &mut Shared<'_>,
        sink: &mut F,
    ) {
        if self.life == Life::Closing
            && let Some(closed) = &mut self.closed
        {
            closed.time = closed.time.max(call.time);
        }
        match self.streams.get(direction).place(call) {
            Place::Now if self.waiting.is_none() => self.deliver(direction, call, shared, sink),
            // Nothing more is under way on a closed connection that would be worth waiting for.
            Place::Ahead if self.closed.is_some() => self.deliver(direction, call, shared, sink),
            Place::Now | Place::Ahead => self.hold(direction, call, shared, sink),
            Place::Implausible => shared.stats.implausible += 1,
        }
    }

    /// This side will send no more.
    pub(super) fn end_send<F: Sink<S>>(&mut self, time: Nanos, shared: &mut Shared<'_>, sink: &mut F) {
        let stream = self.streams.get(Direction::Send);
        if stream.ended {
            return;
        }
        let held = self.waiting.as_ref().and_then(|waiting| waiting.end_offset(Direction::Send));
        let end = Call {
            time,
            thread: Thread::default(),
            offset: held.unwrap_or(0).max(stream.position()),
            len: 0,
            skipped: 0,
            bytes: &[],
            relative: false,
            end: true,
            wire: None,
        };
        self.call(Direction::Send, &end, shared, sink);
    }

    /// The kernel has closed it. What came before may still be read, so that the receiving direction stays open.
    pub(super) fn close<F: Sink<S>>(&mut self, end: End, shared: &mut Shared<'_>, sink: &mut F) {
        self.release(Force::Everything, shared, sink);
        self.closed.get_or_insert(end);
        self.end(Direction::Send, end, shared, sink);
    }

    /// Ends what has not ended: as the kernel closed it, or else as said.
    pub(super) fn end_all<F: Sink<S>>(&mut self, end: End, shared: &mut Shared<'_>, sink: &mut F) {
        self.release(Force::Everything, shared, sink);
        let end = self.closed.unwrap_or(end);
        self.end(Direction::Send, end, shared, sink);
        self.end(Direction::Receive, end, shared, sink);
    }

    /// Ends one direction, behind all that waits.
    pub(super) fn end_one<F: Sink<S>>(
        &mut self,
        direction: Direction,
        time: Nanos,
        shared: &mut Shared<'_>,
        sink: &mut F,
    ) {
        self.release(Force::Everything, shared, sink);
        let how = Ending::Closed;
        self.end(direction, End { time, how }, shared, sink);
    }

    /// Tells it the time.
    pub(super) fn tick<F: Sink<S>>(&mut self, now: Nanos, sink: &mut F) {
        sink(&self.connection, &mut self.state, &Update::Tick(now));
    }

    /// Frees what the next stage knew of it.
    pub(super) fn clear(&mut self) {
        self.state = S::default();
    }

    /// Keeps nothing but the addresses. The next call joins the stream anew.
    pub(super) fn sleep(&mut self) {
        self.clear();
        self.streams = Ways::default();
    }

    /// Hands on what has waited long enough.
    pub(super) fn release_due<F: Sink<S>>(&mut self, now: Nanos, shared: &mut Shared<'_>, sink: &mut F) {
        if let Some(waiting) = &mut self.waiting {
            let force = waiting.due(now, shared.limits.reorder);
            self.release(force, shared, sink);
        }
    }

    /// Hands on, in order of time, what need not wait any more.
    pub(super) fn release<F: Sink<S>>(&mut self, force: Force, shared: &mut Shared<'_>, sink: &mut F) {
        let Some(mut waiting) = self.waiting.take() else {
            return;
        };
        while let Some((direction, first)) = waiting.first() {
            let call = first.call();
            let ahead = self.streams.get(direction).place(&call) == Place::Ahead;
            if ahead && !force.covers(direction, call.offset) {
                self.waiting = Some(waiting);
                return;
            }
            if let Some(held) = waiting.pop(direction) {
                let call = held.call();
                *shared.held -= cost(&call);
                self.deliver(direction, &call, shared, sink);
            }
        }
    }

    #[cold]
    fn hold<F: Sink<S>>(&mut self, direction: Direction, call: &Call<'_>, shared: &mut Shared<'_>, sink: &mut F) {
        let cost = cost(call);
        let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting::new()));
        if waiting.cost + cost > shared.limits.held {
            shared.stats.held_overflows += 1;
            self.release(Force::Everything, shared, sink);
            self.deliver(direction, call, shared, sink);
            return;
        }
        waiting.insert(direction, call, shared.limits.reorder);
        *shared.held += cost;
        shared.stats.held += 1;
        self.release(Force::Nothing, shared, sink);
    }

    #[inline]
    fn deliver<F: Sink<S>>(&mut self, direction: Direction, call: &Call<'_>, shared: &mut Shared<'_>, sink: &mut F) {
        self.connection.wire = call.wire.map(|wire| (direction, call.offset, wire));
        let mut out = Out { connection: &self.connection, state: &mut self.state, stats: shared.stats, sink };
        self.streams.get_mut(direction).deliver(direction, call, &mut out);
    }

    fn end<F: Sink<S>>(&mut self, direction: Direction, end: End, shared: &mut Shared<'_>, sink: &mut F) {
        let mut out = Out { connection: &self.connection, state: &mut self.state, stats: shared.stats, sink };
        self.streams.get_mut(direction).end(direction, end.time, end.how, &mut out);
    }
}
