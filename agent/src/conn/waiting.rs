//! Calls of one connection that came ahead of others, copied and held back for a while.
//!
//! While a direction waits, the other one does too: what is handed on stays in order of time, so that this stage never
//! makes an answer overtake its question.

use std::collections::VecDeque;

use super::{call::Call, ways::Ways};
use crate::event::{Direction, Nanos, Thread};

/// A [`Call`] that owns its bytes.
#[derive(Debug)]
pub(super) struct Held {
    time: Nanos,
    thread: Thread,
    offset: u64,
    len: u32,
    skipped: u32,
    bytes: Box<[u8]>,
    relative: bool,
    end: bool,
    wire: Option<u64>,
}

impl Held {
    fn new(call: &Call<'_>) -> Self {
        Self {
            time: call.time,
            thread: call.thread,
            offset: call.offset,
            len: call.len,
            skipped: call.skipped,
            bytes: call.bytes.into(),
            relative: call.relative,
            end: call.end,
            wire: call.wire,
        }
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call {
            time: self.time,
            thread: self.thread,
            offset: self.offset,
            len: self.len,
            skipped: self.skipped,
            bytes: &self.bytes,
            relative: self.relative,
            end: self.end,
            wire: self.wire,
        }
    }
}

/// What holding a call costs, in bytes.
pub(super) fn cost(call: &Call<'_>) -> usize {
    size_of::<Held>() + call.bytes.len()
}

/// Up to which offset of each direction what is missing is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    Nothing,
    Until { send: u64, receive: u64 },
    Everything,
}

impl Force {
    pub(super) fn covers(self, direction: Direction, offset: u64) -> bool {
        match (self, direction) {
            (Self::Nothing, _) => false,
            (Self::Until { send, .. }, Direction::Send) => offset <= send,
            (Self::Until { receive, .. }, Direction::Receive) => offset <= receive,
            (Self::Everything, _) => true,
        }
    }
}

/// The calls that a connection holds back.
#[derive(Debug)]
pub(super) struct Waiting {
    /// By offset; calls of the same offset in order of arrival.
    calls: Ways<VecDeque<Held>>,
    /// What they cost.
    pub(super) cost: usize,
    /// When the first of them has waited long enough; may be too early, is never too late.
    pub(super) deadline: Nanos,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { calls: Ways::default(), cost: 0, deadline: Nanos::MAX }
    }

    pub(super) fn insert(&mut self, direction: Direction, call: &Call<'_>, window: Nanos) {
        let calls = self.calls.get_mut(direction);
        let at = calls.partition_point(|held| held.offset <= call.offset);
        calls.insert(at, Held::new(call));
        self.cost += cost(call);
        self.deadline = self.deadline.min(call.time.saturating_add(window));
    }

    /// The direction whose first call is the earlier one, and that call.
    pub(super) fn first(&self) -> Option<(Direction, &Held)> {
        let send = self.calls.get(Direction::Send).front();
        let receive = self.calls.get(Direction::Receive).front();
        match (send, receive) {
            (Some(send), Some(receive)) if receive.time <= send.time => Some((Direction::Receive, receive)),
            (Some(send), _) => Some((Direction::Send, send)),
            (None, receive) => receive.map(|held| (Direction::Receive, held)),
        }
    }

    pub(super) fn pop(&mut self, direction: Direction) -> Option<Held> {
        let held = self.calls.get_mut(direction).pop_front()?;
        self.cost -= cost(&held.call());
        Some(held)
    }

    /// Position after the last byte held of a direction.
    pub(super) fn end_offset(&self, direction: Direction) -> Option<u64> {
        self.calls.get(direction).iter().map(|held| held.call().end_offset()).max()
    }

    /// What has waited long enough at `now`. Sets the deadline to when the next one has.
    pub(super) fn due(&mut self, now: Nanos, window: Nanos) -> Force {
        let mut deadline = Nanos::MAX;
        let mut until = |direction| {
            let mut until = 0;
            for held in self.calls.get(direction) {
                let due = held.time.saturating_add(window);
                if due <= now {
                    until = until.max(held.offset);
                } else {
                    deadline = deadline.min(due);
                }
            }
            until
        };
        let force = Force::Until { send: until(Direction::Send), receive: until(Direction::Receive) };
        self.deadline = deadline;
        force
    }
}
