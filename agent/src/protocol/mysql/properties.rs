//! Any conversation, in any split into calls, with any capture limit, with any calls lost: no query has another's outcome unless its span says
//! that this may be. The table's number and the error's code, or the number of rows, are the same.

use proptest::prelude::*;

use super::tests::{COLUMN, END, OK, command, packet, packets};
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
    /// Length of each row; or an error.
    row: Option<usize>,
}

fn batches() -> impl Strategy<Value = Vec<Vec<Ask>>> {
    let row = prop::option::weighted(0.7, prop_oneof![3 => 0..60_usize, 1 => 60..3000_usize]);
    let ask = (0..200_usize, row).prop_map(|(padding, row)| Ask { padding, row });
    prop::collection::vec(prop::collection::vec(ask, 1..3), 1..8)
}

fn turns(batches: &[Vec<Ask>]) -> Vec<Part> {
    let mut turns = Vec::new();
    let mut number = 0_u16;
    for batch in batches {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for ask in batch {
            asked.extend(command(3, format!("SELECT {} FROM t{number}", "a, ".repeat(ask.padding))));
            match ask.row {
                None => answered.extend(packet(1, &[&[0xff], &number.to_le_bytes()[..], b"#42000no"].concat())),
                Some(size) => {
                    let mut row = vec![0xfc];
                    row.extend((size as u16).to_le_bytes());
                    row.resize(3 + size, b'x');
                    let rows = vec![&row[..]; number.into()];
                    answered.extend(packets(1, &[&[&[1_u8][..], COLUMN][..], &rows, &[END]].concat()));
                }
            }
            number += 1;
        }
        turns.push(Part { request: true, bytes: asked });
        turns.push(Part { request: false, bytes: answered });
    }
    turns
}

fn wire(server: bool) -> Wire {
    let asks = if server { Direction::Receive } else { Direction::Send };
    Wire::decoding(Box::new(Framed::new(asks, super::talk::MySql::default())))
}

fn check(out: &[Exchange], limited: bool) -> Result<(), TestCaseError> {
    numbered(out, |exchange| {
        let holes = exchange.holes;
        holes.pairing || holes.request_head || limited && holes.length
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_captured_everything_right(batches in batches(), lengths in lengths(), server in any::<bool>()) {
        let mut wire = wire(server);
        play(&mut wire, &cut(&turns(&batches), &lengths), server, usize::MAX, &|_| false);
        check(&wire.out, false)?;
        prop_assert_eq!(wire.out.len(), batches.concat().len());
        prop_assert!(wire.out.iter().all(|exchange| exchange.holes == Holes::default()));
    }

    #[test]
    fn any_limit_and_any_call_lost(
        batches in batches(), lengths in lengths(), server in any::<bool>(),
        limit in limits(), lost in losses(),
    ) {
        let mut wire = wire(server);
        play(&mut wire, &cut(&turns(&batches), &lengths), server, limit, &|i| lost[i % lost.len()]);
        check(&wire.out, limit < usize::MAX)?;
    }

    #[test]
    fn any_bytes(parts in prop::collection::vec((any::<bool>(), prop_oneof![
        prop::collection::vec(any::<u8>(), 1..60), Just(command(3, "SELECT 1")), Just(packet(1, OK)), Just(packet(1, &[1])), Just(packet(2, COLUMN)),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(number, payload)| packet(number, &payload)),
        Just(command(0x16, "SELECT 1")), Just(command(0x17, [1, 0, 0, 0, 0, 1, 0, 0, 0])), Just(packet(1, &[0, 1, 0, 0, 0, 9, 0, 9, 0])),
    ], holes()), 0..30)) {
        let mut wire = wire(true);
        noise(&mut wire, parts)?;
    }
}
