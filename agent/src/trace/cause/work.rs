//! Who works for what: the request that each thread and each of a runtime's tasks is busy with, and how it passes from one to another.

use hashbrown::HashMap;

use super::{
    call::{Link, Serial},
    forget::older_half,
};
use crate::event::{Nanos, SocketId, Thread};

/// Most threads and tasks that are known at a time, each; the oldest half goes when there are more.
const MOST: usize = 65_536;
/// How far up the tasks that started a task are looked at.
const GENERATIONS: usize = 8;

/// Answers that must have proved right before a guess is trusted, and how many of them for one that was wrong.
const ENOUGH: u32 = 16;
const RARE: u32 = 100;

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A thread, by its id.
    Thread(u32),
    /// A task of a process.
    Task(u32, u64),
}

impl Key {
    /// Who made a call: the task, where there is one.
    pub(super) fn of(thread: Thread) -> Self {
        if thread.task.id == 0 { Self::Thread(thread.tid) } else { Self::Task(thread.tgid, thread.task.id) }
    }
}

/// What a worker is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// A request.
    Request(Serial),
    /// Whatever caused this outgoing call, whose answer it has read.
    Like(Serial),
}

/// By what right a worker is busy with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// It has read it itself.
    Own,
    /// It is a task that was started for it. Some of those serve others later, such as that of a client's connection.
    Made,
    /// It has it from another one, who created or woke it: a worker of a pool gives nothing back when it is done, and may take up the
    /// next item without being woken.
    Lent(Lender),
}

/// Who has lent a worker what it is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lender {
    /// Whoever created it.
    Maker,
    /// A runtime's task, to a thread: an event loop that has something done which blocks.
    Task,
    /// Anybody else.
    Other,
}

/// The answer to a call, in the hands of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The call.
    pub(super) to: Serial,
    pub(super) held: Held,
}

/// How a worker has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It has read it itself.
    Fresh,
    /// It was handed it.
    Handed,
    /// It has handed it to another one, which may not have been what that one was woken for.
    Passed,
}

/// Why a worker is busy with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) on: On,
    pub(super) since: Nanos,
    pub(super) link: Link,
    pub(super) right: Right,
    /// What comes next may be for somebody else: it was lent, and something was done for it since; or it was made for this, and somebody
    /// else has woken it.
    pub(super) used: bool,
    /// Whoever has lent it had used it before: it is for this only if loans from this kind of lender last.
    pub(super) rests_on: Option<Lender>,
}

impl Work {
    /// Of a worker that has turned to something.
    pub(super) fn new(on: On, since: Nanos, link: Link) -> Self {
        let right = if link == Link::Clone { Right::Lent(Lender::Maker) } else { Right::Own };
        Self { on, since, link, right, used: false, rests_on: None }
    }

    /// Of a worker that was woken by one that has this work.
    pub(super) fn lent(self, lender: Lender, since: Nanos) -> Self {
        let rests_on = if self.used { self.lender() } else { self.rests_on };
        Self { since, link: Link::Wake, right: Right::Lent(lender), used: false, rests_on, ..self }
    }

    /// Whether the worker may give nothing back.
    pub(super) fn is_lent(&self) -> bool {
        self.lender().is_some()
    }

    /// From whom it has it, if it was lent.
    pub(super) fn lender(&self) -> Option<Lender> {
        if let Right::Lent(lender) = self.right { Some(lender) } else { None }
    }

    /// What kind of loan must last, if any, for what comes next to be for this too; `Err`: none is likely to.
    pub(super) fn must_last(&self) -> Result<Option<Lender>, ()> {
        match (self.lender().filter(|_| self.used), self.rests_on) {
            (Some(Lender::Other), _) => Err(()),
            (Some(one), Some(other)) if one != other => Err(()),
            (one, other) => Ok(one.or(other)),
        }
    }
}

