//! Which request a response belongs to, in protocols that answer in order: the n-th response answers the n-th request, as long as
//! nothing is missing.
//!
//! After a loss, the number of requests or responses that went with the missing bytes is not known. What was asked before remains in
//! order. What is asked afterwards is paired on trial: with a client that waits for each answer, that is right unless one was under way
//! unseen, and its spans say so (`pairing`). When all that was asked has been answered a few times in a row, with nothing left over,
//! order is trusted again. A client that is known to keep several requests in flight, or is seen to, is not tried until its connection has
//! been quiet.

use std::collections::VecDeque;

use super::{Calls, Context, Origin, Role, Unit};
use crate::{
    conn::Gap,
    event::Nanos,
    protocol::{http::NoResponse, shared::count},
};

/// Requests that wait for their responses, at most.
const MAX_OUTSTANDING: usize = 1024;
/// Room for so many is kept when none waits.
const KEEP_ENTRIES: usize = 8;
/// Times in a row that everything asked has been answered, for order to be trusted again.
const CONFIRMED: u32 = 2;
/// How long a connection with several requests in flight must be quiet before it is tried again.
const QUIET: Nanos = 1_000_000_000;
/// Every how manieth request may be asked before the one before it is answered without that meaning anything.
const OVERLAPS: u32 = 8;
/// How long an answer waits for its request: far longer than a send takes to return, unless it blocks.
const PATIENCE: Nanos = 1_000_000_000;
/// After so long without a byte, a response of which a part is missing is taken to have ended.
const IDLE: Nanos = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Nothing is missing.
    Certain,
    /// Something was: one request at a time, or, after the connection has been quiet, as they come.
    Trial { quiet: bool, drained: u32 },
    /// The client does not wait for answers.
    Unknown,
}

#[derive(Debug)]
struct Entry<U> {
    unit: U,
    sure: bool,
}

/// The requests of a connection that are not finished, in order.
#[derive(Debug)]
pub struct Queue<U> {
    entries: VecDeque<Entry<U>>,
    order: Order,
    /// Bytes have been missed for certain since order was last trusted, not only perhaps.
    missed: bool,
    /// When responses were last missed, or had no request, in updates.
    hidden: u64,
    /// A part of the front's response is missing, perhaps its end.
    open_ended: bool,
    /// What is missing of it are lost records.
    doubtful: bool,
    requests: u32,
    overlaps: u32,
    last: Nanos,
}

impl<U> Default for Queue<U> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            order: Order::Certain,
            missed: false,
            hidden: 0,
            open_ended: false,
            doubtful: false,
            requests: 0,
            overlaps: 0,
            last: 0,
        }
    }
}

impl<U: Unit> Queue<U> {
    /// A request whose first byte is there. Takes what waits for its response; gives it up at once if that could not be told.
    pub fn push(&mut self, mut unit: U, first: Origin, cx: &mut Context<'_>) {
        // Whether the client keeps several requests in flight is learnt from a sample that forgets.
        self.requests += 1;
        self.overlaps += u32::from(!self.entries.is_empty() && !self.open_ended);
        if self.requests >= 1 << 16 {
            self.requests /= 2;
            self.overlaps /= 2;
        }
        if self.open_ended {
            // The response has ended with what is missing, or the client has not waited for it.
            self.flush(NoResponse::Unseen, cx);
            self.distrust(true, cx);
        }
        if first.seq < self.hidden {
            // Its answer may have gone with what is missing, or as one without a request, before its end was seen.
            self.distrust(true, cx);
            self.order = Order::Unknown;
        }
        let quiet = first.time.saturating_sub(self.last) >= QUIET;
        self.last = self.last.max(first.time);
        if self.order == Order::Unknown && quiet && self.entries.is_empty() {
            self.order = Order::Trial { quiet: true, drained: 0 };
        }
        match self.order {
            Order::Certain => {
                if self.entries.len() >= MAX_OUTSTANDING {
                    count(&cx.shared.counts.overflows);
                    self.flush(NoResponse::Unseen, cx);
                    self.distrust(true, cx);
                    self.order = Order::Unknown;
                    return unit.give_up(NoResponse::Unseen, first.time, cx);
                }
                self.entries.push_back(Entry { unit, sure: true });
            }
            Order::Trial { drained: CONFIRMED.., .. } if self.entries.is_empty() => {
                self.order = Order::Certain;
                self.missed = false;
                self.entries.push_back(Entry { unit, sure: true });
            }
            Order::Trial { quiet, .. }
                if (self.entries.is_empty() || quiet) && self.entries.len() < MAX_OUTSTANDING =>
            {
                if self.missed {
                    unit.doubt();
                }
                self.entries.push_back(Entry { unit, sure: false });
            }
            Order::Trial { .. } | Order::Unknown => {
                if !self.entries.iter().any(|entry| entry.sure) {
                    self.flush(NoResponse::Unseen, cx);
                }
                self.order = Order::Unknown;
                unit.give_up(NoResponse::Unseen, first.time, cx);
            }
        }
    }

    /// What the response at hand belongs to. `None` when that is not known: then it is counted, once per response, by
    /// [`Queue::orphan`].
    pub fn front(&mut self) -> Option<&mut U> {
        self.entries.front_mut().map(|entry| &mut entry.unit)
    }

