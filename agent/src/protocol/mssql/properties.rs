//! Any conversation, in any split into calls, with any capture limit, with any calls lost: no batch has another's outcome unless its span
//! says that this may be. The table's number and the error's code, or the number of rows, are the same.

use proptest::prelude::*;

use super::tests::{COLUMNS, ROW, batch, done, error, packet};
use crate::{
    event::Direction,
    protocol::{
        Exchange, Holes,
        framed::Framed,
        given::{holes, lengths, limits, losses, noise, numbered},
        testing::{Part, Wire, cut, play},
    },
};

#[derive(Clone, Debug)]
struct Ask {
    padding: usize,
    fails: bool,
    /// Length of the packets of the answer.
    packet: usize,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = (0..200_usize, prop::bool::weighted(0.3), 16..2000_usize);
    prop::collection::vec(ask.prop_map(|(padding, fails, packet)| Ask { padding, fails, packet }), 1..10)
}

fn turns(asks: &[Ask]) -> Vec<Part> {
    let mut turns = Vec::new();
    for (number, ask) in asks.iter().enumerate() {
        let number = number * 37;
        let sql = format!("SELECT {} FROM t{number}", "a, ".repeat(ask.padding));
        turns.push(Part { request: true, bytes: batch(&sql) });
        let answer = if ask.fails {
            [error(i32::try_from(number).unwrap()), done(2, 0)].concat()
        } else {
            [COLUMNS, &ROW.repeat(number), &done(0x10, number as u64)].concat()
        };
        let packets: Vec<_> = answer.chunks(ask.packet).collect();
        let last = packets.len() - 1;
        let packets = packets.iter().enumerate().map(|(i, payload)| packet(4, u8::from(i == last), payload));
        turns.push(Part { request: false, bytes: packets.collect::<Vec<_>>().concat() });
    }
    turns
}

fn wire(server: bool) -> Wire {
    let asks = if server { Direction::Receive } else { Direction::Send };
    Wire::decoding(Box::new(Framed::new(asks, super::talk::Mssql::default())))
}

fn check(out: &[Exchange]) -> Result<(), TestCaseError> {
    numbered(out, |exchange| exchange.holes.pairing || exchange.holes.request_head)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_captured_everything_right(asks in asks(), lengths in lengths(), server in any::<bool>()) {
        let mut wire = wire(server);
        play(&mut wire, &cut(&turns(&asks), &lengths), server, usize::MAX, &|_| false);
        check(&wire.out)?;
        prop_assert_eq!(wire.out.len(), asks.len());
        for (exchange, ask) in wire.out.iter().zip(&asks) {
            prop_assert_eq!(exchange.holes, Holes::default());
            prop_assert_eq!(exchange.attributes.get("error.type").is_some(), ask.fails);
        }
    }

    #[test]
    fn any_limit_and_any_call_lost(
        asks in asks(), lengths in lengths(), server in any::<bool>(),
        limit in limits(), lost in losses(),
    ) {
        let mut wire = wire(server);
        play(&mut wire, &cut(&turns(&asks), &lengths), server, limit, &|i| lost[i % lost.len()]);
        check(&wire.out)?;
    }

    #[test]
    fn any_bytes(parts in prop::collection::vec((any::<bool>(), prop_oneof![
        prop::collection::vec(any::<u8>(), 1..60), Just(batch("SELECT 1")), Just(packet(4, 1, &done(0, 0))), Just(packet(6, 1, b"")),
        (0..2_u8, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(status, body)| packet(4, status, &body)),
        (0..20_u8, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, body)| packet(kind, 1, &body)),
        Just(packet(4, 0, COLUMNS)), Just(packet(4, 0, ROW)), Just(packet(4, 0, &[0x81, 0xff, 0x0f])),
    ], holes()), 0..30)) {
        let mut wire = wire(true);
        noise(&mut wire, parts)?;
    }
}
