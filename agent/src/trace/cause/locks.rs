//! Futexes that are locks: who wakes whom there says who has waited for the lock, not who works for whom. A lock has shown itself when
//! threads that work for different requests, each by its own right, have woken each other on it, and more than one was woken. And where
//! several are woken, one that was woken there itself only lets the next one in: to a lock, or to a queue in which there is more.

use hashbrown::HashMap;

/// Most futexes that are known at a time; then all are forgotten.
const MOST: usize = 16_384;
/// Most threads that are known of each.
const MOST_TAKERS: usize = 64;

/// How often threads that were woken on a futex must have woken others there.
const OFTEN: u8 = 4;

/// A thread wakes another one on a futex.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waking {
    /// Their process.
    pub(super) tgid: u32,
    /// The futex; 0: none.
    pub(super) address: u64,
    pub(super) giver: u32,
    pub(super) taker: u32,
    /// The giver works for a request by its own right.
    pub(super) is_own: bool,
    /// So does the taker, for another one.
    pub(super) is_contended: bool,
}

/// What is known of a futex.
#[derive(Debug, Default)]
struct Futex {
    /// The threads that were woken on it, the first ones.
    takers: Vec<u32>,
    /// How often one of those has woken another one, up to [`OFTEN`].
    let_in: u8,
    /// Somebody was woken for nothing of his own.
    is_contended: bool,
}

/// The futexes of all processes, by process and address.
#[derive(Debug, Default)]
pub(super) struct Locks {
    known: HashMap<(u32, u64), Futex, foldhash::fast::RandomState>,
}

impl Locks {
    /// Whether a thread is woken only because the futex is a lock, or it is its turn at a queue.
    pub(super) fn is_lock(&mut self, waking: &Waking) -> bool {
        if waking.address == 0 {
            return false;
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let futex = self.known.entry((waking.tgid, waking.address)).or_default();
        if !futex.takers.contains(&waking.taker) && futex.takers.len() < MOST_TAKERS {
            futex.takers.push(waking.taker);
        }
        futex.is_contended |= waking.is_contended;
        let lets_in = futex.takers.contains(&waking.giver);
        futex.let_in += u8::from(lets_in && futex.let_in < OFTEN);
        let is_turn = lets_in || futex.let_in == OFTEN && !waking.is_own;
        futex.takers.len() > 1 && (futex.is_contended || is_turn)
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.known.retain(|(of, _), _| *of != tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waking(giver: u32, taker: u32) -> Waking {
        Waking { tgid: 1, address: 0x10, giver, taker, is_own: false, is_contended: false }
    }

    #[test]
    fn a_lock_has_several_that_are_woken_for_nothing_of_theirs() {
        let mut locks = Locks::default();
        let contended = Waking { is_contended: true, is_own: true, ..waking(100, 101) };
        assert!(!locks.is_lock(&contended) && !locks.is_lock(&contended), "a thread's own place to wait");
        assert!(locks.is_lock(&waking(100, 102)));
        assert!(!locks.is_lock(&Waking { tgid: 2, ..waking(100, 102) }), "another process");
        let other = |taker| Waking { address: 0x20, ..waking(100, taker) };
        assert!(!locks.is_lock(&other(101)) && !locks.is_lock(&other(102)), "a queue");
        let none = |taker| Waking { address: 0, taker, ..contended };
        assert!(!locks.is_lock(&none(101)) && !locks.is_lock(&none(102)), "no futex");
        locks.ended(1);
        assert!(!locks.is_lock(&waking(100, 102)));
    }

    #[test]
    fn who_was_woken_there_lets_the_next_one_in() {
        let mut locks = Locks::default();
        // A producer wakes one of a pool, and that one the next, for there is more.
        assert!(!locks.is_lock(&waking(100, 101)));
        assert!(locks.is_lock(&waking(101, 102)) && locks.is_lock(&waking(102, 103)));
        assert!(!locks.is_lock(&waking(100, 101)), "the producer itself");
        assert!(locks.is_lock(&waking(102, 101)) && locks.is_lock(&waking(101, 102)));
        // After that, only who works for a request by its own right is taken for a producer.
        assert!(locks.is_lock(&waking(100, 101)) && !locks.is_lock(&Waking { is_own: true, ..waking(100, 101) }));
    }

    #[test]
    fn memory_is_bounded() {
        let mut locks = Locks::default();
        for address in 1..100_000 {
            locks.is_lock(&Waking { address, ..waking(100, 101) });
            assert!(locks.known.len() <= MOST);
        }
        for taker in 0..1_000 {
            locks.is_lock(&waking(100, taker));
        }
        assert!(locks.known.values().all(|futex| futex.takers.len() <= MOST_TAKERS));
    }
}