    /// What was asked last.
    pub fn back(&mut self) -> Option<&mut U> {
        self.entries.back_mut().map(|entry| &mut entry.unit)
    }

    /// All that waits, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut U> {
        self.entries.iter_mut().map(|entry| &mut entry.unit)
    }

    /// Takes what the response at hand belongs to: it is complete.
    pub fn pop(&mut self, cx: &mut Context<'_>) -> Option<U> {
        let entry = self.entries.pop_front()?;
        if self.entries.is_empty() && self.entries.capacity() > KEEP_ENTRIES {
            // A pipeline was long: most connections wait longer than they ask.
            self.entries = VecDeque::new();
        }
        self.open_ended = false;
        if std::mem::take(&mut self.doubtful) {
            self.distrust(true, cx);
        }
        if self.entries.is_empty()
            && let Order::Trial { drained, .. } = &mut self.order
        {
            *drained += 1;
        }
        Some(entry.unit)
    }

    /// A response has no request: an earlier one was somebody else's.
    pub fn orphan(&mut self, cx: &mut Context<'_>) {
        count(&cx.shared.counts.orphans);
        // It may answer one that has begun, and of which the rest is missing or to come.
        self.hidden = cx.seq;
        match &mut self.order {
            Order::Certain => self.distrust(true, cx),
            Order::Trial { quiet: false, drained } => *drained = 0,
            Order::Trial { quiet: true, .. } => self.order = Order::Unknown,
            Order::Unknown => {}
        }
    }

    /// Whether nothing is missing: order can be trusted.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.order == Order::Certain
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives up all that waits.
    pub fn flush(&mut self, why: NoResponse, cx: &mut Context<'_>) {
        (self.open_ended, self.doubtful) = (false, false);
        let now = self.last;
        for entry in self.entries.drain(..) {
            entry.unit.give_up(why, now, cx);
        }
    }

    fn distrust(&mut self, missed: bool, cx: &mut Context<'_>) {
        if self.order == Order::Certain {
            count(&cx.shared.counts.unpaired);
        }
        self.missed |= missed;
        self.order = if self.overlaps > self.requests / OVERLAPS {
            Order::Unknown
        } else {
            Order::Trial { quiet: false, drained: 0 }
        };
    }
}

impl<U: Unit> Calls for Queue<U> {
    fn must_wait(&self) -> bool {
        self.order == Order::Certain && self.entries.is_empty()
    }

    fn in_order(&self) -> bool {
        true
    }

    fn patience(&self) -> Nanos {
        PATIENCE
    }

    fn touch(&mut self, now: Nanos) {
        self.last = self.last.max(now);
    }

    fn impatient(&mut self, cx: &mut Context<'_>) {
        self.distrust(true, cx);
    }

    fn joined(&mut self, _: Role, missed: bool, cx: &mut Context<'_>) {
        // One that has been asked already may be answered by what comes, if it is the only one.
        while self.entries.len() > 1 {
            self.entries.pop_front().into_iter().for_each(|entry| entry.unit.give_up(NoResponse::Unseen, 0, cx));
        }
        for entry in &mut self.entries {
            entry.sure = false;
            if missed {
                entry.unit.doubt();
            }
        }
        self.distrust(missed, cx);
    }

    fn lost(&mut self, role: Role, gap: Gap, alone: bool, cx: &mut Context<'_>) {
        if role == Role::Request {
            return self.distrust(true, cx);
        }
        self.hidden = cx.seq;
        let certain = self.order == Order::Certain;
        if alone
            && self.entries.len() == 1
            && let Some(only) = self.entries.front_mut().filter(|only| certain || !only.sure)
        {
            // What is missing is a part of this one's response: all requests are known, unless records of theirs were lost, too.
            only.unit.lose();
            if gap == Gap::Lost {
                only.unit.doubt();
                self.doubtful = true;
            }
            self.open_ended = true;
            return;
        }
        self.flush(NoResponse::Unseen, cx);
        self.distrust(true, cx);
    }

    fn found(&mut self, role: Role, alone: bool, cx: &mut Context<'_>) {
        // What begins here may answer the request that is being received.
        if role == Role::Response && self.open_ended && !alone {
            self.flush(NoResponse::Unseen, cx);
            self.distrust(true, cx);
        }
    }

    fn passed(&mut self, role: Role, origin: Origin, alone: bool, cx: &mut Context<'_>) {
        self.lost(role, Gap::NotCaptured, alone, cx);
        if role == Role::Response
            && let Some(only) = self.entries.front_mut()
        {
            only.unit.goes_on(origin, cx);
        }
    }

    fn tick(&mut self, now: Nanos, cx: &mut Context<'_>) {
        let begun = self.entries.front().is_some_and(|entry| entry.unit.has_begun());
        if self.open_ended && begun && now.saturating_sub(self.last) > IDLE {
            self.flush(NoResponse::Unseen, cx);
            self.distrust(true, cx);
        }
    }

    fn end(&mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        self.last = self.last.max(now);
        for entry in std::mem::take(&mut self.entries) {
            // One on trial, or one of which a part is missing, may have been answered unseen.
            let why = if entry.sure && !self.open_ended { why } else { NoResponse::Unseen };
            entry.unit.give_up(why, now, cx);
        }
    }
}
