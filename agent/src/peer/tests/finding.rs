//! Agents find each other, and whom to tell.

use super::*;

#[test]
fn the_first_request_is_told_by_an_agent_that_knew_nobody() {
    let mut network = Network::new(2);
    network.order(1, Order::Local(at(1).ip()));
    network.tell(1, 2, 100);
    network.run(50 * MILLI);
    assert_eq!(network.host(2).places(), [100]);
    let alive = Arc::clone(network.host(2).core.alive());
    assert!(alive.addresses.contains_key(&at(1).ip()), "{alive:?}");
    // And the other way, without a word more.
    network.tell(2, 1, 200);
    network.run(30 * MILLI);
    assert_eq!(network.host(1).places(), [200]);
    for number in [1, 2] {
        let mut counts = network.host(number).counts();
        counts.sort_unstable();
        assert_eq!(counts, [("acknowledged", 1), ("found", 1), ("heard", 1), ("told", 1)]);
    }
}

#[test]
fn both_begin_at_once() {
    let mut network = Network::new(2);
    network.tell(1, 2, 1);
    network.tell(2, 1, 2);
    network.run(50 * MILLI);
    assert_eq!((network.host(1).places(), network.host(2).places()), (vec![2], vec![1]));
    assert_eq!(network.host(1).count("found"), 1);
}

#[test]
fn addresses_of_pods_are_those_of_their_host() {
    let mut network = Network::new(2);
    let pods: Vec<_> = (0..200u8).map(|i| std::net::IpAddr::from([10, 244, 3, i])).collect();
    pods.iter().for_each(|pod| network.order(2, Order::Local(*pod)));
    network.order(1, Order::Listed(vec![at(2)]));
    network.run(50 * MILLI);
    network.order(1, Order::Tell { remote: pods[150], told: told(3) });
    network.run(50 * MILLI);
    assert_eq!(network.host(2).places(), [3]);
    assert_eq!(network.host(1).count("broadcast"), 0);
    // One that comes later is known soon.
    let late = std::net::IpAddr::from([10, 244, 4, 1]);
    network.order(2, Order::Local(late));
    network.run(50 * MILLI);
    assert!(network.host(1).core.alive().addresses.contains_key(&late));
    // And one that is gone is forgotten.
    network.run(700 * SECOND);
    assert!(!network.host(1).core.alive().addresses.contains_key(&late));
}

#[test]
fn behind_an_address_that_nobody_has_everyone_is_told_until_one_says_mine() {
    let mut network = Network::new(4);
    network.order(1, Order::Listed(vec![at(2), at(3), at(4)]));
    network.run(SECOND);
    // A load balancer: no agent answers there.
    let balancer = std::net::IpAddr::from([203, 0, 113, 1]);
    network.order(1, Order::Tell { remote: balancer, told: told(1) });
    network.run(50 * MILLI);
    let me = network.host(1).core.me;
    for number in 2..=4 {
        let host = network.host(number);
        assert_eq!(host.places(), [1]);
        assert!(host.heard.iter().all(|heard| heard.to_several && heard.from == me));
    }
    network.order(3, Order::Mine(me, 8));
    network.run(50 * MILLI);
    network.order(1, Order::Tell { remote: balancer, told: told(2) });
    network.run(50 * MILLI);
    assert_eq!(network.host(2).places(), [1]);
    assert_eq!(network.host(3).places(), [1, 2]);
    assert_eq!(network.host(4).places(), [1]);
    assert_eq!(network.host(1).count("broadcast"), 1);
}

#[test]
fn hosts_with_the_same_private_address_are_both_told() {
    let mut network = Network::new(3);
    let docker = std::net::IpAddr::from([172, 17, 0, 2]);
    network.order(1, Order::Listed(vec![at(2), at(3)]));
    network.order(2, Order::Local(docker));
    network.order(3, Order::Local(docker));
    network.run(SECOND);
    network.order(1, Order::Tell { remote: docker, told: told(1) });
    network.run(50 * MILLI);
    assert_eq!((network.host(2).places(), network.host(3).places()), (vec![1], vec![1]));
}

#[test]
fn an_agent_behind_address_translation_is_seen_at_its_outside() {
    let mut network = Network::new(2);
    let outside = SocketAddr::from(([10, 9, 9, 9], 61_000));
    network.translate = Some((at(1), outside));
    network.tell(1, 2, 1);
    network.run(50 * MILLI);
    assert_eq!(network.host(2).places(), [1]);
    assert!(network.host(2).core.alive().addresses.contains_key(&outside.ip()));
    network.order(2, Order::Tell { remote: outside.ip(), told: told(2) });
    network.run(50 * MILLI);
    assert_eq!(network.host(1).places(), [2]);
    // The translation changes, as it does after a restart of the box in between.
    let other = SocketAddr::from(([10, 9, 9, 9], 61_001));
    network.translate = Some((at(1), other));
    network.run(2 * SECOND);
    network.order(2, Order::Tell { remote: outside.ip(), told: told(3) });
    network.run(50 * MILLI);
    assert_eq!(network.host(1).places(), [2, 3]);
    assert_eq!(network.host(2).count("found") + network.host(2).count("restarted"), 1);
}

#[test]
fn public_addresses_are_not_bothered_and_loops_neither() {
    let mut network = Network::new(1);
    for address in [[8, 8, 8, 8], [127, 0, 0, 1]] {
        network.order(1, Order::Tell { remote: address.into(), told: told(1) });
        network.order(1, Order::Remote(address.into()));
    }
    network.run(5 * SECOND);
    assert_eq!(network.sniffed.len(), 0);
    assert_eq!(network.host(1).counts(), [("no_peer", 2)]);
}

#[test]
fn its_own_address_as_a_peer_is_nobody() {
    let mut network = Network::new(1);
    network.order(1, Order::Listed(vec![at(1)]));
    network.run(2 * SECOND);
    assert!(network.host(1).core.alive().peers.is_empty());
    assert!(network.host(1).count("misdirected") > 0);
}
