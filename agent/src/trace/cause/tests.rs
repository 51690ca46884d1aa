//! Small worlds, event by event: who asks whom on which thread or task, and what must come out.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

use super::*;
use crate::{
    event::{Handover, How, Nanos, Sequences, SocketId, Task, Thread, Turn},
    protocol::{Addresses, Answered, Asked, Attributes, CallId, Exchange, Holes, OtherEnd, Side, Status, Values},
    trace::ids::Ids,
};

mod answerers;
mod carried;
mod channels;
mod claims;
mod complete;
mod injected;
mod patterns;
mod pools;
mod queues;
mod samples;
mod sdks;
mod serving;
mod sessions;
mod values;
mod waiters;

const MS: Nanos = 1_000_000;

/// One end of a request: on which socket, which request there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct End(u64, u64);

struct World {
    engine: Engine,
    now: Nanos,
    remote: Option<IpAddr>,
    /// What the next request says.
    values: Values,
    spans: Vec<Settled>,
}

fn thread(tgid: u32, tid: u32) -> Thread {
    Thread { tgid, tid, ..Thread::default() }
}

fn task(tgid: u32, tid: u32, id: u64, parent: u64) -> Thread {
    Thread { tgid, tid, task: Task { id, parent }, turn: None }
}

fn id(end: End) -> CallId {
    CallId { socket: SocketId { sock: end.0, born: 1 }, place: end.1 }
}

/// Sockets 2n and 2n+1 are the ends of one connection.
fn other_end(end: End) -> OtherEnd {
    let (sent, received) = (end.0 as u32 * 1000, (end.0 ^ 1) as u32 * 1000);
    OtherEnd::Sequences(Sequences { sent, received })
}

impl World {
    fn new() -> Self {
        let engine = Engine::new(Limits::default(), Ids::new().unwrap());
        Self { engine, now: 1_000 * MS, remote: None, values: Values::default(), spans: Vec::new() }
    }

    fn pass(&mut self, time: Nanos) -> &mut Self {
        self.now += time;
        self.engine.tick(self.now);
        self.spans.extend(self.engine.take_settled());
        self
    }

    fn ask(&mut self, side: Side, end: End, thread: Thread, origin: Option<Origin>, ids: &[u64]) -> &mut Self {
        self.pass(MS / 10);
        let asked = Asked {
            id: id(end),
            side,
            time: self.now,
            thread,
            other_end: other_end(end),
            remote: self.remote,
            addresses: None,
            carried: None,
            values: std::mem::take(&mut self.values),
        };
        self.engine.asked(&asked, origin, ids.to_vec());
        self
    }

    /// The next request says this.
    fn says(&mut self, value: u64) -> &mut Self {
        self.values = Values::from_iter([value]);
        self
    }

    /// A process reads a request.
    fn serve(&mut self, end: End, thread: Thread) -> &mut Self {
        self.ask(Side::Server, end, thread, None, &[])
    }

    /// A process sends a request.
    fn call(&mut self, end: End, thread: Thread) -> &mut Self {
        self.ask(Side::Client, end, thread, None, &[])
    }

    /// A process sends or reads a message that nothing answers.
    fn tell(&mut self, side: Side, end: End, thread: Thread) -> &mut Self {
        self.ask(side, end, thread, None, &[]);
        self.done(side, end, thread, None)
    }

    /// A process reads the answer to its request, or sends its answer.
    fn end(&mut self, side: Side, end: End, thread: Thread) -> &mut Self {
        self.pass(MS / 10);
        self.engine.answered(&Answered { id: id(end), side, time: self.now, thread });
        self.done(side, end, thread, Some(self.now))
    }

    fn done(&mut self, side: Side, end: End, thread: Thread, first_byte: Option<Nanos>) -> &mut Self {
        let exchange = Exchange {
            id: id(end),
            protocol: "test",
            side,
            start: self.now,
            request_end: self.now,
            first_byte,
            end: self.now,
            request_thread: thread,
            response_thread: first_byte.map(|_| thread),
            name: "".into(),
            status: Status::Unset,
            attributes: Attributes::default(),
            holes: Holes::default(),
        };
        self.engine.done(exchange, Arc::default());
        self.spans.extend(self.engine.take_settled());
        self
    }

    fn answer(&mut self, end: End, thread: Thread) -> &mut Self {
        self.end(Side::Server, end, thread)
    }

    fn read(&mut self, end: End, thread: Thread) -> &mut Self {
        self.end(Side::Client, end, thread)
    }

    /// An event loop shows that it goes on with what it has read last.
    fn prove(&mut self, main: Thread) -> &mut Self {
        for i in 0..10 {
            self.serve(End(51, i), main).call(End(60, i), main).serve(End(53, i), main).answer(End(53, i), main);
            self.read(End(60, i), main).answer(End(51, i), main);
        }
        self
    }

    fn hand(&mut self, from: Thread, to: Thread, how: How) -> &mut Self {
        self.pass(MS / 10);
        self.engine.handover(&Handover { time: self.now, from, to, how });
        self
    }

