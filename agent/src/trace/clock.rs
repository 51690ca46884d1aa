//! From the kernel's monotonic clock to the time of day. Reads no clock: samples are handed in.

use crate::event::Nanos;

/// The monotonic clock and the wall clock, read one after the other by whoever may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSample {
    /// Monotonic clock just before the wall clock was read.
    pub before: Nanos,
    /// Wall clock (`CLOCK_REALTIME`), nanoseconds since 1970.
    pub wall: u64,
    /// Monotonic clock just after.
    pub after: Nanos,
}

/// What to add to a monotonic time to get the time of day.
///
/// Both clocks are slewed alike, so the true offset changes only when somebody sets the wall clock. A new sample therefore
/// replaces the offset only if it contradicts it; otherwise the noise of sampling would move spans of one trace against
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    offset: i128,
    /// How long the sample that it comes from took: half of it is the largest error.
    width: u64,
}

impl ClockOffset {
    /// The offset that one sample shows.
    #[must_use]
    pub fn new(sample: ClockSample) -> Self {
        let width = sample.after.saturating_sub(sample.before);
        let middle = sample.before.saturating_add(width / 2);
        Self { offset: i128::from(sample.wall) - i128::from(middle), width }
    }

    /// The offset after one more sample: unchanged while the sample agrees with it and is not more exact.
    #[must_use]
    pub fn updated(self, sample: ClockSample) -> Self {
        let new = Self::new(sample);
        let agrees = (new.offset - self.offset).unsigned_abs() <= u128::from(self.width.max(new.width));
        // A sample that was interrupted midway says little: whatever came later and took a tenth of its time is better.
        let much_better = new.width < self.width / 10;
        if agrees && !much_better { self } else { new }
    }

    /// Nanoseconds since 1970 of a monotonic time; clamped to what 64 bits hold.
    #[must_use]
    pub fn wall(self, time: Nanos) -> u64 {
        let wall = (i128::from(time) + self.offset).max(0);
        u64::try_from(wall).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(before: u64, wall: u64, width: u64) -> ClockSample {
        ClockSample { before, wall, after: before + width }
    }

    #[test]
    fn takes_the_middle_of_a_sample() {
        let offset = ClockOffset::new(sample(1_000, 5_000_050, 100));
        assert_eq!(offset.wall(1_050), 5_000_050);
        assert_eq!(offset.wall(0), 4_999_000);
    }

    #[test]
    fn ignores_noise_and_follows_steps() {
        let first = ClockOffset::new(sample(1_000, 1_000_050, 100));
        let noise = first.updated(sample(2_000, 1_001_080, 100));
        assert_eq!(noise, first);
        let forward = first.updated(sample(2_000, 9_001_050, 100));
        assert_eq!(forward.wall(2_050), 9_001_050);
        let back = forward.updated(sample(3_000, 2_050, 100));
        assert_eq!(back.wall(3_050), 2_050);
    }

    #[test]
    fn prefers_a_much_more_exact_sample() {
        let interrupted = ClockOffset::new(sample(0, 1_000_000, 100_000));
        assert_eq!(interrupted.updated(sample(200_000, 1_190_000, 40)).wall(200_020), 1_190_000);
    }

    #[test]
    fn never_wraps() {
        let offset = ClockOffset::new(sample(1_000, 0, 0));
        assert_eq!(offset.wall(0), 0);
        let offset = ClockOffset::new(sample(0, u64::MAX, 0));
        assert_eq!(offset.wall(u64::MAX), u64::MAX);
    }
}
