//! Outgoing calls whose cause is not known yet, and how it is found after all: by who answers, by who wakes whom, by nesting in time.

use hashbrown::HashMap;

use super::{
    call::{Call, Cause, Link, Search, Serial},
    engine::Engine,
    work::{Key, On},
};
use crate::event::Nanos;

/// Calls by those who may be found to have worked for a request.
#[derive(Debug, Default)]
pub(super) struct Pending {
    by_key: HashMap<Key, Vec<Serial>, foldhash::fast::RandomState>,
}

impl Pending {
    pub(super) fn add(&mut self, serial: Serial, calls: &HashMap<Serial, Call, foldhash::fast::RandomState>) {
        let Some(search) = calls.get(&serial).and_then(|call| call.search.as_ref()) else {
            return;
        };
        for key in &search.keys {
            self.by_key.entry(*key).or_default().push(serial);
        }
    }

    pub(super) fn remove(&mut self, serial: Serial, search: &Search) {
        for key in &search.keys {
            if let Some(calls) = self.by_key.get_mut(key) {
                calls.retain(|other| *other != serial);
                if calls.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }

    /// The calls that a worker has made.
    pub(super) fn by(&self, key: Key) -> Vec<Serial> {
        self.by_key.get(&key).cloned().unwrap_or_default()
    }
}

impl Engine {
    /// Whether a request may be the cause of an outgoing call whose cause is not known.
    pub(super) fn may_cause(&self, request: Serial, call: Serial) -> bool {
        let search = self.calls.get(&call).and_then(|call| call.search.as_ref());
        search.is_some_and(|search| search.candidates.contains(&request))
    }

    /// An outgoing call is complete, its cause unknown: it must lie inside of the request that caused it.
    pub(super) fn nested(&mut self, serial: Serial, now: Nanos) {
        let Some(search) = self.calls.get_mut(&serial).and_then(|call| call.search.as_mut()) else {
            return;
        };
        let mut candidates = std::mem::take(&mut search.candidates);
        let hint = search.hint;
        candidates.retain(|candidate| self.is_open(On::Request(*candidate)));
        if hint.is_some_and(|(hint, _)| candidates.contains(&hint)) {
            // Unless whoever made the call says soon for whom it was.
            self.graces.add(now, serial);
        }
        match candidates[..] {
            [] => self.give_up(serial),
            [only] => self.settle(serial, Cause::Call(only, Link::Time)),
            _ => {
                if let Some(search) = self.calls.get_mut(&serial).and_then(|call| call.search.as_mut()) {
                    search.candidates = candidates;
                }
            }
        }
    }

    /// A request is complete: calls that are under way cannot belong to it any more.
    pub(super) fn clear_suspects(&mut self, request: Serial) {
        let Some(suspects) = self.calls.get_mut(&request).map(|call| std::mem::take(&mut call.suspects)) else {
            return;
        };
        for serial in suspects {
            let Some(call) = self.calls.get_mut(&serial) else {
                continue;
            };
            let complete = call.end.is_some();
            let Some(search) = call.search.as_mut() else {
                continue;
            };
            if let Some((hint, link)) = search.hint.filter(|(hint, _)| complete && *hint == request) {
                // Nothing has contradicted it while it could.
                self.settle(serial, Cause::Call(hint, link));
                continue;
            }
            if !complete {
                search.candidates.retain(|candidate| *candidate != request);
                continue;
            }
            let candidates = std::mem::take(&mut search.candidates);
            if candidates.iter().any(|candidate| self.is_open(On::Request(*candidate))) {
                if let Some(search) = self.calls.get_mut(&serial).and_then(|call| call.search.as_mut()) {
                    search.candidates = candidates;
                }
            } else {
                // Nobody is left who could say that it was his.
                self.give_up(serial);
            }
        }
    }
}