    fn finish(&mut self) -> &mut Self {
        self.engine.finish();
        self.spans.extend(self.engine.take_settled());
        self
    }

    fn span(&self, side: Side, end: End) -> &Settled {
        let fits = |s: &&Settled| s.exchange.side == side && s.exchange.id == id(end);
        let mut found = self.spans.iter().filter(fits);
        let span = found.next().unwrap_or_else(|| panic!("no span of {}:{}", end.0, end.1));
        assert!(found.next().is_none(), "two spans of {}:{}", end.0, end.1);
        span
    }

    /// The outgoing call hangs under the request, in its trace.
    #[track_caller]
    fn caused(&self, request: End, call: End, link: Link) {
        let (above, below) = (self.span(Side::Server, request), self.span(Side::Client, call));
        assert_eq!(below.parent, above.span, "parent of {}:{}", call.0, call.1);
        assert_eq!((&below.trace, below.link), (&above.trace, Some(link)));
    }

    #[track_caller]
    fn root(&self, side: Side, end: End) -> &Self {
        let span = self.span(side, end);
        assert_eq!((span.parent, span.link), (SpanId::INVALID, None));
        self
    }
}

const A: u32 = 100;
const B: u32 = 200;

#[test]
fn a_thread_per_request() {
    let mut world = World::new();
    let (one, two) = (thread(A, 101), thread(A, 102));
    world.serve(End(11, 0), one).serve(End(13, 0), two);
    world.call(End(20, 0), one).call(End(22, 0), two).read(End(22, 0), two).read(End(20, 0), one);
    world.call(End(20, 50), one).read(End(20, 50), one);
    world.answer(End(13, 0), two).answer(End(11, 0), one).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Thread);
    world.caused(End(11, 0), End(20, 50), Link::Thread);
    world.caused(End(13, 0), End(22, 0), Link::Thread);
    world.root(Side::Server, End(11, 0));
    assert_ne!(world.span(Side::Server, End(11, 0)).trace.id, world.span(Side::Server, End(13, 0)).trace.id);
}

/// A client of this host that nobody traces costs the long wait once, not with each request; until it is seen after all.
#[test]
fn an_untraced_client_is_waited_for_once() {
    let mut world = World { remote: Some(Ipv4Addr::LOCALHOST.into()), ..World::new() };
    let (client, server) = (thread(A, 101), thread(B, 201));
    world.serve(End(21, 0), server).answer(End(21, 0), server).pass(100 * MS);
    assert_eq!(world.spans.len(), 0);
    world.pass(200 * MS);
    world.serve(End(21, 10), server).answer(End(21, 10), server).pass(30 * MS);
    assert_eq!(world.spans.len(), 2);
    world.serve(End(21, 20), server).call(End(20, 20), client).answer(End(21, 20), server).read(End(20, 20), client);
    world.serve(End(21, 30), server).answer(End(21, 30), server).pass(100 * MS);
    assert_eq!(world.spans.len(), 4);
    world.call(End(20, 30), client).read(End(20, 30), client).pass(300 * MS);
    for place in [20, 30] {
        assert_eq!(world.span(Side::Server, End(21, place)).parent, world.span(Side::Client, End(20, place)).span);
    }
    for i in 0..8 {
        world.serve(End(21, 40 + i), server).answer(End(21, 40 + i), server).pass(300 * MS);
    }
    world.serve(End(21, 50), server).answer(End(21, 50), server).root(Side::Server, End(21, 50));
    world.call(End(20, 60), client).serve(End(21, 60), server).answer(End(21, 60), server).read(End(20, 60), client);
    assert_eq!(world.span(Side::Server, End(21, 60)).parent, world.span(Side::Client, End(20, 60)).span);
    world.serve(End(21, 70), server).answer(End(21, 70), server).pass(300 * MS);
    world.engine.closed(SocketId { sock: 21, born: 1 });
    assert!(world.engine.silent.is_empty());
}

/// It has sent a request, and read its answer, and nothing of that was seen: there is no need to wait for the next one.
#[test]
fn who_asks_again_unseen_is_not_traced() {
    let mut world = World { remote: Some(Ipv4Addr::LOCALHOST.into()), ..World::new() };
    let server = thread(B, 201);
    for i in 0..10 {
        world.serve(End(21, i), server).answer(End(21, i), server);
    }
    world.root(Side::Server, End(21, 8)).root(Side::Server, End(21, 9));
    assert_eq!(world.spans.len(), 2);
}

/// A process that asks itself, on whose other thread the request is seen before it is known to be sent.
#[test]
fn a_request_is_no_cause_of_what_caused_it() {
    let mut world = World::new();
    let (client, server) = (thread(A, 101), thread(A, 102));
    world.serve(End(21, 0), server).call(End(20, 0), client).read(End(20, 0), client);
    world.answer(End(21, 0), server).finish();
    assert_eq!(world.span(Side::Server, End(21, 0)).parent, world.span(Side::Client, End(20, 0)).span);
    world.root(Side::Client, End(20, 0));
}

