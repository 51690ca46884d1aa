//! Samples, and what threads have done with their time: which request they were for, and where that must stay open.

use proptest::prelude::*;

use super::*;
use crate::event::{Sample, Spent, Turn, Usage};

impl World {
    /// A sample of this number; whether it is held.
    fn sample(&mut self, number: u64, thread: Thread) -> bool {
        self.pass(MS / 10);
        self.engine.sampled(number, &Sample { time: self.now, thread })
    }

    /// A thread is about to make a call, and has so far run for so many milliseconds, and waited for as many as this for the network.
    fn used(&mut self, thread: Thread, cpu: u64, network: u64) -> &mut Self {
        self.pass(MS / 10);
        let spent = Spent { cpu: cpu * MS, network: network * MS, ..Spent::default() };
        self.engine.used(&Usage { time: self.now, tgid: thread.tgid, tid: thread.tid, since: 1, spent });
        self
    }

    /// The numbers of samples that were taken for a request, and all that were taken for none.
    fn samples(&mut self, request: End) -> (Vec<u64>, Vec<u64>) {
        self.pass(6_000 * MS);
        let span = self.span(Side::Server, request);
        let (trace, span) = (span.trace.id, span.span);
        let (mut of, mut none) = (Vec::new(), Vec::new());
        for samples in self.engine.take_samples() {
            match samples.of {
                Some(found) if (found.trace, found.span) == (trace, span) => of.extend(samples.numbers),
                Some(_) => {}
                None => none.extend(samples.numbers),
            }
        }
        of.sort_unstable();
        none.sort_unstable();
        (of, none)
    }

    fn spent(&self, request: End) -> Option<Spent> {
        self.span(Side::Server, request).spent
    }
}

#[test]
fn between_reading_and_answering() {
    let mut world = World::new();
    let (one, two) = (thread(A, 101), thread(A, 102));
    assert!(!world.sample(1, one));
    world.serve(End(11, 0), one).serve(End(13, 0), two);
    assert!(world.sample(2, one) && world.sample(3, two));
    world.call(End(20, 0), one);
    assert!(world.sample(4, one));
    world.read(End(20, 0), one);
    assert!(world.sample(5, one));
    world.answer(End(11, 0), one);
    assert!(!world.sample(6, one), "it is answered");
    assert!(world.sample(7, two));
    world.answer(End(13, 0), two);
    assert_eq!(world.samples(End(11, 0)), (vec![2, 4, 5], vec![]));
    assert_eq!(world.engine.held, 0);
}

/// That it is over may be known later than it was.
#[test]
fn what_comes_after_the_end_does_not_count() {
    let mut world = World::new();
    let one = thread(A, 101);
    world.serve(End(11, 0), one);
    assert!(world.sample(1, one));
    world.now -= MS;
    assert!(world.sample(2, one));
    world.answer(End(11, 0), one);
    assert_eq!(world.samples(End(11, 0)), (vec![2], vec![1]));
}

#[test]
fn tasks_count_and_their_thread_does_not() {
    let mut world = World::new();
    let (one, two, none) = (task(A, 101, 7, 1), task(A, 101, 8, 1), thread(A, 101));
    let child = task(A, 101, 9, 7);
    world.serve(End(11, 0), one).serve(End(13, 0), two);
    assert!(world.sample(1, one) && world.sample(2, two) && world.sample(3, child));
    assert!(world.sample(4, none));
    world.answer(End(11, 0), one).answer(End(13, 0), two);
    assert_eq!(world.samples(End(11, 0)), (vec![1, 3], vec![4]));
}

/// A worker that was woken is believed when it answers, or wakes whoever waits for it.
#[test]
fn a_worker_has_to_prove_itself() {
    for (answers, wakes) in [(true, false), (false, true), (false, false)] {
        let mut world = World::new();
        let (reader, worker) = (thread(A, 101), thread(A, 102));
        world.serve(End(11, 0), reader).hand(reader, worker, How::Wake(0x10));
        assert!(world.sample(1, worker));
        if wakes {
            world.hand(worker, reader, How::Wake(0x20));
        }
        world.answer(End(11, 0), if answers { worker } else { reader });
        let (right, wrong) = world.samples(End(11, 0));
        assert_eq!((right.len(), wrong.len()), if answers || wakes { (1, 0) } else { (0, 1) }, "{answers} {wakes}");
    }
}

