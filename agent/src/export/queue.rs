//! The bounded queue between the thread that makes spans (or profiles) and the output that takes them away. The producer is a plain thread
//! and never waits (unless told to); the consumer is asynchronous and gets whole batches.
//!
//! Every item that was offered is settled exactly once: exported, or dropped for a reason. A [`Batch`] that is thrown away
//! settles what is left of it by itself, so an aborted task loses nothing silently.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    signal::Item,
    stats::{DropReason, Stats},
};
use crate::trace::Span;

/// Bounds of a queue and of its batches. Where profiles are queued, spans mean profiles.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most spans held, those that wait for an answer of the receiver included.
    pub spans: usize,
    /// Most bytes held, by an estimate of their memory (encoded, spans are smaller).
    pub bytes: usize,
    /// A batch is complete with so many spans ...
    pub batch_spans: usize,
    /// ... or bytes. Receivers take 4 MiB by default; resources and framing need some of it.
    pub batch_bytes: usize,
    /// A batch that is not complete is handed on after this time.
    pub interval: Duration,
    /// What the producer does when there is no room.
    pub when_full: WhenFull,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            spans: 32 * 1024,
            bytes: 32 << 20,
            batch_spans: 4096,
            batch_bytes: 7 << 19,
            interval: Duration::from_millis(500),
            when_full: WhenFull::Drop,
        }
    }
}

/// What a producer does when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Drops the newest spans and counts them: for live capture, which must not stop.
    #[default]
    Drop,
    /// Waits: for replays, which have time.
    Wait,
}

/// A queue. Shared by its producer, its consumer and the batches that are on their way.
#[derive(Debug)]
pub struct Queue<T = Span> {
    limits: Limits,
    stats: Arc<Stats>,
    state: Mutex<State<T>>,
    filled: Notify,
    room: Condvar,
}

#[derive(Debug)]
struct State<T> {
    complete: VecDeque<(Vec<T>, usize)>,
    open: Vec<T>,
    open_bytes: usize,
    /// When the first span of `open` came.
    opened: Option<Instant>,
    /// Held in all: in the two above, and in batches not yet settled.
    spans: usize,
    bytes: usize,
    closed: Option<DropReason>,
    /// Everything is settled, whatever may still be settled later.
    abandoned: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            complete: VecDeque::new(),
            open: Vec::new(),
            open_bytes: 0,
            opened: None,
            spans: 0,
            bytes: 0,
            closed: None,
            abandoned: false,
        }
    }
}

