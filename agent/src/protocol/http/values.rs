//! Ids in paths and queries. Whoever is asked for `/orders/8812345` may ask others for `/payments?order=8812345`, and a proxy asks for the same:
//! what a request and a call have in common tells, now and then, which request the call was made for. Here is only what may be an id;
//! how far that can be believed is decided where causes are found.

use std::hash::{BuildHasher as _, Hash};

use super::Target;
use crate::protocol::Values;

/// Lengths of what may be an id, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 6..=64;
/// Least digits in it: otherwise it is a word, or a version.
const DIGITS: usize = 4;

/// What stands for a request's target, if there may be an id in it, and for the ids.
#[must_use]
pub fn values(target: &str) -> Values {
    let target = Target::new(target, false);
    let query = target.query.unwrap_or_default();
    let is_between = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let mut ids =
        [target.path, query].into_iter().flat_map(|part| part.split(is_between)).filter(|word| may_be_id(word));
    let Some(first) = ids.next() else {
        return Values::default();
    };
    let all = hash((target.path, query));
    [all, hash(first)].into_iter().chain(ids.map(hash)).collect()
}

fn may_be_id(word: &str) -> bool {
    LENGTHS.contains(&word.len()) && word.bytes().filter(u8::is_ascii_digit).count() >= DIGITS
}

fn hash(value: impl Hash) -> u64 {
    // Not to be guessed from outside: otherwise a request could be given another one's calls.
    static STATE: std::sync::LazyLock<std::hash::RandomState> = std::sync::LazyLock::new(std::hash::RandomState::new);
    STATE.hash_one(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(target: &str) -> Vec<u64> {
        values(target).iter().collect()
    }

    #[test]
    fn ids_are_found_wherever_they_are() {
        let id = found("/orders/8812345");
        assert_eq!(id.len(), 2);
        for target in ["/payments?order=8812345", "http://host:12345/x?a=b&c=8812345#9912345", "/x/8812345/items"] {
            let other = found(target);
            assert_eq!((other.len(), other[1]), (2, id[1]), "{target}");
            assert_ne!(other[0], id[0]);
        }
        assert_eq!(found("http://host/orders/8812345"), id, "as it is asked of a proxy");
        let uuid = found("/u/4bf92f35-77b3-4da6-a3ce-929d0e0e4736?at=2026-11-22");
        assert_eq!(uuid.len(), 3);
        assert_eq!(found("/v?user=4bf92f35-77b3-4da6-a3ce-929d0e0e4736")[1], uuid[1]);
    }

    #[test]
    fn words_and_versions_are_no_ids() {
        for target in
            ["/", "*", "", "/api/v2beta1/orders", "/orders/12345", "http://10.20.30.40:80801/", "/bootstrap.min.js"]
        {
            assert_eq!(found(target), [0; 0], "{target}");
        }
        assert_eq!(found(&"9".repeat(65)), [0; 0]);
        assert_eq!(found("/1000001/1000002/1000003/1000004/1000005").len(), 4);
    }
}