/// That an answer is complete is known late, as on connections that are older than the agent: meanwhile others work for themselves.
#[test]
fn what_begins_behind_an_answer_is_not_for_the_request() {
    for answered in [false, true] {
        let mut world = World::new();
        let (one, two) = (thread(A, 101), thread(A, 102));
        world.serve(End(11, 0), one);
        if answered {
            let side = Side::Server;
            world.engine.answered(&Answered { id: id(End(11, 0)), side, time: world.now, thread: one });
        }
        world.call(End(20, 0), two).read(End(20, 0), two).done(Side::Server, End(11, 0), one, Some(0)).finish();
        if answered {
            world.root(Side::Client, End(20, 0));
        } else {
            world.caused(End(11, 0), End(20, 0), Link::Time);
        }
    }
}

#[test]
fn both_ends_of_a_connection_in_either_order() {
    for late in [false, true] {
        let mut world = World::new();
        let (client, server) = (thread(A, 101), thread(B, 201));
        world.serve(End(11, 0), client);
        if late {
            // A send is seen when it returns.
            world.serve(End(21, 0), server).call(End(20, 0), client);
        } else {
            world.call(End(20, 0), client).serve(End(21, 0), server);
        }
        world.answer(End(21, 0), server).read(End(20, 0), client).answer(End(11, 0), client).pass(30 * MS);
        let (above, below) = (world.span(Side::Client, End(20, 0)), world.span(Side::Server, End(21, 0)));
        assert_eq!((below.parent, below.link, &below.trace), (above.span, Some(Link::Socket), &above.trace));
        world.caused(End(11, 0), End(20, 0), Link::Thread);
    }
}

#[test]
fn a_syn_that_was_counted_changes_no_name() {
    let socket = SocketId { sock: 1, born: 1 };
    let numbers = |sent, received| OtherEnd::Sequences(Sequences { sent, received });
    let server = ends::name(Side::Server, CallId { socket, place: 40 }, numbers(500, 900));
    let client = ends::name(Side::Client, CallId { socket, place: 40 }, numbers(900, 500));
    let older = ends::name(Side::Client, CallId { socket, place: 41 }, numbers(899, 500));
    assert_eq!(server, client);
    assert_eq!(server, older);
}

#[test]
fn ends_with_other_numbers_meet_by_their_addresses() {
    let mut world = World::new();
    let addresses = |netns| {
        let (client, server) = ("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        Some(Addresses { netns, client, server })
    };
    let mut ask = |side, end: End, netns, thread: Thread| {
        world.pass(MS / 10);
        let other_end = OtherEnd::Sequences(Sequences { sent: end.0 as u32, received: 7 });
        let (time, addresses) = (world.now, addresses(netns));
        let asked = Asked {
            id: id(end),
            side,
            time,
            thread,
            other_end,
            remote: None,
            addresses,
            carried: None,
            values: Values::default(),
        };
        world.engine.asked(&asked, None, Vec::new());
    };
    ask(Side::Client, End(20, 5), 1, thread(A, 101));
    ask(Side::Server, End(33, 5), 2, thread(B, 201));
    ask(Side::Server, End(35, 5), 1, thread(B, 202));
    world.answer(End(33, 5), thread(B, 201)).answer(End(35, 5), thread(B, 202)).read(End(20, 5), thread(A, 101));
    world.pass(300 * MS);
    world.root(Side::Server, End(33, 5));
    let (above, below) = (world.span(Side::Client, End(20, 5)), world.span(Side::Server, End(35, 5)));
    assert_eq!((below.parent, below.link), (above.span, Some(Link::Socket)));
}

#[test]
fn an_event_loop_goes_on_with_what_it_read_last() {
    let mut world = World::new();
    let main = thread(A, A);
    world.prove(main);
    world.serve(End(11, 0), main).call(End(20, 0), main).serve(End(13, 0), main).call(End(22, 0), main);
    world.read(End(20, 0), main).call(End(24, 0), main).read(End(22, 0), main).call(End(26, 0), main);
    world.read(End(26, 0), main).answer(End(13, 0), main).read(End(24, 0), main).answer(End(11, 0), main);
    world.pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Thread);
    world.caused(End(13, 0), End(22, 0), Link::Thread);
    world.caused(End(11, 0), End(24, 0), Link::Answer);
    world.caused(End(13, 0), End(26, 0), Link::Answer);
}

#[test]
fn what_waited_for_an_event_loop_to_prove_itself_is_found() {
    let mut world = World::new();
    let main = thread(A, A);
    // The first ones were over before anything had shown.
    world.prove(main).pass(6_000 * MS);
    world.caused(End(51, 0), End(60, 0), Link::Thread);
}

