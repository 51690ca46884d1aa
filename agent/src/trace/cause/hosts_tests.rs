use std::{net::IpAddr, sync::Arc};

use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

use super::*;
use crate::{
    event::{Role, Sequences, SocketId, Thread},
    peer::{Alive, Heard, Link as Other, Notice, Order, Settings, Told},
    protocol::{Asked, Attributes, CallId, Exchange, Holes, OtherEnd, Status, Values},
    trace::{
        cause::{Limits, Settled},
        ids::Ids,
    },
};

const MS: Nanos = 1_000_000;
const START: Nanos = 1_000_000 * MS;
const WORKER: Thread = Thread { tgid: 7, tid: 8, task: crate::event::Task { id: 0, parent: 0 }, turn: None };

/// An engine, on a host of which another one with an agent is known.
struct World {
    engine: Engine,
    other: Other,
    now: Nanos,
}

fn near() -> IpAddr {
    IpAddr::from([10, 0, 0, 2])
}

fn id(sock: u64) -> CallId {
    CallId { socket: SocketId { sock, born: 1 }, place: 100 }
}

/// The name of the request on this socket, as its two sides find it.
fn name(sock: u64) -> peer::Name {
    peer::Name { answers: sock as u32 * 1000, request: sock as u32 * 2000 + 100 }
}

fn context() -> SpanContext {
    let ids = (TraceId::from(77), SpanId::from(78));
    SpanContext::new(ids.0, ids.1, TraceFlags::NOT_SAMPLED, true, TraceState::from_key_value([("a", "b")]).unwrap())
}

impl World {
    fn new() -> Self {
        let (peers, other) = Peers::new(Settings::default(), Arc::default(), Box::new(|| {}));
        let mut engine = Engine::new(Limits::default(), Ids::new().unwrap());
        engine.set_peers(peers);
        let mut alive = Alive::default();
        alive.peers.insert(1);
        alive.addresses.insert(near(), vec![1]);
        other.notices.send(Notice::Alive(Arc::new(alive))).unwrap();
        engine.hear(START);
        Self { engine, other, now: START }
    }

    fn pass(&mut self, time: Nanos) -> Vec<Settled> {
        self.now += time;
        self.engine.hear(self.now);
        self.engine.tick(self.now);
        self.engine.take_settled().collect()
    }

    fn ask(&mut self, side: Side, sock: u64, remote: IpAddr) {
        let (asks, answers) = (sock as u32 * 2000, sock as u32 * 1000);
        let (sent, received) = if side == Side::Client { (asks, answers) } else { (answers, asks) };
        let other_end = OtherEnd::Sequences(Sequences { sent, received });
        let remote = Some(remote);
        let asked = Asked {
            id: id(sock),
            side,
            time: self.now,
            thread: WORKER,
            other_end,
            remote,
            addresses: None,
            carried: None,
            values: Values::default(),
        };
        self.engine.asked(&asked, None, Vec::new());
    }

    fn end(&mut self, side: Side, sock: u64) -> Vec<Settled> {
        let exchange = Exchange {
            id: id(sock),
            protocol: "test",
            side,
            start: self.now,
            request_end: self.now,
            first_byte: Some(self.now),
            end: self.now,
            request_thread: WORKER,
            response_thread: Some(WORKER),
            name: "".into(),
            status: Status::Unset,
            attributes: Attributes::default(),
            holes: Holes::default(),
        };
        self.engine.done(exchange, Arc::default());
        self.engine.take_settled().collect()
    }

    fn hear(&mut self, sock: u64) {
        let heard = Heard { from: 1, told: Told { name: name(sock), context: context() }, to_several: false };
        self.other.notices.send(Notice::Heard(vec![heard])).unwrap();
    }

    /// What was told since the last time.
    fn told(&mut self) -> Vec<(IpAddr, Told)> {
        self.engine.tell();
        let orders = std::iter::from_fn(|| self.other.orders.try_recv().ok()).flatten();
        let told = orders.filter_map(|order| match order {
            Order::Tell { remote, told } => Some((remote, told)),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn a_request_waits_for_what_the_other_agent_says_and_so_does_what_it_causes() {
    let mut world = World::new();
    world.ask(Side::Server, 1, near());
    world.ask(Side::Client, 2, near());
    assert!(world.end(Side::Client, 2).is_empty() && world.end(Side::Server, 1).is_empty());
    assert!(world.pass(900 * MS).is_empty());
    assert_eq!(world.told(), [], "its trace is not known yet");
    world.hear(1);
    let settled = world.pass(MS);
    let [request, call] = &settled[..] else { panic!("{settled:?}") };
    assert_eq!((request.parent, request.link), (context().span_id(), Some(Link::Peer)));
    for one in [request, call] {
        assert_eq!((one.trace.id, one.trace.flags), (context().trace_id(), context().trace_flags()));
        assert_eq!(&one.trace.state, context().trace_state());
    }
    assert_eq!(call.parent, request.span);
    let told = world.told();
    let [(remote, told)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*remote, told.name, told.context.span_id()), (near(), name(2), call.span));
    assert_eq!(told.context.trace_id(), context().trace_id());
    world.pass(10_000 * MS);
    assert_eq!(world.told(), [], "once is enough");
}

#[test]
fn a_context_that_comes_first_settles_the_request_at_once() {
    let mut world = World::new();
    world.hear(1);
    world.pass(MS);
    world.ask(Side::Server, 1, near());
    let settled = world.end(Side::Server, 1);
    assert_eq!(settled[0].parent, context().span_id());
}

#[test]
fn what_is_not_heard_of_is_let_go_after_a_second() {
    let mut world = World::new();
    world.ask(Side::Server, 1, near());
    world.end(Side::Server, 1);
    assert!(world.pass(999 * MS).is_empty());
    let settled = world.pass(2 * MS);
    assert_eq!((settled[0].parent, settled[0].link), (SpanId::INVALID, None));
    world.hear(1);
    assert!(world.pass(MS).is_empty());
}

#[test]
fn what_comes_from_elsewhere_is_not_held() {
    let mut world = World::new();
    world.ask(Side::Server, 1, IpAddr::from([192, 0, 2, 1]));
    world.end(Side::Server, 1);
    assert_eq!(world.pass(21 * MS).len(), 1);
}

#[test]
fn addresses_of_connections_are_passed_on() {
    let mut world = World::new();
    let local = IpAddr::from([10, 0, 0, 1]);
    world.engine.opened(&Open {
        time: START,
        socket: SocketId { sock: 1, born: 1 },
        thread: WORKER,
        endpoints: Endpoints::Inet { local: (local, 80).into(), remote: (near(), 4000).into() },
        role: Role::Accept,
        netns: 1,
        sequences: None,
    });
    world.engine.tell();
    let orders = world.other.orders.try_recv().unwrap();
    assert!(matches!(orders[..], [Order::Local(own), Order::Remote(remote)] if own == local && remote == near()));
}
