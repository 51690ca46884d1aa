//! Processes with an SDK whose spans are seen to go out.

use super::*;

/// What a process sends, to a URL, with this outcome.
fn sent(url: &str, status: Status) -> Exchange {
    let mut attributes = Attributes::default();
    attributes.push("url.full", url);
    Exchange {
        id: id(End(90, 0)),
        protocol: "test",
        side: Side::Client,
        start: 1,
        request_end: 1,
        first_byte: Some(2),
        end: 2,
        request_thread: thread(A, 109),
        response_thread: None,
        name: "POST".into(),
        status,
        attributes,
        holes: Holes::default(),
    }
}

fn origin(trace: u128, span: u64, flags: TraceFlags) -> Option<Origin> {
    let trace = Trace { id: TraceId::from(trace), flags, state: TraceState::NONE };
    Some(Origin { trace, span: SpanId::from(span) })
}

/// A request with a context, and a call with one of the SDK's own in the same trace, from one place on.
fn served(world: &mut World, place: u64, flags: TraceFlags) {
    let main = thread(A, A);
    world.ask(Side::Server, End(11, place), main, origin(5, 6, flags), &[]);
    world.ask(Side::Client, End(20, place), main, origin(5, 7, flags), &[]).read(End(20, place), main);
    world.answer(End(11, place), main).pass(30 * MS);
}

fn exporting(url: &str) -> World {
    let mut world = World::new();
    served(&mut world, 0, TraceFlags::SAMPLED);
    world.engine.sdk_exports(A, &sent(url, Status::Unset));
    world
}

fn has(world: &World, side: Side, end: End) -> bool {
    world.spans.iter().any(|span| span.exchange.side == side && span.exchange.id == id(end))
}

#[test]
fn what_it_makes_spans_of_has_none_of_ours() {
    let mut world = exporting("http://collector:4318/v1/traces");
    served(&mut world, 1, TraceFlags::SAMPLED);
    assert!(has(&world, Side::Server, End(11, 0)) && has(&world, Side::Client, End(20, 0)));
    assert!(!has(&world, Side::Server, End(11, 1)) && !has(&world, Side::Client, End(20, 1)));
    assert_eq!(world.engine.stats().left_to_sdks, 2);
    // Whoever is asked hangs under the SDK's span.
    let (main, other) = (thread(A, A), thread(B, 201));
    world.ask(Side::Client, End(20, 2), main, origin(5, 8, TraceFlags::SAMPLED), &[]);
    world.ask(Side::Server, End(21, 2), other, origin(5, 8, TraceFlags::SAMPLED), &[]).answer(End(21, 2), other);
    world.read(End(20, 2), main).pass(30 * MS);
    let below = world.span(Side::Server, End(21, 2));
    assert_eq!((below.trace.id, below.parent), (TraceId::from(5), SpanId::from(8)));
}

#[test]
fn what_it_does_not_is_kept() {
    // Nobody has sampled it, so it does not go out.
    let mut world = exporting("http://collector:9411/api/v2/spans?a=b");
    served(&mut world, 1, TraceFlags::NOT_SAMPLED);
    assert!(has(&world, Side::Server, End(11, 1)) && has(&world, Side::Client, End(20, 1)));
    // A call that it knows nothing of hangs under ours.
    let main = thread(A, A);
    world.ask(Side::Server, End(11, 2), main, origin(5, 6, TraceFlags::SAMPLED), &[]);
    world.call(End(30, 2), main).read(End(30, 2), main).answer(End(11, 2), main).pass(30 * MS);
    world.caused(End(11, 2), End(30, 2), Link::Thread);
    // Nobody takes its spans any more.
    let failed = sent("http://collector:9411/api/v2/spans", Status::Error("503".into()));
    world.engine.sdk_exports(A, &failed);
    served(&mut world, 3, TraceFlags::SAMPLED);
    assert!(has(&world, Side::Server, End(11, 3)) && has(&world, Side::Client, End(20, 3)));
}

#[test]
fn all_is_kept_where_that_is_wanted_or_nothing_goes_out() {
    let mut world = exporting("http://shop/v1/traces/list");
    served(&mut world, 1, TraceFlags::SAMPLED);
    assert!(has(&world, Side::Server, End(11, 1)) && has(&world, Side::Client, End(20, 1)));
    let mut world = exporting("http://collector:4318/v1/traces");
    world.engine.keep_sdk_spans();
    served(&mut world, 1, TraceFlags::SAMPLED);
    assert!(has(&world, Side::Server, End(11, 1)) && has(&world, Side::Client, End(20, 1)));
}
