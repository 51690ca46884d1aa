//! Node's event loop, where the ids of its callbacks are seen: what it has put off (`setImmediate`, timers, ticks) is for what it did
//! when it put it off. Ids are given out in order, so those that are given out between two calls were for what the loop did
//! between them. Connections have ids too, by which what they are used for later runs: an id that ran before, or that was one of the last that were
//! given out before a connection was seen to be opened, says nothing.
//!
//! For what a timer is, is not known; but what is sent by ids that were given out before the first send after it is for the same, unless
//! the loop is one that puts off what it sends until other timers have run.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::{call::Serial, trust::Proof, work::On};
use crate::event::{SocketId, Thread};

/// Runs of ids that are remembered of a loop.
const RUNS: usize = 1024;
/// Ids of callbacks that are remembered to have run.
const RAN: usize = 1024;
/// Connections that ids are known to belong to, of a loop.
const BOUND: usize = 4096;
/// Ids that belong to a connection: its own, its parser's, that of the request to connect.
const CONNECTION: u32 = 8;

/// For what a loop sends something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// For what it has read last, if the ids say anything at all.
    Last,
    /// For this: it has put off what runs when it did that.
    This(On),
    /// It cannot be told.
    Unknown,
}

/// What a loop did while it gave out some ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    /// Something for this, or for nothing that is known.
    Work(Option<On>),
    /// It opened or accepted a connection.
    Opened,
}

#[derive(Debug)]
struct Run {
    /// The last id.
    last: u32,
    did: Did,
}

/// One thread's loop.
#[derive(Debug, Default)]
struct Loop {
    runs: VecDeque<Run>,
    /// The last id that was given out.
    made: u32,
    /// What it does now.
    on: Option<On>,
    /// Connections that it has opened or accepted since its ids were seen last.
    opened: u32,
    /// It goes on with what it has put off.
    put_off: bool,
    /// Whether what it sends by an id follows at once from what it did when it gave that out.
    at_once: Proof,
    /// The first call after a timer, and the last id that was given out before it was sent.
    first: Option<(Serial, u32)>,
    /// How many things it has read.
    reads: u64,
    /// Where it has read something last, if that was a request.
    socket: Option<SocketId>,
    /// Where it has read something last, if that was an answer, and the last id that was given out before.
    answer: Option<(SocketId, u32)>,
    /// After reading from which connection an id ran, where nothing else says for what it was given out; `None`: after several.
    bound: HashMap<u32, Option<SocketId>, foldhash::fast::RandomState>,
    /// Whether such an id always runs after reading from the same connection.
    binds: Proof,
    /// Ids that ran, and how many things it had read then.
    ran: VecDeque<(u32, u64)>,
}

impl Loop {
    fn age(&self, id: u32) -> u32 {
        self.made.wrapping_sub(id)
    }

    /// It gave out ids up to this one.
    fn gave(&mut self, last: u32, did: Did) {
        match self.runs.back_mut() {
            Some(run) if run.did == did => run.last = last,
            _ => self.runs.push_back(Run { last, did }),
        }
        if self.runs.len() > RUNS {
            self.runs.pop_front();
        }
    }

    /// What it did when it gave out an id.
    fn did(&self, id: u32) -> Option<Did> {
        let age = self.age(id);
        let older = self.runs.iter().rev().find(|run| self.age(run.last) > age)?;
        let newer = self.runs.iter().rev().take_while(|run| self.age(run.last) <= age).last()?;
        debug_assert!(self.age(older.last) > age);
        Some(newer.did)
    }

    /// Whether what runs by this id has run before it read what it has read last.
    fn has_run(&self, id: u32) -> bool {
        self.ran.iter().find(|(other, _)| *other == id).is_some_and(|(_, reads)| *reads != self.reads)
    }

    /// What runs by this id does so now.
    fn runs(&mut self, id: u32) {
        if self.ran.iter().any(|(other, _)| *other == id) {
            return;
        }
        if self.ran.len() == RAN {
            self.ran.pop_front();
        }
        self.ran.push_back((id, self.reads));
    }

