//! Processes in which tasks make calls that nobody is known to have given them: more has to be looked at there, which would cost too much
//! everywhere.

use hashbrown::HashMap;

/// So many such calls, and so large a share of all, are no exception any more.
const FEW: u32 = 4;
const SHARE: u32 = 4;

/// The calls that tasks of a process have made while requests were open.
#[derive(Debug, Default)]
struct Calls {
    all: u32,
    puzzling: u32,
    is_told: bool,
}

/// All processes.
#[derive(Debug, Default)]
pub(super) struct Puzzles {
    processes: HashMap<u32, Calls, foldhash::fast::RandomState>,
    found: Vec<u32>,
}

impl Puzzles {
    /// A task has made a call while requests were open. `is_puzzling`: nobody is known to have given it work.
    pub(super) fn called(&mut self, tgid: u32, is_puzzling: bool) {
        let calls = self.processes.entry(tgid).or_default();
        calls.all = calls.all.saturating_add(1);
        calls.puzzling = calls.puzzling.saturating_add(u32::from(is_puzzling));
        if !calls.is_told && calls.puzzling >= FEW && calls.puzzling >= calls.all / SHARE {
            calls.is_told = true;
            self.found.push(tgid);
        }
    }

    /// The processes of which that has shown, each once.
    pub(super) fn take(&mut self) -> std::vec::Drain<'_, u32> {
        self.found.drain(..)
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.processes.remove(&tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_is_told_of_once() {
        let mut puzzles = Puzzles::default();
        for _ in 0..100 {
            // A poller of its own in one, every call in another.
            for i in 0..10 {
                puzzles.called(1, i == 0);
                puzzles.called(2, true);
            }
        }
        assert_eq!(puzzles.take().collect::<Vec<_>>(), [2]);
        puzzles.called(2, true);
        assert_eq!(puzzles.take().count(), 0);
        puzzles.ended(2);
        (0..4).for_each(|_| puzzles.called(2, true));
        assert_eq!(puzzles.take().collect::<Vec<_>>(), [2]);
    }
}