#[derive(Debug, Default)]
struct Worker {
    work: Option<Work>,
    /// The task that started it, 0 if none or not known.
    parent: u64,
    /// What its event loop had read last when it was started, until it is known whether it works for that.
    guess: Option<On>,
    /// The connection on which it has answered.
    answers: Option<SocketId>,
    /// When it has answered a request last.
    answered: Nanos,
    /// The request that it has read last.
    reads: Option<Serial>,
    /// It has read answers, and no requests.
    polls: bool,
    /// It reads no requests: the answer that it has read last, or was handed.
    answer: Option<Answer>,
    /// It works for whoever wakes it, and no longer for what it was made for.
    is_shared: bool,
    /// It has begun to serve a request that was not seen.
    is_elsewhere: bool,
    /// When it was last heard of.
    seen: Nanos,
}

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    workers: HashMap<Key, Worker, foldhash::fast::RandomState>,
    /// How often tasks that a process' event loop has started worked for what it had read last, and how often not.
    guesses: HashMap<u32, (u32, u32), foldhash::fast::RandomState>,
    /// How many were forgotten because there were too many.
    pub(super) forgotten: u64,
}

impl Workers {
    /// A worker turns to something. What was seen late, because something before it was missing, changes nothing.
    pub(super) fn set(&mut self, key: Key, on: On, since: Nanos, link: Link) {
        self.take(key, Work::new(on, since, link));
    }

    /// The same, with all that is known of it.
    pub(super) fn take(&mut self, key: Key, new: Work) {
        let worker = self.worker(key, new.since);
        if worker.work.is_none_or(|work| work.since <= new.since) {
            worker.work = Some(new);
            worker.is_elsewhere = false;
        }
    }

