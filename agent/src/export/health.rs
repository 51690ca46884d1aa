//! What the log says of a receiver: the first failure at once, then at most one a minute, and that it is back.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Least time between two complaints.
const EVERY: Duration = Duration::from_secs(60);

/// How a receiver is.
#[derive(Debug)]
pub struct Health {
    /// What it is sent.
    items: &'static str,
    /// How the log calls the receiver.
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The receiver fails, and the log says so.
    failing: bool,
    complained: Option<Instant>,
    /// Failures that were not logged since.
    silent: u64,
}

/// What to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Say {
    Nothing,
    Failed { silent: u64 },
    Recovered,
}

impl Health {
    /// Of the receiver of these items that the log is to call `name`.
    #[must_use]
    pub fn new(items: &'static str, name: String) -> Self {
        Self { items, name, state: Mutex::default() }
    }

    /// An attempt failed.
    pub fn failed(&self, error: &str) {
        let Self { items, name, .. } = self;
        match self.update(|state| state.failed(Instant::now())) {
            Say::Failed { silent: 0 } => log::warn!("{items} cannot be sent to {name}: {error}"),
            Say::Failed { silent } => {
                log::warn!("{items} cannot be sent to {name}: {error} ({silent} more failures since the last message)");
            }
            Say::Nothing | Say::Recovered => {}
        }
    }

    /// An attempt succeeded.
    pub fn recovered(&self) {
        if self.update(State::recovered) == Say::Recovered {
            log::info!("{} are sent to {} again", self.items, self.name);
        }
    }

    /// The receiver refused some items.
    pub fn rejected(&self, count: u64, message: &str) {
        if let Say::Failed { .. } = self.update(|state| state.complain(Instant::now())) {
            log::warn!("{} refused {count} {}: {message}", self.name, self.items);
        }
    }

    fn update(&self, change: impl FnOnce(&mut State) -> Say) -> Say {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn failed(&mut self, now: Instant) -> Say {
        let say = self.complain(now);
        self.failing |= say != Say::Nothing;
        say
    }

    fn complain(&mut self, now: Instant) -> Say {
        if self.complained.is_some_and(|last| now.duration_since(last) < EVERY) {
            self.silent += 1;
            return Say::Nothing;
        }
        self.complained = Some(now);
        Say::Failed { silent: std::mem::take(&mut self.silent) }
    }

    fn recovered(&mut self) -> Say {
        if std::mem::take(&mut self.failing) { Say::Recovered } else { Say::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complains_at_once_then_once_a_minute() {
        let mut state = State::default();
        let start = Instant::now();
        assert_eq!(state.recovered(), Say::Nothing);
        assert_eq!(state.failed(start), Say::Failed { silent: 0 });
        assert_eq!(state.failed(start + EVERY / 2), Say::Nothing);
        assert_eq!(state.recovered(), Say::Recovered);
        assert_eq!(state.recovered(), Say::Nothing);
        assert_eq!(state.failed(start + EVERY - Duration::from_millis(1)), Say::Nothing);
        assert_eq!(state.recovered(), Say::Nothing, "a failure that was not logged");
        assert_eq!(state.failed(start + EVERY), Say::Failed { silent: 2 });
    }
}