/// Also those whose answers only led to what points to the request.
#[test]
fn what_waited_for_an_event_loop_is_found_with_what_was_before_it() {
    let mut world = World::new();
    let main = thread(A, A);
    let (request, other) = (End(11, 0), End(13, 0));
    let (first, second, third) = (End(20, 0), End(22, 0), End(24, 0));
    world.serve(request, main).serve(other, main).call(End(26, 0), main);
    // A timer.
    world.hand(main, main, How::Idle).call(first, main).read(first, main).call(second, main).call(third, main);
    world.read(second, main).read(third, main).answer(request, main);
    world.read(End(26, 0), main).answer(other, main);
    world.prove(main).pass(6_000 * MS);
    for call in [first, second, third] {
        world.caused(request, call, Link::Answer);
    }
}

#[test]
fn an_event_loop_that_never_shows_it_is_not_believed() {
    let mut world = World::new();
    let main = thread(A, A);
    // Two requests at a time, whose calls are made in an order of their own: each is under way when the one read last is answered.
    for i in 0..40 {
        world.serve(End(11, i), main).serve(End(13, i), main).call(End(20, i), main).answer(End(13, i), main);
        world.read(End(20, i), main).answer(End(11, i), main);
    }
    world.serve(End(11, 99), main).serve(End(13, 99), main).call(End(20, 99), main).read(End(20, 99), main);
    world.serve(End(15, 99), main).answer(End(11, 99), main).answer(End(13, 99), main).pass(6_000 * MS);
    world.root(Side::Client, End(20, 99));
}

/// Every call is made by a timer, of which it is not known who has set it; the request is answered when the call is. That an answer is that
/// of what was read last shows where it could as well be that of another one, which came later than the call.
#[test]
fn an_event_loop_whose_calls_are_made_by_timers() {
    let mut world = World::new();
    let main = thread(A, A);
    let requests = [11, 13, 15, 17];
    for i in 0..40 {
        for (n, request) in requests.into_iter().enumerate() {
            world.serve(End(request, i), main);
            world.hand(main, main, How::Idle).call(End(20 + 2 * n as u64, i), main);
        }
        for (n, request) in requests.into_iter().enumerate() {
            world.read(End(20 + 2 * n as u64, i), main).answer(End(request, i), main);
        }
    }
    world.pass(6_000 * MS);
    for i in 20..40 {
        for (n, request) in requests.into_iter().enumerate() {
            let call = End(20 + 2 * n as u64, i);
            let span = world.span(Side::Client, call);
            assert_eq!(span.parent, world.span(Side::Server, End(request, i)).span, "{request}:{i} {:?}", span.link);
        }
    }
}

/// A proxy reads what is there, and sends each on in an order of its own: what was read alone is sent alone.
#[test]
fn an_event_loop_is_believed_where_it_has_read_one_thing() {
    let mut world = World::new();
    let main = thread(A, A);
    let (one, two) = (|i| End(11, i), |i| End(13, i));
    for i in 0..40 {
        world.serve(End(19, i), main).serve(one(i), main).serve(two(i), main);
        world.call(End(22, i), main).call(End(20, i), main);
        world.read(End(20, i), main).answer(one(i), main).read(End(22, i), main).answer(two(i), main);
        world.serve(End(15, i), main).call(End(24, i), main).serve(End(17, i), main).call(End(26, i), main);
        world.read(End(24, i), main).read(End(26, i), main).answer(End(17, i), main).answer(End(15, i), main);
        // That this is so shows where both are.
        world.serve(End(31, i), main).call(End(40, i), main).read(End(40, i), main).answer(End(31, i), main);
        world.answer(End(19, i), main);
    }
    world.pass(6_000 * MS);
    for i in 20..40 {
        // Sent with others, but answered alone, and the other way round.
        world.caused(one(i), End(20, i), Link::Answer);
        world.caused(two(i), End(22, i), Link::Answer);
        world.caused(End(15, i), End(24, i), Link::Thread);
        world.caused(End(17, i), End(26, i), Link::Thread);
    }
}

#[test]
fn an_event_loop_that_puts_off_what_follows_is_not_believed() {
    let mut world = World::new();
    let main = thread(A, A);
    let (one, two) = (|i| End(11, i), |i| End(13, i));
    for i in 0..40 {
        // It reads two, and goes on with the first.
        world.serve(one(i), main).serve(two(i), main);
        world.answer(one(i), main).answer(two(i), main).pass(50 * MS);
    }
    world.serve(one(99), main).serve(two(99), main).call(End(20, 0), main).read(End(20, 0), main);
    world.answer(one(99), main).answer(two(99), main).pass(2_100 * MS);
    world.root(Side::Client, End(20, 0));
    // As many sends as reads are in their order, as its answers were.
    world.serve(one(98), main).serve(two(98), main).call(End(22, 0), main).call(End(24, 0), main);
    world.read(End(24, 0), main).read(End(22, 0), main).answer(two(98), main).answer(one(98), main).pass(50 * MS);
    world.caused(one(98), End(22, 0), Link::Order);
    world.caused(two(98), End(24, 0), Link::Order);
    // Where there is only one, that is it.
    world.serve(one(100), main).call(End(20, 9), main).read(End(20, 9), main).answer(one(100), main).pass(50 * MS);
    world.caused(one(100), End(20, 9), Link::Time);
}

