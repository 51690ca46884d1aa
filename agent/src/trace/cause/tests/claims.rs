//! Streams of HTTP/2 that are sent by a connection's own task: who has them sent, and who serves them.

use super::*;

fn g(id: u64, parent: u64) -> Thread {
    task(A, 101, id, parent)
}

/// Two requests of one connection are read by its own task, then each is served by a goroutine of its own.
fn two_served() -> World {
    let mut world = World::new();
    let reader = g(5, 1);
    world.serve(End(11, 1), reader).serve(End(11, 3), reader);
    world.hand(g(7, 5), Thread::default(), How::Serve { sock: 11, place: 1 });
    world.hand(g(8, 5), Thread::default(), How::Serve { sock: 11, place: 3 });
    world
}

fn claim(place: u64) -> How {
    How::Claim { sock: 20, place }
}

#[test]
fn streams_are_of_whoever_claims_them() {
    let mut world = two_served();
    let (loopy, reader) = (g(30, 7), g(31, 7));
    world.hand(g(8, 5), Thread::default(), claim(1)).hand(g(40, 7), Thread::default(), claim(3));
    // Whoever wakes the task that sends says nothing.
    world.hand(g(7, 5), loopy, How::Wake(0));
    world.call(End(20, 1), loopy).call(End(20, 3), loopy).read(End(20, 3), reader).read(End(20, 1), reader);
    world.answer(End(11, 1), g(6, 1)).answer(End(11, 3), g(6, 1)).pass(30 * MS);
    world.caused(End(11, 3), End(20, 1), Link::Task);
    world.caused(End(11, 1), End(20, 3), Link::Task);
}

#[test]
fn a_claim_may_come_late_and_again() {
    let mut world = two_served();
    let (loopy, reader) = (g(30, 7), g(31, 7));
    world.hand(g(7, 5), Thread::default(), claim(1)).call(End(20, 1), loopy);
    world.call(End(20, 3), loopy).call(End(20, 5), loopy);
    world.hand(g(8, 5), Thread::default(), claim(3));
    // Its answer is there already.
    world.read(End(20, 5), reader).hand(g(8, 5), Thread::default(), claim(5));
    // Later messages of a stream, by another one.
    world.hand(g(7, 5), Thread::default(), claim(3)).hand(g(8, 5), Thread::default(), claim(1));
    world.read(End(20, 3), reader).read(End(20, 1), reader);
    world.answer(End(11, 1), g(6, 1)).answer(End(11, 3), g(6, 1)).pass(30 * MS);
    world.caused(End(11, 1), End(20, 1), Link::Task);
    world.caused(End(11, 3), End(20, 3), Link::Task);
}

#[test]
fn the_sender_of_a_stream_is_not_believed_where_streams_are_claimed() {
    let mut world = two_served();
    let (loopy, reader) = (g(30, 7), g(31, 7));
    world.hand(g(7, 5), Thread::default(), claim(1)).call(End(20, 1), loopy);
    // Nobody claims this one.
    world.hand(g(7, 5), loopy, How::Wake(0)).call(End(20, 3), loopy);
    world.read(End(20, 3), reader).read(End(20, 1), reader);
    world.answer(End(11, 1), g(6, 1)).answer(End(11, 3), g(6, 1)).pass(6_000 * MS);
    world.caused(End(11, 1), End(20, 1), Link::Task);
    world.root(Side::Client, End(20, 3));
}