#[test]
fn an_event_loop_that_has_not_proved_itself_is_not_believed() {
    let mut world = World::new();
    let main = thread(A, 101);
    world.serve(End(11, 0), main).serve(End(13, 0), main);
    assert!(!world.sample(1, main));
    let mut world = World::new();
    world.prove(main);
    world.serve(End(15, 0), main).serve(End(17, 0), main);
    assert!(world.sample(2, main));
    world.answer(End(17, 0), main).answer(End(15, 0), main);
    assert_eq!(world.samples(End(17, 0)), (vec![2], vec![]));
}

/// Node's ids say for which request what was put off runs, whatever was read meanwhile.
#[test]
fn what_an_event_loop_has_put_off() {
    let mut world = World::new();
    let main = |running, made| Thread { turn: Some(Turn { running, made }), ..thread(A, 101) };
    world.serve(End(11, 0), main(0, 100)).serve(End(13, 0), main(0, 103));
    assert!(world.sample(1, main(102, 105)) && world.sample(2, main(0, 105)));
    world.answer(End(11, 0), main(102, 105)).answer(End(13, 0), main(0, 105));
    assert_eq!(world.samples(End(11, 0)), (vec![1], vec![2]));
}

/// What follows after an `await`, and sends something before anything is put off, was for what that is for.
#[test]
fn what_an_event_loop_has_awaited() {
    let mut world = World::new();
    let main = |running, made| Thread { turn: Some(Turn { running, made }), ..thread(A, 101) };
    world.serve(End(11, 0), main(0, 100)).serve(End(13, 0), main(0, 103)).serve(End(15, 0), main(0, 106));
    // The first one has put something off again; the second one sends a call, and answers when it has been answered.
    assert!(world.sample(1, main(0, 107)) && world.sample(2, main(0, 108)));
    world.call(End(20, 0), main(0, 108));
    assert!(world.sample(3, main(0, 112)));
    world.answer(End(11, 0), main(0, 112)).read(End(20, 0), main(0, 112));
    // Reads something in between.
    assert!(world.sample(4, main(0, 112)));
    world.serve(End(17, 0), main(0, 112));
    assert!(world.sample(5, main(0, 113)));
    world.answer(End(13, 0), main(0, 113)).answer(End(15, 0), main(0, 113)).answer(End(17, 0), main(0, 113));
    assert_eq!(world.samples(End(11, 0)).0, [3]);
    let mut world = World::new();
    world.serve(End(11, 0), main(0, 100)).serve(End(13, 0), main(0, 103));
    assert!(world.sample(5, main(0, 113)));
    world.answer(End(13, 0), main(0, 113)).answer(End(11, 0), main(0, 113));
    assert_eq!(world.samples(End(13, 0)), (vec![5], vec![]));
}

/// A connection has ids by which what it brings is looked at. They were given out while the loop worked for another one.
#[test]
fn what_an_event_loop_does_with_what_it_reads() {
    let mut world = World::new();
    let main = |running, made| Thread { turn: Some(Turn { running, made }), ..thread(A, 101) };
    let mut found = Vec::new();
    for round in 0..30 {
        world.serve(End(11, round), main(0, 200)).serve(End(13, round), main(0, 200));
        found.extend(world.sample(2 * round, main(17, 200)).then_some(2 * round));
        world.serve(End(15, round), main(0, 200));
        found.extend(world.sample(2 * round + 1, main(18, 200)).then_some(2 * round + 1));
        // In another order than they were read.
        world.answer(End(11, round), main(0, 200)).answer(End(13, round), main(0, 200));
        world.answer(End(15, round), main(0, 200));
    }
    assert_eq!(found, (2..60).collect::<Vec<_>>(), "all but the first of each");
    // One that runs after reading from different ones belongs to none of them.
    world.serve(End(11, 90), main(0, 200)).serve(End(13, 90), main(0, 200));
    assert!(!world.sample(90, main(18, 200)));
    assert_eq!(world.samples(End(13, 7)).0, [14]);
}