#[test]
fn goroutines_and_their_children() {
    let mut world = World::new();
    // The same thread runs all of them.
    let g = |id, parent| task(A, 101, id, parent);
    world.serve(End(11, 0), g(7, 1)).serve(End(13, 0), g(8, 1));
    world.call(End(20, 0), g(7, 1)).call(End(22, 0), g(30, 8)).call(End(24, 0), g(31, 7));
    // A pooled connection: another goroutine writes, another one reads.
    world
        .hand(g(32, 8), Thread::default(), How::Claim { sock: 26, place: 0 })
        .call(End(26, 0), g(3, 2))
        .read(End(26, 0), g(4, 2));
    for end in [20, 22, 24] {
        world.read(End(end, 0), g(99, 0));
    }
    world.answer(End(13, 0), g(8, 1)).answer(End(11, 0), g(7, 1)).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Task);
    world.caused(End(13, 0), End(22, 0), Link::Task);
    world.caused(End(11, 0), End(24, 0), Link::Task);
    world.caused(End(13, 0), End(26, 0), Link::Task);
}

#[test]
fn a_task_for_each_request() {
    let mut world = World::new();
    let main = thread(A, A);
    let t = |id| task(A, A, id, 0);
    // The loop reads two requests, and starts a task for each; the tasks start others.
    world.serve(End(11, 0), main).hand(main, t(0x10), How::Spawn);
    world.serve(End(13, 0), main).hand(main, t(0x20), How::Spawn);
    world.hand(t(0x10), t(0x11), How::Spawn).hand(t(0x20), t(0x21), How::Spawn);
    world.call(End(20, 0), t(0x11)).call(End(22, 0), t(0x21)).read(End(20, 0), main).read(End(22, 0), main);
    world.call(End(24, 0), t(0x10)).read(End(24, 0), main);
    world.answer(End(13, 0), t(0x20)).answer(End(11, 0), t(0x10)).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Task);
    world.caused(End(13, 0), End(22, 0), Link::Task);
    world.caused(End(11, 0), End(24, 0), Link::Task);
}

#[test]
fn whether_a_task_works_for_what_was_read_last_is_learnt() {
    let main = thread(A, A);
    let t = |id| task(A, A, id, 0);
    for (for_request, trusted) in [(true, true), (false, false)] {
        let mut world = World::new();
        for i in 0..40 {
            let (first, second) = (End(11, i), End(13, i));
            world.serve(first, main).hand(main, t(0x10), How::Spawn).serve(second, main).hand(
                main,
                t(0x20),
                How::Spawn,
            );
            let (one, two) = if for_request { (0x10, 0x20) } else { (0x20, 0x10) };
            world.answer(first, t(one)).answer(second, t(two));
        }
        // The trace of a call is known at once only if that can be trusted.
        world.serve(End(11, 99), main).hand(main, t(0x10), How::Spawn).serve(End(13, 99), main);
        world.call(End(20, 99), t(0x10)).read(End(20, 99), main);
        let known = world.engine.calls.values().all(|call| call.side == Side::Server || call.cause != Cause::Open);
        assert_eq!(known, trusted);
        world.answer(End(11, 99), t(0x10)).answer(End(13, 99), main).pass(30 * MS);
        world.caused(End(11, 99), End(20, 99), Link::Task);
    }
}

#[test]
fn a_task_for_each_connection() {
    let mut world = World::new();
    let main = thread(A, A);
    let t = |id| task(A, A, id, 0);
    // Nothing tells whose the tasks are, before they answer.
    world.serve(End(11, 0), main).serve(End(13, 0), main);
    world.call(End(20, 0), t(0x10)).call(End(22, 0), t(0x20)).hand(t(0x20), t(0x21), How::Spawn);
    world.call(End(24, 0), t(0x21)).read(End(20, 0), main).read(End(22, 0), main).read(End(24, 0), main);
    world.answer(End(13, 0), t(0x20)).answer(End(11, 0), t(0x10));
    // From then on it is known.
    world.serve(End(11, 99), main).serve(End(13, 99), main).call(End(22, 99), t(0x20)).call(End(20, 99), t(0x10));
    world.read(End(20, 99), main).read(End(22, 99), main);
    world.answer(End(13, 99), t(0x20)).answer(End(11, 99), t(0x10)).pass(30 * MS);
    for (request, call) in [((11, 0), (20, 0)), ((13, 0), (22, 0)), ((13, 0), (24, 0)), ((11, 99), (20, 99))] {
        world.caused(End(request.0, request.1), End(call.0, call.1), Link::Task);
    }
}

