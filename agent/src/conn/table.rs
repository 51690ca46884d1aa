//! The table of connections: takes events apart, finds their connection, hands on what it says.

use std::collections::BTreeSet;

use super::{
    Connection, End, Ending, Limits, Stats, Update, call::Call, entry::Entry, lists::Life, slots::Slots, stream::Sink,
};
use crate::event::{Change, Data, Direction, Event, Life as ProcessLife, Nanos, Open, Process, SocketId, State};

/// All connections. `S` is what the next stage keeps of each; it is moved when the table grows: a large one should be boxed.
///
/// Every method that can hand on updates takes the `sink` for them. What a sink is told of a connection and its `S`: pieces
/// of each direction in order and without a break; an end of each direction, once, after which nothing follows in it; the
/// time, now and then. Both directions begin anew when [`Connection::decrypted`] turns true. When both directions have ended, the `S` is dropped soon after.
pub struct Table<S> {
    pub(super) slots: Slots<S>,
    pub(super) limits: Limits,
    pub(super) stats: Stats,
    /// What all calls held back cost.
    pub(super) held: usize,
    /// Connections that hold back calls, by when these have waited long enough.
    pub(super) due: BTreeSet<(Nanos, u32)>,
    /// The first of `due`, or never.
    pub(super) next_due: Nanos,
    /// Unix sockets that only one process has used, by process.
    pub(super) owned: BTreeSet<(u32, u32)>,
    /// The last tick; before the first one, the first event. Time-outs go by it rather than by the events, so that a
    /// damaged event cannot make time jump.
    pub(super) clock: Nanos,
}

