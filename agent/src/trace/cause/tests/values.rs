//! Values that a request and a call have in common.

use super::*;

/// Two requests at a time, whose calls are made by threads of which nothing is known.
fn unknown(world: &mut World, i: u64, values: [u64; 2]) {
    let (a, b, worker) = (thread(A, 101), thread(A, 102), thread(A, 103));
    world.says(values[0]).serve(End(11, i), a).says(values[1]).serve(End(13, i), b);
    world.says(values[1]).call(End(20, i), worker).read(End(20, i), worker).pass(30 * MS);
    world.answer(End(11, i), a).answer(End(13, i), b).pass(30 * MS);
}

#[test]
fn the_only_request_that_has_brought_a_value() {
    let mut world = World::new();
    unknown(&mut world, 0, [1001, 1002]);
    world.caused(End(13, 0), End(20, 0), Link::Value);
    // Both have.
    unknown(&mut world, 1, [1003, 1003]);
    world.pass(6_000 * MS).root(Side::Client, End(20, 1));
}

#[test]
fn a_value_that_many_requests_bring_is_none_of_theirs() {
    let mut world = World::new();
    for i in 0..20 {
        unknown(&mut world, i, [2000 + i, 7]);
    }
    world.pass(6_000 * MS).caused(End(13, 0), End(20, 0), Link::Value);
    for i in 8..20 {
        world.root(Side::Client, End(20, i));
    }
}

#[test]
fn values_do_not_count_where_they_were_wrong() {
    let mut world = World::new();
    let (a, b) = (thread(A, 101), thread(A, 102));
    // What is asked for is what others ask about.
    for i in 0..10 {
        world.says(3000 + i).serve(End(11, i), a).says(4000 + i).serve(End(13, i), b);
        world.says(3000 + i).call(End(22, i), b).read(End(22, i), b).answer(End(11, i), a).answer(End(13, i), b);
        world.pass(300 * MS).caused(End(13, i), End(22, i), Link::Thread);
    }
    unknown(&mut world, 99, [1001, 1002]);
    world.pass(6_000 * MS).root(Side::Client, End(20, 99));
}

#[test]
fn better_evidence_wins() {
    let mut world = World::new();
    let (a, b, w) = (thread(A, 101), thread(A, 102), thread(A, 103));
    world.says(1001).serve(End(11, 0), a).says(1002).serve(End(13, 0), b);
    world.says(1002).call(End(20, 0), w).read(End(20, 0), w).hand(w, a, How::Wake(1));
    world.answer(End(11, 0), a).answer(End(13, 0), b).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Wake);
}

/// Greenlets: what a loop answers goes on with what it has read last, but what it asks for may follow from a timer.
#[test]
fn what_an_event_loop_has_read_last_is_not_believed_where_values_say_otherwise() {
    let mut world = World::new();
    let main = thread(A, 101);
    for i in 0..40 {
        world.says(10_000 + i).serve(End(11, i), main).says(20_000 + i).serve(End(13, i), main);
        // A timer of the first one.
        world.says(10_000 + i).call(End(20, i), main).read(End(20, i), main).answer(End(11, i), main);
        world.answer(End(13, i), main).pass(30 * MS);
    }
    world.finish();
    for i in 0..40 {
        let call = world.span(Side::Client, End(20, i));
        assert_eq!(call.parent, world.span(Side::Server, End(11, i)).span, "{i}: {:?}", call.link);
    }
}

/// The places in which a loop has sent what it has read are a guess.
#[test]
fn values_win_over_order() {
    let mut world = World::new();
    let main = thread(A, 101);
    for i in 0..40 {
        world.serve(End(11, i), main).serve(End(13, i), main);
        world.answer(End(11, i), main).answer(End(13, i), main).pass(50 * MS);
    }
    world.says(10_001).serve(End(11, 98), main).says(10_002).serve(End(13, 98), main);
    world.says(10_002).call(End(22, 0), main).says(10_001).call(End(24, 0), main);
    world.read(End(24, 0), main).read(End(22, 0), main);
    world.answer(End(13, 98), main).answer(End(11, 98), main).finish();
    for (request, call) in [(13, 22), (11, 24)] {
        let call = world.span(Side::Client, End(call, 0));
        assert_eq!(call.parent, world.span(Side::Server, End(request, 98)).span, "{:?}", call.link);
    }
}