#[test]
fn nesting_in_time_only_when_one_request_fits() {
    let mut world = World::new();
    let (reader, worker) = (thread(A, 101), thread(A, 102));
    world.serve(End(11, 0), reader).call(End(20, 0), worker).read(End(20, 0), worker);
    world.answer(End(11, 0), reader).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Time);
    // Two fit: it is not known, and that is what is said.
    world.serve(End(11, 9), reader).serve(End(13, 9), reader).call(End(20, 9), worker).read(End(20, 9), worker);
    world.answer(End(11, 9), reader).answer(End(13, 9), reader).pass(2_100 * MS);
    world.root(Side::Client, End(20, 9));
    assert_eq!(world.engine.stats().unknown, 1);
    // One that ends before the call does has not waited for it.
    world.serve(End(15, 0), reader).serve(End(17, 0), reader).call(End(24, 0), worker).answer(End(15, 0), reader);
    world.read(End(24, 0), worker).answer(End(17, 0), reader).pass(30 * MS);
    world.caused(End(17, 0), End(24, 0), Link::Time);
}

/// A process that also calls while it serves nothing: what it calls meanwhile may be for nobody, too.
#[test]
fn nesting_in_time_says_nothing_where_calls_are_made_all_the_time() {
    let mut world = World::new();
    let (reader, worker) = (thread(A, 101), thread(A, 102));
    let nested = |world: &mut World, at| {
        world.serve(End(11, at), reader).call(End(20, at), worker).read(End(20, at), worker);
        world.answer(End(11, at), reader).pass(2_100 * MS);
    };
    nested(&mut world, 0);
    (1..20).for_each(|at| {
        world.call(End(20, at), worker).read(End(20, at), worker).pass(50 * MS);
    });
    nested(&mut world, 50);
    world.caused(End(11, 0), End(20, 0), Link::Time);
    world.root(Side::Client, End(20, 50));
}

#[test]
fn a_call_that_nobody_asked_for() {
    let mut world = World::new();
    let main = thread(A, A);
    world.serve(End(11, 0), main).answer(End(11, 0), main);
    world.call(End(20, 0), main).read(End(20, 0), main).pass(30 * MS);
    world.root(Side::Client, End(20, 0));
    world.root(Side::Server, End(11, 0));
}

fn origin(trace: u128, span: u64) -> Origin {
    let trace = Trace { id: TraceId::from(trace), flags: TraceFlags::SAMPLED, state: TraceState::NONE };
    Origin { trace, span: SpanId::from(span) }
}

#[test]
fn a_context_that_is_passed_on_is_not_a_span_between() {
    let mut world = World::new();
    let main = thread(A, A);
    world.ask(Side::Server, End(11, 0), main, Some(origin(5, 6)), &[]);
    world.ask(Side::Server, End(13, 0), main, Some(origin(7, 8)), &[]);
    // In any order, whoever sends it.
    world.ask(Side::Client, End(20, 0), main, Some(origin(5, 6)), &[]).read(End(20, 0), main);
    // Written by an SDK in the process: its own span lies between.
    world.ask(Side::Client, End(22, 0), main, Some(origin(7, 9)), &[]).read(End(22, 0), main);
    world.answer(End(11, 0), main).answer(End(13, 0), main).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Header);
    let span = world.span(Side::Client, End(22, 0));
    assert_eq!((span.trace.id, span.parent), (TraceId::from(7), SpanId::from(9)));
    let span = world.span(Side::Server, End(11, 0));
    assert_eq!((span.trace.id, span.parent, span.link), (TraceId::from(5), SpanId::from(6), Some(Link::Header)));
}

#[test]
fn an_id_that_one_open_request_brought() {
    let mut world = World::new();
    let (reader, worker) = (thread(A, 101), thread(A, 102));
    world.ask(Side::Server, End(11, 0), reader, None, &[1, 2]).ask(Side::Server, End(13, 0), reader, None, &[3, 9]);
    world.ask(Side::Server, End(15, 0), reader, None, &[4, 9]);
    world.ask(Side::Client, End(20, 0), worker, None, &[3]).read(End(20, 0), worker);
    // Two have brought it.
    world.ask(Side::Client, End(22, 0), worker, None, &[9]).read(End(22, 0), worker);
    for end in [11, 13, 15] {
        world.answer(End(end, 0), reader);
    }
    world.pass(2_100 * MS);
    world.caused(End(13, 0), End(20, 0), Link::Correlation);
    world.root(Side::Client, End(22, 0));
}

#[test]
fn a_request_joins_the_trace_that_an_sdk_begins_for_it() {
    let mut world = World::new();
    let main = thread(A, A);
    world.serve(End(11, 0), main);
    world.ask(Side::Client, End(20, 0), main, Some(origin(5, 6)), &[]).read(End(20, 0), main);
    world.answer(End(11, 0), main).pass(30 * MS);
    assert_eq!(world.span(Side::Server, End(11, 0)).trace.id, TraceId::from(5));
    // The process is known now: a request waits for its call, however late that is.
    world.serve(End(11, 9), main).pass(300 * MS);
    world.ask(Side::Client, End(20, 9), main, Some(origin(8, 6)), &[]).read(End(20, 9), main);
    world.answer(End(11, 9), main).pass(30 * MS);
    assert_eq!(world.span(Side::Server, End(11, 9)).trace.id, TraceId::from(8));
}