/// An event loop that reads requests, and hands each over to a task of its connection.
#[test]
fn the_first_request_of_a_connections_task() {
    let mut world = World::new();
    let (main, one, child) = (thread(A, 101), task(A, 101, 7, 0), task(A, 101, 8, 7));
    world.serve(End(13, 0), main);
    assert!(world.sample(1, one));
    world.serve(End(11, 0), main);
    assert!(world.sample(2, one) && world.sample(3, child) && world.sample(4, task(A, 101, 9, 0)));
    world.answer(End(11, 0), one);
    assert_eq!(world.samples(End(11, 0)), (vec![2, 3], vec![1, 4]));
}

/// A worker of a pool takes its next item from a queue, and wakes whoever waits for that.
#[test]
fn what_a_worker_has_taken_from_a_queue() {
    let mut world = World::new();
    let (one, two, worker) = (thread(A, 101), thread(A, 102), thread(A, 103));
    world.serve(End(11, 0), one).serve(End(13, 0), two).hand(one, worker, How::Wake(0x10));
    assert!(world.sample(1, worker));
    world.hand(worker, one, How::Wake(0x20));
    assert!(world.sample(2, worker) && world.sample(3, two) && world.sample(4, worker));
    // It has not waited since before the first of them.
    world.hand(worker, two, How::Wake(0x30));
    world.answer(End(11, 0), one).answer(End(13, 0), two);
    assert_eq!(world.samples(End(13, 0)), (vec![3, 4], vec![2]));
}

/// What a worker was woken for may be done before anybody waits for it. That it was what it was woken for, others have shown.
#[test]
fn what_was_done_before_anybody_waited() {
    let mut world = World::new();
    let (reader, worker) = (thread(A, 101), thread(A, 103));
    for round in 0..20 {
        world.serve(End(11, round), reader).hand(reader, worker, How::Wake(0x10));
        assert!(world.sample(round, worker));
        if (1..18).contains(&round) {
            world.hand(worker, reader, How::Wake(0x20));
        }
        world.answer(End(11, round), reader);
    }
    let mut of = |round| world.samples(End(11, round)).0;
    assert_eq!(of(19), [19]);
    // Of the first one that was not known yet.
    let mut world = World::new();
    world.serve(End(11, 0), reader).hand(reader, worker, How::Wake(0x10));
    assert!(world.sample(0, worker));
    world.answer(End(11, 0), reader);
    assert_eq!(world.samples(End(11, 0)), (vec![], vec![0]));
}

#[test]
fn what_a_thread_has_done_for_its_request() {
    let mut world = World::new();
    let (one, two) = (thread(A, 101), thread(A, 102));
    world.used(one, 5, 100).serve(End(11, 0), one);
    world.used(two, 1, 1).serve(End(13, 0), two);
    world.used(one, 7, 100).call(End(20, 0), one).used(one, 8, 130).read(End(20, 0), one);
    world.used(one, 11, 130).answer(End(11, 0), one).used(two, 5, 1).answer(End(13, 0), two);
    world.used(one, 12, 500).serve(End(11, 9), one).used(one, 13, 500).answer(End(11, 9), one).pass(300 * MS);
    let spent = |cpu, network| Some(Spent { cpu: cpu * MS, network: network * MS, ..Spent::default() });
    assert_eq!(world.spent(End(11, 0)), spent(6, 30));
    assert_eq!(world.spent(End(13, 0)), spent(4, 0));
    assert_eq!(world.spent(End(11, 9)), spent(1, 0));
    assert_eq!(world.span(Side::Client, End(20, 0)).spent, None);
}

#[test]
fn what_cannot_be_told_of_one_request_is_left_out() {
    let mut world = World::new();
    let (main, reader, worker) = (thread(A, 101), thread(A, 102), thread(A, 103));
    world.used(main, 1, 0).serve(End(11, 0), main).used(main, 2, 0).serve(End(13, 0), main);
    world.used(main, 3, 0).answer(End(11, 0), main).used(main, 4, 0).answer(End(13, 0), main);
    world.used(reader, 1, 0).serve(End(15, 0), reader).used(worker, 9, 0).answer(End(15, 0), worker);
    let goroutine = task(A, 104, 7, 1);
    world.used(goroutine, 1, 0).serve(End(17, 0), goroutine).used(goroutine, 2, 0).answer(End(17, 0), goroutine);
    world.pass(300 * MS);
    for socket in [11, 13, 15, 17] {
        assert_eq!(world.spent(End(socket, 0)), None, "{socket}");
    }
}

