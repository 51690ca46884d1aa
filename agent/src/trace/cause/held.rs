//! Calls in the order of their deadlines. Each kind of deadline is the same time after its beginning, so a queue is enough.

use std::collections::VecDeque;

use super::call::Serial;
use crate::event::Nanos;

/// Calls that are looked at again after a fixed time.
#[derive(Debug)]
pub(super) struct Deadlines {
    after: Nanos,
    queue: VecDeque<(Nanos, Serial)>,
}

impl Deadlines {
    pub(super) fn new(after: Nanos) -> Self {
        Self { after, queue: VecDeque::new() }
    }

    /// Looks at a call again after the time.
    pub(super) fn add(&mut self, now: Nanos, serial: Serial) {
        self.queue.push_back((now.saturating_add(self.after), serial));
    }

    /// The next one whose time has come.
    pub(super) fn due(&mut self, now: Nanos) -> Option<Serial> {
        let (at, serial) = *self.queue.front()?;
        (at <= now).then(|| {
            self.queue.pop_front();
            serial
        })
    }

    /// The next one, whenever its time.
    pub(super) fn next(&mut self) -> Option<Serial> {
        self.queue.pop_front().map(|(_, serial)| serial)
    }
}
