//! Threads that answer requests which others have read.

use super::*;

/// Thread 1 reads requests; what they need is asked for, and what they want is answered, by others.
const READER: u32 = 1;

#[test]
fn a_thread_that_answers_one_after_the_other_has_worked_for_them() {
    let mut world = World::new();
    // Two workers at a time: neither which request nests a call says it, nor when.
    for round in 0..20 {
        let [one, two] = [0, 2].map(|more| End(10 + more, round));
        let [call, other] = [0, 2].map(|more| End(30 + more, round));
        world.serve(one, thread(1, READER)).serve(two, thread(1, READER));
        world.call(call, thread(1, 7)).call(other, thread(1, 8));
        world.read(call, thread(1, 7)).read(other, thread(1, 8));
        world.answer(one, thread(1, 7)).answer(two, thread(1, 8));
    }
    world.finish();
    for round in 0..20 {
        world.caused(End(10, round), End(30, round), Link::Thread);
        world.caused(End(12, round), End(32, round), Link::Thread);
    }
}

#[test]
fn a_loop_that_answers_for_others_is_not_believed() {
    let mut world = World::new();
    // All calls and answers are one thread's; what it answers first may have been asked for by the other one.
    for round in 0..40 {
        let [one, two] = [0, 2].map(|more| End(10 + more, round));
        let [call, other] = [0, 2].map(|more| End(30 + more, round));
        world.serve(one, thread(1, READER)).serve(two, thread(1, 2));
        world.call(other, thread(1, 7)).call(call, thread(1, 7)).read(call, thread(1, 7));
        if round % 4 > 0 {
            world.answer(one, thread(1, 7)).read(other, thread(1, 7));
        } else {
            world.read(other, thread(1, 7)).answer(one, thread(1, 7));
        }
        world.answer(two, thread(1, 7));
    }
    world.finish();
    let wrong = |round: &u64| {
        world.span(Side::Client, End(32, *round)).parent == world.span(Side::Server, End(10, *round)).span
    };
    assert_eq!((0..40).find(wrong), None);
}

#[test]
fn a_thread_that_leaves_to_others_what_it_reads_is_not_believed() {
    let mut world = World::new();
    // Each reads what the other one serves: whoever has time looks for more.
    for round in 0..40 {
        let [one, two] = [0, 2].map(|more| End(10 + more, round));
        let [call, other] = [0, 2].map(|more| End(30 + more, round));
        world.serve(one, thread(1, 7)).serve(two, thread(1, 8));
        world.call(call, thread(1, 8)).call(other, thread(1, 7));
        world.read(call, thread(1, 9)).read(other, thread(1, 9));
        world.answer(one, thread(1, 8)).answer(two, thread(1, 7));
    }
    world.finish();
    let wrong = |round: &u64| {
        world.span(Side::Client, End(32, *round)).parent == world.span(Side::Server, End(10, *round)).span
    };
    // Until it has shown.
    assert_eq!((2..40).find(wrong), None);
}

#[test]
fn threads_that_answer_what_they_read_are_believed_again() {
    let mut world = World::new();
    for round in 0..40 {
        let [left, own, other] = [0, 2, 4].map(|more| End(10 + more, round));
        let [call, second] = [0, 2].map(|more| End(30 + more, round));
        // The reader leaves what it reads to others, but it does not call.
        world.serve(left, thread(1, READER)).answer(left, thread(1, 9));
        world.serve(own, thread(1, 7)).serve(other, thread(1, 8));
        world.call(call, thread(1, 7)).call(second, thread(1, 8));
        world.read(call, thread(1, 7)).read(second, thread(1, 8));
        world.answer(own, thread(1, 7)).answer(other, thread(1, 8));
    }
    world.finish();
    for round in 0..40 {
        world.caused(End(12, round), End(30, round), Link::Thread);
        world.caused(End(14, round), End(32, round), Link::Thread);
    }
}

/// Each of three workers reads what comes while it waits, and wakes the next one to do so; which of them serves a request is not to be seen.
/// Where `left` says so, somebody else sends the answer.
fn rounds(left: impl Fn(u64) -> bool) -> World {
    let mut world = World::new();
    for round in 0..60 {
        let [one, two] = [0, 2].map(|more| End(10 + more, round));
        let [call, other] = [0, 2].map(|more| End(30 + more, round));
        let [first, second, third] = [0, 1, 2].map(|turn| thread(1, 7 + (round as u32 + turn) % 3));
        world.serve(one, second).hand(second, third, How::Wake(0x40)).serve(two, third);
        world.call(call, first).hand(third, first, How::Wake(0x80)).call(other, second);
        world.read(other, third).read(call, second);
        world.answer(one, if left(round) { thread(1, 20) } else { first }).answer(two, second);
    }
    world.finish();
    world
}

#[test]
fn threads_that_read_for_each_other() {
    let world = rounds(|_| false);
    // It has to show.
    for round in 20..60 {
        world.caused(End(10, round), End(30, round), Link::Thread);
        world.caused(End(12, round), End(32, round), Link::Thread);
    }
}

#[test]
fn threads_that_leave_their_answers_to_others() {
    let world = rounds(|round| round % 5 == 4);
    let is_right = |call: End, request: End| {
        let parent = world.span(Side::Client, call).parent;
        assert!(parent == SpanId::INVALID || parent == world.span(Side::Server, request).span, "{}:{}", call.0, call.1);
        parent != SpanId::INVALID
    };
    let rounds = 20..60;
    let right =
        rounds.filter(|round| is_right(End(30, *round), End(10, *round)) & is_right(End(32, *round), End(12, *round)));
    assert!(right.count() >= 24);
}
