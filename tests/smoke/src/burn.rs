//! A program of known shape to be profiled: without frame pointers where compilers leave them out, deeper than the kernel itself walks.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// How often [`deeper`] calls itself.
pub const DEPTH: usize = 200;

/// The functions on the way to the innermost one, the outermost first; [`DEPTH`] and one of the last but one.
pub const CHAIN: [&str; 3] =
    ["geophone_smoke::burn::run", "geophone_smoke::burn::deeper", "geophone_smoke::burn::innermost"];

/// Says that it is about to begin, and keeps a processor busy for so long.
#[inline(never)]
pub fn run(time: Duration) {
    println!("ready");
    let start = Instant::now();
    while start.elapsed() < time {
        black_box(deeper(black_box(DEPTH)));
    }
}

#[inline(never)]
fn deeper(depth: usize) -> u64 {
    let below = if depth == 0 { innermost() } else { deeper(depth - 1) };
    // Something is left to be done, or the call would be a jump.
    black_box(below) + 1
}

#[inline(never)]
fn innermost() -> u64 {
    (0..2_000_000).fold(1, |x: u64, y| black_box(x).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(y))
}
