//! Where requests and what peers tell of them find each other, whichever comes first. Each waits for a bounded time, and no more than so
//! many wait.

use std::{collections::VecDeque, net::IpAddr};

use hashbrown::HashMap;

use super::{
    core::Heard,
    name::Name,
    stats::{Stats, count},
};
use crate::event::Nanos;

/// A context that comes this much after its request still counts as late, and later than that as unknown.
const LATE: Nanos = 5_000_000_000;

#[derive(Debug)]
enum State {
    /// Its context is here. It was not seen yet.
    Heard(Box<Heard>),
    /// It is held until its context comes.
    Held(IpAddr),
    /// It was let go without a context.
    LetGo(IpAddr),
    /// It has had its context.
    Done,
}

/// What hearing of a request has led to.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// Nothing: the request was not seen yet, or the context came twice.
    Nothing,
    /// The request that was held for it.
    Held(IpAddr, Box<Heard>),
    /// A request that is not held any more, or never was.
    Late(IpAddr),
}

/// Requests and contexts that wait for each other.
#[derive(Debug)]
pub(super) struct Inbox {
    entries: HashMap<Name, State>,
    /// In order of time: what waits, and what is only remembered.
    waiting: VecDeque<(Nanos, Name)>,
    remembered: VecDeque<(Nanos, Name)>,
    most: usize,
}

impl Inbox {
    /// For so many at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), waiting: VecDeque::new(), remembered: VecDeque::new(), most }
    }

    /// Whether this request is held.
    pub(super) fn holds(&self, name: Name) -> bool {
        matches!(self.entries.get(&name), Some(State::Held(_)))
    }

    /// A request is seen; it is held if `hold`. Its context, if that is here.
    pub(super) fn request(
        &mut self,
        now: Nanos,
        name: Name,
        remote: IpAddr,
        hold: bool,
        stats: &Stats,
    ) -> Option<Heard> {
        match self.entries.get_mut(&name) {
            Some(state @ State::Heard(_)) => {
                count(&stats.applied, 1);
                match std::mem::replace(state, State::Done) {
                    State::Heard(heard) => Some(*heard),
                    State::Held(_) | State::LetGo(_) | State::Done => None,
                }
            }
            Some(_) => None,
            None => {
                self.make_room(stats);
                let (state, list) = if hold {
                    (State::Held(remote), &mut self.waiting)
                } else {
                    (State::LetGo(remote), &mut self.remembered)
                };
                self.entries.insert(name, state);
                list.push_back((now, name));
                None
            }
        }
    }

    /// A context is heard.
    pub(super) fn heard(&mut self, now: Nanos, heard: Box<Heard>, stats: &Stats) -> Found {
        let name = heard.told.name;
        match self.entries.get_mut(&name) {
            None => {
                self.make_room(stats);
                self.entries.insert(name, State::Heard(heard));
                self.waiting.push_back((now, name));
                Found::Nothing
            }
            Some(State::Held(remote)) => {
                let remote = *remote;
                self.entries.insert(name, State::Done);
                count(&stats.applied, 1);
                Found::Held(remote, heard)
            }
            Some(State::LetGo(remote)) => {
                let remote = *remote;
                self.entries.insert(name, State::Done);
                count(&stats.late, 1);
                Found::Late(remote)
            }
            Some(State::Heard(_) | State::Done) => {
                count(&stats.duplicate, 1);
                Found::Nothing
            }
        }
    }

    /// Gives up what has waited for `hold`; `missed` is called for each request that was held in vain.
    pub(super) fn expire(&mut self, now: Nanos, hold: Nanos, stats: &Stats, mut missed: impl FnMut(Name, IpAddr)) {
        while let Some((_, name)) = self.waiting.pop_front_if(|(since, _)| now.saturating_sub(*since) >= hold) {
            match self.entries.get_mut(&name) {
                Some(state @ State::Held(_)) => {
                    if let State::Held(remote) = *state {
                        *state = State::LetGo(remote);
                        count(&stats.missed, 1);
                        missed(name, remote);
                    }
                }
                Some(State::Heard(heard)) => {
                    count(if heard.to_several { &stats.not_mine } else { &stats.unknown }, 1);
                    self.entries.remove(&name);
                    continue;
                }
                Some(State::LetGo(_) | State::Done) => {}
                None => continue,
            }
            self.remembered.push_back((now, name));
        }
        while let Some((_, name)) = self.remembered.pop_front_if(|(since, _)| now.saturating_sub(*since) >= LATE) {
            self.entries.remove(&name);
        }
    }

    /// Forgets the oldest: what is only remembered first.
    fn make_room(&mut self, stats: &Stats) {
        while self.entries.len() >= self.most {
            if let Some((_, name)) = self.remembered.pop_front() {
                self.entries.remove(&name);
            } else if let Some((_, name)) = self.waiting.pop_front() {
                count(&stats.waiting_full, 1);
                self.entries.remove(&name);
            } else {
                return;
            }
        }
    }
}
