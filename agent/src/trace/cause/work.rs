//! Who works for what: the request that each thread and each of a runtime's tasks is busy with, and how it passes from one to another.

use hashbrown::HashMap;

use super::call::{Link, Serial};
use crate::event::{Nanos, Thread};

/// Most threads and tasks that are known at a time, each; the oldest half goes when there are more.
const MOST: usize = 65_536;
/// How far up the tasks that started a task are looked at.
const GENERATIONS: usize = 8;

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

/// Why a worker is busy with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) on: On,
    pub(super) since: Nanos,
    pub(super) link: Link,
}

#[derive(Debug, Default)]
struct Worker {
    work: Option<Work>,
    /// The task that started it, 0 if none or not known.
    parent: u64,
    /// When it was last heard of.
    seen: Nanos,
}

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    workers: HashMap<Key, Worker, foldhash::fast::RandomState>,
    /// How many were forgotten because there were too many.
    pub(super) forgotten: u64,
}

impl Workers {
    /// A worker turns to something. What was seen late, because something before it was missing, changes nothing.
    pub(super) fn set(&mut self, key: Key, on: On, since: Nanos, link: Link) {
        let worker = self.worker(key, since);
        if worker.work.is_none_or(|work| work.since <= since) {
            worker.work = Some(Work { on, since, link });
        }
    }

    /// A worker has nothing to do that is known of.
    pub(super) fn clear(&mut self, key: Key) {
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.work = None;
        }
    }

    /// A task was started by another one, or by none, while its thread was busy with something.
    pub(super) fn spawned(&mut self, task: Key, parent: u64, work: Option<Work>, now: Nanos) {
        let worker = self.worker(task, now);
        *worker = Worker { work, parent, seen: now };
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
        for _ in 0..GENERATIONS {
            let worker = self.workers.get(&Key::Task(thread.tgid, task));
            if let Some(work) = worker.and_then(|worker| worker.work) {
                // What it was started for is what it works for, also when that is over.
                return valid(work.on).then_some(work);
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

    /// Whoever made a call, and the tasks that started it.
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
            task = self.workers.get(&key).map_or(0, |worker| worker.parent);
        }
        line
    }

    fn worker(&mut self, key: Key, now: Nanos) -> &mut Worker {
        if self.workers.len() >= MOST {
            self.forget();
        }
        let worker = self.workers.entry(key).or_default();
        worker.seen = now;
        worker
    }

    /// Forgets the half that was not heard of for longest.
    fn forget(&mut self) {
        let mut seen: Vec<Nanos> = self.workers.values().map(|worker| worker.seen).collect();
        let middle = seen.len() / 2;
        let (_, median, _) = seen.select_nth_unstable(middle);
        let median = *median;
        let before = self.workers.len();
        self.workers.retain(|_, worker| worker.seen > median);
        self.forgotten += (before - self.workers.len()) as u64;
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.workers.retain(|key, _| match key {
            Key::Thread(tid) => *tid != tgid,
            Key::Task(of, _) => *of != tgid,
        });
    }
}
