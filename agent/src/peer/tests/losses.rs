//! Networks that lose, repeat and reorder; and whatever bytes may come.

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::SmallRng};

use super::*;

/// Loses and repeats so many of a hundred, and delays all by up to `delay`.
fn bad(seed: u64, lost: u32, repeated: u32, delay: Nanos) -> Fate {
    let mut random = SmallRng::seed_from_u64(seed);
    Box::new(move |_| {
        let copies =
            if random.random_ratio(lost, 100) { 0 } else { 1 + usize::from(random.random_ratio(repeated, 100)) };
        (0..copies).map(|_| WAY + random.random_range(0..=delay)).collect()
    })
}

fn both(network: &mut Network) {
    network.order(1, Order::Listed(vec![at(2)]));
    network.order(2, Order::Listed(vec![at(1)]));
}

#[test]
fn what_is_lost_is_sent_again() {
    let mut network = Network::new(2);
    both(&mut network);
    network.run(SECOND);
    network.fate = bad(1, 20, 0, 0);
    for place in 0..5000 {
        network.tell(1, 2, place);
        network.run(MILLI);
    }
    network.run(2 * SECOND);
    let heard = network.host(2).places();
    assert!(heard.len() > 4990, "{} of 5000", heard.len());
    let one = network.host(1);
    assert_eq!(one.count("acknowledged") + one.count("unacknowledged"), 5000);
    assert!(one.count("resent") < 3000, "{:?}", one.counts());
}

#[test]
fn a_long_way_is_learned() {
    let mut network = Network::new(2);
    network.fate = Box::new(|_| vec![150 * MILLI]);
    both(&mut network);
    network.run(3 * SECOND);
    for place in 0..1000 {
        network.tell(1, 2, place);
        network.run(10 * MILLI);
    }
    network.run(2 * SECOND);
    assert_eq!(network.host(2).places(), (0..1000).collect::<Vec<_>>());
    let resent = network.host(1).count("resent");
    assert!(resent < 150, "{resent}");
    assert_eq!(network.host(1).count("unacknowledged"), 0);
}

#[test]
fn many_at_once_are_all_heard() {
    let mut network = Network::new(2);
    both(&mut network);
    network.run(SECOND);
    for round in 0..100 {
        (0..500).for_each(|i| network.tell(1, 2, round * 500 + i));
        network.run(10 * MILLI);
    }
    network.run(SECOND);
    assert_eq!(network.host(2).places(), (0..50_000).collect::<Vec<_>>());
    assert_eq!(network.host(1).count("resent"), 0);
    let bytes: usize = network.sniffed.iter().map(|(_, datagram)| datagram.bytes.len()).sum();
    assert!(bytes / 50_000 < 42, "{} bytes a request, acknowledgements included", bytes / 50_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nothing_wrong_is_ever_heard(
        seed in any::<u64>(), lost in 0u32..60, repeated in 0u32..60, delay in 0u64..300,
        gaps in proptest::collection::vec(0u64..30, 1..80), restart in proptest::option::of(0usize..80),
    ) {
        let mut network = Network::new(2);
        network.fate = bad(seed, lost, repeated, delay * MILLI);
        both(&mut network);
        for (i, gap) in gaps.iter().enumerate() {
            network.tell(1, 2, i as u32);
            network.run(gap * MILLI);
            if restart == Some(i) {
                network.start(2, SECRET, Config::default());
                both(&mut network);
            }
        }
        network.run(12 * SECOND);
        // `places` compares each context with that of its place.
        let heard = network.host(2).places();
        prop_assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "heard twice: {heard:?}");
        let one = network.host(1);
        let settled = one.count("acknowledged") + one.count("unacknowledged") + one.count("no_peer");
        prop_assert_eq!(settled, gaps.len() as u64, "{:?}", one.counts());
        prop_assert!(one.core.is_settled());
        if lost == 0 && delay < 40 && restart.is_none() {
            prop_assert_eq!(heard.len(), gaps.len());
        }
    }

    #[test]
    fn any_bytes_from_anyone_do_nothing(
        datagrams in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..1300)), 0..50),
        shaped in any::<bool>(),
    ) {
        let mut network = Network::new(2);
        both(&mut network);
        network.run(SECOND);
        let (one, two) = (network.host(1).core.me, network.host(2).core.me);
        for (from, mut bytes) in datagrams {
            // So that some get as far as the seal.
            if shaped && bytes.len() > 26 {
                bytes[..2].copy_from_slice(&[1, 1 + from % 2]);
                bytes[2..10].copy_from_slice(&one.to_be_bytes());
                bytes[10..18].copy_from_slice(&two.to_be_bytes());
            }
            network.deliver(at(from), Datagram { to: at(2), bytes });
        }
        network.run(100 * MILLI);
        prop_assert_eq!(network.host(2).core.sessions.len(), 1);
        prop_assert!(network.host(2).heard.is_empty());
        network.tell(1, 2, 5);
        network.run(50 * MILLI);
        prop_assert_eq!(network.host(2).places(), [5]);
    }
}
