//! What the thread that makes traces sees: requests and contexts find each other in either order.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::peer::{Alive, Incoming, Link, Notice, Peers, Settings};

const PEER: u64 = 42;

fn remote() -> IpAddr {
    at(2).ip()
}

fn peers() -> (Peers, Link) {
    let settings = Settings { hold: SECOND, waiting: 100 };
    Peers::new(settings, Arc::default(), Box::new(|| {}))
}

/// With one agent, which speaks for `remote`.
fn with_peer() -> (Peers, Link) {
    let (mut peers, link) = peers();
    let mut alive = Alive::default();
    alive.peers.insert(PEER);
    alive.addresses.insert(remote(), vec![PEER]);
    link.notices.send(Notice::Alive(Arc::new(alive))).unwrap();
    peers.receive(0);
    (peers, link)
}

fn hear(link: &Link, place: u32, to_several: bool) {
    let heard = Heard { from: PEER, told: told(place), to_several };
    link.notices.send(Notice::Heard(vec![heard])).unwrap();
}

fn ask(peers: &mut Peers, now: Nanos, place: u32) -> Incoming {
    peers.incoming(now, remote(), told(place).name)
}

fn count(peers: &Peers, name: &str) -> u64 {
    peers.stats().iter().find(|(this, _)| *this == name).unwrap().1
}

#[test]
fn a_context_that_comes_first_waits_for_its_request() {
    let (mut peers, link) = with_peer();
    hear(&link, 5, false);
    peers.receive(1);
    assert_eq!(ask(&mut peers, 2, 4), Incoming::Expected(SECOND + 2));
    assert_eq!(ask(&mut peers, 2, 5), Incoming::Heard(context(5)));
    assert_eq!(count(&peers, "applied"), 1);
    // The same again has nothing more to give.
    hear(&link, 5, false);
    peers.receive(3);
    assert_eq!(count(&peers, "duplicate"), 1);
    assert_eq!(ask(&mut peers, 4, 5), Incoming::Unexpected);
}

#[test]
fn a_request_that_comes_first_is_held() {
    let (mut peers, link) = with_peer();
    assert_eq!(ask(&mut peers, 1, 5), Incoming::Expected(SECOND + 1));
    assert_eq!(peers.poll_heard(), None);
    hear(&link, 5, false);
    peers.receive(SECOND);
    assert_eq!(peers.poll_heard().map(|heard| heard.told), Some(told(5)));
    assert_eq!(peers.poll_heard(), None);
    peers.receive(10 * SECOND);
    assert_eq!((count(&peers, "applied"), count(&peers, "missed"), count(&peers, "late")), (1, 0, 0));
}

#[test]
fn what_comes_too_late_is_late_and_what_nobody_asked_is_unknown() {
    let (mut peers, link) = with_peer();
    assert!(matches!(ask(&mut peers, 1, 5), Incoming::Expected(_)));
    peers.receive(SECOND + 1);
    assert_eq!(count(&peers, "missed"), 1);
    hear(&link, 5, false);
    hear(&link, 6, false);
    hear(&link, 7, true);
    peers.receive(SECOND + 2);
    assert_eq!((peers.poll_heard(), count(&peers, "late")), (None, 1));
    peers.receive(3 * SECOND);
    assert_eq!((count(&peers, "unknown"), count(&peers, "not_mine")), (1, 1));
    assert_eq!(ask(&mut peers, 3 * SECOND, 6), Incoming::Expected(4 * SECOND), "it was let go");
}

#[test]
fn nothing_is_held_for_hosts_without_an_agent() {
    let (mut peers, link) = peers();
    assert_eq!(ask(&mut peers, 1, 5), Incoming::Unexpected);
    assert!(!peers.expects(remote()));
    // Unless they are seen for the first time: then it is being found out.
    peers.opened(10 * SECOND, at(1).ip(), remote());
    assert!(peers.expects(remote()));
    assert!(matches!(ask(&mut peers, 10 * SECOND, 6), Incoming::Expected(_)));
    peers.receive(11 * SECOND);
    assert!(!peers.expects(remote()));
    peers.flush();
    let orders = link.orders.try_recv().unwrap();
    assert!(
        matches!(orders[..], [Order::Local(local), Order::Remote(address)] if local == at(1).ip() && address == remote())
    );
    // Not again for each connection.
    peers.opened(12 * SECOND, at(1).ip(), remote());
    peers.flush();
    assert!(link.orders.try_recv().is_err());
}

