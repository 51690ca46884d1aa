//! What a connection costs that does nothing.

use super::super::{entry::Entry, lists::Lists};

#[test]
fn an_idle_connection_is_small() {
    // Slot, place in a list, and the hash table's share at its emptiest: (8 + 4, padded to 16, + 1) / (7 / 16).
    let list = 8;
    assert_eq!(size_of::<Lists>(), size_of::<Vec<u64>>() + 5 * 8);
    let index = 17 * 16 / 7;
    let all = size_of::<Option<Entry<()>>>() + list + index;
    assert!(all < 300, "{all}");
}
