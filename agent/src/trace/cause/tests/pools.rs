//! Workers that have their work from others: pools, threads for each call, and those that pass answers on.

use super::*;

#[test]
fn workers_of_a_pool() {
    let mut world = World::new();
    let (a, b, w) = (thread(A, 101), thread(A, 102), thread(A, 103));
    world.serve(End(11, 0), a).serve(End(13, 0), b);
    // Idle, and woken to work; then it takes up the next item without being woken, and wakes whoever waits for it.
    world.hand(a, w, How::Wake(1)).call(End(20, 0), w).read(End(20, 0), w).hand(w, a, How::Wake(2));
    world.call(End(20, 9), w).read(End(20, 9), w).hand(w, b, How::Wake(3));
    // Taken up in silence, and nobody waits yet: not known.
    world.call(End(20, 19), w).read(End(20, 19), w).call(End(20, 29), w).read(End(20, 29), w);
    // Woken by one, but busy for another, who waits.
    world.hand(a, w, How::Wake(1)).call(End(20, 39), w).read(End(20, 39), w).hand(w, b, How::Wake(3));
    // Woken by one, and nobody says anything else.
    world.hand(a, w, How::Wake(1)).call(End(20, 49), w).read(End(20, 49), w).pass(50 * MS);
    world.answer(End(13, 0), b).answer(End(11, 0), a).pass(2_100 * MS);
    for (request, call) in [(11, 0), (13, 9), (13, 39), (11, 49)] {
        world.caused(End(request, 0), End(20, call), Link::Wake);
    }
    world.root(Side::Client, End(20, 19));
    world.root(Side::Client, End(20, 29));
}

#[test]
fn a_thread_for_each_call() {
    let mut world = World::new();
    let (a, b) = (thread(A, 101), thread(A, 102));
    world.serve(End(11, 0), a).serve(End(13, 0), b).hand(a, thread(A, 105), How::Clone).hand(
        b,
        thread(A, 106),
        How::Clone,
    );
    world.call(End(20, 0), thread(A, 106)).call(End(22, 0), thread(A, 105));
    world.read(End(20, 0), thread(A, 106)).read(End(22, 0), thread(A, 105)).pass(50 * MS);
    world.answer(End(13, 0), b).answer(End(11, 0), a).pass(30 * MS);
    world.caused(End(13, 0), End(20, 0), Link::Clone);
    world.caused(End(11, 0), End(22, 0), Link::Clone);
}

#[test]
fn waiting_for_a_lock_says_nothing() {
    let mut world = World::new();
    let (a, b, c, w) = (thread(A, 101), thread(A, 102), thread(A, 103), thread(A, 104));
    let lock = How::Wake(0x40);
    world.serve(End(11, 0), a).serve(End(13, 0), b).serve(End(15, 0), c).hand(a, b, lock).hand(b, c, lock);
    // A worker has an answer, and lets go of the lock before it wakes whoever waits for that.
    world.hand(a, w, How::Wake(1)).call(End(20, 0), w).read(End(20, 0), w).hand(w, b, lock).hand(w, a, How::Wake(2));
    world.answer(End(11, 0), a).answer(End(13, 0), b).answer(End(15, 0), c).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Wake);
}

#[test]
fn a_worker_that_is_woken_for_something_unknown_first() {
    let mut world = World::new();
    let (a, b, w, hub) = (thread(A, 101), thread(A, 102), thread(A, 103), thread(A, 104));
    world.serve(End(11, 0), a).serve(End(13, 0), b);
    world.hand(a, w, How::Wake(1)).hand(hub, w, How::Wake(3)).call(End(20, 0), w).read(End(20, 0), w).pass(50 * MS);
    world.answer(End(11, 0), a).answer(End(13, 0), b).pass(2_100 * MS);
    world.root(Side::Client, End(20, 0));
}

