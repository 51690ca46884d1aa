//! What follows from a change on one connection: how long it may hold back calls, and how much all may together.

use super::{
    End,
    entry::{Entry, Mark, Shared},
    stream::Sink,
    table::Table,
    waiting::Force,
};
use crate::event::Nanos;

impl<S: Default> Table<S> {
    /// Does something with a connection, then what follows from it.
    #[inline]
    pub(super) fn with<F: Sink<S>>(
        &mut self,
        slot: u32,
        time: Nanos,
        sink: &mut F,
        act: impl FnOnce(&mut Entry<S>, &mut Shared<'_>, &mut F),
    ) {
        let mut shared = Shared { limits: &self.limits, stats: &mut self.stats, held: &mut self.held };
        let Some(entry) = self.slots.get_mut(slot) else {
            return;
        };
        let before = entry.mark();
        act(entry, &mut shared, sink);
        let after = entry.mark();
        if before != after {
            self.settle(slot, time, before, after, sink);
        }
    }

    /// Draws the consequences of what has changed on a connection.
    #[cold]
    fn settle<F: Sink<S>>(&mut self, slot: u32, time: Nanos, before: Mark, after: Mark, sink: &mut F) {
        self.set_due(slot, before.deadline, after.deadline);
        if (before.send_ended, before.receive_ended) != (after.send_ended, after.receive_ended) {
            self.settle_ends(slot, time, before, after, sink);
        }
    }

    /// Gives up waiting where that has lasted longest, until what is held back fits its bound.
    #[cold]
    pub(super) fn shed<F: Sink<S>>(&mut self, time: Nanos, sink: &mut F) {
        while self.held > self.limits.held_total
            && let Some(&(_, slot)) = self.due.first()
        {
            self.stats.held_overflows += 1;
            self.with(slot, time, sink, |entry, shared, sink| {
                entry.release(Force::Everything, shared, sink);
            });
        }
    }

    /// Notes until when a connection holds back calls.
    pub(super) fn set_due(&mut self, slot: u32, before: Option<Nanos>, after: Option<Nanos>) {
        if before == after {
            return;
        }
        if let Some(deadline) = before {
            self.due.remove(&(deadline, slot));
        }
        if let Some(deadline) = after {
            self.due.insert((deadline, slot));
        }
        self.next_due = self.due.first().map_or(Nanos::MAX, |&(deadline, _)| deadline);
    }

    /// Hands on everything that has waited long enough.
    #[cold]
    pub(super) fn release_due<F: Sink<S>>(&mut self, now: Nanos, sink: &mut F) {
        while let Some(&(deadline, slot)) = self.due.first()
            && deadline <= now
        {
            self.with(slot, now, sink, |entry, shared, sink| {
                entry.release_due(now, shared, sink);
            });
        }
    }

    /// Ends a connection that is no longer in the table.
    pub(super) fn end_removed<F: Sink<S>>(&mut self, mut entry: Entry<S>, end: End, sink: &mut F) {
        let mut shared = Shared { limits: &self.limits, stats: &mut self.stats, held: &mut self.held };
        entry.end_all(end, &mut shared, sink);
    }
}