    /// Whether what runs by this id is what has been called with what was read last.
    fn is_called(&mut self, id: u32) -> bool {
        let Some(socket) = self.socket.filter(|_| !self.put_off && id != 0) else {
            return false;
        };
        if let Some(on) = self.on
            && self.did(id) == Some(Did::Work(Some(on)))
        {
            return true;
        }
        // Connections are made while the loop works for others.
        if self.bound.len() >= BOUND {
            self.bound.clear();
        }
        match self.bound.entry(id) {
            hashbrown::hash_map::Entry::Vacant(entry) => {
                entry.insert(Some(socket));
                self.binds.is_proved()
            }
            hashbrown::hash_map::Entry::Occupied(mut entry) => {
                let is_same = *entry.get() == Some(socket);
                if entry.get().is_some() {
                    self.binds.add(is_same);
                }
                if !is_same {
                    entry.insert(None);
                }
                is_same
            }
        }
    }

    /// For what the callback with this id runs.
    fn says(&self, running: u32) -> For {
        match self.did(running) {
            _ if self.has_run(running) => For::Last,
            None | Some(Did::Opened) => For::Last,
            Some(Did::Work(on)) if on == self.on && !self.put_off => For::Last,
            Some(Did::Work(Some(on))) => For::This(on),
            Some(Did::Work(None)) => For::Unknown,
        }
    }
}

/// All loops, by their threads.
#[derive(Debug, Default)]
pub(super) struct Turns {
    loops: HashMap<u32, Loop, foldhash::fast::RandomState>,
}

impl Turns {
    /// A loop's ids were seen: those that are new were given out for what it did until now.
    pub(super) fn seen(&mut self, thread: Thread) {
        let Some(turn) = thread.turn else {
            return;
        };
        let thread = self.loops.entry(thread.tid).or_default();
        let new = turn.made.wrapping_sub(thread.made);
        let is_first = thread.runs.is_empty();
        if new == 0 && !is_first {
            return;
        }
        if new > u32::MAX / 2 || is_first {
            // Nothing is known of those before.
            thread.runs.clear();
            thread.ran.clear();
        }
        let of_connections = std::mem::take(&mut thread.opened).saturating_mul(CONNECTION).min(new);
        thread.made = turn.made;
        if new > of_connections {
            thread.gave(turn.made.wrapping_sub(of_connections), Did::Work(thread.on));
        }
        if of_connections > 0 {
            thread.gave(turn.made, Did::Opened);
        }
    }

    /// A loop reads something.
    pub(super) fn reads(&mut self, tid: u32, on: On, socket: Option<SocketId>) {
        if let Some(thread) = self.loops.get_mut(&tid) {
            thread.socket = socket;
            thread.answer = None;
            thread.on = Some(on);
            thread.reads += 1;
            thread.put_off = false;
            thread.first = None;
        }
    }

    /// What a loop has just read was an answer, on this connection.
    pub(super) fn reads_answer(&mut self, tid: u32, socket: SocketId) {
        let thread = self.loops.entry(tid).or_default();
        thread.answer = Some((socket, thread.made));
    }

    /// Whether it is the callback of a connection that sends on it, which has just read an answer there: what follows from that may come later.
    pub(super) fn is_own(&self, thread: Thread, socket: SocketId) -> bool {
        let Some(of) = self.loops.get(&thread.tid) else {
            return false;
        };
        // Where ids are not seen, any send there may be.
        let is_older = |made| {
            thread.turn.is_none_or(|turn| {
                let age = |id| turn.made.wrapping_sub(id);
                turn.running != 0 && age(turn.running) >= age(made)
            })
        };
        !of.put_off && of.answer.is_some_and(|(other, made)| other == socket && is_older(made))
    }

    /// A loop opens or accepts a connection.
    pub(super) fn opens(&mut self, tid: u32) {
        if let Some(thread) = self.loops.get_mut(&tid) {
            thread.opened = thread.opened.saturating_add(1);
        }
    }

    /// A loop makes a stream of HTTP/2, which will have the next id: what runs by that later is for what is read for it.
    pub(super) fn opens_stream(&mut self, thread: Thread) {
        let of = self.loops.get_mut(&thread.tid);
        if let Some((of, turn)) = of.zip(thread.turn).filter(|(of, turn)| of.made == turn.made) {
            of.made = turn.made.wrapping_add(1);
            of.gave(of.made, Did::Opened);
        }
    }

