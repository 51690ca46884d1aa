//! Agents that stop, start again, have another key; what somebody forges, or sends again.

use super::*;

/// Two agents that know each other.
fn acquainted() -> Network {
    let mut network = Network::new(2);
    network.order(1, Order::Listed(vec![at(2)]));
    network.run(SECOND);
    assert_eq!(network.host(2).core.alive().peers.len(), 1);
    network
}

#[test]
fn an_agent_that_starts_again_is_found_at_once() {
    let mut network = acquainted();
    network.start(2, SECRET, Config::default());
    network.tell(1, 2, 1);
    network.run(200 * MILLI);
    let host = network.host(1);
    assert_eq!((host.count("restarted"), host.count("found")), (1, 1));
    assert!(matches!(host.events.last(), Some(Event::Found { restarted: true, .. })), "{:?}", host.events);
    network.tell(1, 2, 2);
    network.run(200 * MILLI);
    assert_eq!(network.host(2).places(), [2], "what was for the one before is lost, what comes after is not");
    assert_eq!(network.host(1).count("unacknowledged"), 1);
    assert!(network.host(2).count("misdirected") >= 1);
}

#[test]
fn whoever_stops_says_so() {
    let mut network = acquainted();
    network.tell(2, 1, 1);
    let now = network.now;
    network.host(2).core.tick(now);
    network.host(2).core.stop(now);
    network.run(10 * MILLI);
    let host = network.host(1);
    assert_eq!(host.places(), [1]);
    assert!(host.core.alive().peers.is_empty());
    assert_eq!(host.count("gone"), 1);
}

#[test]
fn a_dead_peer_is_given_up_after_five_seconds() {
    let mut network = acquainted();
    network.hosts.remove(&at(2));
    network.tell(1, 2, 1);
    network.run(4 * SECOND);
    assert_eq!(network.host(1).count("unacknowledged"), 1);
    assert_eq!(network.host(1).count("resent"), 4);
    assert_eq!(network.host(1).core.alive().peers.len(), 1);
    network.run(2 * SECOND);
    assert!(network.host(1).core.alive().peers.is_empty());
    network.tell(1, 2, 2);
    network.run(SECOND);
    assert_eq!((network.host(1).count("no_peer"), network.host(1).count("gone")), (1, 1));
    // It comes back.
    network.start(2, SECRET, Config::default());
    network.run(11 * SECOND);
    network.tell(1, 2, 3);
    network.run(50 * MILLI);
    assert_eq!(network.host(2).places(), [3]);
}

#[test]
fn agents_that_have_forgotten_each_other_talk_again() {
    for lost in [[at(1), at(2)], [at(1), at(1)], [at(2), at(2)]] {
        let mut network = acquainted();
        network.tell(1, 2, 1);
        network.tell(2, 1, 1);
        network.run(SECOND);
        let recorded = network.sniffed.clone();
        network.fate = Box::new(move |datagram| if lost.contains(&datagram.to) { Vec::new() } else { vec![WAY] });
        network.run(60 * SECOND);
        network.fate = Box::new(|_| vec![WAY]);
        network.run(20 * SECOND);
        network.order(1, Order::Listed(vec![at(2)]));
        network.order(2, Order::Listed(vec![at(1)]));
        network.run(20 * SECOND);
        for (from, datagram) in recorded {
            network.deliver(from, datagram);
        }
        network.tell(1, 2, 2);
        network.tell(2, 1, 2);
        network.run(SECOND);
        assert_eq!((network.host(1).places(), network.host(2).places()), (vec![1, 2], vec![1, 2]), "{lost:?}");
    }
}

#[test]
fn a_dead_peer_costs_a_bounded_amount_of_memory() {
    let mut network = acquainted();
    network.hosts.remove(&at(2));
    for place in 0..400_000 {
        network.tell(1, 2, place);
    }
    network.run(100 * MILLI);
    let dropped = network.host(1).count("backlog_full");
    assert!((100_000..300_000).contains(&dropped), "{dropped}");
    network.run(10 * SECOND);
    assert_eq!(network.host(1).count("unacknowledged") + dropped, 400_000);
}

#[test]
fn another_key_opens_nothing() {
    let mut network = Network::new(1);
    network.start(2, b"another secret of 32 characters.", Config::default());
    network.order(1, Order::Listed(vec![at(2)]));
    network.tell(1, 2, 1);
    network.run(2 * SECOND);
    assert_eq!(network.host(2).places(), Vec::<u32>::new());
    assert!(network.host(2).count("forged") >= 3);
    assert_eq!(network.host(2).events[0], Event::Forged(at(1)));
    assert_eq!(network.host(1).counts(), [("no_peer", 1), ("unanswered", 1)]);
    assert_eq!(network.sniffed.iter().filter(|(from, _)| *from == at(2)).count(), 0, "no answer to strangers");
}

/// A machine that is suspended, or has no time for its agent: nobody has looked at the clock when the recorded comes again.
#[test]
fn what_was_recorded_does_nothing_after_the_agent_has_stood_still() {
    for looks in [false, true] {
        let mut network = acquainted();
        network.tell(1, 2, 1);
        network.run(SECOND);
        assert_eq!(network.host(2).places(), [1]);
        network.now += 30 * SECOND;
        let now = network.now;
        if looks {
            network.host(2).core.tick(now);
        }
        for (from, mut datagram) in network.sniffed.clone().into_iter().filter(|(_, datagram)| datagram.to == at(2)) {
            network.host(2).core.datagram(now, from, &mut datagram.bytes);
        }
        network.run(MILLI);
        assert_eq!(network.host(2).places(), [1], "{looks}");
    }
}

