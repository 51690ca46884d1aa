//! Burns a processor for SECONDS in a function of a generic type that is inlined into `work`. To be built optimized, with debug information.

use std::hint::black_box;
use std::time::{Duration, Instant};

struct Mixer<T>(T);

impl Mixer<u64> {
    #[inline(always)]
    fn mix(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.0 = black_box(self.0).wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        }
    }
}

#[inline(never)]
fn work(mixer: &mut Mixer<u64>) {
    mixer.mix(5_000_000);
    black_box(mixer.0);
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(1.0);
    let (start, mut mixer) = (Instant::now(), Mixer(1));
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        work(&mut mixer);
    }
}
