//! Futexes that are locks: who wakes whom there says who has waited for the lock, not who works for whom. A lock has shown itself when
//! threads that work for different requests, each by its own right, have woken each other on it, and more than one was woken.

use hashbrown::HashMap;

/// Most futexes that are known at a time; then all are forgotten.
const MOST: usize = 16_384;

/// What is known of a futex.
#[derive(Debug)]
struct Futex {
    /// The first thread that was woken on it.
    taker: u32,
    /// Others were woken, too.
    has_others: bool,
    /// Somebody was woken for nothing of his own.
    is_contended: bool,
}

/// The futexes of all processes, by process and address.
#[derive(Debug, Default)]
pub(super) struct Locks {
    known: HashMap<(u32, u64), Futex, foldhash::fast::RandomState>,
}

impl Locks {
    /// A thread is woken on a futex; `is_contended`: by one that works for another request. Returns whether the futex is a lock.
    pub(super) fn woken(&mut self, tgid: u32, address: u64, taker: u32, is_contended: bool) -> bool {
        if address == 0 {
            return false;
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let new = Futex { taker, has_others: false, is_contended: false };
        let futex = self.known.entry((tgid, address)).or_insert(new);
        futex.has_others |= futex.taker != taker;
        futex.is_contended |= is_contended;
        futex.has_others && futex.is_contended
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.known.retain(|(of, _), _| *of != tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_several_that_are_woken_for_nothing_of_theirs() {
        let mut locks = Locks::default();
        assert!(!locks.woken(1, 0x10, 101, true));
        assert!(!locks.woken(1, 0x10, 101, true), "a thread's own place to wait");
        assert!(locks.woken(1, 0x10, 102, false));
        assert!(!locks.woken(2, 0x10, 102, false), "another process");
        assert!(!locks.woken(1, 0x20, 101, false));
        assert!(!locks.woken(1, 0x20, 102, false), "a queue");
        assert!(!locks.woken(1, 0, 101, true) && !locks.woken(1, 0, 102, true), "no futex");
        locks.ended(1);
        assert!(!locks.woken(1, 0x10, 102, false));
    }

    #[test]
    fn memory_is_bounded() {
        let mut locks = Locks::default();
        for address in 1..100_000 {
            locks.woken(1, address, 101, true);
            assert!(locks.known.len() <= MOST);
        }
    }
}
