//! How walking the stacks of processes ended, counted by reason: which part of a profile is whole is a figure, and so is why the rest is
//! not.

use std::fmt;

use geophone_ebpf::record::{
    INTERPRETED_CUT, INTERPRETED_FAULT, RESULT_COMPLETE, RESULT_DISORDER, RESULT_FAULT, RESULT_FOREIGN, RESULT_KERNEL,
    RESULT_NO_MAPPING, RESULT_NO_ROW, RESULT_NONE, RESULT_POINTERS_END, RESULT_TRUNCATED, RESULT_UNSUPPORTED,
    STACK_MAX, USER_MAX, WALK_BY_POINTERS, WALK_NO_ROOM, WALK_TOO_EARLY,
};

/// Results, one counter each, and one for what is none of them.
const RESULTS: usize = RESULT_NONE as usize + 2;

/// Counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walks {
    results: [u64; RESULTS],
    by_pointers: u64,
    too_early: u64,
    no_room: u64,
    interpreted_fault: u64,
    interpreted_cut: u64,
}

impl Walks {
    /// Counts a walk: `RESULT_*` and `WALK_*`.
    pub fn add(&mut self, result: u32, flags: u32) {
        let index = (result as usize).min(RESULTS - 1);
        if let Some(count) = self.results.get_mut(index) {
            *count += 1;
        }
        self.interpreted_fault += u64::from(flags & INTERPRETED_FAULT != 0);
        self.interpreted_cut += u64::from(flags & INTERPRETED_CUT != 0);
        // What was unfinished counts as that only.
        if flags & WALK_TOO_EARLY != 0 {
            self.too_early += 1;
        } else if flags & WALK_NO_ROOM != 0 {
            self.no_room += 1;
        } else if flags & WALK_BY_POINTERS != 0 {
            self.by_pointers += 1;
        }
    }

    /// How many walks ended in this way.
    #[must_use]
    pub fn ending(&self, result: u32) -> u64 {
        self.results.get(result as usize).copied().unwrap_or_default()
    }

    /// Frames at which stacks of processes are cut.
    #[must_use]
    pub fn bound(&self) -> usize {
        let any = self.results.iter().sum::<u64>() != 0;
        if any && self.ending(RESULT_KERNEL) == 0 { USER_MAX } else { STACK_MAX }
    }
}

impl fmt::Display for Walks {
    /// What there was, in one line; nothing where the kernel has walked all of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let results = [
            (RESULT_COMPLETE, "complete"),
            (RESULT_TRUNCATED, "too deep"),
            (RESULT_POINTERS_END, "to the end of frame pointers"),
            (RESULT_NO_MAPPING, "into no code"),
            (RESULT_NO_ROW, "into code without rows or frame pointers"),
            (RESULT_FAULT, "into unreadable memory"),
            (RESULT_UNSUPPORTED, "to an unsupported rule"),
            (RESULT_DISORDER, "in disorder"),
            (RESULT_FOREIGN, "into code of another architecture"),
            (RESULT_NONE, "threads of the kernel"),
            (RESULTS as u32 - 1, "unknown"),
        ];
        let results = results.map(|(result, name)| (self.ending(result), name));
        let ways = [
            (self.by_pointers, "partly by frame pointers"),
            (self.too_early, "before all rows were there"),
            (self.no_room, "without room for all rows"),
            (self.interpreted_fault, "with frames of an interpreter that cannot be read"),
            (self.interpreted_cut, "with too many of them"),
        ];
        let there = |list: &[(u64, &str)]| {
            let there = list.iter().filter(|(count, _)| *count != 0).map(|(count, name)| format!("{count} {name}"));
            there.collect::<Vec<_>>().join(", ")
        };
        let (results, ways) = (there(&results), there(&ways));
        f.write_str(&results)?;
        if ways.is_empty() { Ok(()) } else { write!(f, " ({ways})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_was_is_said() {
        let mut walks = Walks::default();
        assert_eq!((walks.to_string().as_str(), walks.bound()), ("", STACK_MAX));
        for (result, flags) in [
            (RESULT_COMPLETE, 0),
            (RESULT_COMPLETE, WALK_BY_POINTERS),
            (RESULT_FAULT, WALK_BY_POINTERS | WALK_TOO_EARLY),
            (77, 0),
        ] {
            walks.add(result, flags);
        }
        assert_eq!(
            walks.to_string(),
            "2 complete, 1 into unreadable memory, 1 unknown (1 partly by frame pointers, 1 before all rows were there)"
        );
        assert_eq!(walks.bound(), USER_MAX);
        let mut kernel = Walks::default();
        kernel.add(RESULT_KERNEL, 0);
        assert_eq!((kernel.to_string().as_str(), kernel.bound()), ("", STACK_MAX));
    }
}