/// What was counted while the thread ran may turn out to have been less.
#[test]
fn nothing_is_counted_twice() {
    let mut world = World::new();
    let one = thread(A, 101);
    world.used(one, 1, 0).serve(End(11, 0), one).used(one, 9, 0).answer(End(11, 0), one);
    world.used(one, 8, 0).serve(End(11, 9), one).used(one, 12, 0).answer(End(11, 9), one).pass(300 * MS);
    let spent = |cpu| Some(Spent { cpu: cpu * MS, ..Spent::default() });
    assert_eq!((world.spent(End(11, 0)), world.spent(End(11, 9))), (spent(8), spent(3)));
}

/// Another thread of the same number has its own time.
#[test]
fn a_number_that_is_used_again_begins_anew() {
    let mut world = World::new();
    let one = thread(A, 101);
    world.used(one, 50, 0).serve(End(11, 0), one);
    let spent = Spent { cpu: 99 * MS, ..Spent::default() };
    world.engine.used(&Usage { time: world.now, tgid: A, tid: 101, since: 2, spent });
    world.answer(End(11, 0), one).pass(300 * MS);
    assert_eq!(world.spent(End(11, 0)), None);
}

proptest! {
    /// Whatever happens, each sample that is held is settled once, and none is kept for ever.
    #[test]
    fn each_held_sample_is_settled_once(steps in proptest::collection::vec((0u8..7, 0u32..4, 0u64..4), 0..200)) {
        let mut world = World::new();
        let mut held = Vec::new();
        let mut place = 0;
        let mut open: Vec<(End, bool)> = Vec::new();
        for (number, (what, who, socket)) in (0..).zip(steps) {
            let who = if who == 3 { task(A, 101, 7, 0) } else { thread(A, 101 + who) };
            match what {
                0 => { place += 1; open.push((End(11 + 2 * socket, place), true)); world.serve(End(11 + 2 * socket, place), who); }
                1 => { place += 1; open.push((End(40 + 2 * socket, place), false)); world.call(End(40 + 2 * socket, place), who); }
                2 if !open.is_empty() => {
                    let (end, serves) = open.remove(0);
                    world.end(if serves { Side::Server } else { Side::Client }, end, who);
                }
                3 => { world.hand(who, thread(A, 101 + socket as u32), How::Wake(socket)); }
                4 => { world.used(who, number, number); }
                5 => { world.pass(6_000 * MS); }
                _ => if world.sample(number, who) { held.push(number); }
            }
        }
        world.finish();
        let mut told: Vec<u64> = world.engine.take_samples().flat_map(|samples| samples.numbers).collect();
        told.sort_unstable();
        prop_assert_eq!(told, held);
        prop_assert_eq!(world.engine.held, 0);
    }
}

/// tokio: when a task ends, whoever waits for it is woken by the scheduler's own task.
#[test]
fn a_task_that_has_ended_is_proved_by_who_is_woken_then() {
    for ends in [true, false] {
        let mut world = World::new();
        let (serving, made, scheduler) = (task(A, 101, 7, 0), task(A, 102, 8, 0), task(A, 102, 1, 0));
        world.serve(End(11, 0), serving).hand(serving, made, How::Spawn);
        // It is seen that tasks wake each other.
        world.hand(task(A, 103, 20, 0), task(A, 103, 21, 0), How::Wake(0));
        assert!(world.sample(1, made));
        if ends {
            world.hand(scheduler, serving, How::Wake(0));
        }
        world.answer(End(11, 0), serving);
        let (right, wrong) = world.samples(End(11, 0));
        assert_eq!((right.len(), wrong.len()), if ends { (1, 0) } else { (0, 1) }, "{ends}");
    }
}
