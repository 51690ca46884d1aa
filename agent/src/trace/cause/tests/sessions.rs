//! Node's sessions of HTTP/2, which send in a turn of their own what was asked for in others, and read for several streams at a time.

use super::*;

/// Both sessions of a process: by which it is asked, and by which it asks.
const SERVER: u64 = 0x1000;
const CLIENT: u64 = 0x2000;

fn main(running: u32, made: u32) -> Thread {
    Thread { turn: Some(Turn { running, made }), ..thread(A, 101) }
}

struct Node {
    world: World,
    made: u32,
}

impl Node {
    fn hand(&mut self, how: How) {
        self.made += 3;
        self.world.hand(main(0, self.made), Thread::default(), how);
    }

    /// Two requests are read at once, then handled: each asks for something, which goes out later. Returns who asked for what.
    fn round(&mut self, round: u64) -> [(End, End); 2] {
        let [one, other] = [4 * round + 1, 4 * round + 3];
        let now = main(0, self.made);
        self.world.now += MS;
        let at = self.world.now;
        self.world.serve(End(11, one), now);
        self.world.now = at;
        self.world.serve(End(11, other), now);
        for place in [one, other] {
            self.hand(How::Begin { session: SERVER, place, stream: place });
            self.hand(How::Turn { session: SERVER, place });
            self.hand(How::Request { session: CLIENT, place });
        }
        // By the id of the session.
        let own = main(2, self.made);
        self.world.call(End(20, one), own).call(End(20, other), own);
        let now = main(0, self.made);
        self.world.read(End(20, other), now).read(End(20, one), now);
        for place in [other, one] {
            self.hand(How::Turn { session: CLIENT, place });
            self.hand(How::Respond { stream: place });
        }
        let own = main(2, self.made);
        self.world.answer(End(11, other), own).answer(End(11, one), own).pass(MS);
        [(End(11, one), End(20, one)), (End(11, other), End(20, other))]
    }
}

#[test]
fn streams_of_a_session_are_of_whoever_asked_for_them() {
    let mut node = Node { world: World::new(), made: 100 };
    let mut truth = Vec::new();
    for round in 0..20 {
        truth.extend(node.round(round));
    }
    node.world.finish();
    for (number, (request, call)) in truth.into_iter().enumerate() {
        let (above, below) = (node.world.span(Side::Server, request), node.world.span(Side::Client, call));
        // Of the first two it is not known yet which socket their session has.
        let is_unknown = number < 2 && below.parent == SpanId::INVALID;
        assert!(is_unknown || below.parent == above.span, "parent of {}:{}", call.0, call.1);
    }
}

/// What follows a head brings none: a stream of another session may have the number of one that was read before.
#[test]
fn a_session_keeps_its_socket() {
    let mut node = Node { world: World::new(), made: 100 };
    let mut truth = Vec::from(node.round(0));
    for round in 1..30 {
        let place = 4 * round - 1;
        let now = main(0, node.made);
        node.world.now += MS;
        node.world.serve(End(11, 1000 + place), now);
        node.hand(How::Begin { session: SERVER, place: 1000 + place, stream: 1000 + place });
        // The body of an answer that was handled before.
        node.hand(How::Turn { session: CLIENT, place: 1000 + place });
        node.hand(How::Turn { session: SERVER, place: 1000 + place });
        node.hand(How::Respond { stream: 1000 + place });
        let own = main(2, node.made);
        node.world.answer(End(11, 1000 + place), own);
        truth.extend(node.round(round));
    }
    node.world.finish();
    for (request, call) in truth.into_iter().skip(2) {
        let (above, below) = (node.world.span(Side::Server, request), node.world.span(Side::Client, call));
        assert_eq!(below.parent, above.span, "parent of {}:{}", call.0, call.1);
    }
}