    /// A loop turns to timers.
    pub(super) fn idle(&mut self, tid: u32) {
        if let Some(thread) = self.loops.get_mut(&tid) {
            thread.on = None;
            thread.reads += 1;
            thread.put_off = true;
            thread.first = None;
        }
    }

    /// A loop has sent a call, for what cannot be told yet.
    pub(super) fn asks(&mut self, tid: u32, call: Serial) {
        if let Some(thread) = self.loops.get_mut(&tid)
            && thread.put_off
            && thread.on.is_none()
        {
            thread.first = Some((call, thread.made));
        }
    }

    /// A loop sends something.
    pub(super) fn sends(&mut self, tid: u32, running: u32) -> For {
        let Some(thread) = self.loops.get_mut(&tid) else {
            return For::Last;
        };
        if running == 0 {
            // What follows after an `await`: of the last callback, or of one after it.
            if thread.put_off {
                thread.on = None;
                return For::Unknown;
            }
            return For::Last;
        }
        let said = thread.says(running);
        thread.runs(running);
        match said {
            For::Last if !thread.put_off && thread.did(running) == Some(Did::Work(thread.on)) => {
                thread.at_once.add(true);
            }
            For::This(on) => thread.at_once.add(thread.on == Some(on)),
            For::Last | For::Unknown => {}
        }
        if let Some((call, made)) = thread.first
            && said == For::Unknown
            && thread.age(running) >= thread.age(made)
            && thread.at_once.is_proved()
        {
            return For::This(On::Like(call));
        }
        match said {
            For::Last if !thread.put_off => {}
            For::This(on) => (thread.on, thread.put_off) = (Some(on), true),
            For::Last | For::Unknown => (thread.on, thread.put_off) = (None, true),
        }
        if thread.put_off && said == For::Last { For::Unknown } else { said }
    }

    /// For what a loop does what it does now, which is no call.
    pub(super) fn does(&self, tid: u32, running: u32) -> For {
        let Some(thread) = self.loops.get(&tid) else {
            return For::Last;
        };
        let said = if running == 0 { For::Last } else { thread.says(running) };
        if thread.put_off && said == For::Last { For::Unknown } else { said }
    }

    /// Whether the callback that runs was called with what its loop has read last.
    pub(super) fn is_called(&mut self, tid: u32, running: u32) -> bool {
        self.loops.get_mut(&tid).is_some_and(|thread| thread.is_called(running))
    }

