//! Contexts that TCP options have carried.

use super::*;
use crate::event::{Carried, Direction};

/// A context leaves with, or has come with, the request whose ends these are.
fn carry(world: &mut World, direction: Direction, end: End, trace: u128, span: u64) {
    let (client, server) = (end.0 & !1, end.0 | 1);
    world.engine.carried(&Carried {
        time: world.now,
        direction,
        answers: server as u32 * 1000,
        request: client as u32 * 1000 + end.1 as u32,
        trace: trace.to_be_bytes(),
        span: span.to_be_bytes(),
        flags: 1,
    });
}

/// Trace, span and parent, as numbers.
fn ids(span: &Settled) -> (TraceId, SpanId, SpanId) {
    (span.trace.id, span.span, span.parent)
}

#[test]
fn what_has_left_is_what_comes_out_and_the_request_joins_its_trace() {
    let mut world = World::new();
    let worker = thread(7, 8);
    world.serve(End(11, 0), worker);
    carry(&mut world, Direction::Send, End(20, 300), 77, 78);
    world.call(End(20, 300), worker).end(Side::Client, End(20, 300), worker);
    world.end(Side::Server, End(11, 0), worker).finish();
    let (request, call) = (world.span(Side::Server, End(11, 0)), world.span(Side::Client, End(20, 300)));
    assert_eq!(ids(call), (TraceId::from(77), SpanId::from(78), request.span));
    assert_eq!((request.trace.id, call.link), (TraceId::from(77), Some(Link::Thread)));
    assert_eq!(world.engine.stats(), Stats { carried_out: 1, ..Stats::default() });
}

#[test]
fn a_request_has_the_parent_that_has_come_with_it() {
    let mut world = World::new();
    let worker = thread(7, 8);
    carry(&mut world, Direction::Receive, End(11, 300), 77, 78);
    world.serve(End(11, 300), worker).call(End(20, 0), worker).end(Side::Client, End(20, 0), worker);
    world.end(Side::Server, End(11, 300), worker).finish();
    let (request, call) = (world.span(Side::Server, End(11, 300)), world.span(Side::Client, End(20, 0)));
    assert_eq!((request.trace.id, request.parent, request.link), (77.into(), 78.into(), Some(Link::Option)));
    assert_eq!((call.trace.id, call.parent), (TraceId::from(77), request.span));
    assert_eq!(world.engine.stats(), Stats { carried_in: 1, ..Stats::default() });
}

#[test]
fn a_call_of_another_trace_stands_for_itself() {
    let mut world = World::new();
    let worker = thread(7, 8);
    carry(&mut world, Direction::Receive, End(11, 0), 5, 6);
    world.serve(End(11, 0), worker);
    carry(&mut world, Direction::Send, End(20, 0), 77, 78);
    world.call(End(20, 0), worker).end(Side::Client, End(20, 0), worker);
    world.end(Side::Server, End(11, 0), worker).finish();
    let (request, call) = (world.span(Side::Server, End(11, 0)), world.span(Side::Client, End(20, 0)));
    assert_eq!(ids(call), (TraceId::from(77), SpanId::from(78), SpanId::INVALID));
    let linked = call.apart.as_deref().map(|context| (context.trace_id(), context.span_id()));
    assert_eq!((call.link, linked), (Some(Link::Apart), Some((TraceId::from(5), request.span))));
}

/// Two network namespaces of one host: what the option says of the request's parent is what is found without it.
#[test]
fn both_ends_of_a_connection_agree_with_what_it_carries() {
    for server_first in [false, true] {
        let mut world = World::new();
        carry(&mut world, Direction::Send, End(20, 0), 77, 78);
        carry(&mut world, Direction::Receive, End(21, 0), 77, 78);
        if server_first {
            world.serve(End(21, 0), thread(9, 9)).call(End(20, 0), thread(7, 8));
        } else {
            world.call(End(20, 0), thread(7, 8)).serve(End(21, 0), thread(9, 9));
        }
        world.end(Side::Server, End(21, 0), thread(9, 9)).end(Side::Client, End(20, 0), thread(7, 8)).finish();
        let (request, call) = (world.span(Side::Server, End(21, 0)), world.span(Side::Client, End(20, 0)));
        assert_eq!(ids(call), (TraceId::from(77), SpanId::from(78), SpanId::INVALID));
        assert_eq!((request.trace.id, request.parent), (TraceId::from(77), SpanId::from(78)), "{server_first}");
    }
}

