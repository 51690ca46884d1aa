//! The table of processes: read at first sight, kept while they live and a little longer, dropped when there are too many.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    event::{self, Life, Nanos},
    trace::Resource,
};

use super::{
    facts::Facts,
    host::Host,
    read::{Proc, ReadError},
    resource::resource,
    text::clean,
};

/// How a table is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where processes are read. `None` when a recording is replayed: then only what was given is known.
    pub proc: Option<Proc>,
    /// Said on every resource.
    pub host: Host,
    /// So many processes are kept at most.
    pub capacity: usize,
    /// How long a process is kept after its end: its last spans come later.
    pub grace: Nanos,
    /// After how long it is looked at again whether a pid still is the same process (in case its end was not seen).
    pub recheck: Nanos,
}

impl Default for Settings {
    /// `/proc` of a host that says nothing of itself, 8,192 processes, 10 s and 10 s.
    fn default() -> Self {
        const SECONDS: Nanos = 1_000_000_000;
        Self {
            proc: Some(Proc::default()),
            host: Host::default(),
            capacity: 8_192,
            grace: 10 * SECONDS,
            recheck: 10 * SECONDS,
        }
    }
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// What is known of it.
    pub facts: Facts,
    /// What its spans carry.
    pub resource: Arc<Resource>,
}

/// What happened in a table so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes read from `/proc`.
    pub read: u64,
    /// Ended before they could be read; known by their command name alone, or by what they were forked from.
    pub gone: u64,
    /// Could not be read for another reason (permissions).
    pub failed: u64,
    /// A pid turned out to be another process, although no end was seen.
    pub reused: u64,
    /// Dropped because there were too many.
    pub evicted: u64,
}

/// How much is known.
#[derive(Debug)]
enum State {
    /// Heard of, not read yet. Small, because most processes of a host never use a socket.
    Heard {
        parent: u32,
        comm: Box<str>,
        /// The process that it was forked from, and still is a copy of.
        copy_of: Option<Arc<Process>>,
    },
    /// All that can be known.
    Known(Arc<Process>),
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// When it was last certain that the pid is this process; `None` when that is in doubt.
    checked: Option<Nanos>,
    used: Nanos,
    ended: Option<Nanos>,
}

/// Processes by their id.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    entries: HashMap<u32, Entry>,
    counts: Counts,
}

/// How far up a helper's name is looked for.
const ANCESTORS: u8 = 4;