    /// A worker has read a request.
    pub(super) fn reads(&mut self, key: Key, request: Serial) {
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.reads = Some(request);
        }
    }

    /// The request that a worker has read last.
    pub(super) fn has_read(&self, key: Key) -> Option<Serial> {
        self.workers.get(&key)?.reads
    }

    /// Whether a worker reads requests.
    pub(super) fn is_reader(&self, key: Key) -> bool {
        self.has_read(key).is_some()
    }

    /// A worker that reads no requests has the answer to a call.
    pub(super) fn has_answer(&mut self, key: Key, call: Serial, now: Nanos) {
        let worker = self.worker(key, now);
        worker.polls = true;
        worker.answer = Some(Answer { to: call, held: Held::Fresh });
    }

    /// A worker hands an answer to another one. If that has another one that it has not passed on yet, which one it passes on next cannot be
    /// told; but it is done with that if it could be woken by the one that reads them.
    pub(super) fn hand(&mut self, giver: Key, taker: Key, answer: Answer, now: Nanos) {
        let to = self.worker(taker, now);
        // Who reads answers is told to read more, and does not pass on what others have.
        if to.polls {
            return;
        }
        let other = to.answer.filter(|other| other.to != answer.to);
        to.answer = match (answer.held, other.map(|other| other.held)) {
            (Held::Fresh, _) | (_, None) | (Held::Handed, Some(Held::Passed)) => {
                Some(Answer { held: Held::Handed, ..answer })
            }
            (Held::Passed, Some(_)) => other,
            (Held::Handed, Some(_)) => None,
        };
        if let Some(giver) = self.workers.get_mut(&giver) {
            giver.answer = Some(Answer { held: Held::Passed, ..answer }).filter(|_| answer.held != Held::Fresh);
        }
    }

    /// The answer that a worker has, if any.
    pub(super) fn answer(&self, key: Key) -> Option<Answer> {
        self.workers.get(&key)?.answer
    }

    /// It has done with that what was to be done.
    pub(super) fn drop_answer(&mut self, key: Key) {
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.answer = None;
        }
    }

    /// A worker works for whoever wakes it.
    pub(super) fn share(&mut self, key: Key, now: Nanos) {
        let worker = self.worker(key, now);
        if !worker.is_shared {
            worker.is_shared = true;
            if worker.work.is_some_and(|work| work.right == Right::Made) {
                worker.work = None;
            }
        }
    }

    /// A worker has begun to serve a request that was not seen: not what it has served before, nor what whoever started it has read since.
    pub(super) fn serves_unseen(&mut self, key: Key, now: Nanos) {
        self.clear(key);
        self.share(key, now);
        self.worker(key, now).is_elsewhere = true;
    }

    /// Whether whoever makes a call does so for a request that was not seen, and so for none of those that were.
    pub(super) fn is_elsewhere(&self, thread: Thread) -> bool {
        let (mut task, mut parent) = (thread.task.id, thread.task.parent);
        for _ in 0..GENERATIONS {
            let worker = self.workers.get(&Key::Task(thread.tgid, task));
            match worker {
                Some(worker) if worker.is_elsewhere => return true,
                Some(worker) if worker.work.is_some() || worker.is_shared => return false,
                _ => {}
            }
            if let Some(worker) = worker.filter(|worker| worker.parent != 0) {
                parent = worker.parent;
            }
            (task, parent) = (parent, 0);
            if task == 0 {
                return false;
            }
        }
        false
    }

    /// A worker that was made for one thing was woken by whoever works for another: it may turn to that.
    pub(super) fn doubt(&mut self, key: Key, work: Work, now: Nanos) {
        let worker = self.worker(key, now);
        worker.work.get_or_insert(work).used = true;
    }

    /// A worker has done something for what it was lent.
    pub(super) fn use_up(&mut self, key: Key) {
        if let Some(work) = self.workers.get_mut(&key).and_then(|worker| worker.work.as_mut())
            && work.is_lent()
        {
            work.used = true;
        }
    }

    /// A worker has nothing to do that is known of.
    pub(super) fn clear(&mut self, key: Key) {
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.work = None;
        }
    }

    /// A task was started by another one, or by none, while its thread was busy with something. By none: it is not certain that it will
    /// work for that.
    pub(super) fn spawned(&mut self, task: Key, parent: u64, work: Option<Work>, now: Nanos) {
        let Key::Task(tgid, _) = task else {
            return;
        };
        let guess = work.filter(|_| parent == 0).map(|work| work.on);
        let work = work.filter(|_| parent != 0 || self.trusts(tgid));
        let worker = self.worker(task, now);
        let work = work.map(|work| Work { right: Right::Made, ..work });
        *worker = Worker { work, parent, guess, seen: now, ..Worker::default() };
    }

    /// A worker has left something to be done to others, while it was busy with something.
    pub(super) fn submitted(&mut self, task: Key, parent: u64, work: Option<Work>, now: Nanos) {
        let work = work.map(|work| Work { right: Right::Made, ..work });
        *self.worker(task, now) = Worker { work, parent, seen: now, ..Worker::default() };
    }

    /// Whether tasks that a process' event loop starts work for what it has read last, as far as that has shown.
    fn trusts(&self, tgid: u32) -> bool {
        self.guesses.get(&tgid).is_some_and(|(right, wrong)| *right >= ENOUGH && wrong * RARE < *right)
    }

    /// A task has answered a request: was that to be expected when it was started?
    fn prove(&mut self, key: Key, request: Serial) {
        let Key::Task(tgid, _) = key else {
            return;
        };
        let guess = self.workers.get_mut(&key).and_then(|worker| worker.guess.take());
        if let Some(On::Request(guess)) = guess {
            let (right, wrong) = self.guesses.entry(tgid).or_default();
            *(if guess == request { &mut *right } else { &mut *wrong }) += 1;
            // What was learnt fades.
            if *right + *wrong > 4096 {
                *right /= 2;
                *wrong /= 2;
            }
        }
    }

    /// A worker runs, or is about to.
    pub(super) fn ran(&mut self, key: Key, now: Nanos) {
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.seen = worker.seen.max(now);
        }
    }

    /// When a worker was last heard of.
    pub(super) fn seen(&self, key: Key) -> Nanos {
        self.workers.get(&key).map_or(0, |worker| worker.seen)
    }

    /// A worker has answered a request on a connection.
    pub(super) fn answered(&mut self, key: Key, request: Serial, socket: SocketId, now: Nanos) {
        self.prove(key, request);
        self.worker(key, now).answers = Some(socket);
    }

    /// A worker answers a request. Returns when it did so for the last time.
    pub(super) fn answered_at(&mut self, key: Key, now: Nanos) -> Nanos {
        std::mem::replace(&mut self.worker(key, now).answered, now)
    }

    /// Whether it was this worker that has answered on a connection, and not an earlier one at its address.
    pub(super) fn answers(&self, key: Key, socket: SocketId) -> bool {
        self.workers.get(&key).is_some_and(|worker| worker.answers == Some(socket))
    }

    /// What a worker itself is busy with.
    pub(super) fn own(&self, key: Key) -> Option<Work> {
        self.workers.get(&key)?.work
    }

    /// What whoever made a call is busy with: the task, or the nearest of those that started it; the thread only where there is no task.
    /// `valid` says whether something still goes on.
    pub(super) fn of(&self, thread: Thread, valid: impl Fn(On) -> bool) -> Option<Work> {
        if thread.task.id == 0 {
            return self.own(Key::Thread(thread.tid)).filter(|work| valid(work.on));
        }
        let mut parent = thread.task.parent;
        let mut task = thread.task.id;
        for generation in 0..GENERATIONS {
            let worker = self.workers.get(&Key::Task(thread.tgid, task));
            if let Some(mut work) = worker.and_then(|worker| worker.work) {
                if generation > 0 && work.right == Right::Own {
                    work.right = Right::Made;
                }
                // What it was started for is what it works for, also when that is over.
                return valid(work.on).then_some(work);
            }
            if worker.is_some_and(|worker| worker.is_shared) {
                return None;
            }
            if let Some(worker) = worker.filter(|worker| worker.parent != 0) {
                parent = worker.parent;
            }
            if parent == 0 {
                return None;
            }
            (task, parent) = (parent, 0);
        }
        None
    }

    /// A task is seen, with the one that has started it.
    pub(super) fn born(&mut self, thread: Thread, now: Nanos) {
        if thread.task.parent != 0 {
            self.worker(Key::Task(thread.tgid, thread.task.id), now).parent = thread.task.parent;
        }
    }

    /// Whoever made a call, and the tasks that started it, as far as they may have done so for this call.
    pub(super) fn line(&mut self, thread: Thread, now: Nanos) -> Vec<Key> {
        if thread.task.id == 0 {
            return vec![Key::Thread(thread.tid)];
        }
        let own = self.worker(Key::Task(thread.tgid, thread.task.id), now);
        if thread.task.parent != 0 {
            own.parent = thread.task.parent;
        }
        let mut line = Vec::with_capacity(2);
        let mut task = thread.task.id;
        while task != 0 && line.len() < GENERATIONS {
            let key = Key::Task(thread.tgid, task);
            line.push(key);
            task = self.workers.get(&key).filter(|worker| !worker.is_shared).map_or(0, |worker| worker.parent);
        }
        line
    }

    fn worker(&mut self, key: Key, now: Nanos) -> &mut Worker {
        if self.workers.len() >= MOST {
            self.forgotten += older_half(&mut self.workers, |worker| worker.seen);
        }
        let worker = self.workers.entry(key).or_default();
        worker.seen = now;
        worker
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.guesses.remove(&tgid);
        self.workers.retain(|key, _| match key {
            Key::Thread(tid) => *tid != tgid,
            Key::Task(of, _) => *of != tgid,
        });
    }
}
