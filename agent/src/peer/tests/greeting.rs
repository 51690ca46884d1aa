//! Agents say in TCP options where they are, and others pretend to.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    event::{Greeted, Role, Sequences},
    peer::{Incoming, Met, Notice, Peers, Said, Settings},
};

/// Behind which a host is that nobody can reach there.
const BOX: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));

/// The id that agent `number` of a network says.
fn id(number: u8) -> u32 {
    u32::from(number) * 1_000_003
}

fn met(answers: u32, number: u8) -> Order {
    Order::Met(Met { remote: BOX, answers, agent: id(number), at: at(number) })
}

/// An agent of `number` that does not look for others by itself.
fn network(count: u8) -> Network {
    let mut network = Network::new(count);
    network.order(1, Order::Local(at(1).ip()));
    network
}

#[test]
fn who_says_where_it_is_is_told_alone() {
    let mut network = network(3);
    network.order(1, Order::Listed(vec![at(3)]));
    network.run(50 * MILLI);
    // The request comes before what the first answer says.
    network.order(1, Order::Tell { remote: BOX, told: told(5) });
    network.run(20 * MILLI);
    network.order(1, met(8, 2));
    network.run(50 * MILLI);
    assert_eq!((network.host(2).places(), network.host(3).places()), (vec![5], vec![]));
    network.order(1, Order::Tell { remote: BOX, told: told(6) });
    network.run(50 * MILLI);
    assert_eq!((network.host(2).places(), network.host(3).places()), (vec![5, 6], vec![]));
    assert_eq!((network.host(1).count("greeted"), network.host(1).count("broadcast")), (1, 0));
    // Requests that come from behind the box are waited for.
    let alive = Arc::clone(network.host(1).core.alive());
    let peer = alive.addresses.get(&BOX).map(Vec::len);
    assert_eq!(peer, Some(1), "{alive:?}");
}

#[test]
fn each_connection_through_a_box_has_its_own_agent() {
    let mut network = network(3);
    network.order(1, met(8, 2));
    network.order(1, met(9, 3));
    network.run(50 * MILLI);
    let other = Told { name: Name { answers: 9, request: 7 }, context: context(7) };
    network.order(1, Order::Tell { remote: BOX, told: told(6) });
    network.order(1, Order::Tell { remote: BOX, told: other });
    network.run(50 * MILLI);
    assert_eq!(network.host(2).places(), [6]);
    assert_eq!(network.host(3).heard.len(), 1);
    assert_eq!(network.host(1).count("broadcast"), 0);
}

#[test]
fn whoever_pretends_makes_an_agent_say_hello_a_few_times() {
    let mut network = network(1);
    let victim = SocketAddr::from(([10, 7, 7, 7], 53));
    for answers in 0..10_000u32 {
        network.order(1, Order::Met(Met { remote: BOX, answers, agent: answers, at: victim }));
    }
    network.run(120 * SECOND);
    let sent = |network: &Network, to| network.sniffed.iter().filter(|(_, datagram)| datagram.to == to).count();
    assert_eq!(sent(&network, victim), 8, "in half a minute, and then no more");
    let public = SocketAddr::from(([8, 8, 8, 8], 4419));
    let refused = [public, SocketAddr::from(([127, 0, 0, 1], 80)), SocketAddr::from(([10, 7, 7, 8], 0))];
    for at in refused {
        network.order(1, Order::Met(Met { remote: BOX, answers: 1, agent: 77, at }));
    }
    network.run(SECOND);
    assert!(refused.iter().all(|to| sent(&network, *to) == 0));
    assert_eq!(network.host(1).count("greeting_refused"), 3);
    // Where a connection itself comes from may be asked.
    network.order(1, Order::Met(Met { remote: public.ip(), answers: 2, agent: 78, at: public }));
    network.run(SECOND);
    assert!(sent(&network, public) > 0);
    // Its own words come back to it from its own connections.
    let own = network.host(1).count("greeted");
    network.order(1, met(3, 1));
    assert_eq!(network.host(1).count("greeted"), own);
}

#[test]
fn who_pretends_to_be_another_changes_nothing_for_others() {
    let mut network = network(3);
    network.order(1, met(8, 2));
    network.run(50 * MILLI);
    // The next one says the id of agent 2, and an address of its own: nobody is asked, for agent 2 is known.
    let lie = SocketAddr::from(([10, 66, 6, 6], 4419));
    let remote = lie.ip();
    network.order(1, Order::Met(Met { remote, answers: 20, agent: id(2), at: lie }));
    network.run(SECOND);
    assert!(network.sniffed.iter().all(|(_, datagram)| datagram.to != lie));
    // What it is asked, agent 2 is told, who has the key and knows no such connection.
    network.tell(1, 2, 9);
    network.run(50 * MILLI);
    assert_eq!(network.host(2).places(), [9]);
}

fn peers() -> (Peers, crate::peer::Link) {
    Peers::new(Settings::default(), Arc::default(), Box::new(|| {}))
}

fn greeted(role: Role, sequences: Sequences, first: u32) -> Greeted {
    let said = Said { first, agent: 7, port: 4419, address: None };
    let greeting = said.greeting(false, false);
    let option = greeting.option[..greeting.len as usize].into();
    Greeted { time: 1, role, remote: BOX, sequences, option }
}

/// Something on the way adds 1,000 to what the client sends and 500 to what the server sends.
#[test]
fn both_ends_have_one_name_where_sequence_numbers_are_rewritten() {
    let (client, server) = (Sequences { sent: 100, received: 7500 }, Sequences { sent: 7000, received: 1100 });
    let (mut asking, orders) = peers();
    asking.greeted(&greeted(Role::Connect, client, 7000));
    asking.outgoing(2, BOX, Name::asking(client, 40), &context(1));
    asking.flush();
    let orders = orders.orders.recv().unwrap();
    let Some(Order::Met(met)) = orders.first() else { panic!("{orders:?}") };
    assert_eq!((met.answers, met.agent, met.at), (7000, 7, SocketAddr::new(BOX, 4419)));
    let Some(Order::Tell { told, .. }) = orders.last() else { panic!("{orders:?}") };
    assert_eq!(told.name, Name { answers: 7000, request: 140 });

    let (mut serving, other) = peers();
    serving.greeted(&greeted(Role::Accept, server, 100));
    serving.opened(3, at(1).ip(), BOX);
    let here = Name::answering(server, 40);
    assert!(matches!(serving.incoming(4, BOX, here), Incoming::Expected(_)));
    other.notices.send(Notice::Heard(vec![Heard { from: 7, told: told.clone(), to_several: false }])).unwrap();
    serving.receive(5);
    assert_eq!(serving.poll_heard().unwrap().told.name, here, "as it is named on this side");
    for (peers, place) in [(&asking, 1), (&serving, 1)] {
        assert_eq!(peers.stats().iter().find(|(name, _)| *name == "rewritten"), Some(("rewritten", place)));
    }
}

#[test]
fn what_is_no_option_is_counted() {
    let (mut peers, orders) = peers();
    let mut event = greeted(Role::Accept, Sequences { sent: 1, received: 2 }, 2);
    event.option = event.option[..9].into();
    peers.greeted(&event);
    let mut event = greeted(Role::Accept, Sequences { sent: 1, received: 2 }, 2);
    event.remote = IpAddr::from([127, 0, 0, 1]);
    peers.greeted(&event);
    peers.flush();
    assert!(orders.orders.try_recv().is_err());
    assert_eq!(peers.stats().iter().find(|(name, _)| *name == "greeting_refused"), Some(("greeting_refused", 2)));
}
