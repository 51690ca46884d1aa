//! Tasks of which it shows only later who waits for them: Java's virtual threads.

use super::*;

/// Two requests that are open at a time, each served by a virtual thread that has had a call made by another one.
fn two(first_known: bool) -> World {
    let mut world = World::new();
    world.serve(End(11, 0), task(A, 101, 7, 0)).serve(End(13, 0), task(A, 101, 17, 0));
    for (call, own, child) in [(20, 7, 8), (22, 17, 18)] {
        let parent = if first_known { own } else { 0 };
        world.call(End(call, 0), task(A, 102, child, parent));
    }
    world
}

#[test]
fn who_waits_for_a_task_has_started_it() {
    for first_known in [false, true] {
        let mut world = two(first_known);
        world.read(End(22, 0), task(A, 101, 18, 17)).read(End(20, 0), task(A, 102, 8, 7));
        // What it does next is for the same.
        let parent = if first_known { 7 } else { 0 };
        world.call(End(24, 0), task(A, 101, 8, parent)).read(End(24, 0), task(A, 101, 8, 0));
        world.answer(End(11, 0), task(A, 101, 7, 0)).answer(End(13, 0), task(A, 102, 17, 0)).finish();
        world.caused(End(11, 0), End(20, 0), Link::Task);
        world.caused(End(13, 0), End(22, 0), Link::Task);
        world.caused(End(11, 0), End(24, 0), Link::Task);
    }
}

#[test]
fn who_waits_for_another_call_says_nothing_of_it() {
    let mut world = two(false);
    // Nobody waits; or one whose request did not enclose the call; or the answer was read by another task.
    world.read(End(20, 0), task(A, 102, 8, 0)).read(End(22, 0), task(A, 102, 19, 7));
    world.serve(End(15, 0), task(A, 101, 27, 0)).call(End(26, 0), task(A, 101, 18, 0));
    world.answer(End(11, 0), task(A, 101, 7, 0)).answer(End(13, 0), task(A, 102, 17, 0));
    world.read(End(26, 0), task(A, 101, 18, 7)).answer(End(15, 0), task(A, 101, 27, 0)).finish();
    for call in [20, 22] {
        world.root(Side::Client, End(call, 0));
    }
    assert_ne!(world.span(Side::Client, End(26, 0)).parent, world.span(Side::Server, End(11, 0)).span);
}
