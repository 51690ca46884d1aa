//! How connections age and end: time-outs, evictions, Unix sockets of which nobody tells that they are closed.

use super::{
    Connection, End, Ending, Update,
    entry::Mark,
    lists::{DISPENSABLE, Life},
    stream::Sink,
    table::Table,
};
use crate::event::{Direction, Nanos};

impl<S: Default> Table<S> {
    /// Tells the time: gives up what is overdue. To be called some ten times a second; costs nothing when nothing is due.
    pub fn tick<F>(&mut self, now: Nanos, sink: &mut F)
    where
        F: FnMut(&Connection, &mut S, &Update<'_>),
    {
        self.clock = now;
        self.release_due(now, sink);
        self.age(Life::Closing, self.limits.linger, |table, slot| {
            table.remove(slot, now, sink);
        });
        self.age(Life::Doubtful, self.limits.doubtful, |table, slot| {
            table.stats.evicted_doubtful += 1;
            table.remove(slot, now, sink);
        });
        let quiet = self.limits.quiet.min(self.limits.idle);
        self.age(Life::Quiet, quiet, |table, slot| {
            table.quiet(slot, now, sink);
        });
        self.age(Life::Active, quiet, |table, slot| {
            table.quiet(slot, now, sink);
        });
    }

    /// Ends everything: the agent stops.
    pub fn finish<F>(&mut self, now: Nanos, sink: &mut F)
    where
        F: FnMut(&Connection, &mut S, &Update<'_>),
    {
        for life in DISPENSABLE {
            while let Some((slot, _)) = self.slots.first(life) {
                self.remove(slot, now, sink);
            }
        }
    }

    /// Does something with each connection that has been in its place for so long, which must take it away from there.
    fn age(&mut self, life: Life, timeout: Nanos, mut act: impl FnMut(&mut Self, u32)) {
        let now = self.clock;
        while let Some((slot, entry)) = self.slots.first(life) {
            if entry.stamp > now {
                // Time began with a damaged event, or runs backwards. Whoever stands first must not block the others for ever.
                entry.used = now;
                self.slots.shift(slot, life, now);
            } else if now - entry.stamp >= timeout.max(1) {
                act(self, slot);
            } else {
                break;
            }
        }
    }

    /// Nothing has happened on a connection for a while.
    fn quiet<F: Sink<S>>(&mut self, slot: u32, now: Nanos, sink: &mut F) {
        let idle = self.limits.idle;
        let Some(entry) = self.slots.get_mut(slot) else {
            return;
        };
        if now.saturating_sub(entry.used) < idle {
            entry.tick(now, sink);
            self.slots.shift(slot, Life::Quiet, now);
            return;
        }
        self.stats.evicted_idle += 1;
        if entry.connection.endpoints.is_none() {
            self.remove(slot, now, sink);
            return;
        }
        // First off the list, so that the ends that follow find nothing more to change.
        self.slots.shift(slot, Life::Dormant, now);
        let how = Ending::Evicted;
        self.with(slot, now, sink, |entry, shared, sink| {
            entry.end_all(End { time: now, how }, shared, sink);
        });
        if let Some(entry) = self.slots.get_mut(slot) {
            entry.sleep();
        }
    }

    /// Makes room for one more connection.
    pub(super) fn make_room<F: Sink<S>>(&mut self, time: Nanos, sink: &mut F) {
        while self.slots.len() >= self.limits.connections {
            let Some((life, slot)) = DISPENSABLE.into_iter().find_map(|life| Some((life, self.slots.first(life)?.0)))
            else {
                return;
            };
            self.stats.evicted_full += u64::from(life != Life::Closing);
            self.remove(slot, time, sink);
        }
    }

    /// Ends a connection, as evicted unless it is known to be closed, and forgets it.
    pub(super) fn remove<F: Sink<S>>(&mut self, slot: u32, time: Nanos, sink: &mut F) {
        if let Some(entry) = self.slots.remove(slot) {
            self.set_due(slot, entry.mark().deadline, None);
            self.owned.remove(&(entry.user, slot));
            if entry.life != Life::Dormant {
                let how = Ending::Evicted;
                self.end_removed(entry, End { time, how }, sink);
            }
        }
    }

    /// Forgets a connection that has ended.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(entry) = self.slots.remove(slot) {
            self.owned.remove(&(entry.user, slot));
        }
    }

    #[cold]
    pub(super) fn touch_slowly(&mut self, slot: u32, tgid: u32) {
        let clock = self.clock;
        let Some(entry) = self.slots.get_mut(slot) else {
            return;
        };
        entry.used = clock;
        let half_ended = {
            let mark = entry.mark();
            mark.send_ended || mark.receive_ended
        };
        let mut inherited = false;
        if tgid != 0 && tgid != entry.user && !entry.shared {
            let (unix, user) = (entry.is_unix(), entry.user);
            inherited = user != 0;
            entry.user = tgid;
            entry.shared = inherited;
            if unix {
                self.owned.remove(&(user, slot));
                if !inherited {
                    self.owned.insert((tgid, slot));
                }
            }
        }
        let Some(entry) = self.slots.get_mut(slot) else {
            return;
        };
        let life = match entry.life {
            Life::Active | Life::Quiet | Life::Dormant => Life::Active,
            // Its process has ended, but another one goes on with it.
            Life::Doubtful if inherited && !half_ended => Life::Active,
            Life::Doubtful => Life::Doubtful,
            Life::Closing => Life::Closing,
        };
        if life != entry.life || entry.stamp != clock {
            self.slots.shift(slot, life, clock);
        }
    }

    /// Draws the consequences of directions that have ended.
    pub(super) fn settle_ends<F: Sink<S>>(&mut self, slot: u32, time: Nanos, before: Mark, after: Mark, sink: &mut F) {
        let clock = self.clock;
        let Some(entry) = self.slots.get_mut(slot) else {
            return;
        };
        if entry.life == Life::Dormant {
            return;
        }
        let (life, unix) = (entry.life, entry.is_unix());
        let peer = entry.peer().filter(|_| after.receive_ended && !before.receive_ended);
        let sock = entry.connection.socket.sock;
        if after.send_ended && after.receive_ended {
            entry.clear();
            if life != Life::Closing {
                self.slots.shift(slot, Life::Closing, clock);
            }
        } else if unix && (after.send_ended || after.receive_ended) && life != Life::Closing {
            // One direction may go on, or the process has closed it and nothing will ever tell.
            self.slots.shift(slot, Life::Doubtful, clock);
        }
        if let Some(peer) = peer {
            self.end_peer(peer, sock, time, sink);
        }
    }

    /// One end of a pair of Unix sockets has read the end: the other end sends no more.
    fn end_peer<F: Sink<S>>(&mut self, peer: u64, sock: u64, time: Nanos, sink: &mut F) {
        if let Some(slot) = self.slots.find(peer)
            && let Some(entry) = self.slots.get_mut(slot)
            && entry.peer() == Some(sock)
        {
            self.with(slot, time, sink, |entry, shared, sink| {
                entry.end_one(Direction::Send, time, shared, sink);
            });
        }
    }
}
