//! One direction of a connection: where it is, and how the next call continues it.

use super::{Connection, Content, End, Ending, Gap, Piece, Stats, Update, call::Call};
use crate::event::{Direction, Nanos};

/// A call that ends so far before the stream's position is no duplicate but damaged.
const BEHIND_MAX: u64 = 1 << 30;
/// A call so far ahead of the stream's position is no loss but damaged.
const AHEAD_MAX: u64 = 1 << 40;

/// What takes updates; every closure that can is one. For the signatures of this module alone: Rust infers the type of a
/// closure's arguments only where the bound is spelt out, as it is in the methods that take one from outside.
pub(super) trait Sink<S>: FnMut(&Connection, &mut S, &Update<'_>) {}

impl<S, F: FnMut(&Connection, &mut S, &Update<'_>)> Sink<S> for F {}

/// Where updates of one connection go.
pub(super) struct Out<'a, S, F> {
    pub(super) connection: &'a Connection,
    pub(super) state: &'a mut S,
    pub(super) stats: &'a mut Stats,
    pub(super) sink: &'a mut F,
}

impl<S, F: Sink<S>> Out<'_, S, F> {
    #[inline]
    pub(super) fn send(&mut self, update: &Update<'_>) {
        (self.sink)(self.connection, self.state, update);
    }
}

/// How a call lies to the stream's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It continues the stream, or what is before it was left out on advice, or it overlaps what was seen.
    Now,
    /// Calls before it have not been seen.
    Ahead,
    /// Too far away to be true.
    Implausible,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// Position after the last piece; meaningful when `placed`.
    next: u64,
    /// What is missing before this position was left out on advice.
    wanted_from: u64,
    /// Its position is known.
    placed: bool,
    /// A piece has been handed on.
    begun: bool,
    /// Nothing follows.
    pub(super) ended: bool,
}

impl Stream {
    /// The stream is seen from its first byte on. Without effect when something of it has been seen.
    pub(super) fn begin(&mut self) {
        self.placed = true;
    }

    /// What comes is another stream, decrypted. But nothing follows an end, whatever comes.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { ended: self.ended, ..Self::default() };
    }

    /// Calls that end before `offset` will not be reported.
    pub(super) fn set_wanted_from(&mut self, offset: u64) {
        self.wanted_from = offset;
    }

    /// Position after the last piece, 0 before the first.
    pub(super) fn position(&self) -> u64 {
        self.next
    }

    #[inline]
    pub(super) fn place(&self, call: &Call<'_>) -> Place {
        if call.offset == self.next || !self.placed || self.ended {
            Place::Now
        } else if call.offset > self.next {
            if call.offset <= self.wanted_from {
                Place::Now
            } else if call.offset - self.next.max(self.wanted_from) > AHEAD_MAX {
                Place::Implausible
            } else {
                Place::Ahead
            }
        } else if self.next - call.offset > BEHIND_MAX + u64::from(call.len) {
            Place::Implausible
        } else {
            Place::Now
        }
    }

    /// Hands on what of the call is new; what is missing before it is missing for good.
    #[inline]
    pub(super) fn deliver<S, F>(&mut self, direction: Direction, call: &Call<'_>, out: &mut Out<'_, S, F>)
    where
        F: FnMut(&Connection, &mut S, &Update<'_>),
    {
        if self.ended {
            out.stats.after_end += u64::from(call.len > 0);
            return;
        }
        if !self.placed {
            self.placed = true;
            self.next = call.offset;
        }
        if call.offset > self.next {
            self.gap(direction, call, out);
        } else if call.offset < self.next && call.len > 0 {
            out.stats.overlaps += 1;
            out.stats.overlap_bytes += call.end_offset().min(self.next) - call.offset;
        }

        let captured = call.offset + u64::from(call.skipped);
        let end = call.end_offset();
        self.hole(direction, call, captured, Gap::NotCaptured, out);
        let seen = usize::try_from(self.next.saturating_sub(captured)).unwrap_or(usize::MAX);
        if let Some(bytes) = call.bytes.get(seen..)
            && !bytes.is_empty()
        {
            out.stats.captured_bytes += bytes.len() as u64;
            self.piece(direction, call, Content::Bytes(bytes), out);
        }
        self.hole(direction, call, end, Gap::NotCaptured, out);

        if call.end {
            self.end(direction, call.time, Ending::Closed, out);
        }
    }

    /// Ends the direction, once.
    pub(super) fn end<S, F>(&mut self, direction: Direction, time: Nanos, how: Ending, out: &mut Out<'_, S, F>)
    where
        F: FnMut(&Connection, &mut S, &Update<'_>),
    {
        if !self.ended {
            self.ended = true;
            out.send(&Update::End(direction, End { time, how }));
        }
    }

    /// Says what is missing before a call.
    #[cold]
    fn gap<S, F>(&mut self, direction: Direction, call: &Call<'_>, out: &mut Out<'_, S, F>)
    where
        F: FnMut(&Connection, &mut S, &Update<'_>),
    {
        self.hole(direction, call, self.wanted_from.min(call.offset), Gap::NotCaptured, out);
        if call.offset > self.next {
            out.stats.lost_gaps += 1;
            self.hole(direction, call, call.offset, Gap::Lost, out);
        }
    }

    /// Says that bytes are missing up to `to`.
    #[inline]
    fn hole<S, F>(&mut self, direction: Direction, call: &Call<'_>, to: u64, why: Gap, out: &mut Out<'_, S, F>)
    where
        F: FnMut(&Connection, &mut S, &Update<'_>),
    {
        if to <= self.next {
            return;
        }
        let len = to - self.next;
        match why {
            Gap::NotCaptured => out.stats.not_captured_bytes += len,
            Gap::Lost => out.stats.lost_bytes += len,
        }
        self.piece(direction, call, Content::Hole(len, why), out);
    }

    #[inline]
    fn piece<S, F>(&mut self, direction: Direction, call: &Call<'_>, content: Content<'_>, out: &mut Out<'_, S, F>)
    where
        F: FnMut(&Connection, &mut S, &Update<'_>),
    {
        let piece = Piece {
            offset: self.next,
            joined: !self.begun && (call.relative || self.next > 0),
            time: call.time,
            thread: call.thread,
            content,
        };
        self.next += content.len();
        self.begun = true;
        out.send(&Update::Piece(direction, piece));
    }
}
