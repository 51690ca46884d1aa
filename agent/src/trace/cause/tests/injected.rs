//! Contexts that the kernel side has written into requests.

use super::*;
use crate::event::Injected;

/// The kernel side writes this into the request that is sent next.
fn write(world: &mut World, trace: u128, span: u64) -> Option<Origin> {
    let (trace_bytes, span_bytes) = (trace.to_be_bytes(), span.to_be_bytes());
    world.engine.injected(&Injected { at: 16, trace: trace_bytes, span: span_bytes, flags: 1 });
    Some(origin(trace, span))
}

/// Trace, span and parent, as numbers.
fn ids(span: &Settled) -> (TraceId, SpanId, SpanId) {
    (span.trace.id, span.span, span.parent)
}

#[test]
fn what_was_written_is_what_comes_out_and_the_request_joins_its_trace() {
    let mut world = World::new();
    let worker = thread(7, 8);
    world.serve(End(10, 0), worker);
    let written = write(&mut world, 77, 78);
    world.ask(Side::Client, End(20, 0), worker, written, &[]);
    // Another one of the same request, into which nothing was written.
    world.end(Side::Client, End(20, 0), worker).call(End(22, 0), worker).end(Side::Client, End(22, 0), worker);
    world.end(Side::Server, End(10, 0), worker).finish();
    let (request, call) = (world.span(Side::Server, End(10, 0)), world.span(Side::Client, End(20, 0)));
    assert_eq!(ids(call), (TraceId::from(77), SpanId::from(78), request.span));
    assert_eq!((request.trace.id, call.link), (TraceId::from(77), Some(Link::Thread)));
    assert_eq!(world.span(Side::Client, End(22, 0)).trace.id, TraceId::from(77));
    assert_eq!(world.engine.stats(), Stats { injected: 1, ..Stats::default() });
}

#[test]
fn a_call_of_another_trace_stands_for_itself() {
    let mut world = World::new();
    let worker = thread(7, 8);
    world.ask(Side::Server, End(10, 0), worker, Some(origin(5, 6)), &[]);
    let written = write(&mut world, 77, 78);
    world.ask(Side::Client, End(20, 0), worker, written, &[]);
    // Whoever serves it is seen, too: it belongs to what it was sent with.
    world.ask(Side::Server, End(21, 0), thread(9, 9), Some(origin(77, 78)), &[]);
    world.end(Side::Server, End(21, 0), thread(9, 9)).end(Side::Client, End(20, 0), worker);
    world.end(Side::Server, End(10, 0), worker).finish();
    let (request, call) = (world.span(Side::Server, End(10, 0)), world.span(Side::Client, End(20, 0)));
    assert_eq!(request.trace.id, TraceId::from(5));
    assert_eq!(ids(call), (TraceId::from(77), SpanId::from(78), SpanId::INVALID));
    let linked = call.apart.as_deref().map(|context| (context.trace_id(), context.span_id()));
    assert_eq!((call.link, linked), (Some(Link::Apart), Some((TraceId::from(5), request.span))));
    let served = world.span(Side::Server, End(21, 0));
    assert_eq!((served.trace.id, served.parent), (TraceId::from(77), SpanId::from(78)));
    assert_eq!((world.engine.stats().injected, world.engine.stats().apart), (1, 1));
}

#[test]
fn a_call_without_a_cause_begins_its_trace() {
    let mut world = World::new();
    let written = write(&mut world, 77, 78);
    world.ask(Side::Client, End(20, 0), thread(7, 8), written, &[]);
    world.end(Side::Client, End(20, 0), thread(7, 8)).finish();
    assert_eq!(ids(world.span(Side::Client, End(20, 0))), (TraceId::from(77), SpanId::from(78), SpanId::INVALID));
}

#[test]
fn what_others_have_written_is_theirs() {
    let mut world = World::new();
    write(&mut world, 77, 78);
    world.ask(Side::Client, End(20, 0), thread(7, 8), Some(origin(77, 79)), &[]);
    world.end(Side::Client, End(20, 0), thread(7, 8)).finish();
    let call = world.span(Side::Client, End(20, 0));
    assert_eq!((call.parent, call.link), (SpanId::from(79), Some(Link::Header)));
    assert_eq!(world.engine.stats().injected, 0);
}

#[test]
fn traces_of_requests_are_what_the_kernel_side_makes_of_them() {
    let mut world = World::new();
    let key = [1, 2, 3, 4];
    world.engine.set_inject_key(key);
    world.serve(End(10, 300), thread(7, 8)).end(Side::Server, End(10, 300), thread(7, 8)).finish();
    let [high, low] = geophone_ebpf::inject::trace_id(key, 10, 1, 300);
    let expected = TraceId::from(u128::from(high) << 64 | u128::from(low));
    assert_eq!(world.span(Side::Server, End(10, 300)).trace.id, expected);
}

#[test]
fn contexts_whose_requests_are_never_seen_are_counted_and_forgotten() {
    let mut world = World::new();
    for span in 1..=16_384 + 10 {
        write(&mut world, 77, span);
    }
    assert_eq!(world.engine.stats().unseen_injected, 10);
}