impl Table {
    /// Without processes.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, entries: HashMap::new(), counts: Counts::default() }
    }

    /// The process of this id at this time: read at once if it is new, because it may be gone in a millisecond.
    pub fn seen(&mut self, tgid: u32, now: Nanos) -> Arc<Process> {
        self.look(tgid, now, ANCESTORS)
    }

    /// What the spans of a process carry.
    pub fn resource(&mut self, tgid: u32, now: Nanos) -> Arc<Resource> {
        Arc::clone(&self.seen(tgid, now).resource)
    }

    /// Takes note of a change in the life of a process. Reads nothing, except when a process is seen for the first time.
    pub fn apply(&mut self, event: &event::Process) {
        match event.what {
            Life::Fork => {
                // Until it runs another program a child is what its parent is; a server that forks for each connection has children
                // that live shorter than it takes to read them.
                let copy_of = match self.entries.get(&event.parent).map(|entry| &entry.state) {
                    Some(State::Known(process)) => Some(Arc::clone(process)),
                    Some(State::Heard { copy_of, .. }) => copy_of.clone(),
                    None => None,
                };
                self.heard(event, copy_of);
            }
            // Told again of what it has been looked at for: that stands.
            Life::Exec if self.is_known_since(event) => {}
            Life::Exec => self.heard(event, None),
            Life::Exit => {
                if let Some(entry) = self.entries.get_mut(&event.tgid) {
                    entry.ended = Some(event.time);
                }
            }
            Life::Seen => {
                match self.entries.get_mut(&event.tgid) {
                    // To be looked at again: its beginning may not have been seen.
                    Some(entry) if entry.ended.is_none() => entry.checked = None,
                    _ => self.heard(event, None),
                }
                self.seen(event.tgid, event.time);
            }
        }
    }

    /// Whether what is known of a process was read at this very event.
    fn is_known_since(&self, event: &event::Process) -> bool {
        self.entries.get(&event.tgid).is_some_and(|entry| {
            matches!(entry.state, State::Known(_)) && entry.ended.is_none() && entry.checked == Some(event.time)
        })
    }

    /// Adds a process as a recording knows it.
    pub fn fill(&mut self, facts: Facts, now: Nanos) {
        self.know(facts, now, None);
    }

    /// Every process that there is, for the initial set. They are not kept: most of them never use a socket.
    pub fn scan(&self) -> impl Iterator<Item = (u32, Facts)> {
        self.settings.proc.iter().flat_map(Proc::all)
    }

    /// Drops those that have ended longer than the grace period ago. To be called now and then.
    pub fn expire(&mut self, now: Nanos) {
        let grace = self.settings.grace;
        self.entries.retain(|_, entry| entry.ended.is_none_or(|ended| now.saturating_sub(ended) < grace));
    }

    /// How many processes are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no process is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn look(&mut self, tgid: u32, now: Nanos, ancestors: u8) -> Arc<Process> {
        let Settings { grace, recheck, .. } = self.settings;
        if let Some(entry) = self.entries.get_mut(&tgid) {
            // Not always in order: what a span belongs to is asked when the span is complete.
            entry.used = entry.used.max(now);
            if let State::Known(process) = &entry.state {
                let process = Arc::clone(process);
                let valid = match entry.ended {
                    Some(ended) => now.saturating_sub(ended) < grace,
                    None if entry.checked.is_some_and(|at| now.saturating_sub(at) < recheck) => true,
                    None => self.is_same(&process, now),
                };
                if valid {
                    return process;
                }
            }
        }
        self.read(tgid, now, ancestors)
    }

    /// Whether a pid still is the process that it was; notes an end that was not seen.
    fn is_same(&mut self, process: &Process, now: Nanos) -> bool {
        let Some(entry) = self.entries.get_mut(&process.facts.tgid) else {
            return false;
        };
        entry.checked = Some(now);
        // Nothing to compare with: a replay, or a process that was gone when it should have been read.
        let (Some(proc), 1..) = (&self.settings.proc, process.facts.start) else {
            return true;
        };
        match proc.start(process.facts.tgid) {
            Ok(start) if start != process.facts.start => {
                self.counts.reused += 1;
                false
            }
            Ok(_) | Err(ReadError::Io(..)) => true,
            Err(ReadError::Gone(_)) => {
                entry.ended = Some(now);
                true
            }
        }
    }

    fn read(&mut self, tgid: u32, now: Nanos, ancestors: u8) -> Arc<Process> {
        // What was heard of it stands in for what cannot be read.
        let (heard, ended) = match self.entries.get(&tgid) {
            Some(Entry { state: State::Heard { parent, comm, copy_of }, ended, .. }) => {
                let copied = copy_of.as_ref().map(|process| process.facts.clone()).unwrap_or_default();
                (Facts { tgid, parent: *parent, start: 0, comm: clean(comm, 15), ..copied }, *ended)
            }
            _ => (Facts { tgid, ..Facts::default() }, None),
        };
        let mut facts = match self.settings.proc.as_ref().filter(|_| tgid != 0).map(|proc| proc.facts(tgid)) {
            Some(Ok(facts)) => {
                self.counts.read += 1;
                if facts.executable.is_none() && facts.command.is_none() {
                    // Ended and not yet waited for: of what it ran, `/proc` says nothing any more.
                    let Facts { parent, start, comm, cgroups, netns, .. } = facts;
                    Facts { parent, start, comm, cgroups, netns, ..heard }
                } else {
                    facts
                }
            }
            Some(Err(ReadError::Gone(_))) => {
                self.counts.gone += 1;
                heard
            }
            // A replay, or bytes of which it is not known who moved them.
            None => heard,
            Some(Err(ReadError::Io(..))) => {
                self.counts.failed += 1;
                heard
            }
        };
        if facts.like_parent && facts.program.is_none() && facts.parent != 0 && ancestors > 0 {
            facts.program.clone_from(&self.look(facts.parent, now, ancestors - 1).facts.program);
        }
        self.know(facts, now, ended)
    }

    fn know(&mut self, facts: Facts, now: Nanos, ended: Option<Nanos>) -> Arc<Process> {
        let tgid = facts.tgid;
        let resource = Arc::new(resource(&facts, &self.settings.host));
        let process = Arc::new(Process { facts, resource });
        self.insert(tgid, Entry { state: State::Known(Arc::clone(&process)), checked: Some(now), used: now, ended });
        process
    }

    fn heard(&mut self, event: &event::Process, copy_of: Option<Arc<Process>>) {
        let state = State::Heard { parent: event.parent, comm: event.comm.clone(), copy_of };
        self.insert(event.tgid, Entry { state, checked: Some(event.time), used: event.time, ended: None });
    }

    fn insert(&mut self, tgid: u32, entry: Entry) {
        if self.entries.len() >= self.settings.capacity && !self.entries.contains_key(&tgid) {
            self.evict();
        }
        self.entries.insert(tgid, entry);
    }

    /// Makes room for an eighth of the capacity at once, so that it is seldom done: those that have ended first, then those that were
    /// used longest ago.
    fn evict(&mut self) {
        let mut order: Vec<_> =
            self.entries.iter().map(|(tgid, entry)| (entry.ended.is_none(), entry.used, *tgid)).collect();
        let room = (self.settings.capacity / 8).max(1).min(order.len());
        if room < order.len() {
            order.select_nth_unstable(room);
        }
        for (_, _, tgid) in order.into_iter().take(room) {
            self.entries.remove(&tgid);
            self.counts.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests;
