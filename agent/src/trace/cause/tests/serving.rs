//! What threads are said to serve while they do.

use super::*;

impl World {
    fn watched() -> Self {
        let mut world = Self { remote: Some(Ipv4Addr::new(192, 0, 2, 1).into()), ..Self::new() };
        world.engine.watch_serving();
        world
    }

    /// What was said since the last time, by thread: the span, or that there is none.
    fn serving(&mut self) -> Vec<(u32, Option<SpanId>)> {
        let mut said: Vec<_> =
            self.engine.take_serving().map(|said| (said.tid, said.of.map(|(_, span)| span))).collect();
        said.sort_unstable_by_key(|(tid, _)| *tid);
        said
    }
}

#[test]
fn from_when_the_trace_is_known_to_the_end() {
    let mut world = World::watched();
    let one = thread(A, 101);
    world.serve(End(11, 0), one);
    assert_eq!(world.serving(), [], "its trace is not known");
    let said = world.pass(30 * MS).serving();
    world.call(End(20, 0), one).read(End(20, 0), one);
    assert_eq!(world.serving(), [], "it still works for that");
    world.answer(End(11, 0), one).pass(MS);
    assert_eq!(said, [(101, Some(world.span(Side::Server, End(11, 0)).span))]);
    assert_eq!(world.serving(), [(101, None)]);
}

#[test]
fn nothing_is_said_of_what_is_over() {
    let mut world = World::watched();
    let one = thread(A, 101);
    world.serve(End(11, 0), one).answer(End(11, 0), one).pass(30 * MS);
    world.serve(End(11, 9), one).pass(30 * MS).answer(End(11, 9), one);
    assert_eq!(world.serving(), [(101, None)], "only the last word counts");
}

#[test]
fn tasks_and_loops_are_left_out() {
    let mut world = World::watched();
    let main = thread(A, 101);
    world.serve(End(11, 0), task(A, 102, 7, 1)).pass(30 * MS);
    assert_eq!(world.serving(), []);
    world.serve(End(13, 0), main).pass(30 * MS);
    assert_eq!(world.serving().len(), 1);
    world.serve(End(15, 0), main);
    assert_eq!(world.serving(), [(101, None)], "it has two at a time");
    world.pass(30 * MS);
    assert_eq!(world.serving(), []);
}

#[test]
fn a_process_that_ends_serves_nothing() {
    let mut world = World::watched();
    world.serve(End(11, 0), thread(A, 101)).serve(End(13, 0), thread(B, 201)).pass(30 * MS);
    assert_eq!(world.serving().len(), 2);
    world.engine.ended(B);
    assert_eq!(world.serving(), [(201, None)]);
}
