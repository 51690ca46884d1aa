//! Goroutines that are handed items over channels, and hand results back over others.

use super::*;

/// Whether the call of a round has a parent, and not the request that caused it.
fn is_wrong(world: &World, round: u64) -> bool {
    let (above, below) = (world.span(Side::Server, End(11, round)), world.span(Side::Client, End(20, round)));
    below.parent != SpanId::INVALID && below.parent != above.span
}

#[test]
fn a_worker_that_takes_what_others_wait_to_hand_over() {
    let mut world = World::new();
    let handler = |round: u64| task(A, 101, 1000 + round, 5);
    let worker = task(A, 102, 7, 5);
    // All who hand over items wait to get rid of them: the worker wakes each as it takes its item. Its results wait until they are looked for.
    for round in 0..40 {
        world.serve(End(11, round), handler(round));
    }
    for round in 0..40 {
        world.hand(worker, handler(round), How::Wake(0));
        world.call(End(20, round), worker).read(End(20, round), worker);
    }
    for round in 0..40 {
        world.answer(End(11, round), handler(round));
    }
    world.finish();
    assert_eq!((0..40).find(|round| is_wrong(&world, *round)), None);
}

#[test]
fn results_that_wait_are_of_what_was_taken_where_that_has_held() {
    let mut world = World::new();
    let handler = |round: u64| task(A, 101, 1000 + round, 5);
    let worker = task(A, 102, 7, 5);
    for round in 0..80 {
        world.serve(End(11, round), handler(round));
    }
    for round in 0..80 {
        world.hand(worker, handler(round), How::Wake(0));
        world.call(End(20, round), worker).read(End(20, round), worker);
        // Every second one waits for its result already.
        if round % 2 == 0 {
            world.hand(worker, handler(round), How::Wake(0));
        }
    }
    for round in 0..80 {
        world.answer(End(11, round), handler(round));
    }
    world.finish();
    for round in 40..80 {
        world.caused(End(11, round), End(20, round), Link::Wake);
    }
}

#[test]
fn items_of_those_who_wait_behind_others_are_not_believed() {
    let mut world = World::new();
    let handler = |round: u64| task(A, 101, 1000 + round, 5);
    let worker = task(A, 102, 7, 5);
    for round in 0..80 {
        world.serve(End(11, round), handler(round));
    }
    // There is a full buffer: whoever is woken as the worker takes the first item has had room made for the last one.
    for round in 0..72 {
        world.hand(worker, handler(round + 8), How::Wake(0));
        world.call(End(20, round), worker).read(End(20, round), worker);
        if round % 3 > 0 {
            world.hand(worker, handler(round), How::Wake(0));
        }
    }
    for round in 0..80 {
        world.answer(End(11, round), handler(round));
    }
    world.finish();
    assert_eq!((0..72).filter(|round| is_wrong(&world, *round)).count(), 0);
}