#[test]
fn a_worker_that_serves_one_stream_after_the_other() {
    let mut world = two_served();
    let (loopy, worker) = (g(30, 1), g(7, 5));
    world.hand(worker, Thread::default(), claim(1)).call(End(20, 1), loopy).read(End(20, 1), g(31, 1));
    world.answer(End(11, 1), g(6, 1));
    world.hand(worker, Thread::default(), How::Serve { sock: 11, place: 3 });
    world.hand(worker, Thread::default(), claim(3)).call(End(20, 3), loopy);
    // What was not seen to be read is not what was read last.
    world.hand(worker, Thread::default(), How::Serve { sock: 11, place: 99 });
    world.hand(worker, Thread::default(), claim(5)).call(End(20, 5), loopy);
    world.serve(End(11, 5), g(5, 1)).serve(End(11, 7), g(5, 1));
    world.read(End(20, 3), g(31, 1)).read(End(20, 5), g(31, 1));
    for place in [3, 5, 7] {
        world.answer(End(11, place), g(6, 1));
    }
    world.pass(6_000 * MS);
    world.caused(End(11, 1), End(20, 1), Link::Task);
    world.caused(End(11, 3), End(20, 3), Link::Task);
    assert!(world.span(Side::Client, End(20, 5)).link != Some(Link::Task));
}

#[test]
fn a_call_that_is_sent_by_a_task_that_was_started_for_it() {
    let mut world = two_served();
    // Each handler starts a task, and that one another one, which sends the request.
    world.hand(g(20, 7), Thread::default(), How::Delegate).hand(g(21, 8), Thread::default(), How::Delegate);
    world.call(End(20, 1), g(41, 21)).call(End(20, 3), g(40, 20)).call(End(20, 5), g(42, 22));
    // A handler does so itself.
    world.hand(g(8, 5), Thread::default(), How::Delegate).call(End(20, 7), g(43, 8));
    for place in [3, 1, 7, 5] {
        world.read(End(20, place), g(31, 7));
    }
    world.answer(End(11, 1), g(6, 1)).answer(End(11, 3), g(6, 1)).pass(6_000 * MS);
    world.caused(End(11, 3), End(20, 1), Link::Task);
    world.caused(End(11, 1), End(20, 3), Link::Task);
    world.caused(End(11, 3), End(20, 7), Link::Task);
    // Who has started the one that has started this one is not known.
    world.root(Side::Client, End(20, 5));
}

#[test]
fn the_request_by_which_a_connection_was_upgraded() {
    let mut world = World::new();
    let (connection, reader) = (g(5, 1), g(6, 5));
    world.serve(End(11, 0), connection).serve(End(11, 3), reader);
    world.hand(g(7, 5), Thread::default(), How::Serve { sock: 11, place: 1 });
    world.hand(g(8, 5), Thread::default(), How::Serve { sock: 11, place: 3 });
    // Not seen to be read.
    world.hand(g(9, 5), Thread::default(), How::Serve { sock: 11, place: 5 });
    world.call(End(20, 0), g(8, 5)).call(End(22, 0), g(7, 5)).call(End(24, 0), g(9, 5));
    world.read(End(20, 0), g(8, 5)).read(End(22, 0), g(7, 5)).read(End(24, 0), g(9, 5));
    world.answer(End(11, 0), g(10, 5)).answer(End(11, 3), g(10, 5)).pass(6_000 * MS);
    world.caused(End(11, 3), End(20, 0), Link::Task);
    world.caused(End(11, 0), End(22, 0), Link::Task);
    world.root(Side::Client, End(24, 0));
}

#[test]
fn whoever_serves_what_was_not_seen_works_for_nothing_that_was() {
    let mut world = World::new();
    world.serve(End(11, 1), g(5, 1));
    world.hand(g(8, 5), Thread::default(), How::Serve { sock: 11, place: 3 });
    // By itself, and by one that it has started.
    world.call(End(20, 1), g(8, 5)).read(End(20, 1), g(31, 1)).call(End(20, 3), g(9, 8)).read(End(20, 3), g(31, 1));
    // Nobody knows who this one is.
    world.call(End(20, 5), g(40, 0)).read(End(20, 5), g(31, 1));
    world.answer(End(11, 1), g(6, 1)).pass(6_000 * MS);
    world.root(Side::Client, End(20, 1)).root(Side::Client, End(20, 3));
    world.caused(End(11, 1), End(20, 5), Link::Time);
}
