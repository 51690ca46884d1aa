//! How the kernel side finds out which callback runs on the event loop of a Node.js process: what
//! [`Runtime::at`](crate::config::Runtime) holds, and how it is told in the place of a task.
//!
//! Node numbers all that may call back (`async_id`), and has in memory which of them does at the moment, and which number it has given
//! out last. They are `double`s, which kernel programs have not: the ids are read by their bits.

/// Address of four `double`s: the id of what runs, of what that was set up by, the last that was given out, and another one; 0: not known.
pub const IDS: usize = 0;
/// A whole number that is not negative, from the bits of the `double` that holds it; 0 for all others.
#[inline(always)]
#[must_use]
pub fn whole(bits: u64) -> u64 {
    let exponent = bits >> 52;
    // 1.0 has 1023; from 2^53 on not all whole numbers can be told. A sign would be above.
    if !(1023..=1023 + 52).contains(&exponent) {
        return 0;
    }
    (bits & ((1 << 52) - 1) | 1 << 52) >> ((1023 + 52 - exponent) & 63)
}

/// What is told: the lower halves of the id of what runs, and of the last that was given out.
#[inline(always)]
#[must_use]
pub fn pack(running: u64, made: u64) -> u64 {
    running << 32 | made & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_by_their_bits() {
        for id in [0, 1, 2, 3, 1023, 4096, 16_777_215, 16_777_217, (1 << 52) + 1, (1 << 53) - 1] {
            assert_eq!(whole((id as f64).to_bits()), id);
        }
        for id in [-1.0, -5.0, 0.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(whole(f64::to_bits(id)), 0, "{id}");
        }
        assert_eq!(pack(1 << 32 | 5, 1 << 40 | 6), 5 << 32 | 6);
    }
}
