//! Threads that answer requests which others have read. Of some pools, each thread that waits for something reads whatever comes, for others
//! too (leader and followers: gRPC's C core): what a thread has read, and whom it has woken, says nothing there of what it works for. But
//! who does one thing after the other has asked for what it needs between the answer before and this one.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::{
    call::{Call, Hint, Link, Serial, Sign},
    engine::Engine,
    trust::Kind,
    work::Key,
};
use crate::{
    event::{Nanos, Thread},
    protocol::Answered,
};

/// Answers that are remembered of a process.
const ANSWERS: usize = 256;

/// Answers by threads that have asked for nothing since their last one: where it is left to others to send them, whoever has worked for
/// such a request has turned to another one without having answered it.
#[derive(Debug, Default)]
pub(super) struct Followers {
    /// By process: from when until when the request was under way, in the order of the latter.
    left: HashMap<u32, VecDeque<(Nanos, Nanos)>, foldhash::fast::RandomState>,
}

impl Followers {
    fn left(&mut self, tgid: u32, start: Nanos, answered: Nanos) {
        let left = self.left.entry(tgid).or_default();
        if left.len() == ANSWERS {
            left.pop_front();
        }
        left.push_back((start, answered));
    }

    /// Whether a call lies within one of those requests.
    fn may_be_left(&self, tgid: u32, start: Nanos, end: Nanos) -> bool {
        let left = self.left.get(&tgid).into_iter().flatten().rev();
        left.take_while(|(_, answered)| *answered >= end).any(|(begin, _)| *begin <= start)
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.left.remove(&tgid);
    }
}

impl Engine {
    /// Whether threads of a process read requests for each other: what they have read last says nothing.
    pub(super) fn takes_turns(&self, thread: Thread) -> bool {
        thread.task.id == 0 && thread.turn.is_none() && self.trust.of(thread.tgid, Kind::Turns).is_mostly_right()
    }

    /// A request is answered: has its thread read it? Returns when that one has answered for the last time.
    pub(super) fn shows_turns(&mut self, request: Serial, answered: &Answered) -> Nanos {
        let key = Key::of(answered.thread);
        let (Key::Thread(tid), Some(reader)) = (key, self.calls.get(&request).map(|call| call.thread)) else {
            return 0;
        };
        let is_others = reader.tid != tid && self.workers.is_reader(key);
        self.trust.add(answered.thread.tgid, Kind::Turns, is_others);
        self.workers.answered_at(key, answered.time)
    }

    /// A thread has answered a request that another one has read. If it does one thing at a time, what it has asked for `since` it has
    /// answered another one was for that; a loop that answers for others has more under way.
    pub(super) fn answered_for_another(&mut self, request: Serial, key: Key, since: Nanos, now: Nanos) {
        let Some((tgid, start)) = self.calls.get(&request).map(|call| (call.tgid(), call.start)) else {
            return;
        };
        let mut made = self.pending.by(key);
        made.retain(|call| self.calls.get(call).is_some_and(|call| call.start >= since));
        if made.is_empty() {
            // It may have been somebody else who has worked for it.
            return self.followers.left(tgid, start, now);
        }
        let all_done = made.iter().all(|call| self.calls.get(call).is_some_and(Call::is_answered));
        self.tried(tgid, Kind::Answerer, Sign::Answerer, all_done);
        let hint = Hint { request, link: Link::Thread, sign: Sign::Answerer };
        for serial in made {
            let fits = self.calls.get(&serial).is_some_and(|call| {
                let end = call.end.unwrap_or(now);
                call.start >= start && !self.followers.may_be_left(tgid, call.start, end)
            });
            if all_done && fits && self.may_cause(request, serial) {
                self.suggest(serial, hint);
            }
        }
    }
}
