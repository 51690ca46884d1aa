//! Calls that nothing shows the cause of, in processes whose endpoints are known.

use super::*;

/// Two requests at a time, each of which makes a call: one by itself, the other by a worker. `shows`: the worker was seen to work for it.
fn round(world: &mut World, number: u64, shows: bool) {
    let (a, b, w) = (thread(A, 101), thread(A, 102), thread(A, 103));
    let at = number * 10;
    world.serve(End(11, at), a).serve(End(13, at), b).call(End(20, at), a).read(End(20, at), a);
    if shows {
        world.hand(b, w, How::Wake(1));
    }
    world.call(End(22, at), w).read(End(22, at), w);
    if shows {
        world.hand(w, b, How::Wake(2));
    }
    world.answer(End(11, at), a).answer(End(13, at), b).pass(50 * MS);
}

/// So many of them, with the first one open.
fn learned(rounds: u64) -> World {
    let mut world = World::new();
    round(&mut world, 0, false);
    (1..=rounds).for_each(|number| round(&mut world, number, true));
    world.pass(2_000 * MS);
    world
}

#[test]
fn who_lacks_a_call_gets_it() {
    let mut world = learned(40);
    round(&mut world, 50, false);
    world.pass(2_000 * MS);
    world.caused(End(13, 500), End(22, 500), Link::Pattern);
    let found = world.spans.iter().find(|span| span.exchange.id == id(End(22, 500))).unwrap();
    assert!(found.confidence.is_some_and(|confidence| confidence > 0.9), "{:?}", found.confidence);
    let certain = world.spans.iter().find(|span| span.exchange.id == id(End(22, 400))).unwrap();
    assert_eq!(certain.confidence, None);
}

#[test]
fn nothing_is_guessed_before_enough_is_known() {
    let mut world = learned(8);
    round(&mut world, 50, false);
    world.pass(8_000 * MS);
    world.root(Side::Client, End(22, 500));
}

#[test]
fn who_makes_as_many_as_he_likes_may_have_made_it() {
    let mut world = World::new();
    round(&mut world, 0, false);
    for number in 1..=40 {
        round(&mut world, number, true);
        // Every other time, one more.
        if number % 2 == 0 {
            let a = thread(A, 101);
            let at = 1_000 + number * 10;
            world.serve(End(11, at), a).call(End(20, at), a).read(End(20, at), a);
            world.call(End(20, at + 1), a).read(End(20, at + 1), a).answer(End(11, at), a).pass(50 * MS);
        }
    }
    world.pass(2_000 * MS);
    round(&mut world, 500, false);
    world.pass(8_000 * MS);
    world.root(Side::Client, End(22, 5000));
}

#[test]
fn calls_of_nobody_are_not_given_away() {
    let mut world = learned(40);
    // A worker of its own calls now and then while both have made their calls.
    for number in 50..60 {
        let (a, b, w) = (thread(A, 101), thread(A, 102), thread(A, 103));
        let at = number * 10;
        world.serve(End(11, at), a).serve(End(13, at), b).call(End(20, at), a).read(End(20, at), a);
        world.call(End(22, at), b).read(End(22, at), b).call(End(24, at), w).read(End(24, at), w);
        world.answer(End(11, at), a).answer(End(13, at), b).pass(50 * MS);
    }
    world.pass(8_000 * MS);
    for number in 50..60 {
        world.root(Side::Client, End(24, number * 10));
    }
}

#[test]
fn what_is_settled_is_not_remembered() {
    let mut world = learned(40);
    round(&mut world, 50, false);
    assert!(!world.engine.orphans.of.is_empty());
    world.pass(3_000 * MS).pass(200 * MS);
    assert!(world.engine.orphans.of.is_empty());
}

#[test]
fn nothing_is_left_waiting() {
    let mut world = learned(40);
    round(&mut world, 50, false);
    world.finish();
    world.caused(End(13, 500), End(22, 500), Link::Pattern);
    let mut world = learned(1);
    round(&mut world, 50, false);
    world.finish();
    world.root(Side::Client, End(22, 500));
}
