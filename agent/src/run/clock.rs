//! Reading the clocks.

use rustix::time::{ClockId, clock_gettime};

use crate::trace::ClockSample;

/// Reads the monotonic and the wall clock, as closely together as can be.
#[must_use]
pub fn sample_clock() -> ClockSample {
    let nanos = |clock| {
        let time = clock_gettime(clock);
        u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
    };
    let sample = || {
        let before = nanos(ClockId::Monotonic);
        let wall = nanos(ClockId::Realtime);
        ClockSample { before, wall, after: nanos(ClockId::Monotonic) }
    };
    // The quickest of a few: the others were interrupted.
    let mut best = sample();
    for _ in 0..4 {
        let other = sample();
        if other.after - other.before < best.after - best.before {
            best = other;
        }
    }
    best
}
