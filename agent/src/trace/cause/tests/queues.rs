//! Event loops with drivers that queue what is asked of a connection, and send the next when an answer has come.

use std::collections::VecDeque;

use super::*;
use crate::event::Turn;

/// Numbers as if by chance.
struct Chance(u32);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u64::from(self.0 >> 16) % limit
    }
}

/// Requests of these clients at a time.
const CLIENTS: u64 = 12;
/// Connections, whose ids are their numbers.
const POOL: u64 = 9;

/// By which id a driver sends what was queued.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// None is seen.
    Nothing,
    /// That of the connection.
    Connection,
    /// A new one.
    Tick,
}

/// An event loop that serves clients, each of whose requests waits for a timer and asks twice then, on a connection that is free. If there is none, it
/// waits for one: whoever has an answer leaves its connection to the next first. Returns whose each call is.
fn served(world: &mut World, by: By) -> Vec<(End, End)> {
    let mut made = 100;
    let mut main = |running: u32| {
        made += 3;
        let running = if running > 0 && by == By::Tick { made } else { running };
        Thread { turn: (by != By::Nothing).then_some(Turn { running, made }), ..thread(A, 101) }
    };
    let (mut truth, mut chance) = (Vec::new(), Chance(1));
    let mut places = [0; POOL as usize];
    let mut ask = |world: &mut World, request, connection: u64, by| {
        let call = End(20 + 2 * connection, places[connection as usize]);
        places[connection as usize] += 1;
        truth.push((request, call));
        world.call(call, by);
        (connection, call, request)
    };
    let (mut free, mut under_way, mut queue): (Vec<u64>, Vec<_>, VecDeque<_>) =
        ((0..POOL).collect(), Vec::new(), VecDeque::new());
    let mut sleeping: Vec<End> = (0..CLIENTS).map(|client| End(101 + 2 * client, 0)).collect();
    let mut second = std::collections::HashSet::new();
    for request in &sleeping {
        world.serve(*request, main(0));
    }
    for _ in 0..3000 {
        let all = (sleeping.len() + under_way.len()) as u64;
        let next = chance.below(all) as usize;
        if next < sleeping.len() {
            let request = sleeping.swap_remove(next);
            world.hand(main(0), main(0), How::Idle);
            match free.pop() {
                Some(connection) => under_way.push(ask(world, request, connection, main(0))),
                None => queue.push_back(request),
            }
            continue;
        }
        let (connection, call, request) = under_way.swap_remove(next - sleeping.len());
        world.read(call, main(0));
        match queue.pop_front() {
            Some(other) => under_way.push(ask(world, other, connection, main(connection as u32 + 1))),
            None => free.push(connection),
        }
        if second.insert((request.0, request.1)) {
            match free.pop() {
                Some(connection) => under_way.push(ask(world, request, connection, main(0))),
                None => queue.push_back(request),
            }
        } else {
            let new = End(request.0, request.1 + 1);
            world.answer(request, main(0)).serve(new, main(0));
            sleeping.push(new);
        }
    }
    world.finish();
    truth
}

/// How many of the calls have the right parent, and how many a wrong one.
fn judged(world: &World, truth: &[(End, End)]) -> (usize, usize) {
    let (mut right, mut wrong) = (0, 0);
    for (request, call) in truth {
        let find = |side, end| world.spans.iter().find(|s| s.exchange.side == side && s.exchange.id == id(end));
        if let Some((below, above)) = find(Side::Client, *call).zip(find(Side::Server, *request)) {
            right += usize::from(below.parent == above.span);
            wrong += usize::from(below.parent != above.span && below.parent != SpanId::INVALID);
        }
    }
    (right, wrong)
}

#[test]
fn what_others_have_queued_is_not_for_what_was_answered() {
    // A tick looks like what the answer was for, until what it sends is still under way when that is answered.
    for (by, per_mille) in [(By::Nothing, 5), (By::Connection, 5), (By::Tick, 25)] {
        let mut world = World::new();
        let truth = served(&mut world, by);
        let (right, wrong) = judged(&world, &truth);
        assert!(
            right * 4 >= truth.len() && wrong * 1000 <= per_mille * truth.len(),
            "{right} right, {wrong} wrong of {}; {by:?}",
            truth.len()
        );
    }
}

#[test]
fn a_loop_proves_itself_by_the_first_of_the_calls_that_follow_from_each_other() {
    let mut world = World::new();
    // What goes on after an `await`.
    let main = Thread { turn: Some(Turn { running: 0, made: 100 }), ..thread(A, 101) };
    let mut truth = Vec::new();
    // 12 clients. Each request waits for a timer, and calls six times then; whose answer comes next is chance. (round, calls that were made)
    let mut clients = [(0, 0); 12];
    for client in 0..12 {
        world.serve(End(101 + 2 * client, 0), main);
    }
    let mut chance = Chance(1);
    for _ in 0..1000 {
        let client = chance.below(12);
        let (round, made) = clients[client as usize];
        let (request, call) = (End(101 + 2 * client, round), |made| End(20 + 2 * client, 6 * round + made));
        match made {
            0 => world.hand(main, main, How::Idle),
            _ => world.read(call(made - 1), main),
        };
        if made < 6 {
            world.call(call(made), main);
            truth.push((request, call(made)));
            clients[client as usize].1 += 1;
        } else {
            world.answer(request, main).serve(End(request.0, round + 1), main);
            clients[client as usize] = (round + 1, 0);
        }
    }
    world.finish();
    let (right, wrong) = judged(&world, &truth);
    assert!(
        right * 10 >= truth.len() * 9 && wrong * 200 <= truth.len(),
        "{right} right, {wrong} wrong of {}",
        truth.len()
    );
}
