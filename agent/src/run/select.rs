//! Which processes are traced: judges them here, by their names and groups, and marks them for the kernel side, which cannot read
//! names but knows who forks from whom.

use std::collections::HashMap;

use crate::{
    bpf::{Kernel, LoadError},
    event::{Event, Life, Nanos, Process},
    process::{Choice, Facts, Selector, Table},
};

/// The choice, and what has been decided by it.
#[derive(Debug)]
pub struct Selection {
    selector: Selector,
    /// The agent starts what is to be traced.
    children: bool,
    choices: HashMap<u32, Choice>,
    /// Processes refused lately: the kernel side reports a process until it has been refused.
    refused: HashMap<u32, Nanos>,
    /// Marks for the kernel side.
    pending: Vec<(u32, bool)>,
}

/// Generations that a family is followed upwards.
const GENERATIONS: usize = 32;
/// How long a refusal is remembered.
const REFUSED: Nanos = 5_000_000_000;

impl Selection {
    /// Of nothing yet. With `children`, what the agent starts is chosen too.
    #[must_use]
    pub fn new(selector: Selector, children: bool) -> Self {
        Self { selector, children, choices: HashMap::new(), refused: HashMap::new(), pending: Vec::new() }
    }

    /// Whether anything is left out.
    fn is_selective(&self) -> bool {
        self.children || !self.selector.is_everything()
    }

    /// Judges the processes that there are.
    pub fn scan(&mut self, processes: &Table) {
        if !self.is_selective() {
            return;
        }
        if self.children {
            // Children have their parent's mark. The agent itself is never traced, whatever its mark.
            self.pending.push((std::process::id(), true));
        }
        if !self.selector.is_everything() {
            let all: Vec<(u32, Facts)> = processes.scan().collect();
            self.choices = self.selector.select(all.iter().map(|(_, facts)| facts));
            self.pending.extend(self.choices.keys().map(|tgid| (*tgid, true)));
        }
    }

    /// The processes that were chosen; `None`: all.
    #[must_use]
    pub fn chosen(&self) -> Option<Vec<u32>> {
        (!self.selector.is_everything()).then(|| self.choices.keys().copied().collect())
    }

    /// Takes note of an event; whether it is to be looked at further.
    pub fn admits(&mut self, event: &Event<'_>, processes: &mut Table) -> bool {
        if !self.selector.depends_on_programs() {
            return true;
        }
        match event {
            Event::Process(process) => {
                self.note(process, processes);
                // One that is refused may have used a socket before it was.
                process.what != Life::Seen || !self.refused.contains_key(&process.tgid)
            }
            Event::Data(data) => !self.refused.contains_key(&data.thread.tgid),
            Event::Datagram(datagram) => !self.refused.contains_key(&datagram.thread.tgid),
            Event::Open(open) => !self.refused.contains_key(&open.thread.tgid),
            Event::Handover(handover) => !self.refused.contains_key(&handover.from.tgid),
            Event::Sample(sample) => !self.refused.contains_key(&sample.thread.tgid),
            Event::Usage(usage) => !self.refused.contains_key(&usage.tgid),
            Event::Inject(inject) => !self.refused.contains_key(&inject.tgid),
            Event::State(_) | Event::Greeted(_) | Event::Carried(_) => true,
        }
    }

    /// Takes note of a change in the life of a process, and judges it where that calls for it.
    pub fn note(&mut self, process: &Process, processes: &mut Table) {
        match process.what {
            Life::Exec => self.judge(process.tgid, process.time, processes),
            Life::Exit => {
                self.choices.remove(&process.tgid);
                self.refused.remove(&process.tgid);
            }
            Life::Seen => self.meet(process.tgid, process.time, processes),
            Life::Fork => {}
        }
    }

    /// Judges a process that was seen for the first time, if that was not done when it began to run its program: it may be the child of one
    /// that counted as chosen only until it was judged.
    fn meet(&mut self, tgid: u32, now: Nanos, processes: &mut Table) {
        let is_known = self.choices.contains_key(&tgid) || self.refused.contains_key(&tgid);
        if self.selector.depends_on_programs() && !is_known {
            self.judge(tgid, now, processes);
        }
    }

    fn judge(&mut self, tgid: u32, now: Nanos, processes: &mut Table) {
        let facts = processes.seen(tgid, now);
        let parent = self.family(facts.facts.parent, now, processes);
        let choice = self.selector.decides(&facts.facts, parent);
        self.pending.push((tgid, choice.is_traced()));
        if choice.is_traced() {
            self.choices.insert(tgid, choice);
            self.refused.remove(&tgid);
        } else {
            self.choices.remove(&tgid);
            self.refused.retain(|_, since| now.saturating_sub(*since) < REFUSED);
            self.refused.insert(tgid, now);
        }
    }

    /// Whether a process belongs to a family that is traced.
    fn family(&self, mut tgid: u32, now: Nanos, processes: &mut Table) -> Choice {
        for _ in 0..GENERATIONS {
            if tgid <= 1 {
                break;
            }
            if self.selector.pids.contains(&tgid)
                || self.choices.get(&tgid) == Some(&Choice::Family)
                || self.children && tgid == std::process::id()
            {
                return Choice::Family;
            }
            tgid = processes.seen(tgid, now).facts.parent;
        }
        Choice::No
    }

    /// Marks for the kernel side what was judged.
    ///
    /// # Errors
    /// When the kernel side has no room.
    pub fn apply(&mut self, kernel: &mut Kernel) -> Result<(), LoadError> {
        self.marks().try_for_each(|(tgid, selected)| kernel.select(tgid, selected))
    }

    /// What the kernel side has not been told yet: processes, and whether each is traced.
    pub fn marks(&mut self) -> impl Iterator<Item = (u32, bool)> {
        self.pending.drain(..)
    }

    /// Whether a process was refused lately, so that what the kernel side has taken of it before it heard of that is not wanted.
    #[must_use]
    pub fn refuses(&self, tgid: u32) -> bool {
        self.refused.contains_key(&tgid)
    }
}