#[test]
fn a_header_says_more_than_an_option() {
    let mut world = World::new();
    carry(&mut world, Direction::Receive, End(11, 0), 77, 78);
    carry(&mut world, Direction::Send, End(20, 0), 79, 80);
    world.ask(Side::Server, End(11, 0), thread(7, 8), Some(origin(5, 6)), &[]);
    world.ask(Side::Client, End(20, 0), thread(7, 8), Some(origin(5, 7)), &[]);
    world.end(Side::Client, End(20, 0), thread(7, 8)).end(Side::Server, End(11, 0), thread(7, 8)).finish();
    let (request, call) = (world.span(Side::Server, End(11, 0)), world.span(Side::Client, End(20, 0)));
    assert_eq!((request.trace.id, request.parent), (TraceId::from(5), SpanId::from(6)));
    assert_eq!((call.trace.id, call.parent, call.apart.is_none()), (TraceId::from(5), SpanId::from(7), true));
    assert_eq!(world.engine.stats(), Stats { carried_unused: 2, ..Stats::default() });
}

/// Several requests in a segment, or a message that goes on after something was received.
#[test]
fn only_what_begins_at_the_very_byte_is_meant() {
    let mut world = World::new();
    carry(&mut world, Direction::Receive, End(11, 300), 77, 78);
    carry(&mut world, Direction::Send, End(20, 300), 77, 78);
    for place in [0, 299, 301] {
        world.serve(End(11, place), thread(7, 8)).call(End(20, place), thread(9, 9));
        world.end(Side::Client, End(20, place), thread(9, 9)).end(Side::Server, End(11, place), thread(7, 8));
    }
    world.finish();
    for place in [0, 299, 301] {
        assert_eq!(world.span(Side::Server, End(11, place)).parent, SpanId::INVALID);
        assert_ne!(world.span(Side::Client, End(20, place)).span, SpanId::from(78));
    }
    assert_eq!((world.engine.stats().carried_in, world.engine.stats().carried_out), (0, 0));
}

#[test]
fn inside_of_tls_it_speaks_of_the_record() {
    let mut world = World::new();
    let sequences = Sequences { sent: 21_000, received: 20_000 };
    // The request is at another place in what is decrypted than its record on the wire.
    let other_end = OtherEnd::Encrypted { sequences, wire: Some(900), whole: true };
    let mut asked = Asked {
        id: id(End(21, 300)),
        side: Side::Server,
        time: world.now,
        thread: thread(7, 8),
        other_end,
        remote: None,
        addresses: None,
        carried: None,
        values: Values::default(),
    };
    carry(&mut world, Direction::Receive, End(21, 300), 5, 6);
    carry(&mut world, Direction::Receive, End(21, 900), 77, 78);
    world.engine.asked(&asked, None, Vec::new());
    asked.id = id(End(21, 301));
    asked.other_end = OtherEnd::Encrypted { sequences, wire: None, whole: true };
    world.engine.asked(&asked, None, Vec::new());
    world.end(Side::Server, End(21, 300), thread(7, 8)).finish();
    assert_eq!(world.span(Side::Server, End(21, 300)).parent, SpanId::from(78));
    assert_eq!(world.engine.stats().carried_in, 1);
}

#[test]
fn contexts_of_what_is_never_seen_are_counted_and_forgotten() {
    let mut world = World::new();
    for place in 1..=16_384 + 10 {
        carry(&mut world, Direction::Receive, End(11, place), 77, 78);
        carry(&mut world, Direction::Send, End(20, place), 77, 78);
    }
    assert_eq!(world.engine.stats().carried_unused, 20);
    world.serve(End(11, 10), thread(7, 8)).serve(End(11, 11), thread(7, 8));
    assert_eq!(world.engine.stats().carried_in, 1);
}