impl<S: Default> Table<S> {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            slots: Slots::new(),
            limits: Limits { connections: limits.connections.clamp(1, 1 << 31), ..limits },
            stats: Stats::default(),
            held: 0,
            due: BTreeSet::new(),
            next_due: Nanos::MAX,
            owned: BTreeSet::new(),
            clock: 0,
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connections that are remembered.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of memory that calls held back take, all connections together.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes an event. Events come nearly in order of time: none is later than another one by more than `Limits::reorder`.
    #[inline]
    pub fn event<F>(&mut self, event: &Event<'_>, sink: &mut F)
    where
        F: FnMut(&Connection, &mut S, &Update<'_>),
    {
        let time = event.time();
        if self.clock == 0 {
            self.clock = time;
        }
        if time >= self.next_due {
            self.release_due(time, sink);
        }
        match event {
            Event::Data(data) => self.data(data, sink),
            Event::Open(open) => self.open(open, sink),
            Event::State(state) => self.state(state, sink),
            Event::Process(process) => self.process(process),
            Event::Datagram(_)
            | Event::Handover(_)
            | Event::Sample(_)
            | Event::Usage(_)
            | Event::Greeted(_)
            | Event::Inject(_)
            | Event::Carried(_) => {}
        }
        if self.held > self.limits.held_total {
            self.shed(time, sink);
        }
    }

    /// Tells of advice given to the capture: calls of this direction that end before `offset` will not be reported
    /// (`u64::MAX`: none at all any more). They are then [`NotCaptured`](super::Gap::NotCaptured) instead of lost, and are not waited for.
    pub fn set_skip_until(&mut self, socket: SocketId, direction: Direction, offset: u64) {
        if let Some(slot) = self.slots.find(socket.sock)
            && let Some(entry) = self.slots.get_mut(slot)
            && entry.connection.socket == socket
        {
            entry.set_wanted_from(direction, offset);
        }
    }

    #[inline]
    fn data<F: Sink<S>>(&mut self, data: &Data<'_>, sink: &mut F) {
        self.stats.calls += u64::from(data.len > 0);
        let Some(call) = Call::new(data, &mut self.stats) else {
            return;
        };
        let Some(slot) = self.find_or_add(data, sink) else {
            return;
        };
        self.touch(slot, data.thread.tgid);
        self.with(slot, call.time, sink, |entry, shared, sink| {
            if data.decrypted != entry.connection.decrypted {
                if !data.decrypted {
                    shared.stats.encrypted += 1;
                    return;
                }
                entry.decrypted(!data.relative, shared.held);
            }
            entry.call(data.direction, &call, shared, sink);
        });
    }

    fn open<F: Sink<S>>(&mut self, open: &Open, sink: &mut F) {
        let found = self.slots.find(open.socket.sock);
        let slot = match found.and_then(|slot| Some((slot, self.slots.get_mut(slot)?.connection.socket.born))) {
            Some((slot, born)) if born == open.socket.born => slot,
            Some((_, born)) if born > open.socket.born => {
                self.stats.stale += 1;
                return;
            }
            _ => {
                self.stats.opened += 1;
                self.add(open.socket, open.time, sink)
            }
        };
        if let Some(entry) = self.slots.get_mut(slot) {
            entry.learn(open);
            // Learnt late, after its first calls: then the process is known already, but not yet listed as its owner.
            let user = entry.user;
            if user != 0 && entry.is_unix() && !entry.shared {
                self.owned.insert((user, slot));
            }
        }
        self.touch(slot, open.thread.tgid);
    }

    fn state<F: Sink<S>>(&mut self, state: &State, sink: &mut F) {
        let found = self.slots.find(state.socket.sock);
        let Some((slot, entry)) = found.and_then(|slot| Some((slot, self.slots.get_mut(slot)?))) else {
            self.stats.unknown += 1;
            return;
        };
        let time = state.time;
        if entry.connection.socket != state.socket {
            self.stats.stale += u64::from(state.socket.born < entry.connection.socket.born);
            self.stats.unknown += u64::from(state.socket.born > entry.connection.socket.born);
            return;
        }
        match state.change {
            Change::Established => {
                entry.begin();
                entry.connection.since = time;
            }
            Change::SendClosed => self.with(slot, time, sink, |entry, shared, sink| {
                entry.end_send(time, shared, sink);
            }),
            Change::Closed if entry.life == Life::Dormant => self.forget(slot),
            Change::Draining | Change::Closed => {
                let how = match state.error {
                    0 => Ending::Closed,
                    errno => Ending::Reset(errno),
                };
                // While the process holds the socket it may read what is queued, but need not, and need not say.
                let life = if state.change == Change::Closed { Life::Closing } else { Life::Doubtful };
                self.slots.shift(slot, life, self.clock);
                self.with(slot, time, sink, |entry, shared, sink| {
                    entry.close(End { time, how }, shared, sink);
                });
            }
        }
    }

    /// A process that ends closes its Unix sockets, of which nothing else tells. Others may have inherited them, so this
    /// only makes them doubtful. TCP connections are closed by the kernel, visibly.
    fn process(&mut self, process: &Process) {
        if process.what != ProcessLife::Exit {
            return;
        }
        let slots: Vec<u32> =
            self.owned.range((process.tgid, 0)..=(process.tgid, u32::MAX)).map(|&(_, slot)| slot).collect();
        for slot in slots {
            match self.slots.get_mut(slot).map(|entry| entry.life) {
                Some(Life::Active | Life::Quiet) => {
                    self.slots.shift(slot, Life::Doubtful, self.clock);
                }
                Some(Life::Dormant) => self.forget(slot),
                Some(Life::Doubtful | Life::Closing) | None => {}
            }
        }
    }

    /// The connection that the call belongs to; `None` when that is over.
    #[inline]
    fn find_or_add<F: Sink<S>>(&mut self, data: &Data<'_>, sink: &mut F) -> Option<u32> {
        if let Some(slot) = self.slots.find(data.socket.sock) {
            let born = self.slots.get_mut(slot)?.connection.socket.born;
            if born == data.socket.born {
                return Some(slot);
            }
            if born > data.socket.born {
                self.stats.stale += 1;
                return None;
            }
        }
        if data.len == 0 {
            // The end of something of which nothing was seen.
            self.stats.unknown += 1;
            return None;
        }
        self.stats.opened_unseen += 1;
        Some(self.add(data.socket, data.time, sink))
    }

    /// Adds a connection, in the place of one with the same `struct sock`.
    #[cold]
    fn add<F: Sink<S>>(&mut self, socket: SocketId, time: Nanos, sink: &mut F) -> u32 {
        if let Some(slot) = self.slots.find(socket.sock) {
            self.stats.replaced += 1;
            self.remove(slot, time, sink);
        }
        self.make_room(time, sink);
        self.slots.insert(Entry::new(socket, time, self.clock))
    }

    /// Notes that something happened on a connection, and by which process.
    #[inline]
    fn touch(&mut self, slot: u32, tgid: u32) {
        let clock = self.clock;
        if let Some(entry) = self.slots.get_mut(slot)
            && (entry.stamp != clock || entry.life != Life::Active || (entry.user != tgid && !entry.shared))
        {
            self.touch_slowly(slot, tgid);
        }
    }
}
