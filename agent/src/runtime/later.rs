//! What is tried again later, each time after a longer while, until it is given up.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What is to be tried again. Bounded: what finds no room is given up at once.
pub struct Later<T> {
    /// Milliseconds before each try.
    delays: &'static [u64],
    most: usize,
    waiting: VecDeque<Waiting<T>>,
}

struct Waiting<T> {
    when: Instant,
    what: T,
    tries: usize,
}

impl<T> Later<T> {
    /// At most `most` at a time, each after so many milliseconds, try by try.
    pub const fn new(delays: &'static [u64], most: usize) -> Self {
        Self { delays, most, waiting: VecDeque::new() }
    }

    /// Returns whether it will be tried again, after it was tried `tries` times before this one.
    pub fn add(&mut self, what: T, tries: usize, now: Instant) -> bool {
        match self.delays.get(tries) {
            Some(delay) if self.waiting.len() < self.most => {
                let when = now + Duration::from_millis(*delay);
                self.waiting.push_back(Waiting { when, what, tries: tries + 1 });
                true
            }
            _ => false,
        }
    }

    /// How long nothing is due; `None`: nothing waits.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.waiting.iter().map(|waiting| waiting.when.saturating_duration_since(now)).min()
    }

    /// Takes what it is time for, with how often it was tried.
    pub fn due(&mut self, now: Instant) -> Vec<(T, usize)> {
        let mut due = Vec::new();
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some(waiting) if waiting.when <= now => due.push((waiting.what, waiting.tries)),
                Some(waiting) => self.waiting.push_back(waiting),
                None => {}
            }
        }
        due
    }

    pub fn any(&self, is: impl Fn(&T) -> bool) -> bool {
        self.waiting.iter().any(|waiting| is(&waiting.what))
    }

    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.waiting.retain(|waiting| keep(&waiting.what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_after_longer_and_longer_and_is_given_up() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut later = Later::new(&[10, 100], 2);
        assert_eq!(later.wait(start), None);
        assert!(later.add('a', 0, start) && later.add('b', 0, start + ms(5)));
        assert!(!later.add('c', 0, start), "there is no room");
        assert_eq!(later.wait(start), Some(ms(10)));
        assert_eq!(later.due(start + ms(9)), []);
        assert_eq!(later.due(start + ms(10)), [('a', 1)]);
        assert!(later.add('a', 1, start + ms(10)));
        assert_eq!(later.due(start + ms(109)), [('b', 1)]);
        assert_eq!(later.due(start + ms(110)), [('a', 2)]);
        assert!(!later.add('a', 2, start), "that was the last time");
        assert_eq!(later.wait(start), None);
    }
}