#[test]
fn what_was_recorded_does_nothing_when_it_comes_again() {
    let mut network = acquainted();
    (0..50).for_each(|place| network.tell(1, 2, place));
    network.run(SECOND);
    let recorded = network.sniffed.clone();
    let replay = |network: &mut Network| {
        for (from, datagram) in recorded.iter().filter(|(_, datagram)| datagram.to == at(2)).cloned() {
            network.deliver(from, datagram);
        }
        network.run(100 * MILLI);
    };
    let heard = network.host(2).places();
    assert_eq!(heard.len(), 50);
    replay(&mut network);
    assert_eq!(network.host(2).places(), heard);
    assert!(network.host(2).count("replayed") > 0);

    // When its sender is gone, and has been forgotten.
    network.hosts.remove(&at(1));
    for _ in 0..30 {
        replay(&mut network);
        network.run(SECOND);
    }
    assert_eq!(network.host(2).places(), heard);
    assert!(network.host(2).core.alive().peers.is_empty());

    // To an agent that has just started.
    network.start(2, SECRET, Config::default());
    replay(&mut network);
    assert_eq!(network.host(2).places(), Vec::<u32>::new());
    assert!(network.host(2).core.alive().peers.is_empty());

    // To a third one.
    network.start(3, SECRET, Config::default());
    for (from, datagram) in recorded {
        network.deliver(from, Datagram { to: at(3), ..datagram });
    }
    network.run(100 * MILLI);
    assert_eq!(network.host(3).places(), Vec::<u32>::new());
}

#[test]
fn a_replay_does_not_push_out_who_runs_now() {
    let mut network = acquainted();
    let recorded = network.sniffed.clone();
    network.start(1, SECRET, Config::default());
    network.order(1, Order::Listed(vec![at(2)]));
    network.run(SECOND);
    let alive = Arc::clone(network.host(2).core.alive());
    assert_eq!(alive.peers.len(), 1);
    for (from, datagram) in recorded {
        network.deliver(from, datagram);
    }
    network.run(SECOND);
    assert_eq!(network.host(2).core.alive().peers, alive.peers);
}

#[test]
fn every_changed_byte_is_found() {
    let mut network = acquainted();
    network.tell(1, 2, 1);
    network.collect();
    network.wire.clear();
    let (from, datagram) = network.sniffed.iter().rev().find(|(from, _)| *from == at(1)).unwrap().clone();
    for i in 0..datagram.bytes.len() {
        let mut changed = datagram.clone();
        changed.bytes[i] ^= 1 << (i % 8);
        network.deliver(from, changed);
        let mut cut = datagram.clone();
        cut.bytes.truncate(i);
        network.deliver(from, cut);
    }
    network.collect();
    assert_eq!(network.host(2).places(), Vec::<u32>::new());
    network.deliver(from, datagram);
    network.collect();
    assert_eq!(network.host(2).places(), [1], "the right one still counts");
}

#[test]
fn a_batch_that_makes_no_sense_is_malformed() {
    let mut network = acquainted();
    let (one, two) = (network.host(1).core.me, network.host(2).core.me);
    let head = super::super::Head { kind: super::super::Kind::Batch, from: one, to: two, number: 1000 };
    let mut bytes = Vec::new();
    head.write(&mut bytes);
    bytes.extend([0; 9]);
    bytes.extend([0xff; 20]);
    Key::new(SECRET).unwrap().way(one, two).unwrap().seal(2, 1000, super::super::wire::HEAD, &mut bytes).unwrap();
    network.deliver(at(1), Datagram { to: at(2), bytes });
    assert_eq!(network.host(2).count("malformed"), 1);
}

#[test]
fn more_peers_than_there_may_be_are_refused() {
    let mut network = Network::new(1);
    let now = network.now;
    let mut others: Vec<(SocketAddr, Core)> = (0..1100u32)
        .map(|i| {
            let address = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a01_0000 + i), 4419));
            let key = Key::new(SECRET).unwrap();
            (address, Core::new(Config::default(), key, 1_000_000 + u64::from(i), Arc::new(Stats::default())))
        })
        .collect();
    // Hellos there and back, until nobody has anything to say; not more in a second than strangers are answered.
    for round in 0..8 {
        let now = now + round * SECOND;
        for (address, core) in &mut others {
            core.order(now, Order::Listed(vec![at(1)]));
            core.tick(now);
            while let Some(mut datagram) = core.poll_transmit() {
                network.host(1).core.datagram(now, *address, &mut datagram.bytes);
            }
        }
        for _ in 0..3 {
            while let Some(mut datagram) = network.host(1).core.poll_transmit() {
                if let Some((_, core)) = others.iter_mut().find(|(address, _)| *address == datagram.to) {
                    core.datagram(now, at(1), &mut datagram.bytes);
                }
            }
            for (address, core) in &mut others {
                while let Some(mut datagram) = core.poll_transmit() {
                    network.host(1).core.datagram(now, *address, &mut datagram.bytes);
                }
            }
        }
    }
    assert_eq!(network.host(1).core.sessions.len(), 1024);
    assert!(network.host(1).count("peers_full") >= 76, "{:?}", network.host(1).counts());
}
