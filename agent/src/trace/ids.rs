//! Random trace and span ids. Unique, not secret: the generator is fast and seeded by the operating system.

use opentelemetry::trace::{SpanId, TraceId};
use rand::{
    Rng, SeedableRng,
    rngs::{SmallRng, SysError, SysRng},
};

/// Makes ids.
#[derive(Debug)]
pub struct Ids(SmallRng);

impl Ids {
    /// A generator of its own.
    ///
    /// # Errors
    /// The operating system has no random numbers to give.
    pub fn new() -> Result<Self, SysError> {
        SmallRng::try_from_rng(&mut SysRng).map(Self)
    }

    /// A trace id; never zero.
    pub fn trace(&mut self) -> TraceId {
        let high = u128::from(self.nonzero());
        TraceId::from(high << 64 | u128::from(self.0.next_u64()))
    }

    /// A span id; never zero.
    pub fn span(&mut self) -> SpanId {
        SpanId::from(self.nonzero())
    }

    fn nonzero(&mut self) -> u64 {
        loop {
            let value = self.0.next_u64();
            if value != 0 {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn two_generators_never_meet() {
        let mut seen = HashSet::new();
        for mut ids in [Ids::new().unwrap(), Ids::new().unwrap()] {
            for _ in 0..10_000 {
                assert!(seen.insert(ids.trace().to_string()));
                assert!(seen.insert(ids.span().to_string()));
            }
        }
    }
}