    /// A thread, or the process of this number, has ended.
    pub(super) fn ended(&mut self, id: u32) {
        self.loops.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Turn;

    const TID: u32 = 7;

    fn seen(turns: &mut Turns, made: u32) {
        turns.seen(Thread { tid: TID, turn: Some(Turn { running: 0, made }), ..Thread::default() });
    }

    /// undici: what follows from two reads is put off until both have been read.
    fn two_reads(from: u32) -> Turns {
        let mut turns = Turns::default();
        seen(&mut turns, from);
        turns.reads(TID, On::Request(1), None);
        // 3 ids for the first, 2 for the second.
        seen(&mut turns, from.wrapping_add(3));
        turns.reads(TID, On::Request(2), None);
        seen(&mut turns, from.wrapping_add(5));
        turns
    }

    #[test]
    fn what_was_put_off_is_for_what_was_read_then() {
        for from in [100, u32::MAX - 5, u32::MAX] {
            let mut turns = two_reads(from);
            let id = |id| from.wrapping_add(id);
            assert_eq!(turns.sends(TID, id(2)), For::This(On::Request(1)));
            // Twice by the same callback.
            assert_eq!(turns.sends(TID, id(2)), For::This(On::Request(1)));
            assert_eq!(turns.sends(TID, id(3)), For::This(On::Request(1)));
            assert_eq!(turns.sends(TID, id(4)), For::This(On::Request(2)));
            // Nothing is known of what was there before, of ids that are none, and of what follows now.
            assert_eq!(turns.sends(TID, id(0)), For::Unknown);
            assert_eq!(turns.sends(TID, 0), For::Unknown);
            turns.reads(TID, On::Request(3), None);
            assert_eq!(turns.sends(TID, 0), For::Last);
        }
    }

    #[test]
    fn what_is_put_off_in_turn_is_for_the_same() {
        let mut turns = two_reads(100);
        assert_eq!(turns.sends(TID, 102), For::This(On::Request(1)));
        seen(&mut turns, 106);
        assert_eq!(turns.sends(TID, 104), For::This(On::Request(2)));
        seen(&mut turns, 107);
        turns.reads(TID, On::Request(3), None);
        seen(&mut turns, 108);
        assert_eq!(turns.sends(TID, 106), For::This(On::Request(1)));
        assert_eq!(turns.sends(TID, 107), For::This(On::Request(2)));
    }

    #[test]
    fn a_socket_runs_again_and_again() {
        let mut turns = two_reads(100);
        // It was opened for the first: in its callbacks others may go on.
        turns.reads(TID, On::Request(2), None);
        assert_eq!(turns.sends(TID, 101), For::This(On::Request(1)), "that it is a socket's cannot be known yet");
        turns.reads(TID, On::Request(2), None);
        assert_eq!(turns.sends(TID, 101), For::Last);

        let mut turns = two_reads(100);
        turns.opens(TID);
        seen(&mut turns, 108);
        // What is before the connection's own ids was put off.
        turns.reads(TID, On::Request(3), None);
        assert_eq!(turns.sends(TID, 107), For::Last);
        assert_eq!(turns.sends(TID, 100), For::Last);
        let mut turns = two_reads(100);
        turns.opens(TID);
        seen(&mut turns, 120);
        turns.reads(TID, On::Request(3), None);
        assert_eq!(turns.sends(TID, 112), For::This(On::Request(2)));
    }

    #[test]
    fn timers_go_on_with_what_set_them() {
        let mut turns = two_reads(100);
        turns.idle(TID);
        assert_eq!(turns.sends(TID, 0), For::Unknown, "after an await");
        assert_eq!(turns.sends(TID, 105), For::This(On::Request(2)));
        assert_eq!(turns.sends(TID, 103), For::This(On::Request(1)));
    }

    #[test]
    fn what_follows_at_once_from_a_timer_is_for_the_same() {
        let mut turns = two_reads(100);
        for id in 106..206 {
            turns.reads(TID, On::Request(u64::from(id)), None);
            seen(&mut turns, id);
            assert_eq!(turns.sends(TID, id), For::Last);
        }
        turns.idle(TID);
        seen(&mut turns, 220);
        assert_eq!(turns.sends(TID, 212), For::Unknown);
        turns.asks(TID, 1);
        assert_eq!(turns.sends(TID, 216), For::This(On::Like(1)));
        // The next timer.
        seen(&mut turns, 230);
        assert_eq!(turns.sends(TID, 225), For::Unknown);
        turns.asks(TID, 2);
        assert_eq!(turns.sends(TID, 230), For::This(On::Like(2)));
        // One that puts off what it sends.
        turns.reads(TID, On::Request(3), None);
        for id in 231..241 {
            turns.reads(TID, On::Request(u64::from(id)), None);
            seen(&mut turns, id);
            turns.reads(TID, On::Request(3), None);
            assert_eq!(turns.sends(TID, id), For::This(On::Request(u64::from(id))));
        }
        turns.idle(TID);
        seen(&mut turns, 250);
        assert_eq!(turns.sends(TID, 245), For::Unknown);
        turns.asks(TID, 3);
        assert_eq!(turns.sends(TID, 246), For::Unknown);
    }

    #[test]
    fn is_bounded() {
        let mut turns = two_reads(0);
        for read in 0..5000u32 {
            turns.reads(TID, On::Request(u64::from(read)), None);
            seen(&mut turns, 6 + read);
            turns.sends(TID, 6 + read);
        }
        let thread = &turns.loops[&TID];
        assert!(thread.runs.len() <= RUNS && thread.ran.len() <= RAN);
        assert_eq!(turns.sends(TID, 5), For::Last, "it is forgotten");
    }
}