#[test]
fn a_connection_opened_by_a_worker_of_a_pool() {
    let mut world = World::new();
    let (a, b, w) = (thread(A, 101), thread(A, 102), thread(A, 103));
    world.serve(End(11, 0), a).serve(End(13, 0), b).hand(a, w, How::Clone).hand(w, Thread::default(), How::Connect(20));
    // It was created for one, and has taken up the other's item.
    world.call(End(20, 0), w).read(End(20, 0), w).hand(w, b, How::Wake(1));
    world.answer(End(11, 0), a).answer(End(13, 0), b).pass(30 * MS);
    world.caused(End(13, 0), End(20, 0), Link::Wake);
}

/// An event loop has its handlers run by threads, each of which does one thing after the other for its request; anyio does that.
#[test]
fn what_a_task_lends_to_a_thread_lasts_if_it_proves_to() {
    let mut world = World::new();
    let (main, workers) = (|id| task(A, 101, id, 0), [thread(A, 111), thread(A, 112)]);
    let requests = |i| [End(11, i), End(13, i)];
    for i in 0..40 {
        for (n, request) in requests(i).into_iter().enumerate() {
            let task = main(2 * i + n as u64 + 1);
            world.serve(request, task).hand(task, workers[n], How::Wake(1 + n as u64));
        }
        for (n, worker) in workers.into_iter().enumerate() {
            let (first, second) = (End(20 + 2 * n as u64, 2 * i), End(20 + 2 * n as u64, 2 * i + 1));
            world.call(first, worker).read(first, worker).call(second, worker).read(second, worker);
        }
        for (n, request) in requests(i).into_iter().enumerate() {
            world.answer(request, main(2 * i + n as u64 + 1));
        }
    }
    world.pass(50 * MS);
    for i in 0..40 {
        for (n, request) in requests(i).into_iter().enumerate() {
            world.caused(request, End(20 + 2 * n as u64, 2 * i), Link::Wake);
            world.caused(request, End(20 + 2 * n as u64, 2 * i + 1), Link::Wake);
        }
    }
}

/// The same, with a pool that takes up the next item in silence.
#[test]
fn what_a_task_lends_to_a_pool_does_not_last() {
    let mut world = World::new();
    let (main, worker) = (|id| task(A, 101, id, 0), thread(A, 111));
    for i in 0..40 {
        let (one, two) = (End(11, i), End(13, i));
        let (of_one, of_two) = (main(2 * i + 1), main(2 * i + 2));
        world.serve(one, of_one).serve(two, of_two).hand(of_one, worker, How::Wake(1));
        world.call(End(20, 2 * i), worker).read(End(20, 2 * i), worker);
        // For the second one, whose task need not wake anybody; it is still under way when the first request is answered.
        world.call(End(20, 2 * i + 1), worker).answer(one, of_one).read(End(20, 2 * i + 1), worker);
        world.answer(two, of_two);
    }
    world.pass(5_100 * MS);
    for i in 0..40 {
        world.caused(End(11, i), End(20, 2 * i), Link::Wake);
        let second = world.span(Side::Client, End(20, 2 * i + 1));
        let (one, two) = (world.span(Side::Server, End(11, i)), world.span(Side::Server, End(13, i)));
        assert_ne!(second.parent, one.span);
        assert!(second.parent == SpanId::INVALID || second.parent == two.span);
    }
}

