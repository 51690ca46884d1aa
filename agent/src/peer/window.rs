//! Which of the last numbers of a sequence have come: tells what is new from what came before.

/// Remembers the last `64 * WORDS` numbers. Numbers begin at 1.
#[derive(Clone, Debug)]
pub struct Window<const WORDS: usize> {
    latest: u64,
    /// Bit `n % (64 * WORDS)` stands for number `n`.
    words: [u64; WORDS],
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Has not come before.
    New,
    /// Has come before.
    Before,
    /// Lies so far back that it is not known.
    TooOld,
}

impl<const WORDS: usize> Window<WORDS> {
    /// All numbers up to this one count as having come.
    #[must_use]
    pub fn after(number: u64) -> Self {
        Self { latest: number, words: [u64::MAX; WORDS] }
    }

    /// How many numbers are remembered.
    pub const SIZE: u64 = 64 * WORDS as u64;

    /// The greatest number that has come; 0: none.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// Takes a number in. Says what it was before.
    pub fn insert(&mut self, number: u64) -> Seen {
        if number == 0 || self.latest.saturating_sub(number) >= Self::SIZE {
            return Seen::TooOld;
        }
        if number > self.latest {
            if number - self.latest >= Self::SIZE {
                self.words = [0; WORDS];
            } else {
                for between in self.latest + 1..=number {
                    self.set(between, false);
                }
            }
            self.latest = number;
        } else if self.get(number) {
            return Seen::Before;
        }
        self.set(number, true);
        Seen::New
    }

    /// Of the 128 numbers before the latest: bit `i` is set when `latest - 1 - i` has come.
    #[must_use]
    pub fn recent(&self) -> u128 {
        let before = (1..=128u64.min(Self::SIZE - 1)).zip(0u32..);
        before.fold(0, |bits, (back, i)| match self.latest.checked_sub(back) {
            Some(number) if number > 0 && self.get(number) => bits | 1 << i,
            _ => bits,
        })
    }

    fn get(&self, number: u64) -> bool {
        let (word, bit) = Self::position(number);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set(&mut self, number: u64, to: bool) {
        let (word, bit) = Self::position(number);
        if let Some(word) = self.words.get_mut(word) {
            if to {
                *word |= bit;
            } else {
                *word &= !bit;
            }
        }
    }

    fn position(number: u64) -> (usize, u64) {
        ((number % Self::SIZE / 64) as usize, 1 << (number % 64))
    }
}

impl<const WORDS: usize> Default for Window<WORDS> {
    fn default() -> Self {
        Self { latest: 0, words: [0; WORDS] }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn begins_after_any_number() {
        let mut window = Window::<2>::after(1000);
        assert_eq!(
            [1, 872, 873, 1000].map(|n| window.insert(n)),
            [Seen::TooOld, Seen::TooOld, Seen::Before, Seen::Before]
        );
        assert_eq!([1003, 1001, 1003].map(|n| window.insert(n)), [Seen::New, Seen::New, Seen::Before]);
        assert_eq!(window.insert(1000), Seen::Before);
    }

    proptest! {
        #[test]
        fn says_the_same_as_a_set(numbers in proptest::collection::vec(prop_oneof![20 => 0u64..400, 2 => Just(1000), 1 => Just(u64::MAX)], 1..100)) {
            let mut window = Window::<2>::default();
            let mut set = HashSet::new();
            let mut latest = 0;
            for number in numbers {
                let expected = if number == 0 || latest >= Window::<2>::SIZE && number <= latest - Window::<2>::SIZE {
                    Seen::TooOld
                } else if set.insert(number) {
                    latest = latest.max(number);
                    Seen::New
                } else {
                    Seen::Before
                };
                prop_assert_eq!(window.insert(number), expected, "{}", number);
                prop_assert_eq!(window.latest(), latest);
                let came = |i: &u32| latest.checked_sub(u64::from(*i) + 1).is_some_and(|n| set.contains(&n));
                let recent = (0..127).filter(came).fold(0, |bits, i| bits | 1u128 << i);
                prop_assert_eq!(window.recent(), recent, "before {}", latest);
            }
        }
    }
}
