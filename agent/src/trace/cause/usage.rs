//! What requests have cost: for how long their threads ran, and what they waited for. Only of requests that one thread has read, worked for
//! and answered, and that were the only ones it had: there, what the thread has done with its time between two of its calls was for the
//! request. A runtime's tasks, event loops and pools leave it open who has used the time.

use hashbrown::HashMap;

use super::{
    call::Link,
    engine::Engine,
    work::{Key, On, Right},
};
use crate::event::{Nanos, Spent, Usage};

/// Threads whose time is known at a time; when there are more, all are looked at anew.
const MOST: usize = 65_536;
/// Parts of a request's time that are kept apart, because its end may be known later than it was.
const PARTS: usize = 32;

/// Threads, each with when it was first looked at and what it had done with its time last.
#[derive(Debug, Default)]
pub(super) struct Meters {
    threads: HashMap<u32, (Nanos, Spent), foldhash::fast::RandomState>,
}

impl Meters {
    /// What a thread has done with its time since it was last heard of; `None`: that was never.
    fn advance(&mut self, usage: &Usage) -> Option<Spent> {
        if self.threads.len() >= MOST && !self.threads.contains_key(&usage.tid) {
            self.threads.clear();
        }
        let known = self.threads.get(&usage.tid).filter(|(since, _)| *since == usage.since).map(|(_, spent)| *spent);
        // What a thread that runs has used is a little uncertain; once it does not, it may turn out to have been less.
        let spent = known.map_or(usage.spent, |earlier| usage.spent.at_least(earlier));
        self.threads.insert(usage.tid, (usage.since, spent));
        known.map(|earlier| spent.since(earlier))
    }
}

/// What a request has cost so far.
#[derive(Debug, Default)]
pub(super) struct Cost {
    parts: Vec<(Nanos, Spent)>,
    /// Whoever has read the request has answered it.
    pub(super) is_whole: bool,
}

impl Cost {
    fn add(&mut self, time: Nanos, spent: Spent) {
        if self.parts.len() >= PARTS
            && let Some((_, last)) = self.parts.pop()
        {
            return self.parts.push((time, last.plus(spent)));
        }
        self.parts.push((time, spent));
    }

    fn until(&self, end: Nanos) -> Spent {
        self.parts.iter().filter(|(time, _)| *time <= end).fold(Spent::default(), |sum, (_, spent)| sum.plus(*spent))
    }
}

impl Engine {
    /// A thread is about to make a call that moves bytes: what it did before was for what it is still busy with.
    pub fn used(&mut self, usage: &Usage) {
        let Some(spent) = self.meters.advance(usage) else {
            return;
        };
        let work = self.workers.own(Key::Thread(usage.tid));
        let is_own = |right, link| right == Right::Own && link == Link::Thread;
        if let Some(work) = work.filter(|work| is_own(work.right, work.link))
            && let On::Request(request) = work.on
            && let Some(call) = self.calls.get_mut(&request)
            && call.end.is_none()
            && call.thread.tid == usage.tid
        {
            call.cost.get_or_insert_default().add(usage.time, spent);
        }
    }

    /// What a request that came out has cost, where that is known.
    pub(super) fn cost(&self, cost: Option<Box<Cost>>, reader: u32, end: Nanos) -> Option<Spent> {
        let cost = cost.filter(|cost| cost.is_whole && !self.crowded.contains(&reader))?;
        Some(cost.until(end))
    }
}
