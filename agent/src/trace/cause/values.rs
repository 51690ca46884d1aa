//! Values that a request and a call have in common: an id in a path, say. Where exactly one open request has brought it, that is most likely the
//! one the call was made for. It counts where nothing better is known, and only as long as it agrees, in the process, with what is.

use hashbrown::HashMap;

use super::{
    call::{Call, Cause, Hint, Link, Serial, Sign},
    engine::Engine,
    work::{On, Work},
};
use crate::{
    event::{Nanos, Thread},
    protocol::Values,
};

/// A value that more requests than that have brought names none of them.
const COMMON: usize = 8;
/// Most values that are known at a time; then those go that no open request has brought, or all, if that is not enough.
const MOST: usize = 65_536;

/// Who has brought each value, by process.
#[derive(Debug, Default)]
pub(super) struct Bringers {
    values: HashMap<(u32, u64), By, foldhash::fast::RandomState>,
}

/// The first requests that have brought a value.
#[derive(Debug, Default)]
struct By {
    times: usize,
    requests: [Serial; COMMON],
}

impl By {
    fn add(&mut self, request: Serial) {
        if let Some(place) = self.requests.get_mut(self.times) {
            *place = request;
        }
        self.times = self.times.saturating_add(1);
    }

    /// Those of them that are open; none if too many have brought it.
    fn open(&self, is_open: impl Fn(Serial) -> bool) -> impl Iterator<Item = Serial> {
        let known = self.requests.get(..self.times).unwrap_or_default();
        known.iter().copied().filter(move |request| is_open(*request))
    }
}

impl Bringers {
    /// A request has brought these.
    pub(super) fn add(&mut self, tgid: u32, values: Values, request: Serial, is_open: impl Fn(Serial) -> bool) {
        if self.values.len() >= MOST {
            self.values.retain(|_, by| by.open(&is_open).next().is_some());
            if self.values.len() >= MOST / 2 {
                self.values.clear();
            }
        }
        for value in values.iter() {
            self.values.entry((tgid, value)).or_default().add(request);
        }
    }

    /// The one open request that has brought a value.
    fn one(&self, tgid: u32, value: u64, is_open: impl Fn(Serial) -> bool) -> Option<Serial> {
        let mut open = self.values.get(&(tgid, value))?.open(is_open);
        open.next().filter(|_| open.next().is_none())
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.values.retain(|(of, _), _| *of != tgid);
    }
}

impl Engine {
    /// What the values of an outgoing call say of its cause, next to what else is known.
    pub(super) fn compare_values(&mut self, call: &mut Call, cause: &Cause, values: Values) {
        let tgid = call.tgid();
        let Some(request) = self.brought_value(tgid, values) else {
            return;
        };
        match cause {
            Cause::Call(known, _) => self.trust.add(tgid, Link::Value, *known == request),
            Cause::Open => {
                let Some(search) = call.search.as_mut() else {
                    return;
                };
                // What has still to prove itself counts for less.
                if search.hint.is_none_or(|hint| hint.sign != Sign::Link) {
                    search.hint = Some(Hint { request, link: Link::Value, sign: Sign::Link });
                }
            }
            Cause::Outside(..) | Cause::None => {}
        }
    }

    /// Whether a value says that a call whose cause is open is for something else than this.
    pub(super) fn value_speaks_against(&self, call: Serial, request: Serial) -> bool {
        self.calls.get(&call).is_some_and(|call| {
            let hint = call.search.as_ref().and_then(|search| search.hint);
            let is_other = hint.is_some_and(|hint| hint.link == Link::Value && hint.request != request);
            is_other && !self.trust.of(call.tgid(), Link::Value).is_refuted()
        })
    }

    /// Whether values say that a call is for something else than what its event loop has read last. Then that was wrong, and may be so again:
    /// what its answers show of a loop says nothing of what it does when a timer has run.
    pub(super) fn loop_is_contradicted(
        &mut self,
        thread: Thread,
        work: Option<Work>,
        values: Values,
        now: Nanos,
    ) -> bool {
        let said = work.and_then(|work| self.likely(work.on));
        let brought = self.brought_value(thread.tgid, values);
        let are_two = said.zip(brought).is_some_and(|(said, brought)| said != brought);
        if !are_two || self.trust.of(thread.tgid, Link::Value).is_refuted() {
            return false;
        }
        self.loops.contradicted(thread.tgid, self.loops.is_lone(thread.tid, now));
        true
    }

    /// The open request that alone has brought the first of these values that one alone has brought.
    fn brought_value(&self, tgid: u32, values: Values) -> Option<Serial> {
        values.iter().find_map(|value| self.values.one(tgid, value, |request| self.is_open(On::Request(request))))
    }
}