/// One without an SDK asks one that has none either, and then one with an SDK, which begins a trace.
#[test]
fn callers_of_a_process_with_an_sdk_join_its_trace() {
    let mut world = World::new();
    let (a, b, c) = (thread(A, 101), thread(B, 201), thread(300, 301));
    for i in 0..2 {
        world.serve(End(11, i), a).pass(300 * MS);
        world.call(End(20, i), a).serve(End(21, i), c).answer(End(21, i), c).read(End(20, i), a);
        world.call(End(22, i), a).serve(End(23, i), b);
        world.ask(Side::Client, End(30, i), b, Some(origin(5 + u128::from(i), 6)), &[]).read(End(30, i), b);
        world.answer(End(23, i), b).read(End(22, i), a).answer(End(11, i), a).pass(30 * MS);
    }
    let trace = |side, end| world.span(side, end).trace.id;
    // The first time something is out already when the SDK is seen to begin a trace.
    assert_ne!(trace(Side::Server, End(23, 0)), TraceId::from(5));
    for (side, end) in
        [(Side::Server, 11), (Side::Client, 20), (Side::Server, 21), (Side::Client, 22), (Side::Server, 23)]
    {
        assert_eq!(trace(side, End(end, 1)), TraceId::from(6), "{end}");
    }
    // Nothing asked of one with an SDK: it comes out when it is done.
    world.serve(End(11, 9), a).call(End(20, 9), a).serve(End(21, 9), c).answer(End(21, 9), c).read(End(20, 9), a);
    world.answer(End(11, 9), a).pass(300 * MS);
    world.root(Side::Server, End(11, 9)).caused(End(11, 9), End(20, 9), Link::Thread);
}

#[test]
fn a_trace_is_begun_when_something_has_to_carry_it() {
    let mut world = World::new();
    let (a, b) = (thread(A, 101), thread(B, 201));
    world.serve(End(11, 0), a).pass(300 * MS).call(End(22, 0), a).serve(End(23, 0), b);
    world.ask(Side::Client, End(30, 0), b, Some(origin(5, 6)), &[]).read(End(30, 0), b);
    world.answer(End(23, 0), b).read(End(22, 0), a).answer(End(11, 0), a).pass(30 * MS);
    world.caused(End(11, 0), End(22, 0), Link::Thread);
    for (side, end) in [(Side::Server, 11), (Side::Client, 22), (Side::Server, 23), (Side::Client, 30)] {
        assert_eq!(world.span(side, End(end, 0)).trace.id, TraceId::from(5), "{end}");
    }
}

#[test]
fn whoever_opens_a_connection_sends_the_first_request_on_it() {
    let mut world = World::new();
    let main = thread(A, A);
    world.prove(main);
    world.serve(End(11, 0), main).hand(main, Thread::default(), How::Connect(20));
    world.serve(End(13, 0), main).call(End(20, 0), main).read(End(20, 0), main);
    world.answer(End(11, 0), main).answer(End(13, 0), main).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Connect);
}

#[test]
fn everything_comes_out_at_the_end_and_memory_is_bounded() {
    let limits = Limits { calls: 64, ..Limits::default() };
    let mut world = World { engine: Engine::new(limits, Ids::new().unwrap()), ..World::new() };
    for i in 0..1_000 {
        world.serve(End(11, i), thread(A, 101)).call(End(20, i), thread(A, 102));
        assert!(world.engine.calls.len() <= 64);
    }
    for i in 0..1_000 {
        world.read(End(20, i), thread(A, 102)).answer(End(11, i), thread(A, 101));
    }
    world.finish();
    assert_eq!(world.spans.len(), 2_000);
    assert!(world.engine.calls.is_empty() && world.engine.open.is_empty());
    assert!(world.engine.stats().evicted > 0);
}

#[test]
fn the_task_of_a_pooled_connection_works_for_whoever_wakes_it() {
    let mut world = World::new();
    let t = |id| task(A, 101, id, 0);
    // The connection's task is started by one, and used by another while that one is still busy.
    world.serve(End(11, 0), t(1)).serve(End(13, 0), t(2)).serve(End(15, 0), t(3)).hand(t(1), t(9), How::Spawn);
    world.hand(t(1), t(9), How::Wake(0)).call(End(20, 0), t(9)).read(End(20, 0), t(9)).hand(t(9), t(1), How::Wake(0));
    world.hand(t(2), t(9), How::Wake(0)).call(End(20, 5), t(9));
    // Its answer is not there yet when the first one is done.
    world.answer(End(11, 0), t(1)).read(End(20, 5), t(9)).hand(t(9), t(2), How::Wake(0));
    world.answer(End(13, 0), t(2)).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Wake);
    world.caused(End(13, 0), End(20, 5), Link::Wake);
    // From then on it works for whoever wakes it.
    world.serve(End(11, 9), t(1)).serve(End(13, 9), t(2)).hand(t(1), t(9), How::Wake(0)).call(End(20, 9), t(9));
    world.read(End(20, 9), t(9)).pass(50 * MS).answer(End(13, 9), t(2)).answer(End(11, 9), t(1)).pass(30 * MS);
    world.caused(End(11, 9), End(20, 9), Link::Wake);
}

