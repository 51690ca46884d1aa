//! What is forgotten where there would be too many of something.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::event::Nanos;

/// Forgets the half that was not heard of for longest; `seen` says when that was. Returns how many that are.
pub(super) fn older_half<K: Eq + Hash, V>(
    all: &mut HashMap<K, V, foldhash::fast::RandomState>,
    seen: impl Fn(&V) -> Nanos,
) -> u64 {
    let mut times: Vec<Nanos> = all.values().map(&seen).collect();
    if times.is_empty() {
        return 0;
    }
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    let before = all.len();
    all.retain(|_, value| seen(value) > median);
    (before - all.len()) as u64
}