#[test]
fn an_address_behind_translation_is_learned_from_what_is_heard() {
    let (mut peers, link) = with_peer();
    let translated = IpAddr::from([203, 0, 113, 9]);
    peers.opened(1, at(1).ip(), translated);
    peers.receive(2 * SECOND);
    assert!(!peers.expects(translated));
    hear(&link, 5, true);
    peers.receive(2 * SECOND);
    assert_eq!(peers.incoming(2 * SECOND, translated, told(5).name), Incoming::Heard(context(5)));
    assert!(peers.expects(translated));
    peers.flush();
    let orders = link.orders.try_recv().unwrap();
    assert!(orders.iter().any(|order| matches!(order, Order::Mine(PEER, 8))));
    link.notices.send(Notice::Alive(Arc::default())).unwrap();
    peers.receive(3 * SECOND);
    assert!(!peers.expects(translated), "its agent is gone");
}

#[test]
fn who_never_tells_is_not_waited_for() {
    let (mut peers, link) = with_peer();
    peers.opened(0, at(1).ip(), remote());
    for i in 0..64u32 {
        let at = SECOND * u64::from(i);
        assert!(matches!(ask(&mut peers, at, i), Incoming::Expected(_)), "{i}");
        peers.receive(at + SECOND);
    }
    assert_eq!(ask(&mut peers, 100 * SECOND, 100), Incoming::Unexpected);
    hear(&link, 100, false);
    peers.receive(100 * SECOND);
    assert_eq!(count(&peers, "late"), 1);
    assert!(matches!(ask(&mut peers, 101 * SECOND, 101), Incoming::Expected(_)), "it does tell after all");
}

#[test]
fn what_stays_on_this_host_is_told_nobody() {
    let (mut peers, link) = with_peer();
    peers.opened(0, at(1).ip(), remote());
    peers.flush();
    link.orders.try_recv().unwrap();
    peers.outgoing(1, at(1).ip(), told(1).name, &context(1));
    peers.outgoing(1, IpAddr::from([127, 0, 0, 1]), told(1).name, &context(1));
    peers.flush();
    assert!(link.orders.try_recv().is_err());
    peers.outgoing(1, at(2).ip(), told(2).name, &context(2));
    peers.flush();
    let orders = link.orders.try_recv().unwrap();
    assert!(matches!(&orders[..], [Order::Tell { remote: to, told: what }] if *to == remote() && *what == told(2)));
}

#[test]
fn a_thread_that_does_not_keep_up_costs_contexts_and_nothing_else() {
    let (mut peers, link) = with_peer();
    for place in 0..100 {
        peers.outgoing(1, at(2).ip(), told(place).name, &context(place));
        peers.opened(1, at(1).ip(), IpAddr::from([10, 1, 1, place as u8]));
        peers.flush();
    }
    assert_eq!(count(&peers, "queue_full"), 36);
    let taken: usize = std::iter::from_fn(|| link.orders.try_recv().ok()).map(|orders| orders.len()).sum();
    peers.flush();
    let later = link.orders.try_recv().unwrap();
    assert_eq!((taken, later.len()), (64 * 2 + 1, 36), "addresses are not lost");
    for place in 0..20_000 {
        peers.outgoing(1, at(2).ip(), told(place).name, &context(place));
    }
    assert_eq!(count(&peers, "queue_full"), 36 + 20_000 - 16_384);
}

proptest! {
    #[test]
    fn no_order_of_things_gives_a_wrong_context_or_two(
        steps in proptest::collection::vec((0u32..20, any::<bool>(), 0u64..700), 1..300),
    ) {
        let (mut peers, link) = with_peer();
        let mut now = SECOND;
        let mut given = std::collections::HashMap::new();
        let (mut told_of, mut applied) = (0, 0);
        for (place, is_request, gap) in steps {
            now += gap * MILLI;
            if is_request {
                if let Incoming::Heard(found) = ask(&mut peers, now, place) {
                    prop_assert_eq!(found, context(place));
                    applied += 1;
                    given.insert(place, now);
                }
            } else {
                hear(&link, place, false);
                told_of += 1;
            }
            peers.receive(now);
            while let Some(heard) = peers.poll_heard() {
                prop_assert_eq!(&heard.told, &told(heard.told.name.request));
                applied += 1;
            }
        }
        peers.receive(now + 100 * SECOND);
        prop_assert_eq!(count(&peers, "applied"), applied);
        let settled = ["applied", "late", "duplicate", "unknown", "waiting_full"].iter().map(|name| count(&peers, name));
        prop_assert_eq!(settled.sum::<u64>(), told_of);
    }
}