/// A thread that has a handler's work has others do a part of it, and waits for them.
#[test]
fn results_for_a_thread_that_a_task_has_lent_its_work() {
    let mut world = World::new();
    let (main, handlers) = (|id| task(A, 101, id, 0), [thread(A, 111), thread(A, 112)]);
    let helper = thread(A, 120);
    for i in 0..40 {
        let requests = [End(11, i), End(13, i)];
        for (n, request) in requests.into_iter().enumerate() {
            let task = main(2 * i + n as u64 + 1);
            world.serve(request, task).hand(task, handlers[n], How::Wake(1 + n as u64));
        }
        // The helper takes from a queue what is there; nobody has to wake it.
        for (n, handler) in handlers.into_iter().enumerate() {
            let call = End(20, 2 * i + n as u64);
            world.call(call, helper).read(call, helper).hand(helper, handler, How::Wake(11 + n as u64));
        }
        for (n, request) in requests.into_iter().enumerate() {
            world.answer(request, main(2 * i + n as u64 + 1));
        }
    }
    world.pass(50 * MS);
    for i in 0..40 {
        world.caused(End(11, i), End(20, 2 * i), Link::Wake);
        world.caused(End(13, i), End(20, 2 * i + 1), Link::Wake);
    }
}

/// What a thread that was created for a call does next is for the same: it calls once more.
#[test]
fn a_thread_for_each_call_that_calls_again() {
    let mut world = World::new();
    let (a, b) = (thread(A, 101), thread(A, 102));
    for i in 0..20 {
        let (one, two) = (thread(A, 1000 + i as u32), thread(A, 2000 + i as u32));
        world.serve(End(11, i), a).serve(End(13, i), b).hand(a, one, How::Clone).hand(b, two, How::Clone);
        for (call, who) in [(End(20, 2 * i), one), (End(22, 2 * i), two)] {
            let again = End(call.0, call.1 + 1);
            world.call(call, who).read(call, who).call(again, who).read(again, who);
        }
        world.answer(End(11, i), a).answer(End(13, i), b);
    }
    world.pass(50 * MS);
    for i in 0..20 {
        for place in [2 * i, 2 * i + 1] {
            world.caused(End(11, i), End(20, place), Link::Clone);
            world.caused(End(13, i), End(22, place), Link::Clone);
        }
    }
}

/// The selector of Java's HttpClient reads answers and has workers see to them; one of them creates a thread for what follows.
#[test]
fn an_answer_that_its_reader_leaves_to_others() {
    let mut world = World::new();
    let (a, b) = (thread(A, 101), thread(A, 102));
    let (selector, worker, other) = (thread(A, 103), thread(A, 104), thread(A, 105));
    let (compiler, last) = (thread(A, 106), thread(A, 107));
    world.serve(End(11, 0), a).serve(End(13, 0), b).call(End(20, 0), worker).call(End(22, 0), other);
    world.read(End(20, 0), selector).hand(selector, worker, How::Wake(1));
    world.read(End(22, 0), selector).hand(selector, other, How::Wake(2));
    // It tells the selector to read more, and the compiler to compile, before it goes on with the answer.
    world.hand(worker, selector, How::Wake(0)).hand(other, selector, How::Wake(0)).hand(worker, compiler, How::Wake(3));
    world.hand(worker, last, How::Clone).hand(other, b, How::Wake(5)).hand(last, a, How::Wake(6)).pass(50 * MS);
    world.answer(End(11, 0), a).answer(End(13, 0), b).pass(30 * MS);
    world.caused(End(11, 0), End(20, 0), Link::Wake);
    world.caused(End(13, 0), End(22, 0), Link::Wake);
}

#[test]
fn an_answer_of_before_is_not_in_the_way() {
    let mut world = World::new();
    let (a, b) = (thread(A, 101), thread(A, 102));
    let (selector, worker) = (thread(A, 103), thread(A, 104));
    world.serve(End(11, 0), a).serve(End(13, 0), b).call(End(20, 0), worker).call(End(22, 0), worker);
    // Nobody has waited for the first one.
    world.read(End(20, 0), selector).hand(selector, worker, How::Wake(1));
    world.read(End(22, 0), selector).hand(selector, worker, How::Wake(1)).hand(worker, b, How::Wake(2)).pass(50 * MS);
    world.answer(End(11, 0), a).answer(End(13, 0), b).pass(2_100 * MS);
    world.root(Side::Client, End(20, 0)).caused(End(13, 0), End(22, 0), Link::Wake);
}