impl<T: Item> Queue<T> {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits, stats: Arc<Stats>) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { limits, stats, state, filled: Notify::new(), room: Condvar::new() })
    }

    /// Takes all of `items` in, or drops (and counts) those for which there is no room. Leaves `items` empty.
    pub fn offer(&self, items: &mut Vec<T>) {
        self.stats.offered(items.len());
        let mut state = self.lock();
        let mut dropped = 0;
        let mut notify = false;
        for item in items.drain(..) {
            let bytes = item.weight();
            while !self.has_room(&state, bytes) && self.limits.when_full == WhenFull::Wait && state.closed.is_none() {
                // Whatever waits must be on its way, or there will never be room.
                Self::complete(&mut state);
                self.filled.notify_one();
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed.is_some() || !self.has_room(&state, bytes) {
                dropped += 1;
                continue;
            }
            state.spans += 1;
            state.bytes += bytes;
            if state.open.is_empty() {
                state.opened = Some(Instant::now());
                notify = true;
            }
            state.open.push(item);
            state.open_bytes += bytes;
            if state.open.len() >= self.limits.batch_spans || state.open_bytes >= self.limits.batch_bytes {
                Self::complete(&mut state);
                notify = true;
            }
        }
        if dropped > 0 {
            self.stats.dropped(dropped, state.closed.unwrap_or(DropReason::QueueFull));
        }
        drop(state);
        if notify {
            self.filled.notify_one();
        }
    }

    /// The next batch: when one is complete, when the oldest span has waited for the interval, or when the queue is closed.
    /// `None` once it is closed and empty. For one consumer.
    pub async fn next(self: &Arc<Self>) -> Option<Batch<T>> {
        loop {
            let due = {
                let mut state = self.lock();
                let due = state.opened.map(|opened| opened + self.limits.interval);
                if state.complete.is_empty() && (state.closed.is_some() || due.is_some_and(|due| due <= Instant::now()))
                {
                    Self::complete(&mut state);
                }
                if let Some((items, bytes)) = state.complete.pop_front() {
                    return Some(Batch { items, bytes, queue: Arc::clone(self) });
                }
                if state.closed.is_some() {
                    return None;
                }
                due
            };
            match due {
                None => self.filled.notified().await,
                Some(due) => tokio::select! {
                    () = self.filled.notified() => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                },
            }
        }
    }

    /// Takes nothing in any more: what is offered later is dropped for `reason`. What is held stays, and is due at once.
    pub fn close(&self, reason: DropReason) {
        self.lock().closed.get_or_insert(reason);
        self.filled.notify_one();
        self.room.notify_all();
    }

    /// Settles everything that is still held as dropped, wherever it is: the time is over. Later settlements do not count.
    pub fn abandon(&self, reason: DropReason) {
        self.close(reason);
        let mut state = self.lock();
        if !mem::replace(&mut state.abandoned, true) {
            self.stats.dropped(state.spans, reason);
            state.complete.clear();
            state.open.clear();
        }
    }

    /// What is counted of this queue.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// An empty queue takes any span: one that is larger than all bounds must not be stuck.
    fn has_room(&self, state: &State<T>, bytes: usize) -> bool {
        state.spans == 0 || (state.spans < self.limits.spans && state.bytes + bytes <= self.limits.bytes)
    }

    fn complete(state: &mut State<T>) {
        state.opened = None;
        if !state.open.is_empty() {
            // Batches are of about the same size: room for the next one saves growing it step by step.
            let next = Vec::with_capacity(state.open.len());
            let batch = (mem::replace(&mut state.open, next), mem::take(&mut state.open_bytes));
            state.complete.push_back(batch);
        }
    }

    fn settle(&self, spans: usize, bytes: usize, count: impl FnOnce(&Stats)) {
        let mut state = self.lock();
        if !state.abandoned {
            count(&self.stats);
        }
        state.spans = state.spans.saturating_sub(spans);
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that is done under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Items on their way out. Dropping it without settling it counts them as dropped for [`DropReason::Shutdown`].
#[derive(Debug)]
pub struct Batch<T: Item = Span> {
    items: Vec<T>,
    bytes: usize,
    queue: Arc<Queue<T>>,
}

impl<T: Item> Batch<T> {
    /// What is in it; never empty.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// All of it arrived, but `rejected` items that the receiver did not want.
    pub fn exported(mut self, rejected: usize) {
        let spans = mem::take(&mut self.items).len();
        let rejected = rejected.min(spans);
        self.queue.settle(spans, self.bytes, |stats| {
            stats.exported(spans - rejected);
            stats.dropped(rejected, DropReason::Rejected);
        });
    }

    /// None of it arrived.
    pub fn dropped(mut self, reason: DropReason) {
        self.settle_dropped(reason);
    }

    /// Two halves of it, or itself when it is a single item.
    ///
    /// # Errors
    /// The batch: it cannot be split.
    pub fn split(mut self) -> Result<(Self, Self), Self> {
        if self.items.len() < 2 {
            return Err(self);
        }
        let items = self.items.split_off(self.items.len() / 2);
        let bytes = items.iter().map(Item::weight).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        let second = Self { items, bytes, queue: Arc::clone(&self.queue) };
        Ok((self, second))
    }

    fn settle_dropped(&mut self, reason: DropReason) {
        let spans = mem::take(&mut self.items).len();
        if spans > 0 {
            self.queue.settle(spans, self.bytes, |stats| stats.dropped(spans, reason));
        }
    }
}

impl<T: Item> Drop for Batch<T> {
    fn drop(&mut self) {
        self.settle_dropped(DropReason::Shutdown);
    }
}
