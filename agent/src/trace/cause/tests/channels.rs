//! Goroutines that are handed items over channels, and hand results back over others.

use super::*;

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
    let is_wrong = |round: &u64| {
        let (above, below) = (world.span(Side::Server, End(11, *round)), world.span(Side::Client, End(20, *round)));
        below.parent != SpanId::INVALID && below.parent != above.span
    };
    assert_eq!((0..40).find(is_wrong), None);
}