#[test]
fn an_answer_that_passes_through_a_worker_to_whoever_waits() {
    let mut world = World::new();
    let g = |id, parent| task(A, 101, id, parent);
    world.serve(End(11, 0), g(7, 1)).serve(End(13, 0), g(8, 1));
    // A worker is woken, has another goroutine send its request, and is busy with the next item before anybody wakes it again.
    world.hand(g(7, 1), g(30, 1), How::Wake(0)).hand(g(30, 1), Thread::default(), How::Claim { sock: 20, place: 0 });
    world.hand(g(30, 1), g(3, 30), How::Wake(0)).call(End(20, 0), g(3, 30)).read(End(20, 0), g(4, 30));
    world.hand(g(4, 30), g(30, 1), How::Wake(0)).hand(g(30, 1), g(7, 1), How::Wake(0));
    world
        .hand(g(30, 1), Thread::default(), How::Claim { sock: 20, place: 0 })
        .call(End(20, 5), g(3, 30))
        .read(End(20, 5), g(4, 30));
    world.hand(g(4, 30), g(30, 1), How::Wake(0)).hand(g(30, 1), g(8, 1), How::Wake(0));
    world.answer(End(11, 0), g(7, 1)).answer(End(13, 0), g(8, 1)).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Wake);
    world.caused(End(13, 0), End(20, 5), Link::Wake);
}

#[test]
fn a_process_whose_tasks_are_fed_in_silence_is_told_of() {
    let mut world = World::new();
    let g = |id, parent| task(A, 101, id, parent);
    world.serve(End(11, 0), g(7, 1));
    for i in 0..4 {
        assert_eq!(world.engine.take_puzzling().count(), 0);
        world.call(End(20, i), g(30, 1)).read(End(20, i), g(30, 1));
    }
    assert_eq!(world.engine.take_puzzling().collect::<Vec<_>>(), [A]);
}

#[test]
fn an_answer_that_is_known_to_be_complete_late_lies_where_it_began() {
    let mut world = World::new();
    let (a, b, w) = (thread(A, 101), thread(A, 102), thread(A, 103));
    world.serve(End(11, 0), a).serve(End(13, 0), b).call(End(20, 0), w).pass(MS);
    let answered = Answered { id: id(End(20, 0)), side: Side::Client, time: world.now, thread: w };
    world.engine.answered(&answered);
    // One is done before it is said that the call is complete: it encloses it as well as the other does.
    world.answer(End(11, 0), a);
    world.read(End(20, 0), w).answer(End(13, 0), b).pass(2_100 * MS);
    world.root(Side::Client, End(20, 0));
}

#[test]
fn the_first_request_of_a_connection_does_not_follow_from_what_was_read_meanwhile() {
    let mut world = World::new();
    let main = thread(A, A);
    world.prove(main);
    // A timer has the connection opened; until it is there, the loop reads something else.
    world.serve(End(11, 0), main).hand(main, main, How::Idle).hand(main, Thread::default(), How::Connect(20));
    world.serve(End(13, 0), main).call(End(20, 0), main).read(End(20, 0), main);
    world.answer(End(11, 0), main).answer(End(13, 0), main).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Answer);
}

#[test]
fn a_message_may_lie_unread() {
    let mut world = World::new();
    let (sender, reader) = (thread(1, 1), thread(2, 2));
    world.tell(Side::Client, End(20, 0), sender).pass(2_000 * MS).tell(Side::Server, End(21, 0), reader).finish();
    let (sent, read) = (world.span(Side::Client, End(20, 0)), world.span(Side::Server, End(21, 0)));
    assert_eq!((read.parent, read.link), (sent.span, Some(Link::Socket)));
}

/// Node writes requests from callbacks that it has put off until it has read more.
#[test]
fn an_event_loop_whose_callbacks_have_ids_is_believed() {
    let mut world = World::new();
    let at = |running, made| Thread { turn: Some(Turn { running, made }), ..thread(A, A) };
    let (one, two) = (|i| End(11, i), |i| End(13, i));
    for i in 0..40 {
        let made = 100 + 100 * i as u32;
        world.serve(one(i), at(0, made)).serve(two(i), at(0, made + 10));
        world.call(End(20, i), at(made + 5, made + 20)).call(End(22, i), at(made + 15, made + 20));
        world.read(End(20, i), at(0, made + 20)).answer(one(i), at(0, made + 20));
        world.read(End(22, i), at(0, made + 30)).answer(two(i), at(0, made + 30));
    }
    world.pass(50 * MS);
    for i in 20..40 {
        world.caused(one(i), End(20, i), Link::Task);
        world.caused(two(i), End(22, i), Link::Task);
    }
}
